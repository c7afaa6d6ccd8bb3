//! Which request is answered by which round: one at a time, and each answer from a round that began
//! after its request came in. Those that come in during a round share the next one. Who cannot wait so long is told
//! in time what is known by then; the round goes on for the others.

use std::time::{Duration, Instant};

use super::respond::{Manner, Wish};
use crate::report::{Outcome, Report};
use crate::round::{Round, Runner};

/// A request for checks.
#[derive(Debug)]
pub(super) struct Asker {
    /// Whose it is.
    pub(super) key: usize,
    /// What it asks for.
    pub(super) wish: Wish,
    /// When it came in.
    pub(super) since: Instant,
}

/// The rounds of one worker.
pub(super) struct Rounds {
    runner: Runner,
    limit: Duration,
    running: Option<(Round, Vec<Asker>)>,
    waiting: Vec<Asker>,
    /// When somebody cannot wait any longer, or earlier.
    look_at: Option<Instant>,
}

impl Asker {
    /// When it has to be answered, whatever is known.
    pub(super) fn limit(&self) -> Option<Instant> {
        self.wish.limit.map(|limit| self.since + limit)
    }

    /// What it is told when nothing is known by then.
    pub(super) fn late(&self, now: Instant) -> Report {
        let waited = now.saturating_duration_since(self.since);
        Report { outcomes: self.wish.part.checks().iter().map(|check| Outcome::late(check, waited)).collect() }
    }
}

impl Rounds {
    pub(super) fn new(runner: Runner, limit: Duration) -> Rounds {
        Rounds { runner, limit, running: None, waiting: Vec::new(), look_at: None }
    }

    /// Takes a request in, for the next round.
    pub(super) fn ask(&mut self, asker: Asker) {
        self.look_at = [self.look_at, asker.limit()].into_iter().flatten().min();
        self.waiting.push(asker);
    }

    /// Whether somebody has asked for a round and none runs.
    pub(super) fn is_next_due(&self) -> bool {
        self.running.is_none() && !self.waiting.is_empty()
    }

    /// Whether the next round takes time.
    pub(super) fn next_can_block(&self) -> bool {
        self.waiting.iter().flat_map(|asker| asker.wish.part.checks()).any(|check| check.blocking)
    }

    /// Begins the next round, if it is due.
    pub(super) fn begin(&mut self, now: Instant) {
        if !self.is_next_due() {
            return;
        }
        let askers = std::mem::take(&mut self.waiting);
        let suite = match &askers[..] {
            [alone] => alone.wish.part.clone(),
            // The last first: if the suite was read anew in between, its newest checks are run.
            many => many.iter().rev().flat_map(|asker| asker.wish.part.checks()).cloned().collect(),
        };
        self.running = Some((self.runner.begin(suite, self.limit, now), askers));
    }

    /// Moves on and returns what can be answered now; `found` is called with the whole of a round that is over.
    pub(super) fn advance(&mut self, now: Instant, found: impl FnOnce(&Report)) -> Vec<(usize, Manner, Report)> {
        let mut answers = Vec::new();
        if let Some((mut round, askers)) = self.running.take() {
            self.runner.advance(&mut round, now);
            if round.is_over() {
                let report = round.into_report(now);
                found(&report);
                answers.extend(
                    askers.into_iter().map(|Asker { key, wish, .. }| (key, wish.manner, report.of(&wish.part))),
                );
            } else {
                self.running = Some((round, askers));
            }
        }
        answers.extend(self.hurry(now));
        answers
    }

    /// Answers those who cannot wait any longer, for a round that runs or has not begun yet.
    fn hurry(&mut self, now: Instant) -> Vec<(usize, Manner, Report)> {
        if self.look_at.is_none_or(|moment| moment > now) {
            return Vec::new();
        }
        let is_late = |asker: &mut Asker| asker.limit().is_some_and(|limit| limit <= now);
        let mut answers = Vec::new();
        if let Some((round, askers)) = &mut self.running {
            let report = round.report_at(now);
            answers.extend(
                askers.extract_if(.., is_late).map(|Asker { key, wish, .. }| (key, wish.manner, report.of(&wish.part))),
            );
        }
        let late = self.waiting.extract_if(.., is_late);
        answers.extend(late.map(|asker| {
            let report = asker.late(now);
            (asker.key, asker.wish.manner, report)
        }));
        let running = self.running.iter().flat_map(|(_, askers)| askers);
        self.look_at = running.chain(&self.waiting).filter_map(Asker::limit).min();
        answers
    }

