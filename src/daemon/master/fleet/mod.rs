//! The fleet: slots × events → effects. Pure: it knows neither processes nor the time.
//!
//! ```text
//!            Fork            Forked             Ready              surplus, stop
//!   Vacant ────────▶ Forking ──────▶ Booting ────────▶ Serving ──────────────────▶ Draining
//!     ▲                                 │ too late        │ hung                       │ too late
//!     │                                 │                 ▼                            │
//!     │                                 │             Aborting ──┐ too late            │
//!     │              Died               ▼                        ▼                     ▼
//!     └──────────────────────────────── Dying ◀──────────────────┴─────────────────────┘
//! ```
//!
//! A worker may die in every state; its slot is then vacant. The consequences of every change are in one place,
//! [`Fleet::converge`], which compares what there is with what is wanted: a crash, a reload, TTIN and the end are all
//! the same to it.

mod backoff;
mod converge;
mod ending;
mod event;
mod slot;
#[cfg(test)]
mod tests;
mod timers;

use std::time::{Duration, Instant};

use super::command::Command;
use crate::endpoint::counters::{RestartCounts, RestartReason};
use backoff::Backoff;
pub(crate) use event::{Effect, Event, Timing, WorkerEnd};
pub(crate) use slot::{Generation, Pid, Slot};

/// How often workers of a new generation may die while booting before the old one is brought back.
const STRIKES: u8 = 3;

/// How long a worker has for its core dump between ABRT and KILL.
const ABORT_GRACE: Duration = Duration::from_secs(5);

/// A master that wakes up this much too late was stopped or frozen, and its workers may have been, too.
const OVERSLEPT: Duration = Duration::from_secs(1);

/// Two TERMs within this time are one: timeout(1) and some supervisors signal the process and its group.
const ECHO: Duration = Duration::from_millis(100);

/// What is in force: a generation, and what its configuration says about the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Force {
    generation: Generation,
    asked: usize,
    timing: Timing,
}

/// What the fleet is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not all of its workers have answered yet: if one cannot boot, that ends the start.
    Starting,
    /// All workers are, or will be, of the present generation.
    Running,
    /// The workers of the former generation are replaced, one by one.
    Reloading { from: Force, strikes: u8, again: bool },
    /// The workers were sent away; the master stays.
    Paused,
    /// Readiness fails, but everything is still answered.
    Leaving { since: Instant, until: Instant },
    /// The workers finish; then the master exits.
    Stopping { since: Instant, code: u8 },
}

/// The master that is to take over from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Successor {
    /// Started, not ready yet.
    Booting { pid: Pid, kill_at: Option<Instant> },
    /// It was given up and is not reaped yet.
    Dying { pid: Pid },
}

impl Successor {
    fn pid(self) -> Pid {
        match self {
            Successor::Booting { pid, .. } | Successor::Dying { pid } => pid,
        }
    }
}

/// The workers, their states, and what is wanted of them.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    force: Force,
    /// The highest number that a generation has had.
    latest: Generation,
    capacity: usize,
    phase: Phase,
    slots: Vec<Slot>,
    successor: Option<Successor>,
    backoff: Backoff,
    look_at: Option<Instant>,
    beat_at: Option<Instant>,
    restarts: RestartCounts,
}

impl Fleet {
    /// A fleet of `asked` workers, none of them forked, that never has more than `capacity` slots.
    pub(crate) fn new(generation: Generation, asked: usize, capacity: usize, timing: Timing, now: Instant) -> Fleet {
        Fleet {
            force: Force { generation, asked, timing },
            latest: generation,
            capacity,
            phase: Phase::Starting,
            slots: Vec::new(),
            successor: None,
            backoff: Backoff::new(now),
            look_at: timing.timeout.map(|timeout| now + timeout / 2),
            beat_at: timing.watchdog.map(|period| now + period),
            restarts: RestartCounts::default(),
        }
    }

    /// Takes in an event and returns what to do about it, in this order.
    pub(crate) fn decide(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut effects = match event {
            Event::Tick => self.tick(now),
            Event::Command(command) => self.command(command, now),
            Event::Forked { slot, pid } => self.forked(slot, pid, now),
            Event::ForkFailed { slot } => self.fork_failed(slot, now),
            Event::Ready { slot } => self.ready(slot, now),
            Event::Died { pid, end } => self.died(pid, end, now),
            Event::Hung { slot } => self.hung(slot, now),
            Event::Succeeding { pid } => self.succeeding(pid, now),
            Event::Succeeded => self.succeeded(now),
            Event::Loaded { workers, timing } => self.loaded(workers, timing, now),
            Event::Refused => self.refused(),
        };
        self.converge(now, &mut effects);
        effects
    }

