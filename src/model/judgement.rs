//! From what a check found to what the report says: five steps, always in this order. Pure: no clock, and no state of its own.
//!
//! | step | what it does |
//! |---|---|
//! | severity | `on_fail=warn` makes a bad finding a warning, on whatever path it came |
//! | needs | a check of which something that it needs is bad was not run: it is blocked |
//! | every | the finding of a check with a schedule has an age |
//! | fall, rise, grace | one bad run need not be bad yet, one good run not good yet |
//! | silence | the finding is shown and does not count |
//!
//! What the check found itself stays visible in the [`Judgement`].

use serde::{Deserialize, Serialize};

use super::check::{Check, Finding, Severity, Status};

/// What the steps have made of a finding, for those whom they have changed something for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Judgement {
    /// The status that the check found, if the report says another one.
    pub raw: Option<Status>,
    /// The ids of the checks that are the cause, if it was not run because of them.
    pub blocked_by: Vec<String>,
    /// Whether it was not selected, but something that was needs it.
    pub as_needed: bool,
}

/// What is known about a check when its finding is judged, beside its options. Each step reads its own field.
#[derive(Clone, Debug, Default)]
pub(crate) struct Circumstances {
    /// Why it was not run: the ids of the causes, the worst first.
    pub(crate) blocked_by: Vec<String>,
    /// Whether it was not selected, but something that was needs it.
    pub(crate) as_needed: bool,
}

/// Takes a finding through the steps. `None`: they have changed nothing.
pub(crate) fn judge(check: &Check, found: Finding, known: Circumstances) -> (Finding, Option<Box<Judgement>>) {
    let raw = found.status;
    let finding = severity(check, found);
    if finding.status == raw && known.blocked_by.is_empty() && !known.as_needed {
        return (finding, None);
    }
    let judgement = Judgement {
        raw: (finding.status != raw).then_some(raw),
        blocked_by: known.blocked_by,
        as_needed: known.as_needed,
    };
    (finding, Some(Box::new(judgement)))
}

/// The finding of a check that is not run because of these causes and what they have found.
pub(crate) fn blocked<'a>(causes: impl IntoIterator<Item = (&'a Check, &'a Finding)>) -> Finding {
    let mut context = "blocked by ".to_owned();
    for (index, (check, finding)) in causes.into_iter().enumerate() {
        let why = finding.context.as_deref().and_then(|context| context.lines().next());
        match index {
            0 => context += &format!("{}: {}", check.id, why.unwrap_or(finding.status.word())),
            _ => context += &format!(", and by {}", check.id),
        }
    }
    Finding::error(context)
}

/// The first step. That a check is blocked is a bad finding of it, too.
fn severity(check: &Check, found: Finding) -> Finding {
    match check.on_fail {
        Severity::Warn if found.status.is_bad() => Finding { status: Status::Warn, ..found },
        Severity::Warn | Severity::Fail => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_finding_may_be_no_more_than_a_warning() {
        for status in Status::ALL {
            let found = Finding::new(status, "why");
            let plain = Check::new("plain", |_| Finding::PASS);
            let (same, judgement) = judge(&plain, found.clone(), Circumstances::default());
            assert_eq!((&same, judgement), (&found, None));

            let mild = plain.on_fail(Severity::Warn);
            let (finding, judgement) = judge(&mild, found.clone(), Circumstances::default());
            assert!(!finding.status.is_bad() && finding.context == found.context);
            match status.is_bad() {
                true => {
                    let raw = judgement.and_then(|judgement| judgement.raw);
                    assert_eq!((finding.status, raw), (Status::Warn, Some(status)));
                }
                false => assert_eq!((finding.status, judgement), (status, None)),
            }
        }
    }
}
