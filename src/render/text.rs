//! A plain list for people: one line for each check, its context below, the counts at the end.

use std::fmt::Write;

use super::line::{named, one_line, quoted_if_like_ours};
use super::{Format, appended, exit_code};
use crate::model::report::Report;
use crate::model::speaker::Speaker;

pub(super) const FORMAT: Format = Format { verbose: Some(&VERBOSE), ..ROW };

/// With whose fault it is.
static VERBOSE: Format = Format {
    write: |report, out| appended(out, |text| write(report, Detailed::Blame, text)),
    verbose: Some(&MOST_VERBOSE),
    ..ROW
};

/// With the transcript of each run, too.
static MOST_VERBOSE: Format =
    Format { write: |report, out| appended(out, |text| write(report, Detailed::Transcript, text)), ..ROW };

const ROW: Format = Format {
    name: "text",
    media_type: "text/plain; charset=utf-8",
    write: |report, out| appended(out, |text| write(report, Detailed::Plain, text)),
    signed,
    exit_code,
    is_success: Report::passes,
    warn_status: true,
    timeless: false,
    verbose: None,
    refusal: None,
    is_page: false,
};

/// How much is said of each check.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Detailed {
    Plain,
    Blame,
    Transcript,
}

/// At the end, where nobody takes it for a check.
fn signed(speaker: &Speaker, out: &mut Vec<u8>) {
    if !speaker.is_nobody() {
        out.extend(format!("by {}\n", one_line(&speaker.to_string())).bytes());
    }
}

fn write(report: &Report, detailed: Detailed, out: &mut String) -> std::fmt::Result {
    for outcome in report.causes_first() {
        let title = named(&outcome.check);
        let as_needed = if outcome.is_as_needed() { " (as needed)" } else { "" };
        match outcome.blocked_by() {
            [] => writeln!(out, "{}: {title}{as_needed}", outcome.finding.status.word())?,
            // It stands under its cause, which has told why.
            [_] => {
                writeln!(out, "    blocked: {title}{as_needed}")?;
                continue;
            }
            [_, others @ ..] => {
                writeln!(out, "    blocked: {title}{as_needed}, and by {}", one_line(&others.join(", ")))?;
                continue;
            }
        }
        if let Some(silence) = outcome.silence() {
            writeln!(out, "    {}", one_line(&silence))?;
        }
        for line in outcome.finding.context.iter().flat_map(|context| context.lines()) {
            let line = one_line(line);
            let line = if detailed > Detailed::Plain { quoted_if_like_ours(&line) } else { line.as_str().into() };
            writeln!(out, "    {line}")?;
        }
        if let Some(blame) = outcome.finding.blame.filter(|_| detailed >= Detailed::Blame) {
            writeln!(out, "    blame: {}", blame.word())?;
        }
        if let Some(transcript) = outcome.finding.transcript.as_ref().filter(|_| detailed >= Detailed::Transcript) {
            for (field, values) in transcript.grouped() {
                writeln!(out, "    {}: {}", one_line(field), one_line(&values.join(", ")))?;
            }
        }
    }
    let summary = report.causes();
    write!(out, "\n{}: {} of {} pass", report.status().word(), summary.pass, summary.total)?;
    for (word, count) in [
        ("fail", summary.fail),
        ("error", summary.error),
        ("skip", summary.skip),
        ("expected_failure", summary.expected_failure),
        ("unexpected_success", summary.unexpected_success),
        ("warn", summary.warn),
        ("silenced", summary.silenced),
        ("blocked", summary.blocked),
    ] {
        if count > 0 {
            write!(out, ", {word}: {count}")?;
        }
    }
    writeln!(out)?;
    match &report.maintenance {
        Some(reason) => writeln!(out, "in maintenance: {}", one_line(reason)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hostile, written};
    use super::*;
    use crate::model::check::Status;
    use crate::model::report::tests::{blocking, report as sample};

    #[test]
    fn it_lists_the_checks_and_counts_them() {
        let report = sample(&[Status::Pass, Status::Fail, Status::UnexpectedSuccess]);
        insta::assert_snapshot!(written(&FORMAT, &report), @r"
        pass: Check 0. [check.0]
        fail: Check 1. [check.1]
            it was fail
        unexpected_success: Check 2. [check.2]
            it was unexpected_success

        fail: 1 of 3 pass, fail: 1, unexpected_success: 1
        ");
    }

    #[test]
    fn whose_report_it_is_stands_where_nobody_takes_it_for_a_check() {
        let (report, speaker) =
            (sample(&[Status::Pass]), Speaker { host: "web1".to_owned(), instance: "shop".to_owned() });
        let signed = |name: &str| {
            let format = super::super::named(name).expect("there is one").verbose(1);
            let mut out = Vec::new();
            (format.write)(&report, &mut out);
            let length = out.len();
            (format.signed)(&Speaker::default(), &mut out);
            assert_eq!(out.len(), length, "nobody is named");
            (format.signed)(&speaker, &mut out);
            String::from_utf8(out).expect("each format is UTF-8")
        };
        assert!(signed("text").ends_with("pass: 1 of 1 pass\nby web1/shop\n"));
        assert!(signed("nagios").starts_with("HOSPITAL OK - web1/shop: 1 of 1 checks are well |"));
        let json: serde_json::Value = serde_json::from_str(&signed("json")).expect("it is JSON");
        assert_eq!((&json["host"], &json["instance"]), (&"web1".into(), &"shop".into()));
    }

    #[test]
    fn what_is_blocked_stands_under_its_cause() {
        let report = blocking(&[Status::Error, Status::Fail, Status::Error, Status::Error], &[(0, &[1]), (3, &[1, 2])]);
        insta::assert_snapshot!(written(&FORMAT, &report), @r"
        fail: Check 1. [check.1]
            it was fail
            blocked: Check 0. [check.0]
            blocked: Check 3. [check.3], and by check.2
        error: Check 2. [check.2]
            it was error

        fail: 0 of 4 pass, fail: 1, error: 1, blocked: 2
        ");
    }

    #[test]
    fn what_a_check_says_begins_no_line_of_ours() {
        let text = written(&FORMAT, &hostile());
        assert_eq!(text.lines().filter(|line| !line.starts_with("    ")).count(), 3, "{text}");
        assert!(!text.contains('\x1b'));
    }
}
