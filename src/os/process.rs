//! Processes: forking, starting, naming, signalling and reaping them.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{ForkResult, Pid, getpid, getppid};

use super::descriptors::retry;
use super::identity::Identity;
use super::pidfd::PidFd;
use super::signals;

/// How many threads this process has.
pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

/// Whether /proc is there and of our namespace of processes: then it has an entry for us.
pub(crate) fn is_shown_to_itself() -> bool {
    let named = std::fs::read_link("/proc/self").ok();
    named.is_some_and(|named| named.to_str() == Some(&*getpid().to_string()))
}

/// Which side of a fork this is.
pub(crate) enum Forked {
    /// The process that forked, with the pid of the new one.
    Parent(i32),
    /// The new process. Its signals stay blocked until [`signals::unblock_all`].
    Child {
        /// Its parent's pid, read before the fork: the parent may be dead by now.
        parent: i32,
    },
}

/// Forks with all signals blocked, so that neither side runs the wrong handlers.
pub(crate) fn fork() -> io::Result<Forked> {
    family();
    let before = signals::block_all()?;
    let parent = getpid().as_raw();
    // SAFETY: who forks never starts a thread before, so no lock is held by a thread that the child lacks.
    let forked = unsafe { nix::unistd::fork() };
    match forked {
        Ok(ForkResult::Child) => Ok(Forked::Child { parent }),
        Ok(ForkResult::Parent { child }) => signals::set_blocked(&before).map(|()| Forked::Parent(child.as_raw())),
        Err(errno) => signals::set_blocked(&before).and(Err(errno.into())),
    }
}

/// Whether a child of ours gets through this in time: what may wait for ever, as on a mount that does not answer, waits
/// there. A child that does not is killed, and reaped by whoever reaps all others.
pub(crate) fn can_be_done_within(limit: Duration, run: impl FnOnce()) -> io::Result<bool> {
    let pid = match fork()? {
        Forked::Child { parent } => {
            let _ = die_with(parent);
            // It must not unwind into what belongs to our parent, who will see the same panic.
            let _ = catch_unwind(AssertUnwindSafe(run));
            leave(0)
        }
        Forked::Parent(pid) => pid,
    };
    let (child, deadline) = (PidFd::open(pid)?, Instant::now() + limit);
    while !child.has_ended() {
        if deadline <= Instant::now() {
            return child.send(Signal::SIGKILL).map(|()| false);
        }
        child.wait_with(Vec::new(), deadline)?;
    }
    Ok(true)
}

/// The name that this process and all that it forks from now on have in common. It is a point in time, so that processes
/// with the same pid at another time or in another container are not taken for ours.
pub(super) fn family() -> u128 {
    static FOUNDED: OnceLock<u128> = OnceLock::new();
    *FOUNDED.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos())
}

/// How a process ended, as waitpid(2) tells it.
pub(crate) fn ending(status: i32) -> String {
    let status = ExitStatus::from_raw(status);
    match status.signal() {
        Some(signal) => format!("its process was killed by {}", signals::name(signal as u8)),
        None => format!("its process ended by itself, with {status}"),
    }
}

/// Whether a signal has ended a process, as waitpid(2) tells it.
pub(crate) fn was_killed(status: i32) -> bool {
    libc::WIFSIGNALED(status)
}

/// Ends a forked child at once: none of the destructors and exit handlers inherited from its parent run.
pub(crate) fn leave(code: u8) -> ! {
    // SAFETY: _exit only ends the process.
    unsafe { libc::_exit(code.into()) }
}

/// Asks the kernel to kill us when our parent dies. False: it is already dead.
///
/// Call this after changing the user, which clears the request (prctl(2)).
pub(crate) fn die_with(parent: i32) -> io::Result<bool> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(getppid().as_raw() == parent)
}

/// The orphans among our descendants become our children.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// The same, but it is a TERM that we get: there is something to tidy up.
pub(crate) fn be_told_with(parent: i32) -> io::Result<bool> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
    Ok(getppid().as_raw() == parent)
}

/// Leaves the group of processes that a terminal, or whoever kills a whole group, interrupts; our parent still tells us.
pub(crate) fn leave_group() -> io::Result<()> {
    Ok(nix::unistd::setsid().map(drop)?)
}

/// Makes a group of our own, so that what is sent to one's own group stops here.
pub(crate) fn lead_group() -> io::Result<()> {
    Ok(nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))?)
}

