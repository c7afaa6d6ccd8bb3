//! What is counted about the service, and its labels in `/metrics`. Pure.

use std::time::SystemTime;

/// What a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Checks,
    Live,
    Ready,
    Metrics,
    /// A path that does not exist, or a request that could not be read.
    Other,
}

/// The class of a status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Success,
    ClientError,
    ServerError,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
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
pub(crate) enum Cause {
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

impl Route {
    pub(crate) const ALL: [Route; 5] = [Route::Checks, Route::Live, Route::Ready, Route::Metrics, Route::Other];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Route::Checks => "checks",
            Route::Live => "livez",
            Route::Ready => "readyz",
            Route::Metrics => "metrics",
            Route::Other => "other",
        }
    }
}

impl Class {
    pub(crate) const ALL: [Class; 3] = [Class::Success, Class::ClientError, Class::ServerError];

    /// The class of a status code. We never answer 1xx or 3xx.
    pub(crate) fn of(status: u16) -> Class {
        match status {
            ..400 => Class::Success,
            400..500 => Class::ClientError,
            500.. => Class::ServerError,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Class::Success => "2xx",
            Class::ClientError => "4xx",
            Class::ServerError => "5xx",
        }
    }
}

impl Standing {
    pub(crate) const ALL: [Standing; 6] =
        [Standing::Booting, Standing::Idle, Standing::Busy, Standing::Draining, Standing::Aborting, Standing::Dying];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Standing::Booting => "booting",
            Standing::Idle => "idle",
            Standing::Busy => "busy",
            Standing::Draining => "draining",
            Standing::Aborting => "aborting",
            Standing::Dying => "dying",
        }
    }
}

impl Cause {
    pub(crate) const ALL: [Cause; 5] = [Cause::Crash, Cause::OutOfMemory, Cause::Hang, Cause::Retired, Cause::Reload];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Cause::Crash => "crash",
            Cause::OutOfMemory => "oom",
            Cause::Hang => "hang",
            Cause::Retired => "retired",
            Cause::Reload => "reload",
        }
    }
}

/// How many workers were replaced for each cause, in the order of [`Cause::ALL`].
pub(crate) type Restarts = [u64; Cause::ALL.len()];

/// All the counts at one moment; each array is in the order of its `ALL`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    pub(crate) requests: [[u64; Class::ALL.len()]; Route::ALL.len()],
    /// How many rounds passed, and how many did not.
    pub(crate) rounds: [u64; 2],
    pub(crate) workers: [u64; Standing::ALL.len()],
    pub(crate) restarts: Restarts,
    pub(crate) generation: u32,
    /// Whether the last reload was good, and when the last good one was.
    pub(crate) reload_successful: bool,
    pub(crate) reloaded: SystemTime,
}
