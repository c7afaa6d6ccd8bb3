//! Time that [`std::time::Instant`] does not count.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How long the machine has been suspended since it was booted.
pub(crate) fn suspended() -> Duration {
    let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
    let awake = read(ClockId::CLOCK_MONOTONIC);
    read(ClockId::CLOCK_BOOTTIME).saturating_sub(awake)
}
