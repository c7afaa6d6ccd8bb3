//! Shared memory of the checks that run on a schedule: who runs each of them, when it runs next, and what it has found.
//!
//! Any worker may run any of them, one at a time: a lease, one word with a pid and a time, decides. It is given back by its
//! holder, by the master for a dead one, and by time for one that is stopped or hangs. What was found is sealed, and
//! written beside what was found before: a writer that dies leaves that.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zerocopy::FromBytes;

use super::sealed::Sealed;
use super::table::{Clear, Table};
use super::word::Word;
use crate::model::schedule::MOST as MOST_SCHEDULED;

/// A lease: the time of its end, in milliseconds, and the pid of its holder. Linux has no larger pids.
const LEASE: Word<2> = Word([42, 22]);

type SealedRecord = Sealed<2048>;

/// All zeroes are none.
#[derive(FromBytes)]
#[repr(C)]
pub(crate) struct ScheduleTable {
    plans: Table<PlanCell, MOST_SCHEDULED>,
    records: Table<RecordCells, MOST_SCHEDULED>,
}

#[derive(FromBytes)]
#[repr(C)]
struct PlanCell {
    lease: AtomicU64,
    /// When it runs next, in milliseconds; 0: nobody has said so yet.
    due: AtomicU64,
    /// The pid of the worker that ran it last.
    owner: AtomicU64,
}

/// The record with the higher number holds.
#[derive(FromBytes)]
#[repr(C)]
struct RecordCells([SealedRecord; 2]);

/// What is planned for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) due: Duration,
    /// The pid of the worker that ran it last; 0: none.
    pub(crate) owner: u32,
    /// Until when it is being run, if it is.
    pub(crate) leased_until: Option<Duration>,
}

/// The right to run a check, until another worker takes it.
#[derive(Debug)]
#[must_use]
pub(crate) struct RunLease {
    key: u64,
    word: u64,
}

#[derive(Deserialize)]
struct Numbered<T> {
    key: u64,
    number: u64,
    #[serde(flatten)]
    record: T,
}

#[derive(Serialize)]
struct NumberedRef<'a, T> {
    key: u64,
    number: u64,
    #[serde(flatten)]
    record: &'a T,
}

impl ScheduleTable {
    /// The plan for a check, which is `first` unless there is one. `None`: there is no room.
    pub(crate) fn plan(&self, key: u64, first: impl FnOnce() -> Duration) -> Option<Plan> {
        let PlanCell { lease, due, owner } = self.plans.claim(key)?;
        let mut at = due.load(Relaxed);
        if at == 0 {
            let first = millis(first()).max(1);
            at = due.compare_exchange(0, first, Relaxed, Relaxed).map_or_else(|there| there, |_| first);
        }
        let lease = lease.load(SeqCst);
        Some(Plan {
            due: Duration::from_millis(at),
            owner: owner.load(Relaxed) as u32,
            leased_until: (lease != 0).then(|| Duration::from_millis(LEASE.unpack(lease)[0])),
        })
    }

    /// When a check runs next, if somebody has planned it.
    pub(crate) fn due(&self, key: u64) -> Option<Duration> {
        let due = self.plans.find(key)?.due.load(Relaxed);
        (due != 0).then(|| Duration::from_millis(due))
    }

    /// Who runs a check, and until when, which may be past.
    pub(crate) fn holder(&self, key: u64) -> Option<(u32, Duration)> {
        let lease = self.plans.find(key)?.lease.load(SeqCst);
        let [until, pid] = LEASE.unpack(lease);
        (lease != 0).then(|| (pid as u32, Duration::from_millis(until)))
    }

    /// Takes the lease for a process, if nobody holds it or its holder has exceeded its time.
    pub(crate) fn take(&self, key: u64, pid: u32, now: Duration, until: Duration) -> Option<RunLease> {
        let lease = &self.plans.find(key)?.lease;
        let there = lease.load(SeqCst);
        if there != 0 && LEASE.unpack(there)[0] > millis(now) {
            return None;
        }
        let word = LEASE.pack([millis(until) + 1, pid.into()]);
        lease.compare_exchange(there, word, SeqCst, SeqCst).ok().map(|_| RunLease { key, word })
    }

    /// The same lease for longer, if it is still good.
    pub(crate) fn extend(&self, lease: RunLease, until: Duration) -> Option<RunLease> {
        let RunLease { key, word } = lease;
        let later = LEASE.pack([millis(until) + 1, LEASE.unpack(word)[1]]);
        let there = &self.plans.find(key)?.lease;
        there.compare_exchange(word, later, SeqCst, SeqCst).ok().map(|_| RunLease { key, word: later })
    }

    /// Gives a lease back, if it is still good.
    pub(crate) fn give_back(&self, lease: RunLease) {
        if let Some(there) = self.plans.find(lease.key) {
            let _ = there.lease.compare_exchange(lease.word, 0, SeqCst, SeqCst);
        }
    }

