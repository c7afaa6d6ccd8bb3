//! The JSON of Python's hospital: `status`, `details` and `summary`, in this order, indented by four spaces.

use serde::{Serialize, Serializer};
use serde_json::ser::PrettyFormatter;

use super::{Format, exit_code, unsigned};
use crate::model::blame::Blame;
use crate::model::check::Status;
use crate::model::report::{Outcome, Report, Summary};
use crate::model::speaker::Speaker;
use crate::model::transcript::Transcript;

/// The media type of this format.
pub const MEDIA_TYPE: &str = "application/json; charset=utf-8";

pub(super) const FORMAT: Format =
    Format { write: report, signed: unsigned, timeless: true, verbose: Some(&VERBOSE), ..VERBOSE_ROW };

/// With `id`, `seconds`, `tags`, `options`, `age`, `raw` and, if it has any, `blocked_by` and `blame` in each detail.
static VERBOSE: Format = Format { verbose: Some(&MOST_VERBOSE), ..VERBOSE_ROW };

/// With the transcript of each run, too.
static MOST_VERBOSE: Format = Format { write: most_verbose_report, ..VERBOSE_ROW };

const VERBOSE_ROW: Format = Format {
    name: "json",
    media_type: MEDIA_TYPE,
    write: verbose_report,
    signed,
    exit_code,
    is_success: Report::passes,
    warn_status: true,
    timeless: false,
    verbose: None,
    refusal: None,
    is_page: false,
};

/// Appends the report to `out`.
pub fn report(report: &Report, out: &mut Vec<u8>) {
    let report = &*report.in_parts();
    // Every answer has this layout, so it is written here directly: that takes a fifth of the instructions of a
    // serializer. The tests compare the two.
    out.extend_from_slice(b"{\n    \"status\": \"");
    out.extend_from_slice(report.status().word().as_bytes());
    out.extend_from_slice(b"\",\n    \"details\": [");
    for (index, outcome) in report.causes_first().enumerate() {
        let Outcome { check, finding, .. } = outcome;
        out.extend_from_slice(if index == 0 { b"" } else { b"," });
        out.extend_from_slice(b"\n        {\n            \"test\": ");
        scalar(&check.title, out);
        out.extend_from_slice(b",\n            \"status\": \"");
        out.extend_from_slice(finding.status.word().as_bytes());
        out.push(b'"');
        if let Some(context) = &finding.context {
            out.extend_from_slice(b",\n            \"context\": ");
            scalar(context, out);
        }
        if let Some(silence) = outcome.silence() {
            out.extend_from_slice(b",\n            \"silence\": ");
            scalar(&silence, out);
        }
        out.extend_from_slice(b"\n        }");
    }
    out.extend_from_slice(if report.outcomes.is_empty() { b"]" } else { b"\n    ]" });
    out.extend_from_slice(b",\n    \"summary\": {");
    let Summary { skip, pass, expected_failure, error, fail, total, unexpected_success, warn, silenced, blocked } =
        report.summary();
    for (key, count) in [
        ("\n        \"skip\": ", skip),
        (",\n        \"pass\": ", pass),
        (",\n        \"expected_failure\": ", expected_failure),
        (",\n        \"error\": ", error),
        (",\n        \"fail\": ", fail),
        (",\n        \"total\": ", total),
        (",\n        \"unexpected_success\": ", unexpected_success),
    ] {
        out.extend_from_slice(key.as_bytes());
        scalar(count, out);
    }
    for (key, count) in [
        (",\n        \"warn\": ", warn),
        (",\n        \"silenced\": ", silenced),
        (",\n        \"blocked\": ", blocked),
    ] {
        if count > 0 {
            out.extend_from_slice(key.as_bytes());
            scalar(count, out);
        }
    }
    out.extend_from_slice(b"\n    }");
    if let Some(reason) = &report.maintenance {
        out.extend_from_slice(b",\n    \"maintenance\": ");
        scalar(reason, out);
    }
    out.extend_from_slice(b"\n}\n");
}

fn scalar(value: impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, &value).expect("writing to memory cannot fail");
}

/// As the last keys of the document.
fn signed(speaker: &Speaker, out: &mut Vec<u8>) {
    if speaker.is_nobody() || !out.ends_with(b"\n}\n") {
        return;
    }
    out.truncate(out.len() - b"\n}\n".len());
    for (key, name) in [("host", &speaker.host), ("instance", &speaker.instance)] {
        out.extend(format!(",\n    \"{key}\": ").bytes());
        scalar(name, out);
    }
    out.extend_from_slice(b"\n}\n");
}

fn verbose_report(report: &Report, out: &mut Vec<u8>) {
    document(report, Some(Detailed::Verbose), out);
}

fn most_verbose_report(report: &Report, out: &mut Vec<u8>) {
    document(report, Some(Detailed::WithTranscripts), out);
}

/// How much more than the usual there is in each detail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detailed {
    Verbose,
    WithTranscripts,
}

fn document(report: &Report, detailed: Option<Detailed>, out: &mut Vec<u8>) {
    let report = &*report.in_parts();
    #[derive(Serialize)]
    struct Document<'a> {
        status: Status,
        details: DetailList<'a>,
        summary: Summary,
        #[serde(skip_serializing_if = "Option::is_none")]
        maintenance: Option<&'a str>,
    }
    let details = DetailList { report, detailed };
    let maintenance = report.maintenance.as_deref();
    write(&Document { status: report.status(), details, summary: report.summary(), maintenance }, out);
}

