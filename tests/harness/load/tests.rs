//! The load client of the other tests distinguishes every way in which a request can end. What it does not notice, no
//! test of a reload would.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use crate::harness::load::{Load, Shape, Tally, Verdict};
use crate::harness::{At, Launch, Server, eventually};
use socket2::{Domain, Socket, Type};

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LAST: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

#[test]
fn every_answer_of_a_good_server_counts_as_ok() {
    let server = Server::start(["-w", "2"]);
    let load = Load::start(&server.at, Shape::default());
    load.wait_for_answers(200);
    load.stop().assert_nothing_lost();
}

#[test]
fn every_answer_on_a_unix_socket_counts_as_ok() {
    let launch = Launch::binding([] as [&str; 0]);
    let address = format!("unix:{}", launch.path("socket").display());
    let server = launch.args(["-b", &address]).start();
    let load = Load::start(&server.at, Shape::default());
    load.wait_for_answers(200);
    load.stop().assert_nothing_lost();
}

#[test]
fn nobody_at_the_port_is_refused() {
    // Bound, so that nobody else gets the port meanwhile, but not listening.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are sockets");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port is free");
    let address = socket.local_addr().expect("it is bound").as_socket().expect("it is of IP");
    assert_only(Verdict::Refused, &load_until_failure(&At::Tcp(address), one(false)));
}

#[test]
fn no_socket_file_is_refused() {
    let directory = tempfile::tempdir().expect("there is room");
    assert_only(Verdict::Refused, &load_until_failure(&At::Unix(directory.path().join("socket")), one(false)));
}

#[test]
fn nobody_behind_the_socket_file_is_refused() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("socket");
    drop(UnixListener::bind(&path).expect("the directory is ours"));
    assert_only(Verdict::Refused, &load_until_failure(&At::Unix(path), one(false)));
}

#[test]
fn a_close_before_the_answer_is_a_reset() {
    assert_only(Verdict::Reset, &load_on("", one(false)));
}

#[test]
fn a_reset_before_the_answer_is_a_reset() {
    let at = peer(|stream| {
        // The request is left unread.
        let mut first = [0];
        assert_eq!(stream.peek(&mut first).expect("a request comes"), 1);
    });
    let tally = load_until_failure(&at, one(false));
    assert_only(Verdict::Reset, &tally);
    assert!(tally.described[0].contains("reset by peer"), "{tally}");
}

#[test]
fn half_a_head_is_truncated() {
    assert_only(Verdict::Truncated, &load_on("HTTP/1.1 200 OK\r\nContent-Le", one(false)));
}

#[test]
fn half_a_body_is_truncated() {
    assert_only(Verdict::Truncated, &load_on(LAST.strip_suffix('k').expect("it ends so"), one(false)));
}

#[test]
fn bytes_behind_the_answer_are_noticed() {
    assert_only(Verdict::Truncated, &load_on(&format!("{LAST}!"), one(false)));
}

#[test]
fn an_answer_without_length_is_noticed() {
    assert_only(Verdict::Truncated, &load_on("HTTP/1.1 200 OK\r\n\r\nok", one(false)));
}

#[test]
fn another_status_is_not_200() {
    let tally = load_on(&LAST.replace("200 OK", "503 Service Unavailable"), one(false));
    assert_only(Verdict::Not200, &tally);
    assert!(tally.described[0].contains("503 Service Unavailable"), "{tally}");
}

#[test]
fn no_answer_in_time_is_slow() {
    let impatient = Shape { patience: Duration::from_millis(50), ..one(false) };
    let at = peer(until_the_client_leaves);
    assert_only(Verdict::Slow, &load_until_failure(&at, impatient));
}

#[test]
fn half_an_answer_in_time_is_slow() {
    let impatient = Shape { patience: Duration::from_millis(50), ..one(false) };
    let at = peer(|stream| {
        answer(stream, "HTTP/1.1 200 OK\r\n");
        until_the_client_leaves(stream);
    });
    assert_only(Verdict::Slow, &load_until_failure(&at, impatient));
}

#[test]
fn an_announced_close_that_does_not_come_is_slow() {
    let impatient = Shape { patience: Duration::from_millis(50), ..one(false) };
    let at = peer(|stream| {
        answer(stream, LAST);
        until_the_client_leaves(stream);
    });
    assert_only(Verdict::Slow, &load_until_failure(&at, impatient));
}

#[test]
fn an_unannounced_close_of_a_kept_connection_is_stale() {
    let at = peer(|stream| answer(stream, GOOD));
    let tally = load_until_failure(&at, one(true));
    assert!(tally.count(Verdict::Ok) > 0 && tally.count(Verdict::Stale) > 0, "{tally}");
    assert_eq!(tally.lost(), 0, "{tally}");
}

#[test]
fn an_announced_close_of_a_kept_connection_is_ok() {
    let at = peer(|stream| {
        answer(stream, GOOD);
        answer(stream, LAST);
    });
    let load = Load::start(&at, one(true));
    load.wait_for_answers(5);
    load.stop().assert_nothing_lost();
}

// --- bad servers -------------------------------------------------------------------------------------

/// A server that serves one connection after the other with `serve`, as long as the test runs.
fn peer(serve: impl Fn(&mut TcpStream) + Send + 'static) -> At {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let at = At::Tcp(listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || listener.incoming().flatten().for_each(|mut stream| serve(&mut stream)));
    at
}

/// Reads a request, which arrives in one piece, and answers it.
fn answer(stream: &mut TcpStream, bytes: &str) {
    if matches!(stream.read(&mut [0; 1024]), Ok(1..)) {
        // It does not matter here if the client has left.
        let _ = stream.write_all(bytes.as_bytes());
    }
}

fn until_the_client_leaves(stream: &mut TcpStream) {
    while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
}

/// One client.
fn one(keeps: bool) -> Shape {
    Shape { close: usize::from(!keeps), keep_alive: usize::from(keeps), ..Shape::default() }
}

/// The tally of clients of a server that answers every request with these bytes and then closes.
fn load_on(bytes: &str, shape: Shape) -> Tally {
    let bytes = bytes.to_owned();
    let at = peer(move |stream| {
        answer(stream, &bytes);
        let _ = stream.shutdown(Shutdown::Both);
    });
    load_until_failure(&at, shape)
}

fn load_until_failure(at: &At, shape: Shape) -> Tally {
    let load = Load::start(at, shape);
    eventually("the load notices something", || !load.so_far().described.is_empty());
    load.stop()
}

#[track_caller]
fn assert_only(verdict: Verdict, tally: &Tally) {
    assert!(tally.count(verdict) > 0, "{tally}");
    assert_eq!(tally.lost(), tally.count(verdict), "{tally}");
    assert_eq!(tally.count(Verdict::Ok), 0, "{tally}");
}
