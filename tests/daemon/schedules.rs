//! `every`: one run for all workers, on time, whatever becomes of some of them, and never told for longer than it is true.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::harness::metrics::scrape;
use crate::harness::site::{Site, Way};
use crate::harness::*;

/// A check that leaves a line in a file with the time of each run, and says that time.
fn counted(directory: &Path, options: &str) -> String {
    let script = format!("date%20%2B%25s.%25N%20|%20tee%20-a%20{}", directory.join("runs").display());
    format!("HEALTHCHECKS=counted=exec:/bin/sh#args=-c&args={script}{options}\n")
}

fn runs(directory: &Path) -> Vec<f64> {
    let text = fs::read_to_string(directory.join("runs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// A server with an env-file in its directory.
#[track_caller]
fn serve(args: &[&str], options: &str) -> (Server, PathBuf) {
    let launch = Launch::serve(args);
    let directory = launch.path("");
    let checks = counted(&directory, options);
    let value = checks.trim().strip_prefix("HEALTHCHECKS=").expect("it was just written");
    (launch.env("HEALTHCHECKS", value).start(), directory)
}

fn wall() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs_f64()
}

#[track_caller]
fn detail(answer: &Answer) -> serde_json::Value {
    answer.json()["details"][0].clone()
}

/// Asks again and again, from several clients, until told to stop. Each pass must be recent. Returns how many passed.
fn ask_all_the_time(at: &At, oldest: f64, over: &AtomicBool) -> usize {
    let passed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let Ok(answer) = try_get(at, "/?verbose") else { continue };
                    let (detail, now) = (detail(&answer), wall());
                    if detail["status"] == "pass" {
                        let ran: f64 = detail["context"].as_str().and_then(|said| said.parse().ok()).expect("a time");
                        // A worker may be stopped while it answers.
                        let age = now - ran - asked.elapsed().as_secs_f64();
                        assert!(age <= oldest, "{age} s is too old: {detail}");
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    passed.into_inner()
}

#[test]
fn one_run_a_period_serves_all_workers_and_all_requests() {
    let (server, directory) = serve(&["-w", "4"], "&every=1s");
    let (began, over) = (Instant::now(), AtomicBool::new(false));
    let (asked, enough) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask_all_the_time(&server.at, 3.0, &over));
        within(Duration::from_secs(60), "it has run some times", || runs(&directory).len() >= 4);
        over.store(true, Ordering::Relaxed);
        (asking.join().expect("every answer was recent"), began.elapsed().as_secs_f64())
    });
    let runs = runs(&directory);
    assert!(asked > 100, "{asked}");
    // The first may come at once for a request, and once more at its own time.
    assert!(runs.len() as f64 <= enough + 3.0, "{} in {enough} s", runs.len());
    assert!(runs.windows(2).skip(2).all(|pair| pair[1] - pair[0] > 0.5), "{runs:?}");
}

