//! A report as text for its reader: one file for each format, one row each in [`FORMATS`].

pub(crate) mod exposition;
mod health;
pub mod html;
pub mod json;
mod junit;
pub mod kubernetes;
pub(crate) mod line;
pub(crate) mod nagios;
pub(crate) mod prometheus;
mod tap;
mod text;
pub(crate) mod why;

use std::fmt;

use crate::model::report::Report;
use crate::model::speaker::Speaker;

/// A format: its name, and how to write a report in it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Format {
    /// Its name in `--format` and `?format=`.
    pub name: &'static str,
    /// The media type of an HTTP answer, for `Accept` and `Content-Type`.
    pub media_type: &'static str,
    /// Appends the report.
    pub write: fn(&Report, &mut Vec<u8>),
    /// Says in what was written whose report it is, where the format has room for that.
    pub(crate) signed: fn(&Speaker, &mut Vec<u8>),
    /// The exit code of `hospital check`: [`exit_code`] unless the format has a rule of its own.
    pub exit_code: fn(&Report) -> u8,
    /// Whether an HTTP answer is a success: [`Report::passes`] unless the format has a rule of its own.
    pub is_success: fn(&Report) -> bool,
    /// Whether a success with a warning may have a status code of its own: not where the format's source or its readers want
    /// that of a success.
    pub(crate) warn_status: bool,
    /// Whether reports that say the same are written identically, without times and figures.
    pub(crate) timeless: bool,
    /// The same format with more about each check, if it has room for that.
    pub(crate) verbose: Option<&'static Format>,
    /// What `hospital check` writes and exits with when an error prevents a report; without it, standard error and the
    /// exit code of the error are to tell.
    pub(crate) refusal: Option<Refusal>,
    /// Whether it is the page for people, which shows more than a report.
    pub(crate) is_page: bool,
}

/// An error as text and exit code.
type Refusal = fn(error: &str) -> (String, u8);

impl Format {
    /// The same format with more about each check, if it has room for that; the more, the higher the level. 0: as it is.
    pub fn verbose(&'static self, level: u8) -> &'static Format {
        match (level, self.verbose) {
            (0, _) | (_, None) => self,
            (_, Some(verbose)) => verbose.verbose(level - 1),
        }
    }
}

/// All formats. Of those with the same media type, `Accept` gets the first.
pub static FORMATS: &[Format] = &[
    json::FORMAT,
    health::FORMAT,
    html::FORMAT,
    text::FORMAT,
    junit::FORMAT,
    tap::FORMAT,
    nagios::FORMAT,
    prometheus::FORMAT,
];

/// For a format that has no room for a name, or reports that nobody gives.
pub(crate) fn unsigned(_: &Speaker, _: &mut Vec<u8>) {}

/// The usual exit code: 0 when the report passes, else 1.
pub fn exit_code(report: &Report) -> u8 {
    u8::from(!report.passes())
}

/// The format with this name.
///
/// # Errors
///
/// One line with the known names.
pub fn named(name: &str) -> Result<&'static Format, String> {
    let known = || FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ");
    FORMATS
        .iter()
        .find(|format| format.name == name)
        .ok_or_else(|| format!("there is no such format (known: {})", known()))
}

