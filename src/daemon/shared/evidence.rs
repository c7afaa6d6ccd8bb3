//! Shared memory of what is remembered of checks over time: the last good run of each, the first and the last bad one of
//! its episode, its changes, and how long it was seen to be what.
//!
//! Any worker writes, at any time, and may be killed or stopped while it does. There is no lock: what is counted is in words
//! that are each written whole, and a run is sealed and written beside the one before. The order of writing is such that
//! who is killed in between leaves at most a look that is written down again: first the run that begins an episode, then the
//! change, then that this was the last look.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, SystemTime};

use zerocopy::FromBytes;

use super::Flag;
use super::scoreboard::outcome::{WHEN, millis, moment, number, status};
use super::sealed::Sealed;
use super::table::{Clear, Table, key};
use super::word::Word;
use crate::model::check::Status;
use crate::model::episode::{
    self, COARSE, CheckRecord, Condition, FINE, Grain, LastKnown, MOST_CHANGES, RecordedRun, Seen, StateChange,
    Unwatched,
};

/// How many checks can be remembered.
const MOST: usize = 4096;

/// A look: when it was, and the status, from 1.
const LOOK: Word<2> = Word([WHEN, 3]);

/// A change: when it was, the status, from 1, and for how many seconds nobody had looked before.
const CHANGE: Word<3> = Word([WHEN, 3, 19]);

/// The seconds since 1970 between which nobody looked.
const UNWATCHED: Word<2> = Word([32, 32]);

/// What was seen in a period: its number, and for how long it was good, bad and undecided.
const SEEN: Word<4> = Word([24, 13, 13, 13]);

type SealedRun = Sealed<384>;

/// The checks that are remembered. All zeroes are none.
#[derive(FromBytes)]
#[repr(C)]
pub(crate) struct EvidenceTable {
    cells: Table<EvidenceCell, MOST>,
    is_full: Flag,
}

#[derive(FromBytes)]
#[repr(C)]
struct EvidenceCell {
    /// The last look that was written down.
    last: AtomicU64,
    /// The last long time in which nobody looked.
    unwatched: AtomicU64,
    /// When it was good last, in milliseconds.
    good_at: AtomicU64,
    /// The bad runs of the episode.
    bad_runs: AtomicU64,
    /// When it was written to a file last, in milliseconds.
    saved: AtomicU64,
    /// How many changes were written, of which the last are there.
    pushed: AtomicU64,
    changes: [AtomicU64; MOST_CHANGES],
    fine: [AtomicU64; FINE.most],
    coarse: [AtomicU64; COARSE.most],
    good: RunCells,
    /// The good run before the episode.
    good_before: RunCells,
    first_bad: RunCells,
    last_bad: RunCells,
}

/// A run, and the one before it: the later one holds.
#[derive(FromBytes)]
#[repr(C)]
struct RunCells {
    /// Which of them is the next to be written over, if it is even or odd: who is killed while writing leaves the other.
    next: AtomicU64,
    cells: [SealedRun; 2],
}

/// One run of a check, as far as it is known before it is written down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) at: SystemTime,
    pub(crate) status: Status,
    /// The present time.
    pub(crate) now: SystemTime,
    /// How long a finding of the check stands at most.
    pub(crate) stands: Duration,
}

impl EvidenceTable {
    /// The key of a check here: what it verifies may change, and its history goes on.
    pub(crate) fn key(id: &str) -> u64 {
        key(id)
    }

    /// Whether there is a place for a check, or no room for any more.
    pub(crate) fn has(&self, key: u64) -> bool {
        self.cells.find(key).is_some() || self.is_full.get()
    }

    /// Notes a run. `None`: nothing was written down, for the same was just now. Else whether it has changed.
    pub(crate) fn note(&self, key: u64, look: Look, run: impl Fn() -> RecordedRun) -> Option<bool> {
        let Some(cell) = self.cells.claim(key) else {
            if self.is_full.change(true) {
                tracing::error!("too many checks: what happens to more than {MOST} is not remembered");
            }
            return None;
        };
        cell.note(look, run)
    }

    /// All that is remembered of a check.
    pub(crate) fn record(&self, key: u64) -> Option<CheckRecord> {
        self.cells
            .find(key)
            .map(EvidenceCell::record)
            .filter(|record| record.last.is_some() || record.is_bad().is_some())
    }

