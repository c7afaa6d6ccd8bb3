//! When a check with `every` runs, and how old what it has found may become.
//!
//! All times are those of a clock that nobody can set, and which goes on while the machine is suspended. Runs lie on a grid
//! of the period, which is shifted by a number that differs between hosts, daemons and checks: many that are started at
//! once do not run at once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// The first run comes within this time, however long the period is.
const FIRST: Duration = Duration::from_secs(60);

/// How many checks can have a schedule.
pub(crate) const MOST: usize = 1024;

/// The most failures, or successes, in a row that can be waited for.
pub(crate) const MOST_IN_A_ROW: u32 = 1000;

/// How often a check runs on its own, and how many runs in a row it takes to change what is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From the beginning of one run to that of the next.
    pub every: Duration,
    /// So many runs in a row have to be bad before the check is.
    pub fall: u32,
    /// So many runs in a row have to be good before the check is again.
    pub rise: u32,
}

impl Schedule {
    /// When a check runs for the first time that nobody has known before.
    pub(crate) fn first(self, shift: u64, now: Duration) -> Duration {
        now + part(shift, self.every.min(FIRST))
    }

    /// When a check runs next whose last run on the schedule began at that time: never later than a period after it.
    pub(crate) fn next(self, shift: u64, began: Duration) -> Duration {
        let (every, phase) = (self.every.as_nanos().max(1), part(shift, self.every).as_nanos());
        let since = (began.as_nanos() + every - phase) % every;
        began + nanos(every - since)
    }

    /// Whether a finding is too old to be told, of a run that began so long ago.
    pub(crate) fn is_stale(self, timeout: Duration, age: Duration) -> bool {
        age > self.every + timeout
    }
}

/// By how much the runs of a check are shifted against those of others, as a part of 2⁶⁴ of its period. `seed` tells its
/// daemon from others.
pub(crate) fn shift(id: &str, seed: u64) -> u64 {
    hash(&(id, seed))
}

/// What tells a daemon from others: its host, and the pid of its first master.
pub(crate) fn seed(host: &str, pid: u32) -> u64 {
    hash(&(host, pid))
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// A part of a duration, any as likely as any other.
fn part(shift: u64, whole: Duration) -> Duration {
    nanos((u128::from(shift) * whole.as_nanos()) >> 64)
}

fn nanos(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn every(every: Duration) -> Schedule {
        Schedule { every, fall: 1, rise: 1 }
    }

    proptest! {
        #[test]
        fn runs_lie_on_a_grid_and_each_follows_within_a_period(shift: u64, millis in 1..100_000_000_u64, now in 0..1u64 << 50) {
            let schedule = every(Duration::from_millis(millis));
            let now = Duration::from_nanos(now);
            let first = schedule.first(shift, now);
            prop_assert!(first >= now && first - now <= schedule.every.min(FIRST));
            let second = schedule.next(shift, first);
            prop_assert!(second > first && second - first <= schedule.every);
            let third = schedule.next(shift, second);
            prop_assert_eq!(third - second, schedule.every);
            // Whoever is late does not shift those that follow, and one that was missed is not made up for.
            let late = second + schedule.every / 2;
            prop_assert!(schedule.next(shift, late) == third || schedule.every < Duration::from_nanos(2));
            let much_later = schedule.next(shift, third + 7 * schedule.every);
            prop_assert_eq!(much_later, third + 8 * schedule.every);
        }
    }

    #[test]
    fn a_finding_is_told_until_the_next_one_is_overdue() {
        let schedule = every(10 * SECOND);
        assert!(!schedule.is_stale(5 * SECOND, 15 * SECOND));
        assert!(schedule.is_stale(5 * SECOND, 15 * SECOND + Duration::from_nanos(1)));
    }

    /// The figure: 100 daemons that are started at once, with one check each.
    #[test]
    fn daemons_that_are_started_at_once_do_not_run_their_checks_at_once() {
        let schedule = every(10 * SECOND);
        for crowd in 0..20 {
            let mut seconds = [0; 60];
            for daemon in 0..100 {
                let shift = shift("db", seed(&format!("host-{crowd}"), daemon));
                let mut at = schedule.first(shift, 1000 * SECOND);
                while at < 1060 * SECOND {
                    seconds[(at - 1000 * SECOND).as_secs() as usize] += 1;
                    at = schedule.next(shift, at);
                }
            }
            let mean = seconds.iter().sum::<u32>() / 60;
            assert!((9..=12).contains(&mean), "{mean}");
            assert!(seconds.iter().all(|&runs| runs <= 3 * mean), "{seconds:?}");
        }
    }
}
