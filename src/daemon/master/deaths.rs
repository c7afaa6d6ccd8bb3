//! How workers died: reported in the log, and held against the checks that they were running.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::fleet::{Pid, Slot, WorkerEnd};
use crate::daemon::shared::casebook::{Casebook, InProgress};
use crate::model::duration;
use crate::os::cgroup::OomKills;
use crate::os::signals::Signal;
use crate::round::isolation::{Case, Cause, Standing, to_blame};

/// How many checks a log line names.
const NAMED: usize = 5;

/// Examines dead and hung workers.
pub(super) struct Coroner {
    casebook: Casebook,
    oom_kills: Option<OomKills>,
}

impl Coroner {
    pub(super) fn new(casebook: Casebook) -> Coroner {
        Coroner { casebook, oom_kills: OomKills::watch() }
    }

    /// The memory in which workers note the checks that they are running.
    pub(super) fn casebook(&self) -> Casebook {
        self.casebook
    }

    /// Call this from time to time: the out-of-memory kills not accounted for by now hit none of our workers.
    pub(super) fn catch_up(&mut self) {
        self.oom_kills.iter_mut().for_each(OomKills::catch_up);
    }

    /// A worker hangs and is about to be aborted.
    pub(super) fn hangs(&self, slot: usize, pid: Pid) {
        let mut checks = self.casebook.in_progress(slot);
        // Checks on threads do not stop its loop.
        checks.retain(|check| check.in_loop);
        tracing::error!("worker {slot} (pid {pid}) hangs{}: aborting it", named(&checks));
        self.blame(&checks, Cause::Hang);
        // Blamed once, and not again when the worker ends.
        self.casebook.forget(slot);
    }

    /// A worker is dead. A successful exit counts as a death if it was running a check.
    pub(super) fn died(&mut self, slot: usize, state: Slot, pid: Pid, status: ExitStatus) -> WorkerEnd {
        let checks = self.casebook.in_progress(slot);
        let (is_well, in_what) = (status.success() && checks.is_empty(), named(&checks));
        let killed = status.signal() == Some(Signal::SIGKILL as i32) && !matches!(state, Slot::Dying { .. });
        let group = self.oom_kills.as_mut().filter(|_| killed).and_then(OomKills::another);
        let is_out_of_memory = group.is_some();
        let end = match group {
            Some(group) => format!("killed by the kernel: out of memory (cgroup {}){in_what}", group.display()),
            None => format!("{status}{in_what}"),
        };
        match state {
            Slot::Booting { .. } => tracing::error!("worker {slot} (pid {pid}) died while it booted: {end}"),
            Slot::Serving { .. } if is_well => tracing::info!("worker {slot} (pid {pid}) retired"),
            Slot::Serving { .. } => tracing::error!("worker {slot} (pid {pid}) died: {end}"),
            Slot::Draining { .. } if is_well => tracing::debug!("worker {slot} (pid {pid}) finished"),
            Slot::Draining { .. } | Slot::Aborting { .. } => tracing::warn!("worker {slot} (pid {pid}) ended: {end}"),
            // Killed by us: no check is to blame.
            Slot::Dying { .. } => {
                tracing::info!("worker {slot} (pid {pid}) was killed");
                return WorkerEnd::Crash;
            }
            Slot::Vacant | Slot::Forking { .. } => {}
        }
        let cause = match (status.code(), status.signal()) {
            _ if is_out_of_memory => Cause::OutOfMemory,
            (Some(code), _) => Cause::Exit(code as u8),
            (None, signal) => Cause::Signal(signal.unwrap_or_default() as u8),
        };
        self.blame(&checks, cause);
        match (is_well, is_out_of_memory) {
            (true, _) => WorkerEnd::Well,
            (false, true) => WorkerEnd::OutOfMemory,
            (false, false) => WorkerEnd::Crash,
        }
    }

    fn blame(&self, checks: &[InProgress], cause: Cause) {
        let in_progress: Vec<_> = checks.iter().map(|check| (Case::from_bits(check.case), check.since)).collect();
        for place in to_blame(&in_progress) {
            let (check, before) = (&checks[place], in_progress[place].0);
            let now = self.casebook.time(Instant::now());
            let after = Case::after_death(before, cause, now);
            // Unless another death was counted against it meanwhile.
            if self.casebook.change(check.key, check.case, after.to_bits())
                && let Standing::Quarantined { deaths, left, .. } = Standing::of(after, now)
            {
                let (name, left) = (&check.name, duration::spoken(left));
                tracing::error!("check {name} is quarantined: it killed its worker {deaths} times, next try in {left}");
            }
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

/// The checks that a worker was running, as the end of a sentence.
fn named(checks: &[InProgress]) -> String {
    let mut names: Vec<_> = checks.iter().take(NAMED).map(|check| check.name.clone()).collect();
    if checks.len() > NAMED {
        names.push(format!("{} more", checks.len() - NAMED));
    }
    match (names.pop(), names.is_empty()) {
        (None, _) => String::new(),
        (Some(name), true) => format!(" in the check {name}"),
        (Some(last), false) => format!(" in the checks {} and {last}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, case: u64) -> InProgress {
        InProgress { key: 1, since: Duration::ZERO, case, name: name.to_owned(), in_loop: false }
    }

    #[test]
    fn a_few_checks_are_named_and_the_rest_is_counted() {
        let checks: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].iter().map(|name| check(name, 0)).collect();
        assert_eq!(named(&[]), "");
        assert_eq!(named(&checks[..1]), " in the check a");
        assert_eq!(named(&checks[..2]), " in the checks a and b");
        assert_eq!(named(&checks), " in the checks a, b, c, d, e and 2 more");
    }
}