    /// The runs of a check that tell how it became bad, and whether it is.
    pub(crate) fn turn(&self, key: u64) -> Option<CheckRecord> {
        self.cells.find(key).map(EvidenceCell::turn)
    }

    /// Of which state that is.
    pub(crate) fn turn_version(&self, key: u64) -> Option<TurnVersion> {
        self.cells.find(key).map(EvidenceCell::turn_version)
    }

    /// All that is remembered without its runs, which are most of it, but for the one that tells since when it is bad.
    pub(crate) fn history(&self, key: u64) -> Option<CheckRecord> {
        self.cells.find(key).map(EvidenceCell::history).filter(|record| record.last.is_some())
    }

    /// Takes over what was remembered elsewhere, unless something is remembered here.
    pub(crate) fn fill(&self, key: u64, record: &CheckRecord) {
        if !self.has(key)
            && let Some(cell) = self.cells.claim(key)
        {
            cell.fill(record);
        }
    }

    /// True for one process, if the last look is not in the file yet and that was written so long ago.
    pub(crate) fn claim_saving(&self, key: u64, now: SystemTime, after: Duration) -> bool {
        let Some(cell) = self.cells.find(key) else { return false };
        let (saved, now) = (cell.saved.load(Relaxed), millis(now));
        let is_due = saved > now || now - saved >= after.as_millis() as u64;
        let is_behind = LOOK.unpack(cell.last.load(Relaxed))[0] >= saved;
        is_due && is_behind && cell.saved.compare_exchange(saved, now, SeqCst, SeqCst).is_ok()
    }

    /// How many changes of a check were written.
    pub(crate) fn changes(&self, key: u64) -> u64 {
        self.cells.find(key).map_or(0, |cell| cell.pushed.load(SeqCst))
    }

    /// Forgets all but these, if there is no room.
    pub(crate) fn make_room(&self, keep: impl Fn(u64) -> bool) {
        if self.is_full.change(false) {
            self.cells.retain(|key, _| keep(key));
        }
    }
}

/// Of which state the runs are that tell how a check became bad: others have another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TurnVersion {
    status: u64,
    seals: [Option<u64>; 6],
}

#[cfg(test)]
impl EvidenceTable {
    /// Changes words of some checks as another process could; all would take long.
    pub(super) fn scribble(&'static self, mut change: impl FnMut(u64) -> u64) {
        self.cells.values().for_each(|cell| crate::os::shared::scribble(cell, &mut change));
    }
}

impl EvidenceCell {
    fn note(&self, look: Look, run: impl Fn() -> RecordedRun) -> Option<bool> {
        let Look { at, status: found, now, stands } = look;
        let condition = Condition::of(found);
        let before = self.last.load(SeqCst);
        let known = LastKnown { last: read_look(before), good_at: read_moment(&self.good_at) };
        let first_bad = || self.first_bad.newest().map(|run| run.at);
        let steps = episode::next(known, at, found, now, stands, first_bad);
        if steps.is_none_or(|steps| !steps.begins) && condition == Condition::Bad {
            self.bad_runs.fetch_add(1, Relaxed);
        }
        let steps = steps?;
        if steps.begins {
            if let Some(good) = self.good.newest() {
                self.good_before.keep(good);
            }
            self.first_bad.keep(run());
            self.bad_runs.store(1, Relaxed);
        }
        match condition {
            Condition::Good => {
                self.good.keep(run());
                // A later time that has not come yet is that of a clock which was set back.
                let later = |there| (there < millis(at) || there > millis(now)).then_some(millis(at));
                let _ = self.good_at.fetch_update(SeqCst, SeqCst, later);
            }
            Condition::Bad => self.last_bad.keep(run()),
            Condition::Neither => {}
        }
        if let Some(change) = steps.change {
            self.push(change);
        }
        let last = LOOK.pack([millis(at), number(found)]);
        // Whoever else has found something meanwhile has counted the time up to that.
        if steps.is_last && self.last.compare_exchange(before, last, SeqCst, SeqCst).is_ok() {
            if let Some(gap) = steps.gap {
                self.unwatched.store(UNWATCHED.pack(seconds(gap)), SeqCst);
            }
            if let Some((from, to, stood)) = steps.stood {
                see(&self.fine, FINE, FINE.divided(from, to, stood));
                see(&self.coarse, COARSE, COARSE.divided(from, to, stood));
            }
        }
        Some(steps.change.is_some() || steps.begins)
    }

