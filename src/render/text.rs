//! A plain list for people: one line for each check, its context below, the counts at the end.

use std::fmt::Write;

use super::line::one_line;
use super::{Format, appended, exit_code};
use crate::model::report::Report;

pub(super) const FORMAT: Format = Format {
    name: "text",
    media_type: "text/plain; charset=utf-8",
    write: |report, out| appended(out, |text| write(report, text)),
    exit_code,
    is_success: Report::passes,
    warn_status: true,
    timeless: false,
    verbose: None,
    refusal: None,
    is_page: false,
};

fn write(report: &Report, out: &mut String) -> std::fmt::Result {
    for outcome in &report.outcomes {
        writeln!(out, "{}: {}", outcome.finding.status.word(), one_line(&outcome.check.title))?;
        for line in outcome.finding.context.iter().flat_map(|context| context.lines()) {
            writeln!(out, "    {}", one_line(line))?;
        }
    }
    let summary = report.summary();
    write!(out, "\n{}: {} of {} pass", report.status().word(), summary.pass, summary.total)?;
    for (word, count) in [
        ("fail", summary.fail),
        ("error", summary.error),
        ("skip", summary.skip),
        ("expected_failure", summary.expected_failure),
        ("unexpected_success", summary.unexpected_success),
        ("warn", summary.warn),
    ] {
        if count > 0 {
            write!(out, ", {word}: {count}")?;
        }
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hostile, written};
    use super::*;
    use crate::model::check::Status;
    use crate::model::report::tests::report as sample;

    #[test]
    fn it_lists_the_checks_and_counts_them() {
        let report = sample(&[Status::Pass, Status::Fail, Status::UnexpectedSuccess]);
        insta::assert_snapshot!(written(&FORMAT, &report), @r"
        pass: Check 0.
        fail: Check 1.
            it was fail
        unexpected_success: Check 2.
            it was unexpected_success

        fail: 1 of 3 pass, fail: 1, unexpected_success: 1
        ");
    }

    #[test]
    fn what_a_check_says_begins_no_line_of_ours() {
        let text = written(&FORMAT, &hostile());
        assert_eq!(text.lines().filter(|line| !line.starts_with("    ")).count(), 3, "{text}");
        assert!(!text.contains('\x1b'));
    }
}
