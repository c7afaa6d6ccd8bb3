//! `hospital check` from outside: what it says, what it exits with, and that it leaves nothing behind.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use regex_lite::Regex;
use support::family::{python, python_program};
use support::{DEADLINE, HOSPITAL, Signal, eventually, processes, send};
use tempfile::TempDir;

const PREDICTABLE: &str = "hospital.healthchecks.predictable";

/// One check of each outcome that a built-in kind can have; a skip is for checks written in Rust.
const ALL: [&str; 5] = [
    "pass=exec:/bin/sh#title=It%20passes.&args=-c&args=exit%200",
    "fail=exec:/bin/sh#title=It%20fails.&args=-c&args=echo%20it%20is%20down;exit%202",
    "error=exec:/bin/sh#title=It%20cannot%20tell.&args=-c&args=echo%20who%20knows;exit%203",
    "expected=exec:/bin/sh#title=It%20is%20known%20to%20fail.&expect=failure&args=-c&args=exit%202",
    "surprise=exec:/bin/sh#title=It%20was%20known%20to%20fail.&expect=failure&args=-c&args=exit%200",
];

/// What a run came to.
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// A command of the binary, in an environment with nothing but PATH.
fn hospital(verb: &str) -> Command {
    let mut command = Command::new(HOSPITAL);
    command.arg(verb).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

#[track_caller]
fn run(command: &mut Command) -> Run {
    // A bound, for a command that never ends; nothing waits for it.
    let output = assert_cmd::Command::from_std(std::mem::replace(command, Command::new("true")))
        .timeout(DEADLINE * 3)
        .output()
        .expect("it can be started");
    let text = |bytes| String::from_utf8(bytes).expect("it writes UTF-8");
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[track_caller]
fn check(args: &[&str]) -> Run {
    run(hospital("check").args(args))
}

/// The report without what is different each time.
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
    // One after the other, so that the dots have an order.
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
#[ignore = "needs Python's unittest: run tests/run"]
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
        command.args(["-m", "unittest"]).args(verbose).arg("sample").current_dir(folder.path()).env_remove("FORCE_COLOR");
        let theirs = run(&mut command);
        let ours = check(&[verbose, &["-j", "1"], &ALL[..]].concat());
        assert_eq!(shape(&ours.stderr), shape(&theirs.stderr), "{}\n{}", ours.stderr, theirs.stderr);
        assert_eq!(ours.code, theirs.code);
    }
}

#[test]
#[ignore = "needs PyPI's hospital: run tests/run"]
fn the_text_and_the_json_have_the_shape_of_the_origins() {
    let mut command = Command::new(python_program("hospital-cli"));
    let theirs = run(command.arg(PREDICTABLE).env("PYTHONWARNINGS", "ignore"));
    let ours = check(&[PREDICTABLE]);
    // Theirs has a second check, which is always skipped.
    assert_eq!(shape(&ours.stderr), shape(&theirs.stderr.replace(".s\n", ".\n").replace(" (skipped=1)", "")));
    assert_eq!(ours.code, theirs.code);

    let script = format!(
        "import hospital.wsgi as w; print(w.HealthCheckApp(discover=['{PREDICTABLE}'])({{}}, lambda *_: None)[0])"
    );
    let theirs = run(&mut python(&["-W", "ignore", "-c", &script])).stdout;
    let ours = check(&["--format", "json", PREDICTABLE]).stdout;
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("it is JSON");
    let (their, our) = (read(&theirs), read(&ours));
    let keys = |value: &serde_json::Value| value.as_object().expect("it has keys").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&our), keys(&their));
    assert_eq!(keys(&our["summary"]), keys(&their["summary"]));
    assert_eq!(our["details"][0], their["details"][0]);
    assert_eq!(our["status"], their["status"]);
    let indents = |text: &str| text.lines().all(|line| (line.len() - line.trim_start().len()).is_multiple_of(4));
    assert!(indents(&ours) && indents(&theirs));
}

/// Each line of a report, without the names and the reasons in it.
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
            // A traceback is as long as it is.
            _ if inside => continue,
            _ => "text",
        };
        inside = kind == "text";
        shape.push(kind.to_owned());
    }
    shape
}

// --- a terminal ------------------------------------------------------------------------------------

/// A run on a terminal; what it shows is in a file.
struct Terminal {
    child: Child,
    folder: TempDir,
}

