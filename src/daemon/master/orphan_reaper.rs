//! The orphan reaper: a process that cleans up after a master that was killed.
//!
//! When the master is killed, the kernel kills its workers too. But the programs that their checks were running are not
//! our children, and what those have started has no parent left: somebody must look for them to end them.

use std::process::ExitStatus;

use super::Master;
use super::fleet::Generation;
use crate::os::signals::Signal;
use crate::os::{process, tree};

impl Master {
    /// Makes sure that there is an orphan reaper, if the checks of this generation may start programs.
    pub(super) fn ensure_orphan_reaper(&mut self, generation: Generation) {
        let config = self.configs.get(&generation).filter(|config| config.sources.may_start_programs());
        // When PID 1 ends, so does everything in its container.
        let (Some(config), None, false) = (config, self.orphan_reaper, std::process::id() == 1) else { return };
        match tree::start_orphan_reaper(&format!("{}:reaper", config.configuration.settings.process.name)) {
            Ok(pid) => self.orphan_reaper = Some(pid),
            Err(error) => tracing::warn!("programs of checks would outlive a master that is killed: {error}"),
        }
    }

    /// If it was killed, another is started at once. If it ended by itself, it cannot do its work on this machine.
    pub(super) fn orphan_reaper_died(&mut self, status: ExitStatus) {
        self.orphan_reaper = None;
        tracing::warn!("the orphan reaper ended: {status}");
        if status.code().is_none() {
            self.ensure_orphan_reaper(self.fleet.generation());
        }
    }

    /// Our workers have ended, and what their checks were running has ended with them.
    pub(super) fn dismiss_orphan_reaper(&self) {
        if let Some(pid) = self.orphan_reaper {
            // It is still our child: whoever reaps us also reaps it.
            let _ = process::send(pid, Signal::SIGKILL);
        }
    }
}
