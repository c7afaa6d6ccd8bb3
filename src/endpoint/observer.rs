//! What the endpoint tells its surroundings, and what it asks them.

use std::time::{Duration, SystemTime};

use super::counters::{Counters, RouteLabel};
use crate::model::check::Status;
use crate::model::perfdata::Perfdata;
use crate::model::report::{Outcome, Since};
use crate::model::startup::Start;
use crate::render::line::one_line;

/// Counts the replies of an endpoint, and knows what those show beside reports. Unless implemented, nothing is counted,
/// and nothing is known.
pub trait Observer {
    /// A request was answered.
    fn replied(&self, _label: RouteLabel, _status: u16) {}

    /// Somebody wants to know whether the service is ready. `reason`: not while it is maintained.
    fn saw_maintenance(&self, _reason: Option<&str>) {}

    /// These silences are in force; before, maybe others.
    fn saw_silences(&self, _before: &[String], _now: &[String]) {}

    /// Whether the service is about to end, and takes no requests any more.
    fn is_leaving(&self) -> bool {
        false
    }

    /// Since when the check with this id has had this status, if that is its last one.
    fn since(&self, _id: &str, _status: Status) -> Option<Since> {
        None
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
}

/// An observer that does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// Logs a check whose status has changed. `before`: the one that it had, if it has run before; `request`: the number of
/// the reply that will show it.
pub(crate) fn log_change(outcome: &Outcome, before: Option<Status>, request: Option<u64>) {
    let Outcome { check, finding, .. } = outcome;
    let (id, status) = (&check.id, finding.status);
    let context = one_line(finding.context.as_deref().unwrap_or_default());
    match (outcome.is_bad() || status == Status::Warn, before) {
        (true, _) => tracing::warn!(request, "check {id}: {}: {context}", status.word()),
        (false, None) => tracing::debug!(request, "check {id}: {}", status.word()),
        (false, Some(_)) => tracing::info!(request, "check {id}: {} again", status.word()),
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
