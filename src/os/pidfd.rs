//! A process held by a descriptor: it cannot be confused with a later one that has the same pid.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::descriptors::is_readable;

/// A process; its descriptor becomes readable when the process has ended.
pub(super) struct PidFd(OwnedFd);

impl PidFd {
    /// Opens the process that has this pid now.
    pub(super) fn open(pid: i32) -> io::Result<PidFd> {
        // SAFETY: the call takes two numbers and touches no memory of ours.
        let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel has just made this descriptor, close-on-exec, and nothing else knows it.
        Ok(PidFd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends it a signal. If the process is already gone, that is no error.
    pub(super) fn send(&self, signal: Signal) -> io::Result<()> {
        let (fd, info) = (self.0.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: the descriptor is open while self lives, and a null siginfo means an ordinary kill.
        match Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal as i32, info, 0) }) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether it has ended, with all its threads; reaped or not.
    pub(super) fn has_ended(&self) -> bool {
        // A call that fails counts as "still running": the caller looks again.
        is_readable(self)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
