//! Each format, read by the program that people read it with.

use std::process::Command;

use crate::harness::family::python_program;
use crate::harness::once::{Run, check, hospital, run};

const WELL: [&str; 3] = [
    "pass=exec:/bin/true#title=It%20%23%201%20passes.",
    "warns=plugin:/bin/sh#args=-c&args=echo%20'WARNING%20-%20hm%20%7C%20core=41.5°C%20read=12MB/s';exit%201",
    "expected=exec:/bin/false#expect=failure",
];
const FAILS: &str = "fails=exec:/bin/sh#args=-c&args=echo%20it%20is%20%22down%22;exit%201";
const ERROR: &str = "error=plugin:/bin/sh#args=-c&args=echo%20who%20knows;exit%203";

/// The report of these checks, in a file.
fn report(format: &str, names: &[&str]) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(&format!(".{format}")).tempfile().expect("there is room");
    std::fs::write(&file, check(&[&["--format", format], names].concat()).stdout).expect("it is ours");
    file
}

/// Runs a program on a file.
fn read_by(mut command: Command, file: &tempfile::NamedTempFile) -> Run {
    command.arg(file.path());
    run(command)
}

fn program(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

#[test]
#[ignore = "needs perl"]
fn prove_passes_when_all_is_well_and_fails_when_something_is_not() {
    let well = read_by(program(&["prove"]), &report("tap", &WELL));
    assert_eq!(well.code, Some(0), "{}{}", well.stdout, well.stderr);
    assert!(well.stdout.contains("Tests=3") && well.stdout.contains("Result: PASS"), "{}", well.stdout);
    let bad = read_by(program(&["prove"]), &report("tap", &[WELL[0], FAILS, ERROR]));
    assert_ne!(bad.code, Some(0), "{}", bad.stdout);
    assert!(bad.stdout.contains("Failed tests:  2-3"), "{}", bad.stdout);
}

#[test]
#[ignore = "needs perl"]
fn prove_reads_the_checks_from_a_pipe_and_runs_them_itself() {
    let ours = crate::harness::HOSPITAL;
    let piped = format!("{ours} check --format tap '{}' | prove --exec cat /dev/stdin", WELL[0]);
    let itself = format!("prove --exec '{ours} check --format tap' '{}'", WELL[0]);
    for script in [piped, itself] {
        let ran = run(program(&["sh", "-c", &script]));
        assert_eq!(ran.code, Some(0), "{script}: {}{}", ran.stdout, ran.stderr);
    }
}

#[test]
#[ignore = "needs Python's junitparser"]
fn junitparser_counts_what_we_count() {
    let script = "import sys, junitparser as j; x = j.JUnitXml.fromfile(sys.argv[1]);
print(x.tests, x.failures, x.errors, x.skipped, [c.system_out for s in x for c in s if c.system_out])";
    let mut python = Command::new(python_program("python"));
    python.args(["-c", script]);
    let read = read_by(python, &report("junit", &[&WELL[..], &[FAILS, ERROR]].concat()));
    assert_eq!(read.stdout.trim(), "5 1 1 1 ['warn: WARNING - hm']", "{}", read.stderr);
}

#[test]
#[ignore = "needs jq"]
fn jq_reads_both_dialects_of_json() {
    for (format, filter, expected) in [
        ("json", r#".status, .summary.total, (.details[] | select(.context) | .context)"#, "pass 3 WARNING - hm"),
        ("health+json", r#".status, (.checks | keys_unsorted[] | select(. == "warns:core"))"#, "warn warns:core"),
    ] {
        let read = read_by(program(&["jq", "-r", filter]), &report(format, &WELL));
        let words: Vec<_> = read.stdout.lines().filter(|line| !line.contains("/bin/false")).collect();
        assert_eq!((read.code, words.join(" ").as_str()), (Some(0), expected), "{format}: {}", read.stderr);
    }
}

#[test]
#[ignore = "needs promtool"]
fn promtool_has_no_complaint_and_the_figures_are_there() {
    let file = report("prometheus", &[&WELL[..], &[FAILS, ERROR]].concat());
    let text = std::fs::read_to_string(&file).expect("it was written");
    for unit in ["°C", "MB/s"] {
        assert!(text.contains(&format!("unit=\"{unit}\"")), "{text}");
    }
    let read = run(program(&["sh", "-c", &format!("promtool check metrics <{}", file.path().display())]));
    assert_eq!((read.code, read.stdout + &read.stderr), (Some(0), String::new()));
}

/// `negate` runs a plugin and reads its exit code and the state in its first line.
#[test]
#[ignore = "needs negate"]
fn a_plugin_that_runs_plugins_understands_ours() {
    for (names, theirs, word) in [(&WELL[..1], 2, "HOSPITAL CRITICAL - "), (&[FAILS][..], 0, "HOSPITAL OK - ")] {
        let mut negate = program(&["/usr/lib/nagios/plugins/negate", "-s", crate::harness::HOSPITAL]);
        negate.args(["check", "--format", "nagios"]).args(names);
        let read = run(negate);
        assert_eq!(read.code, Some(theirs), "{}", read.stdout);
        assert!(read.stdout.starts_with(word), "{}", read.stdout);
    }
}

#[test]
fn a_warning_of_a_plugin_is_read_in_every_format() {
    for format in hospital::render::FORMATS {
        let told = check(&["--format", format.name, WELL[1]]);
        // For whoever reads nagios, 1 is a warning.
        assert_eq!(told.code, Some(i32::from(format.name == "nagios")), "{}", format.name);
        // An exposition has no place for a text.
        if format.name != "prometheus" {
            assert!(told.stdout.contains("WARNING - hm"), "{}: {}", format.name, told.stdout);
        }
    }
    let told = check(&["-v", WELL[1]]);
    assert!(told.stderr.contains(" ... WARN\n") && told.stderr.contains("\nWARNING - hm\n"), "{}", told.stderr);
}

#[test]
fn an_env_file_tells_what_to_check_as_it_does_for_the_daemon() {
    let file = tempfile::NamedTempFile::new().expect("there is room");
    let names = "well=exec:/bin/sh#args=-c&args=test%20$SHOP%20=%20open";
    std::fs::write(&file, format!("HEALTHCHECKS='{names}'\nSHOP=open\n")).expect("it is ours");
    let with = |verb: &str, path: &str| {
        let mut command = hospital(verb);
        command.args(["--env-file", path]).env("HEALTHCHECKS", "file:/no/such");
        run(command)
    };
    let path = file.path().to_str().expect("a plain path");
    let checked = with("check", path);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(with("list", path).stdout.contains("well"));
    assert_eq!(with("check", "/no/such/file").code, Some(2));
    assert!(with("list", "-/no/such/file").stdout.contains("file:/no/such"), "it need not exist");
}
