//! Signals as something to read: handlers only queue, the loops do the work.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;

pub(crate) use nix::sys::signal::Signal;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, sigprocmask};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// What a thread does to itself.
const FAULTS: [Signal; 7] =
    [Signal::SIGABRT, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGSEGV, Signal::SIGSYS, Signal::SIGTRAP];

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

/// Has `last` done before a signal from outside ends this process, which it then does as ever. One that is
/// ignored, as under nohup, stays so.
///
/// For processes that never fork: a thread waits for the signals.
pub(crate) fn before_ending(last: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let ending = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
    let handled = ending.into_iter().filter(|&signal| !is_ignored(signal)).map(|signal| signal as i32);
    let mut signals = signal_hook::iterator::Signals::new(handled)?;
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            last();
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}

/// Lets us learn how our children end: a parent that ignores its own leaves that to whatever it executes, and the kernel
/// then keeps nothing of a dead child. Nor does their end interrupt anything from now on. To be called before there is
/// a thread.
pub(crate) fn heed_children() {
    // SAFETY: the default action runs no code of ours.
    let _ = unsafe { nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigDfl) };
}

/// What a signal is called, as in `SIGSEGV`.
pub(crate) fn name(number: u8) -> String {
    Signal::try_from(i32::from(number)).map_or_else(|_| format!("signal {number}"), |signal| signal.to_string())
}

fn is_ignored(signal: Signal) -> bool {
    // SAFETY: a sigaction of zeros is a valid one, to be overwritten.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: no new action is given, and the old one is written to what lives.
    let asked = unsafe { libc::sigaction(signal as i32, std::ptr::null(), &raw mut now) };
    asked == 0 && now.sa_sigaction == libc::SIG_IGN
}

/// Runs what no signal from outside shall interrupt: it comes to another thread. A program that is started meanwhile
/// inherits that, unless through [`with_none_blocked`].
pub(crate) fn undisturbed<T>(run: impl FnOnce() -> T) -> T {
    let mut outside = SigSet::all();
    // What a thread brings upon itself comes in any case; were it blocked, nobody could say a word about it.
    FAULTS.into_iter().for_each(|fault| outside.remove(fault));
    with_blocked(&outside, run)
}

/// Runs what starts a program, which inherits what is blocked.
pub(super) fn with_none_blocked<T>(run: impl FnOnce() -> T) -> T {
    with_blocked(&SigSet::empty(), run)
}

fn with_blocked<T>(blocked: &SigSet, run: impl FnOnce() -> T) -> T {
    // It fails for no set that there is.
    let before = blocked.thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let result = run();
    let _ = before.and_then(|before| before.thread_set_mask());
    result
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
