//! The master: one thread that waits, lets the fleet decide, and performs. It runs no checks and accepts no
//! connections.

pub(crate) mod command;
mod deaths;
pub(crate) mod fleet;
pub(crate) mod handled;
mod orphan_reaper;
mod pidfile;
mod pythons;
mod status;
pub(crate) mod succession;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::worker::WorkerContext;
use crate::config::Given;
use crate::daemon::generation::GenerationConfig;
use crate::daemon::listen::{self, Listener};
use crate::daemon::shared::in_flight::InFlightTable;
use crate::daemon::shared::kept::KeptFile;
use crate::daemon::shared::scoreboard::{SLOTS, Scoreboard};
use crate::daemon::shared::snapshot::Snapshot;
use crate::endpoint::log_silences;
use crate::error::Error;
use crate::model::check::DEFAULT_TIMEOUT;
use crate::os::cgroup::OomKills;
use crate::os::process::{self, Forked};
use crate::os::signals::{self, Inbox, Signal};
use crate::os::{descriptors, memory, shared, systemd, tree};
use crate::python::{self, Preparation, Python};
use command::Command;
use fleet::{Effect, Event, Fleet, Generation, Pid, Slot, Timing, WorkerEnd};
use pidfile::PidFile;
use status::Supervision;
use succession::{Inheritance, Succession};

/// Makes a configuration from what the process was started with: at the start, and for each reload.
pub(crate) type LoadConfig = fn(&Given) -> Result<GenerationConfig, Error>;

/// How [`Master::run`] returns: once in the master, and once in each worker.
pub(crate) enum Ended {
    /// This is the master, and it is done.
    Stopped(u8),
    /// This is a forked worker. Everything that belongs to the master is closed; this is the worker's task.
    Forked(Box<WorkerContext>),
}

