//! Endings: of the fleet, and of single workers.

use std::time::Instant;

use super::{ABORT_GRACE, Effect, Fleet, OVERSLEPT, Phase, Slot};

impl Fleet {
    pub(super) fn leave(&mut self, now: Instant) -> Vec<Effect> {
        // One that answers within the drain delay would go on after our end.
        let mut effects: Vec<_> = [Effect::Leave].into_iter().chain(self.dismiss_successor()).collect();
        if self.force.timing.drain_delay.is_zero() || self.strength().0 == 0 {
            effects.extend(self.stop(0, now));
        } else {
            self.phase = Phase::Leaving { since: now, until: now + self.force.timing.drain_delay };
        }
        effects
    }

    pub(super) fn stop(&mut self, code: u8, now: Instant) -> Vec<Effect> {
        self.phase = Phase::Stopping { since: now, code };
        let drained: Vec<_> = (0..self.slots.len()).filter_map(|index| self.drain(index, now)).collect();
        [Effect::CloseListeners].into_iter().chain(self.dismiss_successor()).chain(drained).collect()
    }

    pub(super) fn stop_at_once(&mut self, now: Instant) -> Vec<Effect> {
        let code = if let Phase::Stopping { code, .. } = self.phase { code } else { 0 };
        self.phase = Phase::Stopping { since: now, code };
        let killed: Vec<_> = (0..self.slots.len()).filter_map(|index| self.kill(index)).collect();
        [Effect::CloseListeners].into_iter().chain(self.dismiss_successor()).chain(killed).collect()
    }

    fn dismiss_successor(&mut self) -> Option<Effect> {
        self.successor.take().map(|successor| Effect::Term(successor.pid()))
    }

    /// When it is killed.
    pub(super) fn kill_at(&self, slot: Slot) -> Option<Instant> {
        match slot {
            Slot::Booting { since, .. } => self.force.timing.timeout.map(|timeout| since + timeout),
            Slot::Draining { kill_at, .. } | Slot::Aborting { kill_at, .. } => Some(kill_at),
            Slot::Vacant | Slot::Forking { .. } | Slot::Serving { .. } | Slot::Dying { .. } => None,
        }
    }

    /// A worker that had no chance to end, or to boot, gets the full time for that again.
    pub(super) fn be_patient(&mut self, index: usize, now: Instant) {
        let graceful = self.force.timing.graceful;
        match &mut self.slots[index] {
            Slot::Booting { since, .. } => *since = now,
            Slot::Draining { kill_at, .. } => *kill_at = now + graceful.max(OVERSLEPT),
            Slot::Aborting { kill_at, .. } => *kill_at = now + ABORT_GRACE,
            Slot::Vacant | Slot::Forking { .. } | Slot::Serving { .. } | Slot::Dying { .. } => {}
        }
    }

    pub(super) fn drain(&mut self, index: usize, now: Instant) -> Option<Effect> {
        let (Slot::Booting { pid, .. } | Slot::Serving { pid, .. }) = self.slots[index] else { return None };
        self.slots[index] = Slot::Draining { pid, kill_at: now + self.force.timing.graceful };
        Some(Effect::Term(pid))
    }

    pub(super) fn kill(&mut self, index: usize) -> Option<Effect> {
        let pid = self.slots[index].pid()?;
        self.slots[index] = Slot::Dying { pid };
        Some(Effect::Kill(pid))
    }
}
