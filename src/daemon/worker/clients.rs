//! The clients of one worker: their sockets and connections, and when each must be looked at.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use slab::Slab;
use socket2::Socket;

use crate::os::descriptors;
use hospital_http::{Connection, Patience, Reader, Rejection, Step, Stream};

/// How many connection objects are kept for the next clients.
const SPARE: usize = 64;

/// A connected client.
pub(super) struct Client {
    pub(super) connection: Connection,
    stream: ClientStream,
    /// What mio watches it for. `None`: it has not had to wait yet.
    watched: Option<Interest>,
    /// Its entry among the timers.
    timer: Option<Instant>,
}

/// Its socket.
struct ClientStream {
    socket: Socket,
    input: Input,
}

/// What to expect of a read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    /// There may be something.
    Likely,
    /// The last read came back short, so there is nothing until mio reports an event.
    Empty,
    /// The client's end follows its last byte and will not be an event of its own.
    Ending,
}

/// All clients of a worker.
pub(super) struct Clients {
    slab: Slab<Client>,
    /// One entry for each client with a deadline, at that deadline or earlier, and none for those who are gone.
    timers: BTreeSet<(Instant, usize)>,
    spare: Vec<Connection>,
    first_token: usize,
    /// Whether it was logged that clients cannot be watched: once, until one can be.
    has_complained: bool,
}

impl Clients {
    /// No clients yet; their tokens will begin at `first_token`.
    pub(super) fn new(first_token: usize) -> Clients {
        Clients { slab: Slab::new(), timers: BTreeSet::new(), spare: Vec::new(), first_token, has_complained: false }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn insert(&mut self, socket: Socket, now: Instant, patience: &Patience) -> usize {
        let connection = match self.spare.pop() {
            Some(mut connection) => {
                connection.reset(now, patience);
                connection
            }
            None => Connection::new(now, patience),
        };
        let stream = ClientStream { socket, input: Input::Likely };
        self.slab.insert(Client { connection, stream, watched: None, timer: None })
    }

    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut Client> {
        self.slab.get_mut(key)
    }

    /// The key of the client that an event is for, if it is still there.
    pub(super) fn key(&self, token: Token) -> Option<usize> {
        token.0.checked_sub(self.first_token).filter(|&key| self.slab.contains(key))
    }

    /// Closes the socket, which also takes it out of mio's set.
    pub(super) fn remove(&mut self, key: usize) {
        let mut client = self.slab.remove(key);
        if let Some(timer) = client.timer {
            self.timers.remove(&(timer, key));
        }
        if self.spare.len() < SPARE {
            client.connection.shrink();
            self.spare.push(client.connection);
        }
    }

    /// The keys of the clients that may send another request and have not begun.
    pub(super) fn idle(&self) -> Vec<usize> {
        self.slab.iter().filter(|(_, client)| client.connection.is_idle()).map(|(key, _)| key).collect()
    }

    /// Makes mio watch a client that cannot go on, and sets its timer. One that cannot be watched, as when the user has no
    /// watches left, is given up: it costs nobody else anything.
    pub(super) fn park(&mut self, key: usize, interest: Interest, registry: &Registry) {
        let token = Token(self.first_token + key);
        let client = &mut self.slab[key];
        let fd = client.stream.socket.as_raw_fd();
        let watched = match client.watched {
            None => registry.register(&mut SourceFd(&fd), token, interest),
            Some(watched) if watched == interest => return self.set_timer(key),
            Some(_) => registry.reregister(&mut SourceFd(&fd), token, interest),
        };
        client.watched = Some(interest);
        self.set_timer(key);
        if let Err(error) = &watched {
            if !self.has_complained {
                tracing::warn!("closing clients that cannot be watched: {error}");
            }
            self.remove(key);
        }
        self.has_complained = watched.is_err();
    }

    /// Sets a timer for the client's deadline. A deadline that was only postponed needs no new entry.
    pub(super) fn set_timer(&mut self, key: usize) {
        let client = &mut self.slab[key];
        let Some(deadline) = client.connection.deadline() else { return };
        if client.timer.is_none_or(|timer| deadline < timer) {
            if let Some(timer) = client.timer.replace(deadline) {
                self.timers.remove(&(timer, key));
            }
            self.timers.insert((deadline, key));
        }
    }

    /// When [`Clients::next_expired`] may have a client.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(moment, _)| *moment)
    }

    /// A client whose deadline has passed, if there is one.
    pub(super) fn next_expired(&mut self, now: Instant) -> Option<usize> {
        while self.next_timer().is_some_and(|moment| moment <= now) {
            let (_, key) = self.timers.pop_first()?;
            let client = &mut self.slab[key];
            client.timer = None;
            // Who waits for us has no deadline.
            if client.connection.deadline().is_some_and(|deadline| deadline <= now) {
                return Some(key);
            }
            self.set_timer(key);
        }
        None
    }

    /// The client that we have waited for the longest: the one to close when there are too many.
    pub(super) fn longest_waiting(&self) -> Option<usize> {
        let waiting = self.slab.iter().filter_map(|(key, client)| Some((client.connection.waiting_since()?, key)));
        waiting.min().map(|(_, key)| key)
    }
}

impl Client {
    /// Serves it as far as that goes without waiting.
    pub(super) fn advance<M>(&mut self, now: Instant, reader: &mut Reader<M>) -> Step {
        self.connection.advance(&mut self.stream, now, reader)
    }

    /// Its deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) -> Result<(), Rejection> {
        self.connection.expire(&self.stream, now)
    }

    /// mio reports that there is something to read, or (`ended`) that the client has also ended.
    pub(super) fn readable(&mut self, ended: bool) {
        if ended {
            self.stream.input = Input::Ending;
        } else if self.stream.input == Input::Empty {
            self.stream.input = Input::Likely;
        }
    }
}

impl Read for ClientStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input == Input::Empty {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.socket.read(buffer)?;
        // A short read has emptied the socket (epoll(7)); more bytes will be an event.
        if count < buffer.len() && self.input == Input::Likely {
            self.input = Input::Empty;
        }
        Ok(count)
    }
}

impl Write for ClientStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl Stream for ClientStream {
    fn shut(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    fn in_flight(&self) -> usize {
        descriptors::in_flight(&self.socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_client_that_is_gone_leaves_no_timer() {
        const PATIENCE: Patience = Patience { header: Duration::from_secs(10), keep_alive: Duration::from_secs(75) };
        let (mut clients, begin) = (Clients::new(0), Instant::now());
        let insert = |clients: &mut Clients, second| {
            let (socket, _) = Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("there is room");
            let key = clients.insert(socket, begin + Duration::from_secs(second), &PATIENCE);
            clients.set_timer(key);
            key
        };
        let stays = insert(&mut clients, 0);
        for second in 1..1000 {
            let key = insert(&mut clients, second);
            clients.slab[key].connection.hasten(begin);
            clients.set_timer(key);
            clients.remove(key);
            assert_eq!(clients.timers.len(), 1);
        }
        assert_eq!(clients.next_expired(begin + PATIENCE.header), Some(stays));
    }
}
