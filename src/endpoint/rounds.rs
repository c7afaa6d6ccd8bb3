//! The queue of rounds: which round answers which request. One round at a time, and each answer from a round that began
//! after its request arrived. Requests that arrive during a round share the next one. A client that cannot wait so long
//! gets in time what is known by then; the round goes on for the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{CheckRequest, Findings, Observer};
use crate::model::check::Check;
use crate::model::report::{Outcome, Report};
use crate::model::startup::{self, Start};
use crate::model::suite::Suite;
use crate::round::{ExcuseStart, Round, Runner};
use crate::state;

/// A client that waits for what checks find.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// The key of the client.
    pub(crate) key: usize,
    /// What it asks for.
    pub(crate) request: Arc<CheckRequest>,
    /// When it came in.
    pub(crate) since: Instant,
    /// The ids of the checks on a schedule that could not be run, though the client wants to know no older finding.
    pub(crate) not_run: Vec<String>,
}

/// The rounds of one worker, or of one mount.
pub(crate) struct Rounds {
    runner: Runner,
    /// Knows how far checks have got that have a grace.
    observer: Arc<dyn Observer + Send + Sync>,
    limit: Duration,
    /// The one that runs, or what is left of the last one.
    round: Round,
    /// Whether that was not over as soon as it had begun.
    lasted: bool,
    /// The number and the revision of its report, and the last number that was given.
    number: u64,
    revision: u64,
    numbers: u64,
    /// Those whom it answers; once it is over, those who are not answered yet, the first of them last.
    waiters: Vec<Waiter>,
    /// Those whom the next one answers.
    next: Vec<Waiter>,
    /// The report of the last round, and of the one before.
    report: Report,
    before: Report,
    /// When somebody can wait no longer, or earlier.
    look_at: Option<Instant>,
}

impl Waiter {
    pub(crate) fn new(key: usize, request: Arc<CheckRequest>, since: Instant) -> Waiter {
        Waiter { key, request, since, not_run: Vec::new() }
    }

    /// When it must be answered, whatever is known by then.
    pub(crate) fn limit(&self) -> Option<Instant> {
        self.request.limit().map(|limit| self.since + limit)
    }

    /// What it is told when nothing is known by then.
    pub(crate) fn late(&self, now: Instant) -> Report {
        let waited = now.saturating_duration_since(self.since);
        Report::of_outcomes(self.request.suite().checks().iter().map(|check| Outcome::late(check, waited)).collect())
    }

    /// The report without findings that are older than the client wants to know.
    fn without_older(&self, mut report: Report) -> Report {
        for outcome in report.outcomes.iter_mut().filter(|outcome| self.not_run.contains(&outcome.check.id)) {
            outcome.forget();
        }
        report
    }
}

impl Rounds {
    pub(crate) fn new(runner: Runner, limit: Duration, observer: impl Observer + Send + Sync + 'static) -> Rounds {
        let observer = Arc::new(observer);
        let starts = observer.clone();
        Rounds {
            runner: runner.excusing(excuse_start(starts)),
            observer,
            limit,
            round: Round::empty(Instant::now()),
            lasted: false,
            number: 0,
            revision: 0,
            numbers: 0,
            waiters: Vec::new(),
            next: Vec::new(),
            report: Report::default(),
            before: Report::default(),
            look_at: None,
        }
    }

    /// Takes in a request, for the next round.
    pub(crate) fn ask(&mut self, waiter: Waiter) {
        if let Some(limit) = waiter.limit() {
            self.look_at = Some(self.look_at.map_or(limit, |moment| moment.min(limit)));
        }
        self.next.push(waiter);
    }

    /// A number for a report that has none yet.
    pub(crate) fn new_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Whether a round was asked for and none is running.
    pub(crate) fn is_next_due(&self) -> bool {
        !self.is_running() && !self.next.is_empty()
    }

    /// Whether the next round may take a while: it can block, or the last one was not over at once.
    pub(crate) fn next_may_last(&self) -> bool {
        self.lasted || self.next.iter().flat_map(|waiter| waiter.request.suite().checks()).any(|check| check.blocking)
    }