impl Terminal {
    fn run(arguments: &str, variables: &[(&str, &str)]) -> Terminal {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut command = Command::new("script");
        let line = format!("exec {HOSPITAL} check {arguments}");
        command.args(["--quiet", "--return", "--flush", "--command", &line, "screen"]);
        command.env_remove("NO_COLOR").env("TERM", "xterm").envs(variables.iter().copied());
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Terminal { child: command.spawn().expect("script is a part of every Debian"), folder }
    }

    fn screen(&self) -> String {
        fs::read_to_string(self.folder.path().join("screen")).unwrap_or_default()
    }

    #[track_caller]
    fn end(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("it ends", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("it was just seen").code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // When its terminal is gone, so is whoever runs there.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A check that is under way until the test says go.
const WAITS: &str = "'args=-c&args=until%20[%20-e%20go%20];do%20sleep%200.02;done&timeout=60'";

#[test]
fn a_terminal_shows_what_still_runs_and_for_how_long() {
    let waiting = |name: &str| format!("{name}=exec:/bin/sh#{}", WAITS.trim_matches('\''));
    let names = ["one", "two", "three", "four", "five"].map(waiting).join("' '");
    let mut terminal = Terminal::run(&format!("'{names}' {PREDICTABLE}"), &[]);
    eventually("it names three and counts the rest", || {
        terminal.screen().contains("1/6, running one 1s, two 1s, three 1s and 2 more")
    });
    fs::write(terminal.folder.path().join("go"), "").expect("the folder is ours");
    assert_eq!(terminal.end(), Some(0));
    let screen = terminal.screen();
    assert!(screen.contains("\u{1b}[32mOK\u{1b}[0m"), "in green: {screen:?}");
    let last = screen.rsplit("\u{1b}[2K").next().unwrap_or_default();
    assert!(!last.contains("running"), "the line is gone: {screen:?}");
}

#[test]
fn no_color_is_heeded_on_a_terminal() {
    let mut terminal = Terminal::run(&format!("'{}' {PREDICTABLE}", ALL[1]), &[("NO_COLOR", "1")]);
    assert_eq!(terminal.end(), Some(1));
    let screen = terminal.screen();
    assert!(screen.contains("FAILED (failures=1)"), "{screen:?}");
    assert!(!Regex::new(r"\x1b\[\d*m").expect("it is one").is_match(&screen), "{screen:?}");
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
}

#[test]
fn failfast_starts_nothing_after_the_first_that_is_not_well() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let touch = "later=exec:/usr/bin/touch#args=ran";
    let run = run(hospital("check").args(["--failfast", "-j", "1", ALL[0], ALL[1], touch]).current_dir(folder.path()));
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
fn no_check_gets_more_time_than_timeout_says() {
    let (name, word) = endless("timeout");
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
    let with = |args: &[&str]| run(hospital("check").args(args).env("HEALTHCHECKS", format!("{PREDICTABLE} root=file:/")));
    assert!(with(&[]).stderr.contains("Ran 2 tests"), "{}", with(&[]).stderr);
    assert!(with(&["root=file:/"]).stderr.contains("Ran 1 test "));
    let wrong = run(hospital("check").env("HEALTHCHECKS", "shop.ping"));
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.starts_with("hospital: HEALTHCHECKS names \"shop.ping\", but no check is registered there"));
}

#[test]
fn without_any_name_the_files_of_this_folder_are_meant() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let here = || run(hospital("check").current_dir(folder.path()));
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
        (&["tpc://db:1"][..], "the command line names \"tpc://db:1\", but there is no kind of check \"tpc\" (known: tcp"),
        (&["--format", "yaml", PREDICTABLE], "invalid value 'yaml' for '--format <FORMAT>': there is no such format (known: json"),
        (&["--timeout", "soon", PREDICTABLE], "invalid value 'soon' for '--timeout <TIME>': write a time as"),
        (&["-j", "0", PREDICTABLE], "invalid value '0' for '--jobs <N>'"),
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
    // A user may leave his own files as open as he likes; root may not.
    let expected = if nix::unistd::geteuid().is_root() { 5 } else { 0 };
    assert_eq!(check(&[file]).code, Some(expected), "{}", check(&[file]).stderr);
}

#[test]
fn the_commands_of_old_are_links_to_the_program() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let linked = |name: &str| {
        let link = folder.path().join(name);
        symlink(HOSPITAL, &link).expect("the folder is ours");
        Command::new(link)
    };
    let cli = run(linked("hospital-cli").args(["-v", PREDICTABLE]));
    assert!(cli.stderr.contains("Health checks are collected. ... ok"), "{}", cli.stderr);
    assert_eq!(cli.code, Some(0));
    let serve = run(linked("hospital-serve").args(["--check-config", PREDICTABLE]));
    assert_eq!((serve.code, serve.stdout.as_str()), (Some(0), "the configuration is good\n"), "{}", serve.stderr);
}

