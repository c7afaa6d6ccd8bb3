//! Remembers what checks find over time: at once in shared memory, and in the state dir on a thread of its own, so that a
//! disk that does not answer holds up nobody.
//!
//! A change is written to its file at once, and what has not changed every minute and at the end. Whichever worker has found
//! it does so; what another finds meanwhile is written with it or after it.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::daemon::shared::evidence::{EvidenceTable, Look};
use crate::daemon::shared::kept::Kept;
use crate::daemon::shared::scoreboard::Scoreboard;
use crate::model::episode;
use crate::model::report::Outcome;
use crate::model::suite::Suite;
use crate::os::signals;
use crate::round::recorded;
use crate::state::{ServerPlace, StateDir};

/// How often what has not changed is written to a file.
const SAVED_EVERY: Duration = Duration::from_secs(60);

/// How often it is tried to say where the service is, until that is written.
const SAYS_EVERY: Duration = Duration::from_secs(2);

/// How often the files of checks that are gone are looked through.
const FORGETS_EVERY: Duration = Duration::from_secs(24 * 3600);

/// How long the end of a worker waits for the disk.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a worker writes down.
pub(super) struct Recorder {
    kept: Kept,
    generation: u32,
    /// `None`: there is no state dir.
    saver: Option<Arc<Saver>>,
}

/// What one worker does for the whole state dir: it says where the service is, until that could be written, and removes what is left
/// of checks that are gone.
pub(super) struct Keeper {
    pub(super) place: ServerPlace,
    /// The ids of the checks that there are.
    pub(super) known: HashSet<String>,
}

/// The thread's work.
struct Saver {
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    /// The ids of the checks to look after.
    waiting: BTreeSet<String>,
    /// Whether one of them is being looked after.
    is_busy: bool,
}

impl Recorder {
    /// `state`: the state dir, and what is done for the whole of it, if this worker does it.
    pub(super) fn start(
        kept: Kept,
        scoreboard: Scoreboard,
        generation: u32,
        state: Option<(StateDir, Option<Keeper>)>,
    ) -> Recorder {
        let saver = state.and_then(|(state, keeper)| match Saver::start(kept, scoreboard, state, keeper) {
            Ok(saver) => Some(saver),
            Err(error) => {
                tracing::warn!("what checks find is not written to files: no thread can be started: {error}");
                None
            }
        });
        Recorder { kept, generation, saver }
    }

    /// Takes in what checks have found that a round has run. Those with a schedule are not among them: it only tells of
    /// their last run.
    pub(super) fn found(&self, outcomes: &[Outcome]) {
        self.take_in(outcomes.iter().filter(|outcome| outcome.check.schedule.is_none()));
    }

    /// Takes in what checks have found that ran on their schedule.
    pub(super) fn found_by_schedule(&self, outcomes: &[Outcome]) {
        self.take_in(outcomes.iter());
    }

    fn take_in<'a>(&self, outcomes: impl Iterator<Item = &'a Outcome>) {
        self.kept.notice_step();
        let (now, table) = (self.kept.now(), self.kept.evidence());
        for outcome in outcomes {
            let Some((at, status)) = recorded::seen(outcome, now) else { continue };
            let check = &outcome.check;
            let key = EvidenceTable::key(&check.id);
            if let Some(saver) = self.saver.as_ref().filter(|_| !table.has(key)) {
                // It was collected since the start: its file is read first.
                saver.look_after(&check.id);
                continue;
            }
            let look = Look { at, status, now, stands: episode::stands(check) };
            let run = || recorded::run(outcome, (at, status), self.generation);
            let Some(has_changed) = table.note(key, look, run) else { continue };
            if let Some(saver) = &self.saver
                && (has_changed || table.claim_saving(key, now, SAVED_EVERY))
            {
                saver.look_after(&check.id);
            }
        }
    }

    /// Writes what is not in the files yet, as long as the disk answers.
    pub(super) fn finish(&self, suite: &Suite) {
        let Some(saver) = &self.saver else { return };
        let (now, table) = (self.kept.now(), self.kept.evidence());
        for check in suite.checks() {
            if table.claim_saving(EvidenceTable::key(&check.id), now, Duration::ZERO) {
                saver.look_after(&check.id);
            }
        }
        let is_at_it = |work: &mut Work| work.is_busy || !work.waiting.is_empty();
        drop(saver.changed.wait_timeout_while(saver.lock(), LAST_WORDS, is_at_it));
    }
}

