//! `tcp://HOST:PORT`: a connection can be made, and what comes back matches.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::support::exchange::Exchange;
use super::support::noted;
use super::support::target::{Target, authority};
use super::support::timed::{self, Timed, is_ours};
use super::{Action, Kind, Options, Runs, default_deadline, since};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::transcript::{Field, note};

pub(super) const KIND: Kind = Kind {
    scheme: "tcp",
    port: None,
    options: &Exchange::OPTIONS,
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "{target} accepts connections",
    passes: "a connection can be made; each address of a host is tried",
    notices: &["refused", "black_hole", "rubbish: with match", "starved"],
    examples: &["tcp://localhost:22#match=^SSH-"],
    build,
};

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let endpoint = parse(target)?;
    let exchange = Exchange::take(options)?;
    Ok(Box::new(move |deadline| Finding::from(check(&endpoint, &exchange, deadline))))
}

fn parse(target: &str) -> std::result::Result<Target, String> {
    Target::parse(authority(target), None).ok_or_else(|| "the target is not HOST:PORT, as in tcp://db:5432".to_owned())
}

/// Asserts that `HOST:PORT` accepts a connection within 5 s.
///
/// ```no_run
/// hospital::assert_tcp("db:5432")?;
/// # Ok::<(), hospital::model::check::Reason>(())
/// ```
///
/// # Errors
///
/// `Fail` when no address of the host does, `Error` when the host cannot be looked up.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_tcp(address: &str) -> Result {
    let endpoint = parse(address).map_err(Reason::Error)?;
    check(&endpoint, &Exchange::default(), default_deadline())
}

fn check(endpoint: &Target, exchange: &Exchange, deadline: Deadline) -> Result {
    let began = Instant::now();
    let told = |why| format!("expected {endpoint} to accept a connection: {why} ({})", since(began));
    let deadline = timed::before(deadline);
    let stream = connect(endpoint, deadline).map_err(|reason| reason.told(told))?;
    exchange.run(stream, deadline, &endpoint.to_string())
}

/// Connects to the first address of a host that accepts. The reason says why none does, and no more.
pub(super) fn connect(endpoint: &Target, deadline: Deadline) -> Result<Timed<TcpStream>> {
    connect_to(&endpoint.addresses()?, deadline)
}

/// Connects to the first address that accepts. Each gets its share of the time, so that all can be tried.
pub(super) fn connect_to(addresses: &[SocketAddr], deadline: Deadline) -> Result<Timed<TcpStream>> {
    let mut failures = Vec::new();
    for (tried, address) in addresses.iter().enumerate() {
        let began = Instant::now();
        note(Field::Address, address);
        let share = deadline.remaining(Instant::now()) / (addresses.len() - tried) as u32;
        // Zero is not a time to wait.
        let share = share.max(Duration::from_millis(1));
        match TcpStream::connect_timeout(address, share).and_then(with_another) {
            Ok(stream) => {
                note(Field::ConnectMs, noted::millis(began));
                if let Ok(ours) = stream.local_addr() {
                    note(Field::From, ours.ip());
                }
                return Ok(Timed::new(stream, deadline)?);
            }
            Err(error) => {
                noted::error(&error);
                let no_way = if is_ours(&error) { None } else { noted::route_to(*address).err() };
                let no_way = no_way.map(|error| io::Error::other(format!("this host has no route to it: {error}")));
                failures.push((*address, no_way.unwrap_or(error)));
            }
        }
    }
    Err(timed::unanswered(&failures))
}

