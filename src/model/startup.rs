//! The start of a check that has a `grace`: until it has passed for the first time, and for that long at most, what it
//! finds wrong does not count yet.

use std::time::Duration;

use super::check::{Check, Finding, Status};
use super::duration;

/// The longest grace: what does not count for longer would be overlooked.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How far a check has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It has not passed yet since it was collected for the first time, so long ago.
    Ago(Duration),
    /// It has passed.
    Over,
}

impl Start {
    /// Whether what the check finds counts.
    pub(crate) fn is_over(self, grace: Duration) -> bool {
        match self {
            Start::Ago(time) => time >= grace,
            Start::Over => true,
        }
    }
}

/// Whether a finding shows that its check has started.
pub(crate) fn has_passed(status: Status) -> bool {
    !status.is_bad() && status != Status::Skip
}

/// What counts of what a check with this grace, which has got so far, has found. `raw`: what it found itself, which may be
/// something bad that is no more than a warning.
pub(crate) fn judged(finding: Finding, raw: Status, grace: Duration, start: Start) -> Finding {
    if !raw.is_bad() || start.is_over(grace) {
        return finding;
    }
    let why = finding.context.map(|context| format!(": {context}")).unwrap_or_default();
    let context = format!("starting, for {} at most{why}", duration::spoken(grace));
    Finding { status: Status::Skip, context: Some(context), parts: Vec::new(), ..finding }
}

/// Whether the check has a grace, and its start is not over.
pub(crate) fn is_starting(check: &Check, start: impl FnOnce(&str) -> Start) -> bool {
    check.grace.is_some_and(|grace| !start(&check.id).is_over(grace))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_bad_counts_once_the_start_is_over() {
        for (start, expected) in [
            (Start::Ago(Duration::ZERO), Status::Skip),
            (Start::Ago(MINUTE - Duration::from_millis(1)), Status::Skip),
            (Start::Ago(MINUTE), Status::Error),
            (Start::Over, Status::Error),
        ] {
            assert_eq!(judged(Finding::error("no route"), Status::Error, MINUTE, start).status, expected, "{start:?}");
            assert_eq!(judged(Finding::PASS, Status::Pass, MINUTE, start), Finding::PASS, "{start:?}");
        }
        let found = judged(Finding::warn("connection refused"), Status::Fail, MINUTE, Start::Ago(Duration::ZERO));
        assert_eq!(found.context.as_deref(), Some("starting, for 1m at most: connection refused"));
    }

    #[test]
    fn only_what_passes_ends_a_start() {
        let ends: Vec<_> = Status::ALL.into_iter().filter(|status| has_passed(*status)).collect();
        assert_eq!(ends, [Status::Pass, Status::Warn, Status::ExpectedFailure]);
    }
}
