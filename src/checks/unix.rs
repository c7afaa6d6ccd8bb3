//! `unix:/PATH` or `unix:@NAME`: a connection to a unix socket can be made, and what comes back matches.

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::time::Instant;

use socket2::{Domain, SockAddr, Socket, Type};

use super::support::exchange::{Exchange, spoken};
use super::support::target::authority;
use super::{Action, Kind, Options, Runs, default_deadline, patience, since};
use crate::model::check::{Deadline, Finding, Reason, Result};

pub(super) const KIND: Kind = Kind {
    scheme: "unix",
    options: Exchange::OPTIONS,
    runs: Runs::OnThread,
    title: "{target} accepts connections",
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
    let began = Instant::now();
    let address = address(name).map_err(Reason::Error)?;
    let socket = connect(&address, deadline).map_err(|error| {
        let text = format!("expected {name} to accept a connection: {} ({})", spoken(&error), since(began));
        match error.kind() {
            io::ErrorKind::PermissionDenied => Reason::Error(text),
            _ => Reason::Fail(text),
        }
    })?;
    exchange.run(socket, name, deadline)
}

fn connect(address: &SockAddr, deadline: Deadline) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    loop {
        // Connecting to a unix socket waits for a place in its queue for as long as the write timeout.
        socket.set_write_timeout(Some(patience(deadline)))?;
        match socket.connect(address) {
            // By a signal, or because the process was stopped and continued.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map(|()| socket),
        }
    }
}

fn address(name: &str) -> std::result::Result<SockAddr, String> {
    let path = match name.strip_prefix('@') {
        Some(name) if !name.is_empty() => [b"\0", name.as_bytes()].concat(),
        _ if name.starts_with(['/', '.']) => name.as_bytes().to_vec(),
        _ => return Err(format!("{name:?} is no path and no @NAME, as in unix:/run/app.sock")),
    };
    SockAddr::unix(std::ffi::OsString::from_vec(path)).map_err(|error| format!("{name:?} is no unix socket: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    use std::thread;
    use std::time::Duration;

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
        let deadline = Deadline::at(Instant::now() + Duration::from_millis(300));
        let found = check(path.to_str().expect("a plain path"), &Exchange::default(), deadline);
        assert!(matches!(&found, Err(Reason::Fail(text)) if text.contains("nothing came in time")), "{found:?}");
    }

    #[test]
    fn what_is_no_socket_is_refused_at_once() {
        for (target, expected) in [("app", "\"app\" is no path"), (&format!("/{}", "x".repeat(200)), "\"/xxx")] {
            let Err(error) = build(target, &mut Options::default()) else { panic!("{target}") };
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
