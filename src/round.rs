//! Runs a suite, concurrently, under deadlines: what is late is reported late, never waited for.
//!
//! Checks that cannot block run in place. The others run on a pool of threads that are started on
//! demand and kept. A check cannot be interrupted, so one that is late keeps its thread, is reported as
//! an error, and is not started again in later rounds until it has come back.

mod pool;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::check::{Check, Deadline, Finding};
use crate::collect::Suite;
use crate::report::{Outcome, Report};
use pool::{Done, Job, Pool};

/// The most threads that run checks at once in one process.
pub const MOST_THREADS: usize = 256;

/// Runs rounds, one after the other, and remembers what is stuck between them.
pub struct Runner {
    pool: Pool,
    rounds: u64,
    /// Each check that runs or waits for a thread, and when it was asked to.
    under_way: HashMap<String, Instant>,
}

/// One run of a suite.
#[derive(Debug)]
pub struct Round {
    serial: u64,
    suite: Suite,
    began: Instant,
    limit: Duration,
    outcomes: Vec<Option<Outcome>>,
    /// Which of them there are, in the order they came in.
    finished: Vec<usize>,
}

impl Runner {
    /// A runner that calls `wake`, from any thread, when a check has finished: time for [`Runner::advance`].
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Runner {
        Runner::with_threads(MOST_THREADS, wake)
    }

    /// The same, with another bound on the threads.
    pub fn with_threads(most: usize, wake: impl Fn() + Send + Sync + 'static) -> Runner {
        Runner { pool: Pool::new(most, wake), rounds: 0, under_way: HashMap::new() }
    }

    /// Begins a round that is over within `limit`. Checks that cannot block have run when it returns.
    pub fn begin(&mut self, suite: Suite, limit: Duration, now: Instant) -> Round {
        self.rounds += 1;
        let count = suite.checks().len();
        let finished = Vec::with_capacity(count);
        let mut round = Round { serial: self.rounds, suite, began: now, limit, outcomes: vec![None; count], finished };
        for index in 0..count {
            let check = round.suite.checks()[index].clone();
            let deadline = Deadline::at(now + check.timeout.min(limit));
            let outcome = if check.blocking {
                self.dispatch(&check, index, deadline, now)
            } else {
                let began = Instant::now();
                let finding = check.run(deadline);
                Some(Outcome { check, finding, elapsed: began.elapsed() })
            };
            if let Some(outcome) = outcome {
                round.finish(index, outcome);
            }
        }
        round
    }

    /// Hands a check to the pool, unless it is stuck in there from an earlier round.
    fn dispatch(&mut self, check: &Arc<Check>, index: usize, deadline: Deadline, now: Instant) -> Option<Outcome> {
        match self.under_way.entry(check.id.clone()) {
            Entry::Occupied(since) => {
                let elapsed = now.duration_since(*since.get());
                let finding = Finding::error(format!("still running after {}", spoken(elapsed)));
                Some(Outcome { check: check.clone(), finding, elapsed })
            }
            Entry::Vacant(entry) => {
                entry.insert(now);
                self.pool.submit(Job { round: self.rounds, index, check: check.clone(), deadline });
                None
            }
        }
    }

    /// Takes in what has finished and gives up on what is late.
    pub fn advance(&mut self, round: &mut Round, now: Instant) {
        while let Some(Done { round: serial, index, check, finding, elapsed }) = self.pool.next_done() {
            self.under_way.remove(&check.id);
            // What comes after its deadline, or from an earlier round, was reported late already.
            if serial == round.serial && round.outcomes[index].is_none() {
                round.finish(index, Outcome { check, finding, elapsed });
            }
        }
        for index in 0..round.outcomes.len() {
            let check = &round.suite.checks()[index];
            let limit = check.timeout.min(round.limit);
            if round.outcomes[index].is_none() && round.began + limit <= now {
                let finding = Finding::error(format!("timed out after {}", spoken(limit)));
                let elapsed = now.duration_since(round.began);
                let check = check.clone();
                round.finish(index, Outcome { check, finding, elapsed });
            }
        }
    }

    /// Runs a suite and waits for the report.
    pub fn run(suite: Suite, limit: Duration) -> Report {
        let (sender, receiver) = std::sync::mpsc::channel();
        // The receiver is gone when a check comes back after the report: nobody waits for it then.
        let mut runner = Runner::new(move || sender.send(()).unwrap_or_default());
        let mut round = runner.begin(suite, limit, Instant::now());
        while let Some(deadline) = round.next_deadline() {
            // Whether it was woken or the deadline passed, the next step is the same.
            let _ = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            runner.advance(&mut round, Instant::now());
        }
        round.into_report()
    }
}

impl Round {
    fn finish(&mut self, index: usize, outcome: Outcome) {
        self.outcomes[index] = Some(outcome);
        self.finished.push(index);
    }

    /// The outcomes that there are, in the order they came in.
    pub fn finished(&self) -> impl Iterator<Item = &Outcome> {
        self.finished.iter().filter_map(|&index| self.outcomes[index].as_ref())
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// When the next check is late; `None` when the round is over.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.open().map(|check| self.began + check.timeout.min(self.limit)).min()
    }

    /// Whether every check has its outcome.
    pub fn is_over(&self) -> bool {
        self.outcomes.iter().all(Option::is_some)
    }

