//! The counters. None is ever reset while the service lives: a worker goes on counting where its predecessor in the
//! slot ended, whatever ended it.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use zerocopy::FromBytes;

use super::outcome::{millis, moment};
use super::{Board, SLOTS, Scoreboard};
use crate::daemon::shared::Flag;
use crate::endpoint::counters::{Counters, RestartCounts, RestartReason, RouteLabel, StatusClass, WorkerState};
use crate::os::clock;

/// The figures that the master notes.
#[derive(FromBytes)]
#[repr(C)]
pub(super) struct MasterCounts {
    /// How many slots have ever had a worker; the others need not be read.
    used: AtomicU32,
    generation: AtomicU32,
    restarts: [AtomicU64; RestartReason::ALL.len()],
    reload_failed: Flag,
    /// When the last good configuration came into force, in milliseconds since 1970.
    reloaded: AtomicU64,
    /// The state of each worker, plus one; 0 where there is none.
    states: [AtomicU32; SLOTS],
}

/// The counts of one worker, apart from those of others, so that busy workers do not slow each other down.
#[derive(FromBytes)]
#[repr(C, align(128))]
pub(super) struct WorkerCounts {
    requests: [[AtomicU64; StatusClass::ALL.len()]; RouteLabel::ALL.len()],
    rounds: [AtomicU64; 2],
}

impl Scoreboard {
    /// A worker is about to be forked into this slot.
    pub(super) fn open_counts(&self, slot: usize) {
        self.board.master.used.fetch_max(slot as u32 + 1, Relaxed);
    }

    /// The worker has answered a request.
    pub(crate) fn count_request(&self, slot: usize, route: RouteLabel, status: u16) {
        self.board.workers[slot].requests[route as usize][StatusClass::of(status) as usize].fetch_add(1, Relaxed);
    }

    /// A round has ended in the worker.
    pub(crate) fn count_round(&self, slot: usize, passed: bool) {
        self.board.workers[slot].rounds[usize::from(!passed)].fetch_add(1, Relaxed);
    }

    /// The state of the worker in a slot, as far as the master knows; `None`: there is none.
    pub(crate) fn set_worker_state(&self, slot: usize, state: Option<WorkerState>) {
        self.board.master.states[slot].store(state.map_or(0, |state| state as u32 + 1), Relaxed);
    }

    /// How many workers were replaced for each reason.
    pub(crate) fn set_restarts(&self, restarts: RestartCounts) {
        self.board.master.restarts.iter().zip(restarts).for_each(|(there, count)| there.store(count, Relaxed));
    }

    /// The generation in force, or the one coming into force.
    pub(crate) fn set_generation(&self, generation: u32) {
        self.board.master.generation.store(generation, Relaxed);
    }

    /// A reload has ended: the new configuration is in force, or (not `good`) the old one still is.
    pub(crate) fn set_reloaded(&self, good: bool) {
        let MasterCounts { reload_failed, reloaded, .. } = &self.board.master;
        reload_failed.set(!good);
        if good {
            reloaded.store(millis(clock::wall()), Relaxed);
        }
    }

    /// All counts.
    pub(crate) fn counters(&self) -> Counters {
        let MasterCounts { used, generation, restarts, reload_failed, reloaded, states } = &self.board.master;
        let mut counters = Counters {
            requests: Default::default(),
            rounds: [0; 2],
            workers: Default::default(),
            restarts: restarts.each_ref().map(|count| count.load(Relaxed)),
            generation: generation.load(Relaxed),
            reload_successful: !reload_failed.get(),
            reloaded: moment(reloaded.load(Relaxed)),
            lost: self.board.checks.lost.load(Relaxed),
        };
        let Board { workers, slots, .. } = self.board;
        let used = used.load(Relaxed) as usize;
        for ((WorkerCounts { requests, rounds }, slot), state) in workers.iter().zip(slots).zip(states).take(used) {
            add(counters.requests.as_flattened_mut(), requests.as_flattened());
            add(&mut counters.rounds, rounds);
            let number = state.load(Relaxed).checked_sub(1);
            let state = number.and_then(|number| WorkerState::ALL.get(number as usize)).copied();
            // The master does not hear of rounds, so the slot tells whether one is running.
            let state = match state {
                Some(WorkerState::Idle) if slot.busy.get() => Some(WorkerState::Busy),
                state => state,
            };
            if let Some(state) = state {
                counters.workers[state as usize] += 1;
            }
        }
        counters
    }
}

fn add(sums: &mut [u64], counts: &[AtomicU64]) {
    sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.wrapping_add(count.load(Relaxed)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn board() -> Scoreboard {
        Scoreboard::new(Instant::now()).expect("memory can be mapped")
    }

    #[test]
    fn what_a_worker_has_counted_outlives_it() {
        let board = board();
        for slot in [0, 3, 0] {
            // As before each fork.
            board.clear(slot);
            board.count_request(slot, RouteLabel::Ready, 503);
            board.count_round(slot, true);
        }
        board.count_round(3, false);
        let counters = board.counters();
        assert_eq!(counters.requests[RouteLabel::Ready as usize], [0, 0, 3]);
        assert_eq!(counters.requests.as_flattened().iter().sum::<u64>(), 3);
        assert_eq!(counters.rounds, [3, 1]);
    }

    #[test]
    fn a_worker_stands_where_the_master_sees_it_and_is_busy_by_its_own_word() {
        let board = board();
        for (slot, state) in WorkerState::ALL.into_iter().enumerate() {
            board.clear(slot);
            board.set_worker_state(slot, Some(state));
        }
        assert_eq!(board.counters().workers, [1; 6]);
        board.set_busy(WorkerState::Idle as usize, true);
        // Only an idle worker can be shown as busy.
        board.set_busy(WorkerState::Draining as usize, true);
        assert_eq!(board.counters().workers, [1, 0, 2, 1, 1, 1]);
        (0..6).for_each(|slot| board.set_worker_state(slot, None));
        assert_eq!(board.counters().workers, [0; 6]);
    }

    #[test]
    fn a_bad_reload_leaves_the_time_of_the_last_good_one() {
        let board = board();
        board.set_reloaded(true);
        let good = board.counters();
        assert!(good.reload_successful && good.reloaded.elapsed().expect("it was just now") < Duration::from_secs(10));
        board.set_reloaded(false);
        let bad = board.counters();
        assert!(!bad.reload_successful && bad.reloaded == good.reloaded);
    }
}