    /// Begins the next round, if it is due.
    pub(crate) fn begin(&mut self, now: Instant) {
        if !self.is_next_due() {
            return;
        }
        // All who waited for the last round are answered by now.
        std::mem::swap(&mut self.waiters, &mut self.next);
        let parts = self.waiters.iter().map(|waiter| waiter.request.suite());
        let suite = match parts.clone().next() {
            Some(part) if parts.clone().all(|other| other.is(part)) => part.clone(),
            // In reverse: if the suite was reread in between, its newest checks are run.
            _ => parts.rev().flat_map(Suite::checks).cloned().collect(),
        };
        self.runner.begin_in(&mut self.round, suite, self.limit, now);
        self.lasted = !self.round.is_over();
        self.number = self.new_number();
    }

    /// Moves on. If that ends a round, returns all that it has found. Those who can be answered come from
    /// [`Rounds::next_answer`].
    pub(crate) fn advance(&mut self, now: Instant) -> Option<&Report> {
        if !self.is_running() {
            return None;
        }
        // A round of checks that cannot block is over as soon as it has begun.
        if !self.round.is_over() {
            self.runner.advance(&mut self.round, now);
        }
        if !self.round.is_over() {
            return None;
        }
        self.waiters.reverse();
        std::mem::swap(&mut self.report, &mut self.before);
        self.round.move_into(&mut self.report, now);
        if self.round.suite().has_silences() {
            lift_silences(&mut self.report);
        }
        if !self.report.says_the_same(&self.before) {
            self.revision = self.number;
        }
        Some(&self.report)
    }

    /// The next client that can be answered now.
    pub(crate) fn next_answer(&mut self, now: Instant) -> Option<(Waiter, Findings<'_>)> {
        if self.look_at.is_some_and(|moment| moment <= now)
            && let Some((waiter, report)) = self.next_hurried(now)
        {
            return Some((waiter, report.into()));
        }
        if self.is_running() {
            return None;
        }
        let waiter = self.waiters.pop()?;
        let findings = self.findings(&waiter);
        Some((waiter, findings))
    }

    /// What was found for the client with this key, if its round is over.
    pub(crate) fn take_answer(&mut self, key: usize) -> Option<Findings<'_>> {
        let place = if self.is_running() { None } else { self.waiters.iter().position(|waiter| waiter.key == key) }?;
        let waiter = self.waiters.remove(place);
        Some(self.findings(&waiter))
    }

    fn findings(&self, waiter: &Waiter) -> Findings<'_> {
        if !waiter.not_run.is_empty() {
            return waiter.without_older(self.report.of(waiter.request.suite())).into();
        }
        if waiter.request.suite().is(self.round.suite()) {
            let (number, revision) = (Some(self.number), Some(self.revision));
            return Findings { number, revision, ..Findings::from(&self.report) };
        }
        self.report.of(waiter.request.suite()).into()
    }

    /// The next client that can wait no longer, whether its round is running or has not begun.
    fn next_hurried(&mut self, now: Instant) -> Option<(Waiter, Report)> {
        let is_late = |waiter: &Waiter| waiter.limit().is_some_and(|limit| limit <= now);
        if self.is_running()
            && let Some(place) = self.waiters.iter().position(is_late)
        {
            let waiter = self.waiters.remove(place);
            let mut report = waiter.without_older(self.round.report_at(now).of(waiter.request.suite()));
            lift_silences(&mut report);
            return Some((waiter, report));
        }
        if let Some(place) = self.next.iter().position(is_late) {
            let waiter = self.next.remove(place);
            let report = self.excused(waiter.late(now));
            return Some((waiter, report));
        }
        self.look_at = self.waiters.iter().chain(&self.next).filter_map(Waiter::limit).min();
        None
    }

    /// What the round for this key has found so far, if it is running.
    pub(crate) fn found_for(&self, key: usize, now: Instant) -> Option<Report> {
        let is_its = self.is_running() && self.waiters.iter().any(|waiter| waiter.key == key);
        is_its.then(|| {
            let mut report = self.round.report_at(now);
            lift_silences(&mut report);
            report
        })
    }

    /// The same report, where what is wrong with a check that is still starting does not count.
    pub(crate) fn excused(&self, mut report: Report) -> Report {
        report.outcomes.iter_mut().for_each(|outcome| excuse(outcome, &*self.observer));
        lift_silences(&mut report);
        report
    }

    /// Whether a round is running, or is over and its findings are still in it.
    pub(crate) fn is_running(&self) -> bool {
        !self.round.is_empty()
    }

    /// When [`Rounds::advance`] and [`Rounds::next_answer`] must be called at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let round = if self.is_running() { self.round.next_deadline() } else { None };
        [round, self.look_at].into_iter().flatten().min()
    }
}

