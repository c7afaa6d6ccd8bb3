//! The service manager: the sockets that it passes, and what it is told (sd_notify(3)).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
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

/// How many bytes of a status are told: the manager drops a message that is too long for it.
const LONGEST: usize = 1024;

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

/// What the service manager is told. Its queue may be full: nothing waits for it.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    /// The last message that matters, as long as there was no room for it.
    unheard: Option<String>,
}

impl Manager {
    /// All workers can answer.
    pub(crate) fn ready(&mut self, status: &str) {
        self.insist(format!("READY=1\nSTATUS={}\n", line(status)));
    }

    /// A reload begins; [`Manager::ready`] ends it. Both parts must be in one datagram (sd_notify(3)).
    pub(crate) fn reloading(&mut self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.insist(format!("RELOADING=1\n{now}\n"));
        }
    }

    /// Our state, in one line for people. False: there was no room for it.
    pub(crate) fn status(&mut self, status: &str) -> bool {
        self.say_again() && send(&format!("STATUS={}\n", line(status)))
    }

    /// We are shutting down and may take this long, whatever TimeoutStopSec= says.
    pub(crate) fn stopping(&mut self, status: &str, within: Duration) {
        let (status, within) = (line(status), u64::try_from(within.as_micros()).unwrap_or(u64::MAX));
        self.insist(format!("STOPPING=1\nSTATUS={status}\nEXTEND_TIMEOUT_USEC={within}\n"));
    }

    /// Another process is the master from now on, with this status. It is ready: that ends a reload which has not ended.
    pub(crate) fn main_pid(&mut self, pid: i32, status: &str) {
        self.insist(format!("READY=1\nMAINPID={pid}\nSTATUS={}\n", line(status)));
    }

    /// Feeds the watchdog.
    pub(crate) fn beat(&self) {
        send("WATCHDOG=1\n");
    }

    /// Says again what there was no room for. True: nothing is left to be said.
    pub(crate) fn say_again(&mut self) -> bool {
        self.unheard.take_if(|message| send(message));
        self.unheard.is_none()
    }

    /// Says what matters, again and again until there is room for it, or something newer to be said.
    fn insist(&mut self, message: String) {
        self.unheard = Some(message);
        self.say_again();
    }
}

/// Sends a message if a service manager listens. False: it has no room for it. If it cannot be reached, that is not our failure.
fn send(message: &str) -> bool {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return true };
    let sent = address(&path).and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(message.as_bytes(), &address)
    });
    match sent {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        Err(error) => {
            tracing::debug!(%error, "cannot notify the service manager");
            true
        }
    }
}

/// A status as one line of a message, which is all that is shown of it.
fn line(status: &str) -> String {
    let status = &status[..status.floor_char_boundary(LONGEST)];
    status.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// A path, or with `@` an abstract name.
fn address(path: &OsStr) -> io::Result<SocketAddr> {
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
}

/// How often, at least, the watchdog must be fed.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}
