//! Rounds: side by side, late, stuck, bounded.

use super::*;
use crate::model::beginning;
use crate::model::check::{Code, Severity, Status};
use std::sync::{Condvar, Mutex, mpsc};

const LONG: Duration = Duration::from_secs(60);

fn check(id: &str, timeout: Duration, action: impl Fn(Deadline) -> Finding + Send + Sync + 'static) -> Arc<Check> {
    Arc::new(Check { timeout, ..Check::new(id, action) })
}

fn suite(checks: impl IntoIterator<Item = Arc<Check>>) -> Suite {
    checks.into_iter().collect()
}

/// A check that waits until its test drops the sender.
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
fn checks_in_place_leave_their_owner_turns_between_them() {
    let slow = |n| {
        let action = |_| {
            std::thread::sleep(TURN);
            Finding::PASS
        };
        Arc::new(Check::new(format!("c{n}"), action).in_place())
    };
    let mut runner = Runner::new(|| ());
    let (begin, mut turns) = (Instant::now(), 1);
    let mut round = runner.begin(suite((0..20).map(slow)), LONG, begin);
    while let Some(deadline) = round.next_deadline() {
        assert_eq!((round.finished().count(), deadline), (turns, begin), "one a turn, and the next at once");
        runner.advance(&mut round, begin);
        turns += 1;
    }
    assert_eq!(turns, 20);
    assert!(round.is_over() && !round.is_bad());

    let mut round = runner.begin(suite((0..20).map(slow)), LONG, begin);
    runner.advance(&mut round, begin + LONG);
    assert!(round.is_over(), "the time of the round bounds them, too");
}

#[test]
fn what_comes_back_when_its_report_was_taken_is_too_late() {
    let (late, release) = stuck("late", Duration::from_millis(20));
    let (sender, receiver) = mpsc::channel();
    let mut runner = Runner::new(move || sender.send(()).unwrap_or_default());
    let start = Instant::now();
    let mut round = runner.begin(suite([late]), LONG, start);
    runner.advance(&mut round, start + LONG);
    let mut report = Report::default();
    round.move_into(&mut report, start + LONG);
    assert_eq!(contexts(&report), [("late", Status::Error, Some("timed out after 20ms"))]);
    drop(release);
    receiver.recv().expect("the check comes back");
    runner.advance(&mut round, start + LONG);
    assert!(!runner.is_busy() && round.is_over());
}

#[test]
fn a_check_that_ran_in_place_is_as_old_as_it_took() {
    let spin = |_| {
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(1) {}
        Finding::PASS
    };
    let check = Check { blocking: false, ..Check::new("spin", spin) };
    let now = Instant::now();
    let report = Runner::new(|| {}).begin(suite([Arc::new(check)]), LONG, now).into_report(now);
    let outcome = &report.outcomes[0];
    assert!(outcome.age >= outcome.elapsed && !outcome.elapsed.is_zero(), "{outcome:?}");
}

#[test]
fn files_of_ours_that_do_not_answer_hold_up_no_round() {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    // As those are that it takes to tell whether something of ours has changed.
    let record = move |_: &Check| {
        let _ = gate.lock().expect("no other test holds it").recv();
        None
    };
    let second = Duration::from_secs(1);
    let fails = Check { code: Code::BuiltIn, ..Check::new("db", |_| Finding::fail("refused")) };
    let checks = [Arc::new(fails.timeout(second)), check("ok", LONG, |_| Finding::PASS)];
    let (waker, woken) = mpsc::channel();
    let mut runner = Runner::new(move || waker.send(()).unwrap_or_default()).remembering(record);
    let began = Instant::now();
    let mut round = runner.begin(suite(checks), LONG, began);
    woken.recv_timeout(LONG).expect("the other one comes back");
    runner.advance(&mut round, began);
    runner.advance(&mut round, began + second);
    let report = round.into_report(began + second);
    let found: Vec<_> = contexts(&report);
    assert_eq!(found, [("db", Status::Error, Some("timed out after 1s")), ("ok", Status::Pass, None)]);
    drop(release);
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
    assert_eq!(
        contexts(&second.into_report(Instant::now())),
        [("late", Status::Error, Some("still running after 42s"))]
    );

    drop(release);
    wakes.recv().expect("the check comes back");
    runner.advance(&mut first, t0);
    let mut third = runner.begin(suite([check]), LONG, t0 + LONG);
    wakes.recv().expect("the check comes back");
    runner.advance(&mut third, t0 + LONG);
    assert_eq!(contexts(&third.into_report(Instant::now())), [("late", Status::Pass, None)]);
}

