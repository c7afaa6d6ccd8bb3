//! The shared memory in which the workers note what the master must know without asking.
//!
//! A slot is written by the one worker that holds it, and read by everybody; every field stands
//! for itself, so relaxed loads and stores are enough.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

/// How many slots there are: the most workers there can be, those that drain included.
pub(crate) const SLOTS: usize = 512;

/// How many checks can be remembered; of more, the changes are not noticed.
const RECORDS: usize = 16 * 1024;

/// The shared memory. Made once by the master, before the first fork; copied freely.
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
    records: [Record; RECORDS],
}

// Aligned to two cache lines, which is what x86 prefetches: busy workers do not slow each other.
#[repr(C, align(128))]
struct Slot {
    /// The pid of the worker that is ready here; 0 when none is.
    ready: AtomicU32,
    /// Nanoseconds since the epoch, plus one, when it woke; 0 while it waits.
    awake_since: AtomicU64,
    /// Whether a round of checks runs.
    busy: AtomicBool,
    /// The beginning of the id of the check that runs in the worker's loop, NULs behind it; empty while none does.
    check: [AtomicU64; NAME / 8],
}

/// How many bytes of a check's id are noted.
const NAME: usize = 64;

/// What a check came to last, in whichever worker: a slot of a hash table with open addressing.
#[repr(C)]
struct Record {
    /// The hash of the check's id, never 0; 0 where there is none yet.
    key: AtomicU64,
    /// See [`Standing`]. In one word, so that nobody sees a status with the time of another.
    standing: AtomicU64,
}

/// A status, and the Unix second since which it has held.
#[derive(Clone, Copy)]
struct Standing {
    status: u32,
    since: u64,
}

impl Standing {
    /// One byte for the status, which is one more than it is: 0 is that there was none.
    fn pack(self) -> u64 {
        self.since << 8 | u64::from(self.status + 1)
    }

