//! What is remembered of a run that an outcome tells of.

use std::time::SystemTime;

use super::our_changes;
use crate::model::check::Status;
use crate::model::episode::RecordedRun;
use crate::model::report::Outcome;
use crate::os::clock;

/// When it began, and what it found, whatever that is judged to be. `None`: what is blocked was not run.
pub(crate) fn seen(outcome: &Outcome, now: SystemTime) -> Option<(SystemTime, Status)> {
    // What is wrong while it starts does not count.
    let status = if outcome.finding.status == Status::Skip { Status::Skip } else { outcome.raw() };
    let at = clock::before(now, outcome.age.saturating_sub(outcome.elapsed));
    outcome.blocked_by().is_empty().then_some((at, status))
}

/// The whole of it, of this generation.
pub(crate) fn run(outcome: &Outcome, (at, status): (SystemTime, Status), generation: u32) -> RecordedRun {
    let Outcome { check, finding, elapsed, .. } = outcome;
    let transcript = finding.transcript.as_deref().cloned().unwrap_or_default();
    let run = RecordedRun::new(at, status, finding.context.as_deref(), *elapsed, generation, transcript);
    RecordedRun { blame: finding.blame, definition: our_changes::definition(check), ..run }
}
