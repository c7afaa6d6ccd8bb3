//! Decides which round answers which request: one round at a time, and each answer from a round that began after its
//! request arrived. Requests that arrive during a round share the next one. A client that cannot wait so long gets in
//! time what is known by then; the round goes on for the others.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::respond::{Manner, Wish};
use crate::model::report::{Outcome, Report};
use crate::model::suite::Suite;
use crate::round::{Round, Runner};

/// A request for checks.
#[derive(Debug)]
pub(super) struct Asker {
    /// The key of the client.
    pub(super) key: usize,
    /// What it asks for.
    pub(super) wish: Wish,
    /// When it came in.
    pub(super) since: Instant,
}

/// The answer to a request for checks.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) key: usize,
    pub(super) manner: Manner,
    pub(super) report: Cow<'a, Report>,
    /// Reports with the same number have the same statuses and contexts. `None`: it has no number.
    pub(super) revision: Option<u64>,
    /// How long ago its round began, if that may have been before the request.
    pub(super) age: Option<Duration>,
}

/// The rounds of one worker.
pub(super) struct Rounds {
    runner: Runner,
    limit: Duration,
    /// The one that runs, or the last one.
    round: Round,
    /// Whether it runs, or is over and its findings have not been taken from it.
    is_running: bool,
    /// The requests that it answers; once it is over, those that are not answered yet, the first of them last.
    askers: Vec<Asker>,
    /// The requests for the next one.
    waiting: Vec<Asker>,
    /// The report of the last round.
    report: Report,
    /// The report of the round before.
    before: Report,
    /// How many rounds found something different from the round before.
    revision: u64,
    /// Answers to requests that could not wait for it.
    hurried: VecDeque<Answer<'static>>,
    /// When a request can wait no longer, or earlier.
    look_at: Option<Instant>,
}

impl Asker {
    /// When it must be answered, whatever is known by then.
    pub(super) fn limit(&self) -> Option<Instant> {
        self.wish.limit.map(|limit| self.since + limit)
    }

    /// The report when nothing is known by then.
    pub(super) fn late(&self, now: Instant) -> Report {
        let waited = now.saturating_duration_since(self.since);
        Report { outcomes: self.wish.part.checks().iter().map(|check| Outcome::late(check, waited)).collect() }
    }

    /// Its answer, from a report of its own.
    pub(super) fn answered(self, report: Report) -> Answer<'static> {
        Answer { key: self.key, manner: self.wish.manner, report: Cow::Owned(report), revision: None, age: None }
    }
}

impl Rounds {
    pub(super) fn new(runner: Runner, limit: Duration) -> Rounds {
        Rounds {
            runner,
            limit,
            round: Round::empty(Instant::now()),
            is_running: false,
            askers: Vec::new(),
            waiting: Vec::new(),
            report: Report::default(),
            before: Report::default(),
            revision: 0,
            hurried: VecDeque::new(),
            look_at: None,
        }
    }

    /// Takes in a request, for the next round.
    pub(super) fn ask(&mut self, asker: Asker) {
        if let Some(limit) = asker.limit() {
            self.look_at = Some(self.look_at.map_or(limit, |moment| moment.min(limit)));
        }
        self.waiting.push(asker);
    }

    /// Whether a round was asked for and none is running.
    pub(super) fn is_next_due(&self) -> bool {
        !self.is_running && !self.waiting.is_empty()
    }

    /// Whether the next round may block.
    pub(super) fn next_can_block(&self) -> bool {
        self.waiting.iter().flat_map(|asker| asker.wish.part.checks()).any(|check| check.blocking)
    }

    /// Begins the next round, if it is due.
    pub(super) fn begin(&mut self, now: Instant) {
        if !self.is_next_due() {
            return;
        }
        // All requests of the last round are answered by now.
        std::mem::swap(&mut self.askers, &mut self.waiting);
        let parts = self.askers.iter().map(|asker| &asker.wish.part);
        let suite = match parts.clone().next() {
            Some(part) if parts.clone().all(|other| other.is(part)) => part.clone(),
            // In reverse: if the suite was reread in between, its newest checks are run.
            _ => parts.rev().flat_map(Suite::checks).cloned().collect(),
        };
        self.runner.begin_in(&mut self.round, suite, self.limit, now);
        self.is_running = true;
    }

    /// Moves on. True if that ended a round, whose findings are in [`Rounds::report`]. The requests that can be
    /// answered come from [`Rounds::next_answer`].
    pub(super) fn advance(&mut self, now: Instant) -> bool {
        // A round of checks that cannot block is over as soon as it has begun.
        if self.is_running && !self.round.is_over() {
            self.runner.advance(&mut self.round, now);
        }
        let is_over = self.is_running && self.round.is_over();
        if is_over {
            self.is_running = false;
            self.askers.reverse();
            std::mem::swap(&mut self.report, &mut self.before);
            self.round.move_into(&mut self.report, now);
            self.revision += u64::from(!self.report.says_the_same(&self.before));
        }
        self.hurry(now);
        is_over
    }

