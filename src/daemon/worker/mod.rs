//! A worker: one mio loop on the shared listeners. It never waits except in that loop.

mod access;
mod cache;
mod clients;
mod door;
mod metrics;
mod respond;
mod rounds;
mod turn;

use std::io::{self, PipeReader, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::config::{Configuration, SUCCESSION, Settings};
use crate::daemon::generation::Plan;
use crate::daemon::listen::{Accepted, Listener};
use crate::daemon::shared::in_flight::InFlightTable;
use crate::daemon::shared::scoreboard::Scoreboard;
use crate::daemon::shared::snapshot::Snapshot;
use crate::os::signals::{self, Inbox, Signal};
use crate::os::{descriptors, memory, process, systemd, tree};
use crate::round::Runner;
use cache::Cache;
use clients::Clients;
use door::Door;
use hospital_http::{Limits, Need, Patience, Reader};
use respond::Responder;
use rounds::Rounds;

const SIGNALS: Token = Token(0);
const LIFELINE: Token = Token(1);
const ROUND: Token = Token(2);
const SNAPSHOT: Token = Token(3);
const FIRST_LISTENER: usize = 4;

/// How long a drain waits for the next request on an idle connection: a client that has just sent one is still told
/// that the connection closes.
const IDLE_GRACE: Duration = Duration::from_secs(2);

/// What a worker takes with it from the master.
pub(crate) struct Post {
    pub(crate) slot: usize,
    pub(crate) master: i32,
    pub(crate) generation: u32,
    pub(crate) plan: Plan,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) scoreboard: Scoreboard,
    pub(crate) snapshot: Snapshot,
    pub(crate) in_flight: InFlightTable,
    /// Reaches its end when the master dies.
    pub(crate) lifeline: PipeReader,
    /// Wakes the master.
    pub(crate) bell: io::PipeWriter,
}

/// Boots and serves until it is told to finish, then ends the process. Call this in a forked child.
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
    // Programs started by checks in our threads would outlive us.
    tree::kill_all();
    process::leave(code)
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        line: settings.answers.limit_request_line as usize,
        fields: settings.answers.limit_request_fields as usize,
        field_size: settings.answers.limit_request_field_size as usize,
    }
}

fn patience(settings: &Settings) -> Patience {
    Patience { header: settings.times.header_timeout, keep_alive: settings.times.keep_alive }
}

struct Worker {
    slot: usize,
    scoreboard: Scoreboard,
    signals: Inbox,
    lifeline: PipeReader,
    poll: Poll,
    door: Door,
    clients: Clients,
    cache: Cache,
    responder: Responder,
    reader: Reader,
    patience: Patience,
    scratch: Box<[u8]>,
    /// Clients that have used up their turn and are not done.
    again: Vec<usize>,
    now: Instant,
    /// How many more requests it answers before it retires, and whether it is finishing.
    left: Option<u64>,
    draining: bool,
}

