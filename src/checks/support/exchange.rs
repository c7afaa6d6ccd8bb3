//! What happens on an open connection: something is sent, and the answer has to match.

use std::io::{self, Read, Write};
use std::time::Instant;

use super::pattern::Pattern;
use super::secrets::Secrets;
use super::timed::{is_ours, reason, spoken};
use crate::checks::{Opt, Options, Value, excerpt, since};
use crate::model::check::{Deadline, Reason, Result};

/// How much of an answer is kept, to show its beginning.
const KEPT: usize = 16 * 1024;

/// What to send and what to expect; by default nothing.
#[derive(Debug, Default)]
pub(in crate::checks) struct Exchange {
    send: Option<Vec<u8>>,
    expected: Option<Pattern>,
    hidden: Secrets,
}

impl Exchange {
    /// The names of the options that describe an exchange.
    pub(in crate::checks) const OPTIONS: [Opt; 2] = [
        Opt::new("send", Value::Bytes, "What is sent once connected"),
        Opt::new("match", Value::Pattern, "What has to come back"),
    ];

    pub(in crate::checks) fn take(options: &mut Options) -> std::result::Result<Exchange, String> {
        Ok(Exchange {
            send: options.take_one("send")?,
            expected: options.parse("match", str::parse)?,
            hidden: options.hidden(),
        })
    }

    /// Whether something has to come back.
    pub(in crate::checks) fn wants_answer(&self) -> bool {
        self.expected.is_some()
    }

    /// Sends, and reads until the answer matches. `whom` names the other side in messages.
    pub(in crate::checks) fn run(&self, mut stream: impl Read + Write, deadline: Deadline, whom: &str) -> Result {
        let began = Instant::now();
        if let Some(bytes) = &self.send {
            stream.write_all(bytes).and_then(|()| stream.flush()).map_err(|error| {
                reason(&error, format!("expected {whom} to take what is sent: {} ({})", spoken(&error), since(began)))
            })?;
        }
        let Some(expected) = &self.expected else { return Ok(()) };
        // Not its fault: it says so much, or the expression takes so long.
        let too_much = |_| {
            let what = format!("there was no time to look for {:?} in all that {whom} says", expected.as_str());
            Reason::Error(format!("{what} ({})", since(began)))
        };
        let mut search = expected.search(deadline);
        let (mut beginning, mut total) = (Vec::new(), 0);
        let mut buffer = [0; 4096];
        let ended = loop {
            let part = match stream.read(&mut buffer) {
                Ok(0) if search.finish().map_err(too_much)? => return Ok(()),
                Ok(0) => break "then it closed the connection".to_owned(),
                Ok(count) => &buffer[..count],
                // With TLS 1.3, a server objects to the client after the handshake.
                #[cfg(feature = "tls")]
                Err(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
                    let told = |why| {
                        let expected = expected.as_str();
                        format!("expected {whom} to say something that matches {expected:?}: {why} ({})", since(began))
                    };
                    return Err(super::tls::objection(&error).told(told));
                }
                // One with TLS that does not say goodbye.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    match search.finish().map_err(too_much)? {
                        true => return Ok(()),
                        false => break "then it closed the connection".to_owned(),
                    }
                }
                Err(error) if is_ours(&error) => {
                    let what = format!("cannot read what {whom} says: {} ({})", spoken(&error), since(began));
                    return Err(Reason::Error(what));
                }
                Err(error) => break format!("then {}", spoken(&error)),
            };
            if search.feed(part).map_err(too_much)? {
                return Ok(());
            }
            if deadline.remaining(Instant::now()).is_zero() {
                return Err(too_much(io::ErrorKind::TimedOut.into()));
            }
            total += part.len();
            beginning.extend_from_slice(&part[..part.len().min(KEPT - beginning.len())]);
        };
        let got = if total == 0 { "nothing".to_owned() } else { excerpt(&beginning, total, &self.hidden) };
        Err(Reason::Fail(format!(
            "expected {whom} to say something that matches {:?}: got {got}, {ended} ({})",
            expected.as_str(),
            since(began)
        )))
    }
}
