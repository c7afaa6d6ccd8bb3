//! A worker: one mio loop on the shared listeners. It never waits except in that loop.
//!
//! The way of a request: accept → read → wait for the files of checks, if there are any → ask the endpoint → the shared
//! report, if there is one → the queue of rounds → the endpoint makes a reply of what was found → write.
//!
//! It is one role, however long: in which order a turn of the loop serves what can wake it.

mod acceptor;
mod access;
mod boot;
mod clients;
mod files;
mod observer;
mod recorder;
mod responder;
mod run_observer;
mod scheduler;
mod shared_report;
mod turn_reader;

use std::io::{self, PipeReader};
use std::ops::ControlFlow::{Break, Continue};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::daemon::shared::scoreboard::Scoreboard;
use crate::endpoint::rounds::{Rounds, Waiter};
use crate::endpoint::{CheckRequest, Endpoint};
use crate::os::signals::{Inbox, Signal};
use crate::os::sockets::Accepted;
use crate::os::{memory, process, tree};
use acceptor::Acceptor;
pub(crate) use boot::WorkerContext;
use clients::Clients;
use files::Files;
use hospital_http::{Reader, Rejection, Step};
use observer::ScoreboardObserver;
use recorder::Recorder;
use responder::Responder;
use scheduler::Scheduler;
use shared_report::SharedReport;

const SIGNALS: Token = Token(0);
const LIFELINE: Token = Token(1);
const ROUND: Token = Token(2);
const SNAPSHOT: Token = Token(3);
const FIRST_LISTENER: usize = 4;

/// How long a drain waits for the next request on an idle connection: a client that has just sent one is still told
/// that the connection closes.
const IDLE_GRACE: Duration = Duration::from_secs(2);

/// How many pipelined requests of one client are answered before the others have their turn.
const MOST_IN_A_TURN: usize = 8;

