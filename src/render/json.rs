//! The origin's JSON: `status`, `details` and `summary`, in that order, indented by four spaces.

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use serde_json::ser::PrettyFormatter;

use super::{Format, exit_code};
use crate::check::Status;
use crate::report::{Outcome, Report, Summary};

/// The media type of this format.
pub const MEDIA_TYPE: &str = "application/json; charset=utf-8";

pub(super) const FORMAT: Format =
    Format { name: "json", media_type: MEDIA_TYPE, write: report, exit_code, is_success: Report::passes };

/// Appends the report to `out`.
pub fn report(report: &Report, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Document<'a> {
        status: Status,
        #[serde(serialize_with = "details")]
        details: &'a [Outcome],
        summary: Summary,
    }
    write(&Document { status: report.status(), details: &report.outcomes, summary: report.summary() }, out);
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

fn details<S: Serializer>(outcomes: &&[Outcome], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Detail<'a> {
        test: &'a str,
        status: Status,
        #[serde(skip_serializing_if = "Option::is_none")]
        context: Option<&'a str>,
    }
    let mut details = serializer.serialize_seq(Some(outcomes.len()))?;
    for Outcome { check, finding, .. } in *outcomes {
        details.serialize_element(&Detail {
            test: &check.title,
            status: finding.status,
            context: finding.context.as_deref(),
        })?;
    }
    details.end()
}

fn write(document: &impl Serialize, out: &mut Vec<u8>) {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, PrettyFormatter::with_indent(b"    "));
    document.serialize(&mut serializer).expect("writing plain structs to memory cannot fail");
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report as sample;

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

    #[test]
    fn a_context_is_a_string_beside_the_status() {
        let text = text(|out| report(&sample(&[Status::Fail]), out));
        let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(json["details"][0]["context"], "it was fail");
        assert_eq!(json["status"], "fail");
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