    fn unpack(word: u64) -> Option<Standing> {
        let status = (word as u8).checked_sub(1)?;
        Some(Standing { status: status.into(), since: word >> 8 })
    }
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
        let Slot { ready, awake_since, busy, check: _ } = &self.board.slots[slot];
        ready.store(0, Relaxed);
        awake_since.store(0, Relaxed);
        busy.store(false, Relaxed);
        self.set_check(slot, "");
    }

    /// The worker's loop is in that check, or with an empty id in none.
    pub(crate) fn set_check(&self, slot: usize, id: &str) {
        let mut name = [0; NAME];
        let length = id.len().min(NAME);
        name[..length].copy_from_slice(&id.as_bytes()[..length]);
        for (cell, bytes) in self.board.slots[slot].check.iter().zip(name.chunks_exact(8)) {
            cell.store(u64::from_ne_bytes(bytes.try_into().expect("a chunk has eight bytes")), Relaxed);
        }
    }

    /// The check that the worker's loop is in.
    pub(crate) fn check(&self, slot: usize) -> Option<String> {
        let name: Vec<u8> =
            self.board.slots[slot].check.iter().flat_map(|cell| cell.load(Relaxed).to_ne_bytes()).collect();
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
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

    /// A round of checks runs in the worker, or has ended.
    pub(crate) fn set_busy(&self, slot: usize, busy: bool) {
        // Sequentially consistent, as in the scan below: of two workers that become busy at once, at least
        // one sees the other.
        self.board.slots[slot].busy.store(busy, SeqCst);
    }

    /// Whether another worker is ready and runs no round.
    pub(crate) fn is_another_free(&self, slot: usize) -> bool {
        let free = |slot: &Slot| slot.ready.load(SeqCst) != 0 && !slot.busy.load(SeqCst);
        self.board.slots.iter().enumerate().any(|(index, other)| index != slot && free(other))
    }

    /// The worker takes no connections any more.
    pub(crate) fn set_unready(&self, slot: usize) {
        self.board.slots[slot].ready.store(0, SeqCst);
    }

    /// Notes what a check came to. `Some` with what it was before (`None`: nothing) if that is a change.
    pub(crate) fn exchange_status(&self, id: &str, status: u32, now: SystemTime) -> Option<Option<u32>> {
        let key = key(id);
        let record = self.records(key).find(|record| match record.key.compare_exchange(0, key, Relaxed, Relaxed) {
            Ok(_) => true,
            Err(there) => there == key,
        })?;
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let change = |word| {
            let before = Standing::unpack(word).map(|standing| standing.status);
            (before != Some(status)).then(|| Standing { status, since }.pack())
        };
        let before = record.standing.fetch_update(Relaxed, Relaxed, change).ok()?;
        Some(Standing::unpack(before).map(|standing| standing.status))
    }

    /// Since when a check has had that status, if it is the last that was noted.
    pub(crate) fn status_since(&self, id: &str, status: u32) -> Option<SystemTime> {
        let key = key(id);
        let mut records = self.records(key).map(|record| (record.key.load(Relaxed), record));
        let (_, record) = records.find(|(there, _)| [0, key].contains(there)).filter(|(there, _)| *there == key)?;
        let standing = Standing::unpack(record.standing.load(Relaxed)).filter(|standing| standing.status == status)?;
        Some(UNIX_EPOCH + Duration::from_secs(standing.since))
    }

    /// The records in the order in which those of a key are tried.
    fn records(&self, key: u64) -> impl Iterator<Item = &'static Record> + use<> {
        let (before, behind) = self.board.records.split_at(key as usize % RECORDS);
        behind.iter().chain(before)
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

/// The hash of a check's id, never 0.
fn key(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish().max(1)
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
    fn the_check_that_a_worker_is_in_is_known_by_its_name() {
        let board = Scoreboard::new(Instant::now()).expect("memory can be mapped");
        assert_eq!(board.check(0), None);
        board.set_check(0, "shop.healthchecks.database");
        assert_eq!(board.check(0).as_deref(), Some("shop.healthchecks.database"));
        board.set_check(0, &"x".repeat(200));
        assert_eq!(board.check(0), Some("x".repeat(NAME)));
        board.set_check(0, "");
        assert_eq!(board.check(0), None);
    }

    #[test]
    fn each_change_of_a_check_is_noticed_once() {
        let board = Scoreboard::new(Instant::now()).expect("memory can be mapped");
        let now = SystemTime::now();
        assert_eq!(board.exchange_status("db", 0, now), Some(None));
        assert_eq!(board.exchange_status("db", 0, now), None);
        assert_eq!(board.exchange_status("mail", 0, now), Some(None));
        assert_eq!(board.exchange_status("db", 2, now), Some(Some(0)));
        assert_eq!(board.exchange_status("db", 2, now), None);
    }

    #[test]
    fn a_status_holds_since_its_change() {
        let board = Scoreboard::new(Instant::now()).expect("memory can be mapped");
        let at = |second| UNIX_EPOCH + Duration::from_secs(second);
        assert_eq!(board.status_since("db", 0), None);
        board.exchange_status("db", 0, at(100));
        board.exchange_status("db", 0, at(200));
        assert_eq!(board.status_since("db", 0), Some(at(100)));
        board.exchange_status("db", 1, at(4_000_000_000));
        assert_eq!(board.status_since("db", 1), Some(at(4_000_000_000)));
        assert_eq!(board.status_since("db", 0), None, "it is another status by now");
        assert_eq!(board.status_since("mail", 0), None);
    }

    #[test]
    fn the_last_free_worker_keeps_the_door() {
        let board = Scoreboard::new(Instant::now()).expect("memory can be mapped");
        board.set_ready(0, 70);
        board.set_ready(1, 71);
        board.set_busy(0, true);
        assert!(board.is_another_free(0));
        board.set_busy(1, true);
        assert!(!board.is_another_free(1));
        board.set_busy(0, false);
        assert!(board.is_another_free(1));
        board.set_unready(0);
        assert!(!board.is_another_free(1));
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
