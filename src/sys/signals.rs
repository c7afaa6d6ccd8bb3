//! Signals as something to read: handlers only queue, the loops do the work.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;

pub(crate) use nix::sys::signal::Signal;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// The signals that a process handles, as they come in.
///
/// Dropping it leaves the kernel-level handlers in place but empty, so that these signals are
/// ignored from then on, and reset to their default by an exec. A forked worker relies on both.
pub(crate) struct Inbox {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
}

impl Inbox {
    /// Installs handlers for these signals, which must be blocked or not yet expected.
    pub(crate) fn new(signals: impl IntoIterator<Item = Signal>) -> io::Result<Inbox> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        let numbers = signals.into_iter().map(|signal| signal as i32);
        Ok(Inbox { delivery: SignalDelivery::with_pipe(read, write, SignalOnly, numbers)? })
    }

    /// Takes what has come in since the last call; the same signal several times counts once.
    pub(crate) fn take(&mut self) -> Vec<Signal> {
        self.delivery.pending().filter_map(|number| Signal::try_from(number).ok()).collect()
    }
}

impl AsFd for Inbox {
    /// Readable when a signal has come in.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}

impl AsRawFd for Inbox {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Whether whoever started this process has it ignore a signal, as nohup does with HUP.
pub(crate) fn is_ignored(signal: Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the present one, to memory that is ours.
    let result = unsafe { libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: the call has succeeded, so it has written all of it.
    result == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Ends this process by a signal, as if it were not handled: whoever waits for it sees which one it was.
pub(crate) fn die_of(signal: Signal) -> ! {
    let _ = signal_hook::low_level::emulate_default_handler(signal as i32);
    std::process::abort()
}

/// Blocks every signal and returns what was blocked before.
pub(super) fn block_all() -> io::Result<SigSet> {
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    Ok(before)
}

/// Makes exactly these signals blocked.
pub(super) fn set_blocked(blocked: &SigSet) -> io::Result<()> {
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(blocked), None)?)
}

/// Lets every signal through: after a fork, and at the start, when a parent may have left some blocked.
pub(crate) fn unblock_all() -> io::Result<()> {
    set_blocked(&SigSet::empty())
}