    /// Gives back all that a dead process holds.
    pub(crate) fn bury(&self, pid: u32) {
        self.plans.values().for_each(|PlanCell { lease, .. }| {
            let there = lease.load(SeqCst);
            if there != 0 && LEASE.unpack(there)[1] == u64::from(pid) {
                let _ = lease.compare_exchange(there, 0, SeqCst, SeqCst);
            }
        });
    }

    /// Leaves what a run has found, if its lease is still good, and says when the next one is due. Those figures and texts
    /// that there is no room for `shorten` leaves out. False if nothing was written.
    pub(crate) fn leave<T: Serialize>(
        &self,
        lease: &RunLease,
        due: Duration,
        record: &mut T,
        mut shorten: impl FnMut(&mut T) -> bool,
    ) -> bool {
        let &RunLease { key, word } = lease;
        let (Some(plan), Some(cells)) = (self.plans.find(key), self.records.claim(key)) else { return false };
        let (number, current) = cells.numbers(key).map_or((0, 1), |(number, place)| (number + 1, place));
        let bytes = loop {
            let Ok(bytes) = serde_json::to_vec(&NumberedRef { key, number, record: &*record }) else { return false };
            if bytes.len() <= SealedRecord::ROOM {
                break bytes;
            }
            if !shorten(record) {
                return false;
            }
        };
        if plan.lease.load(SeqCst) != word {
            return false;
        }
        cells.0[1 - current].write(&bytes);
        // Only forwards: a writer that was stopped here is late.
        plan.due.fetch_max(millis(due), Relaxed);
        plan.owner.store(LEASE.unpack(word)[1], Relaxed);
        true
    }

    /// Says that the next run is due no later than that, if the lease is still good.
    pub(crate) fn hasten(&self, lease: &RunLease, due: Duration) {
        if let Some(plan) = self.plans.find(lease.key).filter(|plan| plan.lease.load(SeqCst) == lease.word) {
            plan.due.fetch_min(millis(due), Relaxed);
        }
    }

    /// Says that the next run is due no later than that, whoever runs it: at worst, it runs once more.
    pub(crate) fn bring_forward(&self, key: u64, due: Duration) {
        if let Some(plan) = self.plans.find(key) {
            plan.due.fetch_min(millis(due).max(1), Relaxed);
        }
    }

    /// What the last run has found.
    pub(crate) fn record<T: for<'de> Deserialize<'de>>(&self, key: u64) -> Option<T> {
        let cells = self.records.find(key)?;
        let read = |cell: &SealedRecord| {
            let record: Numbered<T> = serde_json::from_slice(&cell.read()?).ok()?;
            (record.key == key).then_some(record)
        };
        cells.0.iter().filter_map(read).max_by_key(|record| record.number).map(|record| record.record)
    }

    /// Whether any run has left something.
    pub(crate) fn has_record(&self, key: u64) -> bool {
        self.records.find(key).is_some_and(|cells| cells.0.iter().any(|cell| cell.seal().is_some()))
    }

    /// Forgets all but these.
    pub(crate) fn retain(&self, keep: impl Fn(u64) -> bool) {
        self.plans.retain(|key, _| keep(key));
        self.records.retain(|key, _| keep(key));
    }
}

#[cfg(test)]
impl ScheduleTable {
    /// Changes words of the plans as another process could; records have a seal.
    pub(super) fn scribble(&'static self, change: impl FnMut(u64) -> u64) {
        crate::os::shared::scribble(&self.plans, change);
    }
}

impl RecordCells {
    /// The highest number, and where it is.
    fn numbers(&self, key: u64) -> Option<(u64, usize)> {
        #[derive(Deserialize)]
        struct Nothing {}
        let read = |(place, cell): (usize, &SealedRecord)| {
            let there: Numbered<Nothing> = serde_json::from_slice(&cell.read()?).ok()?;
            (there.key == key).then_some((there.number, place))
        };
        self.0.iter().enumerate().filter_map(read).max()
    }
}

impl Clear for PlanCell {
    fn clear(&self) {
        self.lease.clear();
        self.due.clear();
        self.owner.clear();
    }
}

impl Clear for RecordCells {
    fn clear(&self) {
        self.0.iter().for_each(Clear::clear);
    }
}

