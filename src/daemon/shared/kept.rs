//! Shared memory that an upgrade hands over: what must be remembered for longer than one program lives.
//!
//! It is a file in memory. Its times are those of the clock that counts suspensions, which all processes have in common.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use zerocopy::FromBytes;

use super::events::EventRing;
use super::evidence::EvidenceTable;
use super::schedule::ScheduleTable;
use super::scoreboard::outcome::moment;
use super::table::{Table, key};
use super::word::Word;
use crate::model::check::Check;
use crate::model::clocks;
use crate::model::duration;
use crate::model::schedule;
use crate::model::startup::Start;
use crate::model::suite::Suite;
use crate::os::{clock, identity, shared};

/// Changes with the meaning of the memory: what another version of the program has left is not misunderstood.
const LAYOUT: u64 = 5;

/// How many checks can have a start; for any more, what they find counts at once.
const STARTS: usize = 4096;

/// The start of a check: whether it has passed, and when it was collected for the first time, in milliseconds plus one.
const START: Word<2> = Word([1, 43]);

/// The memory, copied freely.
#[derive(Clone, Copy)]
pub(crate) struct Kept {
    pub(super) memory: &'static KeptMemory,
}

/// The memory and its file, which the master holds.
pub(crate) struct KeptFile {
    /// `None`: there can be none, so an upgrade begins anew.
    pub(crate) file: Option<File>,
    pub(crate) kept: Kept,
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct KeptMemory {
    layout: AtomicU64,
    /// What tells this daemon from others.
    seed: AtomicU64,
    /// What the wall clock was at the boot, in milliseconds, as far as it was known when this memory was made.
    begin: AtomicU64,
    /// The last moment that was given, in milliseconds.
    last: AtomicU64,
    /// By how many milliseconds the wall clock was set since, as far as that was noticed.
    noticed: AtomicU64,
    /// Under the keys of their checks.
    starts: Table<AtomicU64, STARTS>,
    schedules: ScheduleTable,
    evidence: EvidenceTable,
    events: EventRing,
}

impl KeptFile {
    /// The memory that a former master hands over, if it can be understood, else fresh memory.
    pub(crate) fn new(inherited: Option<File>) -> io::Result<KeptFile> {
        if let Some(file) = inherited
            && let Ok(memory) = shared::map_file::<KeptMemory>(&file)
            && memory.layout.load(Relaxed) == LAYOUT
        {
            return Ok(KeptFile { file: Some(file), kept: Kept { memory } });
        }
        let made = shared::file::<KeptMemory>().and_then(|file| Ok((shared::map_file(&file)?, file)));
        let (memory, file): (&KeptMemory, _) = match made {
            Ok((memory, file)) => (memory, Some(file)),
            // Under a limit on the size of files, for one.
            Err(error) => {
                tracing::warn!(
                    "an upgrade will begin anew what is remembered of checks: it has no file in memory: {error}"
                );
                (shared::map()?, None)
            }
        };
        memory.seed.store(schedule::seed(&identity::host_name(), std::process::id()), Relaxed);
        memory.begin.store(clock::wall_at_boot() as u64, Relaxed);
        memory.layout.store(LAYOUT, Relaxed);
        Ok(KeptFile { file, kept: Kept { memory } })
    }
}

impl Kept {
    /// What tells this daemon from others.
    pub(crate) fn seed(&self) -> u64 {
        self.memory.seed.load(Relaxed)
    }

    /// The present moment for what is remembered over time. The wall clock's at first, it goes on whatever that is set to, so
    /// that what is later is later here, too; [`Kept::ahead`] tells what to add to show it.
    pub(crate) fn now(&self) -> SystemTime {
        let (begin, up) = (self.memory.begin.load(Relaxed) as i64, clock::since_boot());
        let given = |last| Some(clocks::steady(begin, up, last));
        // There always is one.
        let last = self.memory.last.fetch_update(Relaxed, Relaxed, given).unwrap_or_default();
        moment(clocks::steady(begin, up, last))
    }

    /// By how many milliseconds the wall clock was set since this memory was made.
    pub(crate) fn ahead(&self) -> i64 {
        clocks::told(clock::wall_at_boot().saturating_sub(self.memory.begin.load(Relaxed) as i64))
    }

