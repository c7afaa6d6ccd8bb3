//! The report for people, with the words and layout of Python's `unittest`.
//!
//! Source: `unittest.runner.TextTestRunner` and `TextTestResult` of CPython.

use std::time::Duration;

use crate::model::check::{Check, Status};
use crate::model::report::{Outcome, Report, Summary};
use crate::render::line::{one_line, quoted_if_like_ours};

const DOUBLE: &str = "======================================================================";
const SINGLE: &str = "----------------------------------------------------------------------";

/// The letter for an outcome in the line of dots.
pub(super) fn letter(outcome: &Outcome) -> char {
    match outcome.finding.status {
        _ if !outcome.blocked_by().is_empty() => 'b',
        Status::Pass => '.',
        Status::Warn => 'w',
        Status::Fail => 'F',
        Status::Error => 'E',
        Status::Skip => 's',
        Status::ExpectedFailure => 'x',
        Status::UnexpectedSuccess => 'u',
    }
}

/// The word that `-v` prints after a check's name.
pub(super) fn word(outcome: &Outcome) -> String {
    let as_needed = if outcome.is_as_needed() { " (as needed)" } else { "" };
    let raw = match outcome.raw() {
        raw if raw == outcome.finding.status => String::new(),
        raw => format!(" (it found {})", raw.word().replace('_', " ")),
    };
    let word = match outcome.finding.status {
        _ if !outcome.blocked_by().is_empty() => {
            return format!("BLOCKED by {}{as_needed}", outcome.blocked_by().join(", "));
        }
        Status::Warn => "WARN".to_owned(),
        Status::Pass => match outcome.finding.context.as_deref() {
            Some(context) => format!("ok ({})", one_line(context)),
            None => "ok".to_owned(),
        },
        Status::Fail => "FAIL".to_owned(),
        Status::Error => "ERROR".to_owned(),
        Status::Skip => format!("skipped {}", quoted(outcome.finding.context.as_deref().unwrap_or_default())),
        Status::ExpectedFailure => "expected failure".to_owned(),
        Status::UnexpectedSuccess => "unexpected success".to_owned(),
    };
    word + &raw + as_needed
}

/// The description of a check: its id, and below it its title, if it has one.
pub(super) fn description(check: &Check) -> String {
    if check.title == check.id { check.id.clone() } else { format!("{}\n{}", check.id, check.title) }
}

/// Everything between the dots and the verdict.
/// -v adds whose fault something is, -vv what each run did.
pub(super) fn body(report: &Report, elapsed: Duration, verbosity: u8) -> String {
    let causes = || report.outcomes.iter().filter(|outcome| outcome.blocked_by().is_empty());
    let of = |status| causes().filter(move |outcome| outcome.finding.status == status);
    let mut text = String::new();
    for (title, status) in [("ERROR", Status::Error), ("FAIL", Status::Fail), ("WARN", Status::Warn)] {
        of(status).for_each(|outcome| text += &section(title, outcome, report, verbosity));
    }
    let mut surprises = of(Status::UnexpectedSuccess).peekable();
    if surprises.peek().is_some() {
        text += &format!("{DOUBLE}\n");
    }
    surprises.for_each(|outcome| text += &format!("UNEXPECTED SUCCESS: {}\n", description(&outcome.check)));
    if verbosity > 1 {
        for outcome in causes().filter(|outcome| !is_told_above(outcome.finding.status)) {
            let transcript = transcript(outcome);
            if !transcript.is_empty() {
                let description = description(&outcome.check);
                text +=
                    &format!("{DOUBLE}\n{}: {description}\n{SINGLE}\n{transcript}\n", outcome.finding.status.word());
            }
        }
    }
    let total = report.outcomes.len();
    let plural = if total == 1 { "" } else { "s" };
    text + &format!("{SINGLE}\nRan {total} test{plural} in {:.3}s\n\n", elapsed.as_secs_f64())
}

/// Whether such an outcome has a section of its own.
fn is_told_above(status: Status) -> bool {
    matches!(status, Status::Error | Status::Fail | Status::Warn)
}

/// What the run did, one line for each field.
fn transcript(outcome: &Outcome) -> String {
    let fields = outcome.finding.transcript.iter().flat_map(|transcript| transcript.grouped());
    fields.map(|(field, values)| format!("{}: {}\n", one_line(field), one_line(&values.join(", ")))).collect()
}

