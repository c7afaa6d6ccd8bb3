//! The programs that a check has started: when the answer is out, and when hospital ends.

use std::time::Duration;

use crate::harness::once;
use crate::harness::programs::{endless, with};
use crate::harness::{HOSPITAL, Launch, Signal, alone, eventually, get, processes, send, try_get};
use hospital::model::check::Status;

#[test]
fn what_is_reported_late_is_dead_by_then() {
    let (name, word) = endless("late", "timeout=1s");
    let suite = hospital::collect(&[name]).expect("there is a shell");
    let report = hospital::run(suite, Duration::from_secs(10));
    assert_eq!(report.outcomes[0].finding.status, Status::Error);
    // On a busy machine the round may give up first; then the program dies a moment later.
    let context = report.outcomes[0].finding.context.as_deref().unwrap_or_default();
    assert!(context.contains("timed out after 1s"), "{context}");
    eventually("nothing of it is left", || with(&word) == 0);
}

#[test]
fn an_exec_check_passes_under_a_parent_that_ignores_its_children() {
    let mut command = std::process::Command::new("env");
    command.args(["--ignore-signal=CHLD", HOSPITAL, "check", "exec:/bin/true"]);
    let run = once::run(command);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
#[ignore = "needs strace"]
fn programs_run_and_are_killed_where_a_filter_refuses_pidfd_open() {
    for error in ["ENOSYS", "EPERM"] {
        let (late, word) = endless("filtered", "timeout=1s");
        let inject = format!("inject=pidfd_open:error={error}");
        let mut command = std::process::Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=pidfd_open", "-e", &inject]);
        command.args([HOSPITAL, "check", "-v", "exec:/bin/true", &late]);
        let run = once::run(command);
        assert!(run.code == Some(1) && run.stderr.contains("/bin/true succeeds ... ok"), "{error}: {}", run.stderr);
        assert!(run.stderr.contains("timed out after 1s"), "{error}: {}", run.stderr);
        eventually("nothing of it is left", || with(&word) == 0);
    }
}

#[test]
fn a_program_is_started_with_no_signal_blocked() {
    // No shell, for some unblock them themselves. It fails, and so says what it has found.
    let checks = [
        "mask=exec:/bin/grep#args=SigBlk&args=/proc/self/status&args=/no/such",
        "dies=exec:/bin/sh#args=-c&args=kill%20-TERM%20$$;%20sleep%2060",
    ];
    let server = Launch::serve(["-w", "1"]).env("HEALTHCHECKS", &checks.join(" ")).start();
    let answer = get(&server.at, "/?verbose");
    assert!(answer.body.contains("signal: 15"), "{}", answer.body);
    assert!(answer.body.contains("0000000000000000"), "{}", answer.body);
}

#[test]
fn a_program_that_prints_its_environment_publishes_no_secret_in_it() {
    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("env");
    std::fs::write(&file, "FILE_TOKEN=secret-of-file\nFILE_COLOR=green\n").expect("there is room");
    let file = file.to_str().expect("a plain path");
    let name = "exec:/bin/sh#args=-c&args=env;%20exit%201";
    let launch = Launch::serve(["-w", "1", "-e", "API_TOKEN=secret-of-flag", "--env-file", file, name]);
    let launch = launch.env("DB_PASSWORD", "secret-inherited").env("DATABASE_URL", "postgres://u:secret-in-url@h");
    let served = get(&launch.start().at, "/?verbose").body;
    let mut command = std::process::Command::new(HOSPITAL);
    command.args(["check", "--env-file", file, name]).env("DB_PASSWORD", "secret-inherited");
    let checked = once::run(command).stderr;
    for text in [served, checked] {
        for variable in ["FILE_TOKEN=***", "DB_PASSWORD=***", "FILE_COLOR=green"] {
            assert!(text.contains(variable), "{variable}: {text}");
        }
        assert!(!text.contains("secret-"), "{text}");
    }
}

#[test]
fn a_program_that_prints_its_environment_publishes_nothing_of_other_checks() {
    let checks = [
        "db=http://user:hunter2db@127.0.0.1:1/",
        "own=exec:/usr/bin/env#env=PASSWORD=hunter2own&env=COLOUR=blue",
        "leak=exec:/bin/echo#args=hunter2db,hunter2own",
    ];
    let settings = [
        ("HOSPITAL_PREFIX", ""),
        ("HOSPITAL_TOKEN", "hunter2token"),
        ("GUNICORN_CMD_ARGS", "--password=hunter2flag"),
        ("LISTEN_FDNAMES", "hunter2fd"),
        ("WATCHDOG_USEC", "60000000"),
        ("SHARED", "for all checks"),
    ];
    let is_clean = |text: &str| {
        assert!(text.contains("COLOUR=blue") && text.contains("SHARED=for all checks"), "{text}");
        assert!(text.contains("PASSWORD=***") && text.contains("*** ***"), "{text}");
        for foreign in
            ["HEALTHCHECKS", "HOSPITAL_PREFIX", "HOSPITAL_TOKEN", "GUNICORN", "LISTEN_", "WATCHDOG", "hunter2"]
        {
            assert!(!text.contains(foreign), "{foreign}: {text}");
        }
    };
    let launch = Launch::serve(["-w", "1"]).env("HEALTHCHECKS", &checks.join(" "));
    let server = settings.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start();
    is_clean(&get(&server.at, "/?verbose").body);
    assert!(!server.stderr().contains("hunter2"), "{}", server.stderr());

    let mut command = once::hospital("check");
    command.args(["--format", "json"]).env("HEALTHCHECKS", checks.join(" ")).envs(settings);
    is_clean(&once::run(command).stdout);
}

#[test]
fn a_daemon_that_ends_takes_its_programs_with_it() {
    for (test, signal) in [("drain", Signal::SIGTERM), ("stop", Signal::SIGINT)] {
        let (name, word) = endless(test, "timeout=60s");
        let settings = ["-w", "2", "--request-timeout", "60", "--graceful-timeout", "1"];
        let mut server = Launch::serve(settings).env("HEALTHCHECKS", &name).start();
        let at = server.at.clone();
        let asking = std::thread::spawn(move || try_get(&at, "/"));
        eventually("the check runs", || with(&word) >= 2);
        server.signal(signal);
        server.status();
        eventually(&format!("nothing is left after {signal}"), || with(&word) == 0);
        let _ = asking.join().expect("it does not panic");
    }
}

#[test]
fn a_worker_that_is_killed_leaves_no_program_behind() {
    let (name, word) = endless("killed", "timeout=60s");
    let server = Launch::serve(["-w", "1", "--request-timeout", "60"]).env("HEALTHCHECKS", &name).start();
    let at = server.at.clone();
    let asking = std::thread::spawn(move || try_get(&at, "/"));
    eventually("the check runs", || with(&word) >= 2);
    let [worker] = server.workers()[..] else { panic!("there is one worker") };
    send(worker, Signal::SIGKILL);
    eventually("nothing is left of it", || with(&word) == 0);
    let _ = asking.join().expect("it does not panic");
}

#[test]
fn a_killed_master_leaves_no_program_behind() {
    let (name, word) = endless("orphaned", "timeout=60s");
    let server = Launch::serve(["-w", "2", "--request-timeout", "60"]).env("HEALTHCHECKS", &name).start();
    let at = server.at.clone();
    let asking = std::thread::spawn(move || try_get(&at, "/"));
    eventually("the check runs", || with(&word) >= 2);
    // The orphan reaper ends only after its master's death, and not even of a TERM to the whole group.
    let reaper = |pid: &i32| processes::name(*pid) == "hospital:reaper";
    let reaper = processes::children(server.master()).into_iter().find(reaper).expect("there is one");
    send(reaper, Signal::SIGTERM);
    send(server.master(), Signal::SIGKILL);
    eventually("nothing is left of it", || with(&word) == 0);
    eventually("nobody is left", || !processes::is_alive(reaper));
    let _ = asking.join().expect("it does not panic");
}

#[test]
fn who_would_clean_up_goes_with_a_master_that_ends_and_is_replaced_when_it_dies() {
    let mut server = Launch::serve(["-w", "1"]).env("HEALTHCHECKS", "exec:/bin/true").start();
    let reaper =
        || processes::children(server.master()).into_iter().find(|&pid| processes::name(pid) == "hospital:reaper");
    let first = reaper().expect("there is one");
    send(first, Signal::SIGKILL);
    eventually("there is another", || reaper().is_some_and(|second| second != first));
    server.logs("the orphan reaper ended: signal: 9 (SIGKILL)");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    eventually("nobody is left", || !processes::is_group_alive(server.master()));
}

#[test]
fn what_a_program_prints_begins_no_line_of_the_log_and_moves_no_cursor() {
    let print = r"printf%20'bad\r2026-01-01%20INFO%20well\nwell\033[2K';%20exit%202";
    let checks = format!("forger=exec:/bin/sh#args=-c&args={print}");
    let server = Launch::serve(["-w", "1"]).env("HEALTHCHECKS", &checks).start();
    assert_eq!(get(&server.at, "/").status, 500);
    server.logs("check forger: fail: bad\\r2026-01-01 INFO well");
    let log = server.stderr();
    assert!(!log.contains(['\r', '\u{1b}']) && !log.lines().any(|line| line.starts_with("well")), "{log:?}");
}

#[test]
fn a_program_gets_no_descriptor_that_check_inherited() {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "exec 7</dev/null; exec \"$@\"", "sh", HOSPITAL, "check"]);
    shell.arg("exec:/bin/sh#args=-c&args=test%20!%20-e%20/proc/$$/fd/7%20||%20exit%202");
    let output = shell.output().expect("there is a shell");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_limit_on_realtime_cpu_that_somebody_meant_is_not_taken_from_a_program() {
    let mut limited = std::process::Command::new("prlimit");
    limited.args(["--rttime=5000000:", HOSPITAL, "check"]);
    // The mark of its tree would be there soon after the start.
    let seen = "sleep%200.2;%20grep%20-q%20'realtime%20timeout%20*5000000%20'%20/proc/$$/limits%20||%20exit%202";
    limited.arg(format!("exec:/bin/sh#args=-c&args={seen}"));
    let output = limited.output().expect("util-linux is installed");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `hospital check` of these names, with none of our descriptors as its output.
fn check(names: &[&str]) -> std::process::Child {
    use std::process::{Command, Stdio};
    let mut command = Command::new(HOSPITAL);
    command.arg("check").args(names).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the program can be started")
}

#[test]
fn a_check_that_is_interrupted_leaves_no_program_behind() {
    use std::os::unix::process::ExitStatusExt;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (name, word) = endless(&format!("ctrl-{}", signal as i32), "timeout=60s");
        let mut hospital = check(&[&name]);
        eventually("the check runs", || with(&word) >= 2);
        send(hospital.id() as i32, signal);
        let status = hospital.wait().expect("it is our child");
        assert_eq!(status.signal(), Some(signal as i32), "it ends as if it had not minded");
        assert_eq!(with(&word), 0);
    }
}