#[test]
fn a_check_that_came_back_between_two_rounds_runs_in_the_next() {
    let (woken, wakes) = mpsc::channel();
    let mut runner = Runner::new(move || woken.send(()).unwrap_or_default());
    let (check, release) = stuck("late", Duration::from_millis(1));
    let t0 = Instant::now();
    let mut first = runner.begin(suite([check.clone()]), LONG, t0);
    runner.advance(&mut first, t0 + Duration::from_millis(1));
    assert!(first.is_over());

    drop(release);
    wakes.recv().expect("the check comes back");
    let mut second = runner.begin(suite([check]), LONG, t0 + LONG);
    assert!(!second.is_over(), "it is not taken for stuck");
    wakes.recv().expect("the check comes back");
    runner.advance(&mut second, t0 + LONG);
    assert_eq!(contexts(&second.into_report(Instant::now())), [("late", Status::Pass, None)]);
}

#[test]
fn only_so_many_run_at_once_and_the_time_of_each_begins_when_it_starts() {
    let mut runner = Runner::new(|| ()).with_at_once(1);
    let (first, _first) = stuck("first", Duration::from_secs(3));
    let (second, _second) = stuck("second", Duration::from_secs(3));
    let third = check("third", LONG, |_| Finding::PASS);
    let seconds = |n| Duration::from_secs(n);
    let t0 = Instant::now();
    let mut round = runner.begin(suite([first, second, third]), seconds(5), t0);
    assert_eq!(round.running().map(|(check, _)| check.id.as_str()).collect::<Vec<_>>(), ["first"]);
    assert_eq!(round.next_deadline(), Some(t0 + seconds(3)));
    runner.advance(&mut round, t0 + seconds(3));
    assert_eq!(
        round.running().map(|(check, since)| (check.id.as_str(), since)).collect::<Vec<_>>(),
        [("second", t0 + seconds(3))]
    );
    assert_eq!(round.next_deadline(), Some(t0 + seconds(5)), "the round's own");
    runner.advance(&mut round, t0 + seconds(5));
    assert_eq!(
        contexts(&round.into_report(Instant::now())),
        [
            ("first", Status::Error, Some("timed out after 3s")),
            ("second", Status::Error, Some("timed out after 2s")),
            ("third", Status::Error, Some("not started in time: too many others were still running")),
        ]
    );
}

#[test]
fn many_more_checks_than_may_run_at_once_all_run() {
    let report = {
        let (woken, wakes) = mpsc::channel();
        let mut runner = Runner::new(move || woken.send(()).unwrap_or_default()).with_at_once(7);
        let checks = (0..500).map(|n| check(&format!("c{n}"), LONG, |_| Finding::PASS));
        let mut round = runner.begin(suite(checks), LONG, Instant::now());
        while !round.is_over() {
            assert!(round.running().count() <= 7);
            wakes.recv().expect("checks come back");
            runner.advance(&mut round, Instant::now());
        }
        round.into_report(Instant::now())
    };
    assert!(report.passes());
    assert_eq!(report.outcomes.len(), 500);
}

#[test]
fn nothing_more_is_started_once_something_failed_if_that_is_wished() {
    let (late, _release) = stuck("late", LONG);
    for (failfast, started) in [(false, 1), (true, 0)] {
        let failing = Arc::new(Check { blocking: false, ..Check::new("bad", |_| Finding::error("no")) });
        let mut runner = Runner::new(|| ()).with_failfast(failfast);
        let mut round = runner.begin(suite([failing, late.clone()]), LONG, Instant::now());
        assert!(round.is_bad());
        // The failing one may have used up the turn.
        runner.advance(&mut round, Instant::now());
        assert_eq!(round.running().count(), started);
    }
}

