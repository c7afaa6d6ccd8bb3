//! Ctrl-C and its like while checks run: the process ends at once, by the signal, and what the checks have
//! started ends with it.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use super::live;
use crate::sys::process::wait_readable;
use crate::sys::signals::{self, Inbox, Signal};
use crate::sys::tree;

/// Listens for the signals that end a process.
pub(super) struct Interrupts {
    /// Taken for good by whoever ends the process.
    end: Arc<Mutex<()>>,
}

impl Interrupts {
    /// Begins to listen, on a thread of its own: a check that runs in place, or a reader who does not read,
    /// holds up nobody who wants to end this. What the process was started to ignore, it goes on to ignore.
    pub(super) fn listen() -> io::Result<Interrupts> {
        let endings = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
        let mut inbox = Inbox::new(endings.into_iter().filter(|&signal| !signals::is_ignored(signal)))?;
        let end = Arc::new(Mutex::new(()));
        let theirs = end.clone();
        let wait = move || {
            loop {
                // A wait that fails is tried again by the next signal's arrival.
                let _ = wait_readable(&[inbox.as_fd()], None);
                if let Some(signal) = inbox.take().first() {
                    let _kept = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                    live::leave();
                    tree::kill_all();
                    signals::die_of(*signal);
                }
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
        Ok(Interrupts { end })
    }

    /// Returns unless the process is about to end by a signal: what killed checks have to say is of no interest.
    pub(super) fn wait_if_ending(&self) {
        drop(self.end.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
