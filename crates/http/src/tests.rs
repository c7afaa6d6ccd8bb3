//! Conversations with a connection, without a socket.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::connection::WRITE_TIMEOUT;
use crate::head::Head;
use proptest::prelude::*;

const LIMITS: Limits = Limits { line: 4094, fields: 100, field_size: 8190 };
const PATIENCE: Patience = Patience { header: Duration::from_secs(10), keep_alive: Duration::from_secs(75) };

/// A client and its connection.
struct Talk {
    connection: Connection,
    reader: Reader,
    now: Instant,
    wire: Wire,
}

/// What lies between the two.
#[derive(Default)]
struct Wire {
    /// What the client has sent.
    said: Vec<u8>,
    /// What the client has received.
    heard: String,
    shut: bool,
    in_flight: usize,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.said.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.said[..count]);
        self.said.drain(..count);
        if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }
}

impl Write for Wire {
    /// In pieces, as a slow client would read it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(100)];
        self.heard.push_str(std::str::from_utf8(piece).expect("answers are ASCII here"));
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Wire {
    fn shut(&mut self) {
        self.shut = true;
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }
}

impl Talk {
    fn new() -> Talk {
        let now = Instant::now();
        let (connection, reader) = (Connection::new(now, &PATIENCE), Reader::new(LIMITS, PATIENCE));
        Talk { connection, reader, now, wire: Wire::default() }
    }

    /// The client sends this, and is answered as far as possible; the body of each answer is its target.
    fn say(&mut self, bytes: impl AsRef<[u8]>) -> &mut Talk {
        self.wire.said.extend_from_slice(bytes.as_ref());
        self.go_on();
        self
    }

    fn go_on(&mut self) {
        loop {
            match self.connection.advance(&mut self.wire, self.now, &mut self.reader) {
                Step::Asked => {
                    let target = self.connection.request().expect("it needs an answer").target.to_owned();
                    self.connection.respond(response(200, &body(&target)), self.now);
                }
                Step::Rejected(rejection) => self.reject(rejection),
                Step::AwaitsInput | Step::AwaitsRoom | Step::Over => return,
            }
        }
    }

    fn reject(&mut self, rejection: Rejection) {
        let (status, why) = rejection.answer();
        self.connection.respond(response(status, &body(why)), self.now);
    }

    fn is_over(&mut self) -> bool {
        self.connection.advance(&mut self.wire, self.now, &mut self.reader) == Step::Over
    }

    fn heard(&self) -> &str {
        &self.wire.heard
    }

    fn statuses(&self) -> Vec<&str> {
        let heads = self.heard().split("HTTP/1.1 ").skip(1).filter_map(|text| text.get(..3));
        heads.filter(|status| status.bytes().all(|byte| byte.is_ascii_digit())).collect()
    }
}

fn body(text: &str) -> Arc<Vec<u8>> {
    Arc::new(text.as_bytes().to_vec())
}

fn response(status: u16, body: &Arc<Vec<u8>>) -> Response<'_> {
    Response { status, fields: "Server: hospital\r\nCache-Control: no-store\r\n", body, close: false }
}

fn talk(bytes: impl AsRef<[u8]>) -> Talk {
    let mut talk = Talk::new();
    talk.say(bytes);
    talk
}

