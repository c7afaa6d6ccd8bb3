//! A worker: one mio loop on the shared listeners. It never waits for anything but that loop's wait.

mod boot;
mod clients;
pub(crate) mod connection;
mod door;
mod negotiate;
mod respond;
mod rounds;
pub(crate) mod route;

use std::io::{self, PipeReader};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::sys::process;
use crate::sys::scoreboard::Scoreboard;
use crate::sys::signals::{Inbox, Signal};
use crate::sys::tree;
pub(crate) use boot::Post;
use clients::{Clients, Progress};
use connection::{Limits, Need, Patience, Rejection};
use door::Door;
use respond::Responder;
use rounds::{Asker, Rounds};

const SIGNALS: Token = Token(0);
const LIFELINE: Token = Token(1);
const ROUND: Token = Token(2);
const FIRST_LISTENER: usize = 3;

/// How long a drain waits for the next request on a connection that is idle: a client that has just
/// sent one is still told that the connection closes.
const IDLE_GRACE: Duration = Duration::from_secs(2);

/// How many pipelined requests of one client are answered before others have their turn.
const TURN: usize = 8;

/// Boots and serves until it is told to finish, then ends the process. To be called in a forked child.
pub(crate) fn run(post: Post) -> ! {
    let span = tracing::info_span!("worker", slot = post.slot, pid = std::process::id());
    let _inside = span.enter();
    let code = match Worker::boot(post).and_then(Worker::serve) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("cannot go on: {error}");
            3
        }
    };
    // What a check is running in one of our threads would outlive us.
    tree::kill_all();
    process::leave(code)
}

struct Worker {
    slot: usize,
    scoreboard: Scoreboard,
    signals: Inbox,
    lifeline: PipeReader,
    poll: Poll,
    door: Door,
    clients: Clients,
    rounds: Rounds,
    responder: Responder,
    limits: Limits,
    patience: Patience,
    scratch: Box<[u8]>,
    /// Clients whose round is over and whose answer is to be written.
    answered: Vec<usize>,
    /// Clients that have had their turn, and are not done.
    again: Vec<usize>,
    now: Instant,
    /// How many requests it answers before it retires, and whether it is finishing.
    left: Option<u64>,
    draining: bool,
}

