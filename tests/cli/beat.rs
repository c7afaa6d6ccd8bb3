//! `hospital beat`, and what the check `beat:` makes of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::once::{Run, check, hospital, run};
use crate::harness::{HOSPITAL, Signal, eventually, send};

fn beat(state: &Path, args: &[&str]) -> Run {
    let mut command = hospital("beat");
    command.env("HOSPITAL_STATE_DIR", state).args(args);
    run(command)
}

/// The status and the context of `beat:night`.
fn found(state: &Path, options: &str) -> (String, String) {
    let state = state.to_str().expect("a plain path");
    let ran = check(&["--state-dir", state, "--format", "json", &format!("beat:night{options}")]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stderr));
    let text = |key| json["details"][0][key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("context"))
}

#[track_caller]
fn assert_found(state: &Path, options: &str, status: &str, context: &str) {
    let found = found(state, options);
    assert!(found.0 == status && found.1.contains(context), "{found:?}");
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

#[test]
fn a_job_beats_and_its_check_passes_until_the_time_is_over() {
    let folder = folder();
    let state = folder.path();
    assert_found(state, "", "fail", "no beat yet: `hospital beat night` has to run");
    let Run { code, stdout, stderr } = beat(state, &["night"]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "", ""));
    assert_found(state, "", "pass", "the last at 2");
    assert_found(state, "#within=1ms", "fail", "expected a beat in the last ");
    assert_eq!(beat(state, &["night", "--fail", "no\ntape"]).code, Some(0));
    assert_found(state, "", "fail", "no\\ntape (the last at ");
    assert_eq!(beat(state, &["night"]).code, Some(0));
    assert_found(state, "", "pass", "");
}

#[test]
fn a_wrapped_command_keeps_its_streams_and_its_exit_code() {
    let folder = folder();
    let state = folder.path();
    let ran = beat(state, &["night", "--", "/bin/sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "out\n", "err\n"));
    assert_found(state, "", "pass", ", exit code 0 after ");
    assert_eq!(beat(state, &["night", "--", "/bin/sh", "-c", "exit 7"]).code, Some(7));
    assert_found(state, "", "fail", "it ended with exit code 7 (");
    assert_eq!(beat(state, &["night", "--", "/bin/sh", "-c", "kill -KILL $$"]).code, Some(128 + 9));
    assert_found(state, "", "fail", "it was ended by SIGKILL");
    for (program, code) in [("/no/such", 127), ("/etc/passwd", 126)] {
        let ran = beat(state, &["night", "--", program]);
        assert!(ran.code == Some(code) && ran.stderr.starts_with("hospital: "), "{}", ran.stderr);
        assert_found(state, "", "fail", "it cannot be run: ");
    }
}

#[test]
fn a_signal_that_it_is_sent_reaches_the_command_once() {
    let folder = folder();
    let log = folder.path().join("log");
    let script = "trap 'echo got >>\"$1\"; exit 3' TERM; echo ready >>\"$1\"; while :; do sleep 0.01; done";
    let mut command = Command::new(HOSPITAL);
    command.args(["beat", "--state-dir"]).arg(folder.path()).args(["night", "--", "/bin/sh", "-c", script, "sh"]);
    let mut child = command.arg(&log).stdin(Stdio::null()).spawn().expect("it is built");
    eventually("it runs", || fs::read_to_string(&log).is_ok_and(|text| text.contains("ready")));
    send(child.id() as i32, Signal::SIGTERM);
    assert_eq!(child.wait().expect("it is our child").code(), Some(3));
    assert_eq!(fs::read_to_string(&log).expect("it is text"), "ready\ngot\n");
    assert_found(folder.path(), "", "fail", "exit code 3");
}

#[test]
fn without_a_state_dir_there_is_one_line_that_says_what_to_do() {
    for mut command in [hospital("beat"), hospital("check")] {
        command.arg(if command.get_args().any(|arg| arg == "beat") { "night" } else { "beat:night" });
        let Run { code, stderr, .. } = run(command);
        let advice = "give --state-dir DIR, or set HOSPITAL_STATE_DIR";
        assert!(code == Some(2) && stderr.lines().count() == 1 && stderr.contains(advice), "{stderr}");
    }
    let mut serve = hospital("serve");
    serve.args(["--check-config", "beat:night"]);
    let Run { code, stderr, .. } = run(serve);
    assert!(code == Some(2) && stderr.contains("HOSPITAL_STATE_DIR"), "{stderr}");
}

#[test]
fn a_state_dir_that_cannot_be_used_is_one_line_and_does_not_keep_a_job_from_running() {
    let folder = folder();
    let (missing, file, open) = (folder.path().join("no"), folder.path().join("file"), folder.path().join("open"));
    fs::write(&file, "").and_then(|()| fs::create_dir(&open)).expect("the folder is ours");
    fs::set_permissions(&open, Permissions::from_mode(0o1777)).expect("it is ours");
    for (state, code, told) in [
        (&missing, 2, "there is no such folder"),
        (&file, 2, "it cannot be opened"),
        (&open, 5, "everybody may write to it (its mode is 1777)"),
    ] {
        let ran = beat(state, &["night"]);
        assert!(
            ran.code == Some(code) && ran.stderr.lines().count() == 1 && ran.stderr.contains(told),
            "{}",
            ran.stderr
        );
        let ran = beat(state, &["night", "--", "/bin/echo", "done"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), "done\n"), "{}", ran.stderr);
    }
}

#[test]
fn a_wrong_name_is_refused_before_anything_runs() {
    let folder = folder();
    for name in ["../x", "a b", ".hidden", ""] {
        let ran = beat(folder.path(), &[name, "--", "/bin/echo", "ran"]);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.lines().count()), (Some(2), "", 1), "{}", ran.stderr);
    }
    assert_eq!(beat(folder.path(), &["night", "--fail", "x", "--", "/bin/true"]).code, Some(2));
}

