//! Several workers that share a snapshot, in one process and on a clock that the test sets.

use super::*;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use crate::endpoint::Unobserved;
use crate::model::check::{Check, Finding};
use crate::round::Runner;

const SECOND: Duration = Duration::from_secs(1);
const LIFETIME: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(10);

/// The workers, and the time.
struct Tree {
    workers: Vec<Worker>,
    now: Instant,
}

struct Worker {
    rounds: Rounds,
    shared: SharedReport,
}

/// What a client is told.
#[derive(Debug)]
struct Answer {
    key: usize,
    report: Report,
    age: Option<Duration>,
}

impl Worker {
    fn is_running(&self) -> bool {
        self.rounds.is_running()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let shared = self.shared.next_deadline(self.is_running());
        self.rounds.next_deadline().into_iter().chain(shared).min()
    }

    fn begin(&mut self, now: Instant) {
        if self.rounds.is_next_due() {
            self.shared.begins(now);
        }
        self.rounds.begin(now);
    }

    /// Moves on, and returns all answers that this makes possible.
    fn advance(&mut self, now: Instant) -> Vec<Answer> {
        self.rounds.advance(now);
        self.shared.advance(&mut self.rounds, now);
        let mut answers = Vec::new();
        while let Some((waiter, findings)) = self.shared.next_answer(&mut self.rounds) {
            answers.push(Answer { key: waiter.key, report: findings.report.into_owned(), age: findings.age });
        }
        while let Some((waiter, findings)) = self.rounds.next_answer(now) {
            answers.push(Answer { key: waiter.key, report: findings.report.into_owned(), age: findings.age });
        }
        answers
    }
}

impl Tree {
    fn new(count: u32) -> Tree {
        let now = Instant::now();
        let snapshot = Snapshot::new(now).expect("memory can be mapped");
        let worker = |pid| Worker {
            rounds: Rounds::new(Runner::new(|| {}), LIMIT, Unobserved),
            shared: SharedReport::new(snapshot.twin(), pid, LIFETIME, LIMIT, 256),
        };
        Tree { workers: (1..=count).map(worker).collect(), now }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn ask(&mut self, worker: usize, key: usize, suite: &Suite, edition: u64) {
        self.ask_with(worker, key, CheckRequest::for_all(suite.clone()), suite, edition);
    }

    fn ask_with(&mut self, worker: usize, key: usize, request: CheckRequest, suite: &Suite, edition: u64) {
        let waiter = Waiter::new(key, Arc::new(request), self.now);
        self.workers[worker].shared.ask(waiter, Whole { suite: suite.clone(), edition });
    }

    /// Turns the worker's loop until nothing is due.
    fn advance(&mut self, worker: usize) -> Vec<Answer> {
        let (worker, now) = (&mut self.workers[worker], self.now);
        let mut answers = worker.advance(now);
        while worker.rounds.is_next_due() || worker.rounds.next_deadline().is_some_and(|moment| moment <= now) {
            worker.begin(now);
            answers.extend(worker.advance(now));
        }
        answers
    }

    /// Advances until an answer comes from the worker's threads.
    #[track_caller]
    fn wait(&mut self, worker: usize) -> Vec<Answer> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let answers = self.advance(worker);
            if !answers.is_empty() {
                return answers;
            }
            assert!(Instant::now() < deadline, "worker {worker} has no answer");
            std::thread::yield_now();
        }
    }
}

/// A check that counts its runs and reports the number.
fn counting(id: &str) -> (Suite, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = runs.clone();
    let action = move |_| Finding::error((counter.fetch_add(1, Ordering::SeqCst) + 1).to_string());
    let check = Check { blocking: false, ..Check::new(id, action) };
    ([Arc::new(check)].into_iter().collect(), runs)
}

/// A check whose runs each end when they are released.
fn gated(timeout: Duration) -> (Suite, mpsc::Sender<()>, Arc<AtomicUsize>) {
    let (release, gate) = mpsc::channel::<()>();
    let runs = Arc::new(AtomicUsize::new(0));
    let (counter, gate) = (runs.clone(), Mutex::new(gate));
    let action = move |_| {
        let run = counter.fetch_add(1, Ordering::SeqCst) + 1;
        // An error means that the test is over.
        let _ = gate.lock().map(|gate| gate.recv());
        Finding::error(run.to_string())
    };
    let check = Check { timeout, ..Check::new("slow", action) };
    ([Arc::new(check)].into_iter().collect(), release, runs)
}

