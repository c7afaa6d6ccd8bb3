//! The keeper: a process that cleans up behind a master that is killed.
//!
//! A killed master takes its workers along, by the kernel. The programs that their checks were running are no children of
//! ours, and what they have started in turn is nobody's: only somebody who looks for them can end them.

use std::process::ExitStatus;

use super::Master;
use super::fleet::Generation;
use crate::sys::process;
use crate::sys::signals::Signal;
use crate::sys::tree;

impl Master {
    /// Sees to it that there is one, if the checks of that generation may start programs.
    pub(super) fn keep_a_keeper(&mut self, generation: Generation) {
        let plan = self.plans.get(&generation).filter(|plan| plan.sources.may_start_programs());
        // The end of PID 1 is the end of everybody around it.
        let (Some(plan), None, false) = (plan, self.keeper, std::process::id() == 1) else { return };
        match tree::start_keeper(&format!("{}:keeper", plan.configuration.settings.process.name)) {
            Ok(pid) => self.keeper = Some(pid),
            Err(error) => tracing::warn!("programs of checks would outlive a master that is killed: {error}"),
        }
    }

    /// Somebody has killed it, so there is another at once. One that ends by itself cannot do what it is for here.
    pub(super) fn keeper_died(&mut self, status: ExitStatus) {
        self.keeper = None;
        tracing::warn!("the keeper ended: {status}");
        if status.code().is_none() {
            self.keep_a_keeper(self.fleet.generation());
        }
    }

    /// Our workers have ended, and what their checks were running with them.
    pub(super) fn dismiss_keeper(&self) {
        if let Some(pid) = self.keeper {
            // It is still ours: it is reaped by whoever reaps us.
            let _ = process::send(pid, Signal::SIGKILL);
        }
    }
}
