//! `hospital check` from outside: its output and its exit codes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::time::Instant;

use crate::harness::family::python_program;
use crate::harness::once::{PREDICTABLE, Run, check, hospital, run};
use crate::harness::programs::{endless, with};
use crate::harness::{DEADLINE, HOSPITAL};
use regex_lite::Regex;

/// One check for each outcome that a built-in kind can have; only checks in Rust can be skipped.
const ALL: [&str; 5] = [
    "pass=exec:/bin/sh#title=It%20passes.&args=-c&args=exit%200",
    "fail=exec:/bin/sh#title=It%20fails.&args=-c&args=echo%20it%20is%20down;exit%202",
    "error=plugin:/bin/sh#title=It%20cannot%20tell.&args=-c&args=echo%20who%20knows;exit%203",
    "expected=exec:/bin/sh#title=It%20is%20known%20to%20fail.&expect=failure&args=-c&args=exit%202",
    "surprise=exec:/bin/sh#title=It%20was%20known%20to%20fail.&expect=failure&args=-c&args=exit%200",
];

/// The report without what differs each time.
fn timeless(text: &str) -> String {
    Regex::new(r"in \d+\.\d{3}s").expect("it is one").replace_all(text, "in 0.000s").into_owned()
}

// --- the report ------------------------------------------------------------------------------------

#[test]
fn a_report_that_passes_is_as_in_the_manual() {
    let Run { code, stdout, stderr } = check(&[PREDICTABLE]);
    let line = "-".repeat(70);
    assert_eq!(timeless(&stderr), format!(".\n{line}\nRan 1 test in 0.000s\n\nOK\n"));
    assert_eq!((code, stdout.as_str()), (Some(0), ""));
}

#[test]
fn what_is_not_well_is_told_below_the_dots() {
    // One after the other, so that the dots have a fixed order.
    let Run { code, stdout, stderr } = check(&[&["-j", "1"], &ALL[..]].concat());
    insta::assert_snapshot!(timeless(&stderr));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
}

#[test]
fn verbose_names_each_check_with_its_title_and_a_word() {
    let Run { code, stderr, .. } = check(&[&["-v", "-j", "1"], &ALL[..], &["tcp://127.0.0.1:1"]].concat());
    let told = stderr.split("\n\n").next().unwrap_or_default();
    insta::assert_snapshot!(told);
    assert_eq!(code, Some(1));
}

#[test]
#[ignore = "needs Python's unittest"]
fn the_report_has_the_shape_of_cpythons() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let case = |name: &str, title: &str, mark: &str, body: &str| {
        format!("    {mark}\n    def test_{name}(self):\n        '''{title}'''\n        {body}\n")
    };
    let cases = [
        case("a_pass", "It passes.", "", "pass"),
        case("b_fail", "It fails.", "", "self.fail('it is down')"),
        case("c_error", "It cannot tell.", "", "raise OSError('who knows')"),
        case("d_expected", "It is known to fail.", "@unittest.expectedFailure", "self.fail()"),
        case("e_surprise", "It was known to fail.", "@unittest.expectedFailure", "pass"),
    ];
    let module = format!("import unittest\nclass T(unittest.TestCase):\n{}", cases.concat());
    fs::write(folder.path().join("sample.py"), module).expect("the folder is ours");
    for verbose in [&[][..], &["-v"][..]] {
        let mut command = Command::new(python_program("python"));
        command.args(["-m", "unittest"]).args(verbose).arg("sample").current_dir(folder.path());
        let theirs = run(command);
        let ours = check(&[verbose, &["-j", "1"], &ALL[..]].concat());
        assert_eq!(shape(&ours.stderr), shape(&theirs.stderr), "{}\n{}", ours.stderr, theirs.stderr);
        assert_eq!(ours.code, theirs.code);
    }
}

