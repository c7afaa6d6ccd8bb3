//! What our supervisor is told: that we are ready, and the line that `systemctl status` shows.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use super::Master;
use super::fleet::Slot;
use crate::error::Error;
use crate::model::text;
use crate::os::{clock, descriptors, procfs, systemd};

/// How much longer than its parts a drain may take before the service manager considers us stuck.
const MARGIN: Duration = Duration::from_secs(10);

/// How soon a service manager that had no room for what it has to know is told again.
const AGAIN: Duration = Duration::from_millis(100);

/// What a supervisor needs from us.
#[derive(Default)]
pub(super) struct Supervision {
    /// Where to report that we are ready; `None` once that is done.
    notify: Option<File>,
    manager: systemd::Manager,
    /// The result of the last reload or upgrade, and when it was.
    outcome: Option<String>,
    /// The last status that was reported; `None` before we are ready, and while another master reports.
    told: Option<String>,
}

impl Supervision {
    /// Takes over the descriptor of `--notify-fd`. Call this before we open anything ourselves.
    pub(super) fn new(notify_fd: Option<i32>) -> Result<Supervision, Error> {
        let open = |fd| {
            descriptors::left_for_writing(fd).map_err(|error| {
                Error::Usage(format!(
                    "--notify-fd {fd}: {error}: give the number in the file notification-fd of the s6 service directory"
                ))
            })
        };
        Ok(Supervision { notify: notify_fd.map(open).transpose()?, ..Supervision::default() })
    }

    /// The deadline, or when to tell again what the service manager had no room for, if that is earlier.
    pub(super) fn deadline(&mut self, deadline: Option<Instant>) -> Option<Instant> {
        let again = (!self.manager.say_again()).then(|| Instant::now() + AGAIN);
        deadline.into_iter().chain(again).min()
    }

    /// A last try: if systemd does not hear of the next master, it takes our end for the end of the service.
    pub(super) fn have_last_word(&mut self) {
        let last = Instant::now() + AGAIN;
        while !self.manager.say_again() && Instant::now() < last {
            std::thread::sleep(AGAIN / 10);
        }
    }
}

impl Master {
    /// The whole fleet answers, as this status says. `is_main`: the service manager listens to us.
    pub(super) fn announced(&mut self, status: String, is_main: bool) {
        if is_main {
            self.supervision.manager.ready(&status);
        }
        if let Some(notify) = self.supervision.notify.take()
            && let Err(error) = descriptors::write_if_ready(&notify, b"\n")
        {
            tracing::error!("--notify-fd cannot be written to: {error}");
        }
        for listener in &self.listeners {
            // For whoever started us; if nobody reads it, that is no reason to stop.
            let _ = descriptors::write_if_ready(&io::stdout(), format!("Serving on {listener}...\n").as_bytes());
        }
        tracing::info!("ready: {status}");
        self.told(status);
    }

    /// The result of a reload or an upgrade stays in the status until the next one.
    pub(super) fn came_to(&mut self, outcome: &str) {
        self.happened(outcome);
        self.supervision.outcome =
            Some(format!("{} ({})", text::line(outcome), httpdate::fmt_http_date(clock::wall())));
    }

    /// A reload begins. Before the announcement there is none: the start goes on.
    pub(super) fn reloading(&mut self) {
        if self.supervision.told.is_some() {
            self.supervision.manager.reloading();
        }
    }

    /// A reload has ended.
    pub(super) fn reloaded(&mut self, outcome: &str) {
        self.came_to(outcome);
        let status = self.status();
        if self.supervision.told.is_some() {
            self.supervision.manager.ready(&status);
            self.told(status);
        } else if self.predecessor.is_none() {
            self.supervision.manager.status(&status);
        }
    }

    /// The service shuts down.
    pub(super) fn leave(&mut self) {
        self.scoreboard.set_leaving();
        tracing::info!("draining");
        let status = self.status();
        self.supervision.manager.stopping(&status, self.fleet.longest_end() + MARGIN);
        self.told(status);
    }

    /// From now on another master reports, and has told us its status.
    pub(super) fn fall_silent(&mut self, successor: i32, its_status: &str) {
        self.supervision.manager.main_pid(successor, its_status);
        self.supervision.told = None;
    }

    /// Reports the status if it has changed.
    pub(super) fn tell_status(&mut self) {
        if self.supervision.told.is_some() {
            let status = self.status();
            if self.supervision.told.as_ref() != Some(&status) && self.supervision.manager.status(&status) {
                self.supervision.told = Some(status);
            }
        }
    }

    fn told(&mut self, status: String) {
        self.supervision.told = systemd::listens().then_some(status);
    }

    /// Tells the watchdog that all is well, unless no worker has rested for this long.
    pub(super) fn beat(&self, period: Duration) {
        let now = Instant::now();
        let stuck = |(slot, state): (usize, &Slot)| match *state {
            Slot::Serving { pid, .. } => {
                let awake = self.scoreboard.awake_for(slot, now).is_some_and(|awake| awake > period);
                Some(awake || procfs::Stat::of(pid).is_some_and(|stat| stat.is_stopped()))
            }
            Slot::Vacant
            | Slot::Forking { .. }
            | Slot::Booting { .. }
            | Slot::Draining { .. }
            | Slot::Aborting { .. }
            | Slot::Dying { .. } => None,
        };
        let stuck: Vec<_> = self.fleet.slots().iter().enumerate().filter_map(stuck).collect();
        if !stuck.is_empty() && stuck.iter().all(|stuck| *stuck) {
            tracing::error!("every worker is stuck: the watchdog is not told that all is well");
        } else {
            self.supervision.manager.beat();
        }
    }

    pub(super) fn status(&self) -> String {
        let (serving, asked) = self.fleet.strength();
        if self.fleet.is_ending() {
            let left = self.fleet.slots().iter().filter(|&&slot| slot != Slot::Vacant).count();
            return format!("draining: {left} workers are left");
        }
        let names: Vec<_> = self.listeners.iter().map(ToString::to_string).collect();
        let outcome = self.supervision.outcome.as_ref().map_or_else(String::new, |outcome| format!("; {outcome}"));
        format!("{serving} of {asked} workers serve on {}{}{outcome}", names.join(", "), self.failing())
    }

    /// How many checks fail. Their names are not for everybody on this host.
    fn failing(&self) -> String {
        let Some(config) = self.configs.get(&self.fleet.generation()) else { return String::new() };
        let checks = config.sources.suite().checks();
        let is_bad = |id: &str| self.scoreboard.last(id).is_some_and(|last| last.status.is_bad());
        match checks.iter().filter(|check| is_bad(&check.id)).count() {
            0 => String::new(),
            bad => format!("; {bad} of {} checks failed when last run", checks.len()),
        }
    }
}
