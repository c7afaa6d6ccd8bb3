//! The zygotes of Python's checks, one for each generation that has such: one that dies is replaced.

use std::fs::File;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Instant;

use super::Master;
use super::fleet::{Event, Pid};
use crate::daemon::generation::GenerationConfig;
use crate::model::duration;
use crate::os::packets::Packets;
use crate::os::tree;
use crate::python::Preparation;

impl Master {
    /// Whether that was a zygote; then another is due.
    pub(super) fn python_died(&self, pid: Pid, status: ExitStatus) -> bool {
        let died = |config: &GenerationConfig| config.sources.python().died(pid, status, Instant::now());
        let Some(wait) = self.configs.values().find_map(died) else { return false };
        if let Err(error) = tree::kill_orphans_of(pid) {
            tracing::warn!("what the modules of Python have started may go on: {error}");
        }
        let wait = duration::spoken(wait);
        tracing::error!(
            "Python (pid {pid}) ended: {status}: its checks are errors until another has imported them, from {wait} on"
        );
        true
    }

    /// For a reload: begins to import what it was noted to need, if anything. The code may be another by now.
    pub(super) fn prepare_python(&mut self, notes: Option<File>) -> bool {
        let present = self.configs.get(&self.fleet.generation());
        // One that was prepared before this reload came is not needed any more.
        self.preparation = present.and_then(|config| Preparation::begin(notes?, &config.identity, Instant::now()));
        self.preparation.is_some()
    }

    /// Goes on with the reload once that has imported.
    pub(super) fn python_prepared(&mut self) -> Option<Event> {
        let now = Instant::now();
        let preparation = self.preparation.take_if(|preparation| preparation.is_over(now))?;
        let read = preparation.end().and_then(|python| self.read(Some(python)));
        Some(self.loaded(read))
    }

    /// Where questions arrive to those that cannot be started now.
    pub(super) fn unanswered(&self) -> Vec<Arc<Packets>> {
        self.configs.values().filter_map(|config| config.sources.python().unanswered()).collect()
    }

    /// Starts those that are due, and answers what is asked those that cannot be started now.
    pub(super) fn revive_pythons(&self) {
        for python in self.configs.values().map(|config| config.sources.python()) {
            python.answer_in_its_place();
            match python.revive(Instant::now()) {
                Some(Ok(pid)) => tracing::info!("Python is started again (pid {pid})"),
                Some(Err(why)) => tracing::error!("{why}"),
                None => {}
            }
        }
    }
}