/// Appends the text that `write` produces.
pub(crate) fn appended(out: &mut Vec<u8>, write: impl FnOnce(&mut String) -> fmt::Result) {
    let mut text = String::new();
    write(&mut text).expect("a string takes all that is written");
    out.append(&mut text.into_bytes());
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::check::{Check, Finding, Status};
    use crate::model::perfdata::Perfdata;
    use crate::model::report::Outcome;
    use std::collections::HashSet;
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::sync::Arc;
    use std::time::Duration;

    pub(crate) const ALL: [Status; 7] = Status::ALL;

    /// What no format may let out of its place.
    pub(crate) const HOSTILE: &str =
        "a \"q\" 'q' <b>&amp;</b> ]]> --> | pipe=1\n# TODO hash \\ {}\n1..9\nok 9\n  ...\r\n\tend\x1b[31m é";

    /// A failed check whose id, title and context are [`HOSTILE`].
    pub(crate) fn hostile() -> Report {
        let check = Check { id: HOSTILE.to_owned(), title: HOSTILE.to_owned(), ..Check::new("x", |_| Finding::PASS) };
        let finding = Finding::new(Status::Fail, HOSTILE);
        let elapsed = Duration::from_millis(1);
        Report::of_outcomes(vec![Outcome::of(Arc::new(check), finding, elapsed, elapsed)])
    }

    pub(crate) fn written(format: &Format, report: &Report) -> String {
        let mut out = b"before".to_vec();
        (format.write)(report, &mut out);
        String::from_utf8(out).expect("each format is UTF-8").split_off("before".len())
    }

    /// Fails if promtool has any complaint about an exposition.
    #[track_caller]
    pub(crate) fn promtool_accepts(text: &str) {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it is installed");
        let mut input = promtool.stdin.take().expect("it is piped");
        input.write_all(text.as_bytes()).expect("it reads");
        drop(input);
        let output = promtool.wait_with_output().expect("it ends");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    }

    #[test]
    fn each_format_is_found_by_its_name() {
        let names: HashSet<_> = FORMATS.iter().map(|format| format.name).collect();
        assert_eq!(names.len(), FORMATS.len());
        for format in FORMATS {
            assert_eq!(named(format.name).map(|found| found.media_type), Ok(format.media_type));
        }
        let error = named("yaml").expect_err("there is none");
        assert!(error.starts_with("there is no such format (known: json, health+json, html, "), "{error}");
    }

    #[test]
    fn a_format_without_times_writes_the_same_at_any_time() {
        let early = hostile();
        let mut late = early.clone();
        let Outcome { finding, elapsed, age, .. } = &mut late.outcomes[0];
        finding.perfdata.push(Perfdata::new("load", 7.0, ""));
        (*elapsed, *age) = (Duration::from_secs(77), Duration::from_secs(777));
        assert!(early.says_the_same(&late));
        for format in FORMATS.iter().flat_map(|format| [format, format.verbose(1)]).filter(|format| format.timeless) {
            assert_eq!(written(format, &early), written(format, &late), "{}", format.name);
        }
    }

    #[test]
    fn that_the_host_is_in_maintenance_is_told_by_every_format_and_only_then() {
        let plain = hostile();
        let maintained = Report { maintenance: Some(HOSTILE.to_owned()), ..plain.clone() };
        for format in FORMATS.iter().flat_map(|format| [format, format.verbose(1), format.verbose(2)]) {
            let (with, without) = (written(format, &maintained), written(format, &plain));
            let is_told = |text: &str| text.to_lowercase().contains("maintenance") || text.contains("id=\"maintenance");
            assert!(is_told(&with.replace("#maintenance", "")), "{}: {with}", format.name);
            assert!(!is_told(&without.replace("#maintenance", "")), "{}: {without}", format.name);
            assert_eq!((format.exit_code)(&maintained), (format.exit_code)(&plain), "it does not count");
            if format.name != "prometheus" {
                assert_eq!(with.matches("pipe=1").count(), without.matches("pipe=1").count() + 1, "{with}");
            }
        }
        let json = written(named("json").expect("it is one"), &maintained);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).expect("it is JSON")["maintenance"], HOSTILE);
        let nagios = written(named("nagios").expect("it is one"), &maintained);
        assert_eq!(nagios.matches('|').count(), 1, "{nagios}");
    }

    #[test]
    fn an_empty_report_is_a_document_too() {
        for format in FORMATS {
            assert!(!written(format, &Report::default()).is_empty(), "{}", format.name);
            assert_eq!((format.exit_code)(&Report::default()), 0, "{}", format.name);
        }
    }
}
