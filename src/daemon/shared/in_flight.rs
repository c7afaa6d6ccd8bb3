//! Shared memory that holds which checks each worker is running, and the crash record of each suspected check: the
//! table of [`crate::round::isolation`], which decides.
//!
//! A worker's pages are written by that worker and read by the master after its death. A record is one word, which is
//! only changed by compare-and-swap.

use std::fmt;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use zerocopy::FromBytes;

use super::Flag;
use super::scoreboard::SLOTS;
use super::table::{Clear, Table, key};
use super::word::Word;
use crate::model::check::Check;
use crate::os::shared;
use crate::round::isolation::{CrashRecord, DeathCause, Permission, Quarantine, to_blame};
use crate::round::run_observer::RunObserver;

/// How many running checks are noted for each worker; any more are not.
const RUNS: usize = 320;

/// How many checks can have a crash record; any more can have none.
const RECORDS: usize = 1024;

/// How many bytes of a check's id are noted.
const NAME: usize = 64;

/// How many checks a log line names.
const NAMED: usize = 5;

/// A crash record: the deaths, never 0, the kind of the last cause and its detail, and when the check may be tried again,
/// in milliseconds since the epoch. All zeroes are none.
const RECORD: Word<4> = Word([8, 8, 8, 40]);

/// The shared memory. Made once by the master, before the first fork; copied freely.
#[derive(Clone, Copy)]
pub(crate) struct InFlightTable {
    pub(super) memory: &'static InFlightMemory,
    /// The origin of the times in it. Forked processes share the clock and inherit this.
    epoch: Instant,
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct InFlightMemory {
    /// Whether there was ever a record; until then nobody searches for one.
    has_records: Flag,
    /// Under the keys of their checks.
    records: Table<AtomicU64, RECORDS>,
    workers: [WorkerRuns; SLOTS],
}

/// The checks that the worker of a slot is running. The first place is for a check that runs in its loop.
// Aligned to pages, so that a worker touches few: one is enough for a score of checks.
#[derive(FromBytes)]
#[repr(C, align(4096))]
struct WorkerRuns {
    /// The key of the check at each place; 0 when it is empty.
    keys: [AtomicU64; RUNS],
    runs: [RunCell; RUNS],
}

#[derive(FromBytes)]
#[repr(C)]
struct RunCell {
    /// When it began, in nanoseconds since the epoch.
    since: AtomicU64,
    /// Its crash record when it began.
    record: AtomicU64,
    /// The beginning of its id, padded with NULs.
    name: [AtomicU64; NAME / 8],
}

/// What a worker was running when it died, or is running.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct InFlight(Vec<RunningCheck>);

#[derive(Debug, PartialEq)]
struct RunningCheck {
    key: u64,
    since: Duration,
    /// The word of its crash record when it began.
    record: u64,
    /// Its id; a long one is cut.
    name: String,
    /// Whether it ran in the worker's loop.
    in_loop: bool,
}

/// Notes what the worker in a slot is running.
pub(crate) struct SlotObserver {
    slot: usize,
    table: InFlightTable,
}

impl InFlightTable {
    /// Maps an empty table.
    pub(crate) fn new(now: Instant) -> io::Result<InFlightTable> {
        Ok(InFlightTable { memory: shared::map()?, epoch: now })
    }

    fn time(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.epoch)
    }

    // --- the running checks ------------------------------------------------------------------------

    /// Notes what the worker in this slot runs, from now on.
    pub(crate) fn observer(self, slot: usize) -> SlotObserver {
        SlotObserver { slot, table: self }
    }

    /// What the worker in this slot is running, or was when it died.
    pub(crate) fn in_flight(&self, slot: usize) -> InFlight {
        let WorkerRuns { keys, runs } = &self.memory.workers[slot];
        let noted = |(place, key): (usize, &AtomicU64)| {
            let key = Some(key.load(Relaxed)).filter(|&key| key != 0)?;
            let run = &runs[place];
            let bytes: Vec<u8> = run.name.iter().flat_map(|cell| cell.load(Relaxed).to_ne_bytes()).collect();
            let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
            Some(RunningCheck {
                key,
                since: Duration::from_nanos(run.since.load(Relaxed)),
                record: run.record.load(Relaxed),
                name: String::from_utf8_lossy(name).replace(char::is_control, " "),
                in_loop: place == 0,
            })
        };
        InFlight(keys.iter().enumerate().filter_map(noted).collect())
    }

