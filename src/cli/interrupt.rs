//! Ctrl-C and the like while checks run: the process ends at once, and with it what the checks have started.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::live;
use crate::os::{signals, tree};

/// Whether the process is about to end by a signal.
pub(super) struct Interrupts {
    /// Taken for good by the thread that ends the process.
    end: Arc<Mutex<()>>,
}

impl Interrupts {
    /// Starts listening, on a thread of its own: neither a check that runs in place nor a reader that does not read can
    /// delay the end. The programs of checks lead their own process groups, so a Ctrl-C does not reach them.
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

    /// Returns unless the end has begun: the outcomes of programs that it killed are of no interest, and an exit code
    /// would be taken for an answer.
    pub(super) fn wait_if_ending(&self) {
        drop(self.end.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