    /// The whole report of the last round.
    pub(super) fn report(&self) -> &Report {
        &self.report
    }

    /// The next request that can be answered now.
    pub(super) fn next_answer(&mut self) -> Option<Answer<'_>> {
        if let Some(answer) = self.hurried.pop_front() {
            return Some(answer);
        }
        let asker = if self.is_running { None } else { self.askers.pop() }?;
        Some(self.answer(asker))
    }

    /// The answer for this key, if it can be given now.
    pub(super) fn take_answer(&mut self, key: usize) -> Option<Answer<'_>> {
        let place = if self.is_running { None } else { self.askers.iter().position(|asker| asker.key == key) }?;
        let asker = self.askers.remove(place);
        Some(self.answer(asker))
    }

    fn answer(&self, asker: Asker) -> Answer<'_> {
        let report = &self.report;
        if !asker.wish.part.is(self.round.suite()) {
            let part = report.of(&asker.wish.part);
            return asker.answered(part);
        }
        let (manner, revision) = (asker.wish.manner, Some(self.revision));
        Answer { key: asker.key, manner, report: Cow::Borrowed(report), revision, age: None }
    }

    /// Answers the requests that can wait no longer, whether their round is running or has not begun.
    fn hurry(&mut self, now: Instant) {
        if self.look_at.is_none_or(|moment| moment > now) {
            return;
        }
        let is_late = |asker: &mut Asker| asker.limit().is_some_and(|limit| limit <= now);
        if self.is_running {
            let report = self.round.report_at(now);
            self.hurried.extend(self.askers.extract_if(.., is_late).map(|asker| {
                let part = report.of(&asker.wish.part);
                asker.answered(part)
            }));
        }
        self.hurried.extend(self.waiting.extract_if(.., is_late).map(|asker| {
            let report = asker.late(now);
            asker.answered(report)
        }));
        self.look_at = self.askers.iter().chain(&self.waiting).filter_map(Asker::limit).min();
    }

    /// What the round for this key has found so far, if it is running.
    pub(super) fn found_for(&self, key: usize, now: Instant) -> Option<Report> {
        let is_its = self.is_running && self.askers.iter().any(|asker| asker.key == key);
        is_its.then(|| self.round.report_at(now))
    }

    /// Whether a round is running.
    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// When [`Rounds::advance`] must be called at the latest.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let round = if self.is_running { self.round.next_deadline() } else { None };
        [round, self.look_at].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, mpsc};

    use crate::model::check::{Check, Finding};
    use crate::model::suite::Suite;

    const LONG: Duration = Duration::from_secs(60);

    fn all(part: Suite) -> Wish {
        Wish { part, manner: Manner::json(), limit: None, whole: None }
    }

    fn asker(key: usize, wish: Wish, since: Instant) -> Asker {
        Asker { key, wish, since }
    }

    /// Moves on, and returns the keys that this answers, with what they are told about all checks.
    fn advance(rounds: &mut Rounds, now: Instant) -> Vec<(usize, String)> {
        rounds.advance(now);
        let told = |Answer { key, report, .. }: Answer<'_>| {
            let contexts = report.outcomes.iter().map(|outcome| outcome.finding.context.as_deref().unwrap_or_default());
            (key, contexts.collect::<Vec<_>>().join(", "))
        };
        std::iter::from_fn(|| rounds.next_answer().map(told)).collect()
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
        let mut rounds = Rounds::new(Runner::new(move || woken.send(()).unwrap_or_default()), LONG);
        let now = Instant::now();

        rounds.ask(asker(0, all(suite.clone()), now));
        rounds.begin(now);
        for key in 1..=200 {
            rounds.ask(asker(key, all(suite.clone()), now));
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
        let mut rounds = Rounds::new(Runner::new(|| {}), LONG);
        let now = Instant::now();
        rounds.ask(asker(0, all(suite("old")), now));
        rounds.ask(asker(1, all(suite("new")), now));
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
        let hurried = |limit| Wish { limit: Some(Duration::from_secs(limit)), ..all(suite.clone()) };
        let (woken, wakes) = mpsc::channel();
        let mut rounds = Rounds::new(Runner::new(move || woken.send(()).unwrap_or_default()), LONG);
        let mut found = 0;
        let mut turn = |rounds: &mut Rounds, now| {
            found += if rounds.advance(now) { rounds.report().outcomes.len() } else { 0 };
            let answers = advance(rounds, now);
            rounds.begin(now);
            answers
        };
        let told = |key, contexts: &str| (key, contexts.to_owned());
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);

        rounds.ask(asker(0, hurried(4), begin));
        rounds.ask(asker(1, all(suite.clone()), begin));
        assert!(turn(&mut rounds, begin).is_empty());
        rounds.ask(asker(2, hurried(1), at(2)));
        rounds.ask(asker(3, hurried(30), at(2)));
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
