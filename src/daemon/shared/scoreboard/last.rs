//! The last outcome of a check in one word, so that it is written whole or not at all, even if its writer is killed.
//!
//! ```text
//!   63                     22 21    18 17            4  3   2    0
//!  ┌─────────────────────────┬────────┬───────────────┬───┬───────┐
//!  │ when, in ms since 1970  │ power  │ four digits   │ f │ status│   f: there are figures beside it
//!  └─────────────────────────┴────────┴───────────────┴───┴───────┘   status: from 1; 0 is none yet
//! ```
//!
//! How long it took is digits × 10^power nanoseconds.

use std::time::{Duration, SystemTime};

use crate::model::check::Status;

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

/// The width of each field in bits, from the lowest: the status, whether there are figures, …
const STATUS: u32 = 3;
const FIGURES: u32 = 1;
const DIGITS: u32 = 14;
const POWER: u32 = 4;
const WHEN: u32 = 42;

impl Last {
    pub(super) fn to_word(self) -> u64 {
        let millis = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let (digits, power) = digits(self.elapsed);
        let mut word = 0;
        // The highest field goes first.
        for (width, field) in [
            (WHEN, millis),
            (POWER, power),
            (DIGITS, digits),
            (FIGURES, u64::from(self.has_figures)),
            (STATUS, self.status as u64 + 1),
        ] {
            word = word << width | field;
        }
        word
    }

    /// Whether one word is of a later time than another.
    pub(super) fn is_later(word: u64, than: u64) -> bool {
        let when = |word: u64| word >> (u64::BITS - WHEN);
        when(word) > when(than)
    }

    /// Only the status.
    pub(super) fn status(word: u64) -> Option<Status> {
        let number = word & ((1 << STATUS) - 1);
        Status::ALL.get((number as usize).checked_sub(1)?).copied()
    }

    pub(super) fn from_word(word: u64) -> Option<Last> {
        let status = Last::status(word)?;
        let mut rest = word >> STATUS;
        let mut take = |width: u32| {
            let field = rest & ((1 << width) - 1);
            rest >>= width;
            field
        };
        let has_figures = take(FIGURES) == 1;
        let digits = take(DIGITS);
        let elapsed = Duration::from_nanos(digits.saturating_mul(10_u64.pow(take(POWER) as u32)));
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(take(WHEN));
        Some(Last { status, elapsed, at, has_figures })
    }
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
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            let last = Last { status, elapsed: Duration::from_nanos(nanos), at, has_figures };
            let read = Last::from_word(last.to_word()).expect("it has a status");
            prop_assert_eq!(Last { elapsed: last.elapsed, ..read }, last);
            let error = read.elapsed.abs_diff(last.elapsed);
            // Each dropped digit is rounded: the error is at most 0.555… of the last of the four digits.
            prop_assert!(error <= last.elapsed / 1800, "{:?} became {:?}", last.elapsed, read.elapsed);
        }

        #[test]
        fn no_word_is_too_strange(word: u64) {
            let _ = Last::from_word(word);
        }
    }

    #[test]
    fn short_times_are_kept_as_they_are() {
        let last = |nanos| Last {
            status: Status::Pass,
            elapsed: Duration::from_nanos(nanos),
            at: SystemTime::UNIX_EPOCH,
            has_figures: false,
        };
        for nanos in [0, 1, 9999, 51_230_000, 5_001_000_000] {
            assert_eq!(Last::from_word(last(nanos).to_word()), Some(last(nanos)));
        }
        assert_eq!(Last::from_word(0), None, "fresh memory says nothing");
    }
}
