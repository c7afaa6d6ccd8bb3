//! How a worker starts: from what it takes with it from the master to the open door.

use std::io::{self, PipeReader, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Waker};

use super::clients::Clients;
use super::connection::{Limits, Patience};
use super::door::Door;
use super::respond::Responder;
use super::rounds::Rounds;
use super::{FIRST_LISTENER, LIFELINE, ROUND, SIGNALS, Worker};
use crate::plan::Plan;
use crate::round::Runner;
use crate::settings::{Configuration, SUCCESSION, Settings};
use crate::sys::descriptors;
use crate::sys::memory;
use crate::sys::process;
use crate::sys::scoreboard::Scoreboard;
use crate::sys::signals::{self, Inbox, Signal};
use crate::sys::sockets::Listener;
use crate::sys::systemd;

/// What a worker takes with it from the master.
pub(crate) struct Post {
    pub(crate) slot: usize,
    pub(crate) master: i32,
    pub(crate) plan: Plan,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) scoreboard: Scoreboard,
    /// Ends when the master does.
    pub(crate) lifeline: PipeReader,
    /// Wakes the master up.
    pub(crate) bell: io::PipeWriter,
}

impl Worker {
    pub(super) fn boot(post: Post) -> io::Result<Worker> {
        let Post { slot, master, plan, listeners, scoreboard, lifeline, mut bell } = post;
        let Plan { configuration: Configuration { settings, environment, .. }, sources, identity, disclosure } = plan;
        // The handlers first: a TERM that came in since the fork is still blocked, and would be lost.
        let signals = Inbox::new([Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGUSR1])?;
        signals::unblock_all()?;
        process::set_name(&format!("{}:w{slot}", settings.name));
        identity.assume()?;
        if !process::die_with(master)? {
            process::leave(0);
        }
        process::change_environment(
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())),
            systemd::OWN_VARIABLES.into_iter().chain([SUCCESSION]),
        );

        // Built after fork: an inherited epoll set is shared with the master, so registering here would
        // change what *it* waits for.
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
        poll.registry().register(&mut SourceFd(&lifeline.as_raw_fd()), LIFELINE, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), ROUND)?);
        // A failed wake would leave the round to its deadline; there is nobody to tell it to here.
        let runner = Runner::new(move || drop(waker.wake()))
            .with_witness(move |check| scoreboard.set_check(slot, check.map_or("", |check| check.id.as_str())));
        let clients = Clients::new(FIRST_LISTENER + listeners.len());
        // A quarter of the descriptors is for the checks and for ourselves: without one left, nobody could be let
        // in, not even to take the place of a client that only sits there.
        let most = (settings.worker_connections as usize).min(descriptors::limit() / 4 * 3).max(1);
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
            rounds: Rounds::new(runner, settings.request_timeout),
            limits: limits(&settings),
            patience: patience(&settings),
            scratch: vec![0; 8 * 1024].into(),
            answered: Vec::new(),
            again: Vec::new(),
            now: Instant::now(),
            left: settings.requests_before_retiring(std::process::id()),
            draining: false,
            responder: Responder::new(sources, disclosure, settings, scoreboard),
        };
        memory::release();
        scoreboard.set_ready(slot, std::process::id());
        // A full pipe rings as well: the master has not listened yet.
        let _ = bell.write(&[0]);
        Ok(worker)
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        line: settings.limit_request_line as usize,
        fields: settings.limit_request_fields as usize,
        field_size: settings.limit_request_field_size as usize,
    }
}

fn patience(settings: &Settings) -> Patience {
    Patience { header: settings.header_timeout, keep_alive: settings.keep_alive }
}