fn said(answer: &Answer) -> &str {
    answer.report.outcomes[0].finding.context.as_deref().expect("each of these checks says something")
}

fn keys(answers: &[Answer]) -> Vec<usize> {
    answers.iter().map(|answer| answer.key).collect()
}

#[test]
fn one_round_answers_everybody_until_it_is_too_old() {
    let (suite, runs) = counting("db");
    let mut tree = Tree::new(4);
    for round in 1..=3 {
        for second in 0..=5 {
            for worker in 0..4 {
                tree.ask(worker, 7, &suite, 1);
                let answers = tree.advance(worker);
                assert_eq!((keys(&answers), said(&answers[0])), (vec![7], round.to_string().as_str()));
                assert_eq!(answers[0].age, Some(SECOND * second), "worker {worker}");
            }
            tree.pass(SECOND);
        }
    }
    assert_eq!(runs.load(Ordering::SeqCst), 3);
}

#[test]
fn whoever_comes_while_the_round_runs_waits_for_it() {
    let (suite, release, runs) = gated(LIMIT);
    let mut tree = Tree::new(3);
    for worker in [1, 0, 2, 1, 0] {
        tree.ask(worker, worker, &suite, 1);
        assert!(tree.advance(worker).is_empty());
        tree.pass(SECOND / 2);
    }
    assert!(tree.workers[1].is_running() && !tree.workers[0].is_running() && !tree.workers[2].is_running());
    release.send(()).expect("the check runs");
    assert_eq!(keys(&tree.wait(1)), [1, 1]);
    assert_eq!(keys(&tree.advance(0)), [0, 0]);
    let answers = tree.advance(2);
    assert_eq!((keys(&answers), answers[0].age), (vec![2], Some(SECOND * 5 / 2)), "from when the round began");
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[test]
fn a_holder_that_dies_is_followed_at_once() {
    let (suite, release, _) = gated(LIMIT);
    let mut tree = Tree::new(2);
    tree.ask(0, 0, &suite, 1);
    assert!(tree.advance(0).is_empty());
    tree.ask(1, 1, &suite, 1);
    assert!(tree.advance(1).is_empty());
    let dead = tree.workers.remove(0);
    dead.shared.snapshot.bury(1);
    assert!(tree.advance(0).is_empty() && tree.workers[0].is_running());
    (0..2).for_each(|_| release.send(()).expect("the check runs"));
    assert_eq!(keys(&tree.wait(0)), [1]);
}

#[test]
fn a_holder_that_hangs_is_followed_when_its_round_should_be_over_and_overwrites_nothing() {
    let (suite, release, _) = gated(SECOND);
    let mut tree = Tree::new(2);
    tree.ask(0, 0, &suite, 1);
    assert!(tree.advance(0).is_empty());
    tree.pass(SECOND / 2);
    tree.ask(1, 1, &suite, 1);
    assert!(tree.advance(1).is_empty());
    let until = tree.workers[1].next_deadline().expect("it does not wait for ever");
    assert!(until > tree.now && until <= tree.now + SECOND, "a check takes a second, whatever a round may take");
    tree.now = until;
    assert!(tree.advance(1).is_empty() && tree.workers[1].is_running());
    // The first one goes on: its client is answered, and the others wait for the second one.
    let answers = tree.advance(0);
    assert_eq!((keys(&answers), said(&answers[0])), (vec![0], "timed out after 1s"));
    tree.ask(1, 2, &suite, 1);
    assert!(tree.advance(1).is_empty());
    (0..2).for_each(|_| release.send(()).expect("both run"));
    let answers = tree.wait(1);
    assert_eq!(keys(&answers), [1, 2]);
    assert!(["1", "2"].contains(&said(&answers[0])), "{}", said(&answers[0]));
}

#[test]
fn who_has_waited_for_long_enough_has_a_round_of_his_own() {
    let (suite, _) = counting("db");
    let mut tree = Tree::new(2);
    // Taken again whenever it expires.
    let _held = tree.workers[0].shared.snapshot.take_lease(9, tree.now, tree.now + LIMIT * 10).expect("nobody has it");
    tree.ask(1, 1, &suite, 1);
    assert!(tree.advance(1).is_empty());
    let until = tree.workers[1].next_deadline().expect("it does not wait for ever");
    assert_eq!(until, tree.now + LIMIT + GRACE * 2);
    tree.now = until;
    let answers = tree.advance(1);
    assert_eq!((keys(&answers), answers[0].age), (vec![1], None));
}

#[test]
fn a_round_that_takes_longer_than_its_report_lives_answers_who_asked_before_it_began_and_nobody_else() {
    let (suite, release, runs) = gated(LIMIT);
    let mut tree = Tree::new(2);
    tree.ask(0, 0, &suite, 1);
    assert!(tree.advance(0).is_empty());
    tree.pass(SECOND);
    for (worker, key) in [(0, 1), (1, 2)] {
        tree.ask(worker, key, &suite, 1);
        assert!(tree.advance(worker).is_empty());
    }
    tree.pass(LIFETIME);
    release.send(()).expect("the check runs");
    let answers = tree.wait(0);
    assert_eq!((keys(&answers), answers[0].age), (vec![0], Some(SECOND * 6)));
    assert!(tree.advance(1).is_empty());
    release.send(()).expect("the check runs");
    assert_eq!(keys(&tree.wait(0)), [1]);
    assert_eq!(keys(&tree.advance(1)), [2], "of both workers");
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[test]
fn another_edition_of_the_suite_is_not_answered_from_the_snapshot() {
    let (suite, runs) = counting("db");
    let mut tree = Tree::new(2);
    for (worker, edition, expected) in [(0, 1, "1"), (1, 1, "1"), (1, 2, "2"), (0, 2, "2")] {
        tree.ask(worker, 0, &suite, edition);
        assert_eq!(said(&tree.advance(worker)[0]), expected, "worker {worker}, edition {edition}");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[test]
fn who_asked_for_what_is_not_there_any_more_has_a_round_of_his_own() {
    let ((old, _), (new, _)) = (counting("old"), counting("new"));
    let mut tree = Tree::new(1);
    tree.ask(0, 0, &old, 1);
    tree.ask(0, 1, &new, 2);
    let mut answers = tree.advance(0);
    answers.sort_by_key(|answer| answer.key);
    assert_eq!(keys(&answers), [0, 1]);
    assert_eq!((answers[0].age, answers[0].report.outcomes[0].check.id.as_str()), (None, "old"));
    assert_eq!((answers[1].age, answers[1].report.outcomes[0].check.id.as_str()), (Some(Duration::ZERO), "new"));
}

#[test]
fn parts_are_answered_from_the_snapshot_of_the_whole() {
    let ((a, runs_a), (b, runs_b)) = (counting("a"), counting("b"));
    let whole: Suite = a.checks().iter().chain(b.checks()).cloned().collect();
    let part = |part: &Suite| {
        let mut request = CheckRequest::for_all(whole.clone());
        request.part = part.clone();
        request
    };
    let mut tree = Tree::new(2);
    tree.ask_with(0, 0, part(&b), &whole, 1);
    tree.ask_with(1, 1, part(&a), &whole, 1);
    tree.ask(1, 2, &whole, 1);
    assert_eq!(tree.advance(0)[0].report.outcomes.len(), 1);
    let answers = tree.advance(1);
    assert_eq!(answers[0].report.outcomes[0].check.id, "a");
    assert_eq!(answers[1].report.outcomes.len(), 2);
    assert_eq!((runs_a.load(Ordering::SeqCst), runs_b.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn a_report_that_is_too_large_is_not_shared_and_nobody_waits_for_it() {
    let big = |index| {
        let action = |_| Finding::error("x".repeat(8000));
        Arc::new(Check { blocking: false, ..Check::new(format!("big-{index}"), action) })
    };
    let suite: Suite = (0..CAPACITY / 8000 + 1).map(big).collect();
    let mut tree = Tree::new(2);
    for (worker, age) in [(0, Some(Duration::ZERO)), (1, None)] {
        tree.ask(worker, 0, &suite, 1);
        let answers = tree.advance(worker);
        assert_eq!((answers[0].age, answers[0].report.outcomes.len()), (age, suite.checks().len()));
    }
}

#[test]
fn who_cannot_wait_for_another_workers_round_is_told_so_in_time() {
    let (suite, release, _) = gated(LIMIT);
    let mut tree = Tree::new(2);
    tree.ask(0, 0, &suite, 1);
    assert!(tree.advance(0).is_empty());
    let mut request = CheckRequest::for_all(suite.clone());
    request.limit = Some(SECOND);
    tree.ask_with(1, 1, request, &suite, 1);
    tree.ask(1, 2, &suite, 1);
    assert!(tree.advance(1).is_empty());
    let until = tree.workers[1].next_deadline().expect("it does not wait for ever");
    assert_eq!(until, tree.now + SECOND);
    tree.now = until;
    let answers = tree.advance(1);
    assert_eq!((keys(&answers), said(&answers[0]), answers[0].age), (vec![1], "timed out after 1s", None));
    release.send(()).expect("the check runs");
    assert_eq!(keys(&tree.wait(0)), [0]);
    assert_eq!(keys(&tree.advance(1)), [2], "the round goes on for the others");
}

#[test]
fn what_was_found_before_the_machine_was_suspended_is_too_old() {
    thread_local! {
        static SUSPENDED: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::ZERO) };
    }
    let (suite, _) = counting("db");
    let mut tree = Tree::new(2);
    for worker in &mut tree.workers {
        worker.shared.suspended = || SUSPENDED.get();
    }
    for (worker, suspended, expected) in [(0, 0, "1"), (1, 3600, "2"), (0, 3600, "2")] {
        SUSPENDED.set(SECOND * suspended);
        tree.ask(worker, 0, &suite, 1);
        assert_eq!(said(&tree.advance(worker)[0]), expected, "suspended for {suspended} s");
    }
}

#[test]
fn the_time_that_checks_take_in_the_loop_is_part_of_the_age() {
    let (suite, _) = counting("db");
    let mut tree = Tree::new(1);
    tree.ask(0, 0, &suite, 1);
    let (worker, t0) = (&mut tree.workers[0], tree.now);
    assert!(worker.advance(t0).is_empty());
    worker.begin(t0 + SECOND);
    let answers = worker.advance(t0 + SECOND * 3);
    assert_eq!(answers[0].age, Some(SECOND * 2), "since it was looked at before the checks ran");
}

proptest! {
    /// Whenever clients ask, each is answered from a round that began after its request or is young enough, and the
    /// tree runs no more rounds than that needs.
    #[test]
    fn no_answer_is_older_than_it_says_or_than_it_may_be(
        steps in proptest::collection::vec((0..3usize, 0..4000u64), 1..60),
    ) {
        let clock = Arc::new(AtomicU64::new(0));
        let (read, runs) = (clock.clone(), Arc::new(AtomicUsize::new(0)));
        let counter = runs.clone();
        let action = move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            Finding::error(read.load(Ordering::SeqCst).to_string())
        };
        let check = Check { blocking: false, ..Check::new("clock", action) };
        let suite: Suite = [Arc::new(check)].into_iter().collect();
        let mut tree = Tree::new(3);
        let mut millis = 0;
        for (worker, wait) in steps {
            millis += wait;
            clock.store(millis, Ordering::SeqCst);
            tree.pass(Duration::from_millis(wait));
            tree.ask(worker, 0, &suite, 1);
            let answers = tree.advance(worker);
            prop_assert_eq!(keys(&answers), [0]);
            let ran: u64 = said(&answers[0]).parse().expect("it is a number");
            prop_assert_eq!(answers[0].age, Some(Duration::from_millis(millis - ran)));
            prop_assert!(millis - ran <= LIFETIME.as_millis() as u64);
        }
        prop_assert!(runs.load(Ordering::SeqCst) as u64 <= millis / LIFETIME.as_millis() as u64 + 1);
    }
}
