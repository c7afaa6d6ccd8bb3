//! What is counted about the service, and its labels in `/metrics`. Pure.

use std::time::SystemTime;

/// What a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteLabel {
    Checks,
    Live,
    Ready,
    Metrics,
    /// A path that does not exist, or a request that could not be read.
    Other,
}

/// The class of a status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusClass {
    Success,
    ClientError,
    ServerError,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerState {
    Booting,
    /// It serves, and no round is running.
    Idle,
    /// It serves, and a round is running.
    Busy,
    Draining,
    /// It hung and was told to abort.
    Aborting,
    /// It was killed and is not reaped yet.
    Dying,
}

/// Why a worker had to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartReason {
    /// It died, or could not boot.
    Crash,
    /// The kernel killed it because memory ran out.
    OutOfMemory,
    Hang,
    /// It had answered `--max-requests` requests.
    Retired,
    /// Another configuration came into force.
    Reload,
}

impl RouteLabel {
    pub(crate) const ALL: [RouteLabel; 5] =
        [RouteLabel::Checks, RouteLabel::Live, RouteLabel::Ready, RouteLabel::Metrics, RouteLabel::Other];

    pub(crate) fn word(self) -> &'static str {
        match self {
            RouteLabel::Checks => "checks",
            RouteLabel::Live => "livez",
            RouteLabel::Ready => "readyz",
            RouteLabel::Metrics => "metrics",
            RouteLabel::Other => "other",
        }
    }
}

impl StatusClass {
    pub(crate) const ALL: [StatusClass; 3] = [StatusClass::Success, StatusClass::ClientError, StatusClass::ServerError];

    /// The class of a status code. We never answer 1xx or 3xx.
    pub(crate) fn of(status: u16) -> StatusClass {
        match status {
            ..400 => StatusClass::Success,
            400..500 => StatusClass::ClientError,
            500.. => StatusClass::ServerError,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            StatusClass::Success => "2xx",
            StatusClass::ClientError => "4xx",
            StatusClass::ServerError => "5xx",
        }
    }
}

impl WorkerState {
    pub(crate) const ALL: [WorkerState; 6] = [
        WorkerState::Booting,
        WorkerState::Idle,
        WorkerState::Busy,
        WorkerState::Draining,
        WorkerState::Aborting,
        WorkerState::Dying,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            WorkerState::Booting => "booting",
            WorkerState::Idle => "idle",
            WorkerState::Busy => "busy",
            WorkerState::Draining => "draining",
            WorkerState::Aborting => "aborting",
            WorkerState::Dying => "dying",
        }
    }
}

impl RestartReason {
    pub(crate) const ALL: [RestartReason; 5] = [
        RestartReason::Crash,
        RestartReason::OutOfMemory,
        RestartReason::Hang,
        RestartReason::Retired,
        RestartReason::Reload,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            RestartReason::Crash => "crash",
            RestartReason::OutOfMemory => "oom",
            RestartReason::Hang => "hang",
            RestartReason::Retired => "retired",
            RestartReason::Reload => "reload",
        }
    }
}

/// How many workers were replaced for each reason, in the order of [`RestartReason::ALL`].
pub(crate) type RestartCounts = [u64; RestartReason::ALL.len()];

/// All the counts at one moment; each array is in the order of its `ALL`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters {
    pub(crate) requests: [[u64; StatusClass::ALL.len()]; RouteLabel::ALL.len()],
    /// How many rounds passed, and how many did not.
    pub(crate) rounds: [u64; 2],
    pub(crate) workers: [u64; WorkerState::ALL.len()],
    pub(crate) restarts: RestartCounts,
    pub(crate) generation: u32,
    /// Whether the last reload was good, and when the last good one was.
    pub(crate) reload_successful: bool,
    pub(crate) reloaded: SystemTime,
    /// How many outcomes of checks there was no room to remember.
    pub(crate) lost: u64,
}