    /// Empties the slot: before a worker is forked into it, or when its worker leaves in an orderly way.
    pub(crate) fn clear(&self, slot: usize) {
        self.memory.workers[slot].keys.iter().for_each(Clear::clear);
    }

    // --- crash records -----------------------------------------------------------------------------

    /// The word of a check's crash record.
    fn record(&self, key: u64) -> u64 {
        if !self.memory.has_records.get() {
            return 0;
        }
        self.memory.records.find(key).map_or(0, |record| record.load(Relaxed))
    }

    /// Changes a record from `before` to `after`. False if it has changed meanwhile, or if there is no room for another.
    fn change(&self, key: u64, before: u64, after: u64) -> bool {
        self.memory.has_records.change(true);
        let claim = || self.memory.records.claim(key);
        let forget_the_cleared = || self.memory.records.retain(|_, record| record.load(Relaxed) != 0);
        let record = claim().or_else(|| {
            forget_the_cleared();
            claim()
        });
        record.is_some_and(|record| record.compare_exchange(before, after, Relaxed, Relaxed).is_ok())
    }

    /// A worker died of this while it ran these checks. Returns the names of those that are quarantined for it.
    pub(crate) fn blame(
        &self,
        InFlight(runs): &InFlight,
        cause: DeathCause,
        now: Instant,
    ) -> Vec<(String, Quarantine)> {
        let now = self.time(now);
        let in_flight: Vec<_> = runs.iter().map(|run| (from_word(run.record), run.since)).collect();
        let blamed = to_blame(&in_flight).into_iter().filter_map(|place| {
            let (run, (before, _)) = (&runs[place], in_flight[place]);
            let after = CrashRecord::after_death(before, cause, now);
            // Unless another death was counted against it meanwhile.
            let is_counted = self.change(run.key, run.record, to_word(after));
            match after.permission(now) {
                Permission::Quarantined(quarantine) if is_counted => Some((run.name.clone(), quarantine)),
                Permission::Run | Permission::RunAlone | Permission::Quarantined(_) => None,
            }
        });
        blamed.collect()
    }

    /// Forgets all crash records.
    pub(crate) fn pardon_all(&self) {
        if self.memory.has_records.get() {
            self.memory.records.retain(|_, _| false);
        }
    }
}

impl RunObserver for SlotObserver {
    fn permission(&self, check: &Check, now: Instant) -> Permission {
        let record = from_word(self.table.record(key(&check.id)));
        record.map_or(Permission::Run, |record| record.permission(self.table.time(now)))
    }

    fn begins(&self, check: &Check, now: Instant) {
        let (key, time) = (key(&check.id), self.table.time(now));
        let there = self.table.record(key);
        let noted = from_word(there).and_then(|record| record.when_tried(time)).map_or(0, to_word);
        // Where another has changed the record since, this run is one of the record before.
        let is_noted = noted == there || noted == 0 || self.table.change(key, there, noted);
        let record = if is_noted { noted } else { there };

        let WorkerRuns { keys, runs } = &self.table.memory.workers[self.slot];
        let places = if check.blocking { 1..RUNS } else { 0..1 };
        let Some(place) = places.into_iter().find(|&place| keys[place].load(Relaxed) == 0) else { return };
        let run = &runs[place];
        run.since.store(time.as_nanos() as u64, Relaxed);
        run.record.store(record, Relaxed);
        let mut name = [0; NAME];
        let length = check.id.len().min(NAME);
        name[..length].copy_from_slice(&check.id.as_bytes()[..length]);
        for (cell, bytes) in run.name.iter().zip(name.chunks_exact(8)) {
            cell.store(u64::from_ne_bytes(bytes.try_into().expect("a chunk has eight bytes")), Relaxed);
        }
        keys[place].store(key, Relaxed);
    }

