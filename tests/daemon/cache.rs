//! `--cache`: one round answers all requests to all workers for a while, and its age is reported truthfully.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::harness::*;

/// A check that writes a line to a file whenever it runs, and then does something.
struct Counter {
    directory: tempfile::TempDir,
}

impl Counter {
    fn new(then: &str) -> Counter {
        let counter = Counter { directory: tempfile::tempdir().expect("there is room") };
        counter.write_check("count", then);
        counter
    }

    /// Writes, or replaces, the file with the check.
    fn write_check(&self, name: &str, then: &str) {
        let script = format!("echo run >> {}; {then}", self.runs_file().display());
        let text =
            format!("[[check]]\nname = '{name}'\nuse = 'exec:/bin/sh'\nargs = ['-c', '{script}']\ntimeout = '5s'\n");
        std::fs::write(self.path("checks.toml"), text).expect("the directory is ours");
        // Wait until the next change of the file gets another time.
        eventually("the file is older than its time is exact", || {
            let changed =
                std::fs::metadata(self.path("checks.toml")).and_then(|file| file.modified()).expect("it is there");
            changed.elapsed().is_ok_and(|age| age > Duration::from_millis(60))
        });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn runs_file(&self) -> PathBuf {
        self.path("runs")
    }

    fn runs(&self) -> usize {
        std::fs::read_to_string(self.runs_file()).unwrap_or_default().lines().count()
    }

    #[track_caller]
    fn serve(&self, args: &[&str]) -> Server {
        Launch::serve(args).env("HEALTHCHECKS", &self.path("checks.toml").display().to_string()).start()
    }
}

/// This many clients ask for a path at the same moment. Returns each answer, and how long it took.
#[track_caller]
fn storm(at: &At, count: usize, path: &'static str) -> Vec<(Answer, Duration)> {
    let mut clients: Vec<_> = (0..count).map(|_| Client::to(at)).collect();
    let asked = Instant::now();
    clients.iter_mut().for_each(|client| client.ask(path));
    clients.iter_mut().map(|client| (client.answer(), asked.elapsed())).collect()
}

#[track_caller]
fn age(answer: &Answer) -> u64 {
    let age = answer.header("age").unwrap_or_else(|| panic!("it has no Age: {:?}", answer.headers));
    age.parse().expect("it is a number")
}

/// The age of the only check, according to the body.
#[track_caller]
fn told_age(answer: &Answer) -> f64 {
    answer.json()["details"][0]["age"].as_f64().expect("?verbose says how old it is")
}

#[test]
fn a_storm_at_all_workers_costs_one_round_for_as_long_as_its_report_is_fresh() {
    let counter = Counter::new("sleep 0.2");
    let server = counter.serve(&["-w", "4", "--cache", "2s"]);
    for round in 1..=3 {
        let answers = storm(&server.at, 200, "/?verbose");
        assert_eq!(answers.len(), 200);
        for (answer, _) in &answers {
            assert_eq!((answer.status, answer.header("cache-control")), (200, Some("max-age=2")), "{}", answer.body);
            assert!(told_age(answer) <= 2.0 && (age(answer) as f64) >= told_age(answer), "{:?}", answer);
        }
        assert_eq!(counter.runs(), round, "one round for all");
        eventually("it grows older", || age(&get(&server.at, "/")) == 2);
        assert_eq!(counter.runs(), round, "one round until it is too old");
        // This does not wait for anything to happen, but is the test: by then the answer is too old.
        std::thread::sleep(Duration::from_secs(2));
    }
}

#[test]
fn without_it_each_answer_is_from_a_round_of_its_own_and_may_not_be_kept() {
    let counter = Counter::new("true");
    let server = counter.serve(&["-w", "2"]);
    for runs in 1..=3 {
        let answer = get(&server.at, "/?verbose");
        assert_eq!((answer.header("cache-control"), answer.header("age")), (Some("no-store"), None));
        assert!(told_age(&answer) < 5.0);
        assert_eq!(counter.runs(), runs);
    }
}

#[test]
fn what_runs_no_check_is_neither_kept_nor_waits() {
    let counter = Counter::new("sleep 3");
    let server = counter.serve(&["-w", "1", "--cache", "1m"]);
    let mut first = Client::to(&server.at);
    first.ask("/");
    eventually("the check runs", || counter.runs() == 1);
    for (path, status) in [("/livez", 200), ("/nothing", 404), ("/?format=nothing", 400)] {
        let asked = Instant::now();
        let answer = get(&server.at, path);
        assert!(asked.elapsed() < Duration::from_secs(1), "{path} has waited for {:?}", asked.elapsed());
        assert_eq!((answer.status, answer.header("cache-control")), (status, Some("no-store")), "{path}");
        assert_eq!(answer.header("age"), None, "{path}");
    }
    assert_eq!(first.answer().status, 200);
}

#[test]
fn whoever_waits_for_another_workers_round_sleeps_and_answers_what_needs_none() {
    let counter = Counter::new("sleep 2");
    let server = counter.serve(&["-w", "3", "--cache", "1m"]);
    let mut first = Client::to(&server.at);
    first.ask("/");
    eventually("its round has begun", || counter.runs() == 1);
    let holder = with_a_child(&server);
    let mut waiting: Vec<_> = (0..20).map(|_| Client::to(&server.at)).collect();
    waiting.iter_mut().for_each(|client| client.ask("/"));
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(get(&server.at, "/livez").status, 200);
        assert!(asked.elapsed() < Duration::from_millis(500), "it has waited for {:?}", asked.elapsed());
    }
    let others: Vec<_> = server.workers().into_iter().filter(|&pid| pid != holder).collect();
    let woken = || others.iter().map(|&pid| processes::number(pid, "voluntary_ctxt_switches")).sum::<u64>();
    let before = woken();
    std::thread::sleep(Duration::from_secs(1));
    assert!(woken() - before < 10, "they woke up {} times in a second", woken() - before);
    assert_eq!(first.answer().status, 200);
    assert!(waiting.iter_mut().all(|client| client.answer().status == 200));
    assert_eq!(counter.runs(), 1);
}