#[test]
#[ignore = "needs hospital-cli"]
fn the_text_and_the_json_have_the_shape_of_the_origins() {
    let mut command = Command::new(python_program("hospital-cli"));
    let predictable = "hospital.healthchecks.predictable";
    command.arg(predictable).env("PYTHONWARNINGS", "ignore");
    let theirs = run(command);
    let ours = check(&[predictable]);
    assert_eq!(shape(&ours.stderr), shape(&theirs.stderr));
    assert_eq!(ours.code, theirs.code);

    let script = format!(
        "import hospital.wsgi as w; print(w.HealthCheckApp(discover=['{predictable}'])({{}}, lambda *_: None)[0])"
    );
    let mut command = Command::new(python_program("python"));
    command.args(["-W", "ignore", "-c", &script]);
    let theirs = run(command).stdout;
    let ours = check(&["--format", "json", predictable]).stdout;
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("it is JSON");
    let (their, our) = (read(&theirs), read(&ours));
    let keys = |value: &serde_json::Value| value.as_object().expect("it has keys").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&our), keys(&their));
    assert_eq!(keys(&our["summary"]), keys(&their["summary"]));
    assert_eq!(our["details"], their["details"]);
    assert_eq!(our["summary"], their["summary"]);
    assert_eq!(our["status"], their["status"]);
    let indents = |text: &str| text.lines().all(|line| (line.len() - line.trim_start().len()).is_multiple_of(4));
    assert!(indents(&ours) && indents(&theirs));
}

/// Each line of a report, without names and reasons.
fn shape(report: &str) -> Vec<String> {
    let mut shape = Vec::new();
    let mut inside = false;
    for line in report.lines() {
        let kind = match line {
            "" => "",
            rule if rule.trim_matches('-').is_empty() || rule.trim_matches('=').is_empty() => rule,
            line if line.starts_with("Ran ") => "Ran",
            line if ["OK", "FAILED"].iter().any(|word| line.starts_with(word)) => line,
            line if line.contains(": ") && shape.last().is_some_and(|last: &String| last.starts_with("===")) => {
                line.split(": ").next().unwrap_or(line)
            }
            line if line.contains(" ... ") => line.split_once(" ... ").map_or(line, |(_, word)| word),
            line if line.trim_matches(|c| ".FEsxu".contains(c)).is_empty() => line,
            // Tracebacks have any length.
            _ if inside => continue,
            _ => "text",
        };
        inside = kind == "text";
        shape.push(kind.to_owned());
    }
    shape
}

// --- flags -----------------------------------------------------------------------------------------

#[test]
fn every_format_is_written_to_standard_output_and_nothing_else() {
    for format in hospital::render::FORMATS {
        let Run { code, stdout, stderr } = check(&["--format", format.name, PREDICTABLE]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{}", format.name);
        assert!(stdout.ends_with('\n') && stdout.len() > 2, "{}: {stdout:?}", format.name);
        let Run { code, stdout, .. } = check(&["--format", format.name, ALL[1]]);
        assert_ne!(code, Some(0), "{}", format.name);
        assert!(stdout.contains("It fails.") || stdout.contains("fail"), "{}: {stdout:?}", format.name);
    }
}

#[test]
fn a_format_can_say_more_of_each_check() {
    let told = |flags: &[&str]| check(&[flags, &["--format", "json", PREDICTABLE]].concat()).stdout;
    assert!(told(&["-v"]).contains("\"id\": \"hospital.healthchecks.predictable.collected\""));
    assert!(!told(&[]).contains("\"id\""));
    let disk = check(&["-v", "--format", "json", "disk:/"]).stdout;
    let disk: serde_json::Value = serde_json::from_str(&disk).expect("it is JSON");
    assert_eq!(disk["details"][0]["options"], serde_json::json!({"free": "10%"}));
}

#[test]
fn a_plugin_that_cannot_check_is_unknown_and_not_critical() {
    let Run { code, stdout, stderr } = check(&["--format", "nagios", "shop.ping"]);
    assert!(stdout.starts_with("HOSPITAL UNKNOWN - the command line names \"shop.ping\", but "), "{stdout}");
    assert_eq!((code, stdout.lines().count(), stderr.as_str()), (Some(3), 1, ""));
}

#[test]
fn failfast_starts_nothing_after_the_first_that_is_not_well() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let touch = "later=exec:/usr/bin/touch#args=ran";
    let mut command = hospital("check");
    command.args(["--failfast", "-j", "1", ALL[0], ALL[1], touch]).current_dir(folder.path());
    let run = run(command);
    assert!(run.stderr.starts_with(".F\n") && run.stderr.contains("Ran 2 tests in "), "{}", run.stderr);
    assert_eq!(run.code, Some(1));
    assert!(!folder.path().join("ran").exists(), "it was run all the same");
}

