//! `hospital list`: the checks that would run, for people and for programs.

mod support;

use std::fs;

use serde_json::json;
use support::once::{PREDICTABLE, Run, hospital, run};

#[track_caller]
fn list(args: &[&str]) -> Run {
    let mut command = hospital("list");
    command.args(args);
    run(command)
}

#[test]
fn it_shows_each_check_in_a_row_and_runs_none() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let touch = format!("touch=exec:/usr/bin/touch#args={}", folder.path().join("ran").display());
    let Run { code, stdout, stderr } = list(&[PREDICTABLE, "db=tcp://db:5432#timeout=2s&tag=readiness&tag=x", &touch]);
    let rows: Vec<Vec<&str>> =
        stdout.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(
        rows,
        [
            &["ID", "TITLE", "KIND", "TAGS", "TIMEOUT", "ORIGIN"][..],
            &[
                "hospital.healthchecks.predictable.collected",
                "Health checks are collected.",
                "function",
                "5s",
                PREDICTABLE,
            ],
            &["db", "db:5432 accepts connections", "tcp", "readiness,x", "2s", "tcp://db:5432"],
            &["touch", "/usr/bin/touch succeeds", "exec", "5s", "exec:/usr/bin/touch"],
        ]
    );
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(!folder.path().join("ran").exists(), "it was run");
}

#[test]
fn it_is_json_for_programs() {
    let Run { code, stdout, .. } = list(&["--json", "db=tcp://db:5432#timeout=1500ms&tag=readiness"]);
    let told: serde_json::Value = serde_json::from_str(&stdout).expect("it is JSON");
    let row = json!({
        "id": "db",
        "title": "db:5432 accepts connections",
        "kind": "tcp",
        "tags": ["readiness"],
        "timeout": "1s 500ms",
        "origin": "tcp://db:5432",
    });
    assert_eq!((code, told), (Some(0), json!([row])));
}

#[test]
fn what_comes_from_a_file_is_shown_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    fs::write(folder.path().join("healthchecks.toml"), "[[check]]\nname = 'root'\nuse = 'file:/'\n").expect("ours");
    let mut command = hospital("list");
    command.current_dir(folder.path());
    let Run { stdout, .. } = run(command);
    assert!(stdout.contains("./healthchecks.toml:3:7\n"), "{stdout}");
}

#[test]
fn it_selects_as_check_does() {
    let names = ["a=file:/#tag=x", "b=file:/#tag=x", "c=file:/"];
    let Run { stdout, .. } = list(&[&["--tag", "x", "--exclude", "a"], &names[..]].concat());
    let ids: Vec<_> = stdout.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(ids, ["b"]);
}

#[test]
fn a_password_is_not_shown() {
    for flags in [&[][..], &["--json"][..]] {
        let Run { code, stdout, .. } =
            list(&[flags, &["http://user:hunter2@shop/#header=X-Token:%20hunter2"]].concat());
        assert_eq!(code, Some(0));
        assert!(stdout.contains("shop") && !stdout.contains("hunter2"), "{stdout}");
    }
}

#[test]
fn what_is_wrong_is_one_line_and_exit_code_2() {
    let Run { code, stdout, stderr } = list(&["shop.ping"]);
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(2), "", 1), "{stderr}");
    assert!(stderr.starts_with("hospital: the command line names \"shop.ping\", but no check is registered there"));
}
