//! Shared memory in which the workers note what the master must know without asking.
//!
//! A slot is written by the one worker that holds it, and by the master when it ends that worker, and read by
//! everybody; the fields are independent, so relaxed loads and stores are enough.

mod checks;
mod counts;
pub(super) mod outcome;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use zerocopy::FromBytes;

use super::Flag;
use crate::config::MOST_WORKERS;
use crate::os::shared;

/// How many slots there are: the most workers there can be, including those that drain.
pub(crate) const SLOTS: usize = 2 * MOST_WORKERS;

/// The shared memory. Made once by the master, before the first fork; copied freely.
#[derive(Clone, Copy)]
pub(crate) struct Scoreboard {
    pub(super) board: &'static Board,
    /// The origin of the times in it. Forked processes share the clock and inherit this.
    epoch: Instant,
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct Board {
    leaving: Flag,
    maintained: Flag,
    /// Whether the state dir takes nothing.
    unkept: Flag,
    /// A number for the silences in force; 0: there is none.
    silences: AtomicU64,
    slots: [SlotCell; SLOTS],
    master: counts::MasterCounts,
    workers: [counts::WorkerCounts; SLOTS],
    checks: checks::Checks,
}

// Aligned to two cache lines, since x86 prefetches pairs: busy workers do not slow each other down.
#[derive(FromBytes)]
#[repr(C, align(128))]
struct SlotCell {
    /// The pid of the worker in this slot, once it was ready.
    ready: AtomicU32,
    /// Whether that worker takes no more connections.
    closed: Flag,
    /// When it woke, in nanoseconds since the epoch, plus one; 0 while it waits.
    awake_since: AtomicU64,
    /// Whether a round is running.
    busy: Flag,
}

impl Scoreboard {
    /// Maps a fresh board.
    pub(crate) fn new(now: Instant) -> io::Result<Scoreboard> {
        Ok(Scoreboard { board: shared::map()?, epoch: now })
    }

    /// Empties a slot, before a worker is forked into it.
    pub(crate) fn clear(&self, slot: usize) {
        let SlotCell { ready, closed, awake_since, busy } = &self.board.slots[slot];
        ready.store(0, Relaxed);
        closed.set(false);
        awake_since.store(0, Relaxed);
        busy.set(false);
        self.open_counts(slot);
    }

    /// The worker in this slot can answer.
    pub(crate) fn set_ready(&self, slot: usize, pid: u32) {
        self.board.slots[slot].ready.store(pid, Relaxed);
    }

    /// Whether the worker with this pid has reported that it can answer, even if it has finished since.
    pub(crate) fn is_ready(&self, slot: usize, pid: u32) -> bool {
        self.board.slots[slot].ready.load(Relaxed) == pid
    }

    /// The worker woke up and is working.
    pub(crate) fn woke(&self, slot: usize, now: Instant) {
        let since = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        self.board.slots[slot].awake_since.store(since + 1, Relaxed);
    }

    /// The worker goes back to waiting.
    pub(crate) fn rests(&self, slot: usize) {
        self.board.slots[slot].awake_since.store(0, Relaxed);
    }

    /// How long the worker has been working without a pause; `None` while it waits.
    pub(crate) fn awake_for(&self, slot: usize, now: Instant) -> Option<Duration> {
        let since = self.board.slots[slot].awake_since.load(Relaxed).checked_sub(1)?;
        Some(now.saturating_duration_since(self.epoch).saturating_sub(Duration::from_nanos(since)))
    }

    /// A round has begun in the worker, or has ended.
    pub(crate) fn set_busy(&self, slot: usize, busy: bool) {
        // All processes agree on the order of this and of the scan below: of two workers that become busy at once, at
        // least one sees the other.
        self.board.slots[slot].busy.set(busy);
    }

    /// Whether another worker is ready and is running no round. It may be stopped or hang all the same.
    pub(crate) fn is_another_free(&self, slot: usize) -> bool {
        let free = |slot: &SlotCell| slot.ready.load(SeqCst) != 0 && !slot.closed.get() && !slot.busy.get();
        self.board.slots.iter().enumerate().any(|(index, other)| index != slot && free(other))
    }

    /// The worker takes no more connections. Said by itself, or by the master when it ends the worker.
    pub(crate) fn set_closed(&self, slot: usize) {
        self.board.slots[slot].closed.set(true);
    }

    /// The whole service is shutting down: readiness fails from now on.
    pub(crate) fn set_leaving(&self) {
        self.board.leaving.set(true);
    }

    /// Whether the service is shutting down.
    pub(crate) fn is_leaving(&self) -> bool {
        self.board.leaving.get()
    }

    /// Notes whether the service is in maintenance. True for the one worker that is the first to note a change.
    pub(crate) fn note_maintenance(&self, maintained: bool) -> bool {
        self.board.maintained.change(maintained)
    }

    /// Notes whether what checks find can be written to the state dir. True for the one worker that is the first to note a
    /// change.
    pub(crate) fn note_kept(&self, is_kept: bool) -> bool {
        self.board.unkept.change(!is_kept)
    }

    /// Notes which silences are in force. True for the one process that is the first to note a change.
    pub(crate) fn note_silences(&self, silences: &[String]) -> bool {
        let mut hasher = DefaultHasher::new();
        silences.hash(&mut hasher);
        let number = if silences.is_empty() { 0 } else { hasher.finish() | 1 };
        self.board.silences.swap(number, Relaxed) != number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_awake_from_waking_to_resting() {
        let now = Instant::now();
        let board = Scoreboard::new(now).expect("memory can be mapped");
        assert_eq!(board.awake_for(3, now), None);
        board.woke(3, now);
        assert_eq!(board.awake_for(3, now + Duration::from_secs(2)), Some(Duration::from_secs(2)));
        assert_eq!(board.awake_for(4, now), None);
        board.rests(3);
        assert_eq!(board.awake_for(3, now), None);
    }

    #[test]
    fn the_last_free_worker_goes_on_accepting() {
        let board = Scoreboard::new(Instant::now()).expect("memory can be mapped");
        board.set_ready(0, 70);
        board.set_ready(1, 71);
        board.set_busy(0, true);
        assert!(board.is_another_free(0));
        board.set_busy(1, true);
        assert!(!board.is_another_free(1));
        board.set_busy(0, false);
        assert!(board.is_another_free(1));
        board.set_closed(0);
        assert!(!board.is_another_free(1));
    }

    #[test]
    fn readiness_is_that_of_one_worker_not_of_its_slot() {
        let board = Scoreboard::new(Instant::now()).expect("memory can be mapped");
        board.set_ready(0, 77);
        assert!(board.is_ready(0, 77));
        assert!(!board.is_ready(0, 78));
        board.set_closed(0);
        assert!(board.is_ready(0, 77), "it answered, and retired before the master looked");
        board.clear(0);
        assert!(!board.is_ready(0, 77));
    }
}
