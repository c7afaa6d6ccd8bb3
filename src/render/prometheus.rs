//! The metrics of a report, in the text format of Prometheus.
//!
//! An answer is always a success over HTTP: a scraper drops others, and the figures tell what is wrong.

use std::collections::HashSet;
use std::fmt;
use std::time::UNIX_EPOCH;

use super::exposition::{Exposition, Family, MetricKind, Syntax};
use super::{Format, appended, exit_code, unsigned};
use crate::model::check::Status;
use crate::model::report::Outcome;

pub(super) const FORMAT: Format = Format {
    name: Syntax::Text.name(),
    media_type: Syntax::Text.media_type(),
    write: |report, out| {
        appended(out, |text| {
            let mut out = Exposition::new(Syntax::Text, text);
            checks(&report.outcomes, &mut out)?;
            if report.maintenance.is_some() { maintenance(true, &mut out) } else { Ok(()) }
        })
    },
    signed: unsigned,
    exit_code,
    is_success: |_| true,
    warn_status: false,
    timeless: false,
    verbose: None,
    refusal: None,
    is_page: false,
};

/// The families of a report.
#[cfg(test)]
pub(crate) static FAMILIES: &[Family] =
    &[SUCCESS, STATUS, RAW, BLOCKED, BLAME, DURATION, SILENCED, PERFDATA, MAINTENANCE];

const SUCCESS: Family = Family {
    name: "hospital_check_success",
    kind: MetricKind::Gauge,
    labels: &["check"],
    help: "Whether the check passes (1) or is bad (0).",
};
const STATUS: Family = Family {
    name: "hospital_check_status",
    kind: MetricKind::Gauge,
    labels: &["check", "status"],
    help: "The status of the check: 1 for its status, 0 for all others.",
};
const RAW: Family = Family {
    name: "hospital_check_raw_status",
    kind: MetricKind::Gauge,
    labels: &["check", "status"],
    help: "1 for the status that the check found itself, where that was judged to be another.",
};
const BLOCKED: Family = Family {
    name: "hospital_check_blocked",
    kind: MetricKind::Gauge,
    labels: &["check"],
    help: "Whether the check was not run because something that it needs is bad (1), of those that need anything.",
};
const BLAME: Family = Family {
    name: "hospital_check_blame",
    kind: MetricKind::Gauge,
    labels: &["check", "blame"],
    help: "1 for whose fault it is that the check is bad: ours, theirs or path, where that is known.",
};
const DURATION: Family = Family {
    name: "hospital_check_duration_seconds",
    kind: MetricKind::Gauge,
    labels: &["check"],
    help: "How long the last run of the check took.",
};
const SILENCED: Family = Family {
    name: "hospital_check_silenced_until_timestamp_seconds",
    kind: MetricKind::Gauge,
    labels: &["check"],
    help: "When the silence of the check ends, if there is one: until then its findings do not count.",
};
const PERFDATA: Family = Family {
    name: "hospital_check_perfdata",
    kind: MetricKind::Gauge,
    labels: &["check", "label", "unit"],
    help: "A figure that the check measured, in the unit that it was measured in.",
};

const MAINTENANCE: Family = Family {
    name: "hospital_maintenance",
    kind: MetricKind::Gauge,
    labels: &[],
    help: "Whether the host takes no requests, as there is a --maintenance-file (1), or not (0).",
};

/// Writes whether the host is in maintenance.
pub(crate) fn maintenance(is_maintained: bool, out: &mut Exposition<'_>) -> fmt::Result {
    out.family(&MAINTENANCE)?;
    out.sample(&MAINTENANCE, &[], u8::from(is_maintained))
}

