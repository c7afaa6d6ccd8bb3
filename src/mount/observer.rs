//! What a mount has counted and found, for `/metrics`, the page and the log.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::endpoint::counters::{Counters, RouteLabel, StatusClass};
use crate::endpoint::{Before, LastRun, Observer, log_change, log_maintenance, log_silences};
use crate::model::check::Status;
use crate::model::report::{LONG_UNWATCHED, Report, Since};
use crate::model::startup::Start;
use crate::os::clock;

/// The notes of one mount, which its service and its endpoint share.
#[derive(Clone, Default)]
pub(super) struct MountObserver {
    notes: Arc<Mutex<Notes>>,
}

#[derive(Default)]
struct Notes {
    counters: Counters,
    /// The last run of each check, and since when it has had that status.
    checks: HashMap<String, (LastRun, Since)>,
    /// When each check that has a grace was first asked for; `None`: it has passed since.
    starts: HashMap<String, Option<Duration>>,
    is_maintained: bool,
    is_leaving: bool,
}

impl MountObserver {
    /// Notes what a round has found, and logs one line for each check whose status has changed.
    pub(super) fn found(&self, report: &Report) {
        let mut notes = self.notes();
        notes.counters.rounds[usize::from(!report.passes())] += 1;
        let now = clock::wall();
        for outcome in &report.outcomes {
            let status = outcome.finding.status;
            // A check that runs in place has only just ended.
            let at = clock::before(now, outcome.age.saturating_sub(outcome.elapsed));
            let run = LastRun {
                status,
                figures: outcome.finding.perfdata.clone(),
                elapsed: outcome.elapsed,
                at,
                raw: Some(outcome.raw()).filter(|raw| *raw != status),
                is_blocked: !outcome.blocked_by().is_empty(),
                blame: outcome.finding.blame,
            };
            let is_blocked = run.is_blocked;
            match notes.checks.entry(outcome.check.id.clone()) {
                Entry::Occupied(mut known) => {
                    let (last, since) = known.get_mut();
                    let is_long = at.duration_since(last.at).is_ok_and(|time| time >= LONG_UNWATCHED);
                    let gap = is_long.then_some((last.at, at));
                    let LastRun { status: before, is_blocked: was_blocked, .. } = std::mem::replace(last, run);
                    if before != status {
                        *since = Since { at, unwatched: None };
                    }
                    if before != status || was_blocked != is_blocked {
                        log_change(outcome, report, Some(Before { status: before, was_blocked }), None);
                    }
                    since.unwatched = gap.or(since.unwatched);
                }
                Entry::Vacant(unknown) => {
                    unknown.insert((run, Since { at, unwatched: None }));
                    log_change(outcome, report, None, None);
                }
            }
        }
    }

    pub(super) fn drain(&self) {
        self.notes().is_leaving = true;
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for MountObserver {
    fn replied(&self, label: RouteLabel, status: u16) {
        let class = StatusClass::of(status);
        let route = RouteLabel::ALL.iter().position(|other| *other == label);
        let class = StatusClass::ALL.iter().position(|other| *other == class);
        if let (Some(route), Some(class)) = (route, class) {
            self.notes().counters.requests[route][class] += 1;
        }
    }

    fn saw_maintenance(&self, reason: Option<&str>) {
        if std::mem::replace(&mut self.notes().is_maintained, reason.is_some()) != reason.is_some() {
            log_maintenance(reason);
        }
    }

    fn saw_silences(&self, before: &[String], now: &[String]) {
        log_silences(before, now);
    }

    fn is_leaving(&self) -> bool {
        self.notes().is_leaving
    }

    fn since(&self, id: &str, status: Status) -> Option<Since> {
        self.notes().checks.get(id).filter(|(last, _)| last.status == status).map(|(_, since)| *since)
    }

    fn last_run(&self, id: &str) -> Option<LastRun> {
        self.notes().checks.get(id).map(|(last, _)| last.clone())
    }

    fn start(&self, id: &str) -> Start {
        let now = clock::since_boot();
        let began = *self.notes().starts.entry(id.to_owned()).or_insert(Some(now));
        began.map_or(Start::Over, |began| Start::Ago(now.saturating_sub(began)))
    }

    fn started(&self, id: &str) {
        self.notes().starts.insert(id.to_owned(), None);
    }

    fn counters(&self) -> Counters {
        self.notes().counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::{Check, Finding};
    use crate::model::report::Outcome;

    #[test]
    fn a_status_is_known_since_it_was_found_and_long_gaps_are_told() {
        let observer = MountObserver::default();
        let found = |finding: Finding, seconds_ago| {
            let (check, age) = (Arc::new(Check::new("db", |_| Finding::PASS)), Duration::from_secs(seconds_ago));
            observer.found(&Report::of_outcomes(vec![Outcome::of(check, finding, Duration::ZERO, age)]));
            let last = observer.last_run("db").expect("it was found");
            (last.at, observer.since("db", last.status).expect("it has this status"))
        };
        let (first, since) = found(Finding::PASS, 3000);
        assert_eq!(since, Since { at: first, unwatched: None });
        let (second, since) = found(Finding::PASS, 2000);
        assert_eq!(since, Since { at: first, unwatched: Some((first, second)) });
        let (third, since) = found(Finding::fail("down"), 1900);
        assert_eq!(since, Since { at: third, unwatched: None }, "it was watched when it changed");
        let (fourth, since) = found(Finding::PASS, 1000);
        assert_eq!(since, Since { at: fourth, unwatched: Some((third, fourth)) });
        assert_eq!(observer.since("db", Status::Fail), None);
    }
}
