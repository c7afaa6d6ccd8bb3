//! Private parts as functions of bytes, for benches and fuzzers. Not part of the public interface.

use std::time::{Duration, Instant};

use crate::worker::connection::{Connection, Limits, Method, Need, Patience, Reader, Response};
use crate::worker::route::{Route, route};

const LIMITS: Limits = Limits { line: 4094, fields: 100, field_size: 8190 };
const PATIENCE: Patience = Patience { header: Duration::from_secs(10), keep_alive: Duration::from_secs(75) };

/// A connection without a socket, whose buffers are kept from one client to the next.
#[derive(Debug)]
pub struct Wire {
    connection: Connection,
    reader: Reader,
    now: Instant,
}

impl Wire {
    /// An unused one.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Wire {
        let now = Instant::now();
        Wire { connection: Connection::new(now, &PATIENCE), reader: Reader::new(LIMITS), now }
    }

    /// Whether these bytes, as sent by a new client, begin with a whole request.
    pub fn parse(&mut self, bytes: &[u8]) -> bool {
        self.connection.reset(self.now, &PATIENCE);
        self.connection.receive(bytes, self.now, &mut self.reader, &PATIENCE).is_ok()
            && self.connection.request().is_some()
    }

    /// A client's whole visit: it sends the pieces, gets `body` in answer to each request, and stops sending. Returns
    /// the number of bytes that it was sent.
    pub fn serve<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>, body: &[u8]) -> usize {
        let Wire { connection, reader, now } = self;
        let response =
            |status| Response { status, fields: &["Server: hospital\r\nVary: Accept\r\n"], body, close: false };
        connection.reset(*now, &PATIENCE);
        let (mut pieces, mut sent) = (pieces.into_iter(), 0);
        loop {
            let judged = match connection.need() {
                Need::Read => match pieces.next() {
                    Some(piece) => connection.receive(piece, *now, reader, &PATIENCE),
                    None => {
                        connection.end();
                        Ok(())
                    }
                },
                Need::Answer => {
                    connection.respond(response(200), *now);
                    Ok(())
                }
                Need::Write => {
                    let length = connection.output().len();
                    sent += length;
                    connection.sent(length, *now, reader, &PATIENCE)
                }
                Need::Shut => {
                    connection.shut();
                    Ok(())
                }
                Need::Close => return sent,
            };
            if let Err(rejection) = judged {
                connection.reject(response(rejection.answer().0), *now);
            }
        }
    }
}

/// Whether a GET for this target leads somewhere.
pub fn is_route(target: &str, prefix: &str) -> bool {
    !matches!(route(Method::Get, target, prefix), Route::Elsewhere | Route::NotAllowed | Route::Malformed)
}
