//! `hospital check` on a terminal, interrupted, and without a reader.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use crate::harness::once::{PREDICTABLE, check, hospital, run};
use crate::harness::programs::{endless, with};
use crate::harness::{HOSPITAL, Signal, eventually, send};
use regex_lite::Regex;
use tempfile::TempDir;

/// A check that fails.
const FAILS: &str = "fails=exec:/bin/sh#args=-c&args=exit%202";

/// The options of a check that runs until there is a file `go`.
const WAITS: &str = "args=-c&args=until%20[%20-e%20go%20];do%20sleep%200.02;done&timeout=60";

// --- on a terminal ---------------------------------------------------------------------------------

/// A run on a terminal; its output is in a file.
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
        command.current_dir(folder.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Terminal { child: command.spawn().expect("script is a part of every Debian"), folder }
    }

    fn type_in(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is a pipe");
        stdin.write_all(keys.as_bytes()).expect("script reads it");
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
        // When the terminal is gone, so is every process on it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_terminal_shows_what_still_runs_and_for_how_long() {
    let names = ["one", "two", "three", "four", "five"].map(|name| format!("'{name}=exec:/bin/sh#{WAITS}'"));
    let mut terminal = Terminal::run(&format!("{} {PREDICTABLE}", names.join(" ")), &[]);
    let time = "[1-9][0-9]*s";
    let line = format!("1/6, running one {time}, two {time}, three {time} and 2 more");
    let line = Regex::new(&line).expect("it is one");
    eventually("it names three and counts the rest", || line.is_match(&terminal.screen()));
    fs::write(terminal.folder.path().join("go"), "").expect("the folder is ours");
    assert_eq!(terminal.end(), Some(0));
    let screen = terminal.screen();
    assert!(screen.contains("\u{1b}[32mOK\u{1b}[0m"), "in green: {screen:?}");
    let last = screen.rsplit("\u{1b}[2K").next().unwrap_or_default();
    assert!(!last.contains("running"), "the line is gone: {screen:?}");
}

#[test]
fn no_color_is_heeded_on_a_terminal() {
    let mut terminal = Terminal::run(&format!("'{}' {PREDICTABLE}", FAILS), &[("NO_COLOR", "1")]);
    assert_eq!(terminal.end(), Some(1));
    let screen = terminal.screen();
    assert!(screen.contains("FAILED (failures=1)"), "{screen:?}");
    assert!(!Regex::new(r"\x1b\[\d*m").expect("it is one").is_match(&screen), "{screen:?}");
}

#[test]
fn ctrl_c_ends_it_at_once_and_leaves_neither_a_program_nor_half_a_line() {
    let (name, word) = endless("ctrl-c", "timeout=60s");
    let mut terminal = Terminal::run(&format!("\"{name}\""), &[]);
    eventually("the check runs", || with(&word) >= 2 && terminal.screen().contains("running endless"));
    terminal.type_in("\u{3}");
    assert_eq!(terminal.end(), Some(128 + Signal::SIGINT as i32), "it ends by the signal");
    assert_eq!(with(&word), 0, "something is left");
    let screen = terminal.screen();
    let last = screen.lines().rfind(|line| !line.starts_with("Script done")).unwrap_or_default();
    assert!(last.is_empty(), "{screen:?}");
}

// --- interrupted -----------------------------------------------------------------------------------

#[test]
fn a_signal_that_it_was_started_to_ignore_is_ignored() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", HOSPITAL, "check"]).current_dir(folder.path());
    let waits = format!("waits=exec:/bin/sh#{WAITS}").replace("until", "touch%20here;until");
    let mut child = command.arg(waits).stderr(Stdio::null()).spawn().expect("there is a shell");
    eventually("the check runs", || folder.path().join("here").exists());
    send(child.id() as i32, Signal::SIGHUP);
    fs::write(folder.path().join("go"), "").expect("the folder is ours");
    assert_eq!(child.wait().expect("it is our child").code(), Some(0));
}

#[test]
fn a_report_that_is_lost_on_a_full_disk_does_not_end_well() {
    for command in ["check --format json", "check --format junit", "list", "list --json"] {
        let line = format!("exec {HOSPITAL} {command} '{PREDICTABLE}' >/dev/full");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &line]);
        assert_eq!(run(command).code, Some(74), "{line}");
    }
}

#[test]
fn a_report_that_is_lost_at_the_size_limit_of_its_file_does_not_end_well() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut command = Command::new("/bin/sh");
    let line = format!("exec prlimit --fsize=16 {HOSPITAL} check --format json '{PREDICTABLE}' >report");
    command.args(["-c", &line]).current_dir(folder.path());
    let ran = run(command);
    assert_eq!(ran.code, Some(74), "{}", ran.stderr);
    assert!(ran.stderr.contains("cannot write to standard output: File too large"), "{}", ran.stderr);
    // A program that a check runs is ended by it as ever.
    let ran = check(&["exec:/bin/sh#args=-c&args=kill%20-XFSZ%20$$"]);
    assert!(ran.stdout.contains("SIGXFSZ") || ran.stderr.contains("SIGXFSZ"), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn nobody_has_to_read_what_it_says() {
    for redirection in [">&- 2>&-", "2>/dev/full"] {
        for (name, code) in [(PREDICTABLE, 0), (FAILS, 1), ("nothing", 2)] {
            for more in ["", "-v", "--format json"] {
                let line = format!("exec {HOSPITAL} check {more} '{name}' {redirection}");
                let mut command = Command::new("/bin/sh");
                command.args(["-c", &line]);
                assert_eq!(run(command).code, Some(code), "{line}");
            }
        }
    }
    let (reader, writer) = std::io::pipe().expect("there is room for a pipe");
    drop(reader);
    let status = hospital("check").args(["--format", "json", PREDICTABLE]).stdout(writer).status();
    assert_eq!(status.expect("it starts").code(), Some(0));
}
