//! The output of a Nagios plugin: one line of summary, the figures after a `|`, then a line for each check.
//!
//! Source of the format: the Monitoring Plugins Development Guidelines, "Plugin Output for Nagios". [`PluginState`] has the
//! exit codes.

use std::fmt::{self, Write};

use super::line::{named, one_line};
use super::{Format, appended};
use crate::model::perfdata::Perfdata;
use crate::model::report::{Outcome, Report};
use crate::model::speaker::Speaker;

pub(super) const FORMAT: Format = Format {
    name: "nagios",
    media_type: "text/plain; charset=utf-8",
    write: |report, out| appended(out, |text| write(report, text)),
    signed,
    exit_code: |report| PluginState::of(report) as u8,
    is_success: Report::passes,
    warn_status: true,
    timeless: false,
    verbose: None,
    refusal: Some(refusal),
    is_page: false,
};

/// The state that Nagios derives from a report, with the exit code of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PluginState {
    Ok = 0,
    /// A check passed with a warning, or though it was expected to fail.
    Warning = 1,
    /// A check failed.
    Critical = 2,
    /// No check failed, but one could not decide.
    Unknown = 3,
}

impl PluginState {
    fn of(report: &Report) -> PluginState {
        let summary = report.causes();
        if summary.fail > 0 {
            PluginState::Critical
        } else if summary.error > 0 {
            PluginState::Unknown
        } else if summary.unexpected_success + summary.warn > 0 {
            PluginState::Warning
        } else {
            PluginState::Ok
        }
    }

    fn word(self) -> &'static str {
        match self {
            PluginState::Ok => "OK",
            PluginState::Warning => "WARNING",
            PluginState::Critical => "CRITICAL",
            PluginState::Unknown => "UNKNOWN",
        }
    }
}

/// In the first line, which is the only one that a pager shows, before what it says.
fn signed(speaker: &Speaker, out: &mut Vec<u8>) {
    const DASH: &[u8] = b" - ";
    let place = out.windows(DASH.len()).position(|there| there == DASH);
    if let Some(place) = place.filter(|_| !speaker.is_nobody()) {
        let name = format!("{}: ", one_line(&speaker.to_string()).replace('|', "\u{a6}"));
        let after = place + DASH.len();
        out.splice(after..after, name.into_bytes());
    }
}

fn write(report: &Report, out: &mut String) -> fmt::Result {
    let total = report.outcomes.len();
    // What is blocked is told by its cause.
    let causes = || report.outcomes.iter().filter(|outcome| outcome.blocked_by().is_empty());
    let bad: Vec<&Outcome> = causes().filter(|outcome| outcome.is_bad()).collect();
    let blocked = report.blocked().count();
    let blocks = if blocked > 0 { format!(" and block {blocked} more") } else { String::new() };
    write!(out, "HOSPITAL {} - ", PluginState::of(report).word())?;
    let warned: Vec<&Outcome> = causes().filter(|outcome| outcome.warns()).collect();
    match (&bad[..], &warned[..]) {
        ([], []) => {
            let well = total - report.summary().silenced;
            write!(out, "{well} of {total} checks are well")?;
        }
        // Pagers show only the first line: one bad check, and how many there are.
        ([first, ..], _) => write!(out, "{} of {total} checks are bad{blocks}: {}", bad.len(), described(first))?,
        ([], [first, ..]) => {
            write!(out, "{} of {total} checks pass with a warning: {}", warned.len(), described(first))?
        }
    }
    let silenced = report.summary().silenced;
    if silenced > 0 {
        write!(out, " ({silenced} silenced)")?;
    }
    if let Some(reason) = &report.maintenance {
        write!(out, " (in maintenance: {})", one_line(reason).replace('|', "\u{a6}"))?;
    }
    write!(out, " |")?;
    let counts = [("checks", total), ("bad", bad.len()), ("warn", warned.len()), ("blocked", blocked)]
        .map(|(label, count)| Perfdata::new(label, count as f64, ""));
    counts.iter().try_for_each(|figure| write!(out, " {figure}"))?;
    for Outcome { check, finding, elapsed, .. } in &report.outcomes {
        let time = Perfdata::new("time", elapsed.as_secs_f64(), "s");
        for figure in [&time].into_iter().chain(&finding.perfdata) {
            // The labels of one plugin must differ.
            let label = format!("{}::{}", check.id, figure.label);
            write!(out, " {}", Perfdata { label, ..figure.clone() })?;
        }
    }
    writeln!(out)?;
    for outcome in report.causes_first() {
        let word = if outcome.blocked_by().is_empty() { outcome.finding.status.word() } else { "  blocked" };
        writeln!(out, "{word}: {}", described(outcome))?;
    }
    Ok(())
}