    /// What the round of that key has found by now, if it is under way.
    pub(super) fn found_for(&self, key: usize, now: Instant) -> Option<Report> {
        let (round, askers) = self.running.as_ref()?;
        askers.iter().any(|asker| asker.key == key).then(|| round.report_at(now))
    }

    /// Whether a round is under way.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// When [`Rounds::advance`] has to be called at the latest.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let round = self.running.as_ref().and_then(|(round, _)| round.next_deadline());
        [round, self.look_at].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, mpsc};

    use crate::check::{Check, Finding};
    use crate::collect::Suite;

    const LONG: Duration = Duration::from_secs(60);

    fn all(part: Suite) -> Wish {
        Wish { part, manner: Manner::json(), limit: None, whole: None }
    }

    fn asker(key: usize, wish: Wish, since: Instant) -> Asker {
        Asker { key, wish, since }
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
            assert!(rounds.advance(now, |_| {}).is_empty());
        }
        let mut answered = Vec::new();
        for _ in 0..2 {
            release.send(()).expect("the check waits");
            wakes.recv().expect("the check comes back");
            answered.push(rounds.advance(now, |_| {}).into_iter().map(|(key, ..)| key).collect::<Vec<_>>());
            rounds.begin(now);
        }
        assert!(!rounds.is_running() && !rounds.is_next_due());
        assert_eq!(answered[0], [0], "a round answers only those who asked before it began");
        assert_eq!(answered[1].len(), 200);
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
        let answers = rounds.advance(now, |_| {});
        let contexts: Vec<_> =
            answers.iter().map(|(key, _, report)| (*key, report.outcomes[0].finding.context.as_deref())).collect();
        assert_eq!(contexts, [(0, Some("new")), (1, Some("new"))]);
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
        let mut advance = |rounds: &mut Rounds, now| {
            let answers = rounds.advance(now, |report| found += report.outcomes.len());
            rounds.begin(now);
            let told = |(key, _, report): (usize, Manner, Report)| {
                let contexts = report.outcomes.into_iter().map(|outcome| outcome.finding.context.unwrap_or_default());
                (key, contexts.collect::<Vec<_>>().join(", "))
            };
            answers.into_iter().map(told).collect::<Vec<_>>()
        };
        let told = |key, contexts: &str| (key, contexts.to_owned());
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);

        rounds.ask(asker(0, hurried(4), begin));
        rounds.ask(asker(1, all(suite.clone()), begin));
        assert!(advance(&mut rounds, begin).is_empty());
        rounds.ask(asker(2, hurried(1), at(2)));
        rounds.ask(asker(3, hurried(30), at(2)));
        assert!(advance(&mut rounds, at(2)).is_empty());
        assert_eq!(rounds.next_deadline(), Some(at(3)));
        let nothing_begun = "timed out after 1s, timed out after 1s";
        assert_eq!(advance(&mut rounds, at(3)), [told(2, nothing_begun)], "its round has not begun");
        assert_eq!(rounds.next_deadline(), Some(at(4)));
        assert_eq!(advance(&mut rounds, at(4)), [told(0, "timed out after 4s, ")]);
        assert_eq!(rounds.next_deadline(), Some(at(32)), "the round itself has more time");
        release.send(()).expect("the check waits");
        wakes.recv().expect("the check comes back");
        assert_eq!(advance(&mut rounds, at(5)), [told(1, ", ")], "with all that was found");
        release.send(()).expect("the check waits");
        wakes.recv().expect("the check comes back");
        assert_eq!(advance(&mut rounds, at(6)), [told(3, ", ")]);
        assert_eq!(rounds.next_deadline().filter(|moment| *moment < at(32)), None, "nothing is left to hurry for");
        assert_eq!(found, 4, "both rounds were reported whole");
    }
}
