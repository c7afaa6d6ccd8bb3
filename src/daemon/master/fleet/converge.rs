//! The way from what there is to what is wanted: one place for the consequences of every change.

use std::time::Instant;

use super::{Effect, Fleet, Phase, Slot};
use crate::endpoint::counters::RestartReason;

impl Fleet {
    /// How many workers there should be.
    pub(super) fn wanted(&self) -> usize {
        match self.phase {
            Phase::Starting | Phase::Running | Phase::Reloading { .. } | Phase::Leaving { .. } => self.force.asked,
            Phase::Paused | Phase::Stopping { .. } => 0,
        }
    }

    /// How many workers of the present generation there are, including those that are booting.
    pub(super) fn current(&self) -> usize {
        self.slots.iter().filter(|&&slot| self.is_current(slot)).count()
    }

    fn is_current(&self, slot: Slot) -> bool {
        slot.generation() == Some(self.force.generation)
    }

    fn is_other(&self, slot: Slot) -> bool {
        slot.generation().is_some_and(|generation| generation != self.force.generation)
    }

    pub(super) fn others(&self) -> usize {
        self.slots.iter().filter(|&&slot| self.is_other(slot)).count()
    }

    /// The most workers of all generations. During a reload there is one more than asked for, in place of the one that it
    /// replaces.
    fn most(&self) -> usize {
        self.wanted() + usize::from(self.others() > 0)
    }

    /// Whether a worker is missing and there is a place for it.
    pub(super) fn has_room(&self) -> bool {
        let place = self.slots.len() < self.capacity || self.slots.contains(&Slot::Vacant);
        place && self.current() < self.wanted() && self.current() + self.others() < self.most()
    }

    pub(super) fn converge(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        // Each serving worker of this generation replaces one of another generation.
        while self.others() > 0 && self.serving_current() + self.others() > self.wanted() {
            let Some(index) = self.last(|fleet, slot| fleet.is_other(slot)) else { break };
            self.count(RestartReason::Reload);
            effects.extend(self.drain(index, now));
        }
        let most = self.most();
        while self.current() + self.others() > most {
            let boots = self.last(|fleet, slot| fleet.is_current(slot) && matches!(slot, Slot::Booting { .. }));
            let Some(index) = boots.or_else(|| self.last(Fleet::is_current)) else { break };
            effects.extend(self.drain(index, now));
        }
        while self.has_room() && self.backoff.not_before() <= now {
            let Some(slot) = self.vacancy() else { break };
            self.slots[slot] = Slot::Forking { generation: self.force.generation };
            effects.push(Effect::Fork { slot, generation: self.force.generation });
        }
        self.conclude(effects);
    }

    /// What follows when a change is complete.
    fn conclude(&mut self, effects: &mut Vec<Effect>) {
        let complete = self.others() == 0 && self.serving_current() == self.force.asked;
        match self.phase {
            Phase::Starting if complete => {
                self.phase = Phase::Running;
                effects.push(Effect::Announce);
            }
            Phase::Reloading { again, .. } if complete => {
                self.phase = Phase::Running;
                effects.push(Effect::Settle(self.force.generation));
                effects.extend(again.then_some(Effect::Load));
            }
            Phase::Stopping { code, .. } if self.slots.iter().all(|&slot| slot == Slot::Vacant) => {
                effects.push(Effect::Exit(code));
            }
            Phase::Starting
            | Phase::Running
            | Phase::Reloading { .. }
            | Phase::Paused
            | Phase::Leaving { .. }
            | Phase::Stopping { .. } => {}
        }
    }

    fn serving_current(&self) -> usize {
        let serves =
            |slot: &&Slot| matches!(slot, Slot::Serving { generation, .. } if *generation == self.force.generation);
        self.slots.iter().filter(serves).count()
    }

    /// The last slot that has a process and meets the condition.
    fn last(&self, is_meant: impl Fn(&Fleet, Slot) -> bool) -> Option<usize> {
        self.slots.iter().rposition(|&slot| slot.pid().is_some() && is_meant(self, slot))
    }

    /// A slot for one more worker, if there is room.
    fn vacancy(&mut self) -> Option<usize> {
        let free = self.slots.iter().position(|&slot| slot == Slot::Vacant);
        free.or_else(|| {
            (self.slots.len() < self.capacity).then(|| {
                self.slots.push(Slot::Vacant);
                self.slots.len() - 1
            })
        })
    }
}
