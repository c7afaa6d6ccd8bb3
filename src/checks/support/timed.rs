//! Connections whose every wait ends at an exact moment.
//!
//! A kind has to say what it waited for before the round gives up on it: at the same moment, one would win at random. The
//! timeouts of a socket (SO_RCVTIMEO) do not serve for that, since the kernel rounds them up by as much as an eighth.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
#[cfg(feature = "grpc")]
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::noted;
use crate::model::check::{Deadline, Reason};
use crate::model::transcript::{Field, note};
use crate::os::descriptors::{self, Ready};

/// When a kind stops waiting, if the round gives up on it at `deadline`. Asked for once, when a run begins.
pub(in crate::checks) fn before(deadline: Deadline) -> Deadline {
    const MARGIN: Duration = Duration::from_millis(250);
    let left = deadline.remaining(Instant::now());
    Deadline::at(deadline.instant() - MARGIN.min(left / 10))
}

/// A connection, until a moment.
#[derive(Debug)]
pub(in crate::checks) struct Timed<S> {
    stream: S,
    deadline: Deadline,
    waits: bool,
    began: Instant,
    /// When the first and the last byte came.
    came: Option<(Instant, Instant)>,
}

impl<S: AsFd> Timed<S> {
    pub(in crate::checks) fn new(stream: S, deadline: Deadline) -> io::Result<Timed<S>> {
        SockRef::from(&stream).set_nonblocking(true)?;
        Ok(Timed { stream, deadline, waits: true, began: Instant::now(), came: None })
    }

    /// From now on, what would have to wait is `WouldBlock`. Returns what the caller waits for.
    #[cfg(feature = "grpc")]
    pub(in crate::checks) fn never_wait(&mut self) -> io::Result<OwnedFd> {
        self.waits = false;
        self.stream.as_fd().try_clone_to_owned()
    }

    pub(in crate::checks) fn is_over(&self) -> bool {
        self.deadline.remaining(Instant::now()).is_zero()
    }

    /// Tries until it need not wait, or there is no time left.
    pub(in crate::checks) fn retry<T>(
        &mut self,
        ready: Ready,
        mut attempt: impl FnMut(&mut S) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            // One that is always ready would go on for ever.
            if self.is_over() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match attempt(&mut self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.waits => {
                    descriptors::wait(&self.stream, ready, self.deadline.instant())?;
                }
                // A check in Rust may run in a thread that signals come to.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// That it would have to wait is no error of it.
    fn note_error(&self, result: &io::Result<usize>) {
        match result {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                noted::error(error);
                if error.kind() == io::ErrorKind::TimedOut {
                    noted::lost(&self.stream);
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
}

impl<S> Drop for Timed<S> {
    fn drop(&mut self) {
        if let Some((first, last)) = self.came {
            note(Field::FirstByteMs, noted::between(self.began, first));
            note(Field::LastByteMs, noted::between(self.began, last));
        }
    }
}

impl<S: Read + AsFd> Read for Timed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.retry(Ready::ToRead, |stream| stream.read(buffer));
        self.note_error(&read);
        if let Ok(1..) = read {
            let now = Instant::now();
            self.came = Some((self.came.map_or(now, |(first, _)| first), now));
        }
        read
    }
}

impl<S: Write + AsFd> Write for Timed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.retry(Ready::ToWrite, |stream| stream.write(bytes));
        self.note_error(&written);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The error of a connection, as a person says it.
pub(in crate::checks) fn spoken(error: &io::Error) -> String {
    match error.kind() {
        // The name of a timeout depends on the system.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "nothing came in time".to_owned(),
        _ => error.to_string(),
    }
}

/// Why none of these addresses has answered. One that answered no is an answer.
pub(in crate::checks) fn unanswered(failures: &[(SocketAddr, io::Error)]) -> Reason {
    let tried: Vec<_> = failures.iter().map(|(address, error)| format!("{address}: {}", spoken(error))).collect();
    match failures.iter().all(|(_, error)| is_ours(error)) {
        _ if failures.is_empty() => Reason::Fail("it has no address".to_owned()),
        true => Reason::Error(tried.join(", ")),
        false => Reason::Fail(tried.join(", ")),
    }
}

/// Whether the other side is to blame for an error, or this host: then nothing is known of the other side.
pub(in crate::checks) fn reason(error: &io::Error, text: String) -> Reason {
    if is_ours(error) { Reason::Error(text) } else { Reason::Fail(text) }
}

/// Only what tells of the other side blames it. Whatever else a system says, such as of a family that it does not have or of an
/// address without its zone, is ours.
pub(in crate::checks) fn is_ours(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    let theirs = match error.kind() {
        // It answered no, broke off, or was not heard in time.
        ConnectionRefused | ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected | UnexpectedEof
        | HostUnreachable | TimedOut | WouldBlock => true,
        // What it says is wrong, or its socket is not there.
        InvalidData | NotFound | NotADirectory => true,
        _ => descriptors::is_of_a_host_that_is_down(error),
    };
    !theirs
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn an_error_blames_the_other_side_only_where_it_tells_of_it() {
        use Errno::*;
        for theirs in [
            ECONNREFUSED,
            ECONNRESET,
            ECONNABORTED,
            EPIPE,
            ETIMEDOUT,
            EHOSTUNREACH,
            EHOSTDOWN,
            ENOENT,
            EAGAIN,
            ENOTCONN,
        ] {
            assert!(!is_ours(&theirs.into()), "{theirs}");
        }
        for ours in [
            EAFNOSUPPORT,
            EPROTONOSUPPORT,
            ESOCKTNOSUPPORT,
            EINVAL,
            EPROTO,
            ENETUNREACH,
            ENETDOWN,
            EADDRINUSE,
            EADDRNOTAVAIL,
            EACCES,
            EPERM,
            EMFILE,
            ENFILE,
            ENOBUFS,
            ENOMEM,
            EMSGSIZE,
            EIO,
        ] {
            assert!(is_ours(&ours.into()), "{ours}");
        }
        assert!(!is_ours(&io::ErrorKind::UnexpectedEof.into()));
    }
}
