//! TAP 13, the Test Anything Protocol: the version that every reader knows.
//!
//! Source of the format: <https://testanything.org/tap-version-13-specification.html>. Its `# TODO` makes a failure
//! acceptable, which suits expected failures; unexpected successes stay bad, as they are with us.

use std::fmt::{self, Write};

use super::line::one_line;
use super::{Format, appended, exit_code, unsigned};
use crate::model::check::Status;
use crate::model::report::Report;

pub(super) const FORMAT: Format = Format {
    name: "tap",
    media_type: "text/plain; charset=utf-8",
    write: |report, out| appended(out, |text| write(report, text)),
    signed: unsigned,
    exit_code,
    is_success: Report::passes,
    warn_status: true,
    timeless: false,
    verbose: None,
    refusal: None,
    is_page: false,
};

fn write(report: &Report, out: &mut String) -> fmt::Result {
    let report = &*report.in_parts();
    writeln!(out, "TAP version 13\n1..{}", report.outcomes.len())?;
    for (index, outcome) in report.causes_first().enumerate() {
        let finding = &outcome.finding;
        let context = finding.context.as_deref().unwrap_or_default();
        let silence = outcome.silence().filter(|_| outcome.is_silenced());
        let context = match &silence {
            Some(silence) => format!("{silence}: {context}"),
            None => context.to_owned(),
        };
        let context = context.as_str();
        let (result, directive) = match finding.status {
            // It is shown and does not count.
            Status::Fail | Status::Error | Status::UnexpectedSuccess if silence.is_some() => ("not ok", Some("TODO")),
            Status::Pass => ("ok", None),
            Status::Warn => (if outcome.is_bad() { "not ok" } else { "ok" }, None),
            Status::Skip => ("ok", Some("SKIP")),
            Status::ExpectedFailure => ("not ok", Some("TODO")),
            Status::Fail | Status::Error | Status::UnexpectedSuccess => ("not ok", None),
        };
        write!(out, "{result} {} - {}", index + 1, escaped(&outcome.check.title))?;
        match directive {
            Some(directive) => writeln!(out, " # {directive} {}", escaped(context))?,
            None => writeln!(out)?,
        }
        // A diagnostic block in YAML, which includes JSON.
        writeln!(out, "  ---\n  id: {}\n  status: {}", quoted(&outcome.check.id), finding.status.word())?;
        if !outcome.blocked_by().is_empty() {
            let causes: Vec<_> = outcome.blocked_by().iter().map(|id| quoted(id)).collect();
            writeln!(out, "  blocked_by: [{}]", causes.join(", "))?;
        }
        if !context.is_empty() {
            writeln!(out, "  message: {}", quoted(context))?;
        }
        writeln!(out, "  duration_ms: {:.3}\n  ...", outcome.elapsed.as_secs_f64() * 1000.0)?;
        if finding.status == Status::Warn {
            writeln!(out, "# warn: {}", one_line(context))?;
        }
    }
    match report.blocked().count() {
        0 => {}
        blocked => writeln!(out, "# blocked: {blocked} of {}", report.outcomes.len())?,
    }
    match &report.maintenance {
        Some(reason) => writeln!(out, "# in maintenance: {}", one_line(reason)),
        None => Ok(()),
    }
}

/// A description: an unescaped `#` would begin a directive.
fn escaped(text: &str) -> String {
    one_line(text).replace('\\', "\\\\").replace('#', "\\#")
}

