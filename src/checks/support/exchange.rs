//! What happens on an open connection: something is sent, and the answer has to match.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use regex_lite::Regex;
use socket2::SockRef;

use super::secrets::Secrets;
use crate::checks::{Opt, Options, excerpt, patience, since};
use crate::model::check::{Deadline, Reason, Result};

/// How much of an answer is read before giving up.
const LONGEST_ANSWER: usize = 64 * 1024;

/// What to send and what to expect; by default nothing.
#[derive(Debug, Default)]
pub(in crate::checks) struct Exchange {
    send: Option<Vec<u8>>,
    expected: Option<Regex>,
    hidden: Secrets,
}

impl Exchange {
    /// The names of the options that describe an exchange.
    pub(in crate::checks) const OPTIONS: &[Opt] = &[Opt::Bytes("send"), Opt::Text("match")];

    pub(in crate::checks) fn take(options: &mut Options) -> std::result::Result<Exchange, String> {
        Ok(Exchange {
            send: options.take_one("send")?,
            expected: options.parse("match", Regex::new)?,
            hidden: options.hidden(),
        })
    }

    /// Sends, and reads until the answer matches. `whom` names the other side in messages.
    pub(in crate::checks) fn run(&self, stream: impl Read + Write + AsFd, whom: &str, deadline: Deadline) -> Result {
        let began = Instant::now();
        let mut stream = Bounded { stream, deadline };
        if let Some(bytes) = &self.send {
            stream.write_all(bytes).map_err(|error| {
                Reason::Fail(format!("expected {whom} to take what is sent: {} ({})", spoken(&error), since(began)))
            })?;
        }
        let Some(expected) = &self.expected else { return Ok(()) };
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        let ended = loop {
            match stream.read(&mut buffer) {
                Ok(0) => break "then it closed the connection".to_owned(),
                Ok(count) => answer.extend_from_slice(&buffer[..count]),
                // A check in Rust may run in a thread that signals come to.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => break format!("then {}", spoken(&error)),
            }
            if expected.is_match(&String::from_utf8_lossy(&answer)) {
                return Ok(());
            }
            if answer.len() > LONGEST_ANSWER {
                break "and still more".to_owned();
            }
        };
        let got = match answer.is_empty() {
            true => "nothing".to_owned(),
            false => excerpt(&String::from_utf8_lossy(&answer), &self.hidden),
        };
        Err(Reason::Fail(format!(
            "expected {whom} to say something that matches {:?}: got {got}, {ended} ({})",
            expected.as_str(),
            since(began)
        )))
    }
}

/// A stream whose reads and writes all end by a deadline.
pub(in crate::checks) struct Bounded<S> {
    pub(in crate::checks) stream: S,
    pub(in crate::checks) deadline: Deadline,
}

impl<S: Read + AsFd> Read for Bounded<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        SockRef::from(&self.stream).set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl<S: Write + AsFd> Write for Bounded<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SockRef::from(&self.stream).set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<S> Bounded<S> {
    fn left(&self) -> io::Result<std::time::Duration> {
        match self.deadline.remaining(Instant::now()) {
            left if left.is_zero() => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(patience(self.deadline)),
        }
    }
}

/// The error of a stream, as a person says it.
pub(in crate::checks) fn spoken(error: &io::Error) -> String {
    match error.kind() {
        // The name of a timeout depends on the system.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "nothing came in time".to_owned(),
        _ => error.to_string(),
    }
}