#[test]
fn threads_are_kept_for_the_next_round() {
    let threads = Arc::new(Mutex::new(std::collections::HashSet::new()));
    let (woken, wakes) = mpsc::channel();
    let mut runner = Runner::new(move || woken.send(()).unwrap_or_default());
    let checks: Vec<_> = (0..5)
        .map(|n| {
            let threads = threads.clone();
            check(&format!("c{n}"), LONG, move |_| {
                threads.lock().expect("nobody panics").insert(std::thread::current().id());
                Finding::PASS
            })
        })
        .collect();
    for _ in 0..50 {
        let mut round = runner.begin(suite(checks.clone()), LONG, Instant::now());
        while !round.is_over() {
            wakes.recv().expect("checks come back");
            runner.advance(&mut round, Instant::now());
        }
    }
    let count = threads.lock().expect("nobody panics").len();
    assert!(count <= checks.len(), "{count} threads for {} checks", checks.len());
}

#[test]
fn a_longest_time_holds_for_every_check() {
    let mut runner = Runner::new(|| ()).with_longest(Duration::from_millis(20));
    let (late, _release) = stuck("late", LONG);
    let t0 = Instant::now();
    let mut round = runner.begin(suite([late]), LONG, t0);
    runner.advance(&mut round, t0 + Duration::from_millis(20));
    assert_eq!(contexts(&round.into_report(Instant::now())), [("late", Status::Error, Some("timed out after 20ms"))]);
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
fn the_age_of_an_outcome_counts_from_when_its_check_was_begun() {
    let mut runner = Runner::new(|| ()).with_at_once(1);
    let (first, _first) = stuck("first", Duration::from_secs(3));
    let (second, _second) = stuck("second", Duration::from_secs(3));
    let t0 = Instant::now();
    let at = |seconds| t0 + Duration::from_secs(seconds);
    let mut round = runner.begin(suite([first.clone(), second]), Duration::from_secs(5), t0);
    runner.advance(&mut round, at(3));
    runner.advance(&mut round, at(5));
    let ages = |round: Round, now| round.into_report(now).outcomes.iter().map(|o| o.age.as_secs()).collect::<Vec<_>>();
    assert_eq!(ages(round, at(7)), [7, 4]);
    let round = runner.begin(suite([first]), Duration::from_secs(5), at(10));
    assert_eq!(ages(round, at(11)), [11], "it is still the same run");
}

/// Accuses some checks, and notes which run at the same time.
struct Accuser {
    permission: fn(&Check) -> Permission,
    running: Arc<Mutex<Vec<String>>>,
    together: Arc<Mutex<Vec<String>>>,
}

impl RunObserver for Accuser {
    fn permission(&self, check: &Check, _now: Instant) -> Permission {
        (self.permission)(check)
    }

    fn begins(&self, check: &Check, _now: Instant) {
        let mut running = self.running.lock().expect("one thread runs it");
        running.push(check.id.clone());
        self.together.lock().expect("one thread runs it").push(running.join(" "));
    }

    fn ends(&self, check: &Check) {
        self.running.lock().expect("one thread runs it").retain(|id| *id != check.id);
    }
}

/// Which checks ran together as each one began, and the report.
fn accused(permission: fn(&Check) -> Permission, suite: Suite, limit: Duration) -> (Vec<String>, Report) {
    let (together, running) = (Arc::default(), Arc::default());
    let (sender, receiver) = mpsc::channel();
    let accuser = Accuser { permission, running, together: Arc::clone(&together) };
    let mut runner = Runner::new(move || sender.send(()).unwrap_or_default()).observed_by(accuser);
    let mut round = runner.begin(suite, limit, Instant::now());
    while let Some(deadline) = round.next_deadline() {
        let _ = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        runner.advance(&mut round, Instant::now());
    }
    let together = together.lock().expect("one thread runs it").clone();
    (together, round.into_report(Instant::now()))
}

#[test]
fn suspects_run_one_at_a_time_beside_the_others() {
    let suspect = |check: &Check| if check.id.starts_with('s') { Permission::RunAlone } else { Permission::Run };
    let checks = ["s0", "a", "s1", "s2", "b"].map(|id| check(id, LONG, |_| Finding::PASS));
    let inline = Arc::new(Check { blocking: false, ..Check::new("s3", |_| Finding::PASS) });
    let (together, report) = accused(suspect, suite(checks.into_iter().chain([inline])), LONG);
    assert!(report.passes());
    assert_eq!(report.outcomes.len(), 6);
    assert_eq!(together.len(), 6);
    for running in together {
        assert!(running.matches('s').count() <= 1, "{running}");
    }
}

#[test]
fn what_is_quarantined_is_reported_and_not_run() {
    let permission = |check: &Check| match check.id.as_str() {
        "bad" => Permission::Quarantined(Quarantine { deaths: 3, cause: DeathCause::Signal(11), left: LONG }),
        _ => Permission::Run,
    };
    let checks = ["bad", "well"].map(|id| check(id, LONG, |_| Finding::PASS));
    let (together, report) = accused(permission, suite(checks), LONG);
    assert_eq!(together, ["well"]);
    let why = "killed its worker 3 times (SIGSEGV), next try in 1m";
    assert_eq!(contexts(&report), [("bad", Status::Error, Some(why)), ("well", Status::Pass, None)]);
}

#[test]
fn a_suspect_that_is_late_lets_the_next_one_have_its_turn() {
    let (late, _release) = stuck("late", Duration::from_millis(20));
    let (_, report) = accused(|_| Permission::RunAlone, suite([late, check("well", LONG, |_| Finding::PASS)]), LONG);
    assert_eq!(
        contexts(&report),
        [("late", Status::Error, Some("timed out after 20ms")), ("well", Status::Pass, None)]
    );
}

#[test]
fn a_suspect_whose_turn_does_not_come_in_time_is_told_so() {
    let (late, _release) = stuck("late", LONG);
    let waiting = check("waiting", LONG, |_| Finding::PASS);
    let (_, report) = accused(|_| Permission::RunAlone, suite([late, waiting]), Duration::from_millis(20));
    let why = "not started in time: what ran when a worker died runs one at a time";
    assert_eq!(
        contexts(&report),
        [("late", Status::Error, Some("timed out after 20ms")), ("waiting", Status::Error, Some(why))]
    );
}

#[test]
fn a_kind_is_not_interrupted_by_signals_and_a_function_passes_none_on_as_blocked_to_what_it_starts() {
    let blocked = |_| {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("there is a /proc");
        Finding::new(
            Status::Pass,
            status.split("SigBlk:").nth(1).unwrap_or_default().lines().next().unwrap_or_default(),
        )
    };
    let function = Check::new("function", blocked);
    let kind = Check { code: Code::BuiltIn, ..Check::new("kind", blocked) };
    let report = Runner::run(suite([function, kind].map(Arc::new)), LONG);
    let [function, kind] = [0, 1].map(|index| {
        let context = report.outcomes[index].finding.context.as_deref().unwrap_or_default();
        u64::from_str_radix(context.trim(), 16).expect("a mask")
    });
    let term = 1 << (nix::libc::SIGTERM - 1);
    assert_eq!((function, kind & term), (0, term));
}

/// What each check is told, by its id.
fn told(report: &Report) -> std::collections::BTreeMap<&str, String> {
    let told =
        |o: &Outcome| format!("{} {}", o.finding.status.word(), o.finding.context.as_deref().unwrap_or_default());
    report.outcomes.iter().map(|o| (o.check.id.as_str(), told(o))).collect()
}

#[test]
fn what_needs_something_bad_is_not_run_and_names_the_cause() {
    let run = Arc::new(Mutex::new(Vec::new()));
    let noting = |id: &'static str, finding: Finding| {
        let run = run.clone();
        Check::new(id, move |_| {
            run.lock().expect("no check panics").push(id);
            finding.clone()
        })
    };
    let fine = || Finding::PASS;
    let all = [
        noting("shop", fine()).needs(["api", "mail"]),
        noting("api", fine()).needs(["db"]),
        noting("mail", Finding::warn("slow")).needs(["dns"]),
        noting("db", Finding::fail("connection refused\nmore")),
        noting("dns", Finding::new(Status::Skip, "not here")),
        noting("beside", fine()).needs(["mail"]),
    ];
    for in_place in [false, true] {
        run.lock().expect("no check panics").clear();
        let checks = all.iter().cloned().map(|check| if in_place { check.in_place() } else { check });
        let report = Runner::run(checks.map(Arc::new).collect(), LONG);
        let told = told(&report);
        assert_eq!(told["shop"], "error blocked by db: connection refused");
        assert_eq!(told["api"], "error blocked by db: connection refused");
        assert_eq!((told["mail"].as_str(), told["beside"].as_str()), ("warn slow", "pass "));
        let blocked: Vec<_> = report.outcomes.iter().map(|outcome| outcome.blocked_by().join(" ")).collect();
        assert_eq!(blocked, ["db", "db", "", "", "", ""]);
        let mut run = run.lock().expect("no check panics").clone();
        run.sort_unstable();
        assert_eq!(run, ["beside", "db", "dns", "mail"]);
    }
}