    /// The slots, by number.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot of a worker.
    pub(crate) fn slot_of(&self, pid: Pid) -> Option<usize> {
        self.slots.iter().position(|slot| slot.pid() == Some(pid))
    }

    /// How many workers answer, and how many are wanted.
    pub(crate) fn strength(&self) -> (usize, usize) {
        (self.slots.iter().filter(|slot| matches!(slot, Slot::Serving { .. })).count(), self.force.asked)
    }

    /// How many workers were replaced for each reason.
    pub(crate) fn restarts(&self) -> RestartCounts {
        self.restarts
    }

    fn count(&mut self, reason: RestartReason) {
        self.restarts[reason as usize] += 1;
    }

    /// The generation in force.
    pub(crate) fn generation(&self) -> Generation {
        self.force.generation
    }

    /// The master that is to take over from us.
    pub(crate) fn successor(&self) -> Option<Pid> {
        self.successor.map(Successor::pid)
    }

    /// How long a worker may be awake without a pause.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.force.timing.timeout
    }

    /// How long shutting down may take.
    pub(crate) fn longest_end(&self) -> Duration {
        self.force.timing.drain_delay + self.force.timing.graceful
    }

    /// Whether the service is shutting down.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Leaving { .. } | Phase::Stopping { .. })
    }

    /// The number of the next good configuration.
    pub(crate) fn next_generation(&self) -> Generation {
        self.latest + 1
    }

    // --- what each event means ---------------------------------------------------------------------

    fn command(&mut self, command: Command, now: Instant) -> Vec<Effect> {
        match (command, self.phase) {
            (Command::Reap, _) => vec![Effect::Reap],
            (Command::Reopen, _) => self.reopen(),
            (Command::Drain, Phase::Leaving { since, .. } | Phase::Stopping { since, .. }) if now < since + ECHO => {
                vec![]
            }
            (Command::Stop, _) | (Command::Drain, Phase::Leaving { .. } | Phase::Stopping { .. }) => {
                self.stop_at_once(now)
            }
            (Command::Drain, Phase::Starting | Phase::Running | Phase::Reloading { .. } | Phase::Paused) => {
                self.leave(now)
            }
            // Anything else would change what is shutting down.
            (_, Phase::Leaving { .. } | Phase::Stopping { .. }) => vec![],
            (Command::Reload, Phase::Reloading { from, strikes, .. }) => {
                self.phase = Phase::Reloading { from, strikes, again: true };
                vec![]
            }
            // As with gunicorn, whose users rotate logs with a HUP.
            (Command::Reload, Phase::Starting | Phase::Running | Phase::Paused) => {
                self.reopen().into_iter().chain([Effect::Load]).collect()
            }
            // A former master may be waiting for us to answer. It would wait in vain if we had a successor, or sent our
            // workers away.
            (Command::Upgrade | Command::Pause, Phase::Starting) => vec![],
            (Command::Upgrade, _) => {
                if self.successor.is_none() {
                    vec![Effect::Upgrade]
                } else {
                    vec![]
                }
            }
            (Command::More, _) => {
                self.force.asked = (self.force.asked + 1).min(self.capacity / 2);
                vec![]
            }
            (Command::Fewer, _) => {
                self.force.asked = (self.force.asked - 1).max(1);
                vec![]
            }
            (Command::Pause, phase) => {
                self.phase = Phase::Paused;
                if let Phase::Reloading { .. } = phase { vec![Effect::BreakOff] } else { vec![] }
            }
        }
    }

    fn forked(&mut self, slot: usize, pid: Pid, now: Instant) -> Vec<Effect> {
        if let Slot::Forking { generation } = self.slots[slot] {
            self.slots[slot] = Slot::Booting { pid, generation, since: now };
        }
        vec![]
    }

    fn fork_failed(&mut self, slot: usize, now: Instant) -> Vec<Effect> {
        if let Slot::Forking { .. } = self.slots[slot] {
            self.slots[slot] = Slot::Vacant;
            self.backoff.failed(Duration::ZERO, now);
        }
        vec![]
    }

    fn ready(&mut self, slot: usize, now: Instant) -> Vec<Effect> {
        match self.slots[slot] {
            Slot::Booting { pid, generation, .. } => {
                self.slots[slot] = Slot::Serving { pid, generation, since: now };
                vec![]
            }
            Slot::Vacant
            | Slot::Forking { .. }
            | Slot::Serving { .. }
            | Slot::Draining { .. }
            | Slot::Aborting { .. }
            | Slot::Dying { .. } => vec![],
        }
    }

    fn died(&mut self, pid: Pid, end: WorkerEnd, now: Instant) -> Vec<Effect> {
        if self.successor() == Some(pid) {
            // It could not boot: everything is as it was.
            self.successor = None;
        }
        let Some(index) = self.slot_of(pid) else { return vec![] };
        let reason = match end {
            WorkerEnd::Well | WorkerEnd::Crash => RestartReason::Crash,
            WorkerEnd::OutOfMemory => RestartReason::OutOfMemory,
        };
        match std::mem::replace(&mut self.slots[index], Slot::Vacant) {
            Slot::Booting { generation, since, .. } => {
                self.count(reason);
                self.backoff.failed(now.duration_since(since), now);
                self.cannot_boot(generation, now)
            }
            // It retired by itself, after --max-requests.
            Slot::Serving { .. } if end == WorkerEnd::Well => {
                self.count(RestartReason::Retired);
                vec![]
            }
            Slot::Serving { since, .. } => {
                self.count(reason);
                self.backoff.failed(now.duration_since(since), now);
                vec![]
            }
            Slot::Vacant
            | Slot::Forking { .. }
            | Slot::Draining { .. }
            | Slot::Aborting { .. }
            | Slot::Dying { .. } => vec![],
        }
    }

    fn cannot_boot(&mut self, generation: Generation, now: Instant) -> Vec<Effect> {
        match self.phase {
            Phase::Starting => self.stop(3, now),
            Phase::Reloading { from, strikes, again } if generation == self.force.generation => {
                if strikes + 1 < STRIKES {
                    self.phase = Phase::Reloading { from, strikes: strikes + 1, again };
                    return vec![];
                }
                self.enforce(from, now);
                self.phase = Phase::Running;
                let reload = again.then_some(Effect::Load);
                [Effect::RollBack(from.generation)].into_iter().chain(reload).collect()
            }
            Phase::Running
            | Phase::Reloading { .. }
            | Phase::Paused
            | Phase::Leaving { .. }
            | Phase::Stopping { .. } => vec![],
        }
    }

    fn hung(&mut self, slot: usize, now: Instant) -> Vec<Effect> {
        match self.slots[slot] {
            Slot::Serving { pid, .. } => {
                self.count(RestartReason::Hang);
                self.slots[slot] = Slot::Aborting { pid, kill_at: now + ABORT_GRACE };
                vec![Effect::Abort { slot, pid }]
            }
            Slot::Vacant
            | Slot::Forking { .. }
            | Slot::Booting { .. }
            | Slot::Draining { .. }
            | Slot::Aborting { .. }
            | Slot::Dying { .. } => vec![],
        }
    }

    fn succeeding(&mut self, pid: Pid, now: Instant) -> Vec<Effect> {
        match self.phase {
            Phase::Leaving { .. } | Phase::Stopping { .. } => vec![Effect::Term(pid)],
            Phase::Starting | Phase::Running | Phase::Reloading { .. } | Phase::Paused => {
                self.successor = Some(self.booting(pid, now));
                vec![]
            }
        }
    }

    fn succeeded(&mut self, now: Instant) -> Vec<Effect> {
        // A successor that got ready just after it was given up is being killed all the same.
        let Some(Successor::Booting { pid: successor, .. }) = self.successor else { return vec![] };
        self.successor = None;
        let mut effects = vec![Effect::HandOver { successor }];
        effects.extend(self.stop(0, now));
        effects
    }

    fn loaded(&mut self, asked: usize, timing: Timing, now: Instant) -> Vec<Effect> {
        match self.phase {
            Phase::Starting => {}
            Phase::Running | Phase::Paused => {
                self.phase = Phase::Reloading { from: self.force, strikes: 0, again: false };
            }
            Phase::Reloading { .. } | Phase::Leaving { .. } | Phase::Stopping { .. } => return vec![],
        }
        self.latest += 1;
        self.enforce(Force { generation: self.latest, asked, timing }, now);
        vec![]
    }

    /// Puts a configuration in force, which also determines when to look for hung workers.
    fn enforce(&mut self, force: Force, now: Instant) {
        self.force = force;
        self.look_at = force.timing.timeout.map(|timeout| now + timeout / 2);
    }

    fn refused(&mut self) -> Vec<Effect> {
        // A HUP calls a paused fleet back; if the new configuration is bad, with the old one.
        if self.phase == Phase::Paused {
            self.phase = Phase::Running;
        }
        vec![]
    }

    fn reopen(&self) -> Vec<Effect> {
        let workers = self.slots.iter().filter_map(|slot| slot.pid()).map(Effect::Reopen);
        [Effect::ReopenLogs].into_iter().chain(workers).collect()
    }
}