#[test]
fn it_runs_on_time_without_any_request() {
    let (server, directory) = serve(&["-w", "2"], "&every=1s");
    eventually("it runs by itself", || runs(&directory).len() >= 3);
    let samples = scrape(&server);
    assert_eq!(samples[r#"hospital_check_success{check="counted"}"#], 1.0);
    assert_eq!(samples[r#"hospital_check_flips_total{check="counted"}"#], 0.0);
    assert_eq!(samples[r#"hospital_rounds_total{outcome="pass"}"#], 0.0, "that is no round");
}

#[test]
fn a_reload_and_an_upgrade_keep_what_is_fresh() {
    let site = Site::open(Way::Tcp, &[]);
    let directory = site.family.path("");
    site.write_env(&counted(&directory, "&every=1h"));
    site.reload();
    // Nobody waits an hour for the first run: a request makes one, and so do the daemon's first minutes.
    let first = detail(&get(&site.at, "/?verbose"));
    assert_eq!(first["status"], "pass");
    let known = |what: &str| {
        // A worker of the old generation may have taken a last connection, and knows no such check.
        eventually(what, || {
            let again = detail(&get(&site.at, "/?verbose"));
            let Some(ran) = again["context"].as_str().and_then(|said| said.parse::<f64>().ok()) else { return false };
            assert!(runs(&directory).contains(&ran) && runs(&directory).len() <= 2, "{what}: {again}");
            true
        });
    };
    known("again");
    site.reload();
    known("after a reload");
    site.upgrade();
    known("after an upgrade");
    let master = site.master();
    let workers = site.family.workers_of(master);
    workers.iter().for_each(|&pid| send(pid, Signal::SIGKILL));
    site.family.expect_new_workers(master, &workers);
    known("after the death of all workers");
    // Another check of the same name has found nothing yet.
    site.write_env("HEALTHCHECKS=counted=file:/no/such#every=1h\n");
    site.reload();
    // A worker of the old generation may have taken a last connection.
    eventually("the new check is run", || detail(&get(&site.at, "/"))["status"] == "fail");
}

#[test]
fn what_was_blocked_when_somebody_asked_for_a_run_is_tried_again_soon() {
    let launch = Launch::serve(["-w", "2"]);
    let flag = launch.path("flag");
    let checks = format!("db=file:{} shop=disk:/#free=1MB&needs=db&every=1h", flag.display());
    let server = launch.env("HEALTHCHECKS", &checks).start();
    let blocked = get(&server.at, "/shop?max_age=0");
    assert!(blocked.body.contains("blocked by db"), "{}", blocked.body);
    fs::write(&flag, "").expect("it can be written");
    within(Duration::from_secs(30), "it runs when the cause is gone", || get(&server.at, "/shop").status == 200);
    fs::remove_file(&flag).expect("it can be removed");
    let blocked = get(&server.at, "/shop?max_age=0");
    assert!(blocked.body.contains("blocked by db"), "{}", blocked.body);
    fs::write(&flag, "").expect("it can be written");
    within(Duration::from_secs(30), "it does so again", || get(&server.at, "/shop").status == 200);
}

#[test]
fn many_that_need_the_same_slow_check_are_not_blocked_by_its_running_for_one_of_them() {
    let checks = "db=exec:/bin/sleep#args=0.3 a=disk:/#free=1MB&needs=db&every=1h b=disk:/#free=1MB&needs=db&every=1h";
    let server = Launch::serve(["-w", "2"]).env("HEALTHCHECKS", checks).start();
    let answer = get(&server.at, "/");
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn who_may_see_details_may_have_it_run_at_once() {
    let (server, directory) = serve(&["-w", "2"], "&every=1h");
    let count = || runs(&directory).len();
    get(&server.at, "/");
    let before = count();
    get(&server.at, "/?max_age=3600");
    assert!(count() <= before + 1, "what is there is fresh enough");
    let before = count();
    let asked = wall();
    let answer = get(&server.at, "/?max_age=0&verbose");
    let ran: f64 = detail(&answer)["context"].as_str().and_then(|said| said.parse().ok()).expect("it is a time");
    assert!(ran >= asked - 0.01 && count() > before, "{}", answer.body);
    let mut client = Client::to(&server.at);
    let asked = wall();
    client.send("GET /?verbose HTTP/1.1\r\nHost: x\r\nCache-Control: no-transform, max-age=0\r\n\r\n");
    let ran: f64 = detail(&client.answer())["context"].as_str().and_then(|said| said.parse().ok()).expect("a time");
    assert!(ran >= asked - 0.01);

    for (query, status) in [("max_age=x", 400), ("max_age=-1", 400), ("max_age=", 400), ("max_age=1h", 200)] {
        assert_eq!(get(&server.at, &format!("/?{query}")).status, status, "{query}");
    }

    let (server, _directory) = serve(&["-w", "2", "--cache", "1h"], "&every=1h");
    get(&server.at, "/");
    let asked = wall();
    let answer = get(&server.at, "/?max_age=0&verbose");
    let ran: f64 = detail(&answer)["context"].as_str().and_then(|said| said.parse().ok()).expect("it is a time");
    assert!(ran >= asked - 0.01, "what is cached is older: {}", answer.body);

    let (server, directory) = serve(&["-w", "1", "--details", "never"], "&every=1h");
    get(&server.at, "/");
    for _ in 0..5 {
        assert_eq!(get(&server.at, "/?max_age=0").status, 200);
    }
    // One for the first request, one at its own time.
    assert!(runs(&directory).len() <= 2, "strangers do not decide when checks run");
}

#[test]
fn who_asks_for_a_run_that_cannot_be_had_in_time_is_told_no_older_pass() {
    let launch = Launch::serve(["-w", "1", "-j", "1", "--request-timeout", "2s"]);
    let hog = launch.path("hog");
    let script = format!("test%20!%20-e%20{}%20||%20sleep%2050", hog.display());
    let checks = format!(
        "hog=exec:/bin/sh#args=-c&args={script}&every=1h&timeout=50s rare=exec:/bin/true#every=1h needing=file:/#needs=rare"
    );
    let server = launch.env("HEALTHCHECKS", &checks).start();
    assert_eq!(get(&server.at, "/").status, 200);
    fs::write(&hog, "").expect("the directory is ours");
    let answer = get(&server.at, "/hog?max_age=0");
    assert!(answer.status == 500 && answer.body.contains("not run in time, as was asked"), "{}", answer.body);
    let answer = get(&server.at, "/rare?max_age=0&verbose");
    let context = detail(&answer)["context"].as_str().unwrap_or_default().to_owned();
    assert!(context.starts_with("not run in time, as was asked: the last run was "), "{}", answer.body);
    assert_eq!((answer.status, detail(&answer)["status"].as_str()), (500, Some("error")));
    assert_eq!(get(&server.at, "/").status, 200, "who does not ask for it is told what is known");
}

#[test]
fn what_waits_for_a_place_says_who_has_it_and_nothing_else_waits() {
    let checks = "hog=exec:/bin/sleep#args=50&every=1h&timeout=50s rare=exec:/bin/true#every=200ms&timeout=100ms \
                  plain=exec:/bin/true";
    let server = Launch::serve(["-w", "1", "-j", "1", "--request-timeout", "1s"]).env("HEALTHCHECKS", checks).start();
    let hog = get(&server.at, "/hog");
    assert!(hog.status == 500 && hog.body.contains("it has not run yet, and does so every 1h; a run is under way"));
    eventually("the other one says what it waits for", || {
        let rare = get(&server.at, "/rare");
        rare.status == 500 && rare.body.contains("it waits for a place (--jobs): hog has run for ")
    });
    assert_eq!(get(&server.at, "/plain").status, 200, "a round has places of its own");
}

#[test]
fn those_that_are_always_due_keep_none_waiting_for_ever() {
    // Each takes a whole period, so that two are due whenever the only place is free.
    let busy = |name: &str| format!("{name}=exec:/bin/sleep#args=5&every=100ms&timeout=100ms");
    let launch = Launch::serve(["-w", "1", "-j", "1"]);
    let runs = launch.path("runs");
    let script = format!("echo%20x%20>>%20{}", runs.display());
    let last = format!("last=exec:/bin/sh#args=-c&args={script}&every=300ms");
    let checks = [busy("first"), busy("second"), last].join(" ");
    let _server = launch.env("HEALTHCHECKS", &checks).start();
    eventually("the last one runs, too", || fs::read_to_string(&runs).is_ok_and(|text| text.lines().count() >= 3));
}

#[test]
fn what_a_stopped_worker_runs_waits_and_nothing_else_and_what_a_dead_one_ran_is_run_at_once() {
    let launch = Launch::serve(["-w", "2"]);
    let directory = launch.path("");
    let [long, quick] = ["long", "quick"].map(|name| directory.join(name));
    let begun =
        |path: &Path| fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    let script =
        |path: &Path, then: &str| format!("exec:/bin/sh#args=-c&args=echo%20$PPID%20>>%20{}{then}", path.display());
    // It may run for longer than this test would wait.
    let long_check = script(&long, ";%20exec%20sleep%20500&every=600s&timeout=600s");
    let checks = format!("long={long_check} quick={}&every=200ms", script(&quick, ""));
    let server = launch.env("HEALTHCHECKS", &checks).start();
    let mut client = Client::to(&server.at);
    client.send("GET /long HTTP/1.1\r\nHost: x\r\n\r\n");
    eventually("both have begun", || begun(&long).len() == 1 && !begun(&quick).is_empty());
    // What the worker has begun before the long one would wait for its program, too.
    let before = begun(&quick).len();
    eventually("it has begun the quick one since", || begun(&quick).len() >= before + 2);
    let worker: i32 = begun(&long)[0].parse().expect("it is a pid");
    send(worker, Signal::SIGSTOP);
    let before = begun(&quick).len();
    let other = worker.to_string();
    eventually("another worker runs what is due", || {
        begun(&quick)[before..].iter().filter(|pid| **pid != other).count() >= 5
    });
    assert_eq!(begun(&long).len(), 1, "it is not started beside itself");
    send(worker, Signal::SIGKILL);
    // Its lease would have had ten minutes left.
    let mut client = Client::to(&server.at);
    client.send("GET /long HTTP/1.1\r\nHost: x\r\n\r\n");
    eventually("it runs again for who asks for it", || begun(&long).len() == 2);
}

#[test]
fn a_program_that_a_stopped_worker_cannot_kill_is_not_started_beside_itself() {
    let launch = Launch::serve(["-w", "2"]);
    let quick = launch.path("quick");
    let checks = format!(
        "hung=exec:/bin/sleep#args=543&every=1s&timeout=500ms \
         quick=exec:/bin/sh#args=-c&args=echo%20x%20>>%20{}&every=200ms",
        quick.display()
    );
    let server = launch.env("HEALTHCHECKS", &checks).start();
    let sleeping = || {
        let is_ours =
            |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"sleep\x00543\x00"));
        processes::descendants(server.master()).into_iter().filter(is_ours).collect::<Vec<_>>()
    };
    let mut stopped = None;
    eventually("its worker is stopped while it runs", || {
        let [program] = sleeping()[..] else { return false };
        let Some(worker) = processes::parent(program) else { return false };
        send(worker, Signal::SIGSTOP);
        let is_held = sleeping() == [program] && processes::state(program) == Some('S');
        if is_held {
            stopped = Some((worker, program));
        } else {
            send(worker, Signal::SIGCONT);
        }
        is_held
    });
    let (worker, program) = stopped.expect("it was just found");
    let count = || fs::read_to_string(&quick).unwrap_or_default().lines().count();
    let before = count();
    // That takes longer than the lease of the other one, and its period.
    within(Duration::from_secs(30), "the other worker goes on", || count() >= before + 15);
    assert_eq!(sleeping(), [program]);
    send(program, Signal::SIGKILL);
    eventually("it runs again once the program is over", || sleeping().iter().any(|pid| *pid != program));
    send(worker, Signal::SIGCONT);
}

#[test]
#[ignore = "needs faketime"]
fn a_clock_that_jumps_by_an_hour_neither_skips_nor_doubles_a_run_and_ends_only_what_has_a_date() {
    let state = tempfile::tempdir().expect("a folder for the test");
    let path = state.path().to_str().expect("a plain path");
    let launch = Launch::with_a_clock(["-b", "127.0.0.1:0", "-w", "2", "--state-dir", path]);
    let runs = launch.path("runs");
    let script = format!("echo%20x%20>>%20{}", runs.display());
    let checks = format!(
        "counted=exec:/bin/sh#args=-c&args={script}&every=200ms starting=file:/no/such#grace=30m \
         beating=beat:job#within=30m quiet=file:/no/such"
    );
    for command in [&["silence", "quiet", "30m", "upgrade"][..], &["beat", "job"]] {
        let output = std::process::Command::new(HOSPITAL).args(command).env("HOSPITAL_STATE_DIR", path).output();
        assert!(output.expect("it can be started").status.success(), "{command:?}");
    }
    let began = Instant::now();
    let server = launch.env("HEALTHCHECKS", &checks).start();
    let count = || fs::read_to_string(&runs).unwrap_or_default().lines().count();
    let is = |path: &str, status: &str, jump: &str| {
        let answer = get(&server.at, path);
        assert_eq!(answer.json()["details"][0]["status"], status, "{jump}: {path}: {}", answer.body);
    };
    for (jump, silent) in [("+0d", true), ("+1h", false), ("-1h", true), ("+0d", true)] {
        server.set_clock(jump);
        let before = count();
        eventually("it runs as before", || count() >= before + 5);
        // All lie on a grid; one more may have been made for a request.
        assert!(count() as f64 <= began.elapsed().as_secs_f64() / 0.2 + 2.0, "{jump}: {} runs", count());
        is("/counted", "pass", jump);
        is("/starting", "skip", jump);
        is("/beating", "pass", jump);
        assert_eq!(get(&server.at, "/quiet").status == 200, silent, "{jump}: a silence has an end in the calendar");
    }
}

#[test]
fn a_stopped_or_dead_worker_is_replaced_and_nothing_stale_passes() {
    takes_over(Duration::from_secs(6));
}

#[test]
#[ignore = "takes long"]
fn stopped_and_dead_workers_are_replaced_for_a_minute_and_nothing_stale_passes() {
    takes_over(Duration::from_secs(60));
}

/// Workers are killed and stopped at random for so long.
fn takes_over(time: Duration) {
    let _alone = alone();
    let (server, directory) = serve(&["-w", "4"], "&every=1s&timeout=500ms");
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let passed = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask_all_the_time(&server.at, 1.0 + 0.5 + 1.0, &over));
        let mut dice = 7_usize;
        let mut stopped = Vec::new();
        while began.elapsed() < time {
            dice = dice.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            let workers = server.workers();
            let Some(&victim) = workers.get((dice >> 16) % workers.len().max(1)) else { continue };
            match (dice >> 8) % 3 {
                0 => send(victim, Signal::SIGKILL),
                1 => {
                    send(victim, Signal::SIGSTOP);
                    stopped.push(victim);
                }
                _ => stopped.drain(..).for_each(|pid| send(pid, Signal::SIGCONT)),
            }
            // The pace of the faults, not something that is waited for.
            std::thread::sleep(Duration::from_millis(300));
        }
        stopped.drain(..).for_each(|pid| send(pid, Signal::SIGCONT));
        over.store(true, Ordering::Relaxed);
        asking.join().expect("no answer was too old")
    });
    let runs = runs(&directory);
    assert!(passed > 10, "{passed}");
    assert!(runs.windows(2).all(|pair| pair[1] > pair[0]), "{runs:?}");
    // A run that is lost with its worker is made up for.
    assert!(runs.len() as f64 <= 2.0 * began.elapsed().as_secs_f64() + 3.0, "{runs:?}");
}

#[test]
fn patience_counts_runs_and_says_so() {
    let launch = Launch::serve(["-w", "2"]);
    let marker = launch.path("marker");
    fs::write(&marker, "").expect("the directory is ours");
    let check = format!("db=file:{}#every=200ms&fall=3&rise=2", marker.display());
    let server = launch.env("HEALTHCHECKS", &check).start();
    let said = || {
        let answer = get(&server.at, "/?verbose");
        let detail = detail(&answer);
        (answer.status, detail["context"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(said(), (200, String::new()));
    fs::remove_file(&marker).expect("it is there");
    let mut seen = Vec::new();
    eventually("it is bad after three runs", || {
        seen.push(said());
        seen.last().is_some_and(|(status, _)| *status == 500)
    });
    let on_the_way = seen.iter().filter(|(_, context)| context.contains("of 3 failures"));
    assert!(on_the_way.clone().count() > 0 && on_the_way.clone().all(|(status, _)| *status == 200), "{seen:?}");
    server.logs("check db: fail: ");
    fs::write(&marker, "").expect("the directory is ours");
    eventually("one good run is told and not believed", || said().1.starts_with("1 of 2 successes, after: "));
    eventually("it is good again after two", || said() == (200, String::new()));
    assert_eq!(scrape(&server)[r#"hospital_check_flips_total{check="db"}"#], 2.0);
}

#[test]
fn what_hangs_is_late_and_not_started_beside_itself() {
    let launch = Launch::serve(["-w", "3"]);
    let runs = launch.path("begun");
    let script = format!("echo%20x%20>>%20{};%20sleep%2060", runs.display());
    let check = format!("slow=exec:/bin/sh#args=-c&args={script}&every=400ms&timeout=300ms");
    let server = launch.env("HEALTHCHECKS", &check).start();
    let answer = get(&server.at, "/");
    assert_eq!((answer.status, detail(&answer)["status"].as_str()), (500, Some("error")), "{}", answer.body);
    let sleeping = || {
        let is_ours =
            |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep\x0060"));
        processes::descendants(server.master()).iter().filter(|pid| is_ours(pid)).count()
    };
    eventually("it has run some times", || {
        assert!(sleeping() <= 1, "two run at once");
        fs::read_to_string(&runs).is_ok_and(|text| text.lines().count() > 4)
    });
}

#[test]
fn a_command_line_simply_runs_it() {
    let output = std::process::Command::new(HOSPITAL)
        .args(["check", "here=file:/no/such#every=10m&fall=3", "there=file:/#every=1h&grace=1m"])
        .output()
        .expect("it can be started");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("FAIL: here") && said.contains("failures=1"), "{said}");
}

#[test]
fn schedules_that_cannot_be_kept_are_refused() {
    for (options, why) in [
        ("every=0", "option every: write no less than 100ms"),
        ("every=2s&timeout=3s", "option every: 2s is shorter than the timeout of 3s"),
        ("every=10s&fall=0", "option fall: write how many runs in a row it takes, from 1 to 1000"),
        ("grace=1y", "option grace: write 1day at most: until then, nobody learns what is wrong"),
        ("grace=0", "option grace: write more than 0, or leave it out"),
        ("rise=2", "option rise: it counts the runs of a schedule: write every=TIME, too"),
        ("fall=2", "option fall: it counts the runs of a schedule: write every=TIME, too"),
    ] {
        let (code, error) = refused(&[], &[("HEALTHCHECKS", &format!("db=file:/#{options}"))]);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(why) && error.trim().lines().count() == 1, "{error}");
    }
    let many: Vec<_> = (0..1025).map(|n| format!("c{n}=file:/#every=1h")).collect();
    let (code, error) = refused(&[], &[("HEALTHCHECKS", &many.join(" "))]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("1025 checks have a schedule (every), and 1024 can"), "{error}");
}

/// The figure: 100 daemons that are started at once.
#[test]
#[ignore = "takes long"]
fn a_hundred_daemons_that_are_started_at_once_do_not_run_their_checks_at_once() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("there is room");
    let checks = counted(directory.path(), "&every=10s");
    let checks = checks.trim().strip_prefix("HEALTHCHECKS=").expect("it was just written");
    let daemons: Vec<_> = (0..100).map(|_| Launch::serve(["-w", "1"]).env("HEALTHCHECKS", checks).spawn()).collect();
    let launched = Instant::now();
    within(Duration::from_secs(120), "each has run four times or so", || runs(directory.path()).len() >= 400);
    let mut seconds = std::collections::BTreeMap::<u64, u32>::new();
    let runs = runs(directory.path());
    // Those of the last second may not be complete, and those of the first period were spread over the time of the boot.
    let (first, last) = (runs[0] as u64, runs[runs.len() - 1] as u64);
    runs.iter().for_each(|run| *seconds.entry(*run as u64).or_default() += 1);
    let mean = runs.len() as f64 / (last - first + 1) as f64;
    let most = seconds.values().max().copied().unwrap_or_default();
    println!(
        "{} runs of {} daemons in {:?}: {mean:.1} a second on average, {most} at most: {seconds:?}",
        runs.len(),
        daemons.len(),
        launched.elapsed()
    );
    assert!(f64::from(most) <= 3.0 * mean, "{most} in a second, {mean:.1} on average: {seconds:?}");
}

#[test]
fn a_parent_on_a_schedule_blocks_by_what_is_said_of_it_and_a_scheduled_child_is_freed_soon() {
    let launch = Launch::serve(["-w", "2"]);
    let marker = launch.path("marker");
    fs::write(&marker, "").expect("the directory is ours");
    let there = marker.display();
    let checks = format!(
        "db=file:{there}#every=200ms&fall=3 plain=file:/#needs=db rare=file:/#needs=db&every=1h shy=file:{there} late=file:/#needs=shy&every=1h"
    );
    let server = launch.env("HEALTHCHECKS", &checks).start();
    let status = |name: &str| {
        let answer = get(&server.at, "/?verbose");
        let details = answer.json()["details"].clone();
        let found = details.as_array().expect("a list").iter().find(|detail| detail["id"] == name).cloned();
        let detail = found.expect("it is collected");
        (
            detail["status"].as_str().unwrap_or_default().to_owned(),
            detail["context"].as_str().unwrap_or_default().to_owned(),
        )
    };
    for name in ["db", "plain", "rare", "late"] {
        assert_eq!(status(name), ("pass".to_owned(), String::new()), "{name}");
    }
    fs::remove_file(&marker).expect("it is there");
    eventually("it is patient with the parent, and the child runs", || status("db").1.contains("of 3 failures"));
    eventually("the child is blocked once the parent is bad", || {
        let (child, why) = status("plain");
        child == "error" && why.starts_with("blocked by db: ")
    });
    assert_eq!(status("rare").0, "error", "whatever it found an hour ago");
    assert_eq!(status("late").0, "error", "by what the round finds, too");
    fs::write(&marker, "").expect("the directory is ours");
    for name in ["plain", "rare", "late"] {
        within(Duration::from_secs(20), "it is freed", || status(name).0 == "pass");
    }
}

#[test]
fn what_waits_for_something_that_is_starting_is_not_bad_either() {
    let checks = "db=file:/no/such#grace=1h plain=file:/#needs=db rare=file:/#needs=db&every=1h";
    let server = Launch::serve(["-w", "1"]).env("HEALTHCHECKS", checks).start();
    let answer = get(&server.at, "/");
    // What is starting blocks nothing.
    let count = |status: &str| answer.json()["summary"][status].as_u64();
    assert_eq!((answer.status, count("skip"), count("pass")), (200, Some(1), Some(2)), "{}", answer.body);
}