/// A double-quoted scalar on one line.
fn quoted(text: &str) -> String {
    // YAML allows fewer unescaped characters than JSON.
    let fit = |c: char| match c {
        '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c if c.is_control() && !c.is_ascii_whitespace() => '\u{fffd}',
        c => c,
    };
    let text: String = text.chars().map(fit).collect();
    serde_json::to_string(&text).expect("a string can be written")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ALL, HOSTILE, hostile, written};
    use super::*;
    use crate::model::report::tests::{blocking, report as sample};

    /// One test point as a TAP 14 parser sees it.
    #[derive(Debug, PartialEq)]
    struct Point {
        ok: bool,
        description: String,
        directive: Option<String>,
        diagnostics: Vec<(String, String)>,
    }

    /// Parses a document by the grammar of the specification; panics where it does not fit.
    fn read(text: &str) -> Vec<Point> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(lines.next(), Some("TAP version 13"));
        let plan: usize = lines.next().and_then(|line| line.strip_prefix("1..")?.parse().ok()).expect("a plan");
        let mut points = Vec::new();
        while let Some(line) = lines.next() {
            let (ok, rest) = match line.strip_prefix("not ok ") {
                Some(rest) => (false, rest),
                None => (true, line.strip_prefix("ok ").unwrap_or_else(|| panic!("no test point: {line}"))),
            };
            let (number, rest) = rest.split_once(" - ").expect("a description");
            assert_eq!(number.parse(), Ok(points.len() + 1));
            let (description, directive) = split_directive(rest);
            assert_eq!(lines.next(), Some("  ---"));
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "  ...").collect();
            let pair = |line: &str| {
                let (key, value) = line.strip_prefix("  ")?.split_once(": ")?;
                Some((key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.to_owned())))
            };
            let diagnostics =
                block.iter().map(|line| pair(line).unwrap_or_else(|| panic!("no YAML: {line}"))).collect();
            points.push(Point { ok, description, directive, diagnostics });
        }
        assert_eq!(points.len(), plan);
        points
    }

    /// Splits at the first unescaped `#`, and unescapes.
    fn split_directive(text: &str) -> (String, Option<String>) {
        let (mut description, mut chars) = (String::new(), text.chars());
        while let Some(c) = chars.next() {
            match c {
                '\\' => description.extend(chars.next()),
                '#' => return (description.trim_end().to_owned(), Some(chars.as_str().trim_start().to_owned())),
                c => description.push(c),
            }
        }
        (description, None)
    }

    #[test]
    fn each_check_is_a_test_point() {
        let points = read(&written(&FORMAT, &sample(&ALL)));
        let seen: Vec<_> = points.iter().map(|point| (point.ok, point.directive.as_deref())).collect();
        let expected = [
            (true, None),
            (true, None),
            (false, None),
            (false, None),
            (true, Some("SKIP it was skip")),
            (false, Some("TODO it was expected_failure")),
            (false, None),
        ];
        assert_eq!(seen, expected);
        assert_eq!(points[2].description, "Check 2.");
        let expected = [("id", "check.2"), ("status", "fail"), ("message", "it was fail"), ("duration_ms", "1.000")];
        assert_eq!(points[2].diagnostics, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_is_blocked_names_its_causes_and_is_counted() {
        let text = written(&FORMAT, &blocking(&[Status::Error, Status::Fail, Status::Pass], &[(0, &[1])]));
        let [cause, blocked, _] = &read(&text)[..] else { panic!("there are three checks") };
        assert_eq!((cause.description.as_str(), blocked.ok), ("Check 1.", false));
        assert!(blocked.diagnostics.contains(&("blocked_by".to_owned(), "[\"check.1\"]".to_owned())), "{blocked:?}");
        assert!(text.ends_with("# blocked: 1 of 3\n"), "{text}");
    }

    #[test]
    fn a_diagnostic_is_yaml_whatever_a_server_said() {
        assert_eq!(quoted("a\u{fffe}b\u{ffff}\u{1b}\n\"é"), "\"a\u{fffd}b\u{fffd}\u{fffd}\\n\\\"é\"");
    }

    #[test]
    fn what_a_check_says_stays_in_its_place() {
        let [point] = &read(&written(&FORMAT, &hostile()))[..] else { panic!("there is one check") };
        assert_eq!((point.description.as_str(), point.directive.as_deref()), (one_line(HOSTILE).as_str(), None));
        let expected = HOSTILE.replace('\x1b', "\u{fffd}");
        assert!(point.diagnostics.contains(&("message".to_owned(), expected)), "{point:?}");
    }
}
