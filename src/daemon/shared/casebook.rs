//! Shared memory that holds which checks each worker is running, and the case against each suspected check.
//!
//! A worker's pages are written by that worker and read by the master after its death. A case is a word without meaning
//! here; it is only changed by compare-and-swap.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use super::scoreboard::SLOTS;
use super::table::Table;
pub(crate) use super::table::key;
use crate::os::shared::{self, Shared};

/// How many running checks are noted for each worker; any more are not.
const RUNS: usize = 320;

/// How many checks can have a case; any more can have none.
const CASES: usize = 1024;

/// How many bytes of a check's id are noted.
const NAME: usize = 64;

/// The shared memory. Made once by the master, before the first fork; copied freely.
#[derive(Clone, Copy)]
pub(crate) struct Casebook {
    book: &'static Book,
    /// The origin of the times in it. Forked processes share the clock and inherit this.
    epoch: Instant,
}

#[repr(C)]
struct Book {
    /// Whether there was ever a case; until then nobody searches for one.
    is_used: AtomicBool,
    /// Under the keys of their checks.
    cases: Table<AtomicU64, CASES>,
    desks: [Desk; SLOTS],
}

/// The checks that the worker of a slot is running. The first place is for a check that runs in its loop.
// Aligned to pages, so that a worker touches few: one is enough for a score of checks.
#[repr(C, align(4096))]
struct Desk {
    /// The key of the check at each place; 0 when it is empty.
    keys: [AtomicU64; RUNS],
    runs: [Run; RUNS],
}

#[repr(C)]
struct Run {
    /// When it began, in nanoseconds since the epoch.
    since: AtomicU64,
    /// The word of its case when it began.
    case: AtomicU64,
    /// The beginning of its id, padded with NULs.
    name: [AtomicU64; NAME / 8],
}

/// A check that a worker is or was running.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InProgress {
    pub(crate) key: u64,
    pub(crate) since: Duration,
    /// The word of its case when it began.
    pub(crate) case: u64,
    /// Its id; a long one is cut.
    pub(crate) name: String,
    /// Whether it ran in the worker's loop.
    pub(crate) in_loop: bool,
}

// SAFETY: all its fields are atomics, for which zero is a value.
unsafe impl Shared for Book {}

impl Casebook {
    /// Maps an empty casebook.
    pub(crate) fn new(now: Instant) -> io::Result<Casebook> {
        Ok(Casebook { book: shared::map()?, epoch: now })
    }

