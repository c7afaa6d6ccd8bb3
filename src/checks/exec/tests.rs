//! What programs may do to us: each one here is a shell that runs a few lines of script.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::checks::support::secrets::Secrets;
use crate::model::check::CONTEXT_LIMIT;
use crate::os::procfs::{self, Stat};
use crate::os::tree;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// For programs that will be killed: time enough to do their worst.
const SHORT: Duration = Duration::from_millis(500);

/// A script, marked by a word that no other process has in its arguments or environment.
struct Script {
    tag: String,
    action: Action,
}

impl Script {
    fn new(body: &str, more: &[(&str, &str)]) -> Script {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let tag = std::env::var("EXEC_TEST_TAG").unwrap_or_else(|_| format!("tag-{}-{count}-", std::process::id()));
        let env = format!("TAG={tag}");
        let all = [&[("args", "-c"), ("args", body), ("env", &env)], more].concat();
        let pairs = all.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Script { tag, action: build("/bin/sh", &mut Options::new(pairs)).expect("it is well formed") }
    }

    fn run(&self, limit: Duration) -> Finding {
        (self.action)(Deadline::at(Instant::now() + limit))
    }

    /// The pids of its living processes.
    fn alive(&self) -> Vec<i32> {
        let all = procfs::all().expect("/proc is mounted").filter(|stat| !stat.is_dead());
        let words = |pid| [procfs::arguments(pid).unwrap_or_default(), procfs::environment(pid)].concat();
        all.map(|stat| stat.pid).filter(|&pid| words(pid).iter().any(|word| word.contains(&self.tag))).collect()
    }
}

fn found(body: &str, more: &[(&str, &str)]) -> (Status, String) {
    let finding = Script::new(body, more).run(LONG);
    (finding.status, finding.context.unwrap_or_default())
}

/// Runs a script that does not end by itself: it is reported as late, and nothing of it is left.
fn late(body: &str) -> String {
    let script = Script::new(body, &[]);
    let finding = script.run(SHORT);
    assert_eq!(script.alive(), [0; 0], "{body}");
    let context = finding.context.unwrap_or_default();
    assert!(
        finding.status == Status::Error && context.starts_with("/bin/sh timed out after "),
        "{body}: {:?} {context}",
        finding.status
    );
    context
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let give_up = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < give_up, "not within {LONG:?}: {what}");
        std::thread::yield_now();
    }
}

// ---- exit codes and output ----

#[test]
fn a_program_that_fails_as_programs_do_has_failed() {
    for (body, status, context) in [
        ("echo fine", Status::Pass, "fine"),
        ("exit 0", Status::Pass, ""),
        ("exit 1", Status::Fail, "/bin/sh ended with exit status: 1, and printed nothing"),
        (
            "set -e; echo copying; ls /no/such",
            Status::Fail,
            "copying\nls: cannot access '/no/such': No such file or directory",
        ),
        ("echo no; exit 2", Status::Fail, "no"),
        ("echo used=1 | tr = '|'; exit 255", Status::Fail, "used|1"),
        ("exec /bin/false", Status::Fail, "/bin/sh ended with exit status: 1, and printed nothing"),
    ] {
        assert_eq!(found(body, &[]), (status, context.to_owned()), "{body}");
    }
}

#[test]
fn a_program_that_never_ran_or_was_killed_has_not_failed() {
    for (body, context) in [
        ("exec 2>&-; /no/such", "exit status: 127, and printed nothing"),
        ("exec 2>&-; /etc/passwd", "exit status: 126, and printed nothing"),
        ("exec 2>&-; sh -c 'kill -9 $$'; exit $?", "exit status: 137, and printed nothing"),
        ("echo oops; kill -9 $$", "signal: 9 (SIGKILL): oops"),
    ] {
        assert_eq!(found(body, &[]), (Status::Error, format!("/bin/sh ended with {context}")), "{body}");
    }
}

#[test]
fn a_secret_at_the_end_of_what_is_kept_is_hidden() {
    let secrets = Secrets::default().and_variables(["PASSWORD=hunter2-very-secret"].into_iter());
    for shown in [3, 8, 19, 20, 25] {
        let mut options =
            Options::of(&[("args", "-c"), ("args", &format!("printf %{}s hunter2-very-secret", 8192 - shown + 19))]);
        options.hide(secrets.clone());
        let action = build("/bin/sh", &mut options).expect("it is well formed");
        let context = action(Deadline::at(Instant::now() + LONG)).context.unwrap_or_default();
        assert!(!context.contains("hun"), "{shown}: …{}", &context[context.len().saturating_sub(30)..]);
    }
}