#[test]
fn what_others_may_write_or_is_no_file_or_is_damaged_is_an_error() {
    let folder = folder();
    let state = folder.path();
    assert_eq!(beat(state, &["night"]).code, Some(0));
    let file = state.join("beats/night");
    fs::set_permissions(&file, Permissions::from_mode(0o666)).expect("it is ours");
    assert_found(state, "", "error", "everybody may write to ");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("it is ours");
    fs::write(&file, "rubbish").expect("it is ours");
    assert_found(state, "", "error", "is damaged");
    assert_eq!(beat(state, &["night"]).code, Some(0));
    assert_found(state, "", "pass", "");
    fs::remove_file(&file).and_then(|()| symlink("/etc/passwd", &file)).expect("it is ours");
    assert_found(state, "", "error", "cannot be read");
    let ran = beat(state, &["night"]);
    assert!(ran.code == Some(74) && ran.stderr.lines().count() == 1, "{}", ran.stderr);
}

#[test]
#[ignore = "needs root"]
fn only_who_is_permitted_beats_and_root_gives_the_permission() {
    let folder = folder();
    let state = folder.path();
    fs::set_permissions(state, Permissions::from_mode(0o755)).expect("it is ours");
    let nobody = |args: &[&str]| {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", HOSPITAL, "beat", "--state-dir"]);
        command.arg(state).args(args);
        run(command)
    };
    assert_eq!(beat(state, &["night"]).code, Some(0));
    let refused = nobody(&["night"]);
    assert!(refused.code == Some(74) && refused.stderr.contains("Permission denied"), "{}", refused.stderr);
    let mut grant = Command::new("/usr/bin/install");
    grant.args(["-o", "65534", "-m", "644", "/dev/null"]).arg(state.join("beats/theirs"));
    assert!(grant.status().expect("it is installed").success());
    let ran = nobody(&["theirs"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_neither_keeps_a_beat_away_nor_makes_one() {
    let folder = folder();
    let state = folder.path();
    let mount = |args: &[&str]| {
        let status = Command::new("/bin/mount").args(args).arg(state).status();
        assert!(status.expect("it is installed").success(), "{args:?}");
    };
    mount(&["-t", "tmpfs", "-o", "size=64k,mode=755", "none"]);
    assert_eq!(beat(state, &["night"]).code, Some(0));
    let before = found(state, "").1;
    // Until nothing more fits.
    let _ = fs::write(state.join("filler"), vec![0; 1 << 20]);
    let first = beat(state, &["new"]);
    assert!(first.code == Some(74) && first.stderr.contains("No space left"), "{}", first.stderr);
    assert_eq!(beat(state, &["night", "--fail", "full"]).code, Some(0));
    assert_found(state, "", "fail", "full (the last");
    assert!(!before.is_empty());
    mount(&["-o", "remount,ro"]);
    let refused = beat(state, &["night"]);
    assert!(refused.code == Some(74) && refused.stderr.contains("Read-only"), "{}", refused.stderr);
    assert_found(state, "", "fail", "full (the last");
    assert!(Command::new("/bin/umount").arg(state).status().expect("it is installed").success());
}