    /// The checks that have not finished.
    pub fn open(&self) -> impl Iterator<Item = &Arc<Check>> {
        self.suite.checks().iter().zip(&self.outcomes).filter(|(_, outcome)| outcome.is_none()).map(|(check, _)| check)
    }

    /// The report, in the order of the suite; of a round that is over.
    pub fn into_report(self) -> Report {
        Report { outcomes: self.outcomes.into_iter().flatten().collect() }
    }
}

/// A duration as a person says it: whole seconds from one second on, else milliseconds.
fn spoken(duration: Duration) -> String {
    let shown = match duration.as_secs() {
        0 => Duration::from_millis(duration.as_millis() as u64),
        seconds if duration.subsec_millis() == 0 || seconds >= 10 => Duration::from_secs(seconds),
        _ => Duration::from_millis(duration.as_millis() as u64),
    };
    humantime::format_duration(shown).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Status;
    use std::sync::Mutex;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);

    fn check(id: &str, timeout: Duration, action: impl Fn(Deadline) -> Finding + Send + Sync + 'static) -> Arc<Check> {
        Arc::new(Check { timeout, ..Check::new(id, action) })
    }

    fn suite(checks: impl IntoIterator<Item = Arc<Check>>) -> Suite {
        checks.into_iter().collect()
    }

    /// A check that waits until its test lets go of the sender.
    fn stuck(id: &str, timeout: Duration) -> (Arc<Check>, mpsc::Sender<()>) {
        let (release, gate) = mpsc::channel();
        let gate = Mutex::new(gate);
        let wait = move |_| {
            let _ = gate.lock().expect("no other test holds it").recv();
            Finding::PASS
        };
        (check(id, timeout, wait), release)
    }

    fn contexts(report: &Report) -> Vec<(&str, Status, Option<&str>)> {
        report.outcomes.iter().map(|o| (o.check.id.as_str(), o.finding.status, o.finding.context.as_deref())).collect()
    }

    #[test]
    fn checks_run_side_by_side() {
        // Each waits for all the others: one after the other, none would ever pass.
        let barrier = Arc::new(std::sync::Barrier::new(50));
        let checks = (0..50).map(|n| {
            let barrier = barrier.clone();
            check(&format!("c{n}"), LONG, move |_| {
                barrier.wait();
                Finding::PASS
            })
        });
        let report = Runner::run(suite(checks), LONG);
        assert!(report.passes());
        assert_eq!(report.outcomes.len(), 50);
        assert_eq!(report.outcomes[7].check.id, "c7", "in the order of the suite");
    }

    #[test]
    fn a_late_check_is_named_and_the_rest_is_as_found() {
        let (late, _release) = stuck("late", Duration::from_millis(20));
        let report = Runner::run(suite([late, check("well", LONG, |_| Finding::PASS)]), LONG);
        assert_eq!(
            contexts(&report),
            [("late", Status::Error, Some("timed out after 20ms")), ("well", Status::Pass, None)]
        );
    }

    #[test]
    fn the_round_ends_before_a_check_that_may_take_longer() {
        let (late, _release) = stuck("late", LONG);
        let report = Runner::run(suite([late]), Duration::from_millis(20));
        assert_eq!(contexts(&report), [("late", Status::Error, Some("timed out after 20ms"))]);
    }

    #[test]
    fn a_stuck_check_is_not_started_twice_and_runs_again_when_it_has_come_back() {
        let (woken, wakes) = mpsc::channel();
        let mut runner = Runner::new(move || woken.send(()).unwrap_or_default());
        let (check, release) = stuck("late", Duration::from_millis(1));
        let t0 = Instant::now();

        let mut first = runner.begin(suite([check.clone()]), LONG, t0);
        runner.advance(&mut first, t0 + Duration::from_millis(1));
        assert!(first.is_over());

        let second = runner.begin(suite([check.clone()]), LONG, t0 + Duration::from_secs(42));
        assert!(second.is_over());
        assert_eq!(contexts(&second.into_report()), [("late", Status::Error, Some("still running after 42s"))]);

        drop(release);
        wakes.recv().expect("the check comes back");
        runner.advance(&mut first, t0);
        let mut third = runner.begin(suite([check]), LONG, t0 + LONG);
        wakes.recv().expect("the check comes back");
        runner.advance(&mut third, t0 + LONG);
        assert_eq!(contexts(&third.into_report()), [("late", Status::Pass, None)]);
    }

    #[test]
    fn a_panic_costs_that_check_alone() {
        let report =
            Runner::run(suite([check("bad", LONG, |_| panic!("oh")), check("good", LONG, |_| Finding::PASS)]), LONG);
        let [bad, good] = &contexts(&report)[..] else { panic!("two checks, two outcomes") };
        assert!(matches!(bad, ("bad", Status::Fail, Some(told)) if told.starts_with("oh (at ")), "{bad:?}");
        assert_eq!(good, &("good", Status::Pass, None));
    }

    #[test]
    fn durations_are_said_briefly() {
        for (millis, text) in [(5000, "5s"), (20, "20ms"), (1500, "1s 500ms"), (42_300, "42s"), (0, "0s")] {
            assert_eq!(spoken(Duration::from_millis(millis)), text);
        }
    }
}
