//! What happens merely because time passes.

use std::time::Instant;

use super::{Effect, Fleet, OVERSLEPT, Phase, Pid, Slot, Successor};
use crate::endpoint::counters::RestartReason;

impl Fleet {
    /// When to call [`Fleet::decide`] with [`Event::Tick`] if nothing else happens before.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let limits = self.slots.iter().filter_map(|&slot| self.kill_at(slot));
        let refill = self.has_room().then(|| self.backoff.not_before());
        let leave = if let Phase::Leaving { until, .. } = self.phase { Some(until) } else { None };
        let succession = match self.successor {
            Some(Successor::Booting { kill_at, .. }) => kill_at,
            Some(Successor::Dying { .. }) | None => None,
        };
        limits.chain(refill).chain(leave).chain(succession).chain(self.look_at).chain(self.beat_at).min()
    }

    pub(super) fn tick(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = self.kill_the_late(now);
        effects.extend(self.look(now));
        effects.extend(self.beat(now));
        if let Phase::Leaving { until, .. } = self.phase
            && until <= now
        {
            effects.extend(self.stop(0, now));
        }
        effects
    }

    /// Kills what has had its time: workers, and a new master that never gets ready.
    fn kill_the_late(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        for index in 0..self.slots.len() {
            let slot = self.slots[index];
            let Some(due) = self.kill_at(slot).filter(|due| *due <= now) else { continue };
            if overslept(due, now) {
                self.be_patient(index, now);
                continue;
            }
            if let Slot::Booting { pid, since, .. } = slot {
                effects.push(Effect::TooLate { slot: index, pid, after: due.duration_since(since) });
            }
            effects.extend(self.kill(index));
            // A worker that hangs while it boots counts like one that dies: it cannot boot.
            if let Slot::Booting { generation, since, .. } = slot {
                self.count(RestartReason::Hang);
                self.backoff.failed(now.duration_since(since), now);
                effects.extend(self.cannot_boot(generation, now));
            }
        }
        if let Some(Successor::Booting { pid, kill_at: Some(due) }) = self.successor
            && due <= now
        {
            if overslept(due, now) {
                self.successor = Some(self.booting(pid, now));
            } else {
                // The rest follows from its death, as with any other.
                self.successor = Some(Successor::Dying { pid });
                effects.push(Effect::GiveUp { successor: pid });
            }
        }
        effects
    }

    /// A new master that begins to boot.
    pub(super) fn booting(&self, pid: Pid, now: Instant) -> Successor {
        Successor::Booting { pid, kill_at: self.force.timing.timeout.map(|timeout| now + timeout) }
    }

    /// Looks for workers that hang, twice within the timeout.
    fn look(&mut self, now: Instant) -> Option<Effect> {
        let (due, interval) = (self.look_at.filter(|due| *due <= now)?, self.force.timing.timeout? / 2);
        self.look_at = Some(now + interval);
        // If the workers slept along with the master, it cannot tell which of them hang: it looks again after they have
        // had a chance to run.
        let in_time = !overslept(due, now) && now.duration_since(due) < interval;
        in_time.then_some(Effect::Inspect)
    }

    /// Tells the watchdog that all is well, as long as there is a worker to serve.
    fn beat(&mut self, now: Instant) -> Option<Effect> {
        let period = self.force.timing.watchdog?;
        self.beat_at.filter(|due| *due <= now)?;
        self.beat_at = Some(now + period);
        let none_serves = match self.phase {
            Phase::Running | Phase::Reloading { .. } | Phase::Paused => self.strength().0 == 0,
            Phase::Starting | Phase::Leaving { .. } | Phase::Stopping { .. } => false,
        };
        (!none_serves).then_some(Effect::Beat { within: period })
    }
}

/// Whether the master was stopped (SIGSTOP, a frozen cgroup) when this was due.
fn overslept(due: Instant, now: Instant) -> bool {
    now.duration_since(due) >= OVERSLEPT
}