    fn push(&self, StateChange { at, status, unwatched }: StateChange) {
        let place = self.pushed.fetch_add(1, SeqCst) as usize % MOST_CHANGES;
        self.changes[place].store(CHANGE.pack([millis(at), number(status), unwatched.as_secs()]), SeqCst);
    }

    fn record(&self) -> CheckRecord {
        let CheckRecord { good, good_before, first_bad, .. } = self.turn();
        CheckRecord { good, good_before, first_bad, last_bad: self.last_bad.newest(), ..self.history() }
    }

    fn turn(&self) -> CheckRecord {
        CheckRecord {
            good: self.good.newest(),
            good_before: self.good_before.newest(),
            first_bad: self.first_bad.newest(),
            good_at: read_moment(&self.good_at),
            last: read_last(self.last.load(SeqCst)),
            ..CheckRecord::default()
        }
    }

    fn turn_version(&self) -> TurnVersion {
        let status = LOOK.unpack(self.last.load(SeqCst))[1];
        let [[a, b], [c, d], [e, f]] =
            [&self.good, &self.good_before, &self.first_bad].map(|runs| runs.cells.each_ref().map(SealedRun::seal));
        TurnVersion { status, seals: [a, b, c, d, e, f] }
    }

    /// Without the runs, but for the one that tells since when it is bad.
    fn history(&self) -> CheckRecord {
        let mut changes: Vec<StateChange> =
            self.changes.iter().filter_map(|word| read_change(word.load(SeqCst))).collect();
        changes.sort_by_key(|change| change.at);
        let last = read_last(self.last.load(SeqCst));
        let is_good = last.is_none_or(|last| Condition::of(last.status) == Condition::Good);
        CheckRecord {
            first_bad: if is_good { None } else { self.first_bad.newest() },
            unwatched: read_gap(self.unwatched.load(SeqCst)),
            bad_runs: self.bad_runs.load(Relaxed),
            good_at: read_moment(&self.good_at),
            last,
            changes,
            fine: seen(&self.fine, FINE),
            coarse: seen(&self.coarse, COARSE),
            ..CheckRecord::default()
        }
    }

    fn fill(&self, record: &CheckRecord) {
        let CheckRecord {
            good,
            good_before,
            first_bad,
            last_bad,
            bad_runs,
            good_at,
            last,
            unwatched,
            changes,
            fine,
            coarse,
        } = record;
        let runs = [
            (&self.good, good),
            (&self.good_before, good_before),
            (&self.first_bad, first_bad),
            (&self.last_bad, last_bad),
        ];
        for (cells, run) in runs {
            if let Some(run) = run {
                cells.keep(run.clone());
            }
        }
        self.bad_runs.store(*bad_runs, Relaxed);
        self.good_at.store(good_at.map_or(0, millis), SeqCst);
        self.unwatched.store(unwatched.map_or(0, |gap| UNWATCHED.pack(seconds(gap))), SeqCst);
        changes.iter().for_each(|change| self.push(*change));
        see(&self.fine, FINE, fine.iter().copied());
        see(&self.coarse, COARSE, coarse.iter().copied());
        if let Some(last) = last {
            self.last.store(LOOK.pack([millis(last.at), number(last.status)]), SeqCst);
        }
    }
}

impl Clear for EvidenceCell {
    fn clear(&self) {
        for word in [&self.last, &self.unwatched, &self.good_at, &self.bad_runs, &self.saved, &self.pushed] {
            word.clear();
        }
        self.changes.iter().chain(&self.fine).chain(&self.coarse).for_each(Clear::clear);
        for RunCells { next: _, cells } in [&self.good, &self.good_before, &self.first_bad, &self.last_bad] {
            cells.iter().for_each(Clear::clear);
        }
    }
}

impl RunCells {
    fn newest(&self) -> Option<RecordedRun> {
        (0..self.cells.len()).filter_map(|place| self.read(place)).max_by_key(|run| run.at)
    }

    fn read(&self, place: usize) -> Option<RecordedRun> {
        // A date of more than four digits could not be written.
        let sane = |run: &RecordedRun| millis(run.at) < 1 << WHEN;
        serde_json::from_slice(&self.cells[place].read_among_others()?).ok().filter(sane)
    }

