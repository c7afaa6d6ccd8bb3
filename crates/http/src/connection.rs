//! One HTTP/1.x connection without I/O: bytes in, requests out; responses in, bytes out.
//!
//! ```text
//!             receive            respond            all sent, keep-alive
//!   Reading ──────────▶ Asked ──────────▶ Writing ───────────────────────▶ Reading
//!      │                                     │ all sent, close
//!      │ end, expire                         ▼
//!      └──────────────▶ Closed ◀───────── Lingering   (half closed: what still comes is thrown away,
//!                                                      so that no reset overtakes the answer)
//! ```
//!
//! Requests may be pipelined: what arrives after one waits until that one is answered. A body is never read: its
//! request is answered, and then the connection is closed. Sources: RFC 9110 and 9112, and the PROXY protocol of
//! HAProxy. Where they leave a choice to a server, we take the stricter one: requests are smuggled through what two
//! parsers read differently.

use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxy_header::{ParseConfig, ProxyHeader};

use crate::head::{self, Head, KEPT_CAPACITY, Method, Patience, Reader, Rejection, Request, Response};

/// How much is discarded after an answer before the connection is closed regardless.
const LINGER_BYTES: usize = 256 * 1024;
/// How long bytes are discarded, at most.
const LINGER: Duration = Duration::from_secs(2);
/// How often a client must have taken more of its answer. A socket takes more only when much of its buffer is free again,
/// which a slow client may need longer for: see [`Stream::in_flight`].
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// A body up to this size is copied behind its head, so that both are written at once. A larger one is shared.
const LARGEST_COPY: usize = 64 * 1024;
/// How many empty lines may precede a request.
const MOST_EMPTY_LINES: usize = 4;

/// What a connection talks through: a socket that never blocks, or bytes that a test has prepared.
pub trait Stream: Read + Write {
    /// Shuts down the sending half. If the client is gone, the next read tells.
    fn shut(&mut self);
    /// How many bytes have been written that the other side has not taken yet.
    fn in_flight(&self) -> usize;
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// There is a request: [`Connection::respond`].
    Asked,
    /// There is something else than a request: [`Connection::respond`] to that too.
    Rejected(Rejection),
    /// The stream has nothing to read.
    AwaitsInput,
    /// The stream takes no more output at the moment.
    AwaitsRoom,
    /// The stream is to be closed.
    Over,
}

#[derive(Clone, Debug)]
enum State {
    Reading,
    Asked(Head),
    Writing { then: After },
    Lingering { budget: usize, shut: bool },
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Read,
    Linger,
    Close,
}

/// A connection; one object can serve one client after another.
#[derive(Debug)]
pub struct Connection {
    state: State,
    input: Vec<u8>,
    /// How much of the input is known not to end a head.
    scanned: usize,
    /// How many empty lines have arrived since the last request.
    empty_lines: usize,
    output: Vec<u8>,
    /// A large body, which follows the output.
    body: Option<Arc<Vec<u8>>>,
    /// How much of both was written.
    written: usize,
    /// How much of that the client had not taken when we last looked. `None`: we have not looked since the last write.
    in_flight: Option<usize>,
    deadline: Instant,
    /// Since when it has been waiting for its client, or its client for us.
    since: Instant,
    /// The client's address, if it is logged.
    peer: Option<IpAddr>,
    /// Whether a proxy has yet to say whom it speaks for.
    awaits_proxy: bool,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(now: Instant, patience: &Patience) -> Connection {
        Connection {
            state: State::Reading,
            input: Vec::new(),
            scanned: 0,
            empty_lines: 0,
            output: Vec::new(),
            body: None,
            written: 0,
            in_flight: None,
            deadline: now + patience.header,
            since: now,
            peer: None,
            awaits_proxy: false,
        }
    }

    /// Frees what its last client made its buffers grow to.
    pub fn shrink(&mut self) {
        for buffer in [&mut self.input, &mut self.output] {
            buffer.clear();
            buffer.shrink_to(KEPT_CAPACITY);
        }
        self.body = None;
    }

    /// Resets it for the next client, keeping its buffers.
    pub fn reset(&mut self, now: Instant, patience: &Patience) {
        self.shrink();
        let (input, output) = (std::mem::take(&mut self.input), std::mem::take(&mut self.output));
        *self = Connection { input, output, ..Connection::new(now, patience) };
    }

