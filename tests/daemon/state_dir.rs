//! The state dir of a daemon: one at a time, and silences in it from beginning to end.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::metrics::scrape;
use crate::harness::once::{hospital, run};
use crate::harness::*;

const CHECKS: [&str; 2] = ["db=file:/no/such", "hospital.healthchecks.predictable"];

fn state(folder: &tempfile::TempDir) -> &str {
    folder.path().to_str().expect("a plain path")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

#[track_caller]
fn silence(state: &Path, args: &[&str]) {
    let mut command = hospital("silence");
    command.env("HOSPITAL_STATE_DIR", state).args(args);
    let ran = run(command);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
fn a_second_daemon_with_the_same_state_dir_is_refused_and_the_first_one_goes_on() {
    let folder = folder();
    let mut server = Server::start(["--state-dir", state(&folder)]);
    let (code, stderr) = Launch::serve(["--state-dir", state(&folder)]).refused();
    assert!(code == 2 && stderr.contains("a running server keeps its state there"), "{stderr}");
    for signal in [Signal::SIGHUP, Signal::SIGHUP] {
        server.signal(signal);
    }
    server.logs("reloaded: all workers are of generation");
    assert_eq!(get(&server.at, "/").status, 200);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    // The lock ends with its holder.
    drop(Server::start(["--state-dir", state(&folder)]));
}

#[test]
fn a_reload_moves_to_another_state_dir_and_back() {
    let (one, two) = (folder(), folder());
    let file = one.path().join("env");
    let name = |path: &str| fs::write(&file, format!("HOSPITAL_STATE_DIR={path}\n")).expect("the folder is ours");
    name(state(&one));
    let server = Server::start(["--env-file", file.to_str().expect("a plain path")]);
    name(state(&two));
    server.signal(Signal::SIGHUP);
    server.logs("all workers are of generation 1");
    drop(Server::start(["--state-dir", state(&one)]));
    let (code, stderr) = Launch::serve(["--state-dir", state(&two)]).refused();
    assert!(code == 2 && stderr.contains("a running server keeps its state there"), "{stderr}");
}

#[test]
fn a_silence_begins_and_ends_while_a_daemon_runs_and_survives_what_happens_to_it() {
    let folder = folder();
    let at = folder.path();
    let mut args = vec!["-w", "2", "--state-dir", state(&folder)];
    args.extend(CHECKS);
    let server = Server::start(&args);
    assert_eq!(get(&server.at, "/").status, 500);
    silence(at, &["db", "1h", "upgrade"]);
    for _ in 0..4 {
        let answer = get(&server.at, "/");
        let json = answer.json();
        assert_eq!((answer.status, &json["summary"]["silenced"]), (200, &1.into()), "{}", answer.body);
        let told = json["details"][0]["silence"].as_str().unwrap_or_default().to_owned();
        assert!(told.starts_with("silenced until 2") && told.ends_with(": upgrade"), "{told}");
    }
    assert_eq!(get(&server.at, "/readyz").status, 200);
    assert!(get(&server.at, "/?format=html").body.contains("<p class=\"silence\">silenced until 2"));
    let until = scrape(&server)["hospital_check_silenced_until_timestamp_seconds{check=\"db\"}"];
    assert!(until > 1.7e9, "{until}");
    server.signal(Signal::SIGHUP);
    server.logs("all workers are of generation 1");
    assert_eq!(get(&server.at, "/").status, 200);
    send(server.workers()[0], Signal::SIGKILL);
    assert_eq!(get(&server.at, "/").status, 200);
    silence(at, &["--lift", "db"]);
    for _ in 0..4 {
        assert_eq!(get(&server.at, "/").status, 500);
    }
    server.logs("no more: db: silenced until 2");
    let log = server.stderr();
    assert_eq!(log.matches("db: silenced until").count(), 2, "once at the beginning, once at the end: {log}");

    silence(at, &["db", "1h", "again"]);
    drop(server);
    let server = Server::start(&args);
    assert_eq!(get(&server.at, "/").status, 200);
    assert!(server.stderr().contains("db: silenced until 2"), "{}", server.stderr());
}

#[test]
fn a_silence_ends_by_itself_in_a_shared_report_too() {
    for more in [&[][..], &["--cache", "1h"]] {
        let folder = folder();
        let server = Server::start([&["--state-dir", state(&folder)], more, &CHECKS].concat());
        silence(folder.path(), &["db", "2s", "upgrade"]);
        assert_eq!(get(&server.at, "/").status, 200);
        eventually("it ends", || get(&server.at, "/").status == 500);
    }
}

#[test]
fn rounds_and_log_count_what_is_judged() {
    let folder = folder();
    silence(folder.path(), &["db", "1h", "upgrade"]);
    let server = Server::start([&["--state-dir", state(&folder)], &CHECKS[..]].concat());
    assert_eq!(get(&server.at, "/").status, 200);
    let samples = scrape(&server);
    assert_eq!(samples["hospital_rounds_total{outcome=\"fail\"}"], 0.0);
    assert_eq!(samples["hospital_check_success{check=\"db\"}"], 1.0);
    assert_eq!(samples["hospital_check_status{check=\"db\",status=\"fail\"}"], 1.0);
}

#[test]
fn what_is_silenced_blocks_nothing() {
    let folder = folder();
    let child = "shop=file:/etc/passwd#needs=db";
    let server = Server::start(["--state-dir", state(&folder), CHECKS[0], child]);
    let found = || {
        let json = get(&server.at, "/?verbose").json();
        ["status", "blocked_by"].map(|key| json["details"][1][key].clone())
    };
    assert_eq!(found(), ["error".into(), serde_json::json!(["db"])]);
    silence(folder.path(), &["db", "1h", "upgrade"]);
    assert_eq!(found(), ["pass".into(), serde_json::Value::Null]);
    assert_eq!(get(&server.at, "/").status, 200);
}

#[test]
fn bad_lines_are_one_error_until_they_are_mended() {
    let folder = folder();
    let server = Server::start([&["--state-dir", state(&folder)], &CHECKS[1..]].concat());
    assert_eq!(get(&server.at, "/").status, 200);
    let file = folder.path().join("silences");
    fs::write(&file, "rubbish\n").expect("the folder is ours");
    let answer = get(&server.at, "/");
    assert!(answer.status == 500 && answer.body.contains("line 1: "), "{}", answer.body);
    fs::remove_file(&file).expect("the folder is ours");
    assert_eq!(get(&server.at, "/").status, 200);
}

#[test]
fn a_state_dir_that_everybody_may_write_or_that_is_missing_is_refused() {
    let folder = folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("it is ours");
    let (code, stderr) = Launch::serve(["--state-dir", state(&folder)]).refused();
    assert!(code == 5 && stderr.contains("everybody may write to it (its mode is 777)"), "{stderr}");
    let (code, stderr) = Launch::serve(["--state-dir", "/no/such"]).refused();
    assert!(code == 2 && stderr.contains("there is no such folder: make it"), "{stderr}");
}

#[test]
fn the_folder_of_a_systemd_unit_is_the_state_dir() {
    let folder = folder();
    for path in [state(&folder), "/var/lib/hospital-127.0.0.1:1517"] {
        let launch = Launch::serve(["--print-config"]).env("STATE_DIRECTORY", &format!("{path}:/other"));
        let printed = launch.printed();
        let expected = format!("# from STATE_DIRECTORY in the environment\nHOSPITAL_STATE_DIR=\"{path}\"\n");
        assert!(printed.contains(&expected), "{printed}");
    }
}

#[test]
#[ignore = "needs root"]
fn the_state_dir_of_another_user_is_refused_and_one_that_cannot_be_written_is_said() {
    let folder = folder();
    std::os::unix::fs::chown(folder.path(), Some(1234), None).expect("we are root");
    let (code, stderr) = Launch::serve(["--state-dir", state(&folder), "--user", "65534"]).refused();
    assert!(code == 5 && stderr.contains("it belongs to 1234, and the workers run as"), "{stderr}");
    std::os::unix::fs::chown(folder.path(), Some(0), None).expect("we are root");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let server = Launch::serve(["--state-dir", state(&folder), "--user", "65534"]).start();
    assert!(server.stderr().contains("cannot be locked: Permission denied"), "{}", server.stderr());
    assert_eq!(get(&server.at, "/").status, 200);
}

#[test]
#[ignore = "needs strace"]
fn a_file_system_without_locks_is_said_and_keeps_nobody_away() {
    let folder = folder();
    let strace = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", "inject=flock:error=ENOLCK"];
    let server = Launch::under("strace", strace).args(["-b", "127.0.0.1:0", "--state-dir", state(&folder)]).start();
    assert!(server.stderr().contains("lock cannot be locked: No locks available"), "{}", server.stderr());
    assert_eq!(get(&server.at, "/").status, 200);
    let mut command = std::process::Command::new("strace");
    command.args(strace).args([HOSPITAL, "silence", "--state-dir", state(&folder), "db", "1h", "why"]);
    let silenced = run(command);
    assert_eq!(silenced.code, Some(0), "{}", silenced.stderr);
}

/// A file system of its own at a folder, until it is dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn with(args: &[&str]) -> Mounted {
        let mounted = Mounted(folder());
        fs::set_permissions(mounted.0.path(), Permissions::from_mode(0o755)).expect("it is ours");
        mounted.mount(args);
        mounted
    }

    fn mount(&self, args: &[&str]) {
        let status = std::process::Command::new("mount").args(args).arg(self.0.path()).status();
        assert!(status.expect("there is mount").success(), "{args:?}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[track_caller]
fn refused_by_the_disk(state: &Path, args: &[&str], why: &str) {
    let mut command = hospital(args[0]);
    command.env("HOSPITAL_STATE_DIR", state).args(&args[1..]);
    let ran = run(command);
    let last = ran.stderr.lines().last().unwrap_or_default();
    assert!(
        ran.code == Some(74) && last.starts_with("hospital: cannot write ") && last.contains(why),
        "{}",
        ran.stderr
    );
}

#[test]
#[ignore = "needs root"]
fn a_disk_that_is_full_for_a_while_loses_no_silence_is_said_once_and_used_again() {
    let disk = Mounted::with(&["-t", "tmpfs", "-o", "size=128k,mode=755", "tmpfs"]);
    let at = disk.0.path();
    let launch = Launch::serve(["-w", "2", "--state-dir", state(&disk.0)]);
    let flag = launch.path("flag");
    let server = launch.env("HEALTHCHECKS", &format!("db=file:{0} other=file:{0}", flag.display())).start();
    silence(at, &["db", "1h", "upgrade"]);
    let fill = at.join("fill");
    let _ = fs::write(&fill, [0; 256 * 1024]);
    refused_by_the_disk(at, &["silence", "other", "1h", "why"], "No space left on device");
    refused_by_the_disk(at, &["beat", "job"], "No space left on device");
    let answer = || {
        let answer = get(&server.at, "/");
        (answer.status, answer.json()["summary"]["silenced"].as_u64())
    };
    const FULL: &str = "what checks find is kept in memory only: No space left on device";
    eventually("both workers have seen changes", || {
        assert_eq!(answer(), (500, Some(1)), "the silence is as it was");
        fs::write(&flag, "").expect("the folder is ours");
        assert_eq!(get(&server.at, "/").status, 200);
        fs::remove_file(&flag).expect("it is there");
        server.stderr().matches("check other: pass again").count() >= 5
    });
    assert_eq!(server.stderr().matches(FULL).count(), 1, "{}", server.stderr());
    fs::remove_file(&fill).expect("it is there");
    eventually("there is room again", || {
        fs::write(&flag, "").expect("the folder is ours");
        get(&server.at, "/");
        fs::remove_file(&flag).expect("it is there");
        get(&server.at, "/");
        server.stderr().contains("what checks find is kept there again")
    });
    silence(at, &["other", "1h", "why"]);
    assert_eq!(answer(), (200, Some(2)));
    // What happened meanwhile is not lost.
    let mut why = hospital("why");
    why.env("HOSPITAL_STATE_DIR", at).arg("other");
    let told = run(why);
    assert!(told.stdout.contains("other"), "{}{}", told.stdout, told.stderr);
}

#[test]
#[ignore = "needs root"]
fn a_state_dir_that_is_read_only_keeps_nobody_away_and_its_silences_hold() {
    let folder = folder();
    silence(folder.path(), &["db", "1h", "upgrade"]);
    let disk = Mounted::with(&["--bind", state(&folder)]);
    disk.mount(&["-o", "remount,bind,ro"]);
    let server = Server::start(["--state-dir", state(&disk.0), CHECKS[0]]);
    assert_eq!(get(&server.at, "/").status, 200);
    let log = server.stderr();
    assert!(
        log.contains("cannot be locked: Read-only file system") || log.contains("nothing can be kept there: Read-only")
    );
    refused_by_the_disk(disk.0.path(), &["silence", "--lift", "db"], "Read-only file system");
    refused_by_the_disk(disk.0.path(), &["beat", "job"], "Read-only file system");
}