/// Waits until our parent is dead. Signals must still be blocked, so that none ends us.
pub(super) fn outlive(parent: i32) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
    let mut awaited = SigSet::empty();
    awaited.add(Signal::SIGTERM);
    // A SIGTERM for the whole group arrives here too.
    while getppid().as_raw() == parent {
        awaited.wait()?;
    }
    Ok(())
}

/// Names the process as `ps` and `top` show it; the kernel keeps 15 bytes.
pub(crate) fn set_name(name: &str) {
    let name = CString::new(name.replace('\0', "")).expect("the NULs were just taken out");
    // A name is only for people: if it cannot be set, the process goes on without it.
    let _ = nix::sys::prctl::set_name(&name);
}

/// Sends a signal. If the process is already gone, that is not an error.
pub(crate) fn send(pid: i32, signal: Signal) -> io::Result<()> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The next dead child, if there is one: ours, or one that we adopted (as PID 1 we adopt every orphan).
pub(crate) fn reap() -> Option<(i32, ExitStatus)> {
    let mut status = 0;
    // SAFETY: status is a live, writable int.
    let reaped = retry(|| Ok(Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) })?));
    // 0: no child is dead; an error: there is none at all (ECHILD).
    reaped.ok().filter(|pid| *pid > 0).map(|pid| (pid, ExitStatus::from_raw(status)))
}

/// Waits for a child of ours to end. If somebody has reaped it already, that is an error.
pub(crate) fn wait_for(pid: i32) -> io::Result<ExitStatus> {
    let mut status = 0;
    // SAFETY: status is a live, writable int.
    retry(|| Ok(Errno::result(unsafe { libc::waitpid(pid, &raw mut status, 0) })?))?;
    Ok(ExitStatus::from_raw(status))
}

/// Lets us live on when our parent dies, by whom we were started with [`start_program`].
pub(crate) fn outlive_parent() {
    // It only fails for signals that there are not.
    let _ = nix::sys::prctl::set_pdeathsig(None);
}

/// Starts a program as our child, with these descriptors from 3 on and no others above 2. If we die before it calls
/// [`outlive_parent`], it gets a TERM.
///
/// # Errors
///
/// When it cannot be executed; then there is no child.
pub(crate) fn start_program(command: &mut Command, fds: &[BorrowedFd<'_>]) -> io::Result<i32> {
    start(command, fds, || Ok(()))
}

/// The same for an interpreter that runs as another user, and adopts the orphans of what it forks.
pub(crate) fn start_interpreter(
    command: &mut Command,
    fds: &[BorrowedFd<'_>],
    identity: &Identity,
) -> io::Result<PidFd> {
    let identity = identity.clone();
    let pid = start(command, fds, move || {
        identity.assume_whole()?;
        Ok(nix::sys::prctl::set_child_subreaper(true)?)
    })?;
    PidFd::open(pid)
}

fn start(
    command: &mut Command,
    fds: &[BorrowedFd<'_>],
    mut prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<i32> {
    let own: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let mut moved = vec![-1; own.len()];
    let parent = getpid();
    let arrange = move || {
        // First: a change of the user clears what is asked for next.
        prepare()?;
        nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
        if getppid() != parent {
            return Err(Errno::ESRCH.into());
        }
        // First move them out of the way: some may hold a number that another needs.
        let beyond = 3 + own.len() as RawFd;
        for (own, moved) in own.iter().zip(&mut moved) {
            // SAFETY: fcntl duplicates a descriptor that the parent keeps open until we have executed.
            *moved = Errno::result(unsafe { libc::fcntl(*own, libc::F_DUPFD_CLOEXEC, beyond) })?;
        }
        for (place, moved) in (3..).zip(&moved) {
            // SAFETY: dup2 replaces a descriptor that the child inherited and does not use before exec.
            Errno::result(unsafe { libc::dup2(*moved, place) })?;
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls that are async-signal-safe; its vectors were allocated before the
    // fork.
    let child = unsafe { command.pre_exec(arrange) }.spawn()?;
    // The master reaps every child itself, so the handle is of no use.
    Ok(child.id() as i32)
}

/// Sets the file mode creation mask.
pub(crate) fn set_umask(mask: u32) {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
}

/// Sets and removes variables of our own environment.
pub(crate) fn change_environment<'a>(
    set: impl IntoIterator<Item = (&'a str, &'a str)>,
    remove: impl IntoIterator<Item = &'a str>,
) {
    // SAFETY: called in a freshly forked worker and at the start of a command, which have one thread.
    unsafe {
        for name in remove {
            std::env::remove_var(name);
        }
        for (name, value) in set {
            std::env::set_var(name, value);
        }
    }
}
