//! How workers died: reported in the log, and held against the checks that they were running.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::Master;
use super::fleet::{Pid, Slot, WorkerEnd};
use crate::daemon::shared::in_flight::InFlight;
use crate::model::duration;
use crate::os::cgroup::OomKills;
use crate::os::signals::Signal;
use crate::round::isolation::DeathCause;

/// How a worker died, and in what.
struct DeathReport {
    status: ExitStatus,
    /// The control group whose memory ran out, if the kernel killed it for that.
    out_of_memory: Option<PathBuf>,
    in_flight: InFlight,
}

impl Master {
    /// A worker hangs and is about to be aborted.
    pub(super) fn worker_hangs(&self, slot: usize, pid: Pid) {
        // Checks on threads do not stop its loop.
        let in_flight = self.in_flight.in_flight(slot).in_loop();
        tracing::error!("worker {slot} (pid {pid}) hangs{in_flight}: aborting it");
        self.blame(&in_flight, DeathCause::Hang);
        // Blamed once, and not again when the worker ends.
        self.in_flight.clear(slot);
    }

    /// A worker is dead.
    pub(super) fn worker_died(&mut self, slot: usize, pid: Pid, status: ExitStatus) -> WorkerEnd {
        let state = self.fleet.slots()[slot];
        let is_killed = status.signal() == Some(Signal::SIGKILL as i32) && !matches!(state, Slot::Dying { .. });
        let report = DeathReport {
            status,
            out_of_memory: self
                .oom_kills
                .as_mut()
                .filter(|_| is_killed)
                .and_then(OomKills::another)
                .map(Path::to_owned),
            in_flight: self.in_flight.in_flight(slot),
        };
        report.log(slot, pid, state);
        if !report.is_well() {
            self.happened(&format!("worker {slot} (pid {pid}) died: {status}{}", report.in_flight));
        }
        if matches!(state, Slot::Dying { .. }) {
            // Killed by us: no check is to blame.
            return WorkerEnd::Crash;
        }
        self.blame(&report.in_flight, report.cause());
        report.end()
    }

    fn blame(&self, in_flight: &InFlight, cause: DeathCause) {
        for (name, quarantine) in self.in_flight.blame(in_flight, cause, Instant::now()) {
            let (deaths, left) = (quarantine.deaths, duration::spoken(quarantine.left));
            tracing::error!("check {name} is quarantined: it killed its worker {deaths} times, next try in {left}");
        }
    }
}

impl DeathReport {
    fn log(&self, slot: usize, pid: Pid, state: Slot) {
        let (status, in_flight) = (self.status, &self.in_flight);
        let how = match &self.out_of_memory {
            Some(group) => format!("killed by the kernel: out of memory (cgroup {}){in_flight}", group.display()),
            None => format!("{status}{in_flight}"),
        };
        match state {
            Slot::Booting { .. } => tracing::error!("worker {slot} (pid {pid}) died while it booted: {how}"),
            Slot::Serving { .. } if self.is_well() => tracing::info!("worker {slot} (pid {pid}) retired"),
            Slot::Serving { .. } => tracing::error!("worker {slot} (pid {pid}) died: {how}"),
            Slot::Draining { .. } if self.is_well() => tracing::debug!("worker {slot} (pid {pid}) finished"),
            Slot::Draining { .. } | Slot::Aborting { .. } => tracing::warn!("worker {slot} (pid {pid}) ended: {how}"),
            Slot::Dying { .. } => tracing::info!("worker {slot} (pid {pid}) was killed"),
            Slot::Vacant | Slot::Forking { .. } => {}
        }
    }

    /// A successful exit counts as a death if it was running a check.
    fn is_well(&self) -> bool {
        self.status.success() && self.in_flight.is_empty()
    }

    fn cause(&self) -> DeathCause {
        match (self.status.code(), self.status.signal()) {
            _ if self.out_of_memory.is_some() => DeathCause::OutOfMemory,
            (Some(code), _) => DeathCause::Exit(code as u8),
            (None, signal) => DeathCause::Signal(signal.unwrap_or_default() as u8),
        }
    }

    fn end(&self) -> WorkerEnd {
        match &self.out_of_memory {
            _ if self.is_well() => WorkerEnd::Well,
            Some(_) => WorkerEnd::OutOfMemory,
            None => WorkerEnd::Crash,
        }
    }
}

/// A worker that boots is about to be killed for it.
pub(super) fn too_late(slot: usize, pid: Pid, after: Duration) {
    let after = duration::spoken(after);
    tracing::error!(
        "worker {slot} (pid {pid}) still boots after {after}: killing it: if it needs longer, raise --timeout"
    );
}
