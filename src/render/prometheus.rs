//! The text exposition format of Prometheus.
//!
//! Source of the format: <https://prometheus.io/docs/instrumenting/exposition_formats/>, version 0.0.4. An
//! answer is always a success over HTTP: a scraper drops what is not, and the figures say what is wrong.

use std::collections::HashSet;
use std::fmt::{self, Write};

use super::{Format, appended, exit_code};
use crate::check::Status;
use crate::report::Report;

pub(super) const FORMAT: Format = Format {
    name: "prometheus",
    media_type: "text/plain; version=0.0.4; charset=utf-8",
    write: |report, out| appended(out, |text| write(report, text)),
    exit_code,
    is_success: |_| true,
};

const STATUSES: [Status; 6] =
    [Status::Pass, Status::Fail, Status::Error, Status::Skip, Status::ExpectedFailure, Status::UnexpectedSuccess];

/// Appends the metrics of a report to an exposition that may hold others.
pub fn write(report: &Report, out: &mut String) -> fmt::Result {
    head("hospital_check_success", "Whether the check is well (1), as expected, or bad (0).", out)?;
    for outcome in &report.outcomes {
        let success = u8::from(!outcome.finding.status.is_bad());
        writeln!(out, "hospital_check_success{{check=\"{}\"}} {success}", Escaped(&outcome.check.id))?;
    }
    head("hospital_check_status", "What the check came to: 1 for its status, 0 for all others.", out)?;
    for outcome in &report.outcomes {
        let check = Escaped(&outcome.check.id);
        for status in STATUSES {
            let is = u8::from(status == outcome.finding.status);
            writeln!(out, "hospital_check_status{{check=\"{check}\",status=\"{}\"}} {is}", status.word())?;
        }
    }
    head("hospital_check_duration_seconds", "How long the last run of the check took.", out)?;
    for outcome in &report.outcomes {
        let (check, seconds) = (Escaped(&outcome.check.id), outcome.elapsed.as_secs_f64());
        writeln!(out, "hospital_check_duration_seconds{{check=\"{check}\"}} {seconds}")?;
    }
    if report.outcomes.iter().any(|outcome| !outcome.finding.perfdata.is_empty()) {
        perfdata(report, out)?;
    }
    Ok(())
}

fn perfdata(report: &Report, out: &mut String) -> fmt::Result {
    head("hospital_check_perfdata", "A figure that the check measured, in the unit that it was measured in.", out)?;
    for outcome in &report.outcomes {
        let check = Escaped(&outcome.check.id);
        // A plugin may say the same twice; for Prometheus one bad series makes the whole scrape bad.
        let mut seen = HashSet::new();
        for figure in outcome.finding.perfdata.iter().filter(|figure| seen.insert((&figure.label, &figure.unit))) {
            let (label, unit) = (Escaped(&figure.label), Escaped(&figure.unit));
            let value = figure.value;
            writeln!(out, "hospital_check_perfdata{{check=\"{check}\",label=\"{label}\",unit=\"{unit}\"}} {value}")?;
        }
    }
    Ok(())
}

fn head(name: &str, help: &str, out: &mut String) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge")
}

/// The value of a label.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ALL, hostile, written};
    use super::*;
    use crate::perfdata::Perfdata;
    use crate::report::tests::report as sample;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn with_figures(mut report: Report) -> Report {
        let figures = [("load1", 0.31, ""), ("load1", 9.0, ""), ("a\"b\\c\nd", 1e-7, "s"), ("big", 1e22, "B")];
        report.outcomes[0].finding.perfdata =
            figures.map(|(label, value, unit)| Perfdata::new(label, value, unit)).to_vec();
        report
    }

    #[test]
    fn each_check_has_its_series() {
        insta::assert_snapshot!(written(&FORMAT, &with_figures(sample(&[Status::Fail]))), @r#"
        # HELP hospital_check_success Whether the check is well (1), as expected, or bad (0).
        # TYPE hospital_check_success gauge
        hospital_check_success{check="check.0"} 0
        # HELP hospital_check_status What the check came to: 1 for its status, 0 for all others.
        # TYPE hospital_check_status gauge
        hospital_check_status{check="check.0",status="pass"} 0
        hospital_check_status{check="check.0",status="fail"} 1
        hospital_check_status{check="check.0",status="error"} 0
        hospital_check_status{check="check.0",status="skip"} 0
        hospital_check_status{check="check.0",status="expected_failure"} 0
        hospital_check_status{check="check.0",status="unexpected_success"} 0
        # HELP hospital_check_duration_seconds How long the last run of the check took.
        # TYPE hospital_check_duration_seconds gauge
        hospital_check_duration_seconds{check="check.0"} 0.001
        # HELP hospital_check_perfdata A figure that the check measured, in the unit that it was measured in.
        # TYPE hospital_check_perfdata gauge
        hospital_check_perfdata{check="check.0",label="load1",unit=""} 0.31
        hospital_check_perfdata{check="check.0",label="a\"b\\c\nd",unit="s"} 0.0000001
        hospital_check_perfdata{check="check.0",label="big",unit="B"} 10000000000000000000000
        "#);
    }

    #[test]
    fn what_a_check_is_called_begins_no_line_of_its_own() {
        let text = written(&FORMAT, &hostile());
        assert!(text.lines().all(|line| line.starts_with("# ") || line.starts_with("hospital_check_")), "{text}");
    }

    #[test]
    #[ignore = "needs prometheus: run tests/run"]
    fn promtool_has_no_complaint() {
        for report in [with_figures(sample(&ALL)), with_figures(hostile()), Report::default()] {
            let mut promtool = Command::new("promtool")
                .args(["check", "metrics"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it is installed");
            let mut input = promtool.stdin.take().expect("it is piped");
            input.write_all(written(&FORMAT, &report).as_bytes()).expect("it reads");
            drop(input);
            let output = promtool.wait_with_output().expect("it ends");
            let said = [output.stdout, output.stderr].concat();
            assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
        }
    }
}