#[test]
fn tags_and_names_select() {
    let names = ["a=file:/#tag=x", "b=file:/#tag=x&tag=y", "c=file:/"];
    let ran = |flags: &[&str]| {
        let mut ids: Vec<_> = check(&[flags, &["-v"], &names].concat())
            .stderr
            .lines()
            .filter(|line| names.iter().any(|name| name.starts_with(&format!("{line}="))))
            .map(str::to_owned)
            .collect();
        ids.sort();
        ids.join(" ")
    };
    assert_eq!(ran(&[]), "a b c");
    assert_eq!(ran(&["--tag", "x"]), "a b");
    assert_eq!(ran(&["--tag", "x", "--tag", "y", "--exclude", "a"]), "b");
    assert_eq!(ran(&["--exclude", "a", "--exclude", "b"]), "c");
    refuses(&["--tag", "z", names[0]], "no check is left: --tag and --exclude leave out every one");
}

#[test]
fn a_misspelt_exclude_runs_nothing_and_says_what_is_known() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut command = hospital("check");
    command.args(["--exclude", "heavi", "heavy=exec:/usr/bin/touch#args=ran", "b=file:/"]).current_dir(folder.path());
    let Run { code, stderr, .. } = run(command);
    let told = "hospital: --exclude names \"heavi\", but no check is collected there (known: heavy, b)\n";
    assert_eq!((code, stderr.as_str()), (Some(2), told));
    assert!(!folder.path().join("ran").exists(), "it was run all the same");
    let nagios = check(&["--format", "nagios", "--exclude", "z", "a=file:/"]);
    assert!(nagios.stdout.starts_with("HOSPITAL UNKNOWN - --exclude names \"z\""), "{}", nagios.stdout);
    let Run { stderr, .. } = check(&["--exclude", "http://user:hunter2@shop/", "a=file:/"]);
    assert!(stderr.contains("http://***@shop/"), "{stderr}");
    // A check that its tag already leaves out is known all the same.
    let names = ["a=file:/#tag=x", "b=file:/"];
    assert_eq!(check(&[&["--tag", "x", "--exclude", "b"], &names[..]].concat()).code, Some(0));
}

#[test]
fn no_check_gets_more_time_than_timeout_says() {
    let (name, word) = endless("timeout", "");
    let began = Instant::now();
    let Run { code, stderr, .. } = check(&["--timeout", "200ms", &name]);
    assert!(began.elapsed() < DEADLINE, "it took {:?}", began.elapsed());
    assert!(stderr.contains("timed out after 200ms"), "{stderr}");
    assert_eq!(code, Some(1));
    assert_eq!(with(&word), 0, "something of it is left");
}

#[test]
fn one_at_a_time_each_has_its_own_time() {
    // Together they take longer than any of them may.
    let names = ["a", "b", "c", "d"].map(|name| format!("{name}=exec:/bin/sleep#args=0.4&timeout=1200ms"));
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let Run { code, stderr, .. } = check(&[&["-j", "1"], &names[..]].concat());
    assert_eq!(code, Some(0), "{stderr}");
}

