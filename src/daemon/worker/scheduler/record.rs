//! What the last run of a check on a schedule has found, as it lies in shared memory, for all who ask for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::daemon::shared::kept::Kept;
use crate::daemon::worker::shared_report::contents::SharedFinding;
use crate::model::check::Check;
use crate::model::judgement::{self, Circumstances, Delay, Scheduled};
use crate::model::patience::Patience;
use crate::model::report::Outcome;
use crate::model::schedule::Schedule;
use crate::os::clock;
use crate::round::run_observer::ScheduledFinding;

/// The record of the last run of a check.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) found: SharedFinding,
    /// When it began, by the clock that counts suspensions.
    pub(super) began: Duration,
    pub(super) elapsed: Duration,
    /// The causes, if it was not run because of them.
    pub(super) blocked_by: Vec<String>,
    pub(super) patience: Patience,
}

impl Record {
    /// Of a run that began at a moment of the clock.
    pub(super) fn new(outcome: &Outcome, began: Duration, patience: Patience) -> Record {
        let Outcome { finding, elapsed, .. } = outcome;
        let blocked_by = outcome.blocked_by().to_vec();
        Record { found: SharedFinding::of(finding), began, elapsed: *elapsed, blocked_by, patience }
    }

    /// What is known of it at `now`, by the same clock, and why the next run is late.
    pub(super) fn known(self, now: Duration, delay: Option<Delay>) -> ScheduledFinding {
        let Record { found, began, elapsed, blocked_by, patience } = self;
        let age = now.saturating_sub(began).max(elapsed);
        let scheduled = Some(Scheduled { age, patience, second: now.as_secs(), delay });
        let circumstances = Circumstances { blocked_by, scheduled, ..Circumstances::default() };
        ScheduledFinding { found: found.finding(), circumstances, elapsed, age }
    }

    /// Leaves out something; false if nothing is left to leave out.
    pub(super) fn shorten(&mut self) -> bool {
        self.found.shorten() || self.patience.shorten()
    }
}

/// The places for the runs of one worker, as those know them who tell what was found.
#[derive(Clone, Default)]
pub(in crate::daemon::worker) struct Places(Arc<Mutex<Option<Holder>>>);

/// Who has a place for the longest time when there is none left.
#[derive(Clone)]
struct Holder {
    id: String,
    /// By the clock that counts suspensions.
    since: Duration,
}

impl Places {
    /// Says who has had a place for the longest time, if there is none left.
    pub(super) fn are_held_by(&self, longest: Option<(&str, Duration)>) {
        *self.lock() = longest.map(|(id, since)| Holder { id: id.to_owned(), since });
    }

    fn delay(&self, now: Duration) -> Option<Delay> {
        let Holder { id, since } = self.lock().clone()?;
        Some(Delay::NoPlace { holder: id, time: now.saturating_sub(since) })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Holder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the last run of a check on a schedule has found, in whichever worker.
pub(in crate::daemon::worker) fn last_found(
    kept: Kept,
    places: &Places,
    check: &Check,
    schedule: Schedule,
) -> ScheduledFinding {
    let (key, table, now) = (Kept::key(check), kept.schedules(), clock::since_boot());
    let record = table.record::<Record>(key);
    let is_late = record.as_ref().is_none_or(|it| schedule.is_stale(check.timeout, now.saturating_sub(it.began)));
    let delay = match is_late {
        true if table.holder(key).is_some() => Some(Delay::UnderWay),
        true => places.delay(now),
        false => None,
    };
    match record {
        Some(record) => record.known(now, delay),
        None => ScheduledFinding {
            found: judgement::not_run_yet(schedule, delay.as_ref()),
            circumstances: Circumstances::default(),
            elapsed: Duration::ZERO,
            age: Duration::ZERO,
        },
    }
}
