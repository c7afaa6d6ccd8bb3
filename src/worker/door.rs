//! The door: the listeners of a worker, opened and closed as it can take connections.

use std::io;
use std::time::{Duration, Instant};

use mio::{Poll, Token};
use socket2::Socket;

use crate::sys::sockets::{Accepted, Listener};

/// How long the door stays closed when the machine has no descriptor or memory for one more connection.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the door is left to workers that are free, before it is looked whether there still is one.
const YIELD: Duration = Duration::from_millis(50);

/// The most connections taken from one listener's backlog at the end: as many as it can hold.
const BACKLOG: usize = 4096;

/// The listeners, watched or not.
pub(super) struct Door {
    listeners: Vec<Listener>,
    first_token: usize,
    most: usize,
    state: State,
}

enum State {
    Open,
    /// To workers that are free, while a round runs here.
    Yielded {
        until: Instant,
    },
    /// For lack of descriptors or memory.
    Paused {
        until: Instant,
    },
    Closed,
}

impl Door {
    /// The listeners have the tokens from `first_token` on; `most` is how many clients may be inside.
    pub(super) fn new(listeners: Vec<Listener>, first_token: usize, most: usize) -> Door {
        Door { listeners, first_token, most, state: State::Closed }
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    pub(super) fn has(&self, token: Token) -> bool {
        (self.first_token..self.first_token + self.listeners.len()).contains(&token.0)
    }

    pub(super) fn open(&mut self, poll: &Poll) -> io::Result<()> {
        for (index, listener) in self.listeners.iter().enumerate() {
            listener.watch(poll, self.first_token + index)?;
        }
        self.state = State::Open;
        Ok(())
    }

    /// Takes one connection, if another worker was not faster.
    ///
    /// # Errors
    ///
    /// Only what means that this listener will never work again.
    pub(super) fn accept(
        &mut self,
        token: Token,
        poll: &Poll,
        inside: usize,
        now: Instant,
    ) -> io::Result<Option<Socket>> {
        // An event may have been fetched before the door was closed.
        if !matches!(self.state, State::Open) {
            return Ok(None);
        }
        if inside >= self.most {
            self.pause(poll, now);
            return Ok(None);
        }
        match self.listeners[token.0 - self.first_token].accept() {
            Accepted::Client(socket) => Ok(Some(socket)),
            Accepted::Nobody => Ok(None),
            Accepted::Exhausted(error) => {
                tracing::warn!("cannot accept a connection: {error}: trying again in {PAUSE:?}");
                self.pause(poll, now);
                Ok(None)
            }
            Accepted::Broken(error) => Err(error),
        }
    }

    fn pause(&mut self, poll: &Poll, now: Instant) {
        self.unwatch(poll);
        self.state = State::Paused { until: now + PAUSE };
    }

    /// When [`Door::reopen_if_due`] has something to do.
    pub(super) fn reopens_at(&self) -> Option<Instant> {
        match self.state {
            State::Paused { until } | State::Yielded { until } => Some(until),
            State::Open | State::Closed => None,
        }
    }

    /// Opens it when its time has come; at once if it was left to others and we are free again.
    pub(super) fn reopen_if_due(&mut self, poll: &Poll, now: Instant, busy: bool) -> io::Result<()> {
        match self.state {
            State::Paused { until } if until <= now => self.open(poll),
            State::Yielded { .. } if !busy => self.open(poll),
            State::Yielded { until } if until <= now => self.open(poll),
            State::Open | State::Paused { .. } | State::Yielded { .. } | State::Closed => Ok(()),
        }
    }

    /// Leaves connections to other workers, for a while: those may become busy, or go.
    pub(super) fn yield_to_others(&mut self, poll: &Poll, now: Instant) {
        let until = now + YIELD;
        match &mut self.state {
            State::Open => {
                self.unwatch(poll);
                self.state = State::Yielded { until };
            }
            State::Yielded { until: before } => *before = until,
            State::Paused { .. } | State::Closed => {}
        }
    }

    /// What waits at the listeners that nobody but us will serve.
    pub(super) fn take_backlog(&mut self) -> Vec<Socket> {
        let next = |listener: &Listener| match listener.accept() {
            Accepted::Client(socket) => Some(socket),
            Accepted::Nobody | Accepted::Exhausted(_) | Accepted::Broken(_) => None,
        };
        let ours = self.listeners.iter().filter(|listener| listener.is_ours());
        ours.flat_map(|listener| std::iter::from_fn(|| next(listener)).take(BACKLOG)).collect()
    }

    /// Closes it for good.
    pub(super) fn close(&mut self, poll: &Poll) {
        if matches!(self.state, State::Open) {
            self.unwatch(poll);
        }
        self.state = State::Closed;
        self.listeners.clear();
    }

    fn unwatch(&self, poll: &Poll) {
        for listener in &self.listeners {
            if let Err(error) = listener.unwatch(poll) {
                tracing::warn!("cannot close the door: {error}");
            }
        }
    }
}
