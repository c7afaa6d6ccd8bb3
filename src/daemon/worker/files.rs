//! The requests that wait until the files of checks were looked at.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::collect::{FileState, RefreshNumber, Refresher};
use crate::endpoint::{self, Request};
use crate::model::check::DEFAULT_TIMEOUT;

/// A client whose request waits.
pub(super) struct FileWaiter {
    /// The key of the client.
    pub(super) key: usize,
    /// When its request came in.
    pub(super) since: Instant,
    number: RefreshNumber,
    until: Instant,
}

/// The files, and who waits for them.
pub(super) struct Files {
    refresher: Refresher,
    /// How long a round may take.
    limit: Duration,
    /// What the requests of this turn share, once one of them depends on files.
    look: Option<RefreshNumber>,
    waiting: VecDeque<FileWaiter>,
}

impl Files {
    pub(super) fn new(refresher: Refresher, limit: Duration) -> Files {
        Files { refresher, limit, look: None, waiting: VecDeque::new() }
    }

    /// From now on, a request needs another look.
    pub(super) fn expect_changes(&mut self) {
        self.look = None;
    }

    /// The files as they are after a request has come; without files, they are always known. `None`: its client waits for
    /// them, as long as for a check, and half of the time that it has at most, so that its checks can run in the other half.
    pub(super) fn ask(&mut self, request: &Request<'_>, key: usize, since: Instant) -> Option<Arc<FileState>> {
        let number = *self.look.get_or_insert_with(|| self.refresher.ask());
        let files = self.refresher.state(number);
        if files.is_none() {
            let limit = endpoint::limit(request).map_or(self.limit, |limit| limit.min(self.limit));
            let until = since + DEFAULT_TIMEOUT.min(limit / 2);
            self.waiting.push_back(FileWaiter { key, since, number, until });
        }
        files
    }

    /// The next client that waits no longer, and the files for it.
    pub(super) fn next_answer(&mut self, now: Instant) -> Option<(FileWaiter, Arc<FileState>)> {
        let (place, files) = self.waiting.iter().enumerate().find_map(|(place, waiter)| {
            let late = || (waiter.until <= now).then(|| self.refresher.overdue(waiter.until - waiter.since));
            Some((place, self.refresher.state(waiter.number).or_else(late)?))
        })?;
        Some((self.waiting.remove(place)?, files))
    }

    /// When [`Files::next_answer`] has one at the latest.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiter| waiter.until).min()
    }
}