#[test]
fn every_part_and_dialect_is_answered_from_the_same_round() {
    let counter = Counter::new("echo text");
    let server = counter.serve(&["-w", "2", "--cache", "1m"]);
    for path in ["/", "/count", "/readyz", "/readyz/count", "/?format=prometheus", "/?exclude=nothing", "/?format=html"]
    {
        let answer = get(&server.at, path);
        assert_eq!((answer.status, age(&answer) <= 60), (200, true), "{path}: {}", answer.body);
    }
    assert_eq!(counter.runs(), 1);
}

#[test]
fn a_holder_that_is_killed_in_the_middle_of_its_round_holds_up_nobody() {
    let counter = Counter::new("sleep 1");
    let server = counter.serve(&["-w", "4", "--cache", "1m"]);
    let at = server.at.clone();
    let mut first = Client::to(&at);
    first.ask("/");
    eventually("its round has begun", || counter.runs() == 1);
    let holder = with_a_child(&server);
    // They wait at the other workers, as this one does not accept.
    let mut clients: Vec<_> = (0..50).map(|_| Client::to(&at)).collect();
    clients.iter_mut().for_each(|client| client.ask("/"));
    let killed = Instant::now();
    send(holder, Signal::SIGKILL);
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    assert!(killed.elapsed() < Duration::from_secs(4), "the next round took {:?}", killed.elapsed());
    assert!(first.try_answer().is_err(), "what it had in hand is lost");
    assert_eq!(counter.runs(), 2, "one worker has taken over, for all");
}

#[test]
fn a_holder_that_is_stopped_loses_its_turn_when_its_round_should_be_over() {
    let counter = Counter::new("sleep 0.2");
    let server = counter.serve(&["-w", "3", "--cache", "1m", "--request-timeout", "1"]);
    let mut first = Client::to(&server.at);
    first.ask("/?verbose");
    eventually("its round has begun", || counter.runs() == 1);
    let holder = with_a_child(&server);
    send(holder, Signal::SIGSTOP);
    // One of these connections may wake the stopped worker in vain; the next one wakes another, which takes both.
    let (sender, answers) = mpsc::channel();
    let asked = Instant::now();
    for _ in 0..20 {
        let (at, sender) = (server.at.clone(), sender.clone());
        std::thread::spawn(move || sender.send(try_get(&at, "/?verbose").map(|answer| answer.status)));
    }
    for _ in 0..20 {
        let status = answers.recv_timeout(DEADLINE).expect("each is answered").expect("and in order");
        assert_eq!(status, 200);
    }
    assert!(asked.elapsed() < Duration::from_secs(4), "it took {:?}", asked.elapsed());
    assert_eq!(counter.runs(), 2);

    // Its result is late, and worthless now that there is a newer one.
    send(holder, Signal::SIGCONT);
    let late = first.answer();
    assert_eq!(late.status, 200, "{late:?}");
    assert!(told_age(&late) <= (asked.elapsed() - Duration::from_secs(1)).as_secs_f64(), "{late:?}");
    let others = get(&server.at, "/?verbose");
    assert!(told_age(&others) >= told_age(&late), "{others:?}");
    assert_eq!(counter.runs(), 2);
}