#[test]
fn all_causes_are_named_and_the_first_is_told_why() {
    let bad = |id: &str, finding: Finding| Arc::new(Check::new(id, move |_| finding.clone()));
    let both = Arc::new(Check::new("both", |_| Finding::PASS).needs(["b", "all"]));
    let checks = [
        both,
        bad("all.a", Finding::error("no route")),
        bad("b", Finding::fail("closed")),
        bad("all.c", Finding::PASS),
    ];
    let report = Runner::run(suite(checks), LONG);
    assert_eq!(told(&report)["both"], "error blocked by b: closed, and by all.a");
    assert_eq!(report.outcomes[0].blocked_by(), ["b", "all.a"]);
}

#[test]
fn a_check_waits_for_what_it_needs_and_everything_else_runs_at_once() {
    let (slow, release) = stuck("db", LONG);
    let (sender, receiver) = mpsc::channel();
    let mut runner = Runner::new(move || sender.send(()).unwrap_or_default());
    let needing = Arc::new(Check::new("shop", |_| Finding::PASS).needs(["db"]));
    let t0 = Instant::now();
    let mut round = runner.begin(suite([needing, slow, check("beside", LONG, |_| Finding::PASS)]), LONG, t0);
    while round.finished().count() < 1 {
        receiver.recv_timeout(LONG).expect("what needs nothing comes back");
        runner.advance(&mut round, t0);
    }
    let running: Vec<_> = round.running().map(|(check, _)| check.id.clone()).collect();
    assert_eq!(running, ["db"]);
    let hurried = round.report_at(t0 + Duration::from_secs(3));
    assert_eq!(told(&hurried)["shop"], "error blocked by db: timed out after 3s");
    drop(release);
    while !round.is_over() {
        receiver.recv_timeout(LONG).expect("it comes back");
        runner.advance(&mut round, t0);
    }
    assert!(round.into_report(t0).passes());
}

