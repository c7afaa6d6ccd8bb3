//! What a worker notes on the scoreboard about its replies and its rounds, and what all workers have noted there.

use std::time::SystemTime;

use crate::daemon::shared::scoreboard::Scoreboard;
use crate::endpoint::counters::{Counters, RouteLabel};
use crate::endpoint::{LastRun, Observer};
use crate::model::check::Status;
use crate::model::report::{Outcome, Report};
use crate::model::suite::Suite;
use crate::os::clock;
use crate::render::line::one_line;

/// The scoreboard, for the worker in a slot.
#[derive(Clone, Copy)]
pub(super) struct ScoreboardObserver {
    pub(super) scoreboard: Scoreboard,
    pub(super) slot: usize,
}

impl ScoreboardObserver {
    /// Notes what a round has found, before it is answered, and logs one line for each check whose status has changed
    /// since its last run in any worker. `suite`: the checks that are collected now; `request`: the number of the next
    /// answer.
    pub(super) fn found(&self, report: &Report, suite: &Suite, request: u64) {
        self.scoreboard.count_round(self.slot, report.passes());
        for (Outcome { check, finding, .. }, before) in self.scoreboard.note(report, suite, clock::wall()) {
            let (status, id) = (finding.status, &check.id);
            let context = one_line(finding.context.as_deref().unwrap_or_default());
            match (status.is_bad(), before) {
                (true, _) => tracing::warn!(request, "check {id}: {}: {context}", status.word()),
                (false, None) => tracing::debug!(request, "check {id}: {}", status.word()),
                (false, Some(_)) => tracing::info!(request, "check {id}: {} again", status.word()),
            }
        }
    }
}

impl Observer for ScoreboardObserver {
    fn replied(&self, label: RouteLabel, status: u16) {
        self.scoreboard.count_request(self.slot, label, status);
    }

    /// Logged once, by the worker that is asked first.
    fn saw_maintenance(&self, reason: Option<&str>) {
        if self.scoreboard.note_maintenance(reason.is_some()) {
            match reason {
                Some(reason) => tracing::info!("maintenance begins, /readyz fails: {}", one_line(reason)),
                None => tracing::info!("maintenance ends, /readyz is about the checks again"),
            }
        }
    }

    fn is_leaving(&self) -> bool {
        self.scoreboard.is_leaving()
    }

    fn since(&self, id: &str, status: Status) -> Option<SystemTime> {
        self.scoreboard.since(id, status)
    }

    fn last_run(&self, id: &str) -> Option<LastRun> {
        let last = self.scoreboard.last(id)?;
        Some(LastRun { status: last.status, figures: last.figures, elapsed: last.elapsed, at: last.at })
    }

    fn counters(&self) -> Counters {
        self.scoreboard.counters()
    }
}
