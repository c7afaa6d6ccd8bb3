//! Since when a check has had its status, in one word: nobody sees a status with the time of another.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::check::Status;

/// The second since 1970, and in the lowest byte the status, counted from 1; all zeroes means none yet.
#[repr(C)]
pub(super) struct Since(AtomicU64);

impl Since {
    /// The check has this status: from now on, if that is a change.
    pub(super) fn note(&self, status: Status, now: SystemTime) {
        let second = || now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let change = |word| (!is(word, status)).then(|| second() << 8 | (status as u64 + 1));
        // An error means that there was nothing to change.
        let _ = self.0.fetch_update(Relaxed, Relaxed, change);
    }

    /// Since when it has had this status, if that is its present one.
    pub(super) fn read(&self, status: Status) -> Option<SystemTime> {
        let word = self.0.load(Relaxed);
        is(word, status).then(|| UNIX_EPOCH + Duration::from_secs(word >> 8))
    }
}

fn is(word: u64, status: Status) -> bool {
    word & 0xff == status as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_holds_since_its_change() {
        let since = Since(AtomicU64::new(0));
        let at = |second| UNIX_EPOCH + Duration::from_secs(second);
        assert_eq!(Status::ALL.map(|status| since.read(status)), [None; 6]);
        since.note(Status::Pass, at(100));
        since.note(Status::Pass, at(200));
        assert_eq!(since.read(Status::Pass), Some(at(100)));
        since.note(Status::Error, at(4_000_000_000));
        assert_eq!(since.read(Status::Error), Some(at(4_000_000_000)));
        assert_eq!(since.read(Status::Pass), None, "it is another status by now");
    }
}
