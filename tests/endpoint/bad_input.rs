//! Malformed requests and worse: how each is answered, whether the connection goes on afterwards, and that the same
//! worker then answers the next probe.

use crate::harness::*;
use After::{Closed, Kept};
use socket2::SockRef;
use std::time::Duration;

/// What becomes of the connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum After {
    /// The next request is answered.
    Kept,
    /// It is closed in an orderly way, and nothing that was sent afterwards is taken for a request.
    Closed,
}

#[test]
fn each_shape_has_its_answer() {
    let target = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    let fields = |fields: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let lines = |lines: &str| lines.to_owned();
    let bytes = |bytes: &[u8]| bytes.to_vec();
    assert_answers(
        &[
            // The end, or the beginning, of a body.
            ("two lengths", 400, Closed, fields("Content-Length: 1\r\nContent-Length: 2\r\n") + "a"),
            ("the same length twice", 400, Closed, fields("Content-Length: 1\r\nContent-Length: 1\r\n") + "a"),
            ("a list of lengths", 400, Closed, fields("Content-Length: 1, 1\r\n") + "a"),
            ("a signed length", 400, Closed, fields("Content-Length: +1\r\n") + "a"),
            ("a negative length", 400, Closed, fields("Content-Length: -1\r\n")),
            ("an empty length", 400, Closed, fields("Content-Length: \r\n")),
            ("an endless length", 400, Closed, fields("Content-Length: 99999999999999999999\r\n")),
            (
                "a length and a coding",
                400,
                Closed,
                fields("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
            ),
            (
                "a coding and a length",
                400,
                Closed,
                fields("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + "0\r\n\r\n",
            ),
            (
                "a coding in HTTP/1.0",
                400,
                Closed,
                lines("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            ),
            ("an unknown coding", 501, Closed, fields("Transfer-Encoding: xchunked\r\n")),
            ("two codings", 501, Closed, fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n")),
            ("a body with a GET", 200, Closed, fields("Content-Length: 5\r\n") + "hello"),
            (
                "a chunked body with a GET",
                200,
                Closed,
                fields("Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n",
            ),
            ("an empty body", 200, Kept, fields("Content-Length: 0\r\n")),
            // Lines and fields.
            ("bare LF", 400, Closed, lines("GET / HTTP/1.1\nHost: x\n\n")),
            ("one bare LF", 400, Closed, lines("GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n")),
            ("bare CR", 400, Closed, lines("GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n")),
            ("a folded field", 400, Closed, fields("A: b\r\n c\r\n")),
            ("a space before the colon", 400, Closed, fields("Content-Length : 5\r\n")),
            ("a space before the first field", 400, Closed, lines("GET / HTTP/1.1\r\n Host: x\r\n\r\n")),
            ("a field without a name", 400, Closed, fields(": b\r\n")),
            ("a field without a colon", 400, Closed, fields("A\r\n")),
            ("a NUL in a value", 400, Closed, fields("A: b\0c\r\n")),
            ("a NUL in the target", 400, Closed, target("/\0")),
            ("no Host", 400, Closed, lines("GET / HTTP/1.1\r\n\r\n")),
            ("two Hosts", 400, Closed, fields("Host: x\r\n")),
            ("no target", 400, Closed, target("")),
            ("empty lines before it", 200, Kept, "\r\n\r\n".to_owned() + &fields("")),
            ("an empty line that ends with LF alone before it", 400, Closed, "\r\n\n".to_owned() + &fields("")),
            // Targets.
            ("an absolute target", 200, Kept, target("http://other.example:80/livez")),
            ("an authority for GET", 400, Kept, target("other.example:443")),
            ("an authority for CONNECT", 405, Kept, lines("CONNECT other.example:443 HTTP/1.1\r\nHost: x\r\n\r\n")),
            ("an asterisk for GET", 400, Kept, target("*")),
            ("a target that is not a path", 400, Kept, target("hospital")),
            ("dots", 404, Kept, target("/../../etc/passwd")),
            ("encoded dots", 404, Kept, target("/%2e%2e/%2e%2e/etc/passwd")),
            ("encoded dots behind a path", 404, Kept, target("/livez/%2e%2e/")),
            ("half a percent sign", 400, Kept, target("/db%2")),
            ("a percent sign before no digits", 400, Kept, target("/%zz")),
            ("a percent sign alone in a query", 400, Kept, target("/?tag=%")),
            ("an encoded NUL", 400, Kept, target("/%00")),
            ("an encoded line end", 400, Kept, target("/%0d%0aSet-Cookie:x")),
            ("encoded bytes that are not UTF-8", 400, Kept, target("/%ff%fe")),
            ("an overlong encoding of a slash", 400, Kept, target("/..%c0%af")),
            // Other demands.
            ("a list of formats in two lines", 200, Kept, fields("Accept: image/png\r\nAccept: application/json\r\n")),
            ("Expect: 100-continue", 200, Kept, fields("Expect: 100-continue\r\n")),
            ("Expect: 100-continue with a body", 200, Closed, fields("Expect: 100-continue\r\nContent-Length: 5\r\n")),
            ("an upgrade to a websocket", 200, Kept, fields("Connection: Upgrade\r\nUpgrade: websocket\r\n")),
            (
                "an upgrade to HTTP/2",
                200,
                Kept,
                fields("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
            ),
            (
                "a scraper that waits for longer than can be counted from now",
                200,
                Kept,
                fields("X-Prometheus-Scrape-Timeout-Seconds: 1e19\r\n"),
            ),
            // Other protocols and versions.
            ("HTTP/0.9", 400, Closed, lines("GET /\r\n\r\n")),
            ("HTTP/1.2", 505, Closed, lines("GET / HTTP/1.2\r\nHost: x\r\n\r\n")),
            ("the HTTP/2 preface", 505, Closed, lines("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")),
            ("the PROXY protocol", 400, Closed, lines("PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n")),
            ("an unknown method", 501, Closed, lines("BREW / HTTP/1.1\r\nHost: x\r\n\r\n")),
            ("a method in small letters", 501, Closed, lines("get / HTTP/1.1\r\nHost: x\r\n\r\n")),
        ]
        .map(|(shape, status, after, text)| (shape, status, after, text.into_bytes())),
    );
    assert_answers(&[
        (
            "a TLS hello",
            400,
            Closed,
            [bytes(b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03"), vec![0xa5; 194]].concat(),
        ),
        ("a target that is not UTF-8", 400, Closed, bytes(b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n")),
        ("a field that is not UTF-8", 200, Kept, bytes(b"GET / HTTP/1.1\r\nHost: x\r\nA: \xff\xfe\r\n\r\n")),
    ]);
}

#[test]
fn what_is_too_large_has_its_answer() {
    let line = |length| format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(length));
    let fields = |count| format!("GET / HTTP/1.1\r\n{}Host: x\r\n\r\n", "A: b\r\n".repeat(count));
    let field = |length| format!("GET / HTTP/1.1\r\nA: {}\r\nHost: x\r\n\r\n", "b".repeat(length));
    assert_answers(
        &[
            ("a line of 1 MB", 414, Closed, line(1 << 20)),
            ("a line without an end", 414, Closed, "a".repeat(1 << 20)),
            ("a line of 1 MB behind an empty one", 414, Closed, "\r\n".to_owned() + &line(1 << 20)),
            ("a line of 1 MB behind as many empty ones as may be", 414, Closed, "\r\n".repeat(4) + &line(1 << 20)),
            ("a line behind 50,000 empty ones", 400, Closed, "\r\n".repeat(50_000) + &line(1)),
            ("a line of 1 MB behind an LF", 400, Closed, "\n\r\n\r\n".to_owned() + &line(1 << 20)),
            ("10,000 fields", 431, Closed, fields(10_000)),
            ("one field too many", 431, Closed, fields(100)),
            ("as many fields as are allowed", 200, Kept, fields(99)),
            ("a field one byte too large", 431, Closed, field(8190)),
            ("a field of 1 MB", 431, Closed, field(1 << 20)),
            ("a field of 1 MB behind empty lines", 431, Closed, "\r\n\r\n".to_owned() + &field(1 << 20)),
        ]
        .map(|(shape, status, after, text)| (shape, status, after, text.into_bytes())),
    );
}

/// Sends each on a connection of its own, to a single worker.
#[track_caller]
fn assert_answers(cases: &[(&str, u16, After, Vec<u8>)]) {
    let server = Server::start::<_, &str>([]);
    let worker = server.workers();
    for (shape, status, expected, bytes) in cases {
        let mut client = Client::to(&server.at);
        // Bytes that arrive too late may find the connection closed; the answer comes all the same.
        let _ = client.try_send(bytes);
        let answer = client.answer();
        assert_eq!(answer.status, *status, "{shape}: {}", answer.body);
        if *status >= 400 {
            assert_is_error(&answer, *status, shape);
        }
        let after = if answer.header("connection") == Some("close") { Closed } else { Kept };
        assert_eq!(after, *expected, "{shape}");
        match after {
            Closed => assert!(client.is_closed(), "{shape}: nothing may follow"),
            Kept => {
                client.ask("/livez");
                assert_eq!(client.answer().body, "livez check passed\n", "{shape}");
            }
        }
        assert_eq!(get(&server.at, "/").status, 200, "the probe after {shape}");
    }
    assert_eq!(server.workers(), worker, "it has survived them all: {}", server.stderr());
}

#[test]
fn a_client_that_resets_while_its_round_runs_costs_nothing() {
    let server = Launch::serve([""; 0]).env("HEALTHCHECKS", "slow=exec:/bin/sleep#args=0.2").start();
    let (worker, idle) = (server.workers()[0], processes::sockets(server.workers()[0]));
    for _ in 0..20 {
        let mut client = Client::to(&server.at);
        let Stream::Tcp(stream) = client.stream() else { panic!("it is TCP") };
        // So that closing sends a reset.
        SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).expect("a socket has that option");
        client.ask("/");
    }
    assert_eq!(get(&server.at, "/").status, 200, "the next probe");
    eventually("no connection is left", || processes::sockets(worker) == idle);
    assert_eq!(server.workers(), [worker], "{}", server.stderr());
}