    /// Writes a run in place of the older one of the two.
    fn keep(&self, mut run: RecordedRun) {
        let bytes = loop {
            let Ok(bytes) = serde_json::to_vec(&run) else { return };
            if bytes.len() <= SealedRun::ROOM {
                break bytes;
            }
            if !run.shorten() {
                return;
            }
        };
        let turn = self.next.load(SeqCst) as usize % 2;
        // Who was killed may have written the later one there, and not have turned to the other yet.
        let is_later = self
            .read(turn)
            .is_some_and(|there| there.at <= run.at && self.read(1 - turn).is_none_or(|other| other.at < there.at));
        let place = if is_later { 1 - turn } else { turn };
        self.cells[place].write_among_others(&bytes);
        self.next.store(place as u64 + 1, SeqCst);
    }
}

/// Adds what was seen.
fn see(periods: &[AtomicU64], grain: Grain, added: impl Iterator<Item = Seen>) {
    for seen in added {
        let Some(word) = periods.get(seen.period as usize % grain.most) else { continue };
        let sum = |there| {
            let before = read_seen(there, grain).filter(|before| before.period == seen.period);
            let Seen { period, good, bad, undecided } =
                before.unwrap_or(Seen { period: seen.period, ..Seen::default() }).and(seen, grain);
            Some(SEEN.pack([period, good, bad, undecided]))
        };
        // It always changes something.
        let _ = word.fetch_update(Relaxed, Relaxed, sum);
    }
}

fn seen(periods: &[AtomicU64], grain: Grain) -> Vec<Seen> {
    let mut all: Vec<_> = periods.iter().filter_map(|word| read_seen(word.load(Relaxed), grain)).collect();
    all.sort_by_key(|seen| seen.period);
    all
}

fn read_seen(word: u64, grain: Grain) -> Option<Seen> {
    let [period, good, bad, undecided] = SEEN.unpack(word);
    let seen = Seen { period, good, bad, undecided };
    (word != 0 && [good, bad, undecided].iter().all(|parts| *parts <= grain.parts())).then_some(seen)
}

fn read_look(word: u64) -> Option<(SystemTime, Status)> {
    let [at, found] = LOOK.unpack(word);
    Some((moment(at), status(found)?))
}

fn read_last(word: u64) -> Option<StateChange> {
    read_look(word).map(|(at, status)| StateChange { at, status, unwatched: Duration::ZERO })
}

fn read_change(word: u64) -> Option<StateChange> {
    let [at, found, unwatched] = CHANGE.unpack(word);
    Some(StateChange { at: moment(at), status: status(found)?, unwatched: Duration::from_secs(unwatched) })
}

fn seconds(gap: Unwatched) -> [u64; 2] {
    [gap.from, gap.to].map(|at| millis(at) / 1000)
}

fn read_gap(word: u64) -> Option<Unwatched> {
    let [from, to] = UNWATCHED.unpack(word).map(|seconds| moment(seconds * 1000));
    (word != 0).then_some(Unwatched { from, to })
}

