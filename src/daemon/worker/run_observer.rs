//! What a worker's rounds ask of shared memory before each run of a check, and tell it after.

use std::time::Instant;

use super::scheduler::{self, Places};
use crate::daemon::shared::in_flight::SlotObserver;
use crate::daemon::shared::kept::Kept;
use crate::model::check::Check;
use crate::round::isolation::Permission;
use crate::round::run_observer::{RunObserver, ScheduledFinding};

/// Whether a check may run, and what is running: of the in-flight table. What it has found on its schedule, and before: of what
/// is kept.
pub(super) struct WorkerRunObserver {
    pub(super) in_flight: SlotObserver,
    pub(super) kept: Kept,
    pub(super) places: Places,
}

impl RunObserver for WorkerRunObserver {
    fn permission(&self, check: &Check, now: Instant) -> Permission {
        self.in_flight.permission(check, now)
    }

    fn known(&self, check: &Check) -> Option<ScheduledFinding> {
        Some(scheduler::last_found(self.kept, &self.places, check, check.schedule?))
    }

    fn begins(&self, check: &Check, now: Instant) {
        self.in_flight.begins(check, now);
    }

    fn ends(&self, check: &Check) {
        self.in_flight.ends(check);
    }
}