impl Worker {
    fn serve(mut self) -> io::Result<()> {
        // Room for everybody: who has asked before a round begins is heard before it begins.
        let mut events = Events::with_capacity(FIRST_LISTENER + self.door.len() + self.door.most());
        while !(self.draining && self.door.is_closed() && self.clients.len() == 0) {
            self.scoreboard.rests(self.slot);
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                result => result?,
            }
            self.now = Instant::now();
            self.scoreboard.woke(self.slot, self.now);
            for event in &events {
                match event.token() {
                    SIGNALS => self.heed_signals()?,
                    LIFELINE => self.look_at_lifeline(),
                    ROUND => {}
                    token if self.door.has(token) => self.welcome(token)?,
                    token => self.attend_to(token, event.is_read_closed())?,
                }
            }
            for key in std::mem::take(&mut self.again) {
                self.serve_client(key)?;
            }
            self.finish_rounds()?;
            self.expire()?;
            self.tend_door()?;
            if self.left == Some(0) {
                self.drain()?;
            }
        }
        Ok(())
    }

    /// While a round runs here, connections are for workers that are free, as long as there is one.
    fn tend_door(&mut self) -> io::Result<()> {
        let busy = self.rounds.is_running();
        self.scoreboard.set_busy(self.slot, busy);
        if busy && self.scoreboard.is_another_free(self.slot) {
            self.door.yield_to_others(&self.poll, self.now);
        }
        while let Some(socket) = self.door.accept_last(self.now) {
            self.admit(socket)?;
        }
        self.door.tend(&self.poll, self.now, busy)
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let next = [self.clients.next_timer(), self.rounds.next_deadline(), self.door.next_deadline()];
        next.into_iter().flatten().min().map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn heed_signals(&mut self) -> io::Result<()> {
        for signal in self.signals.take() {
            match signal {
                Signal::SIGUSR1 => crate::logging::reopen(),
                _ => self.drain()?,
            }
        }
        Ok(())
    }

    /// The master's end is closed when the master is gone, whatever it died of.
    fn look_at_lifeline(&mut self) {
        let mut byte = [0];
        if matches!(io::Read::read(&mut self.lifeline, &mut byte), Ok(0)) {
            tree::kill_all();
            process::leave(0);
        }
    }

    /// Finishes what has begun and takes nothing new, but for the backlog that only we can serve.
    fn drain(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.draining, true) {
            return Ok(());
        }
        self.scoreboard.set_unready(self.slot);
        self.responder.close_all();
        if self.scoreboard.is_leaving() {
            self.door.close_soon(&self.poll, self.now)?;
        } else {
            // Others go on accepting.
            self.door.close(&self.poll);
        }
        for key in self.clients.idle() {
            if let Some(client) = self.clients.get_mut(key) {
                client.connection.hasten(self.now + IDLE_GRACE);
                self.clients.set_timer(key);
            }
        }
        Ok(())
    }

    /// Accepts one connection: what else waits there is for another worker to wake up for.
    fn welcome(&mut self, token: Token) -> io::Result<()> {
        if self.clients.len() >= self.door.most()
            && let Some(key) = self.clients.longest_waiting()
            && let Some(client) = self.clients.get_mut(key)
        {
            client.connection.close();
            self.serve_client(key)?;
        }
        match self.door.accept(token, &self.poll, self.clients.len(), self.now)? {
            Some(socket) => self.admit(socket),
            None => Ok(()),
        }
    }

    /// Reads at once: the kernel held the connection back until its request was there.
    fn admit(&mut self, socket: socket2::Socket) -> io::Result<()> {
        let key = self.clients.insert(socket, self.now, &self.patience);
        self.serve_client(key)
    }

    fn attend_to(&mut self, token: Token, ended: bool) -> io::Result<()> {
        // It may be gone since the event was fetched; then its key may be another's, to whom one try to
        // read too many does no harm.
        let Some(key) = self.clients.key(token) else { return Ok(()) };
        if let Some(client) = self.clients.get_mut(key) {
            client.readable(ended);
        }
        self.serve_client(key)
    }

    /// Does for a client what can be done without waiting.
    fn serve_client(&mut self, key: usize) -> io::Result<()> {
        let (now, limits, patience) = (self.now, self.limits, self.patience);
        let mut answers = 0;
        while let Some(client) = self.clients.get_mut(key) {
            let judged = match client.connection.need() {
                Need::Read => match client.read(&mut self.scratch) {
                    Progress::Done(0) => {
                        client.connection.end();
                        Ok(())
                    }
                    Progress::Done(count) => client.connection.receive(&self.scratch[..count], now, &limits, &patience),
                    Progress::Blocked => return self.clients.park(key, Interest::READABLE, self.poll.registry()),
                    Progress::Gone => {
                        client.connection.close();
                        Ok(())
                    }
                },
                Need::Answer if answers == TURN => {
                    self.again.push(key);
                    return Ok(());
                }
                Need::Answer => {
                    answers += 1;
                    if !self.answer(key) {
                        return Ok(());
                    }
                    continue;
                }
                Need::Write => match client.write() {
                    Progress::Done(count) => client.connection.sent(count, now, &limits, &patience),
                    Progress::Blocked => {
                        return self.clients.park(key, Interest::READABLE | Interest::WRITABLE, self.poll.registry());
                    }
                    Progress::Gone => {
                        client.connection.close();
                        Ok(())
                    }
                },
                Need::Shut => {
                    client.shut();
                    Ok(())
                }
                Need::Close => {
                    self.clients.remove(key);
                    return Ok(());
                }
            };
            if let Err(rejection) = judged {
                self.reject(key, rejection);
            }
        }
        Ok(())
    }

    /// Answers a client's request, or asks for the round that will. True when it is answered.
    fn answer(&mut self, key: usize) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        self.left = self.left.map(|left| left.saturating_sub(1));
        if let Some(wish) = self.responder.answer(&mut client.connection, self.now) {
            // What takes time begins at the end of this turn: by then everybody who has asked is known.
            let at_once = self.rounds.is_idle() && !wish.part.checks().iter().any(|check| check.blocking);
            self.rounds.ask(Asker { key, wish });
            if at_once {
                self.rounds.begin(self.now);
                self.advance_rounds();
            }
        }
        self.answered.pop_if(|answered| *answered == key).is_some() || !self.clients.waits_for_round(key)
    }

    /// Moves the rounds on; whose answer is there is noted, to be served by [`Worker::finish_rounds`].
    fn advance_rounds(&mut self) {
        for (key, manner, report) in self.rounds.advance(self.now) {
            if let Some(client) = self.clients.get_mut(key) {
                self.responder.report(&mut client.connection, &report, manner, self.now);
                self.answered.push(key);
            }
        }
    }

    /// Answers those whose round is over, and begins the next one.
    fn finish_rounds(&mut self) -> io::Result<()> {
        loop {
            self.advance_rounds();
            while let Some(key) = self.answered.pop() {
                self.serve_client(key)?;
            }
            if self.rounds.is_running() || self.rounds.is_idle() {
                return Ok(());
            }
            self.let_all_in()?;
            self.rounds.begin(self.now);
        }
    }

    /// Whoever is at the door when a round begins shares it, unless a worker that is free takes him: a crowd costs us
    /// the round that runs and the next, however slowly we let it in.
    fn let_all_in(&mut self) -> io::Result<()> {
        if self.scoreboard.is_another_free(self.slot) {
            return Ok(());
        }
        for _ in self.clients.len()..self.door.most() {
            match self.door.accept_waiting() {
                Some(socket) => self.admit(socket)?,
                None => break,
            }
        }
        Ok(())
    }

    fn reject(&mut self, key: usize, rejection: Rejection) {
        if let Some(client) = self.clients.get_mut(key) {
            self.responder.reject(&mut client.connection, rejection, self.now);
        }
    }

    /// Ends its patience with those who took too long.
    fn expire(&mut self) -> io::Result<()> {
        while let Some(key) = self.clients.next_expired(self.now) {
            let Some(client) = self.clients.get_mut(key) else { continue };
            if let Err(rejection) = client.connection.expire() {
                self.reject(key, rejection);
            }
            self.serve_client(key)?;
        }
        Ok(())
    }
}
