//! The report for people, in the words and the shape of Python's `unittest`.
//!
//! Source: `unittest.runner.TextTestRunner` and `TextTestResult` of CPython.

use std::fmt::Write;
use std::time::Duration;

use super::live::Live;
use crate::check::Status;
use crate::report::{Outcome, Report, Summary};

const DOUBLE: &str = "======================================================================";
const SINGLE: &str = "----------------------------------------------------------------------";

/// The one letter that stands for an outcome in the line of dots.
pub(super) fn letter(status: Status) -> char {
    match status {
        Status::Pass => '.',
        Status::Fail => 'F',
        Status::Error => 'E',
        Status::Skip => 's',
        Status::ExpectedFailure => 'x',
        Status::UnexpectedSuccess => 'u',
    }
}

/// What `-v` says behind a check's name.
pub(super) fn word(outcome: &Outcome) -> String {
    match outcome.finding.status {
        Status::Pass => "ok".to_owned(),
        Status::Fail => "FAIL".to_owned(),
        Status::Error => "ERROR".to_owned(),
        Status::Skip => format!("skipped {:?}", outcome.finding.context.as_deref().unwrap_or_default()),
        Status::ExpectedFailure => "expected failure".to_owned(),
        Status::UnexpectedSuccess => "unexpected success".to_owned(),
    }
}

/// Writes what stands below the dots.
pub(super) fn report(report: &Report, elapsed: Duration, live: &mut Live) {
    for (title, status) in
        [("ERROR", Status::Error), ("FAIL", Status::Fail), ("UNEXPECTED SUCCESS", Status::UnexpectedSuccess)]
    {
        for outcome in report.outcomes.iter().filter(|outcome| outcome.finding.status == status) {
            live.line(&section(title, outcome));
        }
    }
    let total = report.outcomes.len();
    let plural = if total == 1 { "" } else { "s" };
    live.line(&format!("{SINGLE}\nRan {total} test{plural} in {:.3}s\n", elapsed.as_secs_f64()));
    live.verdict(&verdict(report), report.passes());
}

fn section(title: &str, outcome: &Outcome) -> String {
    let mut text = format!("{DOUBLE}\n{title}: {}\n{}\n{SINGLE}", outcome.check.id, outcome.check.title);
    if let Some(context) = &outcome.finding.context {
        write!(text, "\n{context}\n").expect("a string takes all");
    }
    text
}

fn verdict(report: &Report) -> String {
    let Summary { skip, expected_failure, error, fail, unexpected_success, .. } = report.summary();
    let counts: Vec<_> = [
        ("failures", fail),
        ("errors", error),
        ("skipped", skip),
        ("expected failures", expected_failure),
        ("unexpected successes", unexpected_success),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .map(|(name, count)| format!("{name}={count}"))
    .collect();
    let word = if report.passes() { "OK" } else { "FAILED" };
    if counts.is_empty() { word.to_owned() } else { format!("{word} ({})", counts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report as sample;

    #[test]
    fn the_verdict_counts_what_is_not_a_plain_pass() {
        let all = [Status::Pass, Status::Fail, Status::Error, Status::Error, Status::Skip];
        assert_eq!(verdict(&sample(&all)), "FAILED (failures=1, errors=2, skipped=1)");
        assert_eq!(verdict(&sample(&[Status::Skip, Status::ExpectedFailure])), "OK (skipped=1, expected failures=1)");
        assert_eq!(verdict(&sample(&[Status::Pass])), "OK");
        assert_eq!(verdict(&sample(&[Status::UnexpectedSuccess])), "FAILED (unexpected successes=1)");
    }
}
