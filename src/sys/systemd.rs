//! The service manager's side of the house: sockets it passes, and what it is told (sd_notify(3)).

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// Variables that speak to the master alone; workers and what they start do not get them.
pub(crate) const OWN_VARIABLES: [&str; 6] =
    ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", WATCHDOG_PID];

/// Names the process that the watchdog is for; a new master is another one.
pub(crate) const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// The descriptors passed to this very process, with their names (sd_listen_fds_with_names(3)).
/// A LISTEN_PID that is not ours means that they are not for us.
pub(crate) fn passed_sockets() -> io::Result<Vec<(i32, String)>> {
    // Asked first: where no descriptor is for us, names that are somebody else's would be counted and found too many.
    if sd_notify::listen_fds()?.len() == 0 {
        return Ok(Vec::new());
    }
    Ok(sd_notify::listen_fds_with_names()?.collect())
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

/// How it stands, in a line for people.
pub(crate) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// We are going away.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Another process is the master from now on.
pub(crate) fn main_pid(pid: i32) {
    tell(&[NotifyState::MainPid(pid.unsigned_abs())]);
}

/// The watchdog is fed.
pub(crate) fn beat() {
    tell(&[NotifyState::Watchdog]);
}

/// How often at least the watchdog wants to hear from us.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}
