//! A report in the form of the snapshot: what each check found, under its id. Each worker has the checks themselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::blame::Blame;
use crate::model::check::{Check, Finding, Part, Status};
use crate::model::judgement::Judgement;
use crate::model::perfdata::Perfdata;
use crate::model::report::{Outcome, Report};
use crate::model::suite::Suite;
use crate::model::transcript::Transcript;

/// A round's report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Contents {
    /// The configuration and the state of the files that the suite was read from.
    pub(super) edition: u64,
    /// When the round began.
    pub(super) began: Duration,
    /// How long the machine had been suspended until then, which the other times leave out.
    pub(super) suspended: Duration,
    /// Under the ids of the checks. `None`: they do not fit into the snapshot.
    outcomes: Option<HashMap<String, SharedOutcome>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SharedOutcome {
    #[serde(flatten)]
    finding: SharedFinding,
    elapsed: Duration,
    began: Duration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judgement: Option<Box<Judgement>>,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::daemon::worker) struct SharedFinding {
    status: Status,
    context: Option<String>,
    figures: Vec<Figure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blame: Option<Blame>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transcript: Option<Box<Transcript>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Figure {
    label: String,
    /// As bits: JSON has no infinite numbers.
    value: u64,
    unit: String,
}

impl Contents {
    /// The report at `now` of a round that began at `began`. Moments count from an epoch that all workers share.
    pub(super) fn of(report: &Report, edition: u64, began: Duration, suspended: Duration, now: Duration) -> Contents {
        let found = |Outcome { check, finding, elapsed, age, judgement }: &Outcome| {
            let found = SharedOutcome {
                finding: SharedFinding::of(finding),
                elapsed: *elapsed,
                began: now.saturating_sub(*age),
                judgement: judgement.clone(),
            };
            (check.id.clone(), found)
        };
        Contents { edition, began, suspended, outcomes: Some(report.outcomes.iter().map(found).collect()) }
    }

    /// The same contents for when the outcomes do not fit.
    pub(super) fn without_outcomes(&self) -> Contents {
        Contents { outcomes: None, ..*self }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain structs with names for keys are JSON")
    }

    /// `None` if they are not contents.
    pub(super) fn decode(bytes: &[u8]) -> Option<Contents> {
        serde_json::from_slice(bytes).ok()
    }

    /// The outcomes for this part of the suite, at `now`; `None` if any is missing.
    pub(super) fn report(&self, part: &Suite, now: Duration) -> Option<Report> {
        let outcomes = self.outcomes.as_ref()?;
        let outcome = |(place, check): (usize, &Arc<Check>)| {
            let SharedOutcome { finding, elapsed, began, judgement } = outcomes.get(&check.id)?;
            let age = now.saturating_sub(*began);
            // What is too old by now is told by a round.
            if check.schedule.is_some_and(|schedule| schedule.is_stale(check.timeout, age)) {
                return None;
            }
            let outcome = Outcome {
                check: check.clone(),
                finding: finding.finding(),
                elapsed: *elapsed,
                age,
                judgement: judgement.clone(),
            };
            Some(outcome.marked_as_needed(part.is_as_needed(place)))
        };
        part.checks().iter().enumerate().map(outcome).collect::<Option<_>>().map(Report::of_outcomes)
    }
}

impl SharedFinding {
    pub(in crate::daemon::worker) fn of(finding: &Finding) -> SharedFinding {
        let figure = |Perfdata { label, value, unit }: &Perfdata| Figure {
            label: label.clone(),
            value: value.to_bits(),
            unit: unit.clone(),
        };
        SharedFinding {
            status: finding.status,
            context: finding.context.clone(),
            figures: finding.perfdata.iter().map(figure).collect(),
            blame: finding.blame,
            transcript: finding.transcript.clone(),
            parts: finding.parts.clone(),
        }
    }

    pub(in crate::daemon::worker) fn finding(&self) -> Finding {
        let SharedFinding { status, context, figures, blame, transcript, parts } = self;
        let figures =
            figures.iter().map(|figure| Perfdata::new(&figure.label, f64::from_bits(figure.value), &figure.unit));
        Finding {
            status: *status,
            context: context.clone(),
            perfdata: figures.collect(),
            blame: *blame,
            transcript: transcript.clone(),
            parts: parts.clone(),
        }
    }

    /// Leaves out the transcript, the figures, or else the parts, or else half of the context; false if nothing is left.
    pub(in crate::daemon::worker) fn shorten(&mut self) -> bool {
        match &mut self.context {
            _ if self.transcript.is_some() => self.transcript = None,
            _ if !self.figures.is_empty() => self.figures.clear(),
            _ if !self.parts.is_empty() => self.parts.clear(),
            Some(context) if !context.is_empty() => context.truncate(context.floor_char_boundary(context.len() / 2)),
            Some(_) | None => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn outcome(id: &str, status: Status, context: Option<String>, value: f64) -> Outcome {
        let perfdata = vec![Perfdata::new("a 'label'", value, "s")];
        let finding = Finding { status, context, perfdata, ..Finding::PASS };
        Outcome::of(Arc::new(Check::new(id, |_| Finding::PASS)), finding, SECOND, SECOND * 2)
    }

    fn suite(report: &Report) -> Suite {
        report.outcomes.iter().map(|outcome| outcome.check.clone()).collect()
    }

    #[test]
    fn ages_go_on_and_durations_do_not() {
        let report = Report::of_outcomes(vec![outcome("db", Status::Fail, None, 1.0)]);
        let contents = Contents::of(&report, 7, SECOND * 3, Duration::ZERO, SECOND * 5);
        assert_eq!((contents.edition, contents.began), (7, SECOND * 3));
        let later = contents.report(&suite(&report), SECOND * 9).expect("it is all there");
        assert_eq!((later.outcomes[0].age, later.outcomes[0].elapsed), (SECOND * 6, SECOND));
    }

    #[test]
    fn a_check_that_is_not_there_leaves_no_report() {
        let report = Report::of_outcomes(vec![outcome("db", Status::Pass, None, 1.0)]);
        let contents = Contents::of(&report, 7, SECOND, SECOND, SECOND);
        let more = Report::of_outcomes(vec![report.outcomes[0].clone(), outcome("new", Status::Pass, None, 1.0)]);
        assert!(contents.report(&suite(&more), SECOND).is_none());
        assert!(contents.without_outcomes().report(&suite(&report), SECOND).is_none());
        assert_eq!(Contents::decode(b"torn"), None);
    }

    proptest! {
        #[test]
        fn what_was_found_is_read_as_it_was_written(
            contexts in proptest::collection::vec(proptest::option::of(".*"), 0..10),
            bits: u64,
            status in proptest::sample::select(&Status::ALL[..]),
        ) {
            let outcomes = contexts.iter().enumerate().map(|(index, context)| {
                outcome(&format!("check \"{index}\""), status, context.clone(), f64::from_bits(bits))
            });
            let report = Report::of_outcomes(outcomes.collect());
            let contents = Contents::of(&report, u64::MAX, SECOND, SECOND, SECOND);
            let decoded = Contents::decode(&contents.encode());
            prop_assert_eq!(decoded.as_ref(), Some(&contents));
            let read = decoded.expect("it was compared").report(&suite(&report), Duration::ZERO).expect("it is all there");
            for (before, after) in report.outcomes.iter().zip(&read.outcomes) {
                prop_assert_eq!(&before.check.id, &after.check.id);
                prop_assert_eq!(before.finding.status, after.finding.status);
                prop_assert_eq!(&before.finding.context, &after.finding.context);
                prop_assert_eq!(after.finding.perfdata[0].value.to_bits(), bits);
            }
        }
    }
}
