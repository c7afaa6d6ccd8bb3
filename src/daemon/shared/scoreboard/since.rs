//! Since when a check has had its status, in one word: nobody sees a status with the time of another. Beside it, in a word of its
//! own, when nobody looked.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::check::Status;
use crate::model::report;

/// From one look to the next, this is long: probes and scrapers come more often.
const LONG: Duration = Duration::from_secs(5 * 60);

/// All zeroes means that nothing is known yet.
#[repr(C)]
#[derive(Default)]
pub(super) struct Since {
    /// The second since 1970, and in the lowest byte the status, counted from 1.
    change: AtomicU64,
    /// The seconds since 1970 between which nobody looked, in 32 bits each.
    unwatched: AtomicU64,
}

impl Since {
    /// The check has this status: from now on, if that is a change. It was looked at before at that time.
    pub(super) fn note(&self, status: Status, before: Option<SystemTime>, now: SystemTime) {
        if let Some(before) = before
            && now.duration_since(before).is_ok_and(|time| time >= LONG)
        {
            self.unwatched.store(seconds(before) << 32 | seconds(now) & 0xffff_ffff, Relaxed);
        }
        let change = |word| (!is(word, status)).then(|| seconds(now) << 8 | (status as u64 + 1));
        // An error means that there was nothing to change.
        let _ = self.change.fetch_update(Relaxed, Relaxed, change);
    }

    /// Since when it has had this status, if that is its present one.
    pub(super) fn read(&self, status: Status) -> Option<report::Since> {
        let word = self.change.load(Relaxed);
        let at = is(word, status).then(|| moment(word >> 8))?;
        let unwatched = self.unwatched.load(Relaxed);
        let (from, to) = (moment(unwatched >> 32), moment(unwatched & 0xffff_ffff));
        Some(report::Since { at, unwatched: (to >= at).then_some((from, to)) })
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn moment(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn is(word: u64, status: Status) -> bool {
    word & 0xff == status as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;

    fn said(at: u64, unwatched: Option<(u64, u64)>) -> Option<report::Since> {
        Some(report::Since { at: moment(at), unwatched: unwatched.map(|(from, to)| (moment(from), moment(to))) })
    }

    #[test]
    fn a_status_holds_since_its_change() {
        let since = Since::default();
        assert_eq!(Status::ALL.map(|status| since.read(status)), [None; 6]);
        since.note(Status::Pass, None, moment(100));
        since.note(Status::Pass, Some(moment(100)), moment(200));
        assert_eq!(since.read(Status::Pass), said(100, None));
        since.note(Status::Error, Some(moment(4_000_000_000 - 1)), moment(4_000_000_000));
        assert_eq!(since.read(Status::Error), said(4_000_000_000, None));
        assert_eq!(since.read(Status::Pass), None, "it is another status by now");
    }

    #[test]
    fn a_time_in_which_nobody_looked_is_told_until_it_no_longer_matters() {
        let since = Since::default();
        since.note(Status::Pass, None, moment(MINUTE));
        since.note(Status::Fail, Some(moment(MINUTE)), moment(90 * MINUTE));
        let hidden = Some((MINUTE, 90 * MINUTE));
        assert_eq!(since.read(Status::Fail), said(90 * MINUTE, hidden), "it may have failed for longer");
        since.note(Status::Fail, Some(moment(90 * MINUTE)), moment(91 * MINUTE));
        assert_eq!(since.read(Status::Fail), said(90 * MINUTE, hidden));
        since.note(Status::Pass, Some(moment(91 * MINUTE)), moment(92 * MINUTE));
        assert_eq!(since.read(Status::Pass), said(92 * MINUTE, None), "this change was watched");
        since.note(Status::Pass, Some(moment(92 * MINUTE)), moment(200 * MINUTE));
        let hidden = Some((92 * MINUTE, 200 * MINUTE));
        assert_eq!(since.read(Status::Pass), said(92 * MINUTE, hidden), "it may have failed in between");
    }
}