#[test]
fn two_rounds_at_once_that_need_the_same_check_share_its_run_and_neither_is_blocked() {
    let (db, release) = stuck("db", Duration::from_secs(3));
    let (sender, receiver) = mpsc::channel();
    let mut runner = Runner::new(move || sender.send(()).unwrap_or_default());
    let needing = |id: &str| suite([Arc::new(Check::new(id, |_| Finding::PASS).needs(["db"])), db.clone()]);
    let (t0, mut rounds) = (Instant::now(), Vec::new());
    ["shop", "mail"].into_iter().for_each(|id| runner.begin_among(&mut rounds, needing(id), LONG, t0));
    // Whoever comes later waits on, when the first has given up.
    runner.begin_among(&mut rounds, needing("late"), LONG, t0 + Duration::from_secs(2));
    runner.advance_all(&mut rounds, t0 + Duration::from_secs(4));
    assert_eq!(rounds.iter().map(Round::is_over).collect::<Vec<_>>(), [true, true, false]);
    drop(release);
    while !rounds.iter().all(Round::is_over) {
        receiver.recv_timeout(LONG).expect("it comes back");
        runner.advance_all(&mut rounds, t0 + Duration::from_secs(4));
    }
    let reports: Vec<_> = rounds.into_iter().map(|round| round.into_report(t0)).collect();
    assert_eq!(told(&reports[0])["shop"], "error blocked by db: timed out after 3s");
    assert_eq!(told(&reports[1])["mail"], "error blocked by db: timed out after 3s");
    assert!(reports[2].passes(), "{:?}", reports[2]);
}

#[test]
fn what_is_late_blocks_what_waits_for_it() {
    let (slow, _release) = stuck("db", LONG);
    let needing = |id: &str, needs: &str| Arc::new(Check::new(id, |_| Finding::PASS).needs([needs]));
    let mut runner = Runner::new(|| ());
    let t0 = Instant::now();
    let mut round =
        runner.begin(suite([needing("shop", "api"), needing("api", "db"), slow]), Duration::from_secs(2), t0);
    assert_eq!(round.next_deadline(), Some(t0 + Duration::from_secs(2)));
    runner.advance(&mut round, t0 + Duration::from_secs(2));
    assert!(round.is_over());
    let report = round.into_report(t0);
    assert_eq!(told(&report)["shop"], "error blocked by db: timed out after 2s");
    assert_eq!(told(&report)["api"], "error blocked by db: timed out after 2s");
}