#[test]
fn an_age_is_true_when_everybody_was_stopped_meanwhile() {
    let counter = Counter::new("true");
    let server = counter.serve(&["-w", "2", "--cache", "1m"]);
    assert_eq!(get(&server.at, "/").status, 200);
    let ran = Instant::now();
    let tree: Vec<_> = server.workers().into_iter().chain([server.master()]).collect();
    tree.iter().for_each(|&pid| send(pid, Signal::SIGSTOP));
    let mut client = Client::to(&server.at);
    client.ask("/?verbose");
    // This does not wait for anything to happen, but is the test.
    std::thread::sleep(Duration::from_millis(1500));
    let stopped = ran.elapsed().as_secs_f64();
    tree.iter().for_each(|&pid| send(pid, Signal::SIGCONT));
    let answer = client.answer();
    assert!(told_age(&answer) >= stopped && age(&answer) as f64 >= told_age(&answer), "{answer:?} after {stopped}");
    assert_eq!(counter.runs(), 1);
}

#[test]
fn nothing_too_old_is_told_by_whoever_was_stopped_meanwhile() {
    let counter = Counter::new("true");
    let server = counter.serve(&["-w", "2", "--cache", "1s"]);
    assert_eq!(get(&server.at, "/").status, 200);
    let tree = server.workers();
    tree.iter().for_each(|&pid| send(pid, Signal::SIGSTOP));
    let mut client = Client::to(&server.at);
    client.ask("/?verbose");
    std::thread::sleep(Duration::from_millis(1200));
    tree.iter().for_each(|&pid| send(pid, Signal::SIGCONT));
    assert!(told_age(&client.answer()) < 1.0);
    assert_eq!(counter.runs(), 2);
}

#[test]
fn a_reload_makes_the_snapshot_worthless() {
    let counter = Counter::new("true");
    let server = counter.serve(&["-w", "2", "--cache", "1m"]);
    assert_eq!(get(&server.at, "/").status, 200);
    assert_eq!(get(&server.at, "/").status, 200);
    assert_eq!(counter.runs(), 1);
    let before = server.workers();
    server.signal(Signal::SIGHUP);
    server.logs("reloaded: all workers");
    // The last old worker may take one more connection before its TERM arrives.
    eventually("the old workers are gone", || !before.iter().any(|&pid| processes::is_alive(pid)));
    assert_eq!(get(&server.at, "/").status, 200);
    assert_eq!(counter.runs(), 2);
}

#[test]
fn a_change_of_the_files_makes_the_snapshot_worthless() {
    let counter = Counter::new("true");
    let server = counter.serve(&["-w", "3", "--cache", "1m"]);
    assert_eq!(get(&server.at, "/").status, 200);
    // The same id, for something else.
    counter.write_check("count", "exit 2");
    for (answer, _) in storm(&server.at, 30, "/") {
        assert_eq!(answer.status, 500, "{}", answer.body);
    }
    assert_eq!(counter.runs(), 2);
    counter.write_check("other", "true");
    for (answer, _) in storm(&server.at, 30, "/other") {
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert_eq!(counter.runs(), 3);
    assert_eq!(get(&server.at, "/count").status, 404);
}

#[test]
fn a_failure_is_kept_as_long_as_a_success_and_no_longer() {
    let counter = Counter::new("exit 2");
    let server = counter.serve(&["-w", "2", "--cache", "1"]);
    let answers = storm(&server.at, 20, "/");
    assert!(answers.iter().all(|(answer, _)| answer.status == 500));
    assert_eq!(counter.runs(), 1);
    eventually("it is asked anew", || get(&server.at, "/").status == 500 && counter.runs() > 1);
}

#[test]
fn strangers_learn_no_more_from_the_snapshot_than_from_a_round() {
    let counter = Counter::new("echo secret; exit 2");
    let token = counter.path("token");
    std::fs::write(&token, "s3cret").expect("the directory is ours");
    let token = token.display().to_string();
    let server = counter.serve(&["-w", "2", "--cache", "1m", "--details", "token", "--token-file", &token]);
    let mut known = Client::to(&server.at);
    known.send("GET /?verbose HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\n\r\n");
    let disclosed = known.answer();
    assert!(disclosed.body.contains("secret"));
    let answer = get(&server.at, "/?verbose");
    for answer in [&disclosed, &answer] {
        // Nor can they get them from a cache on the way.
        assert_eq!(answer.header("vary"), Some("Accept, Authorization"));
        assert_eq!(answer.header("cache-control"), Some("private, max-age=60"));
    }
    assert!(
        answer.header("age").is_some() && !answer.body.contains("secret") && !answer.body.contains("count"),
        "{answer:?}"
    );
    assert_eq!(counter.runs(), 1);
}

/// The worker that is running a program.
#[track_caller]
fn with_a_child(server: &Server) -> i32 {
    let mut found = None;
    eventually("a worker runs the check", || {
        found = server.workers().into_iter().find(|&pid| !processes::children(pid).is_empty());
        found.is_some()
    });
    found.expect("it was just found")
}