fn section(title: &str, outcome: &Outcome, report: &Report, verbosity: u8) -> String {
    let blocked: Vec<_> = report
        .blocked()
        .filter(|blocked| blocked.blocked_by().first() == Some(&outcome.check.id))
        .map(|blocked| blocked.check.id.as_str())
        .collect();
    let blocks = if blocked.is_empty() { String::new() } else { format!("blocks {}\n", blocked.join(", ")) };
    let context = outcome.finding.context.as_deref().map(|context| match verbosity {
        0 => format!("{context}\n"),
        _ => context.lines().map(|line| quoted_if_like_ours(line).into_owned() + "\n").collect(),
    });
    let silence = outcome.silence().map(|silence| format!("{silence}\n")).unwrap_or_default();
    let silenced = if outcome.is_silenced() { "SILENCED " } else { "" };
    let description = description(&outcome.check);
    let context = context.unwrap_or_default();
    let blame = outcome.finding.blame.filter(|_| verbosity > 0);
    let blame = blame.map(|blame| format!("blame: {}\n", blame.word())).unwrap_or_default();
    let transcript = if verbosity > 1 { transcript(outcome) } else { String::new() };
    format!("{DOUBLE}\n{silenced}{title}: {description}\n{SINGLE}\n{silence}{context}{blocks}{blame}{transcript}\n")
}

/// The last line.
pub(super) fn verdict(report: &Report) -> String {
    let Summary { skip, expected_failure, error, fail, unexpected_success, warn, blocked, silenced, .. } =
        report.causes();
    let counts: Vec<_> = [
        ("failures", fail),
        ("errors", error),
        ("skipped", skip),
        ("expected failures", expected_failure),
        ("unexpected successes", unexpected_success),
        ("warnings", warn),
        ("silenced", silenced),
        ("blocked", blocked),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .map(|(name, count)| format!("{name}={count}"))
    .collect();
    let word = if report.passes() { "OK" } else { "FAILED" };
    if counts.is_empty() { word.to_owned() } else { format!("{word} ({})", counts.join(", ")) }
}

/// A text as Python's `repr` shows it: in single quotes, unless it has those and no double ones.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let escaped = |c: char| match c {
        '\\' => "\\\\".to_owned(),
        c if c == quote => format!("\\{c}"),
        '\n' | '\r' | '\t' => c.escape_default().to_string(),
        c if c.is_control() => format!("\\x{:02x}", c as u32),
        c => c.to_string(),
    };
    format!("{quote}{}{quote}", text.chars().map(escaped).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::report::tests::{blocking, report as sample};

    #[test]
    fn it_is_the_report_of_unittest() {
        let all = [Status::Pass, Status::Fail, Status::Error, Status::Skip, Status::UnexpectedSuccess];
        insta::assert_snapshot!(body(&sample(&all), Duration::from_millis(1234), 0), @r#"
        ======================================================================
        ERROR: check.2
        Check 2.
        ----------------------------------------------------------------------
        it was error

        ======================================================================
        FAIL: check.1
        Check 1.
        ----------------------------------------------------------------------
        it was fail

        ======================================================================
        UNEXPECTED SUCCESS: check.4
        Check 4.
        ----------------------------------------------------------------------
        Ran 5 tests in 1.234s
        "#);
    }

    #[test]
    fn a_cause_names_what_it_blocks_which_is_counted_apart() {
        let report = blocking(&[Status::Error, Status::Fail, Status::Error, Status::Warn], &[(0, &[1]), (2, &[1])]);
        insta::assert_snapshot!(body(&report, Duration::from_millis(1234), 0), @r#"
        ======================================================================
        FAIL: check.1
        Check 1.
        ----------------------------------------------------------------------
        it was fail
        blocks check.0, check.2

        ======================================================================
        WARN: check.3
        Check 3.
        ----------------------------------------------------------------------
        it was warn

        ----------------------------------------------------------------------
        Ran 4 tests in 1.234s
        "#);
        assert_eq!(verdict(&report), "FAILED (failures=1, warnings=1, blocked=2)");
        assert_eq!(report.outcomes.iter().map(letter).collect::<String>(), "bFbw");
        assert_eq!(word(&report.outcomes[0]), "BLOCKED by check.1");
        assert_eq!(verdict(&sample(&[Status::Pass, Status::Warn])), "OK (warnings=1)");
    }

    #[test]
    fn reasons_are_quoted_as_python_quotes_them() {
        for (text, expected) in [
            ("no printer", "'no printer'"),
            ("it's not here", "\"it's not here\""),
            ("it's \"off\"", "'it\\'s \"off\"'"),
            ("a\\b\nc\td\u{1b}é", "'a\\\\b\\nc\\td\\x1bé'"),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn the_verdict_counts_what_is_not_a_plain_pass() {
        let all = [Status::Pass, Status::Fail, Status::Error, Status::Error, Status::Skip];
        assert_eq!(verdict(&sample(&all)), "FAILED (failures=1, errors=2, skipped=1)");
        assert_eq!(verdict(&sample(&[Status::Skip, Status::ExpectedFailure])), "OK (skipped=1, expected failures=1)");
        assert_eq!(verdict(&sample(&[Status::Pass])), "OK");
        assert_eq!(verdict(&sample(&[Status::UnexpectedSuccess])), "FAILED (unexpected successes=1)");
    }
}