/// A silence that has ended since the round began does not hold any more.
fn lift_silences(report: &mut Report) {
    if report.outcomes.iter().all(|outcome| outcome.check.silence.is_none()) {
        return;
    }
    let now = state::now();
    for Outcome { check, .. } in &mut report.outcomes {
        if check.silence.as_ref().is_some_and(|silence| !silence.is_in_force(&now)) {
            *check = Arc::new(Check { silence: None, ..(**check).clone() });
        }
    }
}

/// The step of judgement that needs to know how far checks have got.
pub(crate) fn excuse_start(observer: Arc<dyn Observer + Send + Sync>) -> ExcuseStart {
    Arc::new(move |outcome| excuse(outcome, &*observer))
}

fn excuse(outcome: &mut Outcome, observer: &dyn Observer) {
    let Some(grace) = outcome.check.grace else { return };
    let start = observer.start(&outcome.check.id);
    if startup::has_passed(outcome.raw()) && start != Start::Over {
        observer.started(&outcome.check.id);
    }
    outcome.excuse(grace, start);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, mpsc};

    use crate::endpoint::Unobserved;
    use crate::model::check::{Check, Finding};

    const LONG: Duration = Duration::from_secs(60);

    fn waiter(key: usize, request: CheckRequest, since: Instant) -> Waiter {
        Waiter::new(key, Arc::new(request), since)
    }

    /// Moves on, and returns the keys that this answers, with what they are told about all checks.
    fn advance(rounds: &mut Rounds, now: Instant) -> Vec<(usize, String)> {
        rounds.advance(now);
        told(rounds, now)
    }

    fn told(rounds: &mut Rounds, now: Instant) -> Vec<(usize, String)> {
        let told = |(Waiter { key, .. }, Findings { report, .. }): (Waiter, Findings<'_>)| {
            let contexts = report.outcomes.iter().map(|outcome| outcome.finding.context.as_deref().unwrap_or_default());
            (key, contexts.collect::<Vec<_>>().join(", "))
        };
        std::iter::from_fn(|| rounds.next_answer(now).map(told)).collect()
    }

    #[test]
    fn a_storm_of_requests_during_a_round_shares_the_next_one() {
        let runs = Arc::new(AtomicUsize::new(0));
        let (release, gate) = mpsc::channel::<()>();
        let (counter, gate) = (runs.clone(), Mutex::new(gate));
        let action = move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            gate.lock().expect("one thread runs it").recv().expect("the test lets it go");
            Finding::PASS
        };
        let check = Arc::new(Check { timeout: LONG, ..Check::new("slow", action) });
        let suite: Suite = [check].into_iter().collect();
        let (woken, wakes) = mpsc::channel();
        let mut rounds = Rounds::new(Runner::new(move || woken.send(()).unwrap_or_default()), LONG, Unobserved);
        let now = Instant::now();

        rounds.ask(waiter(0, CheckRequest::for_all(suite.clone()), now));
        rounds.begin(now);
        for key in 1..=200 {
            rounds.ask(waiter(key, CheckRequest::for_all(suite.clone()), now));
            rounds.begin(now);
            assert!(advance(&mut rounds, now).is_empty());
        }
        let mut answered = Vec::new();
        for _ in 0..2 {
            release.send(()).expect("the check waits");
            wakes.recv().expect("the check comes back");
            answered.push(advance(&mut rounds, now).into_iter().map(|(key, _)| key).collect::<Vec<_>>());
            rounds.begin(now);
        }
        assert!(!rounds.is_running() && !rounds.is_next_due());
        assert_eq!(answered[0], [0], "a round answers only those who asked before it began");
        assert!(answered[1].iter().copied().eq(1..=200), "in the order they asked");
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn who_asked_before_the_suite_was_read_anew_is_answered_by_the_new_check() {
        let suite = |answer: &'static str| -> Suite {
            let check = Check { blocking: false, ..Check::new("db", move |_| Finding::error(answer)) };
            [Arc::new(check)].into_iter().collect()
        };
        let mut rounds = Rounds::new(Runner::new(|| {}), LONG, Unobserved);
        let now = Instant::now();
        rounds.ask(waiter(0, CheckRequest::for_all(suite("old")), now));
        rounds.ask(waiter(1, CheckRequest::for_all(suite("new")), now));
        rounds.begin(now);
        assert_eq!(advance(&mut rounds, now), [(0, "new".to_owned()), (1, "new".to_owned())]);
    }

    #[test]
    fn who_cannot_wait_is_told_what_is_known_and_the_round_goes_on_for_the_others() {
        let (release, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let slow = Check::new("slow", move |_| {
            gate.lock().expect("one thread runs it").recv().expect("the test lets it go");
            Finding::PASS
        });
        let quick = Check { blocking: false, ..Check::new("quick", |_| Finding::PASS) };
        let suite: Suite = [Check { timeout: LONG, ..slow }, quick].into_iter().map(Arc::new).collect();
        let hurried = |limit| {
            let mut request = CheckRequest::for_all(suite.clone());
            request.limit = Some(Duration::from_secs(limit));
            request
        };
        let (woken, wakes) = mpsc::channel();
        let mut rounds = Rounds::new(Runner::new(move || woken.send(()).unwrap_or_default()), LONG, Unobserved);
        let mut found = 0;
        let mut turn = |rounds: &mut Rounds, now| {
            found += rounds.advance(now).map_or(0, |report| report.outcomes.len());
            let answers = told(rounds, now);
            rounds.begin(now);
            answers
        };
        let told = |key, contexts: &str| (key, contexts.to_owned());
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);

        rounds.ask(waiter(0, hurried(4), begin));
        rounds.ask(waiter(1, CheckRequest::for_all(suite.clone()), begin));
        assert!(turn(&mut rounds, begin).is_empty());
        rounds.ask(waiter(2, hurried(1), at(2)));
        rounds.ask(waiter(3, hurried(30), at(2)));
        assert!(turn(&mut rounds, at(2)).is_empty());
        assert_eq!(rounds.next_deadline(), Some(at(3)));
        let nothing_begun = "timed out after 1s, timed out after 1s";
        assert_eq!(turn(&mut rounds, at(3)), [told(2, nothing_begun)], "its round has not begun");
        assert_eq!(rounds.next_deadline(), Some(at(4)));
        assert_eq!(turn(&mut rounds, at(4)), [told(0, "timed out after 4s, ")]);
        assert_eq!(rounds.next_deadline(), Some(at(32)), "the round itself has more time");
        release.send(()).expect("the check waits");
        wakes.recv().expect("the check comes back");
        assert_eq!(turn(&mut rounds, at(5)), [told(1, ", ")], "with all that was found");
        release.send(()).expect("the check waits");
        wakes.recv().expect("the check comes back");
        assert_eq!(turn(&mut rounds, at(6)), [told(3, ", ")]);
        assert_eq!(rounds.next_deadline().filter(|moment| *moment < at(32)), None, "nothing is left to hurry for");
        assert_eq!(found, 4, "both rounds were reported whole");
    }
}
