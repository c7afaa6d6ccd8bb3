//! The state of the service, for `/metrics`.

use super::Master;

impl Master {
    /// Writes it to the scoreboard, where each worker reads it.
    pub(super) fn show_fleet(&self) {
        self.scoreboard.set_generation(self.fleet.generation());
        self.scoreboard.set_restarts(self.fleet.restarts());
        for (slot, state) in self.fleet.slots().iter().enumerate() {
            self.scoreboard.set_worker_state(slot, state.worker_state());
        }
    }
}
