//! What a mount has counted and found, for `/metrics`, the page and the log.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::endpoint::counters::{Counters, RouteLabel, StatusClass};
use crate::endpoint::{Before, LastRun, Observer, log_change, log_maintenance, log_silences};
use crate::model::clocks;
use crate::model::episode::{self, CheckRecord};
use crate::model::report::{Outcome, Report};
use crate::model::startup::Start;
use crate::os::clock;
use crate::round::recorded;

/// The notes of one mount, which its service and its endpoint share.
#[derive(Clone, Default)]
pub(super) struct MountObserver {
    notes: Arc<Mutex<Notes>>,
}

#[derive(Default)]
struct Notes {
    counters: Counters,
    /// The last run of each check.
    checks: HashMap<String, LastRun>,
    /// When each check that has a grace was first asked for; `None`: it has passed since.
    starts: HashMap<String, Option<Duration>>,
    /// What is remembered of each check over time, while this process lives.
    records: HashMap<String, CheckRecord>,
    clock: OwnClock,
    is_maintained: bool,
    is_leaving: bool,
}

/// The clock of what is remembered: the wall clock at first, and nobody sets it.
struct OwnClock {
    /// What the wall clock was at the boot of the machine, in milliseconds.
    begin: i64,
    last: u64,
}

impl Default for OwnClock {
    fn default() -> OwnClock {
        OwnClock { begin: clock::wall_at_boot(), last: 0 }
    }
}

impl OwnClock {
    fn now(&mut self) -> SystemTime {
        self.last = clocks::steady(self.begin, clock::since_boot(), self.last);
        clocks::moved(SystemTime::UNIX_EPOCH, self.last.try_into().unwrap_or(i64::MAX))
    }

    /// By how many milliseconds the wall clock was set since.
    fn ahead(&self) -> i64 {
        clocks::told(clock::wall_at_boot().saturating_sub(self.begin))
    }
}

impl MountObserver {
    /// Notes what a round has found, and logs one line for each check whose status has changed.
    pub(super) fn found(&self, report: &Report) {
        let mut notes = self.notes();
        notes.counters.rounds[usize::from(!report.passes())] += 1;
        let (now, own) = (clock::wall(), notes.clock.now());
        for outcome in &report.outcomes {
            notes.remember(outcome, own);
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
                    let LastRun { status: before, is_blocked: was_blocked, .. } = known.insert(run);
                    if before != status || was_blocked != is_blocked {
                        log_change(outcome, report, Some(Before { status: before, was_blocked }), None);
                    }
                }
                Entry::Vacant(unknown) => {
                    unknown.insert(run);
                    log_change(outcome, report, None, None);
                }
            }
        }
    }

    pub(super) fn drain(&self) {
        self.notes().is_leaving = true;
    }

    /// The same as of the present wall clock.
    fn told(&self, id: &str) -> Option<CheckRecord> {
        let notes = self.notes();
        Some(notes.records.get(id)?.clone().moved(notes.clock.ahead()))
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    fn remember(&mut self, outcome: &Outcome, now: SystemTime) {
        let Some(seen) = recorded::seen(outcome, now) else { return };
        let check = &outcome.check;
        if !self.records.contains_key(&check.id) {
            self.records.insert(check.id.clone(), CheckRecord::default());
        }
        if let Some(record) = self.records.get_mut(&check.id) {
            record.take_in(seen, now, episode::stands(check), || recorded::run(outcome, seen, 0));
        }
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

    fn last_run(&self, id: &str) -> Option<LastRun> {
        self.notes().checks.get(id).cloned()
    }

    fn record(&self, id: &str) -> Option<CheckRecord> {
        self.told(id)
    }

    fn history(&self, id: &str) -> Option<CheckRecord> {
        self.told(id)
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

    #[test]
    fn what_has_failed_is_remembered_as_long_as_the_process_lives() {
        let observer = MountObserver::default();
        let check = Arc::new(Check::new("db", |_| Finding::PASS));
        let found = |finding: Finding| {
            let outcome = Outcome::of(check.clone(), finding, Duration::ZERO, Duration::ZERO);
            observer.found(&Report::of_outcomes(vec![outcome]));
        };
        assert_eq!(observer.record("db"), None);
        for finding in [Finding::PASS, Finding::fail("down"), Finding::fail("down"), Finding::PASS] {
            found(finding);
        }
        let record = observer.record("db").expect("it has run");
        assert_eq!((record.is_bad(), record.bad_runs, record.episodes().len()), (Some(false), 2, 1));
        assert_eq!(record.first_bad.and_then(|run| run.context).as_deref(), Some("down"));
        assert!(record.good_before.is_some() && observer.history("db").is_some());
    }
}