/// Writes the outcomes of the checks.
pub(crate) fn checks(outcomes: &[Outcome], out: &mut Exposition<'_>) -> fmt::Result {
    out.family(&SUCCESS)?;
    for outcome in outcomes {
        let success = u8::from(!outcome.is_bad());
        out.sample(&SUCCESS, &[&outcome.check.id], success)?;
    }
    out.family(&STATUS)?;
    for outcome in outcomes {
        for status in Status::ALL {
            let is = u8::from(status == outcome.finding.status);
            out.sample(&STATUS, &[&outcome.check.id, status.word()], is)?;
        }
    }
    let judged = || outcomes.iter().filter(|outcome| outcome.raw() != outcome.finding.status);
    if judged().next().is_some() {
        out.family(&RAW)?;
    }
    for outcome in judged() {
        out.sample(&RAW, &[&outcome.check.id, outcome.raw().word()], 1)?;
    }
    let needing = || outcomes.iter().filter(|outcome| !outcome.check.needs.is_empty());
    if needing().next().is_some() {
        out.family(&BLOCKED)?;
    }
    for outcome in needing() {
        out.sample(&BLOCKED, &[&outcome.check.id], u8::from(!outcome.blocked_by().is_empty()))?;
    }
    let blamed = || outcomes.iter().filter_map(|outcome| Some((outcome, outcome.finding.blame?)));
    if blamed().next().is_some() {
        out.family(&BLAME)?;
    }
    for (outcome, blame) in blamed() {
        out.sample(&BLAME, &[&outcome.check.id, blame.word()], 1)?;
    }
    out.family(&DURATION)?;
    for outcome in outcomes {
        out.sample(&DURATION, &[&outcome.check.id], outcome.elapsed.as_secs_f64())?;
    }
    let mut silenced =
        outcomes.iter().filter_map(|outcome| Some((outcome, outcome.check.silence.as_ref()?))).peekable();
    if silenced.peek().is_some() {
        out.family(&SILENCED)?;
    }
    for (outcome, silence) in silenced {
        let until = silence.until.duration_since(UNIX_EPOCH).unwrap_or_default();
        out.sample(&SILENCED, &[&outcome.check.id], until.as_secs_f64())?;
    }
    if outcomes.iter().any(|outcome| !outcome.finding.perfdata.is_empty()) {
        perfdata(outcomes, out)?;
    }
    Ok(())
}

fn perfdata(outcomes: &[Outcome], out: &mut Exposition<'_>) -> fmt::Result {
    out.family(&PERFDATA)?;
    for outcome in outcomes {
        // A plugin may report a label twice; for Prometheus, one bad series makes the whole scrape bad.
        let mut seen = HashSet::new();
        for figure in outcome.finding.perfdata.iter().filter(|figure| seen.insert((&figure.label, &figure.unit))) {
            let labels = [outcome.check.id.as_str(), &figure.label, &figure.unit];
            out.sample(&PERFDATA, &labels, figure.value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hostile, promtool_accepts, written};
    use super::*;
    use crate::model::perfdata::Perfdata;
    use crate::model::report::Report;
    use crate::model::report::tests::report as sample;

    fn with_figures(mut report: Report) -> Report {
        let figures = [("load1", 0.31, ""), ("load1", 9.0, ""), ("a\"b\\c\nd", 1e-7, "s"), ("big", 1e22, "B")];
        report.outcomes[0].finding.perfdata =
            figures.map(|(label, value, unit)| Perfdata::new(label, value, unit)).to_vec();
        report
    }

    #[test]
    fn each_check_has_its_series() {
        insta::assert_snapshot!(written(&FORMAT, &with_figures(sample(&[Status::Fail]))), @r#"
        # HELP hospital_check_success Whether the check passes (1) or is bad (0).
        # TYPE hospital_check_success gauge
        hospital_check_success{check="check.0"} 0
        # HELP hospital_check_status The status of the check: 1 for its status, 0 for all others.
        # TYPE hospital_check_status gauge
        hospital_check_status{check="check.0",status="pass"} 0
        hospital_check_status{check="check.0",status="warn"} 0
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
    #[ignore = "needs promtool"]
    fn promtool_has_no_complaint() {
        for report in [with_figures(sample(&Status::ALL)), with_figures(hostile()), Report::default()] {
            promtool_accepts(&written(&FORMAT, &report));
        }
    }
}