fn millis(time: Duration) -> u64 {
    // Rounded up: nothing is due before its time.
    time.as_nanos().div_ceil(1_000_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::shared;

    const SECOND: Duration = Duration::from_secs(1);
    const KEY: u64 = 77;

    fn table() -> &'static ScheduleTable {
        let table: &ScheduleTable = shared::map().expect("memory can be mapped");
        table.plan(KEY, || SECOND).expect("there is room");
        table
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Text {
        text: String,
    }

    fn leave(table: &ScheduleTable, lease: &RunLease, text: &str) -> bool {
        table.leave(lease, SECOND * 9, &mut Text { text: text.to_owned() }, |record| {
            let is_long = !record.text.is_empty();
            record.text.clear();
            is_long
        })
    }

    fn told(table: &ScheduleTable) -> Option<String> {
        table.record::<Text>(KEY).map(|record| record.text)
    }

    #[test]
    fn one_at_a_time_runs_a_check_and_leaves_what_it_found() {
        let table = table();
        let lease = table.take(KEY, 1, SECOND, SECOND * 3).expect("nobody runs it");
        assert!(table.take(KEY, 2, SECOND * 2, SECOND * 4).is_none());
        assert!(table.holder(KEY).is_some_and(|(pid, until)| pid == 1 && until > SECOND * 3));
        assert_eq!(told(table), None);
        assert!(leave(table, &lease, "first"));
        table.give_back(lease);
        assert_eq!(told(table).as_deref(), Some("first"));
        let plan = table.plan(KEY, || panic!("there is one")).expect("it is there");
        assert_eq!(plan, Plan { due: SECOND * 9, owner: 1, leased_until: None });
        let again = table.take(KEY, 2, SECOND * 9, SECOND * 12).expect("it was given back");
        assert!(leave(table, &again, "second") && leave(table, &again, "third"));
        assert_eq!(told(table).as_deref(), Some("third"));
    }

    #[test]
    fn what_is_tried_again_sooner_is_so_only_by_who_runs_it() {
        let table = table();
        let late = table.take(KEY, 1, SECOND, SECOND * 3).expect("nobody runs it");
        assert!(leave(table, &late, "blocked"));
        let due = || table.plan(KEY, || panic!("there is one")).map(|plan| plan.due);
        table.hasten(&late, SECOND * 20);
        assert_eq!(due(), Some(SECOND * 9));
        table.hasten(&late, SECOND * 5);
        assert_eq!(due(), Some(SECOND * 5));
        let _next = table.take(KEY, 2, SECOND * 4, SECOND * 6).expect("its time is over");
        table.hasten(&late, SECOND * 2);
        assert_eq!(due(), Some(SECOND * 5));
    }

    #[test]
    fn who_is_late_loses_the_lease_and_leaves_nothing() {
        let table = table();
        let late = table.take(KEY, 1, SECOND, SECOND * 3).expect("nobody runs it");
        let next = table.take(KEY, 2, SECOND * 4, SECOND * 6).expect("its time is over");
        assert!(!leave(table, &late, "late"));
        table.give_back(late);
        assert!(table.take(KEY, 3, SECOND * 5, SECOND * 6).is_none(), "the second one has it still");
        let next = table.extend(next, SECOND * 20).expect("it is good");
        assert!(table.take(KEY, 3, SECOND * 10, SECOND * 30).is_none(), "and has it for longer");
        assert!(leave(table, &next, "second"));
        assert_eq!(told(table).as_deref(), Some("second"));
    }

    #[test]
    fn the_dead_lose_it_and_nobody_else() {
        let table = table();
        let _lost = table.take(KEY, 4_194_303, SECOND, SECOND * 99).expect("nobody runs it");
        table.bury(4_194_302);
        assert!(table.take(KEY, 1, SECOND, SECOND * 2).is_none());
        table.bury(4_194_303);
        assert!(table.take(KEY, 1, SECOND, SECOND * 2).is_some());
    }

    #[test]
    fn a_writer_that_dies_leaves_what_was_found_before() {
        let table = table();
        let lease = table.take(KEY, 1, SECOND, SECOND * 3).expect("nobody runs it");
        assert!(leave(table, &lease, "first") && leave(table, &lease, "second"));
        let cells = table.records.find(KEY).expect("there is one");
        let (_, place) = cells.numbers(KEY).expect("there is one");
        cells.0[place].clear();
        assert_eq!(told(table).as_deref(), Some("first"));
        assert!(leave(table, &lease, "third"));
        assert_eq!(told(table).as_deref(), Some("third"));
    }

    #[test]
    fn what_is_too_long_is_shortened() {
        let table = table();
        let lease = table.take(KEY, 1, SECOND, SECOND * 3).expect("nobody runs it");
        assert!(leave(table, &lease, &"x".repeat(SealedRecord::ROOM)));
        assert_eq!(told(table).as_deref(), Some(""));
    }

    #[test]
    fn what_is_no_longer_collected_makes_room() {
        let table = table();
        let full = (0..).find(|n| table.plan(1000 + n, || SECOND).is_none()).expect("it is bounded");
        assert_eq!(full as usize, MOST_SCHEDULED - 1);
        table.retain(|key| key == KEY);
        assert!(table.plan(1, || SECOND).is_some());
    }
}
