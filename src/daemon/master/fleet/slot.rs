//! A place for a worker, and its state.

use std::time::Instant;

use crate::endpoint::counters::WorkerState;

/// A process id.
pub(crate) type Pid = i32;

/// The number of a configuration; its workers are a generation.
pub(crate) type Generation = u32;

/// A place for a worker, in one state at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// No worker.
    Vacant,
    /// A fork was requested; its result is not known yet.
    Forking { generation: Generation },
    /// Forked, not ready yet.
    Booting { pid: Pid, generation: Generation, since: Instant },
    /// It answers.
    Serving { pid: Pid, generation: Generation, since: Instant },
    /// It was told to finish (TERM).
    Draining { pid: Pid, kill_at: Instant },
    /// It hung and was told to dump core (ABRT).
    Aborting { pid: Pid, kill_at: Instant },
    /// It was killed and is not reaped yet.
    Dying { pid: Pid },
}

impl Slot {
    /// The process in it.
    pub(super) fn pid(self) -> Option<Pid> {
        match self {
            Slot::Vacant | Slot::Forking { .. } => None,
            Slot::Booting { pid, .. }
            | Slot::Serving { pid, .. }
            | Slot::Draining { pid, .. }
            | Slot::Aborting { pid, .. }
            | Slot::Dying { pid } => Some(pid),
        }
    }

    /// The worker_state of its worker, if there is one.
    pub(crate) fn worker_state(self) -> Option<WorkerState> {
        match self {
            Slot::Vacant => None,
            Slot::Forking { .. } | Slot::Booting { .. } => Some(WorkerState::Booting),
            Slot::Serving { .. } => Some(WorkerState::Idle),
            Slot::Draining { .. } => Some(WorkerState::Draining),
            Slot::Aborting { .. } => Some(WorkerState::Aborting),
            Slot::Dying { .. } => Some(WorkerState::Dying),
        }
    }

    /// The generation of a worker that counts towards the number asked for.
    pub(super) fn generation(self) -> Option<Generation> {
        match self {
            Slot::Forking { generation } | Slot::Booting { generation, .. } | Slot::Serving { generation, .. } => {
                Some(generation)
            }
            Slot::Vacant | Slot::Draining { .. } | Slot::Aborting { .. } | Slot::Dying { .. } => None,
        }
    }
}
