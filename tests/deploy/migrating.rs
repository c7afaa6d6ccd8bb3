//! Users of gunicorn or chaussette can give us their flags: each means the same, or we say what to do instead.

use std::collections::BTreeSet;
use std::process::Command;

use crate::harness::family::python_program;
use crate::harness::once::{hospital, run};
use crate::harness::{Launch, get, refused};
use regex_lite::Regex;

#[test]
#[ignore = "needs gunicorn"]
fn every_flag_of_gunicorn_is_known_or_advised_on() {
    assert!(advised("gunicorn") > 50);
}

#[test]
#[ignore = "needs chaussette"]
fn every_flag_of_chaussette_is_known_or_advised_on() {
    assert!(advised("chaussette") >= 7);
}

/// Gives us each flag in the help of a program; returns how many there was advice on.
#[track_caller]
fn advised(program: &str) -> usize {
    let ours = flags(&mut hospital("serve"));
    let theirs = flags(&mut Command::new(python_program(program)));
    assert!(theirs.len() > 10, "{theirs:?}");
    let unknown: Vec<_> = theirs.difference(&ours).filter(|flag| !is_another_name(flag)).collect();
    for flag in &unknown {
        let (code, told) = refused(&["-w", "2", flag], &[]);
        assert_eq!(code, 2, "{flag}: {told}");
        assert!(told.starts_with(&format!("hospital: {flag} has a meaning for gunicorn or chaussette")), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    unknown.len()
}

/// Their flags that we accept but do not show.
fn is_another_name(flag: &str) -> bool {
    ["--log-file", "--log-output"].contains(&flag)
}

/// The flags in the help of a program.
fn flags(program: &mut Command) -> BTreeSet<String> {
    let help = program.arg("--help").output().expect("it is installed");
    let help = String::from_utf8(help.stdout).expect("it writes UTF-8");
    let line = Regex::new(r"(?m)^ +(-.*)$").expect("it is one");
    let flag = Regex::new(r"(?:^|[ ,])(--?[A-Za-z][A-Za-z0-9_-]*)").expect("it is one");
    // The description follows after two spaces.
    let heads = line.captures_iter(&help).map(|found| found[1].split("  ").next().unwrap_or_default().to_owned());
    let named = heads.flat_map(|head| flag.captures_iter(&head).map(|found| found[1].to_owned()).collect::<Vec<_>>());
    named.collect()
}

#[test]
fn a_command_line_of_gunicorn_serves() {
    let launch = Launch::binding(["-w", "2", "-b", "127.0.0.1:0", "--log-level", "critical", "--log-file", "-"]);
    let server = launch
        .args(["--timeout", "60", "--graceful-timeout", "5", "--keep-alive", "5", "--max-requests", "1000"])
        .args(["--max-requests-jitter", "50", "--backlog", "64", "--worker-connections", "10", "-m", "0"])
        .args(["-e", "SHOP=open", "-n", "checks", "--limit-request-line", "4094"])
        .start();
    assert_eq!(get(&server.at, "/").status, 200);
    assert_eq!(server.workers().len(), 2);
    assert!(!server.path("-").exists());
}

#[test]
fn a_command_line_of_chaussette_serves() {
    let log = tempfile::tempdir().expect("there is room");
    let path = log.path().join("log");
    let server = Launch::binding(["--host", "127.0.0.1", "--port", "0", "--log-level", "INFO", "--log-output"])
        .args([&path])
        .start();
    assert_eq!(get(&server.at, "/").status, 200);
    assert!(std::fs::read_to_string(&path).expect("it is written").contains("INFO"));
}

#[test]
fn a_flag_with_its_value_is_advised_on_too() {
    for flag in ["--worker-class=gevent", "-kgevent"] {
        let (code, told) = refused(&[flag], &[]);
        assert_eq!(code, 2, "{told}");
        assert!(told.contains("leave it out"), "{told}");
    }
}

#[test]
fn the_python_application_is_to_be_left_out() {
    for application in ["hospital.wsgi:application", "hospital.wsgi.application"] {
        let (code, told) = refused(&["-w", "4", application], &[]);
        assert_eq!(code, 2, "{told}");
        assert!(told.contains(application) && told.contains("HEALTHCHECKS"), "{told}");
    }
}

#[test]
fn the_flags_in_the_environment_are_noticed_and_neither_obeyed_nor_shown() {
    let server = Launch::serve(["-w", "1"]).env("GUNICORN_CMD_ARGS", "--workers=3 --env=TOKEN=hunter2").start();
    server.logs("GUNICORN_CMD_ARGS is not obeyed");
    assert_eq!(server.workers().len(), 1);
    assert_eq!(server.stderr().matches("GUNICORN_CMD_ARGS").count(), 1);
    assert!(!server.stderr().contains("hunter2"));

    let mut check = hospital("serve");
    check.args(["--check-config", "hospital.healthchecks"]).env("GUNICORN_CMD_ARGS", "--workers=3");
    assert!(run(check).stdout.contains("GUNICORN_CMD_ARGS is not obeyed"));
}

/// The names that MIGRATING.md gives for a resource of goss, or an assertion, whose row begins like this.
fn recommended(start: &str) -> String {
    let text = include_str!("../../docs/MIGRATING.md");
    let row = text.lines().find(|line| line.starts_with(&format!("| `{start}")));
    let cell = row.unwrap_or_else(|| panic!("there is no row {start}")).split(" | ").nth(1).unwrap_or_default();
    cell.split('`').nth(1).expect("the cell holds a name").to_owned()
}

#[test]
#[ignore = "needs dpkg, python3"]
fn each_name_that_is_recommended_passes_when_it_is_well_and_fails_when_it_is_not() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    let swappiness = std::fs::read_to_string("/proc/sys/vm/swappiness").expect("there is one");
    let me = std::env::current_exe().expect("it runs").display().to_string();
    // The row, what stands in it, and what takes its place in either state.
    for (start, written, well, unwell) in [
        ("assert_supported_python_version", "(3,9)", "(3,1)", "(99,1)"),
        ("addr:", "db:5432", &format!("127.0.0.1:{port}"), "127.0.0.1:1"),
        ("port:", ":22", &format!(":{port}"), ":1"),
        ("dns:", "shop#address=10.0.0.1", "localhost#address=127.0.0.1", "localhost#address=10.0.0.1"),
        ("file: /etc/passwd", "mode=0644", "mode=0644", "mode=0600"),
        ("file: /tmp/x", "/tmp/x", "/no/such/file", "/etc/passwd"),
        ("mount:", "/var#mounted&free=10%", "/#mounted&free=0%", "/#mounted&free=100%"),
        ("process:", "nginx", &me, "no-such-program"),
        ("command:", "/path/to/program#args=…", "/bin/true", "/bin/false"),
        ("user:", "www-data", "root", "no-such-user"),
        ("group:", "www-data", "root", "no-such-group"),
        ("package:", "nginx", "bash", "no-such-package"),
        ("kernel-param:", "60", swappiness.trim(), "999"),
        ("interface:", "eth0", "lo", "no-such-interface"),
    ] {
        let name = recommended(start);
        assert!(name.contains(written), "{name}");
        for (state, text) in [("pass", well), ("fail", unwell)] {
            let told = crate::harness::once::check(&["--format", "json", &name.replace(written, text)]);
            let report: serde_json::Value = serde_json::from_str(&told.stdout).expect(&told.stderr);
            assert_eq!(report["details"][0]["status"], state, "{name}: {report}");
        }
    }
}