// --- names -----------------------------------------------------------------------------------------

#[test]
fn names_come_from_healthchecks_unless_they_are_given() {
    let told = |names: &str, args: &[&str]| {
        let mut command = hospital("check");
        command.args(args).env("HEALTHCHECKS", names);
        run(command)
    };
    let names = format!("{PREDICTABLE} root=file:/");
    let both = told(&names, &[]);
    assert!(both.stderr.contains("Ran 2 tests"), "{}", both.stderr);
    assert!(told(&names, &["root=file:/"]).stderr.contains("Ran 1 test "));
    let wrong = told("shop.ping", &[]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.starts_with("hospital: HEALTHCHECKS names \"shop.ping\", but no check is registered there"));
}

#[test]
fn without_any_name_the_files_of_this_folder_are_meant() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let here = || {
        let mut command = hospital("check");
        command.current_dir(folder.path());
        run(command)
    };
    let nothing = here();
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.stderr.starts_with("hospital: there is nothing to check: set HEALTHCHECKS"), "{}", nothing.stderr);
    assert_eq!(nothing.stderr.lines().count(), 1);

    fs::write(folder.path().join("healthchecks.toml"), "[[check]]\nuse = 'file:/'\n").expect("the folder is ours");
    assert_eq!(here().code, Some(0));
}

#[test]
fn what_is_wrong_is_one_line_and_exit_code_2() {
    for (args, expected) in [
        (
            &["tpc://db:1"][..],
            "the command line names \"tpc://db:1\", but there is no kind of check \"tpc\": do you mean \"tcp\"? (known: tcp",
        ),
        (
            &["--format", "yaml", PREDICTABLE],
            "invalid value for '--format <FORMAT>': there is no such format (known: json",
        ),
        (&["--timeout", "soon", PREDICTABLE], "invalid value for '--timeout <TIME>': write a time as"),
        (&["--timeout", "0", PREDICTABLE], "invalid value for '--timeout <TIME>': it has to be longer than 0"),
        (&["-j", "0", PREDICTABLE], "invalid value for '--jobs <N>'"),
        (&["--bind", "x", PREDICTABLE], "unexpected argument '--bind'"),
        (&["a=file:/", "a=file:/tmp"], "two checks have the id \"a\""),
    ] {
        refuses(args, expected);
    }
}

#[track_caller]
fn refuses(args: &[&str], expected: &str) {
    let Run { code, stdout, stderr } = check(args);
    assert!(stderr.contains(expected), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
}

#[test]
fn files_that_others_may_write_are_refused_with_exit_code_5() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("checks.toml");
    fs::write(&file, "[[check]]\nuse = 'file:/'\n").expect("the folder is ours");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("the file is ours");
    let file = file.to_str().expect("a plain path");
    // Users may leave their own files as open as they like; root may not.
    let expected = if nix::unistd::geteuid().is_root() { 5 } else { 0 };
    assert_eq!(check(&[file]).code, Some(expected), "{}", check(&[file]).stderr);
}

#[test]
fn the_commands_of_old_are_links_to_the_program() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let linked = |name: &str, argument: &str| {
        let link = folder.path().join(name);
        symlink(HOSPITAL, &link).expect("the folder is ours");
        let mut command = Command::new(link);
        command.args([argument, PREDICTABLE]).env_clear();
        run(command)
    };
    let cli = linked("hospital-cli", "-v");
    assert!(cli.stderr.contains("Health checks are collected. ... ok"), "{}", cli.stderr);
    assert_eq!(cli.code, Some(0));
    let help = Command::new(folder.path().join("hospital-cli")).arg("--help").output().expect("it was just run");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("\nUsage: hospital-cli [OPTIONS] [NAMES]...\n"), "{help}");
    let serve = linked("hospital-serve", "--check-config");
    assert_eq!((serve.code, serve.stdout.as_str()), (Some(0), "the configuration is good\n"), "{}", serve.stderr);
}
