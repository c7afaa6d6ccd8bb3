//! Which request is answered by which round: one at a time, and each answer from a round that began
//! after its request came in. Those that come in during a round share the next one.

use std::time::{Duration, Instant};

use super::respond::{Manner, Wish};
use crate::report::Report;
use crate::round::{Round, Runner};

/// A request for checks.
#[derive(Debug)]
pub(super) struct Asker {
    /// Whose it is.
    pub(super) key: usize,
    /// What it asks for.
    pub(super) wish: Wish,
}

/// The rounds of one worker.
pub(super) struct Rounds {
    runner: Runner,
    limit: Duration,
    running: Option<(Round, Vec<Asker>)>,
    waiting: Vec<Asker>,
}

impl Rounds {
    pub(super) fn new(runner: Runner, limit: Duration) -> Rounds {
        Rounds { runner, limit, running: None, waiting: Vec::new() }
    }

    /// Takes a request in; [`Rounds::advance`] begins its round as soon as it can.
    pub(super) fn ask(&mut self, asker: Asker) {
        self.waiting.push(asker);
    }

    /// Moves on and returns what can be answered now.
    pub(super) fn advance(&mut self, now: Instant) -> Vec<(usize, Manner, Report)> {
        let mut answers = Vec::new();
        loop {
            if let Some((round, _)) = &mut self.running {
                self.runner.advance(round, now);
            } else if !self.waiting.is_empty() {
                let askers = std::mem::take(&mut self.waiting);
                let suite = match &askers[..] {
                    [alone] => alone.wish.part.clone(),
                    // The last first: if the suite was read anew in between, its newest checks are run.
                    many => many.iter().rev().flat_map(|asker| asker.wish.part.checks()).cloned().collect(),
                };
                self.running = Some((self.runner.begin(suite, self.limit, now), askers));
            }
            match self.running.take() {
                Some((round, askers)) if round.is_over() => {
                    let report = round.into_report();
                    answers.extend(
                        askers.into_iter().map(|Asker { key, wish }| (key, wish.manner, report.of(&wish.part))),
                    );
                }
                unfinished => {
                    self.running = unfinished;
                    return answers;
                }
            }
        }
    }

    /// Whether a round is under way.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// When [`Rounds::advance`] has to be called at the latest.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.running.as_ref().and_then(|(round, _)| round.next_deadline())
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
        Wish { part, manner: Manner::json() }
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

        rounds.ask(Asker { key: 0, wish: all(suite.clone()) });
        assert!(rounds.advance(now).is_empty());
        for key in 1..=200 {
            rounds.ask(Asker { key, wish: all(suite.clone()) });
            assert!(rounds.advance(now).is_empty());
        }
        let mut answered = Vec::new();
        for _ in 0..2 {
            release.send(()).expect("the check waits");
            wakes.recv().expect("the check comes back");
            answered.push(rounds.advance(now).into_iter().map(|(key, ..)| key).collect::<Vec<_>>());
        }
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
        rounds.ask(Asker { key: 0, wish: all(suite("old")) });
        rounds.ask(Asker { key: 1, wish: all(suite("new")) });
        let answers = rounds.advance(Instant::now());
        let contexts: Vec<_> =
            answers.iter().map(|(key, _, report)| (*key, report.outcomes[0].finding.context.as_deref())).collect();
        assert_eq!(contexts, [(0, Some("new")), (1, Some("new"))]);
    }
}