fn read_moment(word: &AtomicU64) -> Option<SystemTime> {
    Some(word.load(SeqCst)).filter(|&at| at != 0).map(moment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::transcript::{Field, Transcript};
    use crate::os::process::{self, Forked};
    use crate::os::shared;
    use crate::os::signals::Signal;
    use proptest::prelude::*;
    use std::time::{Instant, UNIX_EPOCH};

    const STANDS: Duration = Duration::from_secs(300);
    const DB: u64 = 77;

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_790_000_000) + Duration::from_millis(millis)
    }

    fn run(at: SystemTime, status: Status, what: &str) -> RecordedRun {
        let mut transcript = Transcript::default();
        transcript.add(Field::Address, "::1");
        RecordedRun::new(at, status, Some(what), Duration::from_millis(3), 1, transcript)
    }

    fn note(table: &EvidenceTable, millis: u64, status: Status) -> Option<bool> {
        let look = Look { at: at(millis), status, now: at(millis), stands: STANDS };
        table.note(DB, look, || run(at(millis), status, &millis.to_string()))
    }

    fn table() -> &'static EvidenceTable {
        shared::map().expect("memory can be mapped")
    }

    #[test]
    fn a_million_later_passes_evict_no_failure() {
        let table = table();
        note(table, 0, Status::Pass);
        for n in 0..40 {
            note(table, 1000 * n + 1000, Status::Fail);
        }
        let first_pass = 60_000;
        for n in 0..1_000_000 {
            note(table, first_pass + 100 * n, Status::Pass);
        }
        let record = table.record(DB).expect("it is remembered");
        assert_eq!(record.first_bad.as_ref().map(|run| run.at), Some(at(1000)));
        assert_eq!(record.last_bad.as_ref().map(|run| run.at), Some(at(40_000)));
        assert_eq!(record.bad_runs, 40);
        let episodes = record.episodes();
        assert_eq!(episodes.len(), 1, "{episodes:?}");
        assert_eq!((episodes[0].from, episodes[0].to), (at(1000), Some(at(first_pass))));
        let now = at(first_pass + 100 * 999_990);
        assert_eq!(record.good.map(|run| run.at), Some(now));
        let uptime = CheckRecord { good: None, ..record }.uptime(now, Duration::from_secs(3600));
        assert!(uptime.ratio() == Some(1.0) && uptime.observed_ratio() > 0.9, "{uptime:?}");
    }

    #[test]
    fn what_is_full_of_changes_keeps_the_last() {
        let table = table();
        for n in 0..1000 {
            note(table, 10_000 * n, if n % 2 == 0 { Status::Pass } else { Status::Error });
        }
        let record = table.record(DB).expect("it is remembered");
        assert_eq!(record.changes.len(), MOST_CHANGES);
        assert!(record.episodes().len() >= 100);
        assert_eq!(record.changes.last().map(|change| change.at), Some(at(9_990_000)));
    }

    #[test]
    fn what_is_too_long_is_shortened_and_what_was_written_halfway_is_none() {
        let table = table();
        note(table, 0, Status::Pass);
        let mut transcript = Transcript::default();
        (0..64).for_each(|n| transcript.add(Field::Body, n.to_string().repeat(100)));
        let look = Look { at: at(5000), status: Status::Fail, now: at(5000), stands: STANDS };
        let large = || RecordedRun {
            transcript: transcript.clone(),
            context: Some("\u{1}".repeat(512)),
            ..run(at(5000), Status::Fail, "x")
        };
        assert_eq!(table.note(DB, look, large), Some(true));
        let record = table.record(DB).expect("it is remembered");
        let first = record.first_bad.expect("it was noted");
        assert_eq!((first.context, first.transcript), (None, transcript));
        let cell = table.cells.find(DB).expect("it is there");
        cell.first_bad.cells.iter().for_each(Clear::clear);
        note(table, 9000, Status::Fail);
        let record = table.record(DB).expect("it is remembered");
        assert_eq!(record.first_bad.as_ref().map(|run| run.at), Some(at(9000)), "the next one takes its place");
        assert_eq!(record.episodes().len(), 1);
    }

    #[test]
    fn what_was_remembered_is_taken_over() {
        let (table, other) = (table(), self::table());
        for (second, status) in
            [(0, Status::Pass), (10, Status::Fail), (20, Status::Error), (30, Status::Pass), (40, Status::Fail)]
        {
            note(table, second * 1000, status);
        }
        let record = table.record(DB).expect("it is remembered");
        other.fill(DB, &record);
        assert_eq!(other.record(DB).as_ref(), Some(&record));
        note(other, 50_000, Status::Fail);
        other.fill(DB, &record);
        let later = other.record(DB).expect("it is remembered");
        assert_eq!((later.first_bad, later.bad_runs), (record.first_bad, record.bad_runs + 1));
        assert_eq!(later.last_bad.map(|run| run.at), Some(at(50_000)));
    }

    #[test]
    fn one_process_saves_what_is_new_and_not_too_often() {
        let (table, minute) = (table(), Duration::from_secs(60));
        note(table, 0, Status::Pass);
        assert!(table.claim_saving(DB, at(1), minute));
        assert!(!table.claim_saving(DB, at(2), Duration::ZERO), "nothing is new");
        note(table, 10_000, Status::Pass);
        assert!(!table.claim_saving(DB, at(10_001), minute));
        assert!(table.claim_saving(DB, at(60_002), minute));
        assert!(!table.claim_saving(1, at(60_002), minute));
    }

    #[test]
    fn a_run_whose_writer_was_killed_before_its_last_step_is_not_the_next_to_be_written_over() {
        let cells: &'static RunCells = shared::map().expect("memory can be mapped");
        let text = |n: u64| run(at(n), Status::Fail, "down");
        (1..=2).for_each(|n| cells.keep(text(n)));
        cells.next.store(1, SeqCst);
        cells.keep(text(3));
        let kept: Vec<_> = (0..2).filter_map(|place| cells.read(place)).map(|run| run.at).collect();
        assert_eq!(kept, [at(3), at(2)]);
    }

    /// How far a writer has got that is killed now and then.
    #[derive(FromBytes)]
    #[repr(C)]
    struct Progress {
        began: AtomicU64,
        done: AtomicU64,
    }

    /// Four good runs, four bad ones, and so on.
    fn found(n: u64) -> Status {
        if (n / 4).is_multiple_of(2) { Status::Pass } else { Status::Fail }
    }

    /// The number of a run, if it is whole.
    #[track_caller]
    fn whole(run: Option<&RecordedRun>) -> Option<u64> {
        let run = run?;
        let n = run.at.duration_since(at(0)).expect("it is later").as_secs();
        assert_eq!((run.status, run.context.clone()), (found(n), Some(n.to_string().repeat(40))), "run {n}");
        Some(n)
    }

    /// `KILLS=10000 cargo test …` kills more often.
    #[test]
    #[ignore = "takes long"]
    fn who_is_killed_at_any_moment_leaves_no_torn_run_and_loses_no_first_bad_one() {
        let kills = std::env::var("KILLS").map_or(1000, |kills| kills.parse().expect("it is a number"));
        let (table, progress) = (table(), shared::map::<Progress>().expect("memory can be mapped"));
        let write = |n: u64| {
            progress.began.store(n, SeqCst);
            let (at, status) = (at(n * 1000), found(n));
            let look = Look { at, status, now: at, stands: STANDS };
            table.note(DB, look, || run(at, status, &n.to_string().repeat(40)));
            progress.done.store(n, SeqCst);
        };
        (0..4).for_each(write);
        let (mut killed, mut random) = (std::collections::BTreeSet::new(), 77_u64);
        for _ in 0..kills {
            let start = progress.began.load(SeqCst) + 1;
            let pid = match process::fork().expect("there is room") {
                Forked::Child { .. } => {
                    (start..start + 1_000_000).for_each(write);
                    process::leave(0)
                }
                Forked::Parent(pid) => pid,
            };
            while progress.done.load(SeqCst) < start {
                std::hint::spin_loop();
            }
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let until = Instant::now() + Duration::from_nanos((random >> 33) % 300_000);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            process::send(pid, Signal::SIGKILL).expect("it is our child");
            let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);

            let (began, done) = (progress.began.load(SeqCst), progress.done.load(SeqCst));
            if began > done {
                killed.insert(began);
            }
            let record = table.record(DB).expect("it is remembered");
            let last = |wanted: Status| (0..=done).rev().find(|n| found(*n) == wanted && !killed.contains(n));
            // Who was killed may have written all of it before.
            let may = |n: Option<u64>, is: Option<u64>, wanted: Status| {
                n == is || n > is && n.is_some_and(|n| killed.contains(&n) && found(n) == wanted)
            };
            assert!(may(whole(record.good.as_ref()), last(Status::Pass), Status::Pass), "{record:?}");
            assert!(may(whole(record.last_bad.as_ref()), last(Status::Fail), Status::Fail), "{record:?}");
            whole(record.good_before.as_ref());
            // It began with the first one of its four, or with the next if that one was killed.
            let Some(last_bad) = last(Status::Fail) else { continue };
            let block = last_bad / 4 * 4;
            let first = (block..block + 4).find(|n| !killed.contains(n)).expect("only every second one is killed");
            let is_first = |n: u64| (block..=first).contains(&n) || n > last_bad && killed.contains(&n);
            let first_bad = whole(record.first_bad.as_ref()).expect("one was bad");
            assert!(is_first(first_bad), "{first_bad} is none of {block} to {first} ({began} {done}): {record:?}");
            let episode = record.episodes().pop().expect("one was bad");
            let from = episode.from.duration_since(at(0)).expect("it is later").as_secs();
            assert!(is_first(from), "{from} is none of {block} to {first}: {episode:?}");
        }
        assert!(killed.len() as u64 > kills / 10, "only {} were killed while they wrote", killed.len());
    }

    const STATUSES: [Status; 4] = [Status::Pass, Status::Fail, Status::Error, Status::Skip];

    type Expected = (Option<u64>, Option<u64>, Option<u64>, u64, Vec<(u64, Status)>, [u64; 3]);

    /// What should be remembered of a history, worked out from the whole of it: the last good run, the first and the last bad
    /// one of the last episode, how many bad runs that had, the changes, and the seconds that were seen.
    fn naive(history: &[(u64, Status)]) -> Expected {
        let is_bad = |status: &Status| matches!(status, Status::Fail | Status::Error);
        let last = |wanted: &dyn Fn(&Status) -> bool| {
            history.iter().rev().find(|(_, status)| wanted(status)).map(|(at, _)| *at)
        };
        let (good, last_bad) = (last(&|status| *status == Status::Pass), last(&is_bad));
        let until = last_bad.unwrap_or(0);
        let good_before =
            history.iter().rev().find(|(at, status)| *at < until && *status == Status::Pass).map(|(at, _)| *at);
        let of_episode = |at: u64| good_before.is_none_or(|good| at > good);
        let bad = || history.iter().filter(|(at, status)| is_bad(status) && of_episode(*at));
        let mut changes = history.to_vec();
        changes.dedup_by_key(|(_, status)| *status);
        let mut seen = [0; 3];
        for pair in history.windows(2) {
            let ((from, status), (to, _)) = (pair[0], pair[1]);
            if to - from < STANDS.as_secs()
                && let Some(place) = STATUSES.iter().position(|it| *it == status).filter(|place| *place < 3)
            {
                seen[place] += to - from;
            }
        }
        (good, bad().next().map(|(at, _)| *at), last_bad, bad().count() as u64, changes, seen)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_remembered_of_any_history_is_what_a_naive_second_implementation_finds_in_it(
            steps in proptest::collection::vec((1..400_u64, 0..4_usize), 1..60),
        ) {
            let mut second = 0;
            let history: Vec<(u64, Status)> = steps.iter().map(|&(step, status)| {
                second += step;
                (second, STATUSES[status])
            }).collect();
            let table = table();
            for &(second, status) in &history {
                note(table, second * 1000, status);
            }
            let record = table.record(DB).expect("something was noted");
            let (good, first_bad, last_bad, bad_runs, changes, seen) = naive(&history);
            let time = |run: &Option<RecordedRun>| run.as_ref().map(|run| run.at);
            let moment = |second: Option<u64>| second.map(|second| at(second * 1000));
            prop_assert_eq!(time(&record.good), moment(good));
            prop_assert_eq!(record.good_at, moment(good));
            prop_assert_eq!(time(&record.first_bad), moment(first_bad));
            prop_assert_eq!(time(&record.last_bad), moment(last_bad));
            prop_assert_eq!(record.bad_runs, bad_runs);
            let told: Vec<_> = record.history().iter().map(|change| (change.at, change.status)).collect();
            let expected: Vec<_> = changes.iter().map(|&(second, status)| (at(second * 1000), status)).collect();
            prop_assert_eq!(told, expected);
            let sum = |of: fn(&Seen) -> u64| record.coarse.iter().map(of).sum::<u64>() / 2;
            prop_assert_eq!([sum(|seen| seen.good), sum(|seen| seen.bad), sum(|seen| seen.undecided)], seen);
        }

        #[test]
        fn two_who_find_the_same_at_once_lose_nothing(seed in 0..1000_u64) {
            let table = table();
            note(table, 0, Status::Pass);
            let writers: Vec<_> = (0..3_u64).map(|writer| std::thread::spawn(move || {
                for n in 0..20 {
                    note(table, 2000 + 1000 * n + seed % 7 + writer, Status::Fail);
                }
            })).collect();
            writers.into_iter().for_each(|writer| writer.join().expect("it only writes"));
            let record = table.record(DB).expect("it is remembered");
            let first = record.first_bad.as_ref().map(|run| run.at).expect("one was first");
            prop_assert!(first >= at(2000) && first < at(3010));
            prop_assert_eq!(record.episodes().len(), 1);
        }
    }
}