#[test]
fn standard_error_speaks_when_the_output_does_not() {
    assert_eq!(found("echo why >&2; exit 2", &[]).1, "why");
    assert_eq!(found("echo noise >&2; echo OK", &[]).1, "OK");
    assert_eq!(found("echo begun; echo why >&2; exit 1", &[]).1, "begun\nwhy");
}

#[test]
fn what_is_no_utf_8_is_replaced() {
    assert_eq!(found("printf 'caf\\351 closed\\n'; exit 2", &[]).1, "caf\u{fffd} closed");
}

#[test]
fn standard_input_is_empty_and_the_process_group_its_own() {
    assert_eq!(found("cat; echo end", &[]).1, "end");
    assert_eq!(found("[ \"$(cut -d' ' -f5 /proc/$$/stat)\" = $$ ] && echo leads", &[]).1, "leads");
}

#[test]
fn environment_and_folder_are_as_told_over_ours() {
    let more = [("env", "A=1"), ("env", "B=x=y"), ("cwd", "/usr")];
    assert_eq!(found("echo $A $B $PWD ${PATH:+path}", &more).1, "1 x=y /usr path");
}

// ---- programs that do not end ----

#[test]
fn a_program_that_ignores_term_is_killed_at_its_deadline() {
    assert!(late("trap '' TERM INT HUP; echo deaf; while :; do sleep 1; done").ends_with("and was killed: deaf"));
}

#[test]
fn a_program_that_closes_its_output_and_lives_on_is_killed_at_its_deadline() {
    assert!(late("echo bye; exec >&- 2>&-; while :; do sleep 1; done").ends_with(": bye"));
}

#[test]
fn the_whole_tree_dies_at_the_deadline() {
    let escapes = [
        "sleep 60 &",
        "(sleep 60 & sleep 60) &",
        "setsid sleep 60 &",
        "setsid sleep 60 > /dev/null 2>&1 < /dev/null &",
        // Their parents are gone before the deadline: init has adopted them.
        "(setsid sh -c 'sleep 60 & sleep 60' > /dev/null 2>&1 &)",
        "(HOSPITAL_EXEC_ID=\"$HOSPITAL_EXEC_ID inner\" setsid sleep 60 > /dev/null 2>&1 &)",
        // It has no mark, but a parent.
        "env -i setsid sh -c \"sleep 60; : $TAG\" > /dev/null 2>&1 &",
        // It has no mark and no parent, but the process group.
        "(env -i sh -c \"sleep 60; : $TAG\" > /dev/null 2>&1 &)",
        // It has forked twice, left the group and lost its environment, as if it had written a name over that: only the
        // limit is left, which was set soon after the start.
        "sleep 0.2; (env -i setsid sh -c \"sleep 60; : $TAG\" > /dev/null 2>&1 &)",
        // It is stopped and cannot react to anything.
        "sh -c 'kill -STOP $$' &",
        // Starts new ones all the time.
        "while :; do (setsid sleep 60 > /dev/null 2>&1 &) ; sleep 0.01; done &",
    ];
    std::thread::scope(|scope| {
        for escape in escapes {
            scope.spawn(move || late(&format!("{escape}\nwhile :; do sleep 1; done")));
        }
    });
}

#[test]
fn a_program_that_prints_without_end_is_stopped() {
    for body in ["yes", "yes >&2", "setsid yes & exec >&-; wait", "head -c 100000000 /dev/zero; sleep 60"] {
        let script = Script::new(body, &[]);
        let finding = script.run(LONG);
        let context = finding.context.unwrap_or_default();
        assert!(context.starts_with("/bin/sh printed more than 1 MiB and was killed"), "{body}: {context}");
        assert_eq!(finding.status, Status::Error);
        assert!(context.len() <= CONTEXT_LIMIT + 100, "{body}: {} bytes are kept", context.len());
        assert_eq!(script.alive(), [0; 0], "{body}");
    }
}

#[test]
fn no_zombie_is_left() {
    for (body, limit) in [("echo $$", LONG), ("echo $$; sleep 60", SHORT), ("echo $$; yes", LONG)] {
        let context = Script::new(body, &[]).run(limit).context.unwrap_or_default();
        let pid = context.rsplit(' ').next().and_then(|word| word.parse().ok()).expect("it printed its pid");
        let ours = i32::try_from(std::process::id()).expect("pids are small");
        assert!(Stat::of(pid).is_none_or(|stat| stat.parent != ours), "{body}");
    }
}

// ---- programs that end and leave something behind ----