#[test]
fn a_bad_finding_that_is_only_a_warning_blocks_nothing_on_any_path() {
    let mild = |check: Check| Arc::new(check.on_fail(Severity::Warn));
    let (slow, _release) = stuck("late", Duration::from_millis(20));
    let slow = mild(Check::clone(&slow));
    let needing = |needs: &str| Arc::new(Check::new(format!("needs {needs}"), |_| Finding::PASS).needs([needs]));
    let panics = mild(Check::new("panics", |_| -> Finding { panic!("oh") }));
    let report = Runner::run(suite([needing("late"), slow, needing("panics"), panics]), LONG);
    let told = told(&report);
    assert_eq!(told["late"], "warn timed out after 20ms");
    assert!(told["panics"].starts_with("warn oh (at "), "{told:?}");
    assert_eq!((told["needs late"].as_str(), told["needs panics"].as_str()), ("pass ", "pass "));
    assert_eq!((report.outcomes[1].raw(), report.outcomes[3].raw()), (Status::Error, Status::Fail));

    let blocked = Arc::new(Check::new("blocked", |_| Finding::PASS).needs(["bad"]).on_fail(Severity::Warn));
    let quarantined = |_: &Check| {
        Permission::Quarantined(Quarantine { deaths: 3, cause: DeathCause::Hang, left: Duration::from_secs(7) })
    };
    let suite = suite([blocked, check("bad", LONG, |_| Finding::PASS), mild(Check::new("mild", |_| Finding::PASS))]);
    let (_, report) = accused(quarantined, suite, LONG);
    let told = self::told(&report);
    assert_eq!(told["blocked"], "warn blocked by bad: killed its worker 3 times (it hung), next try in 7s");
    assert_eq!(told["mild"], "warn killed its worker 3 times (it hung), next try in 7s");
}

#[test]
fn a_circle_that_nobody_refused_is_an_error_and_ends() {
    let needing = |id: &str, needs: &str| Arc::new(Check::new(id, |_| Finding::PASS).needs([needs]));
    let report =
        Runner::run(suite([needing("a", "b"), needing("b", "a"), needing("c", "a"), needing("d", "none")]), LONG);
    let told = told(&report);
    assert_eq!(told["a"], "error needs itself: a needs b needs a");
    assert_eq!(told["c"], "error blocked by a: needs itself: a needs b needs a");
    assert_eq!(told["d"], "error needs none, which is not collected");
}

#[test]
fn a_suspect_that_waits_for_its_turn_holds_only_what_needs_it() {
    let suspect = |check: &Check| if check.id.starts_with('s') { Permission::RunAlone } else { Permission::Run };
    let needing = |id: &str, needs: &str| Arc::new(Check::new(id, |_| Finding::PASS).needs([needs]));
    let plain = |id: &str| Arc::new(Check::new(id, |_| Finding::PASS));
    let (_, report) =
        accused(suspect, suite([needing("a", "s2"), needing("s1", "s2"), plain("s2"), plain("s3")]), LONG);
    assert!(report.passes(), "{report:?}");
    assert_eq!(report.outcomes.len(), 4);
}

#[test]
fn what_is_excused_as_soon_as_it_is_found_blocks_nothing() {
    let db = Check { grace: Some(LONG), ..Check::new("db", |_| Finding::fail("no")) };
    let shop = Check::new("shop", |_| Finding::PASS).needs(["db"]);
    let excuse = |outcome: &mut Outcome| {
        if outcome.check.grace.is_some() {
            outcome.finding.status = Status::Skip;
        }
    };
    let mut runner = Runner::new(|| ()).excusing(Arc::new(excuse));
    let t0 = Instant::now();
    let round = runner.begin(suite([shop.in_place(), db.in_place()].map(Arc::new)), LONG, t0);
    assert!(round.is_over());
    assert_eq!(contexts(&round.into_report(t0)), [("shop", Status::Pass, None), ("db", Status::Skip, Some("no"))]);
}

mod verdicts {
    use super::*;
    use proptest::prelude::*;

