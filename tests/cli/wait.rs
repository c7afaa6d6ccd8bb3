//! `hospital wait` from outside.

use std::fs;
use std::process::{Command, Stdio};

use crate::harness::HOSPITAL;
use crate::harness::eventually;
use crate::harness::once::{PREDICTABLE, Run, hospital, run};

fn wait(args: &[&str]) -> Run {
    let mut command = hospital("wait");
    command.args(args);
    run(command)
}

#[test]
fn what_is_there_is_not_waited_for() {
    let Run { code, stdout, stderr } = wait(&[PREDICTABLE]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "", ""));
}

#[test]
fn each_change_of_what_is_missing_is_told_once_until_all_is_there() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (file, log) = (folder.path().join("lock"), folder.path().join("log"));
    let name = format!("lock=file:{}", file.display());
    let mut command = Command::new(HOSPITAL);
    command.args(["wait", "--for", "1m", &name, PREDICTABLE]).stdin(Stdio::null());
    command.stderr(fs::File::create(&log).expect("the folder is ours"));
    let mut child = command.spawn().expect("it is built");
    let told = || fs::read_to_string(&log).expect("it is text");
    eventually("it says what is missing", || told().contains("waiting for lock: fail: expected a file"));
    fs::write(&file, "").expect("the folder is ours");
    assert_eq!(child.wait().expect("it is our child").code(), Some(0));
    let told = told();
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.lines().last().is_some_and(|line| line.starts_with("lock: pass after ")), "{told}");
}

#[test]
fn what_does_not_come_ends_it_with_1_and_is_named() {
    let Run { code, stderr, .. } = wait(&["--for", "300ms", "file:/no/such", PREDICTABLE]);
    let [first, last] = &stderr.lines().collect::<Vec<_>>()[..] else { panic!("{stderr}") };
    assert!(first.starts_with("waiting for file:/no/such: fail: "), "{stderr}");
    assert!(last.starts_with("hospital: not there after 300ms: file:/no/such: fail: "), "{stderr}");
    assert_eq!(code, Some(1));
}

#[test]
fn what_never_ends_is_named_when_the_time_is_over() {
    let Run { code, stderr, .. } = wait(&["--for", "300ms", "slow=exec:/bin/sleep#args=60"]);
    // Whether the check or its round says so first.
    let last = stderr.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("hospital: not there after 300ms: slow: error: ") && last.contains("timed out"),
        "{stderr}"
    );
    assert_eq!(code, Some(1));
}

#[test]
fn a_wrong_name_or_time_is_refused_at_once() {
    for args in [&["--for", "1h", "tpc://db:1"][..], &["--for", "1h", "no.such.check"], &["--for", "0", PREDICTABLE]] {
        let Run { code, stderr, .. } = wait(args);
        assert!(code == Some(2) && stderr.lines().count() == 1, "{args:?}: {stderr}");
    }
}