/// Where nobody listens on a port of this host, the kernel may give us that very port to connect from: then we have
/// connected to ourselves.
fn with_another(stream: TcpStream) -> io::Result<TcpStream> {
    match stream.peer_addr() {
        Ok(peer) if peer == stream.local_addr()? => Err(io::ErrorKind::ConnectionRefused.into()),
        // One that was reset at once has no peer any more, and was accepted all the same.
        Ok(_) | Err(_) => Ok(stream),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::support::dialogue::testing::in_time;
    use crate::model::check::Status;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    /// A server for one connection: it says something, reads a line, and says something more.
    fn server(ip: &str, greeting: &'static [u8], answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind((ip, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            let (mut client, _) = listener.accept()?;
            client.write_all(greeting)?;
            if !answer.is_empty() {
                let mut byte = [0];
                while client.read(&mut byte)? == 1 && byte != *b"\n" {}
                client.write_all(answer)?;
            }
            // Until the client leaves.
            client.read_to_end(&mut Vec::new())
        });
        address
    }

    fn run(address: SocketAddr, pairs: &[(&str, &str)], limit: Duration) -> Finding {
        run_until(address, pairs, Deadline::at(Instant::now() + limit))
    }

    fn run_until(address: SocketAddr, pairs: &[(&str, &str)], deadline: Deadline) -> Finding {
        let action = build(&format!("//{address}"), &mut Options::of(pairs)).expect("it is well formed");
        action(deadline)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_listener_accepts_on_both_families() {
        for ip in ["127.0.0.1", "::1"] {
            assert_eq!(assert_tcp(&server(ip, b"", b"").to_string()), Ok(()), "{ip}");
        }
    }

    #[test]
    fn each_address_of_a_name_is_tried() {
        // The name has 127.0.0.1 and, on most hosts, ::1; the listener has only one of them.
        let port = server("127.0.0.1", b"", b"").port();
        assert_eq!(assert_tcp(&format!("localhost:{port}")), Ok(()));
    }

    #[test]
    fn nobody_listening_is_a_failure_that_says_where() {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let Err(Reason::Fail(text)) = assert_tcp(&free.to_string()) else { panic!("nobody listens") };
        assert!(text.starts_with(&format!("expected {free} to accept a connection: {free}: Connection refused")));
    }

    #[test]
    fn an_unknown_host_is_an_error() {
        let found = assert_tcp("no-such-host.invalid:1");
        assert!(matches!(&found, Err(Reason::Error(text)) if text.contains("no-such-host.invalid")), "{found:?}");
    }

    #[test]
    fn a_banner_matches() {
        let found = run(server("127.0.0.1", b"220 mail ESMTP\r\n", b""), &[("match", "^220 .*ESMTP")], LONG);
        assert_eq!(found, Finding::PASS);
    }

    #[test]
    fn what_is_sent_is_answered() {
        let address = server("::1", b"hello\n", b"+PONG\r\n");
        assert_eq!(run(address, &[("send", "PING\r\n"), ("match", r"\+PONG")], LONG), Finding::PASS);
    }

    #[test]
    fn another_banner_is_a_failure_that_says_what_came() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || listener.accept().and_then(|(mut client, _)| client.write_all(b"554 no\r\n")));
        let found = run(address, &[("match", "^220 ")], LONG);
        assert_eq!(found.status, Status::Fail);
        let text = found.context.expect("it says why");
        let expected = format!(
            "expected {address} to say something that matches \"^220 \": \
             got \"554 no\\r\\n\", then it closed the connection (in "
        );
        assert!(text.starts_with(&expected), "{text}");
    }

    #[test]
    fn a_silent_server_is_a_failure_before_the_deadline() {
        const LIMIT: Duration = Duration::from_secs(5);
        let (found, waited) = in_time(LIMIT, |deadline| {
            let began = Instant::now();
            (run_until(server("127.0.0.1", b"", b""), &[("match", "x")], deadline), began.elapsed())
        });
        assert_eq!(found.status, Status::Fail);
        assert!(found.context.expect("it says why").contains("got nothing, then nothing came in time"));
        assert!(waited >= LIMIT * 8 / 10, "{waited:?}");
    }

    #[test]
    fn a_server_that_talks_without_end_is_an_error_before_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let _ = io::copy(&mut io::repeat(b'.'), &mut &client);
            }
        });
        let found = in_time(Duration::from_secs(1), |deadline| run_until(address, &[("match", "x")], deadline));
        assert_eq!(found.status, Status::Error, "not all of it can be searched: {found:?}");
    }

    #[test]
    fn an_answer_that_comes_byte_by_byte_is_searched_once() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            let (mut client, _) = listener.accept()?;
            client.set_nodelay(true)?;
            (0..50_000).try_for_each(|_| client.write_all(b"."))?;
            client.write_all(b"\r\nend\r\n")
        });
        assert_eq!(run(address, &[("match", "^end$")], LONG), Finding::PASS);
    }

    #[test]
    fn an_address_without_its_zone_is_an_error() {
        let found = run("[fe80::1]:80".parse().expect("it is one"), &[], LONG);
        assert_eq!(found.status, Status::Error, "{found:?}");
    }

    #[test]
    fn a_wrong_expression_is_named() {
        let Err(error) = build("//db:1", &mut Options::of(&[("match", "(")])) else {
            panic!("it is not an expression")
        };
        assert!(error.starts_with("option match: ") && !error.contains('\n'), "{error}");
    }
}