    fn ends(&self, check: &Check) {
        let (key, WorkerRuns { keys, runs }) = (key(&check.id), &self.table.memory.workers[self.slot]);
        let Some(place) = keys.iter().position(|there| there.load(Relaxed) == key) else { return };
        keys[place].store(0, Relaxed);
        let record = runs[place].record.load(Relaxed);
        if record != 0 {
            // If it has changed since, another run of the check knows better.
            self.table.change(key, record, 0);
        }
    }
}

impl Drop for SlotObserver {
    /// The worker leaves in an orderly way: no check that still runs in its threads caused that.
    fn drop(&mut self) {
        self.table.clear(self.slot);
    }
}

impl InFlight {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Only what runs in the worker's loop.
    pub(crate) fn in_loop(mut self) -> InFlight {
        self.0.retain(|run| run.in_loop);
        self
    }
}

/// As the end of a sentence.
impl fmt::Display for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.0.iter().take(NAMED).map(|run| run.name.clone()).collect();
        if self.0.len() > NAMED {
            names.push(format!("{} more", self.0.len() - NAMED));
        }
        match (names.pop(), names.is_empty()) {
            (None, _) => Ok(()),
            (Some(name), true) => write!(f, " in the check {name}"),
            (Some(last), false) => write!(f, " in the checks {} and {last}", names.join(", ")),
        }
    }
}

fn to_word(CrashRecord { deaths, cause, not_before }: CrashRecord) -> u64 {
    let (kind, detail) = match cause {
        DeathCause::Signal(number) => (0, number),
        DeathCause::OutOfMemory => (1, 0),
        DeathCause::Hang => (2, 0),
        DeathCause::Exit(code) => (3, code),
    };
    RECORD.pack([deaths.into(), kind, detail.into(), not_before.as_millis() as u64])
}

