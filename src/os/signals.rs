//! Signals as something to read: the handlers only queue, and the loops do the work.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

pub(crate) use nix::sys::signal::Signal;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, sigaction, sigprocmask};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithRawSiginfo;

/// The signals that a thread raises itself.
const FAULTS: [Signal; 7] =
    [Signal::SIGABRT, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGSEGV, Signal::SIGSYS, Signal::SIGTRAP];

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) signal: Signal,
    /// Whether a process has sent it, and not the kernel.
    pub(crate) is_sent: bool,
}

/// The signals that a process handles, in a queue.
///
/// Dropping it leaves handlers that do nothing: these signals are ignored from then on, and an exec resets them to
/// their defaults. A forked worker relies on both.
pub(crate) struct Inbox {
    delivery: SignalDelivery<UnixStream, WithRawSiginfo>,
}

impl Inbox {
    /// Installs handlers for these signals, which must still be blocked or not expected yet.
    pub(crate) fn new(signals: impl IntoIterator<Item = Signal>) -> io::Result<Inbox> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        let numbers = signals.into_iter().map(|signal| signal as i32);
        Ok(Inbox { delivery: SignalDelivery::with_pipe(read, write, WithRawSiginfo, numbers)? })
    }

    /// Takes the signals since the last call; repeated ones count once.
    pub(crate) fn take(&mut self) -> Vec<Received> {
        let mut taken = Vec::new();
        for info in self.delivery.pending() {
            // Above 0 are the kernel's own reasons: sigaction(2). A terminal's signals are such.
            let received = |signal| Received { signal, is_sent: info.si_code <= 0 };
            taken.extend(Signal::try_from(info.si_signo).map(received).ok().filter(|new| !taken.contains(new)));
        }
        taken
    }
}

impl AsFd for Inbox {
    /// Readable when a signal has arrived.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}

impl AsRawFd for Inbox {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Calls `last` before a signal from outside ends this process, which it then does as usual. A signal that is ignored,
/// as under nohup, stays ignored.
///
/// Only for processes that never fork: a thread waits for the signals.
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

/// The process that [`kill_when_told`] kills, 0 before there is one.
static DOOMED: AtomicI32 = AtomicI32::new(0);

/// When this process is told to end (TERM), a child of it is killed, and it goes on: whoever waits for the child learns of
/// that.
pub(crate) fn kill_when_told(child: i32) -> io::Result<()> {
    extern "C" fn kill(_: libc::c_int) {
        WAS_TOLD.store(true, Ordering::SeqCst);
        // SAFETY: kill(2) may be called in a handler, and takes two numbers. The child is not reaped yet.
        unsafe { libc::kill(DOOMED.load(Ordering::SeqCst), libc::SIGKILL) };
    }
    DOOMED.store(child, Ordering::SeqCst);
    let action = SigAction::new(SigHandler::Handler(kill), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler only does what a handler may.
    unsafe { sigaction(Signal::SIGTERM, &action) }?;
    let mut told = SigSet::empty();
    told.add(Signal::SIGTERM);
    Ok(sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&told), None)?)
}

static WAS_TOLD: AtomicBool = AtomicBool::new(false);

/// Whether this process was told to end, after [`kill_when_told`].
pub(crate) fn was_told() -> bool {
    WAS_TOLD.load(Ordering::SeqCst)
}

/// Lets a write beyond the limit on file sizes fail, as on a full disk, instead of ending the process.
///
/// It installs a handler that does nothing: workers keep it, and an exec resets it. If the signal were ignored instead, the
/// programs of checks would ignore it too.
pub(crate) fn survive_size_limit() {
    extern "C" fn nothing(_: libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: a handler that does nothing may interrupt anything.
    unsafe { sigaction(Signal::SIGXFSZ, &action) }.expect("it is a signal that can be handled");
}

/// Resets SIGCHLD, which stays ignored over an exec if the parent ignores it: the kernel would then reap our children,
/// and waiting for them fail. To be called before there is a thread.
pub(crate) fn heed_children() {
    // SAFETY: the default action runs no code of ours.
    let _ = unsafe { nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigDfl) };
}

/// The name of a signal, such as `SIGSEGV`.
pub(crate) fn name(number: u8) -> String {
    Signal::try_from(i32::from(number)).map_or_else(|_| format!("signal {number}"), |signal| signal.to_string())
}

pub(super) fn is_ignored(signal: Signal) -> bool {
    // SAFETY: a sigaction of zeroes is valid, and is overwritten.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: no new action is given, and the old one is written to a live variable.
    let asked = unsafe { libc::sigaction(signal as i32, std::ptr::null(), &raw mut now) };
    asked == 0 && now.sa_sigaction == libc::SIG_IGN
}

/// Runs something that no signal from outside may interrupt: another thread gets it. Programs inherit the blocked
/// signals: see [`with_none_blocked`].
pub(crate) fn undisturbed<T>(run: impl FnOnce() -> T) -> T {
    let mut outside = SigSet::all();
    // These end the process even if they are blocked, but then without a message.
    FAULTS.into_iter().for_each(|fault| outside.remove(fault));
    with_blocked(&outside, run)
}

/// Starts a program, which inherits the blocked signals.
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

/// Blocks exactly these signals.
pub(super) fn set_blocked(blocked: &SigSet) -> io::Result<()> {
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(blocked), None)?)
}

/// Unblocks every signal: after a fork, and at the start, as a parent may have left some blocked.
pub(crate) fn unblock_all() -> io::Result<()> {
    set_blocked(&SigSet::empty())
}
