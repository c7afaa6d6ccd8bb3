//! Ctrl-C and its like while checks run: the process ends at once, and what the checks have started with it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::live;
use crate::sys::{signals, tree};

/// Whether the process is about to end by a signal.
pub(super) struct Interrupts {
    /// Taken for good by whoever ends the process.
    end: Arc<Mutex<()>>,
}

impl Interrupts {
    /// Begins to listen, on a thread of its own: a check that runs in place, or a reader who does not read,
    /// holds up nobody who wants to end this. Programs lead process groups of their own, so that a Ctrl-C
    /// does not reach them.
    pub(super) fn listen() -> io::Result<Interrupts> {
        let end = Arc::new(Mutex::new(()));
        let theirs = end.clone();
        signals::before_ending(move || {
            std::mem::forget(theirs.lock().unwrap_or_else(PoisonError::into_inner));
            tree::kill_all();
            live::leave();
        })?;
        Ok(Interrupts { end })
    }

    /// Returns unless the end has begun: what programs came to that were killed by it is of no interest, and an
    /// exit code would be taken for an answer.
    pub(super) fn wait_if_ending(&self) {
        drop(self.end.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
