//! Decides which check is to blame when a worker dies, and when it may run again. Pure: time is an argument.
//!
//! Checks run side by side, so the death of a worker does not tell which of them caused it. This finds out:
//!
//! 1. Every check that was in progress becomes a suspect.
//! 2. Suspects run one at a time in a worker, beside checks that are not suspects. If that worker dies, only the
//!    suspect that began last is to blame.
//! 3. A suspect that returns is cleared, whatever it found.
//! 4. A check that is to blame for [`STRIKES`] deaths is quarantined: it is not run, except for one try after 30 s,
//!    then after another minute, and so on, up to every 5 minutes.
//!
//! A run only counts if the case of its check is unchanged since it began: workers that die together count as one
//! death.

#[cfg(test)]
mod tests;

use std::time::Duration;

/// This many deaths lead to quarantine.
const STRIKES: u8 = 3;

/// How long the first quarantine lasts, and the longest.
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(300);

/// The cause of a worker's death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The signal with this number.
    Signal(u8),
    /// The kernel was out of memory.
    OutOfMemory,
    /// It hung and was ended for that.
    Hang,
    /// It exited with this code.
    Exit(u8),
}

/// The case against a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// How many deaths it is blamed for; never 0.
    deaths: u8,
    /// The cause of the last of them.
    cause: Cause,
    /// When it may be tried again.
    not_before: Duration,
}

/// The state of a check with a case against it, at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It runs while no other suspect does.
    Suspect,
    /// It does not run.
    Quarantined { deaths: u8, cause: Cause, left: Duration },
}

impl Case {
    /// The case after another death that its check is to blame for.
    pub(crate) fn after_death(before: Option<Case>, cause: Cause, now: Duration) -> Case {
        let deaths = before.map_or(0, |case| case.deaths).saturating_add(1);
        Case { deaths, cause, not_before: now }.put_off(now)
    }

    /// The case while its check is tried: if it was quarantined, no other worker tries it meanwhile.
    pub(crate) fn tried(self, now: Duration) -> Case {
        if self.deaths < STRIKES { self } else { self.put_off(now) }
    }

    fn put_off(self, now: Duration) -> Case {
        let wait = match self.deaths.checked_sub(STRIKES) {
            None => Duration::ZERO,
            Some(doublings) => (FIRST * (1 << doublings.min(8))).min(LONGEST),
        };
        Case { not_before: now + wait, ..self }
    }

    /// As a word for shared memory, never 0: deaths, cause, and the time in milliseconds.
    pub(crate) fn to_bits(self) -> u64 {
        let (kind, detail) = match self.cause {
            Cause::Signal(number) => (0, number),
            Cause::OutOfMemory => (1, 0),
            Cause::Hang => (2, 0),
            Cause::Exit(code) => (3, code),
        };
        u64::from_be_bytes([self.deaths, kind, detail, 0, 0, 0, 0, 0]) | self.not_before.as_millis() as u64
    }

    /// The case in a word; `None` for 0.
    pub(crate) fn from_bits(bits: u64) -> Option<Case> {
        let [deaths, kind, detail, ..] = bits.to_be_bytes();
        let cause = match kind {
            0 => Cause::Signal(detail),
            1 => Cause::OutOfMemory,
            2 => Cause::Hang,
            _ => Cause::Exit(detail),
        };
        (deaths > 0).then_some(Case { deaths, cause, not_before: Duration::from_millis(bits & ((1 << 40) - 1)) })
    }
}

impl Standing {
    /// The state of a check with this case.
    pub(crate) fn of(Case { deaths, cause, not_before }: Case, now: Duration) -> Standing {
        let left = not_before.saturating_sub(now);
        // The caller may have read the clock before the death.
        if deaths < STRIKES || left.is_zero() {
            Standing::Suspect
        } else {
            Standing::Quarantined { deaths, cause, left }
        }
    }
}

/// The places of the checks to blame for a death, given the checks in progress: the case that each had when it began,
/// and when that was.
pub(crate) fn to_blame(in_progress: &[(Option<Case>, Duration)]) -> Vec<usize> {
    let suspects = (0..in_progress.len()).filter(|&place| in_progress[place].0.is_some());
    match suspects.max_by_key(|&place| in_progress[place].1) {
        Some(place) => vec![place],
        None => (0..in_progress.len()).collect(),
    }
}
