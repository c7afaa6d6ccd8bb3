//! Who permits each run of a check in a round, and is told of it.

use std::time::{Duration, Instant};

use super::isolation::Permission;
use crate::model::check::{Check, Finding};
use crate::model::judgement::Circumstances;

/// Decides how each check may run, and is told when it does. What it notes outlives our process, if a check kills that.
pub(crate) trait RunObserver {
    /// How this check may run now.
    fn permission(&self, _check: &Check, _now: Instant) -> Permission {
        Permission::Run
    }
    /// What a check with a schedule has found, which is told instead of running it.
    fn known(&self, _check: &Check) -> Option<ScheduledFinding> {
        None
    }
    /// The check begins.
    fn begins(&self, _check: &Check, _now: Instant) {}
    /// The check has returned, late or not.
    fn ends(&self, _check: &Check) {}
}

/// An observer that watches nothing and permits everything.
pub(super) struct Nobody;

impl RunObserver for Nobody {}

/// What a check has found that runs on a schedule.
#[derive(Debug)]
pub(crate) struct ScheduledFinding {
    pub(crate) found: Finding,
    pub(crate) circumstances: Circumstances,
    pub(crate) elapsed: Duration,
    /// How long ago it began.
    pub(crate) age: Duration,
}
