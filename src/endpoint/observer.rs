//! What the endpoint tells its surroundings, and what it asks them.

use std::time::{Duration, SystemTime};

use super::counters::{Counters, RouteLabel};
use crate::model::blame::Blame;
use crate::model::check::{Check, Status};
use crate::model::episode::{CheckRecord, Happening};
use crate::model::patience::Flips;
use crate::model::perfdata::Perfdata;
use crate::model::report::{Outcome, Report};
use crate::model::startup::Start;
use crate::render::line::one_line;

/// Counts the replies of an endpoint, and knows what those show beside reports. Unless implemented, nothing is counted,
/// and nothing is known.
pub trait Observer {
    /// A request was answered.
    fn replied(&self, _label: RouteLabel, _status: u16) {}

    /// The service is ready, or is not for this reason while it is maintained; before, maybe otherwise.
    fn saw_maintenance(&self, _reason: Option<&str>) {}

    /// The files of checks have changed, and were read again.
    fn saw_changed_files(&self) {}

    /// These silences are in force; before, maybe others.
    fn saw_silences(&self, _before: &[String], _now: &[String]) {}

    /// Whether the service is about to end, and takes no requests any more.
    fn is_leaving(&self) -> bool {
        false
    }

    /// The last run of the check with this id.
    fn last_run(&self, _id: &str) -> Option<LastRun> {
        None
    }

    /// How far the check with this id, which has a grace, has got: for all who run it.
    fn start(&self, _id: &str) -> Start {
        Start::Over
    }

    /// The check with this id, which has a grace, has passed.
    fn started(&self, _id: &str) {}

    /// Whether the last run of this check, if it has a schedule, is too long ago to say anything.
    fn is_stale(&self, _check: &Check) -> bool {
        false
    }

    /// In how long this check, which has a schedule, runs next.
    fn next_run(&self, _check: &Check) -> Option<Duration> {
        None
    }

    /// How often what is said of this check, which has a schedule, has changed.
    fn flips(&self, _check: &Check) -> Option<Flips> {
        None
    }

    /// How many runs in a row of this check, which has a schedule, have found the opposite of what is said of it.
    fn against(&self, _check: &Check) -> u32 {
        0
    }

    /// What is remembered of the check with this id over time.
    fn record(&self, _id: &str) -> Option<CheckRecord> {
        None
    }

    /// The same without its runs, but for the one that tells since when it is bad.
    fn history(&self, _id: &str) -> Option<CheckRecord> {
        None
    }

    /// What has happened to the service, the last ones, in their order.
    fn happenings(&self) -> Vec<Happening> {
        Vec::new()
    }

    /// What was counted.
    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// What a check has found last, and when.
#[derive(Clone, Debug)]
pub struct LastRun {
    /// Its status.
    pub status: Status,
    /// Its figures.
    pub figures: Vec<Perfdata>,
    /// How long it took.
    pub elapsed: Duration,
    /// When it was over.
    pub at: SystemTime,
    /// The status that the check found itself, if it was judged to be another.
    pub raw: Option<Status>,
    /// Whether it was not run because of others.
    pub is_blocked: bool,
    /// Whose fault it is, if it is bad and that is known.
    pub blame: Option<Blame>,
}

/// What was known of a check before it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    /// The status that it had.
    pub(crate) status: Status,
    /// Whether it had not been run because of others.
    pub(crate) was_blocked: bool,
}

/// An observer that does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// Logs a check of a report that has changed: one line for a cause, none for what it blocks. `before`: what was known of it,
/// if it has run before; `request`: the number of the reply that will show it.
pub(crate) fn log_change(outcome: &Outcome, report: &Report, before: Option<Before>, request: Option<u64>) {
    let Outcome { check, finding, .. } = outcome;
    let (id, status) = (&check.id, finding.status);
    let context = one_line(finding.context.as_deref().unwrap_or_default());
    if !outcome.blocked_by().is_empty() {
        return tracing::debug!(request, "check {id}: {context}");
    }
    let is_its = |blocked: &&Outcome| blocked.blocked_by().first() == Some(id);
    match (outcome.is_bad() || status == Status::Warn, before) {
        (true, _) => {
            let blocks = match report.blocked().filter(is_its).count() {
                0 => String::new(),
                1 => "; it blocks 1 other".to_owned(),
                blocked => format!("; it blocks {blocked} others"),
            };
            tracing::warn!(request, "check {id}: {}: {context}{blocks}", status.word());
        }
        (false, None | Some(Before { was_blocked: true, .. })) => {
            tracing::debug!(request, "check {id}: {}", status.word());
        }
        (false, Some(Before { was_blocked: false, .. })) => {
            tracing::info!(request, "check {id}: {} again", status.word());
        }
    }
}

/// Logs which silences have begun, and which have ended.
pub(crate) fn log_silences(before: &[String], now: &[String]) {
    for silence in now.iter().filter(|silence| !before.contains(silence)) {
        tracing::info!("{silence}");
    }
    for silence in before.iter().filter(|silence| !now.contains(silence)) {
        tracing::info!("no more: {silence}");
    }
}

/// Logs that maintenance begins, for this reason, or ends.
pub(crate) fn log_maintenance(reason: Option<&str>) {
    match reason {
        Some(reason) => tracing::info!("maintenance begins, /readyz fails: {reason}"),
        None => tracing::info!("maintenance ends, /readyz is about the checks again"),
    }
}
