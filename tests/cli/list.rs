//! `hospital list`: the checks that would run, for people and for programs.

use std::fs;

use crate::harness::once::{PREDICTABLE, Run, hospital, run};
use serde_json::json;

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

#[test]
fn thresholds_are_shown_with_their_defaults_and_without_secrets() {
    let names = [
        "disk:/",
        "inodes=disk:/#free=20%&inodes=5%",
        "process:x",
        "none=process:x#max=0",
        "http://user:hunter2@shop/#header=Authorization:%20Bearer%20s3cret&match=s3cret",
        "exec:/bin/true#args=-p,s3cret&env=TOKEN=s3cret",
    ];
    let shown = list(&[&["-v"], &names[..]].concat());
    let options: Vec<_> =
        shown.stdout.lines().map(|line| line.rsplit("  ").next().unwrap_or_default().trim()).collect();
    assert_eq!(options[..5], ["OPTIONS", "free=10%", "free=20% inodes=5%", "min=1", "max=0 min=0"]);
    assert_eq!(options[5], "match=*** method=GET redirects=0 status=2xx");
    let json = list(&[&["-v", "--json"], &names[..]].concat());
    let rows: serde_json::Value = serde_json::from_str(&json.stdout).expect("it is JSON");
    assert_eq!(rows[1]["options"], json!({"free": "20%", "inodes": "5%"}));
    assert!(![shown.stdout, json.stdout].concat().contains("s3cret"));
    assert!(!list(&["disk:/"]).stdout.contains("free="));
}

#[test]
fn a_number_without_a_unit_and_a_port_without_a_scheme_are_refused_with_what_to_write() {
    for (name, advice) in [
        ("disk:/#free=20", "option free: write 20% for a share, or 20B for a size"),
        ("memory:#available=0.99", "option available: write 0.99% for a share, or 0.99B for a size"),
        ("disk:/#inodes=20", "option inodes: write 20% for a share; a number is more than 100"),
        ("127.0.0.1:8081", "a port is checked by tcp: write tcp://127.0.0.1:8081"),
        ("localhost:8081", "a port is checked by tcp: write tcp://localhost:8081"),
        ("[::1]:8081", "a port is checked by tcp: write tcp://[::1]:8081"),
    ] {
        let Run { code, stderr, .. } = list(&[name]);
        assert!(code == Some(2) && stderr.contains(advice), "{name}: {stderr}");
    }
}

#[test]
fn a_flag_and_its_value_in_one_argument_are_named() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("checks.toml");
    std::fs::write(&file, "[[check]]\nuse = 'exec:/bin/true'\nargs = '-w 5'\n").expect("the folder is ours");
    let note = format!(
        "{}:2:7: args: a flag and its value are one argument: two have a comma between them, as in -w,5",
        file.display()
    );
    let listed = list(&[file.to_str().expect("a plain path")]);
    assert!(listed.code == Some(0) && listed.stdout.ends_with(&format!("\n{note}\n")), "{}", listed.stdout);
}
