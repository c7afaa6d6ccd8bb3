//! What the last drill of each check came to, in a file that `hospital drill` writes and the page for people shows.

use std::sync::Arc;
use std::time::SystemTime;

use super::StateDir;
use crate::error::Error;
use crate::model::drills::Drills;

const FILE: &str = "drills.json";

/// The drills of a state dir, as they were when they were looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownDrills {
    content: Vec<u8>,
    drills: Arc<Drills>,
}

impl KnownDrills {
    /// Looks at the file. What cannot be read is as good as none: nothing depends on it.
    pub(crate) fn look(&mut self, state: &StateDir) {
        let content = state.drills();
        if content != self.content {
            self.drills = Arc::new(serde_json::from_slice(&content).unwrap_or_default());
            self.content = content;
        }
    }

    pub(crate) fn drills(&self) -> Arc<Drills> {
        self.drills.clone()
    }
}

impl StateDir {
    fn drills(&self) -> Vec<u8> {
        let is_ours = self.folder.stands_at(&self.path);
        let content = is_ours.then(|| self.folder.read(FILE).ok().flatten());
        content.flatten().unwrap_or_default()
    }

    /// Keeps what a drill of these checks came to, each with whether it was sound.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] when it cannot be written.
    pub(crate) fn keep_drills<'a>(&self, drilled: impl Iterator<Item = (&'a str, bool)>) -> Result<(), Error> {
        let mut drills: Drills = serde_json::from_slice(&self.drills()).unwrap_or_default();
        drills.note(SystemTime::now(), drilled);
        let text = serde_json::to_string(&drills).expect("it is plain") + "\n";
        self.folder.replace(FILE, text.as_bytes(), 0o644).map_err(|error| self.unwritable(FILE, &error))
    }
}
