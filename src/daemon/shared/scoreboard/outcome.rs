//! The last outcome of a check, in words that are each written whole, and the figures that lie beside it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zerocopy::FromBytes;

use crate::daemon::shared::table::Clear;
use crate::daemon::shared::word::Word;
use crate::model::blame::Blame;
use crate::model::check::Status;

/// The width of a time in milliseconds since 1970: it ends in 2109.
pub(in crate::daemon::shared) const WHEN: u32 = 42;

/// When it ended; how long it took, as four digits and the power of ten to multiply them by, in nanoseconds; whether
/// there are figures beside it; the status, from 1.
const LAST: Word<5> = Word([WHEN, 4, 14, 1, 3]);

/// The status that the check found itself, from 1, if it was judged to be another; whether it was not run because of others; whose
/// fault it is, from 1, if that is known.
const JUDGED: Word<3> = Word([3, 1, 2]);

/// All zeroes mean that there is none yet.
#[derive(FromBytes)]
#[repr(C)]
pub(super) struct OutcomeCell {
    last: AtomicU64,
    /// As short-lived as `last`, and a moment older or newer: what is read here says how, not whether.
    judged: AtomicU64,
}

/// The last outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) status: Status,
    /// To four digits.
    pub(super) elapsed: Duration,
    /// To the millisecond.
    pub(super) at: SystemTime,
    pub(super) has_figures: bool,
}

/// What judging a finding has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// The status that the check found itself, if it was judged to be another.
    pub(crate) raw: Option<Status>,
    /// Whether it was not run because of others.
    pub(crate) is_blocked: bool,
    /// Whose fault it is, if it is bad and that is known.
    pub(crate) blame: Option<Blame>,
}

impl OutcomeCell {
    pub(super) fn last(&self) -> Option<Last> {
        Last::from_word(self.last.load(Relaxed))
    }

    pub(super) fn judged(&self) -> Judged {
        let [raw, is_blocked, blame] = JUDGED.unpack(self.judged.load(Relaxed));
        let blame = Blame::ALL.into_iter().find(|known| *known as u64 + 1 == blame);
        Judged { raw: status(raw), is_blocked: is_blocked == 1, blame }
    }

    /// Notes how the next outcome was judged, and returns how the last one was.
    pub(super) fn note_judged(&self, judged: Judged) -> Judged {
        let before = self.judged();
        if before != judged {
            let blame = judged.blame.map_or(0, |blame| blame as u64 + 1);
            self.judged.store(JUDGED.pack([judged.raw.map_or(0, number), judged.is_blocked.into(), blame]), Relaxed);
        }
        before
    }

    /// Notes another outcome, and returns the status before.
    pub(super) fn note(&self, last: Last) -> Option<Status> {
        Last::from_word(self.last.swap(last.to_word(), Relaxed)).map(|before| before.status)
    }
}

impl Clear for OutcomeCell {
    fn clear(&self) {
        self.last.clear();
        self.judged.clear();
    }
}

impl Last {
    fn to_word(self) -> u64 {
        let (digits, power) = digits(self.elapsed);
        LAST.pack([millis(self.at), power, digits, self.has_figures.into(), number(self.status)])
    }

    fn from_word(word: u64) -> Option<Last> {
        let [at, power, digits, has_figures, number] = LAST.unpack(word);
        let elapsed = Duration::from_nanos(digits.saturating_mul(10_u64.pow(power as u32)));
        Some(Last { status: status(number)?, elapsed, at: moment(at), has_figures: has_figures == 1 })
    }
}

/// A moment, as milliseconds since 1970.
pub(in crate::daemon::shared) fn millis(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// The moment so many milliseconds after 1970, before 2110.
pub(in crate::daemon::shared) fn moment(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis.min((1 << WHEN) - 1))
}

/// Its number from 1, for a word.
pub(in crate::daemon::shared) fn number(status: Status) -> u64 {
    status as u64 + 1
}

/// The status with this number, if there is one.
pub(in crate::daemon::shared) fn status(number: u64) -> Option<Status> {
    Status::ALL.get((number as usize).checked_sub(1)?).copied()
}

/// A duration as four digits and the power of ten to multiply them by, in nanoseconds.
fn digits(duration: Duration) -> (u64, u64) {
    let (mut digits, mut power) = (u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2), 0);
    while digits > 9999 {
        digits = (digits + 5) / 10;
        power += 1;
    }
    (digits, power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_word_holds_it_all(
            status in proptest::sample::select(&Status::ALL[..]),
            nanos in 0..100 * 365 * 24 * 3_600_000_000_000_u64,
            millis in 0..4_000_000_000_000_u64,
            has_figures: bool,
        ) {
            let last = Last { status, elapsed: Duration::from_nanos(nanos), at: moment(millis), has_figures };
            let read = Last::from_word(last.to_word()).expect("it has a status");
            prop_assert_eq!(Last { elapsed: last.elapsed, ..read }, last);
            let error = read.elapsed.abs_diff(last.elapsed);
            // Each dropped digit is rounded: the error is at most 0.555… of the last of the four digits.
            prop_assert!(error <= last.elapsed / 1800, "{:?} became {:?}", last.elapsed, read.elapsed);
        }
    }

    fn at(status: Status, nanos: u64, second: u64) -> Last {
        let elapsed = Duration::from_nanos(nanos);
        Last { status, elapsed, at: moment(second * 1000), has_figures: false }
    }

    #[test]
    fn short_times_are_kept_as_they_are() {
        for nanos in [0, 1, 9999, 51_230_000, 5_001_000_000] {
            let last = at(Status::Pass, nanos, 0);
            assert_eq!(Last::from_word(last.to_word()), Some(last));
        }
        assert_eq!(Last::from_word(0), None, "fresh memory says nothing");
    }
}
