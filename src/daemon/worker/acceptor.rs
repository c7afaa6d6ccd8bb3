//! Accepts connections: watches the listeners of a worker as long as it can take more.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use mio::{Poll, Token};
use socket2::Socket;

use crate::daemon::listen::Listener;
use crate::os::descriptors::is_readable;
use crate::os::sockets::Accepted;

/// How long nothing is accepted when the machine lacks descriptors or memory for another connection.
const PAUSE: Duration = Duration::from_millis(100);

/// How long connections are left to free workers before we look again whether there is one.
const YIELD: Duration = Duration::from_millis(50);

/// How long to wait, when the service shuts down, for connections that have begun: a handshake takes one round trip.
const LAST_CALL: Duration = Duration::from_millis(100);

/// The descriptors that a worker needs for itself, and those of one check at most: a program's pipes, and for starting
/// it.
const OURS: usize = 16;
const A_CHECK: usize = 6;

/// The listeners, watched or not.
pub(super) struct Acceptor {
    listeners: Vec<Listener>,
    /// The places of those that will never give a connection again.
    broken: BTreeSet<usize>,
    first_token: usize,
    most: usize,
    state: AcceptorState,
    /// Whether exhaustion was logged: once, until a connection arrives again.
    has_complained: bool,
}

enum AcceptorState {
    Open,
    /// Until `at`, for clients that have begun to connect.
    Closing {
        at: Instant,
    },
    /// Left to other workers, while all clients here wait for an answer and there is no room for more.
    Full,
    /// Left to free workers, while a round runs here.
    Yielded {
        until: Instant,
        /// Whether a connection was waiting at the last look.
        was_waiting: bool,
    },
    /// For lack of descriptors or memory.
    Paused {
        until: Instant,
    },
    Closed,
}

/// How many clients there are descriptors for, if this many checks at once must always find enough: without, they would report
/// failures that are not there. Neither side gets less than a quarter.
pub(super) fn room(descriptors: usize, checks: usize) -> usize {
    let kept = OURS + A_CHECK * checks;
    descriptors - kept.clamp(descriptors / 4, descriptors / 4 * 3)
}

impl Acceptor {
    /// The tokens of the listeners begin at `first_token`; `most` is the greatest number of clients.
    pub(super) fn new(listeners: Vec<Listener>, first_token: usize, most: usize) -> Acceptor {
        Acceptor {
            listeners,
            broken: BTreeSet::new(),
            first_token,
            most,
            state: AcceptorState::Closed,
            has_complained: false,
        }
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// How many listeners there are.
    pub(super) fn len(&self) -> usize {
        self.listeners.len()
    }

    pub(super) fn has(&self, token: Token) -> bool {
        (self.first_token..self.first_token + self.listeners.len()).contains(&token.0)
    }

    pub(super) fn open(&mut self, poll: &Poll) -> io::Result<()> {
        for (index, listener) in self.working() {
            if let Err(error) = listener.watch(poll, self.first_token + index) {
                self.working().take_while(|(watched, _)| *watched < index).for_each(|(_, it)| drop(it.unwatch(poll)));
                return Err(error);
            }
        }
        self.state = AcceptorState::Open;
        Ok(())
    }

    /// The same while there are clients, who must not suffer if it fails: it is tried again.
    fn open_again(&mut self, poll: &Poll, now: Instant) {
        if let Err(error) = self.open(poll) {
            self.complain(&error);
            self.state = AcceptorState::Paused { until: now + PAUSE };
        }
    }

    fn complain(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.has_complained, true) {
            tracing::warn!("cannot accept connections: {error}: closing idle ones, or trying again every {PAUSE:?}");
        }
    }

