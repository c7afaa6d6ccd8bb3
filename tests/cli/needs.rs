//! Causes and consequences from outside: thirty checks on one server that is gone.

use std::os::unix::net::UnixListener;

use crate::harness::once::{Run, hospital, run};

const CONSEQUENCES: usize = 29;

#[test]
fn one_dead_server_is_one_cause_and_its_return_frees_all_at_once() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let socket = folder.path().join("redis");
    let place = format!("unix:{}", socket.display());
    // What needs it comes first: its cause stands before it all the same.
    let names: Vec<_> = (0..CONSEQUENCES)
        .map(|n| format!("shop.n{n:02}={place}#needs=redis"))
        .chain([format!("redis={place}")])
        .collect();
    let check = |args: &[&str]| {
        let mut command = hospital("check");
        command.args(args).args(&names);
        run(command)
    };
    for (format, counted, consequence, causes) in [
        ("json", "\"blocked\": 29", "blocked by redis: ", "\"status\": \"error\""),
        ("health+json", "29 of 30 checks are blocked by others", "\"blockedBy\"", ""),
        ("html", "blocks 29 others", "class=\"consequence blocked\"", ""),
        ("text", "fail: 1, blocked: 29", "\n    blocked: ", ""),
        ("junit", "<property name=\"blocked\" value=\"29\"/>", "type=\"blocked\"", ""),
        ("tap", "# blocked: 29 of 30", "blocked_by: [\"redis\"]", ""),
        ("nagios", "1 of 30 checks are bad and block 29 more: ", "\n  blocked: ", ""),
        ("prometheus", "hospital_check_blocked{check=\"shop.n28\"} 1", "hospital_check_blocked{", ""),
    ] {
        let Run { code, stdout, .. } = check(&["--format", format]);
        assert_ne!(code, Some(0), "{format}");
        assert!(stdout.contains(counted), "{format}: {stdout}");
        assert_eq!(stdout.matches(consequence).count(), CONSEQUENCES, "{format}: {stdout}");
        if !causes.is_empty() {
            assert_eq!(stdout.matches(causes).count(), CONSEQUENCES, "{format}: {stdout}");
        }
    }
    let Run { stderr, .. } = check(&[]);
    assert_eq!((stderr.matches("FAIL: ").count(), stderr.matches("ERROR: ").count()), (1, 0), "{stderr}");
    assert!(stderr.ends_with("FAILED (failures=1, blocked=29)\n"), "{stderr}");

    let _listener = UnixListener::bind(&socket).expect("the folder is ours");
    let Run { code, stderr, .. } = check(&[]);
    assert!(code == Some(0) && stderr.ends_with("\nOK\n"), "{stderr}");
}

#[test]
fn what_is_wrong_with_needs_is_refused_in_one_line() {
    for (args, told) in [
        (&["a=disk:/#needs=b"][..], "the check \"a\" needs \"b\", but no check is collected there (known: a)"),
        (&["a=disk:/#needs=a"], "the check \"a\" needs itself, by the name of a"),
        (&["a=disk:/#needs=b", "b=disk:/tmp#needs=a"], "needs itself: a needs b needs a"),
        (&["a=disk:/#needs="], "option needs: write the id of another check"),
        (&["--exclude=b", "a=disk:/#needs=b", "b=disk:/tmp"], "--exclude: a needs b, which is left out"),
        (&["a=disk:/#on_fail=skip"], "option on_fail: write fail or warn"),
    ] {
        let mut command = hospital("check");
        command.args(args);
        let Run { code, stderr, .. } = run(command);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.lines().count() == 1 && stderr.contains(told), "{args:?}: {stderr}");
    }
}
