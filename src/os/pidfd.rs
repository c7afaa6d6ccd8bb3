//! A process held by a descriptor: it cannot be confused with a later one that has the same pid.
//!
//! Before Linux 5.3, and where a filter of system calls does not know them, there are no such descriptors. Then the pid has
//! to do, and waiting is looking again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::descriptors::{is_readable, wait_readable};
use super::procfs::Stat;

/// How soon a process without a descriptor is looked at again.
const AGAIN: Duration = Duration::from_millis(10);

/// A process; its descriptor, if there is one, becomes readable when the process has ended.
#[derive(Debug)]
pub(crate) struct PidFd {
    pid: i32,
    fd: Option<OwnedFd>,
}

impl PidFd {
    /// Opens the process that has this pid now.
    pub(crate) fn open(pid: i32) -> io::Result<PidFd> {
        // SAFETY: the call takes two numbers and touches no memory of ours.
        match Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }) {
            Ok(fd) => {
                let fd = i32::try_from(fd).map_err(io::Error::other)?;
                // SAFETY: the kernel has just made this descriptor, close-on-exec, and nothing else knows it.
                Ok(PidFd { pid, fd: Some(unsafe { OwnedFd::from_raw_fd(fd) }) })
            }
            Err(Errno::ENOSYS | Errno::EPERM) => Ok(PidFd { pid, fd: None }),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends it a signal. If the process is already gone, that is not an error.
    pub(crate) fn send(&self, signal: Signal) -> io::Result<()> {
        let sent = match &self.fd {
            Some(fd) => {
                let (fd, info) = (fd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
                // SAFETY: the descriptor is open while self lives, and a null siginfo means an ordinary kill.
                Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal as i32, info, 0) })
                    .map(drop)
            }
            None => kill(Pid::from_raw(self.pid), signal),
        };
        match sent {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether it has ended, with all its threads; reaped or not.
    pub(crate) fn has_ended(&self) -> bool {
        match &self.fd {
            // A call that fails counts as "still running": the caller looks again.
            Some(fd) => is_readable(fd),
            None => Stat::of(self.pid).is_none_or(|stat| stat.is_dead()),
        }
    }

    /// Its descriptor, which becomes readable when it has ended, if there is one.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Waits until it has ended, one of the others is readable, or the deadline has passed; or for a shorter time.
    pub(crate) fn wait_with<'a>(&'a self, mut others: Vec<BorrowedFd<'a>>, deadline: Instant) -> io::Result<()> {
        others.extend(self.fd.as_ref().map(AsFd::as_fd));
        let until = if self.fd.is_some() { deadline } else { deadline.min(Instant::now() + AGAIN) };
        wait_readable(&others, Some(until))
    }
}
