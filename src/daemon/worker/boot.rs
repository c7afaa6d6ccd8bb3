//! What a worker does before its loop: it leaves the master behind, and makes what the loop serves.

use std::io::{self, PipeReader, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

use hospital_http::{Limits, Patience, Reader};
use mio::unix::SourceFd;
use mio::{Interest, Poll, Waker};

use super::acceptor::{self, Acceptor};
use super::clients::Clients;
use super::files::Files;
use super::observer::ScoreboardObserver;
use super::recorder::{Keeper, Recorder};
use super::responder::Responder;
use super::run_observer::WorkerRunObserver;
use super::scheduler::{Places, Scheduler};
use super::shared_report::SharedReport;
use super::turn_reader::TurnReader;
use super::{FIRST_LISTENER, LIFELINE, ROUND, SIGNALS, SNAPSHOT, Worker, WorkerLife};
use crate::collect::{FileState, Refresher};
use crate::config::{Configuration, SUCCESSION, Settings};
use crate::daemon::generation::{GenerationConfig, endpoint_settings};
use crate::daemon::listen::Listener;
use crate::daemon::shared::in_flight::InFlightTable;
use crate::daemon::shared::kept::Kept;
use crate::daemon::shared::scoreboard::Scoreboard;
use crate::daemon::shared::snapshot::Snapshot;
use crate::endpoint::Endpoint;
use crate::endpoint::rounds::{Rounds, excuse_start};
use crate::model::check::Check;
use crate::os::signals::{self, Inbox, Signal};
use crate::os::{descriptors, memory, process, systemd};
use crate::round::{Runner, self_portrait};
use crate::state::ServerPlace;

/// What a worker takes with it from the master.
pub(crate) struct WorkerContext {
    pub(crate) slot: usize,
    pub(crate) master: i32,
    pub(crate) generation: u32,
    pub(crate) config: GenerationConfig,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) scoreboard: Scoreboard,
    pub(crate) snapshot: Snapshot,
    pub(crate) in_flight: InFlightTable,
    pub(crate) kept: Kept,
    /// Reaches its end when the master dies.
    pub(crate) lifeline: PipeReader,
    pub(crate) wake_master: io::PipeWriter,
}

impl Worker {
    pub(super) fn boot(context: WorkerContext) -> io::Result<Worker> {
        self_portrait::is_of_generation(context.generation);
        let WorkerContext {
            slot,
            master,
            generation,
            config,
            listeners,
            scoreboard,
            snapshot,
            in_flight,
            kept,
            lifeline,
            mut wake_master,
        } = context;
        let GenerationConfig {
            configuration: Configuration { settings, environment, app, .. },
            sources,
            identity,
            disclosure,
            jobs,
            state,
            ..
        } = config;
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

        memory::return_large_blocks();
        app.prepare().map_err(io::Error::other)?;

        // Built after the fork: an inherited epoll set is shared with the master, so registering here would change what
        // *it* waits for.
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
        poll.registry().register(&mut SourceFd(&lifeline.as_raw_fd()), LIFELINE, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), ROUND)?);
        // If waking fails, the round ends at its deadline; there is nobody to report it to here.
        let files_waker = waker.clone();
        let places = Places::default();
        let runner = |waker: Arc<Waker>| {
            let observer = WorkerRunObserver { in_flight: in_flight.observer(slot), kept, places: places.clone() };
            let turns = TurnReader::new(kept);
            let record = move |check: &Check| turns.turn(&check.id);
            Runner::new(move || drop(waker.wake())).observed_by(observer).remembering(record).with_at_once(jobs)
        };
        let (lifetime, limit) = (settings.answers.cache, settings.times.request_timeout);
        let observer = ScoreboardObserver { scoreboard, slot, kept };
        kept.begin_starts(sources.suite());
        let rounds = Rounds::new(runner(waker.clone()), limit, observer);
        let scheduled = runner(waker).excusing(excuse_start(Arc::new(observer)));
        let mut scheduler = Scheduler::new(kept, std::process::id(), scheduled, (jobs, places.clone()), limit);
        scheduler.see(sources.suite(), Instant::now());
        let shared_report =
            (!lifetime.is_zero()).then(|| SharedReport::new(snapshot, std::process::id(), lifetime, limit, jobs));
        if let Some(shared) = &shared_report {
            poll.registry().register(&mut SourceFd(&shared.bell()), SNAPSHOT, Interest::READABLE)?;
        }
        let keeper = (slot == 0).then(|| Keeper {
            place: ServerPlace {
                prefix: settings.answers.prefix.clone(),
                urls: listeners.iter().filter_map(Listener::url).collect(),
            },
            known: sources.suite().checks().iter().map(|check| check.id.clone()).collect(),
        });
        let clients = Clients::new(FIRST_LISTENER + listeners.len());
        let room = acceptor::room(descriptors::limit(), sources.suite().checks().len().min(jobs));
        let most = (settings.fleet.worker_connections as usize).min(room).max(1);
        let mut acceptor = Acceptor::new(listeners, FIRST_LISTENER, most);
        acceptor.open(&poll)?;
        let files = Arc::new(FileState::of(&sources));
        let maintenance_file = settings.answers.maintenance_file.clone();
        let refresher = Refresher::start(sources, maintenance_file, move || drop(files_waker.wake()))?;
        let patience = Patience { header: settings.times.header_timeout, keep_alive: settings.times.keep_alive };
        let left = settings.requests_before_retiring(std::process::id());
        let worker = Worker {
            slot,
            scoreboard,
            signals,
            lifeline,
            poll,
            acceptor,
            clients,
            reader: Reader::new(limits(&settings), patience),
            behind_proxy: settings.sockets.proxy_protocol,
            shared_report,
            rounds,
            scheduler,
            observer,
            recorder: Recorder::start(kept, scoreboard, generation, state.map(|state| (state, keeper))),
            responder: Responder::new(settings.log.access_logformat),
            again: Vec::new(),
            now: Instant::now(),
            life: WorkerLife::Serving { left },
            files: Files::new(refresher, limit),
            endpoint: Endpoint::new(files, endpoint_settings(settings, disclosure, generation), observer),
        };
        scoreboard.set_ready(slot, std::process::id());
        // A full pipe wakes it as well: it has yet to read that.
        let _ = wake_master.write(&[0]);
        Ok(worker)
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        line: settings.answers.limit_request_line as usize,
        fields: settings.answers.limit_request_fields as usize,
        field_size: settings.answers.limit_request_field_size as usize,
    }
}