    /// Reads from the stream and writes to it, as far as that goes without waiting.
    pub fn advance<M>(&mut self, stream: &mut impl Stream, now: Instant, reader: &mut Reader<M>) -> Step {
        loop {
            let result = match self.state {
                State::Asked(_) => return Step::Asked,
                State::Closed => return Step::Over,
                State::Lingering { shut: ref mut shut @ false, .. } => {
                    stream.shut();
                    *shut = true;
                    Ok(())
                }
                State::Reading | State::Lingering { shut: true, .. } => match stream.read(&mut reader.buffer) {
                    Ok(count) => {
                        let buffer = std::mem::take(&mut reader.buffer);
                        let result = self.receive(&buffer[..count], now, reader);
                        reader.buffer = buffer;
                        result
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::AwaitsInput,
                    Err(error) => self.fail(error.kind()),
                },
                State::Writing { .. } => match stream.write(self.output()) {
                    Ok(count) => self.sent(count, now, reader),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::AwaitsRoom,
                    Err(error) => self.fail(error.kind()),
                },
            };
            if let Err(rejection) = result {
                return Step::Rejected(rejection);
            }
        }
    }

    /// The client is gone, unless a signal came in between.
    fn fail(&mut self, error: ErrorKind) -> Result<(), Rejection> {
        if error != ErrorKind::Interrupted {
            self.close();
        }
        Ok(())
    }

    /// When to call [`Connection::expire`]; `None` while it waits for our answer.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Reading | State::Writing { .. } | State::Lingering { .. } => Some(self.deadline),
            State::Asked(_) | State::Closed => None,
        }
    }

    /// Since when we have been waiting for its client; `None` while its client waits for us.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.deadline().map(|_| self.since)
    }

    /// Whether its client waits for an answer.
    pub fn is_asked(&self) -> bool {
        matches!(self.state, State::Asked(_))
    }

    /// Whether it waits for a request and no byte of it has arrived yet.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Reading) && self.input.is_empty()
    }

    /// Takes in bytes from the client. If there are none, it sends no more.
    pub(crate) fn receive<M>(&mut self, bytes: &[u8], now: Instant, reader: &mut Reader<M>) -> Result<(), Rejection> {
        match &mut self.state {
            _ if bytes.is_empty() => {
                self.end();
                Ok(())
            }
            State::Reading => {
                if self.input.is_empty() && self.empty_lines == 0 {
                    self.deadline = now + reader.patience.header;
                }
                self.since = now;
                self.input.extend_from_slice(bytes);
                if self.awaits_proxy && !self.take_proxy_header()? {
                    return Ok(());
                }
                self.skip_empty_lines()?;
                self.parse(reader)
            }
            State::Lingering { budget, .. } => {
                match budget.checked_sub(bytes.len()) {
                    Some(left) => *budget = left,
                    None => self.state = State::Closed,
                }
                Ok(())
            }
            State::Asked(_) | State::Writing { .. } | State::Closed => Ok(()),
        }
    }

    /// Takes the header of the PROXY protocol from the input. False if it is not all there.
    fn take_proxy_header(&mut self) -> Result<bool, Rejection> {
        let (peer, length) = match ProxyHeader::parse(&self.input, ParseConfig::default()) {
            Ok((header, length)) => (header.proxied_address().map(|proxied| proxied.source.ip()), length),
            Err(proxy_header::Error::BufferTooShort) => return Ok(false),
            Err(_) => return Err(Rejection::Malformed("it does not begin with a PROXY header (see --proxy-protocol)")),
        };
        // A proxy that speaks for itself is the client.
        self.peer = peer.or(self.peer);
        self.awaits_proxy = false;
        self.input.drain(..length);
        Ok(true)
    }

    /// A few empty lines before a request are not part of it (RFC 9112, 2.2), nor do its limits count them.
    fn skip_empty_lines(&mut self) -> Result<(), Rejection> {
        if !self.input.starts_with(b"\r\n") {
            return Ok(());
        }
        let lines = self.input.chunks_exact(2).take_while(|bytes| bytes == b"\r\n").count();
        self.input.drain(..2 * lines);
        self.scanned = 0;
        self.empty_lines += lines;
        match self.empty_lines {
            0..=MOST_EMPTY_LINES => Ok(()),
            _ => Err(Rejection::Malformed("too many empty lines before a request")),
        }
    }

    fn parse<M>(&mut self, reader: &mut Reader<M>) -> Result<(), Rejection> {
        match reader.read(&self.input, self.scanned)? {
            Some(head) => {
                self.scanned = 0;
                self.state = State::Asked(head);
            }
            None => self.scanned = self.input.len(),
        }
        Ok(())
    }

    /// The client sends no more. It may still read, so an answer in progress is finished.
    pub(crate) fn end(&mut self) {
        match self.state {
            State::Reading | State::Lingering { .. } => self.state = State::Closed,
            State::Asked(_) | State::Writing { .. } | State::Closed => {}
        }
    }

    /// The deadline has passed: [`Connection::advance`] it after that. A client that was too slow with its head gets an answer.
    pub fn expire(&mut self, stream: &impl Stream, now: Instant) -> Result<(), Rejection> {
        let in_flight = stream.in_flight();
        match self.state {
            State::Reading if !self.input.is_empty() => Err(Rejection::Timeout),
            State::Writing { .. } if self.in_flight.replace(in_flight).is_none_or(|before| in_flight < before) => {
                self.deadline = now + WRITE_TIMEOUT;
                Ok(())
            }
            State::Reading | State::Writing { .. } | State::Lingering { .. } => {
                self.state = State::Closed;
                Ok(())
            }
            State::Asked(_) | State::Closed => Ok(()),
        }
    }

    fn asked(&self) -> Option<&Head> {
        match &self.state {
            State::Asked(head) => Some(head),
            State::Reading | State::Writing { .. } | State::Lingering { .. } | State::Closed => None,
        }
    }

    /// The request that waits for its answer.
    pub fn request(&self) -> Option<Request<'_>> {
        self.asked().map(|head| head.request(&self.input))
    }

    /// The number of that request: requests with the same number have the same head.
    pub fn number(&self) -> Option<u64> {
        self.asked().map(|head| head.number)
    }

    /// What has arrived of the head that an answer is for, and since when we could have answered it: its last byte had
    /// arrived, and the answer before it was sent.
    pub fn head(&self) -> (&[u8], Instant) {
        let length = self.asked().map_or(self.input.len(), |head| head.length);
        (&self.input[..length], self.since)
    }

    /// Notes the client's address.
    pub fn set_peer(&mut self, peer: Option<IpAddr>) {
        self.peer = peer;
    }

    /// Its first bytes are those of a proxy, in version 1 or 2 of the PROXY protocol, and say who the client is.
    pub fn expect_proxy_header(&mut self) {
        self.awaits_proxy = true;
    }

    /// The client's address, if it was noted.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Answers the request, or what was rejected; that closes the connection afterwards.
    pub fn respond(&mut self, response: Response<'_>, now: Instant) {
        match &self.state {
            State::Asked(head) => {
                let close = response.close || !head.keep_alive;
                // A client that has not announced a close may have sent more. Closing on that sends a reset, which would
                // overtake a long answer.
                let then = if head.has_body || close && head.keep_alive {
                    After::Linger
                } else if close {
                    After::Close
                } else {
                    After::Read
                };
                let (head_only, minor, length) = (head.method == Method::Head, head.minor, head.length);
                self.input.drain(..length);
                self.empty_lines = 0;
                self.write(response, then, head_only, minor, now);
            }
            State::Reading => {
                let head_only = self.input.starts_with(b"HEAD ");
                self.input.clear();
                self.write(response, After::Linger, head_only, 1, now);
            }
            State::Writing { .. } | State::Lingering { .. } | State::Closed => {}
        }
    }

    fn write(&mut self, response: Response<'_>, then: After, head_only: bool, minor: u8, now: Instant) {
        head::write(&mut self.output, &response, then != After::Read, minor);
        match response.body {
            _ if head_only => {}
            body if body.len() <= LARGEST_COPY => self.output.extend_from_slice(body),
            body => self.body = Some(body.clone()),
        }
        self.written = 0;
        self.in_flight = None;
        self.deadline = now + WRITE_TIMEOUT;
        self.since = now;
        self.state = State::Writing { then };
    }

    /// What to write to the client.
    pub(crate) fn output(&self) -> &[u8] {
        match &self.body {
            Some(body) if self.written >= self.output.len() => &body[self.written - self.output.len()..],
            _ => &self.output[self.written..],
        }
    }

    /// This many bytes of the output were written.
    pub(crate) fn sent<M>(&mut self, count: usize, now: Instant, reader: &mut Reader<M>) -> Result<(), Rejection> {
        let State::Writing { then } = self.state else { return Ok(()) };
        self.written += count;
        self.in_flight = None;
        self.since = now;
        if !self.output().is_empty() {
            self.deadline = now + WRITE_TIMEOUT;
            return Ok(());
        }
        self.output.clear();
        self.body = None;
        self.written = 0;
        match then {
            After::Close => self.state = State::Closed,
            After::Linger => {
                self.deadline = now + LINGER;
                self.state = State::Lingering { budget: LINGER_BYTES, shut: false };
            }
            After::Read => {
                self.state = State::Reading;
                self.output.shrink_to(KEPT_CAPACITY);
                self.skip_empty_lines()?;
                if self.input.is_empty() {
                    self.deadline = now + reader.patience.keep_alive;
                    self.input.shrink_to(KEPT_CAPACITY);
                } else {
                    // A pipelined request may have been waiting here.
                    self.deadline = now + reader.patience.header;
                    return self.parse(reader);
                }
            }
        }
        Ok(())
    }

    /// Waits for the client's next step until then at the latest.
    pub fn hasten(&mut self, deadline: Instant) {
        self.deadline = self.deadline.min(deadline);
    }

    /// Ends it, whatever its state: the client is gone, or its place is needed.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }
}