/// Boots and serves until it is told to finish, then ends the process. Call this in a forked child.
pub(crate) fn run(context: WorkerContext) -> ! {
    let span = tracing::info_span!("worker", slot = context.slot, pid = std::process::id());
    let _inside = span.enter();
    let code = match Worker::boot(context).and_then(Worker::serve) {
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

struct Worker {
    slot: usize,
    scoreboard: Scoreboard,
    signals: Inbox,
    lifeline: PipeReader,
    poll: Poll,
    acceptor: Acceptor,
    clients: Clients,
    /// Remembers, beside the last head, what the endpoint has made of it.
    reader: Reader<Arc<CheckRequest>>,
    /// Whether clients come through proxies that say so (`--proxy-protocol`).
    behind_proxy: bool,
    endpoint: Endpoint,
    files: Files,
    /// `None`: each answer is from a round of this worker.
    shared_report: Option<SharedReport>,
    rounds: Rounds,
    /// Runs the checks that have a schedule.
    scheduler: Scheduler,
    observer: ScoreboardObserver,
    recorder: Recorder,
    responder: Responder,
    /// Clients that have used up their turn and are not done.
    again: Vec<usize>,
    now: Instant,
    life: WorkerLife,
}

enum WorkerLife {
    /// Until it has answered so many requests more.
    Serving { left: Option<u64> },
    /// It finishes what has begun.
    Draining,
}

impl Worker {
    fn serve(mut self) -> io::Result<()> {
        // Room for all events: requests that arrive before a round begins are read before it begins.
        let mut events = Events::with_capacity(FIRST_LISTENER + self.acceptor.len() + self.acceptor.most());
        // Requests that came while we booted are answered before memory is released.
        let mut at_once = Some(Duration::ZERO);
        while !(self.is_draining() && self.acceptor.is_closed() && self.clients.len() == 0) {
            self.endpoint.release();
            self.scoreboard.rests(self.slot);
            match self.poll.poll(&mut events, at_once.or_else(|| self.timeout())) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                result => result?,
            }
            if events.is_empty() && at_once.take().is_some() {
                memory::release();
            }
            self.begin_turn();
            self.scoreboard.woke(self.slot, self.now);
            for event in &events {
                match event.token() {
                    SIGNALS => self.heed_signals(),
                    LIFELINE => self.look_at_lifeline(),
                    ROUND | SNAPSHOT => {}
                    token if self.acceptor.has(token) => self.accept(token)?,
                    token => self.heed_client(token, event.is_read_closed()),
                }
            }
            for key in std::mem::take(&mut self.again) {
                self.serve_client(key);
            }
            self.serve_file_waiters();
            self.serve_schedules();
            self.serve_waiters();
            self.expire();
            self.update_acceptor();
            if matches!(self.life, WorkerLife::Serving { left: Some(0) }) {
                self.drain();
            }
        }
        self.recorder.finish(self.endpoint.suite());
        Ok(())
    }

    /// Requests of one turn have the same time, and share one look at the files of checks.
    fn begin_turn(&mut self) {
        self.now = Instant::now();
        self.files.expect_changes();
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() || self.is_round_due() {
            return Some(Duration::ZERO);
        }
        let shared = self.shared_report.as_ref().and_then(|shared| shared.next_deadline(self.rounds.is_running()));
        let ours = [self.clients.next_timer(), self.acceptor.next_deadline(), self.files.next_deadline()];
        let is_idle = self.scheduler.is_idle();
        let scheduled = if is_idle { None } else { self.scheduler.next_deadline(!self.is_draining(), self.now) };
        let next = ours.into_iter().chain([self.rounds.next_deadline(), shared, scheduled]);
        next.flatten().min().map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Accepts one connection; any others that wait wake another worker.
    fn accept(&mut self, token: Token) -> io::Result<()> {
        if !self.acceptor.is_open() {
            return Ok(());
        }
        if self.clients.len() >= self.acceptor.most() && !self.make_room() {
            self.acceptor.pause(token, &self.poll, self.now);
            return Ok(());
        }
        let mut accepted = self.acceptor.accept(token);
        if matches!(accepted, Accepted::Exhausted(_)) && self.make_room() {
            accepted = self.acceptor.accept_again(token);
        }
        match accepted {
            Accepted::Client(socket) => self.admit(socket),
            Accepted::Nobody => {}
            Accepted::Exhausted(_) | Accepted::Forbidden(_) => self.acceptor.pause(token, &self.poll, self.now),
            Accepted::Broken(error) => self.acceptor.give_up(token, &self.poll, &error)?,
        }
        Ok(())
    }

    /// Reads at once: the kernel held the connection back until its request was there.
    fn admit(&mut self, socket: socket2::Socket) {
        let peer = if self.responder.logs_access() { socket.peer_addr().ok() } else { None };
        let key = self.clients.insert(socket, self.now, &self.reader.patience);
        if let Some(client) = self.clients.get_mut(key) {
            let peer = peer.and_then(|peer| peer.as_socket());
            client.connection.set_peer(peer.map(|address| address.ip().to_canonical()));
            if self.behind_proxy {
                client.connection.expect_proxy_header();
            }
        }
        self.serve_client(key)
    }

    fn heed_client(&mut self, token: Token, ended: bool) {
        // The client may have gone since the event was fetched, and its key may belong to another by now. For that one,
        // an extra attempt to read does no harm.
        let Some(key) = self.clients.key(token) else { return };
        if let Some(client) = self.clients.get_mut(key) {
            client.readable(ended);
            // Its round, or its next turn, will come; serving it now would ask for it twice.
            if client.connection.is_asked() {
                return;
            }
        }
        self.serve_client(key)
    }

    /// Does for a client what can be done without waiting.
    fn serve_client(&mut self, key: usize) {
        let mut answers = 0;
        while let Some(client) = self.clients.get_mut(key) {
            match client.advance(self.now, &mut self.reader) {
                Step::Asked if answers == MOST_IN_A_TURN => {
                    self.again.push(key);
                    return;
                }
                Step::Asked => {
                    answers += 1;
                    if !self.answer(key) {
                        return;
                    }
                }
                Step::Rejected(rejection) => self.reject(key, rejection),
                Step::AwaitsInput => return self.clients.park(key, Interest::READABLE, self.poll.registry()),
                Step::AwaitsRoom => {
                    return self.clients.park(key, Interest::READABLE | Interest::WRITABLE, self.poll.registry());
                }
                Step::Over => self.clients.remove(key),
            }
        }
    }

    /// Answers a client's request, if that takes neither files nor checks; else lets the client wait for them. True if it is
    /// answered.
    fn answer(&mut self, key: usize) -> bool {
        let since = self.exact_time();
        let Some(client) = self.clients.get_mut(key) else { return false };
        let Some(request) = client.connection.request() else { return false };
        if let WorkerLife::Serving { left: Some(left) } = &mut self.life {
            *left = left.saturating_sub(1);
        }
        let is_known = self.reader.recall(client.connection.number()).is_some();
        if is_known || self.endpoint.depends_on_files(&request) {
            let Some(files) = self.files.ask(&request, key, since) else { return false };
            self.endpoint.see(files);
        }
        self.ask(key, since)
    }

    /// The same, once the endpoint has seen the files.
    fn ask(&mut self, key: usize, since: Instant) -> bool {
        let close = self.closes();
        let Some(client) = self.clients.get_mut(key) else { return false };
        let Some(request) = client.connection.request() else { return false };
        // The one memory from request to request: its key is the bytes of the head, and the version of the suite.
        let known = self.reader.recall(client.connection.number()).filter(|known| self.endpoint.is_current(known));
        let request = match known {
            Some(known) => known.clone(),
            None => match self.endpoint.ask(&request) {
                Continue(request) => {
                    self.reader.remember(client.connection.number(), request.clone());
                    request
                }
                Break(reply) => {
                    self.responder.respond(&mut client.connection, reply, close, self.now);
                    return true;
                }
            },
        };
        let waiter = Waiter::new(key, request, since);
        self.scheduler.see(self.endpoint.suite(), self.now);
        if let Some(waiter) = self.scheduler.take_unless_known(waiter) {
            self.enqueue(waiter);
        }
        false
    }

    /// Lets a client wait for what checks find in a round, or have found in one for all.
    fn enqueue(&mut self, waiter: Waiter) {
        // Who says how old the answer may be gets none that others have left.
        if let Some(shared) = &mut self.shared_report
            && waiter.request.max_age().is_none()
            && let Some(whole) = self.endpoint.whole()
        {
            shared.ask(waiter, whole);
        } else {
            self.rounds.ask(waiter);
        }
    }

    /// Runs the checks whose time has come, and goes on with the clients who have waited for them.
    fn serve_schedules(&mut self) {
        if self.scheduler.is_idle() {
            return;
        }
        let found = self.scheduler.advance(!self.is_draining(), self.now);
        if !found.is_empty() {
            self.scheduler.free(&found, self.now);
            self.recorder.found_by_schedule(&found);
            self.observer.found_by_schedule(found, self.endpoint.suite());
        }
        while let Some(waiter) = self.scheduler.next_ready(self.now) {
            self.enqueue(waiter);
        }
    }

    /// Goes on with the clients who have waited for the files of checks.
    fn serve_file_waiters(&mut self) {
        while let Some((waiter, files)) = self.files.next_answer(self.now) {
            self.endpoint.see(files);
            if self.ask(waiter.key, waiter.since) {
                self.serve_client(waiter.key);
            }
        }
    }

    fn reject(&mut self, key: usize, rejection: Rejection) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let (status, why) = rejection.answer();
        self.responder.respond(&mut client.connection, self.endpoint.refuse(status, why), true, self.now);
    }

    /// Answers the clients whose findings are there, and begins the next round. This is done at the end of the loop's
    /// turn, when all who have asked so far are known.
    fn serve_waiters(&mut self) {
        self.answer_waiters();
        if self.is_round_due() {
            if self.rounds.next_may_last() {
                self.let_all_in();
            }
            let now = self.exact_time();
            if let Some(shared) = &mut self.shared_report
                && self.rounds.is_next_due()
            {
                shared.begins(now);
            }
            self.rounds.begin(now);
            // A short one that cannot block is over by now.
            self.answer_waiters();
        }
    }

    fn answer_waiters(&mut self) {
        if let Some(report) = self.rounds.advance(self.exact_time()) {
            self.scheduler.free(&report.outcomes, self.now);
            self.recorder.found(&report.outcomes);
            self.observer.found(report, self.endpoint.suite(), self.responder.number());
        }
        let now = self.exact_time();
        if let Some(shared) = &mut self.shared_report {
            shared.advance(&mut self.rounds, now);
        }
        loop {
            let close = self.closes();
            let shared = self.shared_report.as_mut().and_then(|shared| shared.next_answer(&mut self.rounds));
            let Some((waiter, findings)) = shared.or_else(|| self.rounds.next_answer(now)) else { return };
            if let Some(client) = self.clients.get_mut(waiter.key) {
                let reply = self.endpoint.report(&waiter.request, &findings);
                self.responder.respond(&mut client.connection, reply, close, self.now);
                self.serve_client(waiter.key);
            }
        }
    }

    /// Whether [`Worker::serve_waiters`] has something to do at once.
    fn is_round_due(&self) -> bool {
        self.rounds.is_next_due() || self.shared_report.as_ref().is_some_and(SharedReport::is_asked)
    }

    /// The time of the turn, except where ages are told and the order of a request and another worker's round matters.
    fn exact_time(&self) -> Instant {
        if self.shared_report.is_some() { Instant::now() } else { self.now }
    }

    /// Clients that are waiting to be accepted when a round begins share it, unless another worker is free to take
    /// them: a crowd costs us the round that is running and the next one, however slowly we accept.
    fn let_all_in(&mut self) {
        if self.scoreboard.is_another_free(self.slot) {
            return;
        }
        // Clients that came since we woke may have changed the files of checks before.
        self.begin_turn();
        self.let_waiting_in()
    }

    /// Accepts all that are waiting now, as far as there is room.
    fn let_waiting_in(&mut self) {
        for _ in self.clients.len()..self.acceptor.most() {
            match self.acceptor.accept_waiting() {
                Some(socket) => self.admit(socket),
                None => break,
            }
        }
    }

    /// While a round runs here, connections are left to free workers, as long as there is one that takes them.
    fn update_acceptor(&mut self) {
        let busy = self.rounds.is_running();
        self.scoreboard.set_busy(self.slot, busy);
        if busy && self.scoreboard.is_another_free(self.slot) {
            self.acceptor.yield_to_others(&self.poll, self.now);
            if self.acceptor.is_neglected(self.now) {
                self.let_waiting_in();
            }
        }
        while let Some(socket) = self.acceptor.accept_last(self.now) {
            self.admit(socket);
        }
        let full = self.clients.len() >= self.acceptor.most() && self.clients.longest_waiting().is_none();
        self.acceptor.update(&self.poll, self.now, busy, full)
    }

    /// Closes the connection that we have waited for the longest; false if all of them wait for us.
    fn make_room(&mut self) -> bool {
        let Some(key) = self.clients.longest_waiting() else { return false };
        if let Some(client) = self.clients.get_mut(key) {
            client.connection.close();
        }
        self.serve_client(key);
        true
    }

    /// Gives up on the clients whose deadline has passed.
    fn expire(&mut self) {
        while let Some(key) = self.clients.next_expired(self.now) {
            let Some(client) = self.clients.get_mut(key) else { continue };
            if let Err(rejection) = client.expire(self.now) {
                self.reject(key, rejection);
            }
            self.serve_client(key);
        }
    }

    fn heed_signals(&mut self) {
        for received in self.signals.take() {
            match received.signal {
                Signal::SIGUSR1 => crate::daemon::logging::reopen(),
                _ => self.drain(),
            }
        }
    }

    /// The lifeline ends when the master is gone, whatever ended it.
    fn look_at_lifeline(&mut self) {
        let mut byte = [0];
        if matches!(io::Read::read(&mut self.lifeline, &mut byte), Ok(0)) {
            tree::kill_all();
            process::leave(0);
        }
    }

    fn is_draining(&self) -> bool {
        matches!(self.life, WorkerLife::Draining)
    }

    /// Whether an answer is the last on its connection.
    fn closes(&self) -> bool {
        self.is_draining() || self.reader.patience.keep_alive.is_zero()
    }

    /// Finishes what has begun and takes nothing new, except a backlog that only we can serve.
    fn drain(&mut self) {
        if self.is_draining() {
            return;
        }
        self.life = WorkerLife::Draining;
        self.scoreboard.set_closed(self.slot);
        if self.scoreboard.is_leaving() {
            self.acceptor.close_soon(&self.poll, self.now);
        } else {
            // Others go on accepting.
            self.acceptor.close(&self.poll);
        }
        for key in self.clients.idle() {
            if let Some(client) = self.clients.get_mut(key) {
                client.connection.hasten(self.now + IDLE_GRACE);
                self.clients.set_timer(key);
            }
        }
    }
}