/// The master process.
pub(crate) struct Master {
    given: Given,
    load: LoadConfig,
    /// What was set at the start and stays in force, whatever a reload finds.
    fixed: [(String, &'static str); 8],
    configs: BTreeMap<Generation, GenerationConfig>,
    fleet: Fleet,
    listeners: Vec<Listener>,
    scoreboard: Scoreboard,
    snapshot: Snapshot,
    in_flight: InFlightTable,
    kept: KeptFile,
    oom_kills: Option<OomKills>,
    /// Outlives us, to clean up after us.
    orphan_reaper: Option<Pid>,
    signals: Inbox,
    /// Workers hold the reading end; its end-of-file tells them that the master is gone.
    lifeline: (PipeReader, PipeWriter),
    /// Workers hold the writing end, and ring when they are ready.
    bell: (PipeReader, PipeWriter),
    pidfile: Option<PidFile>,
    supervision: Supervision,
    /// The new master that will take over from us, and where the one that we take over from waits for our status.
    succession: Option<Succession>,
    /// The Python that a reload waits for.
    preparation: Option<Preparation>,
    predecessor: Option<PipeWriter>,
}

/// What follows from performing an effect.
enum Flow {
    On(Vec<Event>),
    Worker { slot: usize, generation: Generation, master: i32 },
    Stop(u8),
}

impl Master {
    /// Does everything that can fail before a worker exists: sockets, handlers, pidfile, in this order.
    pub(crate) fn start(mut config: GenerationConfig, given: Given, load: LoadConfig) -> Result<Master, Error> {
        let now = Instant::now();
        let inheritance = Inheritance::from_environment()?;
        let settings = &config.configuration.settings;
        // A former master has already used it; its number now belongs to another descriptor.
        let supervision = Supervision::new(settings.process.notify_fd.filter(|_| inheritance.is_none()))?;
        // Before we open anything but the log: this catches all that a parent has leaked.
        descriptors::close_all_on_exec().map_err(cannot("cannot tidy up descriptors"))?;
        let listeners = match &inheritance {
            Some(inheritance) => listen::take_over(&inheritance.sockets, settings.sockets.backlog)?,
            None => listen::open(settings, config.identity.owner())?,
        };
        let handled = handled::SIGNALS.map(|(signal, _)| signal);
        let signals = Inbox::new(handled).map_err(cannot("cannot install signal handlers"))?;
        signals::unblock_all().map_err(cannot("cannot unblock signals"))?;
        let remove_files = |_: &Error| {
            listeners.iter().filter(|_| inheritance.is_none()).for_each(Listener::remove_file);
        };
        let pidfile = succession::pidfile(&config, inheritance.as_ref()).inspect_err(remove_files)?;
        config.state_lock = succession::state_lock(&config, inheritance.as_ref()).inspect_err(remove_files)?;
        if config.state_lock.is_none() {
            config.lock_state(std::iter::empty()).inspect_err(remove_files)?;
        }
        let settings = &config.configuration.settings;
        process::set_name(&format!("{}:master", settings.process.name));
        let generation = inheritance.as_ref().map_or(0, |inheritance| inheritance.generation);
        let kept = inheritance.as_ref().map_or(Ok(None), Inheritance::kept).and_then(KeptFile::new);
        let kept = kept.map_err(cannot("cannot map what is kept"))?;
        let begins = if inheritance.is_some() { "upgraded" } else { "started" };
        config.remember(kept.kept);
        kept.kept.events().note(kept.kept.now(), &format!("{begins}: hospital {}", env!("CARGO_PKG_VERSION")));
        let predecessor = inheritance.map(|inheritance| inheritance.readiness()).transpose();
        let scoreboard = Scoreboard::new(now).map_err(cannot("cannot map the scoreboard"))?;
        scoreboard.set_reloaded(true);
        scoreboard.note_silences(&config.sources.silences());
        log_silences(&[], &config.sources.silences());
        Ok(Master {
            fleet: Fleet::new(generation, settings.fleet.workers.into(), SLOTS, timing(&config), now),
            listeners,
            snapshot: Snapshot::new(now).map_err(cannot("cannot map the snapshot"))?,
            scoreboard,
            orphan_reaper: None,
            in_flight: InFlightTable::new(now).map_err(cannot("cannot map the in-flight table"))?,
            kept,
            oom_kills: OomKills::watch(),
            signals,
            lifeline: descriptors::pipe().map_err(cannot("cannot make a pipe"))?,
            bell: descriptors::pipe().map_err(cannot("cannot make a pipe"))?,
            pidfile,
            supervision,
            succession: None,
            preparation: None,
            predecessor: predecessor.map_err(cannot("cannot reach the former master"))?,
            fixed: settings.fixed(),
            configs: BTreeMap::from([(generation, config)]),
            given,
            load,
        })
    }

    /// Runs until the end, which in a forked worker is its beginning.
    ///
    /// # Errors
    ///
    /// Only if waiting fails, as the loop would then spin.
    pub(crate) fn run(mut self) -> io::Result<Ended> {
        // If a shell script became us through exec, it may have left a dead child whose CHLD came before our handler
        // existed.
        let mut events = VecDeque::from([Event::Command(Command::Reap)]);
        loop {
            while let Some(event) = events.pop_front() {
                let mut results = Vec::new();
                for effect in self.fleet.decide(event, Instant::now()) {
                    match self.perform(effect) {
                        Flow::On(more) => results.extend(more),
                        Flow::Worker { slot, generation, master } => {
                            return Ok(Ended::Forked(Box::new(self.into_context(slot, generation, master))));
                        }
                        Flow::Stop(code) => return Ok(self.end(code)),
                    }
                }
                // Handled before any later event: a TERM must find a master that was just started.
                results.into_iter().rev().for_each(|event| events.push_front(event));
            }
            self.tell_status();
            self.show_fleet();
            events.extend(self.wait()?);
        }
    }

    /// Waits for a signal, the bell or the next deadline, and returns what has happened.
    fn wait(&mut self) -> io::Result<Vec<Event>> {
        let mut fds = vec![self.signals.as_fd(), self.bell.0.as_fd()];
        fds.extend(self.succession.as_ref().map(AsFd::as_fd));
        let pythons = self.configs.values().filter_map(|config| config.sources.python().next_deadline());
        let prepared = self.preparation.as_ref().map(Preparation::until);
        let deadline = self.fleet.next_deadline().into_iter().chain(pythons).chain(prepared).min();
        fds.extend(self.preparation.iter().flat_map(Preparation::descriptors));
        let unanswered = self.unanswered();
        fds.extend(unanswered.iter().map(AsFd::as_fd));
        descriptors::wait_readable(&fds, self.supervision.deadline(deadline))?;
        self.revive_pythons();
        let mut rung = [0; 64];
        // The scoreboard tells which worker rang; the pipe only wakes us, and is emptied.
        while matches!(self.bell.0.read(&mut rung), Ok(1..)) {}
        let mut events = self.newly_ready();
        events.extend(self.succession_event());
        events.extend(self.python_prepared());
        for received in self.signals.take() {
            let Some(command) = handled::command(received) else { continue };
            if command != Command::Reap {
                tracing::info!("{}: {command:?}", received.signal);
            }
            events.push(Event::Command(command));
        }
        events.push(Event::Tick);
        Ok(events)
    }

    /// Notes on the scoreboard how the fleet is, for `/metrics` of any worker.
    fn show_fleet(&self) {
        self.scoreboard.set_generation(self.fleet.generation());
        self.scoreboard.set_restarts(self.fleet.restarts());
        for (slot, state) in self.fleet.slots().iter().enumerate() {
            self.scoreboard.set_worker_state(slot, state.worker_state());
        }
    }

    fn newly_ready(&self) -> Vec<Event> {
        let ready = |(slot, state): (usize, &Slot)| match *state {
            Slot::Booting { pid, .. } if self.scoreboard.is_ready(slot, pid.unsigned_abs()) => {
                Some(Event::Ready { slot })
            }
            Slot::Vacant
            | Slot::Forking { .. }
            | Slot::Booting { .. }
            | Slot::Serving { .. }
            | Slot::Draining { .. }
            | Slot::Aborting { .. }
            | Slot::Dying { .. } => None,
        };
        self.fleet.slots().iter().enumerate().filter_map(ready).collect()
    }

    fn perform(&mut self, effect: Effect) -> Flow {
        match effect {
            Effect::Fork { slot, generation } => return self.fork(slot, generation),
            Effect::Exit(code) => return Flow::Stop(code),
            Effect::Reap => return Flow::On(self.reap()),
            Effect::Inspect => return Flow::On(self.inspect()),
            Effect::Load => return Flow::On(self.begin_load().into_iter().collect()),
            Effect::Term(pid) => self.dismiss(pid, Signal::SIGTERM),
            Effect::TooLate { slot, pid, after } => deaths::too_late(slot, pid, after),
            Effect::Kill(pid) => self.dismiss(pid, Signal::SIGKILL),
            Effect::Reopen(pid) => send(pid, Signal::SIGUSR1),
            Effect::Abort { slot, pid } => {
                self.worker_hangs(slot, pid);
                self.dismiss(pid, Signal::SIGABRT);
            }
            Effect::ReopenLogs => crate::daemon::logging::reopen(),
            Effect::Beat { within } => self.beat(within),
            Effect::Settle(generation) => {
                self.configs.retain(|&number, _| number == generation);
                self.scoreboard.set_reloaded(true);
                tracing::info!("reloaded: all workers are of generation {generation}");
                self.reloaded(&format!("reloaded: generation {generation}"));
            }
            Effect::RollBack(generation) => {
                self.configs.retain(|&number, _| number == generation);
                self.scoreboard.set_reloaded(false);
                tracing::error!("the new workers cannot boot: generation {generation} goes on serving");
                self.reloaded("reload failed: the new workers cannot boot");
            }
            Effect::BreakOff => self.reloaded("reload broken off: the workers are sent away"),
            Effect::Announce => self.announce(),
            Effect::Leave => self.leave(),
            Effect::CloseListeners => self.close_listeners(),
            Effect::Upgrade => return Flow::On(self.upgrade()),
            Effect::GiveUp { successor } => self.give_up(successor),
            Effect::HandOver { successor } => self.hand_over(successor),
        }
        Flow::On(vec![])
    }

    /// The whole fleet answers for the first time.
    fn announce(&mut self) {
        let status = self.status();
        let predecessor = self.predecessor.take();
        // While there is a former master, it is the main process, and the only one that the service manager listens to.
        let is_main = predecessor.is_none();
        if let Some(readiness) = predecessor {
            if let Some(Err(error)) = self.pidfile.as_mut().map(PidFile::write) {
                tracing::error!("the pidfile cannot be written: {error}");
            }
            succession::complete(readiness, &status);
        }
        self.announced(status, is_main);
        memory::release();
    }

    // --- workers -----------------------------------------------------------------------------------

    /// Something has happened that may be the reason why checks change.
    fn happened(&self, what: &str) {
        self.kept.kept.events().note(self.kept.kept.now(), what);
    }

    fn fork(&mut self, slot: usize, generation: Generation) -> Flow {
        self.ensure_orphan_reaper(generation);
        self.scoreboard.clear(slot);
        self.in_flight.clear(slot);
        match process::fork() {
            Ok(Forked::Child { parent }) => Flow::Worker { slot, generation, master: parent },
            Ok(Forked::Parent(pid)) => {
                tracing::debug!("worker {slot} (pid {pid}) boots, of generation {generation}");
                Flow::On(vec![Event::Forked { slot, pid }])
            }
            Err(error) => {
                tracing::error!("cannot fork a worker: {error}: trying again");
                Flow::On(vec![Event::ForkFailed { slot }])
            }
        }
    }

    /// Ends a process with a signal. If it is a worker, the others stop leaving connections to it: it may be stopped, or
    /// hang.
    fn dismiss(&self, pid: Pid, signal: Signal) {
        if let Some(slot) = self.fleet.slot_of(pid) {
            self.scoreboard.set_closed(slot);
        }
        send(pid, signal);
    }

    /// In the child: keeps what belongs to a worker, and by dropping the rest closes what belongs to the master.
    fn into_context(mut self, slot: usize, generation: Generation, master: i32) -> WorkerContext {
        let config = self.configs.remove(&generation).expect("a generation that is forked has a configuration");
        if let Err(error) = config.enter() {
            tracing::warn!("cannot go to the directory of generation {generation}: {error}");
        }
        WorkerContext {
            slot,
            master,
            generation,
            config,
            listeners: self.listeners,
            scoreboard: self.scoreboard,
            snapshot: self.snapshot,
            in_flight: self.in_flight,
            kept: self.kept.kept,
            lifeline: self.lifeline.0,
            wake_master: self.bell.1,
        }
    }

    /// Collects every dead child. As PID 1 we adopt orphans: those that are not our workers are only reaped.
    fn reap(&mut self) -> Vec<Event> {
        let mut events = self.newly_ready();
        while let Some((pid, status)) = process::reap() {
            let mut end = WorkerEnd::Crash;
            self.snapshot.bury(pid.unsigned_abs());
            if let Some(slot) = self.fleet.slot_of(pid) {
                self.scoreboard.set_closed(slot);
                end = self.worker_died(slot, pid, status);
                // A worker that was killed has not ended what its checks were running.
                if status.code().is_none()
                    && let Err(error) = tree::kill_orphans_of(pid)
                {
                    tracing::warn!("what the checks of worker {slot} were running may go on: {error}");
                }
                // Only now: what it was running is not to run beside itself.
                self.kept.kept.schedules().bury(pid.unsigned_abs());
            } else if self.python_died(pid, status) {
            } else if self.orphan_reaper == Some(pid) {
                self.orphan_reaper_died(status);
            } else if self.fleet.successor() == Some(pid) {
                self.upgrade_failed(pid, status);
            }
            events.push(Event::Died { pid, end });
        }
        events
    }

    /// Finds the workers that have been awake for longer than they may be.
    fn inspect(&mut self) -> Vec<Event> {
        let now = Instant::now();
        // The out-of-memory kills not accounted for by now hit none of our workers.
        self.oom_kills.iter_mut().for_each(OomKills::catch_up);
        let Some(timeout) = self.fleet.timeout() else { return vec![] };
        let hangs = |&slot: &usize| self.scoreboard.awake_for(slot, now).is_some_and(|awake| awake > timeout);
        (0..self.fleet.slots().len()).filter(hangs).map(|slot| Event::Hung { slot }).collect()
    }

    // --- the configuration -------------------------------------------------------------------------

    /// Reads the configuration, unless its files do not answer: a child of ours reads it before. With checks in Python,
    /// that is done later: an interpreter imports them first, and we go on meanwhile.
    fn begin_load(&mut self) -> Option<Event> {
        self.reloading();
        let tried = shared::scratch_file().and_then(|notes| {
            let theirs = notes.try_clone()?;
            let is_done = process::can_be_done_within(DEFAULT_TIMEOUT, || {
                python::only_note(theirs);
                drop(self.read(None));
            })?;
            Ok(is_done.then_some(notes))
        });
        let notes = match tried {
            Ok(None) => {
                return Some(self.loaded(Err(Error::Boot(format!(
                    "reading it took longer than {DEFAULT_TIMEOUT:?}: does a mount not answer that its files are on?"
                )))));
            }
            Ok(notes) => notes,
            // Where there can be no child, as descriptors have run out, workers will say so.
            Err(_) => None,
        };
        if self.prepare_python(notes) {
            return None;
        }
        let read = self.read(None);
        Some(self.loaded(read))
    }

    fn read(&self, prepared: Option<Python>) -> Result<GenerationConfig, Error> {
        let mut config = (self.load)(&Given { prepared, ..self.given.clone() })?;
        config.lock_state(self.configs.values())?;
        config.remember(self.kept.kept);
        Ok(config)
    }

    fn loaded(&mut self, read: Result<GenerationConfig, Error>) -> Event {
        match read {
            Ok(config) => {
                self.warn_of_what_stays(&config);
                let event = Event::Loaded {
                    workers: config.configuration.settings.fleet.workers.into(),
                    timing: timing(&config),
                };
                self.configs.insert(self.fleet.next_generation(), config);
                self.in_flight.pardon_all();
                tracing::info!("reloading");
                event
            }
            Err(error) => {
                self.scoreboard.set_reloaded(false);
                tracing::error!("reload refused, the old configuration goes on serving: {error}");
                self.reloaded(&format!("reload refused: {error}"));
                Event::Refused
            }
        }
    }

    /// Some settings stay in force until the end; a reload that would change them logs that.
    fn warn_of_what_stays(&self, new: &GenerationConfig) {
        for ((before, _), (after, taken_by)) in self.fixed.iter().zip(new.configuration.settings.fixed()) {
            if *before != after {
                tracing::warn!("changed from {before} to {after}: that takes {taken_by}");
            }
        }
        new.warn();
    }

    // --- the beginning and the end -----------------------------------------------------------------

    fn close_listeners(&mut self) {
        // As long as a former master waits for us, the sockets and their files belong to it.
        let ours = self.predecessor.is_none();
        for listener in self.listeners.drain(..).filter(|_| ours) {
            listener.refuse_newcomers();
            listener.remove_file();
        }
    }

    fn end(mut self, code: u8) -> Ended {
        self.dismiss_orphan_reaper();
        self.supervision.have_last_word();
        if let Some(pidfile) = self.pidfile.filter(PidFile::is_mine) {
            pidfile.remove();
        }
        tracing::info!("stopped");
        Ended::Stopped(code)
    }
}

fn cannot(what: &str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Boot(format!("{what}: {error}"))
}

fn timing(config: &GenerationConfig) -> Timing {
    let settings = &config.configuration.settings;
    Timing {
        timeout: Some(settings.times.timeout).filter(|timeout| !timeout.is_zero()),
        graceful: settings.times.graceful_timeout,
        drain_delay: settings.times.drain_delay,
        // Twice as often as the watchdog demands, as sd_watchdog_enabled(3) advises.
        watchdog: systemd::watchdog().map(|period| period / 2).filter(|period| *period > Duration::ZERO),
    }
}

fn send(pid: Pid, signal: Signal) {
    if let Err(error) = process::send(pid, signal) {
        tracing::error!("cannot send {signal} to worker {pid}: {error}");
    }
}
