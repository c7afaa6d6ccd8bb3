//! What the endpoint tells its surroundings, and what it asks them.

use std::time::{Duration, SystemTime};

use super::counters::{Counters, RouteLabel};
use crate::model::check::Status;
use crate::model::perfdata::Perfdata;
use crate::model::report::Since;

/// Counts the replies of an endpoint, and knows what those show beside reports. Unless implemented, nothing is counted,
/// and nothing is known.
pub trait Observer {
    /// A request was answered.
    fn replied(&self, _label: RouteLabel, _status: u16) {}

    /// Somebody wants to know whether the service is ready. `reason`: not while it is maintained.
    fn saw_maintenance(&self, _reason: Option<&str>) {}

    /// Whether the service is about to end, and takes no requests any more.
    fn is_leaving(&self) -> bool {
        false
    }

    /// Since when the check with this id has had this status, if that is its last one.
    fn since(&self, _id: &str, _status: Status) -> Option<Since> {
        None
    }

    /// The last run of the check with this id.
    fn last_run(&self, _id: &str) -> Option<LastRun> {
        None
    }

    /// What was counted.
    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// What a check has found last, and when.
#[derive(Clone, Debug)]
pub struct LastRun {
    /// Its status.
    pub status: Status,
    /// Its figures.
    pub figures: Vec<Perfdata>,
    /// How long it took.
    pub elapsed: Duration,
    /// When it was over.
    pub at: SystemTime,
}

/// An observer that does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observer for Unobserved {}