/// The output and the exit code of a plugin that cannot check anything; Nagios would take any other for an answer.
fn refusal(error: &str) -> (String, u8) {
    (
        format!("HOSPITAL {} - {}\n", PluginState::Unknown.word(), one_line(error).replace('|', "\u{a6}")),
        PluginState::Unknown as u8,
    )
}

/// A check and its context, without any `|`, after which Nagios would look for figures.
fn described(outcome: &Outcome) -> String {
    let title = named(&outcome.check);
    let mut text = match outcome.finding.context.as_deref() {
        Some(context) => format!("{title} ({})", one_line(context)),
        None => title,
    };
    if let Some(silence) = outcome.silence() {
        text += &format!(" [{}]", one_line(&silence));
    }
    text.replace('|', "\u{a6}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hostile, written};
    use super::*;
    use crate::model::check::Status;
    use crate::model::perfdata::split;
    use crate::model::report::tests::{blocking, report as sample};

    #[test]
    fn a_report_becomes_the_output_of_a_plugin() {
        let mut report = sample(&[Status::Pass, Status::Fail, Status::Skip]);
        report.outcomes[0].finding.perfdata = vec![Perfdata::new("load1", 0.31, "")];
        insta::assert_snapshot!(written(&FORMAT, &report), @r"
        HOSPITAL CRITICAL - 1 of 3 checks are bad: Check 1. [check.1] (it was fail) | 'checks'=3 'bad'=1 'warn'=0 'blocked'=0 'check.0::time'=0.001s 'check.0::load1'=0.31 'check.1::time'=0.001s 'check.2::time'=0.001s
        pass: Check 0. [check.0]
        fail: Check 1. [check.1] (it was fail)
        skip: Check 2. [check.2] (it was skip)
        ");
        let well = written(&FORMAT, &sample(&[Status::Pass, Status::ExpectedFailure]));
        assert!(well.starts_with("HOSPITAL OK - 2 of 2 checks are well |"), "{well}");
        let warned = written(&FORMAT, &sample(&[Status::Pass, Status::Warn]));
        let expected = "HOSPITAL WARNING - 1 of 2 checks pass with a warning: Check 1. [check.1] (it was warn) |";
        assert!(warned.starts_with(expected), "{warned}");
    }

    #[test]
    fn the_first_line_names_a_cause_and_counts_what_that_blocks() {
        let report = blocking(&[Status::Error, Status::Pass, Status::Fail, Status::Error], &[(0, &[2]), (3, &[2])]);
        let text = written(&FORMAT, &report);
        let expected = "HOSPITAL CRITICAL - 1 of 4 checks are bad and block 2 more: Check 2. [check.2] (it was fail) | 'checks'=4 'bad'=1 'warn'=0 'blocked'=2 ";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.contains(
                "\nfail: Check 2. [check.2] (it was fail)\n  blocked: Check 0. [check.0] (blocked by check.2"
            ),
            "{text}"
        );
        let report = blocking(&[Status::Fail, Status::Error], &[(0, &[1])]);
        assert_eq!((FORMAT.exit_code)(&report), 3, "the cause could not decide");
    }

    #[test]
    fn the_exit_code_is_that_of_a_plugin() {
        for (statuses, code) in [
            (&[][..], 0),
            (&[Status::Pass, Status::Skip, Status::ExpectedFailure], 0),
            (&[Status::Pass, Status::UnexpectedSuccess], 1),
            (&[Status::Pass, Status::Warn], 1),
            (&[Status::Warn, Status::Error], 3),
            (&[Status::UnexpectedSuccess, Status::Error, Status::Fail], 2),
            (&[Status::UnexpectedSuccess, Status::Error], 3),
        ] {
            assert_eq!((FORMAT.exit_code)(&sample(statuses)), code, "{statuses:?}");
        }
    }

    #[test]
    fn what_a_check_says_stays_in_its_place() {
        let mut report = hostile();
        report.outcomes[0].finding.perfdata = vec![Perfdata::new("a=b|c'd\n", 7.0, "s")];
        let text = written(&FORMAT, &report);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert_eq!(text.matches('|').count(), 1, "{text}");
        let (_, figures) = split(&text);
        assert_eq!(figures.len(), 6, "{text}");
        assert!(figures[5].label.ends_with("::a_b_c'd_"), "{figures:?}");
    }
}