    /// Whether it accepts at all: an event may have been fetched before it was closed.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, AcceptorState::Open | AcceptorState::Closing { .. })
    }

    /// Takes one connection, if another worker was not faster.
    pub(super) fn accept(&mut self, token: Token) -> Accepted {
        let accepted = self.accept_again(token);
        match &accepted {
            Accepted::Client(_) => self.has_complained = false,
            Accepted::Exhausted(error) | Accepted::Forbidden(error) => self.complain(error),
            Accepted::Nobody | Accepted::Broken(_) => {}
        }
        accepted
    }

    /// [`Acceptor::accept`] after a client was closed to make room: the machine is no less exhausted.
    pub(super) fn accept_again(&self, token: Token) -> Accepted {
        self.listeners[token.0 - self.first_token].accept()
    }

    /// Stops accepting for a moment.
    pub(super) fn pause(&mut self, token: Token, poll: &Poll, now: Instant) {
        if matches!(self.state, AcceptorState::Closing { .. }) {
            // Checked again when it closes; until then it would wake us again and again.
            unwatch(&self.listeners[token.0 - self.first_token], poll);
            return;
        }
        self.unwatch(poll);
        self.state = AcceptorState::Paused { until: now + PAUSE };
    }

    /// When [`Acceptor::update`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            AcceptorState::Paused { until } | AcceptorState::Yielded { until, .. } => Some(until),
            AcceptorState::Closing { at } => Some(at),
            AcceptorState::Open | AcceptorState::Full | AcceptorState::Closed => None,
        }
    }

    /// Opens or closes it when the time has come. If it was left to others, it is opened as soon as we are free again, or
    /// have room.
    pub(super) fn update(&mut self, poll: &Poll, now: Instant, busy: bool, full: bool) {
        match self.state {
            AcceptorState::Open if full => {
                // A connection wakes one of the workers that watch, and is lost on one that cannot take it.
                self.unwatch(poll);
                self.state = AcceptorState::Full;
            }
            AcceptorState::Full if !full => self.open_again(poll, now),
            AcceptorState::Paused { until } if until <= now => self.open_again(poll, now),
            AcceptorState::Yielded { .. } if !busy => self.open_again(poll, now),
            AcceptorState::Yielded { until, .. } if until <= now => self.open_again(poll, now),
            AcceptorState::Closing { at } if at <= now => self.close(poll),
            AcceptorState::Open
            | AcceptorState::Full
            | AcceptorState::Paused { .. }
            | AcceptorState::Yielded { .. }
            | AcceptorState::Closing { .. }
            | AcceptorState::Closed => {}
        }
    }

    /// Leaves connections to other workers for a while, as those may become busy, or end.
    pub(super) fn yield_to_others(&mut self, poll: &Poll, now: Instant) {
        if let AcceptorState::Open = self.state {
            self.unwatch(poll);
            self.state = AcceptorState::Yielded { until: now + YIELD, was_waiting: false };
        }
    }

    /// Whether a connection was still waiting at the last two looks, each after the time for free workers: one that seems
    /// free may be stopped, or hang.
    pub(super) fn is_neglected(&mut self, now: Instant) -> bool {
        let AcceptorState::Yielded { until, was_waiting } = self.state else { return false };
        if now < until {
            return false;
        }
        let waits = self.working().any(|(_, listener)| is_readable(listener));
        let is_neglected = was_waiting && waits;
        self.state = AcceptorState::Yielded { until: now + YIELD, was_waiting: waits && !is_neglected };
        is_neglected
    }

    /// Leaves inherited sockets to their owner at once, and closes those that we bound a little later: clients that
    /// have begun to connect have nobody but us.
    pub(super) fn close_soon(&mut self, poll: &Poll, now: Instant) {
        if !self.listeners.iter().any(Listener::is_ours) {
            self.close(poll);
            return;
        }
        if !matches!(self.state, AcceptorState::Open) {
            self.open_again(poll, now);
        }
        // If it could not be opened, they are not watched, and those who wait are accepted at the end.
        if matches!(self.state, AcceptorState::Open) {
            self.working()
                .filter(|(_, listener)| !listener.is_ours())
                .for_each(|(_, listener)| unwatch(listener, poll));
        }
        self.state = AcceptorState::Closing { at: now + LAST_CALL };
    }

    /// One of the connections that still wait when it closes.
    pub(super) fn accept_last(&self, now: Instant) -> Option<Socket> {
        match self.state {
            AcceptorState::Closing { at } if at <= now => {
                self.listeners.iter().filter(|listener| listener.is_ours()).find_map(Listener::accept_client)
            }
            AcceptorState::Open
            | AcceptorState::Full
            | AcceptorState::Yielded { .. }
            | AcceptorState::Paused { .. }
            | AcceptorState::Closing { .. }
            | AcceptorState::Closed => None,
        }
    }

    /// One of the connections that wait now, even if they were left to others.
    pub(super) fn accept_waiting(&self) -> Option<Socket> {
        match self.state {
            AcceptorState::Open | AcceptorState::Yielded { .. } => {
                self.listeners.iter().find_map(Listener::accept_client)
            }
            AcceptorState::Full
            | AcceptorState::Closing { .. }
            | AcceptorState::Paused { .. }
            | AcceptorState::Closed => None,
        }
    }

    /// Closes it for good.
    pub(super) fn close(&mut self, poll: &Poll) {
        match self.state {
            AcceptorState::Open => self.unwatch(poll),
            // Closing our descriptor does not take it out of the set while others have the socket. Some may already be
            // out, which does not matter.
            AcceptorState::Closing { .. } => self.listeners.iter().for_each(|listener| drop(listener.unwatch(poll))),
            AcceptorState::Full
            | AcceptorState::Paused { .. }
            | AcceptorState::Yielded { .. }
            | AcceptorState::Closed => {}
        }
        self.state = AcceptorState::Closed;
        self.listeners.clear();
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, AcceptorState::Closed)
    }

    /// Leaves out a listener that is broken. An error: there is no other.
    pub(super) fn give_up(&mut self, token: Token, poll: &Poll, error: &io::Error) -> io::Result<()> {
        let place = token.0 - self.first_token;
        let listener = &self.listeners[place];
        let why = format!("{listener} gives no connections any more: {error}");
        listener.unwatch(poll)?;
        self.broken.insert(place);
        if self.working().next().is_none() {
            return Err(io::Error::other(why));
        }
        tracing::error!("{why}: going on without it");
        Ok(())
    }

    /// The listeners with their places, except the broken ones.
    fn working(&self) -> impl Iterator<Item = (usize, &Listener)> {
        self.listeners.iter().enumerate().filter(|(place, _)| !self.broken.contains(place))
    }

    fn unwatch(&self, poll: &Poll) {
        self.working().for_each(|(_, listener)| unwatch(listener, poll));
    }
}

fn unwatch(listener: &Listener, poll: &Poll) {
    if let Err(error) = listener.unwatch(poll) {
        tracing::warn!("cannot stop watching a listener: {error}");
    }
}
