//! A moment by two clocks, written down and compared later, even after a restart: the wall clock, which anybody may set,
//! and the time since the machine was booted, which nobody can, but which ends with the boot.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How far the wall clock may be corrected over a reboot before it is not believed.
pub(crate) const CORRECTED: Duration = Duration::from_secs(10);

/// What the clocks say.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Clocks {
    /// The wall clock.
    #[serde(serialize_with = "write", deserialize_with = "read")]
    pub(crate) at: SystemTime,
    /// The name of the boot, if the host has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) boot: String,
    /// The time since then; written down in milliseconds.
    #[serde(default, serialize_with = "write_up", deserialize_with = "read_up")]
    pub(crate) up: Duration,
}

impl Clocks {
    /// How long ago an earlier moment was, whatever the wall clock was set to since. Over a reboot only the wall clock can
    /// tell.
    ///
    /// # Errors
    ///
    /// By how much the moment lies ahead by the wall clock, which was set back, or is not set yet.
    pub(crate) fn since(&self, earlier: &Clocks) -> Result<Duration, Duration> {
        // In another time namespace the same boot began at another time.
        if !self.boot.is_empty() && self.boot == earlier.boot && self.up >= earlier.up {
            return Ok(self.up - earlier.up);
        }
        match self.at.duration_since(earlier.at) {
            Ok(past) => Ok(past),
            Err(ahead) if ahead.duration() <= CORRECTED => Ok(Duration::ZERO),
            Err(ahead) => Err(ahead.duration()),
        }
    }
}

/// The first and the last moment that can be written, in milliseconds since 1970.
const MOMENTS: std::ops::RangeInclusive<i64> = 0..=253_402_300_799_000;

/// A difference of the clocks that is not worth to be told: looking at two of them takes a while.
const UNTOLD: i64 = 1000;

impl Clocks {
    /// By how many milliseconds what was right by the wall clock then has to be moved to be right by the present one: it was set
    /// meanwhile. What was to come is then just past.
    pub(crate) fn moved_since(&self, then: &Clocks) -> i64 {
        told(millis(self.at) - self.since(then).unwrap_or_default().as_millis() as i64 - millis(then.at))
    }
}

/// A difference of two clocks, unless it is too small to be told.
pub(crate) fn told(difference: i64) -> i64 {
    if difference.abs() < UNTOLD { 0 } else { difference }
}

/// A moment so many milliseconds later, or earlier if they are negative, between 1970 and 9999.
pub(crate) fn moved(at: SystemTime, by: i64) -> SystemTime {
    if by == 0 {
        return at;
    }
    let at = millis(at).saturating_add(by).clamp(*MOMENTS.start(), *MOMENTS.end());
    UNIX_EPOCH + Duration::from_millis(at.unsigned_abs())
}

/// A millisecond that is later than the last one that was given, as the time since the machine was booted goes on and whatever
/// the wall clock is set to. `begin`: what the wall clock was at the boot, as far as it was known when the first was given.
pub(crate) fn steady(begin: i64, up: Duration, last: u64) -> u64 {
    let now = begin.saturating_add(up.as_millis() as i64).max(0).unsigned_abs();
    // Even the time since the boot is turned back by some who play with it.
    if now < last { last.saturating_add(1) } else { now }
}

fn millis(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

/// A time as people read it, in UTC.
pub(crate) fn spoken(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

pub(crate) fn write<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*at))
}

pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_rfc3339_weak(&text).map_err(|_| serde::de::Error::custom("write a time as 2027-01-31T08:00:00Z"))
}

fn write_up<S: Serializer>(up: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(up.as_millis() as u64)
}

fn read_up<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::UNIX_EPOCH;

    fn moment(at: u64, boot: &str, up: u64) -> Clocks {
        let up = Duration::from_secs(up);
        Clocks { at: UNIX_EPOCH + Duration::from_secs(at), boot: boot.to_owned(), up }
    }

    #[test]
    fn within_a_boot_the_wall_clock_does_not_matter() {
        let before = moment(1_000_000, "a", 50);
        for wall in [0, 1_000_000, 9_000_000] {
            assert_eq!(moment(wall, "a", 80).since(&before), Ok(Duration::from_secs(30)));
        }
    }

    #[test]
    fn over_a_reboot_the_wall_clock_tells_unless_it_was_set_back() {
        let before = moment(1_000_000, "a", 50);
        assert_eq!(moment(1_000_600, "b", 5).since(&before), Ok(Duration::from_secs(600)));
        assert_eq!(moment(999_995, "b", 5).since(&before), Ok(Duration::ZERO));
        assert_eq!(moment(990_000, "b", 5).since(&before), Err(Duration::from_secs(10_000)));
        assert_eq!(moment(1_000_600, "", 5).since(&moment(1_000_000, "", 1)), Ok(Duration::from_secs(600)));
    }

    #[test]
    fn what_was_written_down_is_moved_as_the_clock_was() {
        let before = moment(1_000_000, "a", 50);
        assert_eq!(moment(1_000_030, "a", 80).moved_since(&before), 0, "time has passed");
        assert_eq!(moment(1_003_630, "a", 80).moved_since(&before), 3_600_000, "the clock was set ahead");
        assert_eq!(moment(996_430, "a", 80).moved_since(&before), -3_600_000, "it was set back");
        assert_eq!(moment(1_000_600, "b", 5).moved_since(&before), 0, "over a reboot, the wall clock tells");
        assert_eq!(moment(900_000, "b", 5).moved_since(&before), -100_000_000, "unless it was set back");
        let at = UNIX_EPOCH + Duration::from_millis(5000);
        assert_eq!([0, 1, -5000, i64::MIN].map(|by| millis(moved(at, by))), [5000, 5001, 0, 0]);
        assert_eq!(millis(moved(at, i64::MAX)), *MOMENTS.end());
    }

    #[test]
    fn the_order_goes_on_whatever_is_set() {
        let up = Duration::from_secs;
        assert_eq!(steady(1000, up(1), 0), 2000);
        assert_eq!(steady(1000, up(1), 2000), 2000);
        assert_eq!(steady(1000, up(0), 2000), 2001);
        assert_eq!((steady(-5000, up(1), 0), steady(i64::MAX, up(1), u64::MAX)), (0, u64::MAX));
    }

    proptest! {
        #[test]
        fn it_is_read_as_it_was_written(at in 0u64..200_000_000_000, up in 0u64..1_000_000_000) {
            let written = Clocks { at: UNIX_EPOCH + Duration::from_millis(at), ..moment(0, "a", up) };
            let text = serde_json::to_string(&written).expect("it is plain");
            let read: Clocks = serde_json::from_str(&text).expect("it was just written");
            prop_assert_eq!(read.since(&written), Ok(Duration::ZERO));
            prop_assert_eq!(read.at, written.at);
        }
    }
}
