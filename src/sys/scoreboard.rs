//! The page of shared memory in which the workers note what the master must know without asking.
//!
//! A slot is written by the one worker that holds it, and read by everybody; every field stands
//! for itself, so relaxed loads and stores are enough.

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

/// How many slots there are: the most workers there can be, those that drain included.
pub(crate) const SLOTS: usize = 512;

/// The shared page. Made once by the master, before the first fork; copied freely.
#[derive(Clone, Copy)]
pub(crate) struct Scoreboard {
    board: &'static Board,
    /// What the times in it count from. Forked processes share the clock and inherit this.
    epoch: Instant,
}

#[repr(C)]
struct Board {
    leaving: AtomicBool,
    slots: [Slot; SLOTS],
}

// Aligned to two cache lines, which is what x86 prefetches: busy workers do not slow each other.
#[repr(C, align(128))]
struct Slot {
    /// The pid of the worker that is ready here; 0 when none is.
    ready: AtomicU32,
    /// Nanoseconds since the epoch, plus one, when it woke; 0 while it waits.
    awake_since: AtomicU64,
    requests: AtomicU64,
}

impl Scoreboard {
    /// Maps a fresh board; pages that no worker touches cost nothing.
    pub(crate) fn new(now: Instant) -> io::Result<Scoreboard> {
        let size = NonZeroUsize::new(size_of::<Board>()).expect("a board has slots");
        // SAFETY: a new anonymous mapping overlaps nothing, is page-aligned, and holds zeroes, which
        // are a valid Board; it is never unmapped, hence 'static; all its fields are atomics, so
        // other processes that write to it break no rule of this one's references.
        let board = unsafe {
            mmap_anonymous(None, size, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED)?
                .cast::<Board>()
                .as_ref()
        };
        Ok(Scoreboard { board, epoch: now })
    }

    /// Empties a slot, before a worker is forked into it.
    pub(crate) fn clear(&self, slot: usize) {
        let Slot { ready, awake_since, requests } = &self.board.slots[slot];
        ready.store(0, Relaxed);
        awake_since.store(0, Relaxed);
        requests.store(0, Relaxed);
    }

    /// The worker in this slot can answer.
    pub(crate) fn set_ready(&self, slot: usize, pid: u32) {
        self.board.slots[slot].ready.store(pid, Relaxed);
    }

    /// Whether the worker with that pid has said that it can answer.
    pub(crate) fn is_ready(&self, slot: usize, pid: u32) -> bool {
        self.board.slots[slot].ready.load(Relaxed) == pid
    }

    /// The worker woke up and works.
    pub(crate) fn woke(&self, slot: usize, now: Instant) {
        let since = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        self.board.slots[slot].awake_since.store(since + 1, Relaxed);
    }

    /// The worker goes back to wait.
    pub(crate) fn rests(&self, slot: usize) {
        self.board.slots[slot].awake_since.store(0, Relaxed);
    }

    /// For how long the worker has been at work without a pause; `None` while it waits.
    pub(crate) fn awake_for(&self, slot: usize, now: Instant) -> Option<Duration> {
        let since = self.board.slots[slot].awake_since.load(Relaxed).checked_sub(1)?;
        Some(now.saturating_duration_since(self.epoch + Duration::from_nanos(since)))
    }

    /// Counts a request.
    pub(crate) fn count_request(&self, slot: usize) {
        self.board.slots[slot].requests.fetch_add(1, Relaxed);
    }

    /// The service as a whole is going away: readiness fails from now on.
    pub(crate) fn set_leaving(&self) {
        self.board.leaving.store(true, Relaxed);
    }

    /// Whether the service is going away.
    pub(crate) fn is_leaving(&self) -> bool {
        self.board.leaving.load(Relaxed)
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
    fn readiness_is_that_of_one_worker_not_of_its_slot() {
        let board = Scoreboard::new(Instant::now()).expect("memory can be mapped");
        board.set_ready(0, 77);
        assert!(board.is_ready(0, 77));
        assert!(!board.is_ready(0, 78));
        board.clear(0);
        assert!(!board.is_ready(0, 77));
    }
}