#[test]
fn nobody_waits_for_a_grandchild_that_holds_the_pipe() {
    for body in ["echo OK; sleep 60 &", "echo OK; setsid sleep 60 &", "echo OK; (setsid sh -c 'sleep 60 & sleep 60' &)"]
    {
        let script = Script::new(body, &[]);
        let finding = script.run(LONG);
        assert_eq!((finding.status, finding.context.as_deref()), (Status::Pass, Some("OK")), "{body}");
        wait_until("what it left behind is gone", || script.alive().is_empty());
    }
}

#[test]
fn a_daemon_that_has_let_go_of_the_output_is_spared() {
    let folder = tempfile::tempdir().expect("there is room");
    let folder = folder.path().display().to_string();
    let body = "setsid sh -c ': > ready; sleep 60' > /dev/null 2>&1 & until [ -e ready ]; do :; done; echo OK";
    let script = Script::new(body, &[("cwd", &folder)]);
    assert_eq!(script.run(LONG).status, Status::Pass);
    assert_ne!(script.alive(), [0; 0]);
    for pid in script.alive() {
        crate::os::process::send(pid, crate::os::signals::Signal::SIGKILL).expect("it is ours");
    }
}

#[test]
fn what_still_runs_ends_with_the_process() {
    const TEST: &str = "checks::exec::tests::what_still_runs_ends_with_the_process";
    let tag = format!("inner-{}-", std::process::id());
    let script = Script::new("sleep 60 & setsid sleep 60 & wait", &[]);
    if script.tag == std::env::var("EXEC_TEST_TAG").unwrap_or_default() {
        // The process that ends: no other test runs in it.
        let running = std::thread::spawn(move || script.run(LONG));
        let script = Script::new("exit 0", &[]);
        wait_until("they run", || script.alive().len() == 4);
        tree::kill_all();
        assert_eq!(script.alive().len(), 1, "but for this process nothing is alive");
        assert!(script.run(LONG).context.is_some_and(|context| context.contains("hospital is about to end")));
        assert_eq!(running.join().expect("it does not panic").status, Status::Error);
        return;
    }
    let test = std::env::current_exe().expect("it runs");
    let inner = Command::new(test).args(["--exact", TEST]).env("EXEC_TEST_TAG", tag).output().expect("it can be run");
    let output = String::from_utf8_lossy(&inner.stdout);
    assert!(inner.status.success() && output.contains("1 passed"), "{output}");
}

// ---- bad input ----

#[test]
fn a_program_that_cannot_be_run_is_refused_when_it_is_named() {
    let plain = tempfile::NamedTempFile::new().expect("there is room");
    let plain = plain.path().display().to_string();
    for (path, text) in [
        ("/no/such/program", "the program cannot be run: No such file or directory"),
        ("/usr", "the program cannot be run: it is not a file"),
        ("check_load", "the target is not the path of a program, as in exec:/usr"),
        ("", "the target is not the path of a program"),
        (&plain, "is it executable (chmod +x) for this user?"),
    ] {
        let error = build(path, &mut Options::default()).err().unwrap_or_default();
        assert!(error.contains(text) && !error.contains('\n'), "{error}");
    }
    assert!(assert_exec("/no/such/program", &[]).is_err());
}

#[test]
fn a_program_that_is_gone_later_is_an_error_with_its_name() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("program");
    std::fs::copy("/bin/true", &path).expect("there is room");
    let path = path.to_str().expect("a plain path");
    let action = build(path, &mut Options::of(&[("args", "--password=secret")])).expect("it is there");
    std::fs::remove_file(path).expect("it is ours");
    let finding = action(Deadline::at(Instant::now() + LONG));
    assert_eq!(finding.status, Status::Error);
    let context = finding.context.unwrap_or_default();
    assert_eq!(context, format!("cannot run {path}: No such file or directory (os error 2)"));
}

#[test]
fn wrong_options_are_refused_without_showing_secrets() {
    for (pair, text) in [
        (("cwd", "/no/such"), "option cwd: there is no such folder"),
        (("env", "=secret"), "option env: write a variable as env=NAME=VALUE"),
    ] {
        let mut options = Options::new(vec![(pair.0.to_owned(), pair.1.to_owned())]);
        let error = build("/bin/sh", &mut options).err().unwrap_or_default();
        assert!(error.starts_with(text) && !error.contains("secret"), "{error}");
    }
}

#[test]
fn the_assertion_returns_what_the_kind_finds() {
    assert_eq!(assert_exec("/bin/true", &[]), Ok(()));
    assert_eq!(assert_exec("/bin/sh", &["-c", "echo no; exit 2"]), Err(Reason::Fail("no".into())));
    assert!(matches!(assert_exec("/bin/sh", &["-c", "kill -9 $$"]), Err(Reason::Error(_))));
}
