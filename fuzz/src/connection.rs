//! A whole conversation with a connection, with the client's bytes split in several ways.

use std::io::{self, ErrorKind, Read, Write};
use std::slice::Chunks;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hospital_http::{Connection, Limits, Method, Patience, Reader, Rejection, Response, Step, Stream};

/// Small enough for a short input to exceed them.
const LIMITS: Limits = Limits { line: 256, fields: 8, field_size: 128 };
const PATIENCE: Patience = Patience { header: Duration::from_secs(10), keep_alive: Duration::from_secs(75) };

const BODY: &[u8] = b"answered\n";

/// What is read at once at most.
const LARGEST_PIECE: usize = 4096;

/// How many reads and writes a connection may need for one byte of its client: it must not run in circles.
const STEPS_A_BYTE: usize = 16;

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Asked { method: Method, target: String, accept: Option<String>, authorization: Option<String> },
    Rejected(u16),
}

/// Talks, and judges the conversation. The first byte determines how the others are split.
///
/// # Panics
///
/// When something does not hold, which the fuzzer is looking for.
pub fn talk(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let mut reader = Reader::new(LIMITS, PATIENCE);
    let whole = Talk::with(&mut reader, bytes, bytes.len().max(1));
    // With a reader that already knows some of it.
    let pieces = Talk::with(&mut reader, bytes, 1 + usize::from(cut) % 32);
    whole.judge();
    pieces.judge();
    // An error may be noticed earlier or later, but how a request is split must not change what is read.
    assert_eq!(whole.requests(), pieces.requests(), "the pieces are of {} bytes", 1 + usize::from(cut) % 32);
}

struct Talk {
    events: Vec<Event>,
    heard: Vec<u8>,
}

/// A client that sends its bytes in pieces, reads likewise, and ends.
struct Client<'a> {
    pieces: Chunks<'a, u8>,
    piece: usize,
    heard: Vec<u8>,
    steps: usize,
}

impl Client<'_> {
    fn step(&mut self) {
        self.steps = self.steps.checked_sub(1).expect("the connection turns in circles");
    }
}

impl Read for Client<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.step();
        let piece = self.pieces.next().unwrap_or_default();
        buffer[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

impl Write for Client<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.step();
        assert!(!bytes.is_empty(), "it wants to write nothing");
        let count = bytes.len().min(self.piece);
        self.heard.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }
}

impl Stream for Client<'_> {
    fn shut(&mut self) {
        self.step();
    }

    fn in_flight(&self) -> usize {
        0
    }
}

impl Talk {
    /// The client sends all of this in pieces of this size.
    fn with(reader: &mut Reader, bytes: &[u8], piece: usize) -> Talk {
        let now = Instant::now();
        let mut connection = Connection::new(now, &PATIENCE);
        let mut talk = Talk { events: Vec::new(), heard: Vec::new() };
        let pieces = bytes.chunks(piece.min(LARGEST_PIECE));
        let mut client = Client { pieces, piece, heard: Vec::new(), steps: (bytes.len() + 64) * STEPS_A_BYTE };
        loop {
            match connection.advance(&mut client, now, reader) {
                Step::Asked => {
                    client.step();
                    talk.take_request(&connection);
                    connection.respond(response(200, &Arc::new(BODY.to_vec())), now);
                }
                Step::Rejected(rejection) => talk.reject(&mut connection, rejection, now),
                Step::AwaitsInput | Step::AwaitsRoom => unreachable!("this client is never slow"),
                Step::Over => return Talk { heard: client.heard, ..talk },
            }
        }
    }

    fn take_request(&mut self, connection: &Connection) {
        let asked = connection.request().expect("it needs an answer");
        self.events.push(Event::Asked {
            method: asked.method,
            target: asked.target.to_owned(),
            accept: asked.accept.map(str::to_owned),
            authorization: asked.authorization.map(str::to_owned),
        });
    }

    fn reject(&mut self, connection: &mut Connection, rejection: Rejection, now: Instant) {
        let (status, _) = rejection.answer();
        self.events.push(Event::Rejected(status));
        // Without a body: the answer to a HEAD has none, and here the method is unknown.
        connection.respond(response(status, &Arc::default()), now);
    }

    fn requests(&self) -> Vec<&Event> {
        self.events.iter().filter(|event| matches!(event, Event::Asked { .. })).collect()
    }

    /// One whole answer for each request, in order, and nothing after a rejection or after an announced close.
    fn judge(&self) {
        let mut rest = self.heard.as_slice();
        for (number, event) in self.events.iter().enumerate() {
            let mut fields = [httparse::EMPTY_HEADER; 16];
            let mut answer = httparse::Response::new(&mut fields);
            let head = match answer.parse(rest) {
                Ok(httparse::Status::Complete(head)) => head,
                other => panic!("{event:?} is answered {other:?}: {rest:?}"),
            };
            let field = |name: &str| answer.headers.iter().find(|field| field.name == name).map(|field| field.value);
            let length = match event {
                Event::Asked { method: Method::Head, .. } | Event::Rejected(_) => 0,
                Event::Asked { .. } => BODY.len(),
            };
            let status = match event {
                Event::Asked { .. } => 200,
                Event::Rejected(status) => *status,
            };
            assert_eq!(answer.code, Some(status), "{event:?}");
            assert_eq!(&rest[head..head + length], &BODY[..length], "{event:?}");
            rest = &rest[head + length..];
            let closes = field("Connection") == Some(b"close");
            assert!(closes || status == 200, "{event:?} is a refusal, and the connection goes on");
            assert!(!closes || number + 1 == self.events.len(), "{event:?} was the last, but there is another");
        }
        assert!(rest.is_empty(), "nobody has asked for {rest:?}");
    }
}

fn response(status: u16, body: &Arc<Vec<u8>>) -> Response<'_> {
    Response { status, fields: "", body, close: false }
}