// --- ends ------------------------------------------------------------------------------------------

/// The processes that have this word among their arguments.
fn with(word: &str) -> usize {
    let has = |pid: &i32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // `hospital check` itself has it there, too.
        processes::is_alive(*pid) && !processes::name(*pid).starts_with("hospital") && {
            String::from_utf8_lossy(&arguments).contains(word)
        }
    };
    processes::all().filter(has).count()
}

/// A check that runs for a minute, in a session of its own too, marked with a word of this test.
fn endless(test: &str) -> (String, String) {
    let word = format!("{test}-{}", std::process::id());
    let script = format!("setsid%20sh%20-c%20'sleep%2060;%20:%20{word}'%20%26%20sleep%2060;%20:%20{word}");
    (format!("endless=exec:/bin/sh#timeout=60&args=-c&args={script}"), word)
}

#[test]
fn a_signal_ends_it_at_once_with_all_that_it_has_started() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let (name, word) = endless(&format!("ends-by-{signal}"));
        let mut child = hospital("check").arg(&name).stderr(Stdio::null()).process_group(0).spawn().expect("it starts");
        eventually("the check runs", || with(&word) >= 2);
        send(child.id() as i32, signal);
        let mut status = None;
        eventually("it ends", || {
            status = child.try_wait().expect("it is our child");
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.signal()), Some(signal as i32));
        assert_eq!(with(&word), 0, "something is left after {signal}");
    }
}

#[test]
fn a_signal_that_it_was_started_to_ignore_is_ignored() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", HOSPITAL, "check"]).current_dir(folder.path());
    let waits = format!("waits=exec:/bin/sh#{}", WAITS.trim_matches('\'')).replace("until", "touch%20here;until");
    let mut child = command.arg(waits).stderr(Stdio::null()).spawn().expect("there is a shell");
    eventually("the check runs", || folder.path().join("here").exists());
    send(child.id() as i32, Signal::SIGHUP);
    fs::write(folder.path().join("go"), "").expect("the folder is ours");
    assert_eq!(child.wait().expect("it is our child").code(), Some(0));
}

#[test]
fn failfast_leaves_no_program_behind() {
    let (name, word) = endless("failfast");
    let folder = tempfile::tempdir().expect("a folder for the test");
    // It fails when the other one runs.
    let fails = "fails=exec:/bin/sh#args=-c&args=until%20[%20-e%20here%20];do%20sleep%200.02;done;exit%202";
    let endless = name.replace("args=setsid", "args=touch%20here;setsid");
    let run = run(hospital("check").args(["--failfast", &endless, fails]).current_dir(folder.path()));
    assert!(run.stderr.contains("FAILED (failures=1)"), "{}", run.stderr);
    assert_eq!((run.code, with(&word)), (Some(1), 0));
}

#[test]
fn nobody_has_to_read_what_it_says() {
    for redirection in [">&- 2>&-", ">/dev/full 2>/dev/full"] {
        for (name, code) in [(PREDICTABLE, 0), (ALL[1], 1), ("nothing", 2)] {
            for more in ["", "-v", "--format json"] {
                let line = format!("exec {HOSPITAL} check {more} '{name}' {redirection}");
                let run = run(Command::new("/bin/sh").args(["-c", &line]));
                assert_eq!(run.code, Some(code), "{line}");
            }
        }
    }
    let (reader, writer) = std::io::pipe().expect("there is room for a pipe");
    drop(reader);
    let status = hospital("check").args(["--format", "json", PREDICTABLE]).stdout(writer).status();
    assert_eq!(status.expect("it starts").code(), Some(0), "{}", Path::new(HOSPITAL).display());
}