impl Worker {
    fn boot(post: Post) -> io::Result<Worker> {
        let Post { slot, master, generation, plan, listeners, scoreboard, snapshot, in_flight, lifeline, mut bell } =
            post;
        let Plan { configuration: Configuration { settings, environment, .. }, sources, identity, disclosure } = plan;
        // The handlers first: a TERM since the fork is still blocked, and would be lost if it were unblocked before.
        let signals = Inbox::new([Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGUSR1])?;
        // The master's handler would wake us up whenever a program of a check ends.
        signals::heed_children();
        signals::unblock_all()?;
        process::set_name(&format!("{}:w{slot}", settings.process.name));
        identity.assume()?;
        if !process::die_with(master)? {
            process::leave(0);
        }
        process::change_environment(
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())),
            systemd::OWN_VARIABLES.into_iter().chain([SUCCESSION]),
        );

        // Built after the fork: an inherited epoll set is shared with the master, so registering here would change what
        // *it* waits for.
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
        poll.registry().register(&mut SourceFd(&lifeline.as_raw_fd()), LIFELINE, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), ROUND)?);
        // If waking fails, the round ends at its deadline; there is nobody to report it to here.
        let runner = Runner::new(move || drop(waker.wake())).observed_by(in_flight.observer(slot));
        let rounds = Rounds::new(runner, settings.times.request_timeout);
        let (lifetime, limit) = (settings.answers.cache, settings.times.request_timeout);
        let cache = Cache::new(rounds, snapshot, std::process::id(), lifetime, limit);
        if let Some(bell) = cache.bell() {
            poll.registry().register(&mut SourceFd(&bell), SNAPSHOT, Interest::READABLE)?;
        }
        let clients = Clients::new(FIRST_LISTENER + listeners.len());
        let room = door::room(descriptors::limit(), sources.suite().checks().len());
        let most = (settings.fleet.worker_connections as usize).min(room).max(1);
        let mut door = Door::new(listeners, FIRST_LISTENER, most);
        door.open(&poll)?;

        let worker = Worker {
            slot,
            scoreboard,
            signals,
            lifeline,
            poll,
            door,
            clients,
            cache,
            reader: Reader::new(limits(&settings)),
            patience: patience(&settings),
            scratch: vec![0; 8 * 1024].into(),
            again: Vec::new(),
            now: Instant::now(),
            left: settings.requests_before_retiring(std::process::id()),
            draining: false,
            responder: Responder::new(sources, generation, disclosure, settings, scoreboard, slot),
        };
        scoreboard.set_ready(slot, std::process::id());
        // A full pipe rings as well: the master has yet to read it.
        let _ = bell.write(&[0]);
        Ok(worker)
    }

    fn serve(mut self) -> io::Result<()> {
        // Room for all events: requests that arrive before a round begins are read before it begins.
        let mut events = Events::with_capacity(FIRST_LISTENER + self.door.len() + self.door.most());
        // Requests that came while we booted are answered before memory is released.
        let mut at_once = Some(Duration::ZERO);
        while !(self.draining && self.door.is_closed() && self.clients.len() == 0) {
            self.scoreboard.rests(self.slot);
            match self.poll.poll(&mut events, at_once.or_else(|| self.timeout())) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                result => result?,
            }
            if events.is_empty() && at_once.take().is_some() {
                memory::release();
            }
            self.now = Instant::now();
            self.scoreboard.woke(self.slot, self.now);
            for event in &events {
                match event.token() {
                    SIGNALS => self.heed_signals()?,
                    LIFELINE => self.look_at_lifeline(),
                    ROUND | SNAPSHOT => {}
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

    /// While a round runs here, connections are left to free workers, as long as there is one that takes them.
    fn tend_door(&mut self) -> io::Result<()> {
        let busy = self.cache.is_running();
        self.scoreboard.set_busy(self.slot, busy);
        if busy && self.scoreboard.is_another_free(self.slot) {
            self.door.yield_to_others(&self.poll, self.now);
            if self.door.is_neglected(self.now) {
                self.let_waiting_in()?;
            }
        }
        while let Some(socket) = self.door.accept_last(self.now) {
            self.admit(socket)?;
        }
        let full = self.clients.len() >= self.door.most() && self.clients.longest_waiting().is_none();
        self.door.tend(&self.poll, self.now, busy, full)
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() || self.cache.is_next_due() {
            return Some(Duration::ZERO);
        }
        let next = [self.clients.next_timer(), self.cache.next_deadline(), self.door.next_deadline()];
        next.into_iter().flatten().min().map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn heed_signals(&mut self) -> io::Result<()> {
        for signal in self.signals.take() {
            match signal {
                Signal::SIGUSR1 => crate::daemon::logging::reopen(),
                _ => self.drain()?,
            }
        }
        Ok(())
    }

    /// The lifeline ends when the master is gone, whatever ended it.
    fn look_at_lifeline(&mut self) {
        let mut byte = [0];
        if matches!(io::Read::read(&mut self.lifeline, &mut byte), Ok(0)) {
            tree::kill_all();
            process::leave(0);
        }
    }

    /// Finishes what has begun and takes nothing new, except a backlog that only we can serve.
    fn drain(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.draining, true) {
            return Ok(());
        }
        self.scoreboard.set_closed(self.slot);
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

    /// Accepts one connection; any others that wait wake another worker.
    fn welcome(&mut self, token: Token) -> io::Result<()> {
        if !self.door.lets_in() {
            return Ok(());
        }
        if self.clients.len() >= self.door.most() && !self.make_room()? {
            return self.door.pause(token, &self.poll, self.now);
        }
        let mut accepted = self.door.accept(token);
        if matches!(accepted, Accepted::Exhausted(_)) && self.make_room()? {
            accepted = self.door.accept_again(token);
        }
        match accepted {
            Accepted::Client(socket) => self.admit(socket),
            Accepted::Nobody => Ok(()),
            Accepted::Exhausted(_) | Accepted::Forbidden(_) => self.door.pause(token, &self.poll, self.now),
            Accepted::Broken(error) => Err(error),
        }
    }

    /// Closes the connection that we have waited for the longest; false if all of them wait for us.
    fn make_room(&mut self) -> io::Result<bool> {
        let Some(key) = self.clients.longest_waiting() else { return Ok(false) };
        if let Some(client) = self.clients.get_mut(key) {
            client.connection.close();
        }
        self.serve_client(key)?;
        Ok(true)
    }

    /// Reads at once: the kernel held the connection back until its request was there.
    fn admit(&mut self, socket: socket2::Socket) -> io::Result<()> {
        let peer = if self.responder.logs_access() { socket.peer_addr().ok() } else { None };
        let key = self.clients.insert(socket, self.now, &self.patience);
        if let (Some(client), Some(peer)) = (self.clients.get_mut(key), peer) {
            client.connection.set_peer(peer.as_socket().map(|address| address.ip()));
        }
        self.serve_client(key)
    }

    fn attend_to(&mut self, token: Token, ended: bool) -> io::Result<()> {
        // The client may have gone since the event was fetched, and its key may belong to another by now. For that one,
        // an extra attempt to read does no harm.
        let Some(key) = self.clients.key(token) else { return Ok(()) };
        if let Some(client) = self.clients.get_mut(key) {
            client.readable(ended);
            // Its round, or its next turn, will come; serving it now would ask for it twice.
            if client.connection.need() == Need::Answer {
                return Ok(());
            }
        }
        self.serve_client(key)
    }
}
