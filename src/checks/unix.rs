//! `unix:/PATH` or `unix:@NAME`: a connection to a unix socket can be made, and what comes back matches.

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::support::exchange::Exchange;
use super::support::noted;
use super::support::target::authority;
use super::support::timed::{self, Timed, reason, spoken};
use super::{Action, Kind, Options, Runs, default_deadline, since};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::transcript::{Field, note};
use crate::os::descriptors::is_of_another_type;

pub(super) const KIND: Kind = Kind {
    scheme: "unix",
    port: None,
    options: &Exchange::OPTIONS,
    runs: Runs::OnThread,
    controls: Control::LOCAL,
    title: "{target} accepts connections",
    passes: "the same, for a unix socket",
    notices: &["refused", "black_hole", "rubbish: with match", "starved"],
    examples: &["unix:/run/docker.sock", "unix:@name"],
    build,
};

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let name = authority(target).to_owned();
    address(&name)?;
    let exchange = Exchange::take(options)?;
    Ok(Box::new(move |deadline| Finding::from(check(&name, &exchange, deadline))))
}

/// Asserts that the unix socket at a path, or `@NAME` in the abstract namespace, accepts a connection.
///
/// # Errors
///
/// `Fail` when it does not, `Error` when we may not try.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_unix(path: &str) -> Result {
    check(path, &Exchange::default(), default_deadline())
}

fn check(name: &str, exchange: &Exchange, deadline: Deadline) -> Result {
    let (began, deadline) = (Instant::now(), timed::before(deadline));
    let address = address(name).map_err(Reason::Error)?;
    let (socket, kind) = connect(&address, deadline).map_err(|error| {
        reason(&error, format!("expected {name} to accept a connection: {} ({})", spoken(&error), since(began)))
    })?;
    // It would be sent to an address that we do not have.
    if kind == Type::DGRAM && exchange.wants_answer() {
        return Err(Reason::Error(format!("{name} takes datagrams: no answer comes back to match")));
    }
    exchange.run(Timed::new(socket, deadline)?, deadline, name)
}

/// Connects to a socket for streams at a path. The reason says why it cannot be done, and no more.
#[cfg(feature = "http")]
pub(super) fn connect_to(path: &str, deadline: Deadline) -> Result<Timed<Socket>> {
    let address = address(path).map_err(Reason::Error)?;
    let (socket, _) = connect_as(Type::STREAM, &address, deadline)
        .map_err(|error| reason(&error, format!("at {path}: {}", spoken(&error))))?;
    Ok(Timed::new(socket, deadline)?)
}

/// Connects as the server wants it: most take streams, a few, such as /dev/log, datagrams.
fn connect(address: &SockAddr, deadline: Deadline) -> io::Result<(Socket, Type)> {
    let mut result = connect_as(Type::STREAM, address, deadline);
    for kind in [Type::SEQPACKET, Type::DGRAM] {
        match &result {
            Err(error) if is_of_another_type(error) => result = connect_as(kind, address, deadline),
            Ok(_) | Err(_) => {}
        }
    }
    result
}

fn connect_as(kind: Type, address: &SockAddr, deadline: Deadline) -> io::Result<(Socket, Type)> {
    // Connecting waits for a place in the queue for as long as the write timeout, and poll knows nothing of that queue. The
    // kernel is late by an eighth at most, which does not matter where the time is short.
    const SHORT: Duration = Duration::from_millis(200);
    let began = Instant::now();
    let socket = Socket::new(Domain::UNIX, kind, None).inspect_err(noted::error)?;
    loop {
        let left = deadline.remaining(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut)).inspect_err(noted::error);
        }
        socket.set_write_timeout(Some(left.clamp(Duration::from_millis(1), SHORT)))?;
        match socket.connect(address) {
            // By a signal, or because the process was stopped and continued.
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) if is_of_another_type(&error) => return Err(error),
            Ok(()) => {
                note(Field::ConnectMs, noted::millis(began));
                return Ok((socket, kind));
            }
            Err(error) => return Err(error).inspect_err(noted::error),
        }
    }
}

fn address(name: &str) -> std::result::Result<SockAddr, String> {
    let path = match name.strip_prefix('@') {
        Some(name) if !name.is_empty() => [b"\0", name.as_bytes()].concat(),
        _ if name.starts_with(['/', '.']) => name.as_bytes().to_vec(),
        _ => return Err("the target is neither a path nor @NAME, as in unix:/run/app.sock".to_owned()),
    };
    SockAddr::unix(std::ffi::OsString::from_vec(path))
        .map_err(|error| format!("the target is not a unix socket: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::support::dialogue::testing::in_time;
    use crate::model::check::DEFAULT_TIMEOUT;
    use std::io::Write;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
    use std::thread;

    fn greet(listener: UnixListener) {
        thread::spawn(move || listener.accept().and_then(|(mut client, _)| client.write_all(b"hello")));
    }

    #[test]
    fn a_path_and_an_abstract_name_accept() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("app.sock");
        greet(UnixListener::bind(&path).expect("the folder is ours"));
        let exchange = Exchange::take(&mut Options::of(&[("match", "^hello$")]));
        let path = path.to_str().expect("a plain path");
        assert_eq!(check(path, &exchange.expect("it is good"), default_deadline()), Ok(()));

        let name = format!("hospital-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("it is short");
        greet(UnixListener::bind_addr(&address).expect("nobody else has it"));
        assert_eq!(assert_unix(&format!("@{name}")), Ok(()));
    }

    #[test]
    fn a_path_that_is_not_there_is_a_failure() {
        let found = assert_unix("/no/such.sock");
        let expected = "expected /no/such.sock to accept a connection: No such file or directory";
        assert!(matches!(&found, Err(Reason::Fail(text)) if text.starts_with(expected)), "{found:?}");
    }

    #[test]
    fn a_full_queue_is_a_failure_in_time() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("app.sock");
        let address = SockAddr::unix(&path).expect("it is short");
        let server = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        server.bind(&address).and_then(|()| server.listen(0)).expect("the folder is ours");
        let _first = connect(&address, default_deadline()).expect("there is one place");
        let path = path.to_str().expect("a plain path");
        let found = in_time(DEFAULT_TIMEOUT, |deadline| check(path, &Exchange::default(), deadline));
        assert!(matches!(&found, Err(Reason::Fail(text)) if text.contains("nothing came in time")), "{found:?}");
    }

    #[test]
    fn a_socket_for_datagrams_is_not_blamed_for_its_type() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("log");
        let log = UnixDatagram::bind(&path).expect("the folder is ours");
        let path = path.to_str().expect("a plain path");
        assert_eq!(assert_unix(path), Ok(()));
        let look = |name, value| {
            let exchange = Exchange::take(&mut Options::of(&[(name, value)])).expect("it is good");
            check(path, &exchange, default_deadline())
        };
        assert_eq!(look("send", "hello"), Ok(()));
        assert_eq!(log.recv(&mut [0; 16]).expect("it was sent"), 5);
        assert!(matches!(look("match", "hello"), Err(Reason::Error(text)) if text.contains("takes datagrams")));
        drop(log);
        assert!(matches!(assert_unix(path), Err(Reason::Fail(text)) if text.contains("refused")), "nobody reads it");
    }

    #[test]
    fn what_is_no_socket_is_refused_at_once() {
        for (target, expected) in [
            ("app", "the target is neither a path"),
            (&format!("/{}", "x".repeat(200)), "the target is not a unix socket"),
        ] {
            let Err(error) = build(target, &mut Options::default()) else { panic!("{target}") };
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
