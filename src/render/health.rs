//! The health check response format for HTTP APIs.
//!
//! Source of the format: draft-inadarei-api-health-check-06. A key in `checks` is that of a component, or
//! `component:measurement` for a figure. Therefore a colon in an id is percent-encoded; `componentId` has the id
//! unchanged.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{Format, exit_code, json, unsigned};
use crate::model::check::Status;
use crate::model::report::{Outcome, Report};

pub(super) const FORMAT: Format = Format {
    name: "health+json",
    media_type: "application/health+json",
    write,
    signed: unsigned,
    exit_code,
    is_success: Report::passes,
    warn_status: false,
    timeless: false,
    verbose: None,
    refusal: None,
    is_page: false,
};

/// The draft's three words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Pass,
    /// Healthy, with some concerns.
    Warn,
    Fail,
}

impl Health {
    fn of(outcome: &Outcome) -> Health {
        match outcome.finding.status {
            _ if outcome.is_bad() => Health::Fail,
            Status::Pass | Status::Skip => Health::Pass,
            // What is bad and does not count is a concern, too.
            Status::Warn | Status::ExpectedFailure | Status::Fail | Status::Error | Status::UnexpectedSuccess => {
                Health::Warn
            }
        }
    }
}

fn write(report: &Report, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Document<'a> {
        status: Health,
        description: &'static str,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
        #[serde(serialize_with = "checks")]
        checks: &'a Report,
    }
    let blocked = report.blocked().count();
    let blocked = (blocked > 0).then(|| format!("{blocked} of {} checks are blocked by others", report.outcomes.len()));
    let maintenance = report.maintenance.as_ref().map(|reason| format!("in maintenance: {reason}"));
    let worst = report.outcomes.iter().map(Health::of).max();
    let document = Document {
        status: worst.unwrap_or(Health::Pass),
        description: "healthchecks run by hospital",
        notes: blocked.into_iter().chain(maintenance).collect(),
        checks: report,
    };
    json::write(&document, out);
}

fn checks<S: Serializer>(report: &&Report, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Component<'a> {
        component_id: &'a str,
        status: Health,
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<String>,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        blocked_by: &'a [String],
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Measurement<'a> {
        component_id: &'a str,
        observed_value: f64,
        #[serde(skip_serializing_if = "str::is_empty")]
        observed_unit: &'a str,
    }
    let mut checks = serializer.serialize_map(None)?;
    for outcome in report.causes_first() {
        let Outcome { check, finding, elapsed, .. } = outcome;
        let key = check.id.replace('%', "%25").replace(':', "%3A");
        let said = finding.context.as_deref().map(str::to_owned).into_iter().chain(outcome.silence());
        let said: Vec<_> = said.collect();
        let output = (!said.is_empty()).then(|| format!("{}: {}", check.title, said.join("; ")));
        let component = Component {
            component_id: &check.id,
            status: Health::of(outcome),
            output,
            blocked_by: outcome.blocked_by(),
        };
        checks.serialize_entry(&key, &[component])?;

        let measured =
            |observed_value, observed_unit| [Measurement { component_id: &check.id, observed_value, observed_unit }];
        checks.serialize_entry(&format!("{key}:responseTime"), &measured(elapsed.as_secs_f64(), "s"))?;
        for (index, figure) in finding.perfdata.iter().enumerate() {
            // A plugin may report a label twice; in an object the second would hide the first.
            let is_first = finding.perfdata[..index].iter().all(|earlier| earlier.label != figure.label);
            if is_first && figure.label != "responseTime" {
                checks.serialize_entry(&format!("{key}:{}", figure.label), &measured(figure.value, &figure.unit))?;
            }
        }
    }
    checks.end()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ALL, HOSTILE, hostile, written};
    use super::*;
    use crate::model::perfdata::Perfdata;
    use crate::model::report::tests::{blocking, report as sample};
    use serde_json::{Value, json};

    fn json(report: &Report) -> Value {
        serde_json::from_str(&written(&FORMAT, report)).expect("it is JSON")
    }

    /// What the draft requires of every document.
    fn verify(document: &Value) {
        assert!(["pass", "warn", "fail"].iter().any(|word| document["status"] == *word), "{document}");
        for (key, components) in document["checks"].as_object().expect("checks is an object") {
            assert!(!key.is_empty());
            for component in components.as_array().expect("each key has an array") {
                let component = component.as_object().expect("of objects");
                assert!(component["componentId"].is_string());
                assert!(
                    component.get("status").is_none_or(|status| ["pass", "warn", "fail"].iter().any(|w| status == w))
                );
                assert!(component.get("output").is_none_or(Value::is_string));
                assert!(component.contains_key("observedValue") || !component.contains_key("observedUnit"));
                assert!(component.get("observedUnit").is_none_or(|unit| unit != ""));
            }
        }
    }

    #[test]
    fn each_check_is_a_component() {
        let mut report = sample(&ALL);
        report.outcomes[2].finding.perfdata =
            vec![Perfdata::new("used", 90.0, "%"), Perfdata::new("load1", 0.5, ""), Perfdata::new("used", 80.0, "")];
        let document = json(&report);
        verify(&document);
        assert_eq!(document["status"], "fail");
        let words: Vec<_> = (0..7).map(|n| document["checks"][format!("check.{n}")][0]["status"].clone()).collect();
        assert_eq!(words, ["pass", "warn", "fail", "fail", "pass", "warn", "fail"]);
        let failed = json!([{"componentId": "check.2", "status": "fail", "output": "Check 2.: it was fail"}]);
        assert_eq!(document["checks"]["check.2"], failed);
        let used = json!([{"componentId": "check.2", "observedValue": 90.0, "observedUnit": "%"}]);
        assert_eq!(document["checks"]["check.2:used"], used);
    }

    #[test]
    fn what_is_known_to_be_broken_is_a_warning_of_a_report_that_passes() {
        let report = sample(&[Status::Pass, Status::ExpectedFailure]);
        assert!((FORMAT.is_success)(&report));
        assert_eq!(json(&report)["status"], "warn");
        assert_eq!(json(&sample(&[Status::Pass, Status::Skip]))["status"], "pass");
        verify(&json(&Report::default()));
    }

    #[test]
    fn what_is_blocked_names_its_causes_and_is_counted() {
        let document = json(&blocking(&[Status::Error, Status::Fail, Status::Pass], &[(0, &[1])]));
        verify(&document);
        assert_eq!(document["checks"]["check.0"][0]["blockedBy"], json!(["check.1"]));
        assert_eq!(document["notes"], json!(["1 of 3 checks are blocked by others"]));
    }

    #[test]
    fn a_colon_of_an_id_separates_nothing() {
        let document = json(&hostile());
        verify(&document);
        let keys: Vec<_> = document["checks"].as_object().expect("it is one").keys().collect();
        assert!(keys.iter().all(|key| key.matches(':').count() <= 1), "{keys:?}");
        let component = document["checks"].as_object().and_then(|checks| checks.values().next()).expect("there is one");
        assert!(component[0]["output"].as_str().is_some_and(|output| output.ends_with(HOSTILE)));
    }
}
