//! The wall clock, and time that [`std::time::Instant`] does not count.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// The last second that all formats of a date can express: the end of the year 9999.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// The wall clock. Whatever it was set to, this is a moment that can be written: between 1970 and 9999.
pub(crate) fn wall() -> SystemTime {
    UNIX_EPOCH + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST)
}

/// So long before a moment, but not before 1970.
pub(crate) fn before(moment: SystemTime, age: Duration) -> SystemTime {
    UNIX_EPOCH + moment.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(age)
}

/// How long ago the machine was booted, with the time in which it was suspended. Nobody can set this clock.
pub(crate) fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// Whether somebody, such as a time daemon, has told the kernel that the wall clock is right; `None` where we may not ask.
pub(crate) fn is_synchronised() -> Option<bool> {
    // SAFETY: it has numbers only, for which zero is a value.
    let mut request: libc::timex = unsafe { std::mem::zeroed() };
    // Modes are zero: nothing is adjusted.
    // SAFETY: the kernel writes nothing but this.
    match unsafe { libc::adjtimex(&mut request) } {
        -1 => None,
        state => Some(state != libc::TIME_ERROR),
    }
}

/// What the clock says that goes on while the machine is off, where there is one (rtc(4)).
pub(crate) fn hardware() -> Option<SystemTime> {
    let seconds = std::fs::read_to_string("/sys/class/rtc/rtc0/since_epoch").ok()?.trim().parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// The millisecond of the wall clock at which the machine was booted: it changes when that is set.
pub(crate) fn wall_at_boot() -> i64 {
    let millis = |clock| clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000);
    millis(ClockId::CLOCK_REALTIME) - millis(ClockId::CLOCK_BOOTTIME)
}

/// How long the machine has been awake since it was booted, by the clock that systemd stamps with.
pub(crate) fn awake() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

/// How long the machine has been suspended since it was booted.
pub(crate) fn suspended() -> Duration {
    let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
    let awake = read(ClockId::CLOCK_MONOTONIC);
    read(ClockId::CLOCK_BOOTTIME).saturating_sub(awake)
}

/// How long ago the machine was booted, with the time that it was suspended; setting the clock does not change it.
pub(crate) fn up() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// What the kernel calls the time since the machine was booted, as in no boot before; empty where it cannot be read.
pub(crate) fn boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        text.map(|text| text.trim().to_owned()).unwrap_or_default()
    })
}