    /// A moment in the form that is written here.
    pub(crate) fn time(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.epoch)
    }

    // --- the running checks ------------------------------------------------------------------------

    /// The worker begins a check that has this case: in its loop, or on a thread.
    pub(crate) fn begin(&self, slot: usize, id: &str, case: u64, in_loop: bool, now: Instant) {
        let Desk { keys, runs } = &self.book.desks[slot];
        let places = if in_loop { 0..1 } else { 1..RUNS };
        let Some(place) = places.into_iter().find(|&place| keys[place].load(Relaxed) == 0) else { return };
        let run = &runs[place];
        run.since.store(self.time(now).as_nanos() as u64, Relaxed);
        run.case.store(case, Relaxed);
        let mut name = [0; NAME];
        let length = id.len().min(NAME);
        name[..length].copy_from_slice(&id.as_bytes()[..length]);
        for (cell, bytes) in run.name.iter().zip(name.chunks_exact(8)) {
            cell.store(u64::from_ne_bytes(bytes.try_into().expect("a chunk has eight bytes")), Relaxed);
        }
        keys[place].store(key(id), Relaxed);
    }

    /// The worker has ended a check. Returns the word of its case when it began, if that was noted.
    pub(crate) fn end(&self, slot: usize, id: &str) -> Option<u64> {
        let (key, Desk { keys, runs }) = (key(id), &self.book.desks[slot]);
        let place = keys.iter().position(|there| there.load(Relaxed) == key)?;
        keys[place].store(0, Relaxed);
        Some(runs[place].case.load(Relaxed))
    }

    /// What the worker in this slot is running, or was when it died.
    pub(crate) fn in_progress(&self, slot: usize) -> Vec<InProgress> {
        let Desk { keys, runs } = &self.book.desks[slot];
        let noted = |(place, key): (usize, &AtomicU64)| {
            let key = Some(key.load(Relaxed)).filter(|&key| key != 0)?;
            let run = &runs[place];
            let bytes: Vec<u8> = run.name.iter().flat_map(|cell| cell.load(Relaxed).to_ne_bytes()).collect();
            let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
            Some(InProgress {
                key,
                since: Duration::from_nanos(run.since.load(Relaxed)),
                case: run.case.load(Relaxed),
                name: String::from_utf8_lossy(name).into_owned(),
                in_loop: place == 0,
            })
        };
        keys.iter().enumerate().filter_map(noted).collect()
    }

    /// Empties the slot: before a worker is forked into it, or when its worker leaves in an orderly way.
    pub(crate) fn forget(&self, slot: usize) {
        self.book.desks[slot].keys.iter().for_each(|key| key.store(0, Relaxed));
    }

    // --- cases -------------------------------------------------------------------------------------

    /// The case against a check; 0 if there is none.
    pub(crate) fn case(&self, id: &str) -> u64 {
        if !self.book.is_used.load(Relaxed) {
            return 0;
        }
        self.book.cases.find(key(id)).map_or(0, |case| case.load(Relaxed))
    }

    /// Changes a case from `before` to `after`. False if it has changed meanwhile, or if there is no room for another.
    pub(crate) fn change(&self, key: u64, before: u64, after: u64) -> bool {
        self.book.is_used.store(true, Relaxed);
        let case = self.book.cases.claim(key);
        case.is_some_and(|case| case.compare_exchange(before, after, Relaxed, Relaxed).is_ok())
    }

    /// Closes every case.
    pub(crate) fn close_all(&self) {
        if self.book.is_used.load(Relaxed) {
            self.book.cases.values().for_each(|case| case.store(0, Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> Casebook {
        Casebook::new(Instant::now()).expect("memory can be mapped")
    }

    #[test]
    fn what_a_worker_is_in_is_known_until_it_has_come_back() {
        let book = book();
        let later = book.epoch + Duration::from_secs(2);
        book.begin(3, "shop.healthchecks.database", 7, false, later);
        book.begin(3, &"x".repeat(200), 0, true, later);
        let found = book.in_progress(3);
        let told: Vec<_> = found.iter().map(|run| (run.name.as_str(), run.case, run.in_loop)).collect();
        assert_eq!(told, [("x".repeat(NAME).as_str(), 0, true), ("shop.healthchecks.database", 7, false)]);
        assert_eq!(found[1].since, Duration::from_secs(2));
        assert_eq!(book.in_progress(4), []);

        assert_eq!(book.end(3, "shop.healthchecks.database"), Some(7));
        assert_eq!(book.end(3, "shop.healthchecks.database"), None);
        assert_eq!(book.in_progress(3).len(), 1);
        book.forget(3);
        assert_eq!(book.in_progress(3), []);
    }

    #[test]
    fn more_checks_than_can_be_noted_go_unnoticed() {
        let book = book();
        (0..2 * RUNS).for_each(|n| book.begin(0, &n.to_string(), 0, false, book.epoch));
        assert_eq!(book.in_progress(0).len(), RUNS - 1);
        for n in 0..2 * RUNS {
            book.end(0, &n.to_string());
        }
        assert_eq!(book.in_progress(0), []);
    }

    #[test]
    fn a_case_is_changed_only_from_what_it_was() {
        let book = book();
        assert_eq!(book.case("db"), 0);
        assert!(book.change(key("db"), 0, 1));
        assert!(!book.change(key("db"), 0, 1), "another death was counted meanwhile");
        assert!(book.change(key("db"), 1, 2));
        assert_eq!((book.case("db"), book.case("mail")), (2, 0));
        book.close_all();
        assert_eq!(book.case("db"), 0);
    }

    #[test]
    fn when_there_are_too_many_cases_the_others_stand() {
        let book = book();
        (0..CASES).for_each(|n| assert!(book.change(key(&n.to_string()), 0, 5)));
        assert!(!book.change(key("one too many"), 0, 5));
        assert_eq!((book.case("one too many"), book.case("17")), (0, 5));
    }
}