impl Saver {
    fn start(
        kept: Kept,
        scoreboard: Scoreboard,
        state: StateDir,
        keeper: Option<Keeper>,
    ) -> std::io::Result<Arc<Saver>> {
        let saver = Arc::new(Saver { work: Mutex::default(), changed: Condvar::new() });
        let work = saver.clone();
        std::thread::Builder::new().name("history".to_owned()).spawn(move || {
            // Whether they can be written is said with the first check.
            let (mut unsaid, mut forgot) = (keeper.as_ref().map(|keeper| &keeper.place), None);
            loop {
                unsaid = unsaid.filter(|place| state.keep_server_place(place).is_err());
                if let Some(Keeper { known, .. }) = &keeper
                    && forgot.is_none_or(|at: Instant| at.elapsed() >= FORGETS_EVERY)
                {
                    forgot = Some(Instant::now());
                    signals::undisturbed(|| state.forget_records(|id| known.contains(id)));
                }
                let patience = if unsaid.is_some() { SAYS_EVERY } else { FORGETS_EVERY };
                let Some(id) = work.next(patience) else { continue };
                let done = signals::undisturbed(|| look_after(kept, &state, &id));
                work.end();
                let place = || state.history().display().to_string();
                // Logged once, by the worker that is the first to see it.
                match done {
                    Err(why) if scoreboard.note_kept(false) => {
                        tracing::warn!("{}: what checks find is kept in memory only: {why}", place());
                    }
                    Ok(true) if scoreboard.note_kept(true) => {
                        tracing::info!("{}: what checks find is kept there again", place());
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        })?;
        Ok(saver)
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        // No file is written under the lock.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_after(&self, id: &str) {
        self.lock().waiting.insert(id.to_owned());
        self.changed.notify_all();
    }

    /// The next check to look after; `None` if there was none for a while.
    fn next(&self, patience: Duration) -> Option<String> {
        let is_idle = |work: &mut Work| work.waiting.is_empty();
        let waited = self.changed.wait_timeout_while(self.lock(), patience, is_idle);
        let (mut work, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let next = work.waiting.pop_first();
        work.is_busy = next.is_some();
        next
    }

    fn end(&self) {
        self.lock().is_busy = false;
        self.changed.notify_all();
    }
}

/// Reads the file of a check that is new, or writes what is known of it. False if nothing was to be written.
fn look_after(kept: Kept, state: &StateDir, id: &str) -> Result<bool, String> {
    let (table, key) = (kept.evidence(), EvidenceTable::key(id));
    if !table.has(key) {
        let record = state.record(id).unwrap_or_else(|why| {
            tracing::warn!("{why}: what was known of {id} is forgotten");
            None
        });
        table.fill(key, &record.unwrap_or_default().moved(-kept.ahead()));
        return Ok(false);
    }
    let mut is_written = false;
    loop {
        let changes = table.changes(key);
        if let Some(record) = table.record(key) {
            state.keep_record(id, &record.moved(kept.ahead())).map_err(|error| error.to_string())?;
            is_written = true;
        }
        if kept.events().claim_saving() {
            let all = kept.events().all().into_iter().map(|it| it.moved(kept.ahead()));
            state.keep_happenings(&all.collect::<Vec<_>>()).map_err(|error| error.to_string())?;
        }
        // Another worker may have written what it knew after we had looked and before we wrote.
        if table.changes(key) == changes {
            return Ok(is_written);
        }
    }
}
