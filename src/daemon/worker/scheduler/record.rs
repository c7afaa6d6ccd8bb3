//! What the last run of a check on a schedule has found, as it lies in shared memory, for all who ask for it.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::daemon::shared::evidence::EvidenceTable;
use crate::daemon::shared::in_flight::SlotObserver;
use crate::daemon::shared::kept::Kept;
use crate::daemon::worker::shared_report::contents::SharedFinding;
use crate::model::check::{Check, Finding};
use crate::model::judgement::{self, Circumstances, Scheduled};
use crate::model::patience::Patience;
use crate::model::report::Outcome;
use crate::os::clock;
use crate::round::isolation::{Permission, RunObserver, ScheduledFinding};
use crate::round::our_changes;

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

    /// What is known of it at `now`, by the same clock.
    pub(super) fn known(self, now: Duration) -> ScheduledFinding {
        let Record { found, began, elapsed, blocked_by, patience } = self;
        let age = now.saturating_sub(began).max(elapsed);
        let scheduled = Some(Scheduled { age, patience, second: now.as_secs() });
        let circumstances = Circumstances { blocked_by, scheduled, ..Circumstances::default() };
        ScheduledFinding { found: found.finding(), circumstances, elapsed, age }
    }

    /// Leaves out something; false if nothing is left to leave out.
    pub(super) fn shorten(&mut self) -> bool {
        self.found.shorten() || self.patience.shorten()
    }
}

/// Notes what a worker runs, and knows what checks on a schedule have found.
pub(in crate::daemon::worker) struct Records {
    pub(in crate::daemon::worker) runs: SlotObserver,
    pub(in crate::daemon::worker) kept: Kept,
}

impl RunObserver for Records {
    fn permission(&self, check: &Check, now: Instant) -> Permission {
        self.runs.permission(check, now)
    }

    fn begins(&self, check: &Check, now: Instant) {
        self.runs.begins(check, now);
    }

    fn ends(&self, check: &Check) {
        self.runs.ends(check);
    }

    fn examines(&self, check: &Check, found: &mut Finding) {
        our_changes::weigh(check, found, || self.kept.evidence().runs(EvidenceTable::key(&check.id)));
    }

    fn known(&self, check: &Check) -> Option<ScheduledFinding> {
        let schedule = check.schedule?;
        let record = self.kept.schedules().record::<Record>(Kept::key(check));
        Some(record.map_or_else(
            || ScheduledFinding {
                found: judgement::not_run_yet(schedule),
                circumstances: Circumstances::default(),
                elapsed: Duration::ZERO,
                age: Duration::ZERO,
            },
            |record| record.known(clock::since_boot()),
        ))
    }
}