fn from_word(word: u64) -> Option<CrashRecord> {
    let [deaths, kind, detail, not_before] = RECORD.unpack(word);
    let cause = match kind {
        0 => DeathCause::Signal(detail as u8),
        1 => DeathCause::OutOfMemory,
        2 => DeathCause::Hang,
        _ => DeathCause::Exit(detail as u8),
    };
    let record = CrashRecord { deaths: deaths as u8, cause, not_before: Duration::from_millis(not_before) };
    (deaths > 0).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Finding;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn table() -> InFlightTable {
        InFlightTable::new(Instant::now()).expect("memory can be mapped")
    }

    fn check(id: &str) -> Check {
        Check::new(id, |_| Finding::PASS)
    }

    /// Lets the check kill its worker, in the second with this number.
    fn kill(table: &InFlightTable, check: &Check, second: u32) -> Vec<(String, Quarantine)> {
        let now = table.epoch + SECOND * second;
        let observer = table.observer(0);
        observer.begins(check, now);
        let in_flight = table.in_flight(0);
        table.blame(&in_flight, DeathCause::OutOfMemory, now)
    }

    #[test]
    fn what_a_worker_runs_is_known_until_it_has_come_back() {
        let table = table();
        let (database, long) =
            (check("shop.healthchecks.database"), Check { blocking: false, ..check(&"x".repeat(200)) });
        let observer = table.observer(3);
        observer.begins(&database, table.epoch + SECOND * 2);
        observer.begins(&long, table.epoch);
        let InFlight(found) = table.in_flight(3);
        let told: Vec<_> = found.iter().map(|run| (run.name.as_str(), run.since, run.in_loop)).collect();
        let expected =
            [("x".repeat(NAME), Duration::ZERO, true), ("shop.healthchecks.database".into(), SECOND * 2, false)];
        assert!(told.iter().copied().eq(expected.iter().map(|(name, since, place)| (name.as_str(), *since, *place))));
        assert!(table.in_flight(4).is_empty());

        observer.ends(&database);
        observer.ends(&database);
        assert_eq!(table.in_flight(3).0.len(), 1);
        drop(observer);
        assert!(table.in_flight(3).is_empty());
    }

    #[test]
    fn more_checks_than_can_be_noted_go_unnoticed() {
        let table = table();
        let observer = table.observer(0);
        let checks: Vec<_> = (0..2 * RUNS).map(|n| check(&n.to_string())).collect();
        checks.iter().for_each(|check| observer.begins(check, table.epoch));
        assert_eq!(table.in_flight(0).0.len(), RUNS - 1);
        checks.iter().for_each(|check| observer.ends(check));
        assert!(table.in_flight(0).is_empty());
    }

    #[test]
    fn a_check_that_comes_back_is_cleared_and_the_third_death_quarantines_it() {
        let (table, db) = (table(), check("db"));
        let observer = table.observer(1);
        for _ in 0..5 {
            assert_eq!(kill(&table, &db, 1), []);
            assert_eq!(observer.permission(&db, table.epoch), Permission::RunAlone);
            observer.begins(&db, table.epoch + SECOND);
            observer.ends(&db);
            assert_eq!(observer.permission(&db, table.epoch), Permission::Run);
        }
        assert_eq!((kill(&table, &db, 1), kill(&table, &db, 2)), (vec![], vec![]));
        let [(name, quarantine)] = &kill(&table, &db, 3)[..] else { panic!("it is quarantined") };
        assert_eq!(name, "db");
        assert_eq!(observer.permission(&db, table.epoch + SECOND * 3), Permission::Quarantined(*quarantine));
        assert_eq!(observer.permission(&check("mail"), table.epoch), Permission::Run);
        table.pardon_all();
        assert_eq!(observer.permission(&db, table.epoch + SECOND * 3), Permission::Run);
    }

    #[test]
    fn workers_that_die_together_count_as_one_death() {
        let (table, db) = (table(), check("db"));
        let observers = [0, 1, 2].map(|slot| table.observer(slot));
        observers.iter().for_each(|observer| observer.begins(&db, table.epoch));
        for slot in 0..3 {
            assert_eq!(table.blame(&table.in_flight(slot), DeathCause::Hang, table.epoch), []);
        }
        assert_eq!(from_word(table.record(key("db"))).map(|record| record.deaths), Some(1));
    }

    #[test]
    fn a_run_that_was_permitted_before_the_last_death_was_known_counts_as_one_with_it() {
        let (table, db) = (table(), check("db"));
        (1..=3).for_each(|second| drop(kill(&table, &db, second)));
        let (observer, now) = (table.observer(0), table.epoch + SECOND * 3);
        assert!(matches!(observer.permission(&db, now), Permission::Quarantined(_)));
        observer.begins(&db, now);
        assert_eq!(table.in_flight(0).0[0].record, 0, "not the record that the next death would add to");
        observer.ends(&db);
        assert!(matches!(observer.permission(&db, now), Permission::Quarantined(_)), "nor one that it clears");
    }

    #[test]
    fn records_that_were_cleared_make_room_and_without_room_the_others_stand() {
        let table = table();
        let change = |name: String, before, after| table.change(key(&name), before, after);
        for round in 0..3 {
            (0..RECORDS).for_each(|n| assert!(change(format!("{round}.{n}"), 0, 5)));
            assert!(!change("one too many".into(), 0, 5));
            assert_eq!((table.record(key("one too many")), table.record(key(format!("{round}.17")))), (0, 5));
            (0..RECORDS).for_each(|n| assert!(change(format!("{round}.{n}"), 5, 0)));
        }
    }

    #[test]
    fn a_few_checks_are_named_and_the_rest_is_counted() {
        let run = |name: &str| RunningCheck {
            key: 1,
            since: Duration::ZERO,
            record: 0,
            name: name.to_owned(),
            in_loop: false,
        };
        let named = |count: usize| {
            InFlight(["a", "b", "c", "d", "e", "f", "g"][..count].iter().copied().map(run).collect()).to_string()
        };
        assert_eq!(named(0), "");
        assert_eq!(named(1), " in the check a");
        assert_eq!(named(2), " in the checks a and b");
        assert_eq!(named(7), " in the checks a, b, c, d, e and 2 more");
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(deaths in 1..=u8::MAX, detail: u8, kind in 0..4, millis in 0..1u64 << 40) {
            let causes = [DeathCause::Signal(detail), DeathCause::OutOfMemory, DeathCause::Hang, DeathCause::Exit(detail)];
            let not_before = Duration::from_millis(millis);
            let record = CrashRecord { deaths, cause: causes[kind as usize], not_before };
            prop_assert_eq!(from_word(to_word(record)), Some(record));
        }
    }
}
