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
    /// /metrics
    Metrics,
    /// A path that does not exist, or a request that could not be read.
    Other,
}

/// The class of a status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It is answered.
    Success,
    /// The client is to blame.
    ClientError,
    /// A report that does not pass, most of all.
    ServerError,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
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
pub enum Cause {
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
    pub const ALL: [RouteLabel; 5] =
        [RouteLabel::Checks, RouteLabel::Live, RouteLabel::Ready, RouteLabel::Metrics, RouteLabel::Other];

    /// The value of its label.
    pub fn word(self) -> &'static str {
        match self {
            RouteLabel::Checks => "checks",
            RouteLabel::Live => "livez",
            RouteLabel::Ready => "readyz",
            RouteLabel::Metrics => "metrics",
            RouteLabel::Other => "other",
        }
    }
}

impl Class {
    /// All of them, in the order of the arrays in [`Counters`].
    pub const ALL: [Class; 3] = [Class::Success, Class::ClientError, Class::ServerError];

    /// The class of a status code. We never answer 1xx or 3xx.
    pub fn of(status: u16) -> Class {
        match status {
            ..400 => Class::Success,
            400..500 => Class::ClientError,
            500.. => Class::ServerError,
        }
    }

    /// The value of its label.
    pub fn word(self) -> &'static str {
        match self {
            Class::Success => "2xx",
            Class::ClientError => "4xx",
            Class::ServerError => "5xx",
        }
    }
}

impl Standing {
    /// All of them, in the order of the arrays in [`Counters`].
    pub const ALL: [Standing; 6] =
        [Standing::Booting, Standing::Idle, Standing::Busy, Standing::Draining, Standing::Aborting, Standing::Dying];

    /// The value of its label.
    pub fn word(self) -> &'static str {
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
    /// All of them, in the order of the arrays in [`Counters`].
    pub const ALL: [Cause; 5] = [Cause::Crash, Cause::OutOfMemory, Cause::Hang, Cause::Retired, Cause::Reload];

    /// The value of its label.
    pub fn word(self) -> &'static str {
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
pub type Restarts = [u64; Cause::ALL.len()];

/// All the counts at one moment; each array is in the order of its `ALL`.
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    /// How many requests were answered, by what they asked for and the class of the answer.
    pub requests: [[u64; Class::ALL.len()]; RouteLabel::ALL.len()],
    /// How many rounds passed, and how many did not.
    pub rounds: [u64; 2],
    /// How many workers there are, by what they are doing.
    pub workers: [u64; Standing::ALL.len()],
    /// How many workers were replaced, by why.
    pub restarts: Restarts,
    /// The configuration that is in force, or coming into force.
    pub generation: u32,
    /// Whether the last reload was good.
    pub reload_successful: bool,
    /// When the last good one was.
    pub reloaded: SystemTime,
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
        }
    }
}