    /// Notes among what has happened that the wall clock was set; once, whoever notices it.
    pub(crate) fn notice_step(&self) {
        let (ahead, before) = (self.ahead(), self.memory.noticed.load(Relaxed));
        let step = clocks::told(ahead.saturating_sub(before as i64));
        if step != 0 && self.memory.noticed.compare_exchange(before, ahead as u64, Relaxed, Relaxed).is_ok() {
            let far = duration::spoken(Duration::from_secs(step.unsigned_abs() / 1000));
            let way = if step > 0 { "ahead" } else { "back" };
            self.events().note(self.now(), &format!("the clock of this host was set {way} by {far}"));
        }
    }

    /// The checks that run on a schedule.
    pub(crate) fn schedules(&self) -> &'static ScheduleTable {
        &self.memory.schedules
    }

    /// What is remembered of checks over time.
    pub(crate) fn evidence(&self) -> &'static EvidenceTable {
        &self.memory.evidence
    }

    /// What has happened to the service itself.
    pub(crate) fn events(&self) -> &'static EventRing {
        &self.memory.events
    }

    /// The key of a check among those with a schedule: what another check of the same name has found is not its own.
    pub(crate) fn key(check: &Check) -> u64 {
        key((&check.id, check.definition))
    }

    /// The starts of these checks begin now, unless they have before.
    pub(crate) fn begin_starts(&self, suite: &Suite) {
        for check in suite.checks().iter().filter(|check| check.grace.is_some()) {
            self.start(&check.id);
        }
    }

    /// How far a check has got, from now on if it has never been asked about.
    pub(crate) fn start(&self, id: &str) -> Start {
        // What finds no room has no grace.
        let Some(there) = self.memory.starts.claim(key(id)) else { return Start::Over };
        let now = millis(clock::since_boot());
        let began = START.pack([0, now + 1]);
        let word = there.compare_exchange(0, began, Relaxed, Relaxed).unwrap_or_else(|before| before);
        match START.unpack(if word == 0 { began } else { word }) {
            [0, began] => Start::Ago(Duration::from_millis((now + 1).saturating_sub(began))),
            _ => Start::Over,
        }
    }

    /// A check has passed.
    pub(crate) fn end_start(&self, id: &str) {
        if let Some(there) = self.memory.starts.claim(key(id)) {
            there.store(START.pack([1, 0]), Relaxed);
        }
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

/// Changes words as another process could.
#[cfg(test)]
pub(super) fn scribble(kept: Kept, change: &mut impl FnMut(u64) -> u64) {
    shared::scribble(&kept.memory.starts, &mut *change);
    kept.memory.schedules.scribble(&mut *change);
    kept.memory.evidence.scribble(&mut *change);
    shared::scribble(&kept.memory.events, change);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_over_for_all_once_the_check_has_passed() {
        let KeptFile { file, kept } = KeptFile::new(None).expect("memory can be had");
        assert!(matches!(kept.start("db"), Start::Ago(time) if time < Duration::from_secs(60)));
        kept.end_start("db");
        assert_eq!(kept.start("db"), Start::Over);
        let successor = KeptFile::new(file).expect("memory can be mapped").kept;
        assert_eq!(successor.start("db"), Start::Over, "an upgrade begins no other start");
        assert_ne!(successor.start("mail"), Start::Over);
    }

    #[test]
    fn what_cannot_be_understood_is_not_taken_over() {
        let before = KeptFile::new(None).expect("memory can be had");
        before.kept.end_start("db");
        before.kept.memory.layout.store(LAYOUT + 1, Relaxed);
        let after = KeptFile::new(before.file).expect("memory can be had").kept;
        assert_ne!(after.start("db"), Start::Over);
        let short = shared::file::<AtomicU64>().expect("memory can be had");
        assert_ne!(KeptFile::new(Some(short)).expect("memory can be had").kept.start("db"), Start::Over);
    }

    #[test]
    fn what_finds_no_room_counts_at_once() {
        let kept = KeptFile::new(None).expect("memory can be had").kept;
        assert!((0..STARTS).all(|n| kept.start(&format!("check.{n}")) != Start::Over));
        assert_eq!(kept.start("one more"), Start::Over);
    }
}
