//! The service manager's side of the house: sockets it passes, and what it is told (sd_notify(3)).

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// Variables that speak to the master alone; workers and what they start do not get them.
pub(crate) const OWN_VARIABLES: [&str; 6] =
    ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", WATCHDOG_PID];

/// Names the process that the watchdog is for; a new master is another one.
pub(crate) const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// What a line begins with that goes to the journal: how important it is (sd-daemon(3)).
pub(crate) const ERROR: &str = "<3>";
pub(crate) const WARNING: &str = "<4>";
pub(crate) const INFO: &str = "<6>";
pub(crate) const DEBUG: &str = "<7>";

/// Whether standard error is the stream into the journal that systemd has opened for us: $JOURNAL_STREAM, systemd.exec(5).
pub(crate) fn has_stderr() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    nix::sys::stat::fstat(io::stderr()).is_ok_and(|file| stream == format!("{}:{}", file.st_dev, file.st_ino))
}

/// The descriptors passed to this very process, with their names (sd_listen_fds_with_names(3)).
/// A LISTEN_PID that is not ours means that they are not for us.
pub(crate) fn passed_sockets() -> io::Result<Vec<(i32, String)>> {
    // Asked first: where no descriptor is for us, names that are somebody else's would be counted and found too many.
    if sd_notify::listen_fds()?.len() == 0 {
        return Ok(Vec::new());
    }
    Ok(sd_notify::listen_fds_with_names()?.collect())
}

/// Whether a service manager wants to be told anything.
pub(crate) fn listens() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Sends word to the service manager, if one listens. An unreachable one is not our failure.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}

/// Everything can answer.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] ends it. Both parts have to go in one datagram (sd_notify(3)).
pub(crate) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// How things are, in a line for people.
pub(crate) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// We are going away, and may take so long, whatever TimeoutStopSec= says.
pub(crate) fn stopping(status: &str, patience: Duration) {
    let patience = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::Status(status), NotifyState::ExtendTimeoutUsec(patience)]);
}

/// Another process is the master from now on, with this status.
pub(crate) fn main_pid(pid: i32, status: &str) {
    tell(&[NotifyState::MainPid(pid.unsigned_abs()), NotifyState::Status(status)]);
}

/// The watchdog is fed.
pub(crate) fn beat() {
    tell(&[NotifyState::Watchdog]);
}

/// How often at least the watchdog wants to hear from us.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}