#[test]
fn a_round_that_ends_early_leaves_no_program_behind() {
    let (name, word) = endless("failfast", "timeout=60s");
    let mut hospital = check(&["--failfast", &name, "exec:/bin/false"]);
    assert_eq!(hospital.wait().expect("it is our child").code(), Some(1));
    assert_eq!(with(&word), 0);
}

#[test]
#[ignore = "starts 1,500 processes: run tests/run"]
fn many_late_programs_are_killed_in_no_more_time_than_a_few() {
    let _alone = alone();
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::time::Instant;
    let mut others = Command::new("sh");
    others.args(["-c", "for n in $(seq 1000); do sleep 120 & done; wait"]).process_group(0);
    let mut others = others.spawn().expect("there is a shell");
    let others_run = || processes::children(others.id() as i32).len() == 1000;
    eventually("the host is busy", others_run);

    let (_, word) = endless("many", "");
    let (name, _) = endless("many", "timeout=5s");
    let names: Vec<_> = (0..250).map(|n| name.replacen("endless", &format!("late{n}"), 1)).collect();
    let began = Instant::now();
    let mut hospital = check(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let pid = hospital.id() as i32;
    eventually("all of them run", || with(&word) >= 500);
    std::thread::sleep(Duration::from_secs(5).saturating_sub(began.elapsed()));
    let (before, late) = (processes::cpu(pid), Instant::now());
    eventually("nothing is left", || with(&word) == 0);
    eventually("it has ended", || !processes::is_alive(pid));
    let (took, cpu) = (late.elapsed(), processes::cpu(pid) - before);
    println!("250 late programs beside 1,000 processes: {took:.2?}, {cpu:.2?} of CPU");
    let _ = hospital.wait();
    send(-(others.id() as i32), Signal::SIGKILL);
    let _ = others.wait();
    assert!(took < Duration::from_secs(5) && cpu < Duration::from_secs(2), "{took:?}, {cpu:?} of CPU");
}