/// Appends an answer that is not a report, such as a 404, to `out`.
pub fn error(code: u16, message: &str, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Document<'a> {
        status: Status,
        code: u16,
        message: &'a str,
    }
    write(&Document { status: Status::Error, code, message }, out);
}

struct DetailList<'a> {
    report: &'a Report,
    detailed: Option<Detailed>,
}

#[derive(Serialize)]
struct Detail<'a> {
    test: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    silence: Option<String>,
    #[serde(flatten)]
    more: Option<More<'a>>,
}

#[derive(Serialize)]
struct More<'a> {
    id: &'a str,
    seconds: f64,
    tags: &'a [String],
    #[serde(serialize_with = "object", skip_serializing_if = "<[_]>::is_empty")]
    options: &'a [(String, String)],
    age: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<f64>,
    raw: Status,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    blocked_by: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    as_needed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    blame: Option<Blame>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript: Option<Fields<'a>>,
}

/// A transcript as an object: each field with all its values, in the order in which they came.
struct Fields<'a>(&'a Transcript);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.grouped())
    }
}

/// Pairs as an object.
fn object<S: Serializer>(pairs: &&[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

impl Serialize for DetailList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.report.causes_first().map(
            |outcome @ Outcome { check, finding, elapsed, age, .. }| Detail {
                test: &check.title,
                status: finding.status,
                context: finding.context.as_deref(),
                silence: outcome.silence(),
                more: self.detailed.map(|detailed| More {
                    id: &check.id,
                    seconds: elapsed.as_secs_f64(),
                    tags: &check.tags,
                    options: &check.options,
                    age: age.as_secs_f64(),
                    every: check.schedule.map(|schedule| schedule.every.as_secs_f64()),
                    raw: outcome.raw(),
                    blocked_by: outcome.blocked_by(),
                    as_needed: outcome.is_as_needed(),
                    blame: finding.blame,
                    transcript:
                        finding.transcript.as_deref().filter(|_| detailed == Detailed::WithTranscripts).map(Fields),
                }),
            },
        ))
    }
}

/// Appends any document, in the layout of all of ours.
pub(super) fn write(document: &impl Serialize, out: &mut Vec<u8>) {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, PrettyFormatter::with_indent(b"    "));
    document.serialize(&mut serializer).expect("writing plain structs to memory cannot fail");
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use crate::model::report::tests::{blocking, report as sample};

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn it_is_the_json_of_the_manual() {
        let mut passing = sample(&[Status::Pass]);
        std::sync::Arc::get_mut(&mut passing.outcomes[0].check).expect("not shared").title =
            "Health checks are collected.".into();
        insta::assert_snapshot!(text(|out| report(&passing, out)), @r#"
        {
            "status": "pass",
            "details": [
                {
                    "test": "Health checks are collected.",
                    "status": "pass"
                }
            ],
            "summary": {
                "skip": 0,
                "pass": 1,
                "expected_failure": 0,
                "error": 0,
                "fail": 0,
                "total": 1,
                "unexpected_success": 0
            }
        }
        "#);
    }

    proptest! {
        #[test]
        fn its_layout_is_that_of_a_serializer(words in vec((".*", option::of(".*")), 0..4)) {
            let statuses = vec![Status::Warn; words.len()];
            let blocked: &[(usize, &[usize])] = if words.len() > 2 { &[(0, &[1])] } else { &[] };
            let mut made = blocking(&statuses, blocked);
            for (outcome, (title, context)) in made.outcomes.iter_mut().zip(words) {
                std::sync::Arc::get_mut(&mut outcome.check).expect("not shared").title = title;
                outcome.finding.context = context;
            }
            prop_assert_eq!(text(|out| report(&made, out)), text(|out| document(&made, None, out)));
        }
    }

    #[test]
    fn a_context_is_a_string_beside_the_status() {
        let text = text(|out| report(&sample(&[Status::Fail]), out));
        let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(json["details"][0]["context"], "it was fail");
        assert_eq!(json["status"], "fail");
    }

    #[test]
    fn the_verbose_report_says_what_else_is_known() {
        let text = text(|out| (VERBOSE.write)(&sample(&[Status::Fail]), out));
        let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let expected = serde_json::json!({
            "test": "Check 0.", "status": "fail", "context": "it was fail",
            "id": "check.0", "seconds": 0.001, "tags": [], "age": 0.002, "raw": "fail",
        });
        assert_eq!(json["details"][0], expected);
    }

    #[test]
    fn what_is_blocked_follows_its_cause_and_is_counted_apart() {
        let text = text(|out| (VERBOSE.write)(&blocking(&[Status::Error, Status::Fail], &[(0, &[1])]), out));
        let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let ids = [&json["details"][0]["id"], &json["details"][1]["id"]];
        assert_eq!(ids, ["check.1", "check.0"]);
        assert_eq!(json["details"][1]["blocked_by"], serde_json::json!(["check.1"]));
        assert_eq!((&json["summary"]["error"], &json["summary"]["blocked"]), (&1.into(), &1.into()));
    }

    #[test]
    fn an_error_has_a_code_and_a_message() {
        insta::assert_snapshot!(text(|out| error(404, "nothing is there", out)), @r#"
        {
            "status": "error",
            "code": 404,
            "message": "nothing is there"
        }
        "#);
    }
}
