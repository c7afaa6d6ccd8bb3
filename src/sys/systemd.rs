//! The service manager: the sockets that it passes, and what it is told (sd_notify(3)).

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// Variables for the master alone; workers and the programs that they start do not get them.
pub(crate) const OWN_VARIABLES: [&str; 6] =
    ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", WATCHDOG_PID];

/// The pid that the watchdog is for; it changes with a new master.
pub(crate) const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// The priorities that prefix a line for the journal (sd-daemon(3)).
pub(crate) const ERROR: &str = "<3>";
pub(crate) const WARNING: &str = "<4>";
pub(crate) const INFO: &str = "<6>";
pub(crate) const DEBUG: &str = "<7>";

/// Whether standard error is the stream to the journal that systemd opened for us: $JOURNAL_STREAM, systemd.exec(5).
pub(crate) fn has_stderr() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    nix::sys::stat::fstat(io::stderr()).is_ok_and(|file| stream == format!("{}:{}", file.st_dev, file.st_ino))
}

/// The descriptors passed to this very process, with their names (sd_listen_fds_with_names(3)). If LISTEN_PID is not
/// ours, they are not for us.
pub(crate) fn passed_sockets() -> io::Result<Vec<(i32, String)>> {
    // Checked first: when no descriptor is for us, the names of another process would be counted and found too many.
    if sd_notify::listen_fds()?.len() == 0 {
        return Ok(Vec::new());
    }
    Ok(sd_notify::listen_fds_with_names()?.collect())
}

/// Whether a service manager listens.
pub(crate) fn listens() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Notifies the service manager, if one listens. If it cannot be reached, that is not our failure.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}

/// All workers can answer.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] ends it. Both parts must be in one datagram (sd_notify(3)).
pub(crate) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// Our state, in one line for people.
pub(crate) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// We are shutting down and may take this long, whatever TimeoutStopSec= says.
pub(crate) fn stopping(status: &str, patience: Duration) {
    let patience = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::Status(status), NotifyState::ExtendTimeoutUsec(patience)]);
}

/// Another process is the master from now on, with this status.
pub(crate) fn main_pid(pid: i32, status: &str) {
    tell(&[NotifyState::MainPid(pid.unsigned_abs()), NotifyState::Status(status)]);
}

/// Feeds the watchdog.
pub(crate) fn beat() {
    tell(&[NotifyState::Watchdog]);
}

/// How often, at least, the watchdog must be fed.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}
