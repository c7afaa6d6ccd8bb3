//! How the service stands: for people, and for `/metrics`.

use super::Master;

impl Master {
    /// In one line.
    pub(super) fn status(&self) -> String {
        let (serving, asked) = self.fleet.strength();
        let names: Vec<_> = self.listeners.iter().map(ToString::to_string).collect();
        format!("{serving} of {asked} workers serve on {}", names.join(", "))
    }

    /// On the scoreboard, where each worker reads it.
    pub(super) fn show_fleet(&self) {
        self.scoreboard.set_generation(self.fleet.generation());
        self.scoreboard.set_restarts(self.fleet.restarts());
        for (slot, state) in self.fleet.slots().iter().enumerate() {
            self.scoreboard.set_standing(slot, state.standing());
        }
    }
}
