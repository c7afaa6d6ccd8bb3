//! What plugins print and end with.

use std::time::{Duration, Instant};

use super::*;
use crate::model::check::CONTEXT_LIMIT;
use crate::model::perfdata::Perfdata;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

fn run(body: &str, more: &[(&str, &str)], limit: Duration) -> Finding {
    let options = [&[("args", "-c"), ("args", body)], more].concat();
    let action = build("/bin/sh", &mut Options::of(&options)).expect("it is well formed");
    action(Deadline::at(Instant::now() + limit))
}

fn found(body: &str, more: &[(&str, &str)]) -> (Status, String) {
    let finding = run(body, more, LONG);
    (finding.status, finding.context.unwrap_or_default())
}

#[test]
fn exit_codes_mean_what_they_mean_to_nagios() {
    for (body, status, context) in [
        ("echo OK - fine", Status::Pass, "OK - fine"),
        ("echo WARNING - hm; exit 1", Status::Warn, "WARNING - hm"),
        ("echo CRITICAL - no; exit 2", Status::Fail, "CRITICAL - no"),
        ("echo UNKNOWN - who; exit 3", Status::Error, "UNKNOWN - who"),
        ("echo what; exit 4", Status::Error, "/bin/sh ended with exit status: 4, where a plugin has 0 to 3: what"),
        (
            "echo oops; kill -9 $$",
            Status::Error,
            "/bin/sh ended with signal: 9 (SIGKILL), where a plugin has 0 to 3: oops",
        ),
    ] {
        assert_eq!(found(body, &[]), (status, context.to_owned()), "{body}");
    }
}

#[test]
fn a_warning_is_what_it_is_told_to_be() {
    let warns = "echo WARNING - hm; exit 1";
    for (option, status) in [("warn", Status::Warn), ("pass", Status::Pass), ("fail", Status::Fail)] {
        assert_eq!(found(warns, &[("warning", option)]), (status, "WARNING - hm".to_owned()));
    }
    let error = build("/bin/sh", &mut Options::of(&[("warning", "maybe")])).err();
    assert_eq!(error.as_deref(), Some("option warning: write warn, pass or fail"));
}

#[test]
fn no_output_has_a_clear_context() {
    for (body, status, context) in [
        ("exit 0", Status::Pass, ""),
        ("exit 1", Status::Warn, "/bin/sh ended with exit status: 1, and printed nothing"),
        ("exit 2", Status::Fail, "/bin/sh ended with exit status: 2, and printed nothing"),
        ("exit 3", Status::Error, "/bin/sh ended with exit status: 3, and printed nothing"),
        ("exit 9", Status::Error, "/bin/sh ended with exit status: 9, where a plugin has 0 to 3, and printed nothing"),
        ("echo why >&2; exit 2", Status::Fail, "why"),
    ] {
        assert_eq!(found(body, &[]), (status, context.to_owned()), "{body}");
    }
}

#[test]
fn the_long_output_is_kept_and_the_figures_are_not_in_it() {
    let finding = run("printf 'OK - 3 users | users=3;5;10;0\\nlong text\\n| idle=2s\\n'", &[], LONG);
    assert_eq!(finding.context.as_deref(), Some("OK - 3 users\nlong text"));
    assert_eq!(finding.perfdata, [Perfdata::new("users", 3.0, ""), Perfdata::new("idle", 2.0, "s")]);
}

#[test]
fn a_figure_that_was_cut_is_left_out() {
    for (before, figures) in [
        (CONTEXT_LIMIT - 8, "| a=1 b=98765"),
        (CONTEXT_LIMIT - 13, "| a=1 b=98765"),
        (CONTEXT_LIMIT - 11, "| a=1 b=98765 c=1"),
    ] {
        let body = format!("printf 'OK\\n%{before}s' '' | head -c {before}; printf '{figures}'");
        assert_eq!(run(&body, &[], LONG).perfdata, [Perfdata::new("a", 1.0, "")], "{before}");
    }
    let finding = run("printf 'OK | a=1 b=98'; sleep 60", &[], Duration::from_millis(300));
    assert_eq!((finding.status, finding.perfdata), (Status::Error, vec![Perfdata::new("a", 1.0, "")]));
}

#[test]
fn the_assertion_returns_what_the_kind_finds() {
    assert_eq!(assert_plugin("/bin/true", &[]), Ok(()));
    assert_eq!(assert_plugin("/bin/sh", &["-c", "echo no; exit 2"]), Err(Reason::Fail("no".into())));
    assert_eq!(assert_plugin("/bin/sh", &["-c", "echo ?; exit 3"]), Err(Reason::Error("?".into())));
}
