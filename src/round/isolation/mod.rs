//! Decides which check is to blame when a worker dies, and when it may run again. Pure: time is an argument.
//!
//! Checks run side by side, so the death of a worker does not tell which of them caused it. This finds out:
//!
//! 1. Every check that was in flight becomes a suspect.
//! 2. Suspects run one at a time in a worker, beside checks that are not suspects. If that worker dies, only the
//!    suspect that began last is to blame.
//! 3. A suspect that returns is cleared, whatever it found.
//! 4. A check that is to blame for [`STRIKES`] deaths is quarantined: it is not run, except for one try after 30 s,
//!    then after another minute, and so on, up to every 5 minutes.
//!
//! A run only counts if the record of its check is unchanged since it began: workers that die together count as one
//! death.

#[cfg(test)]
mod tests;

use std::time::Duration;

/// This many deaths lead to quarantine.
const STRIKES: u8 = 3;

/// How long the first quarantine lasts, and the longest.
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(300);

/// How a check may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Without restrictions.
    Run,
    /// It is a suspect: only while no other suspect runs.
    RunAlone,
    /// Not at all.
    Quarantined(Quarantine),
}

/// Why a check does not run, and for how much longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quarantine {
    pub(crate) deaths: u8,
    /// The cause of the last of them.
    pub(crate) cause: DeathCause,
    pub(crate) left: Duration,
}

/// The cause of a worker's death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeathCause {
    /// The signal with this number.
    Signal(u8),
    /// The kernel was out of memory.
    OutOfMemory,
    /// It hung and was ended for that.
    Hang,
    /// It exited with this code.
    Exit(u8),
}

/// What makes a check a suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CrashRecord {
    /// How many deaths it is blamed for; never 0.
    pub(crate) deaths: u8,
    /// The cause of the last of them.
    pub(crate) cause: DeathCause,
    /// When it may be tried again.
    pub(crate) not_before: Duration,
}

impl CrashRecord {
    /// The record after another death that its check is to blame for.
    pub(crate) fn after_death(before: Option<CrashRecord>, cause: DeathCause, now: Duration) -> CrashRecord {
        let deaths = before.map_or(0, |record| record.deaths).saturating_add(1);
        CrashRecord { deaths, cause, not_before: now }.put_off(now)
    }

    /// How its check may run.
    pub(crate) fn permission(self, now: Duration) -> Permission {
        let CrashRecord { deaths, cause, not_before } = self;
        let left = not_before.saturating_sub(now);
        // The caller may have read the clock before the death.
        if deaths < STRIKES || left.is_zero() {
            Permission::RunAlone
        } else {
            Permission::Quarantined(Quarantine { deaths, cause, left })
        }
    }

    /// The record while its check is tried: if that was quarantined, no other worker tries it meanwhile. `None` if the
    /// check was permitted to run before the death that quarantined it was known: if this run kills its worker too, both
    /// deaths count as one.
    pub(crate) fn when_tried(self, now: Duration) -> Option<CrashRecord> {
        match self.permission(now) {
            Permission::Quarantined(_) => None,
            Permission::Run | Permission::RunAlone => {
                Some(if self.deaths < STRIKES { self } else { self.put_off(now) })
            }
        }
    }

    fn put_off(self, now: Duration) -> CrashRecord {
        let wait = match self.deaths.checked_sub(STRIKES) {
            None => Duration::ZERO,
            Some(doublings) => (FIRST * (1 << doublings.min(8))).min(LONGEST),
        };
        CrashRecord { not_before: now + wait, ..self }
    }
}

/// The places of the checks to blame for a death, given the checks in flight: the record that each had when it began,
/// and when that was.
pub(crate) fn to_blame(in_flight: &[(Option<CrashRecord>, Duration)]) -> Vec<usize> {
    let suspects = (0..in_flight.len()).filter(|&place| in_flight[place].0.is_some());
    match suspects.max_by_key(|&place| in_flight[place].1) {
        Some(place) => vec![place],
        None => (0..in_flight.len()).collect(),
    }
}