    /// How bad a report is.
    fn badness(report: &Report) -> u8 {
        match (report.passes(), report.warns()) {
            (true, false) => 0,
            (true, true) => 1,
            (false, _) => 2,
        }
    }

    proptest! {
        #[test]
        fn no_verdict_is_better_than_without_needs(
            found in proptest::collection::vec((proptest::sample::select(&Status::ALL[..]), any::<bool>()), 1..8),
            links in proptest::collection::vec((0..8usize, 0..8usize), 0..12),
            selected in 0..8usize,
            strict: bool,
        ) {
            let check = |(n, (status, mild)): (usize, &(Status, bool))| {
                let finding = Finding::new(*status, "why");
                let check = Check::new(format!("c{n}"), move |_| finding.clone()).in_place();
                Check { strict, ..check.on_fail(if *mild { Severity::Warn } else { Severity::Fail }) }
            };
            let plain: Vec<_> = found.iter().enumerate().map(check).collect();
            let needing = plain.iter().enumerate().map(|(n, check)| {
                let parents = links.iter().filter(|(child, parent)| *child == n && parent < child);
                check.clone().needs(parents.map(|(_, parent)| format!("c{parent}")))
            });
            let needing: Suite = needing.map(Arc::new).collect();
            let plain: Suite = plain.into_iter().map(Arc::new).collect();
            let path = format!("c{}", selected % found.len());
            for (with, without) in [(needing.clone(), plain.clone()), (needing.at(&path), plain.at(&path))] {
                let (with, without) = (Runner::run(with, LONG), Runner::run(without, LONG));
                prop_assert!(badness(&with) >= badness(&without), "{with:?} is better than {without:?}");
                // What is blocked is so by something that is in the report and bad itself.
                for outcome in with.outcomes.iter().filter(|outcome| !outcome.blocked_by().is_empty()) {
                    for cause in outcome.blocked_by() {
                        let cause = with.outcomes.iter().find(|other| other.check.id == *cause);
                        prop_assert!(cause.is_some_and(|cause| cause.blocks() && cause.blocked_by().is_empty()));
                    }
                }
            }
        }
    }
}

#[test]
fn checks_that_wait_for_a_process_do_not_wait_for_each_other() {
    const MANY: usize = 4 * pool::MOST_BEGINNING;
    #[derive(Default)]
    struct Seen {
        waiting: usize,
        most: usize,
        begun: usize,
    }
    let seen = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
    let run = {
        let seen = seen.clone();
        move |_| {
            let (lock, changed) = &*seen;
            let mut seen = lock.lock().expect("no check panics");
            seen.waiting += 1;
            seen.most = seen.most.max(seen.waiting);
            // The others have a chance to come.
            drop(seen);
            std::thread::yield_now();
            let mut seen = lock.lock().expect("no check panics");
            (seen.waiting, seen.begun) = (seen.waiting - 1, seen.begun + 1);
            drop(seen);
            beginning::tell();
            changed.notify_all();
            // Those that have begun take as long as they like, and hold up none.
            drop(changed.wait_while(lock.lock().expect("no check panics"), |seen| seen.begun < MANY));
        }
    };
    let check = |number| {
        let check = Check::new(format!("check.{number}"), run.clone());
        Arc::new(Check { begins_late: true, timeout: LONG, ..check })
    };
    let report = Runner::run(suite((0..MANY).map(check)), LONG);
    assert!(report.passes(), "{report:?}");
    assert!(seen.0.lock().expect("no check panics").most <= pool::MOST_BEGINNING);
}

#[test]
fn those_that_cannot_begin_hold_up_no_other() {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let wait = Arc::new(move |_| {
        let _ = gate.lock().map(|gate| gate.recv());
        Finding::PASS
    });
    let late = |number| {
        let wait = wait.clone();
        let check = Check::new(format!("late.{number}"), move |deadline| wait(deadline));
        Arc::new(Check { begins_late: true, timeout: LONG, ..check })
    };
    // They can begin once the one behind them has run.
    let opens = check("opens", LONG, move |_| {
        (0..=2 * pool::MOST_BEGINNING).for_each(|_| _ = release.send(()));
        Finding::PASS
    });
    let report = Runner::run(suite((0..2 * pool::MOST_BEGINNING).map(late).chain([opens])), LONG);
    assert!(report.passes(), "{report:?}");
}
