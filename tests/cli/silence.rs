//! `hospital silence`, and what it changes for `hospital check`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::harness::HOSPITAL;
use crate::harness::once::{PREDICTABLE, Run, hospital, run};

const BAD: &str = "shop.db=file:/no/such#tag=slow";

fn silence(state: &Path, args: &[&str]) -> Run {
    let mut command = hospital("silence");
    command.env("HOSPITAL_STATE_DIR", state).args(args);
    run(command)
}

fn check(state: &Path, args: &[&str]) -> Run {
    let mut command = hospital("check");
    command.env("HOSPITAL_STATE_DIR", state).args(args).args([BAD, PREDICTABLE]);
    run(command)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

#[test]
fn a_silenced_check_is_shown_and_does_not_count_by_its_id_a_prefix_or_a_tag() {
    let folder = folder();
    let state = folder.path();
    assert_eq!(check(state, &[]).code, Some(1));
    for (what, lift) in [
        (&["shop.db"][..], &["--lift", "shop.db"][..]),
        (&["shop"], &["--lift", "shop"]),
        (&["--tag", "slow"], &["--lift", "--tag", "slow"]),
    ] {
        let made = silence(state, &[what, &["30m", "upgrade"]].concat());
        assert!(made.code == Some(0) && made.stdout.contains(": silenced until 2"), "{}{}", made.stdout, made.stderr);
        let shown = check(state, &[]);
        assert_eq!(shown.code, Some(0), "{}", shown.stderr);
        assert!(
            shown.stderr.contains("SILENCED FAIL: shop.db") && shown.stderr.contains("OK (silenced=1)"),
            "{}",
            shown.stderr
        );
        let listed = silence(state, &["--list"]);
        assert!(listed.stdout.contains(": 29m ") && listed.stdout.contains(" left, until 2"), "{}", listed.stdout);
        let lifted = silence(state, lift);
        assert_eq!(lifted.code, Some(0), "{}", lifted.stderr);
        assert_eq!(check(state, &[]).code, Some(1));
        assert_eq!(silence(state, &["--list"]).stdout, "");
    }
}

#[test]
fn every_format_shows_a_silence_and_its_verdict_is_good() {
    let folder = folder();
    let state = folder.path();
    assert_eq!(silence(state, &["shop.db", "30m", "up|grade <b> & \"more\""]).code, Some(0));
    for format in hospital::render::FORMATS {
        let Run { code, stdout, stderr } = check(state, &["--format", format.name]);
        assert_eq!(code, Some(0), "{}: {stdout}{stderr}", format.name);
        let shown = if format.name == "prometheus" { "hospital_check_silenced_until" } else { "silenced until 2" };
        assert!(stdout.contains(shown), "{}: {stdout}", format.name);
    }
    let json = check(state, &["--format", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(
        (&json["status"], &json["summary"]["fail"], &json["summary"]["silenced"]),
        (&"pass".into(), &0.into(), &1.into())
    );
    assert_eq!(json["details"][0]["status"], "fail");
}

#[test]
fn what_is_wrong_with_a_silence_is_said_in_one_line() {
    let folder = folder();
    for (args, told) in [
        (&[][..], "say which check, for how long, and why"),
        (&["db"], "say for how long db is silenced, and why"),
        (&["db", "30m"], "say for how long db is silenced, and why"),
        (&["db", "30m", " "], "say why db is silenced"),
        (&["db", "soon", "why"], "write a time"),
        (&["db", "0", "why"], "longer than 0"),
        (&["db", "31d", "why"], "at most 30 days"),
        (&["db", "30m", "why", "more"], "say for how long db is silenced, and why"),
        (&["--lift", "db"], "there is no silence of db"),
        (&["--lift", "db", "30m"], "--lift takes the check or the tag"),
        (&["--list", "db"], "cannot be used with"),
    ] {
        let Run { code, stderr, .. } = silence(folder.path(), args);
        assert!(code == Some(2) && stderr.lines().count() == 1 && stderr.contains(told), "{args:?}: {stderr}");
    }
    let mut command = hospital("silence");
    command.args(["db", "30m", "why"]);
    let Run { code, stderr, .. } = run(command);
    assert!(code == Some(2) && stderr.contains("give --state-dir DIR, or set HOSPITAL_STATE_DIR"), "{stderr}");
}

#[test]
fn what_can_be_no_check_is_not_silenced() {
    let folder = folder();
    for what in [&[""][..], &[" "], &["db "], &["a\tb"], &["\u{1b}[2J"], &["--tag", ""]] {
        let made = silence(folder.path(), &[what, &["30m", "upgrade"]].concat());
        assert!(
            made.code == Some(2) && made.stderr.contains(" is not the id of a check, nor a tag: "),
            "{}",
            made.stderr
        );
    }
    assert_eq!(silence(folder.path(), &["--list"]).stdout, "");
}

#[test]
fn an_unknown_check_is_refused_where_the_checks_are_known() {
    let folder = folder();
    let with = |args: &[&str]| {
        let mut command = hospital("silence");
        command.env("HOSPITAL_STATE_DIR", folder.path()).env("HEALTHCHECKS", BAD).args(args);
        run(command)
    };
    let refused = with(&["shop.dp", "30m", "why"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("(known: shop.db)"), "{}", refused.stderr);
    assert_eq!(with(&["--tag", "fast", "30m", "why"]).code, Some(2));
    let known = with(&["shop", "30m", "why"]);
    assert_eq!((known.code, known.stderr.as_str()), (Some(0), ""));
    let unknown = silence(folder.path(), &["shop.dp", "30m", "why"]);
    assert!(unknown.code == Some(0) && unknown.stderr.contains("is not known here"), "{}", unknown.stderr);
}

#[test]
fn bad_lines_in_the_file_are_an_error_and_no_silence() {
    let folder = folder();
    let state = folder.path();
    let file = state.join("silences");
    fs::write(&file, "shop.db 30m upgrade\n").expect("it is ours");
    let Run { code, stderr, .. } = check(state, &[]);
    assert!(code == Some(1) && stderr.contains("ERROR: hospital.silences"), "{stderr}");
    assert!(stderr.contains("FAIL: shop.db") && !stderr.contains("SILENCED"), "{stderr}");
    assert_eq!(silence(state, &["shop.db", "30m", "why"]).code, Some(0));
    assert!(fs::read_to_string(&file).expect("it is text").ends_with("\nshop.db 30m upgrade\n"));
    let listed = silence(state, &["--list"]);
    assert!(listed.code == Some(2) && listed.stdout.starts_with("shop.db: ") && listed.stderr.contains("line 2: "));
}

#[test]
fn what_is_waited_for_is_needed_whether_it_is_silenced_or_not() {
    let folder = folder();
    assert_eq!(silence(folder.path(), &["shop.db", "30m", "why"]).code, Some(0));
    let mut command = hospital("wait");
    command.env("HOSPITAL_STATE_DIR", folder.path()).args(["--for", "200ms", BAD]);
    assert_eq!(run(command).code, Some(1));
}

#[test]
#[ignore = "needs root"]
fn who_silences_is_told_and_who_may_not_write_there_is_told_what_to_do() {
    let folder = folder();
    let state = folder.path();
    fs::set_permissions(state, Permissions::from_mode(0o755)).expect("it is ours");
    let by = |user: &str, args: &[&str]| {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
        command.env("SUDO_USER", "alice").args([HOSPITAL, "silence", "--state-dir"]).arg(state).args(args);
        run(command)
    };
    let refused = by("65534", &["shop.db", "30m", "why"]);
    assert!(refused.code == Some(74) && refused.stderr.contains("do it as root"), "{}", refused.stderr);
    assert_eq!(by("65534", &["--list"]).code, Some(0));
    std::os::unix::fs::chown(state, Some(65534), Some(65534)).expect("we are root");
    assert_eq!(by("65534", &["shop.db", "30m", "why"]).code, Some(0));
    let made = by("0", &["--tag", "slow", "30m", "why"]);
    assert!(made.code == Some(0) && made.stdout.contains(" by root (sudo by alice): why"), "{}", made.stderr);
    assert_eq!(by("65534", &["--lift", "--tag", "slow"]).code, Some(0), "what root made belongs to the owner");
}
