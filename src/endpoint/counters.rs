//! What is counted about the service, and its labels in `/metrics`. Pure.

use std::time::SystemTime;

/// What a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteLabel {
    /// Checks to run.
    Checks,
    /// /livez
    Live,
    /// /readyz
    Ready,
    /// /startupz
    Startup,
    /// /metrics
    Metrics,
    /// /why
    Why,
    /// /history
    History,
    /// A path that does not exist, or a request that could not be read.
    Other,
}

/// The class of a status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    /// It is answered.
    Success,
    /// The client is to blame.
    ClientError,
    /// A report that does not pass, most of all.
    ServerError,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// It cannot answer yet.
    Booting,
    /// It serves, and no round is running.
    Idle,
    /// It serves, and a round is running.
    Busy,
    /// It finishes, and takes nothing new.
    Draining,
    /// It hung and was told to abort.
    Aborting,
    /// It was killed and is not reaped yet.
    Dying,
}

/// Why a worker had to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartReason {
    /// It died, or could not boot.
    Crash,
    /// The kernel killed it because memory ran out.
    OutOfMemory,
    /// It was busy for too long without a pause.
    Hang,
    /// It had answered `--max-requests` requests.
    Retired,
    /// Another configuration came into force.
    Reload,
}

impl RouteLabel {
    /// All of them, in the order of the arrays in [`Counters`].
    pub const ALL: [RouteLabel; 8] = [
        RouteLabel::Checks,
        RouteLabel::Live,
        RouteLabel::Ready,
        RouteLabel::Startup,
        RouteLabel::Metrics,
        RouteLabel::Why,
        RouteLabel::History,
        RouteLabel::Other,
    ];

    /// The value of its label.
    pub fn word(self) -> &'static str {
        match self {
            RouteLabel::Checks => "checks",
            RouteLabel::Live => "livez",
            RouteLabel::Ready => "readyz",
            RouteLabel::Startup => "startupz",
            RouteLabel::Metrics => "metrics",
            RouteLabel::Why => "why",
            RouteLabel::History => "history",
            RouteLabel::Other => "other",
        }
    }
}

impl StatusClass {
    /// All of them, in the order of the arrays in [`Counters`].
    pub const ALL: [StatusClass; 3] = [StatusClass::Success, StatusClass::ClientError, StatusClass::ServerError];

    /// The class of a status code. We never answer 1xx or 3xx.
    pub fn of(status: u16) -> StatusClass {
        match status {
            ..400 => StatusClass::Success,
            400..500 => StatusClass::ClientError,
            500.. => StatusClass::ServerError,
        }
    }

    /// The value of its label.
    pub fn word(self) -> &'static str {
        match self {
            StatusClass::Success => "2xx",
            StatusClass::ClientError => "4xx",
            StatusClass::ServerError => "5xx",
        }
    }
}

impl WorkerState {
    /// All of them, in the order of the arrays in [`Counters`].
    pub const ALL: [WorkerState; 6] = [
        WorkerState::Booting,
        WorkerState::Idle,
        WorkerState::Busy,
        WorkerState::Draining,
        WorkerState::Aborting,
        WorkerState::Dying,
    ];

    /// The value of its label.
    pub fn word(self) -> &'static str {
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
    /// All of them, in the order of the arrays in [`Counters`].
    pub const ALL: [RestartReason; 5] = [
        RestartReason::Crash,
        RestartReason::OutOfMemory,
        RestartReason::Hang,
        RestartReason::Retired,
        RestartReason::Reload,
    ];

    /// The value of its label.
    pub fn word(self) -> &'static str {
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
pub type RestartCounts = [u64; RestartReason::ALL.len()];

/// All the counts at one moment; each array is in the order of its `ALL`.
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    /// How many requests were answered, by what they asked for and the class of the answer.
    pub requests: [[u64; StatusClass::ALL.len()]; RouteLabel::ALL.len()],
    /// How many rounds passed, and how many did not.
    pub rounds: [u64; 2],
    /// How many workers there are, by what they are doing.
    pub workers: [u64; WorkerState::ALL.len()],
    /// How many workers were replaced, by why.
    pub restarts: RestartCounts,
    /// The configuration that is in force, or coming into force.
    pub generation: u32,
    /// Whether the last reload was good.
    pub reload_successful: bool,
    /// When the last good one was.
    pub reloaded: SystemTime,
    /// How many outcomes of checks there was no room to remember.
    pub lost: u64,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            requests: Default::default(),
            rounds: Default::default(),
            workers: Default::default(),
            restarts: Default::default(),
            generation: 1,
            reload_successful: true,
            reloaded: SystemTime::UNIX_EPOCH,
            lost: 0,
        }
    }
}