#[test]
fn a_request_is_answered_and_the_connection_kept() {
    let mut talk = talk("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    insta::assert_snapshot!(talk.heard().replace('\r', ""), @r"
    HTTP/1.1 200 OK
    Content-Length: 2
    Server: hospital
    Cache-Control: no-store

    /a
    ");
    talk.say("GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(talk.statuses(), ["200", "200"]);
    assert!(talk.connection.is_idle());
}

#[test]
fn it_is_closed_when_the_client_or_its_version_wants_it() {
    for (request, closed) in [
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: foo, CLOSE\r\n\r\n", true),
        ("GET / HTTP/1.0\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", false),
    ] {
        let mut talk = talk(request);
        assert_eq!(talk.is_over(), closed, "{request:?}");
        assert_eq!(talk.heard().contains("Connection: close"), closed, "{request:?}");
    }
    assert!(talk("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").heard().contains("Connection: keep-alive"));
}

#[test]
fn head_is_told_the_length_and_not_the_body() {
    let talk = talk("HEAD /abc HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(talk.heard().contains("Content-Length: 4\r\n"));
    assert!(talk.heard().ends_with("\r\n\r\n"));
}

#[test]
fn a_body_is_never_read_but_its_request_is_answered() {
    for field in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let mut talk = talk(format!("POST / HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\nhello"));
        assert_eq!(talk.statuses(), ["200"], "{field}");
        assert!(talk.heard().contains("Connection: close") && talk.wire.shut, "{field}");
        talk.say("GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(talk.statuses(), ["200"], "what follows a body is not a request");
    }
    assert!(talk("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").connection.is_idle());
}

#[test]
fn what_is_no_request_is_refused_with_its_own_status() {
    let long = "x".repeat(9000);
    let many = "A: b\r\n".repeat(101);
    for (status, request) in [
        ("400", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\nHost: x\n\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: x\r\nA: b\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost : x\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: x\0\r\n\r\n".to_owned()),
        ("400", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()),
        ("400", "\u{16}\u{3}\u{1}".to_owned()),
        ("414", format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n")),
        ("414", "x".repeat(5000)),
        ("431", format!("GET / HTTP/1.1\r\nHost: x\r\nA: {long}\r\n\r\n")),
        ("431", format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n")),
        ("501", "BREW / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()),
        ("501", "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".to_owned()),
        ("505", "GET / HTTP/1.2\r\nHost: x\r\n\r\n".to_owned()),
        ("505", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
    ] {
        let talk = talk(&request);
        assert_eq!(talk.statuses(), [status], "{:?}", &request[..request.len().min(90)]);
        assert!(talk.wire.shut, "the answer is not overtaken by a reset");
    }
}

#[test]
fn a_header_without_end_is_cut_off() {
    let mut talk = talk("GET / HTTP/1.1\r\nHost: x\r\n");
    for _ in 0..20 {
        talk.say("A: ".to_owned() + &"b".repeat(4000) + "\r\n");
    }
    assert_eq!(talk.statuses(), ["431"]);
}

#[test]
fn empty_lines_before_a_request_are_none_of_it() {
    let mut talk = talk("\r\n\r");
    assert!(talk.statuses().is_empty());
    talk.say("\n\r\n");
    assert!(talk.connection.is_idle());
    talk.connection
        .receive(b"\r\nHEAD / HTTP/1.1\r\nHost: x\r\n\r\n", talk.now, &mut talk.reader)
        .expect("it is well formed");
    assert!(talk.connection.head().0.starts_with(b"HEAD / "), "the log has its first line");
    talk.go_on();
    talk.say("\r\nHEAD / HTTP/1.1\r\n\r\n");
    assert_eq!(talk.statuses(), ["200", "400"]);
    assert!(talk.heard().ends_with("\r\n\r\n"), "neither has a body: {}", talk.heard());
}

#[test]
fn empty_lines_in_pieces_do_not_renew_the_header_timeout() {
    let mut talk = Talk::new();
    talk.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    talk.say("\r");
    let deadline = Some(talk.now + PATIENCE.header);
    for piece in ["\n", "\r", "\n", "\r", "\n", "\r"] {
        talk.now += Duration::from_secs(1);
        assert_eq!(talk.say(piece).connection.deadline(), deadline);
    }
    talk.say("\n\r\n\r\n");
    assert_eq!(talk.statuses(), ["200", "400"], "five are too many");
}

#[test]
fn an_answer_that_ends_a_kept_connection_is_not_overtaken_by_a_reset() {
    let mut talk = Talk::new();
    let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    talk.connection.receive(request, talk.now, &mut talk.reader).expect("it is well formed");
    talk.connection.respond(Response { close: true, ..response(200, &body("")) }, talk.now);
    talk.go_on();
    assert!(talk.wire.shut, "what was sent behind it is taken in");
}

#[test]
fn a_head_with_a_token_is_not_kept_to_compare_the_next_one_with() {
    let request = |field: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{field}\r\n");
    let mut reader = Reader::<()>::new(LIMITS, PATIENCE);
    let mut number = |field| reader.read(request(field).as_bytes(), 0).expect("it is well formed").map(|it| it.number);
    assert_eq!(number(""), number(""));
    let token = "Authorization: Bearer secret\r\n";
    assert_ne!(number(token), number(token));
}

#[test]
fn what_was_made_of_a_request_is_remembered_until_another_comes_and_never_for_a_token() {
    let mut reader = Reader::<&str>::new(LIMITS, PATIENCE);
    let mut ask = |request: &str, made| {
        let mut talk = Talk::new();
        talk.connection.receive(request.as_bytes(), talk.now, &mut reader).expect("it is well formed");
        let known = reader.recall(talk.connection.number()).copied();
        reader.remember(talk.connection.number(), made);
        known
    };
    let (a, b) = ("GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!([ask(a, "first"), ask(a, "second"), ask(b, "third")], [None, Some("first"), None]);
    assert_eq!([ask(a, "fourth"), ask(a, "fifth")], [None, Some("fourth")]);
    let token = "GET /a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n";
    assert_eq!([ask(token, "sixth"), ask(token, "seventh")], [None, None]);
}

#[test]
fn a_large_body_is_shared_by_all_who_are_sent_it_until_they_have_it() {
    let large = body(&"x".repeat(1 << 20));
    let mut talks = [Talk::new(), Talk::new(), Talk::new()];
    for talk in &mut talks {
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        talk.connection.receive(request, talk.now, &mut talk.reader).expect("it is well formed");
        talk.connection.respond(response(200, &large), talk.now);
    }
    assert_eq!(Arc::strong_count(&large), 4);
    talks[0].connection.close();
    talks[0].connection.shrink();
    for talk in &mut talks[1..] {
        talk.go_on();
        assert!(talk.heard().ends_with(&format!("\r\n\r\n{}", "x".repeat(1 << 20))));
    }
    assert_eq!(Arc::strong_count(&large), 1);
}

#[test]
fn who_is_slow_with_a_head_is_told_and_who_is_idle_is_not() {
    let mut slow = talk("GET / HT");
    assert_eq!(slow.connection.deadline(), Some(slow.now + PATIENCE.header));
    slow.now += Duration::from_secs(5);
    slow.say("TP/1.1\r\n");
    assert_eq!(
        slow.connection.deadline(),
        Some(slow.now + Duration::from_secs(5)),
        "the clock runs from the first byte"
    );
    let rejection = slow.connection.expire(&slow.wire, slow.now).expect_err("it is late");
    slow.reject(rejection);
    slow.go_on();
    assert_eq!(slow.statuses(), ["408"]);

    let mut idle = talk("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(idle.connection.deadline(), Some(idle.now + PATIENCE.keep_alive));
    assert_eq!(idle.connection.expire(&idle.wire, idle.now), Ok(()));
    assert_eq!((idle.is_over(), idle.statuses().len()), (true, 1));
}

#[test]
fn a_client_that_reads_slowly_and_steadily_is_not_cut_off() {
    let mut talk = Talk::new();
    let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    talk.connection.receive(request, talk.now, &mut talk.reader).expect("it is well formed");
    talk.connection.respond(response(200, &body("long")), talk.now);
    for in_flight in [900, 800, 1] {
        talk.wire.in_flight = in_flight;
        talk.now = talk.connection.deadline().expect("the client is waited for");
        assert_eq!(talk.connection.expire(&talk.wire, talk.now), Ok(()));
        let goes_on = Some(talk.now + WRITE_TIMEOUT);
        assert_eq!(talk.connection.deadline(), goes_on, "{in_flight} of 1000 bytes are left to take");
    }
    assert_eq!(talk.connection.expire(&talk.wire, talk.now), Ok(()));
    assert!(talk.is_over(), "it has taken nothing");
}

#[test]
fn a_client_that_shuts_its_half_is_still_answered() {
    let mut talk = Talk::new();
    talk.connection
        .receive(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", talk.now, &mut talk.reader)
        .expect("it is well formed");
    talk.connection.end();
    assert!(talk.connection.is_asked());
    talk.go_on();
    assert_eq!(talk.statuses(), ["200"]);
}

#[test]
fn a_client_that_never_stops_talking_is_cut_off() {
    let mut talk = talk("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n");
    for _ in 0..100 {
        talk.say([0; 16 * 1024]);
    }
    assert!(talk.is_over());
}

#[test]
fn a_connection_is_fresh_for_the_next_client() {
    let mut talk = talk("GET / HTTP/1.1\r\nHost: x\r\nA: ");
    talk.connection.reset(talk.now, &PATIENCE);
    assert!(talk.connection.is_idle());
    talk.say("GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(talk.statuses(), ["200"]);
}

#[test]
fn a_head_that_only_begins_like_the_last_one_is_read_anew() {
    let mut talk = talk("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    talk.say("GET /a HTTP/1.1\r\nHost: x\r\n");
    assert_eq!(talk.statuses(), ["200"]);
    talk.say("Connection: close\r\n\r\n");
    assert!(talk.is_over());
    assert_eq!(talk.statuses().len(), 2);
}

/// A conversation that begins with what a proxy says.
fn behind_proxy() -> Talk {
    let mut talk = Talk::new();
    talk.connection.set_peer(Some([10, 0, 0, 1].into()));
    talk.connection.expect_proxy_header();
    talk
}

/// What a proxy says first, and the address that it names.
fn proxy_headers() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let second = |command: u8, rest: &[u8]| {
        let length = [0, u8::try_from(rest.len() - 1).expect("it is short")];
        [b"\r\n\r\n\0\r\nQUIT\n", &[command, rest[0]][..], &length, &rest[1..]].concat()
    };
    let four = [0x11, 192, 0, 2, 7, 10, 0, 0, 2, 0xd9, 3, 0, 80];
    let with_more = [&four[..], &[0x04, 0, 2, 0, 0]].concat();
    vec![
        (b"PROXY TCP4 192.0.2.7 10.0.0.2 55555 80\r\n".to_vec(), Some("192.0.2.7")),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 55555 80\r\n".to_vec(), Some("2001:db8::7")),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (second(0x21, &four), Some("192.0.2.7")),
        (second(0x21, &with_more), Some("192.0.2.7")),
        (second(0x20, &[0]), None),
        (second(0x20, &four), None),
    ]
}

#[test]
fn a_proxy_says_who_the_client_is_and_requests_follow() {
    for (header, peer) in proxy_headers() {
        let mut talk = behind_proxy();
        talk.say([&header[..], b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n"].concat());
        assert_eq!(talk.statuses(), ["200", "200"], "{}", header.escape_ascii());
        let peer = peer.unwrap_or("10.0.0.1").parse().expect("it is an address");
        assert_eq!(talk.connection.peer(), Some(peer), "{}", header.escape_ascii());
    }
}

#[test]
fn who_does_not_speak_the_proxy_protocol_is_refused_where_it_is_expected() {
    for text in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PROXY TCP4 a b 1 2\r\n", "\r\n\r\nGET / HTTP/1.0\r\n\r\n"] {
        let mut talk = behind_proxy();
        talk.say(text);
        assert_eq!(talk.statuses(), ["400"], "{text:?}");
        assert!(talk.heard().contains("--proxy-protocol"), "{}", talk.heard());
    }
}

#[test]
fn a_proxy_header_that_nobody_expects_is_refused_with_the_setting_that_reads_it() {
    for (header, _) in proxy_headers() {
        let talk = talk([&header[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"].concat());
        assert_eq!(talk.statuses(), ["400"], "{}", header.escape_ascii());
        assert!(talk.heard().contains("--proxy-protocol"), "{}", talk.heard());
    }
}

proptest! {
    #[test]
    fn however_a_proxy_header_is_cut_it_is_read(header in proptest::sample::select(proxy_headers()), cut in any::<proptest::sample::Index>()) {
        let whole = [&header.0[..], b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
        let (first, second) = whole.split_at(cut.index(whole.len()));
        let mut talk = behind_proxy();
        talk.say(first).say(second);
        prop_assert_eq!(talk.statuses(), ["200"]);
    }

    #[test]
    fn no_proxy_header_makes_it_panic(start in proptest::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", b"\r\n\r\n\0\r\nQUIT\n\x21\x11"]), rest in proptest::collection::vec(any::<u8>(), 0..300)) {
        behind_proxy().say([start, &rest].concat());
    }

    #[test]
    fn whatever_was_read_before_a_request_is_read_as_by_a_fresh_reader(
        texts in proptest::collection::vec("(GET|HEAD) /a? HTTP/1.[01]\r\n(Host: x\r\n){0,2}(Accept: [ab]\r\n)?(Connection: close\r\n)?\r\n", 1..8),
    ) {
        let mut reader = Reader::<()>::new(LIMITS, PATIENCE);
        let mut last = None;
        for text in texts {
            let fresh = Reader::<()>::new(LIMITS, PATIENCE).read(text.as_bytes(), 0).map(|request| request.expect("it is whole"));
            let known = reader.read(text.as_bytes(), 0).map(|request| request.expect("it is whole"));
            let number = known.as_ref().map_or(0, |known| known.number);
            let read = |request: Result<Head, _>| {
                request.map(|mut it| {
                    it.number = 0;
                    format!("{it:?}")
                })
            };
            prop_assert_eq!(read(known.clone()), read(fresh));
            if known.is_ok() {
                let before = last.replace((number, text.clone()));
                prop_assert!(before.is_none_or(|(before, asked)| (before == number) == (asked == text)), "{}", number);
            }
        }
    }

    #[test]
    fn however_requests_are_cut_they_are_answered_in_order(
        targets in proptest::collection::vec("/[a-z]{0,8}", 1..6),
        cuts in proptest::collection::vec(1..40usize, 0..40),
    ) {
        let whole: String = targets.iter().map(|target| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
        let at_once = talk(&whole);
        let (mut in_pieces, mut rest) = (Talk::new(), whole.as_bytes());
        for cut in cuts {
            let (piece, left) = rest.split_at(cut.min(rest.len()));
            in_pieces.say(piece);
            rest = left;
        }
        in_pieces.say(rest);
        prop_assert_eq!(in_pieces.heard(), at_once.heard());
        prop_assert_eq!(in_pieces.statuses().len(), targets.len());
    }

    #[test]
    fn no_bytes_make_it_panic_or_answer_twice(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let talk = talk(&bytes);
        prop_assert!(talk.statuses().len() <= 1 + bytes.windows(4).filter(|end| end == b"\r\n\r\n").count());
    }

    #[test]
    fn near_requests_never_panic(text in "(GET|POST|\\PC{0,3}) ?[/*]?\\PC{0,9} ?(HTTP/1.[01])?[\r\n]{0,2}((Host|Content-Length|Transfer-Encoding|\\PC{0,5})[: ]{0,2}\\PC{0,9}[\r\n]{0,2}){0,5}[\r\n]{0,4}") {
        talk(text);
    }
}

#[test]
fn as_many_fields_are_read_as_the_limit_allows_and_no_more() {
    let head = |fields: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(fields - 1));
    for limit in [1, 99, 100, 101, 500, crate::MOST_FIELDS] {
        let mut reader = Reader::<()>::new(Limits { fields: limit, ..LIMITS }, PATIENCE);
        let mut answer = |fields| reader.read(head(fields).as_bytes(), 0).map(|request| request.is_some());
        assert_eq!(answer(limit), Ok(true), "{limit}");
        assert_eq!(answer(limit + 1), Err(Rejection::FieldsTooLarge), "{limit}");
    }
}
