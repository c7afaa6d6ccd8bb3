//! What happens to the fleet, and what it does about it.

use std::time::Duration;

use super::slot::{Generation, Pid};
use crate::daemon::master::command::Command;

/// What has happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// Time has passed.
    Tick,
    /// A signal arrived.
    Command(Command),
    /// [`Effect::Fork`] was done.
    Forked { slot: usize, pid: Pid },
    /// [`Effect::Fork`] failed: the machine lacks memory or process ids.
    ForkFailed { slot: usize },
    /// A worker can answer.
    Ready { slot: usize },
    /// A child is dead: one of ours, or one that we adopted.
    Died { pid: Pid, end: WorkerEnd },
    /// [`Effect::Inspect`] found a worker awake for longer than the timeout.
    Hung { slot: usize },
    /// [`Effect::Upgrade`] has started another master.
    Succeeding { pid: Pid },
    /// That master can answer.
    Succeeded,
    /// [`Effect::Load`] found a good configuration; it is the next generation.
    Loaded { workers: usize, timing: Timing },
    /// [`Effect::Load`] found a bad one.
    Refused,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerEnd {
    /// By itself, with nothing left to do.
    Well,
    Crash,
    /// Killed by the kernel because memory ran out.
    OutOfMemory,
}

/// What to do. The performer must not drop any.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Fork a worker and say how that went.
    Fork { slot: usize, generation: Generation },
    /// Send TERM.
    Term(Pid),
    /// Send ABRT; the slot is for the log.
    Abort { slot: usize, pid: Pid },
    /// Say that a worker has not booted within this time; a KILL follows.
    TooLate { slot: usize, pid: Pid, after: Duration },
    /// Send KILL.
    Kill(Pid),
    /// Make a worker reopen its log files.
    Reopen(Pid),
    /// Reopen our own log files.
    ReopenLogs,
    /// Collect the dead children.
    Reap,
    /// Look for workers that hang.
    Inspect,
    /// Tell the watchdog that all is well, if a worker has rested within this time.
    Beat { within: Duration },
    /// Read and validate the configuration, and say how that went.
    Load,
    /// All workers are of this generation: forget the others' configuration.
    Settle(Generation),
    /// The new generation cannot boot: this one is in force again.
    RollBack(Generation),
    /// The workers are sent away in the middle of a reload: it is over.
    BreakOff,
    /// The whole fleet answers for the first time.
    Announce,
    /// Start the program again, with the sockets.
    Upgrade,
    /// The new master does not get ready: kill it.
    GiveUp { successor: Pid },
    /// The successor has the sockets, their files and the pidfile: leave them alone.
    HandOver { successor: Pid },
    /// The service is shutting down: let readiness fail.
    Leave,
    /// Close our copies of the listening sockets.
    CloseListeners,
    /// No worker is left: exit with this code.
    Exit(u8),
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// How long a worker may boot, and be awake without a pause. `None`: for ever.
    pub(crate) timeout: Option<Duration>,
    /// How long a worker may drain.
    pub(crate) graceful: Duration,
    /// How long readiness fails before the drain begins.
    pub(crate) drain_delay: Duration,
    /// How often the watchdog is told that all is well. `None`: there is none.
    pub(crate) watchdog: Option<Duration>,
}
