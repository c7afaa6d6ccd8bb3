//! What a worker notes on the scoreboard about its replies and its rounds, and what all workers have noted there.

use std::time::Duration;

use super::scheduler;
use crate::daemon::shared::evidence::EvidenceTable;
use crate::daemon::shared::kept::Kept;
use crate::daemon::shared::scoreboard::Scoreboard;
use crate::endpoint::counters::{Counters, RouteLabel};
use crate::endpoint::{LastRun, Observer, log_change, log_maintenance, log_silences};
use crate::model::check::Check;
use crate::model::episode::{CheckRecord, Happening};
use crate::model::patience::Flips;
use crate::model::report::{Outcome, Report};
use crate::model::startup::Start;
use crate::model::suite::Suite;
use crate::os::clock;

/// The scoreboard, for the worker in a slot.
#[derive(Clone, Copy)]
pub(super) struct ScoreboardObserver {
    pub(super) scoreboard: Scoreboard,
    pub(super) slot: usize,
    pub(super) kept: Kept,
}

impl ScoreboardObserver {
    /// Notes what a round has found, before it is answered, and logs one line for each check whose status has changed
    /// since its last run in any worker. `suite`: the checks that are collected now; `request`: the number of the next
    /// answer.
    pub(super) fn found(&self, report: &Report, suite: &Suite, request: u64) {
        self.scoreboard.count_round(self.slot, report.passes());
        for (outcome, before) in self.scoreboard.note(report, suite, clock::wall()) {
            log_change(outcome, report, before, Some(request));
        }
    }

    /// Notes what checks have found that ran on their schedule, in the same way.
    pub(super) fn found_by_schedule(&self, outcomes: Vec<Outcome>, suite: &Suite) {
        let report = Report::of_outcomes(outcomes);
        for (outcome, before) in self.scoreboard.note(&report, suite, clock::wall()) {
            log_change(outcome, &report, before, None);
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
            log_maintenance(reason);
        }
    }

    /// Logged once, by the worker that is asked first.
    fn saw_silences(&self, before: &[String], now: &[String]) {
        if self.scoreboard.note_silences(now) {
            log_silences(before, now);
            for silence in now.iter().filter(|silence| !before.contains(silence)) {
                self.kept.events().note(self.kept.now(), silence);
            }
        }
    }

    /// Noted once, though each worker sees it with its next request.
    fn saw_changed_files(&self) {
        const WHAT: &str = "the files of healthchecks have changed, and were read again";
        let now = self.kept.now();
        let is_it = |known: &Happening| {
            known.what == WHAT && now.duration_since(known.at).is_ok_and(|ago| ago < Duration::from_secs(10))
        };
        if !self.kept.events().all().iter().any(is_it) {
            self.kept.events().note(now, WHAT);
        }
    }

    fn is_leaving(&self) -> bool {
        self.scoreboard.is_leaving()
    }

    fn last_run(&self, id: &str) -> Option<LastRun> {
        let last = self.scoreboard.last(id)?;
        Some(LastRun {
            status: last.status,
            figures: last.figures,
            elapsed: last.elapsed,
            at: last.at,
            raw: last.judged.raw,
            is_blocked: last.judged.is_blocked,
            blame: last.judged.blame,
        })
    }

    fn start(&self, id: &str) -> Start {
        self.kept.start(id)
    }

    fn started(&self, id: &str) {
        self.kept.end_start(id);
    }

    fn is_stale(&self, check: &Check) -> bool {
        scheduler::is_stale(self.kept, check)
    }

    fn next_run(&self, check: &Check) -> Option<Duration> {
        scheduler::next_run(self.kept, check)
    }

    fn flips(&self, check: &Check) -> Option<Flips> {
        scheduler::flips(self.kept, check)
    }

    fn against(&self, check: &Check) -> u32 {
        scheduler::against(self.kept, check)
    }

    fn record(&self, id: &str) -> Option<CheckRecord> {
        Some(self.kept.evidence().record(EvidenceTable::key(id))?.moved(self.kept.ahead()))
    }

    fn history(&self, id: &str) -> Option<CheckRecord> {
        Some(self.kept.evidence().history(EvidenceTable::key(id))?.moved(self.kept.ahead()))
    }

    fn happenings(&self) -> Vec<Happening> {
        let ahead = self.kept.ahead();
        self.kept.events().all().into_iter().map(|it| it.moved(ahead)).collect()
    }

    fn counters(&self) -> Counters {
        self.scoreboard.counters()
    }
}
