//! Processes: fork, reap, kill, who we are, and waiting for a descriptor.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Gid, Group, Pid, Uid, User, getppid};

use super::{signals, tree};

/// Which side of a fork this is.
pub(crate) enum Forked {
    /// The one that forked, with the other's pid.
    Parent(i32),
    /// The new one. Its signals stay blocked until [`signals::unblock_all`].
    Child,
}

/// Forks with all signals blocked, so that none is handled by the wrong handlers on either side.
pub(crate) fn fork() -> io::Result<Forked> {
    tree::found_family();
    let before = signals::block_all()?;
    // SAFETY: the master never starts a thread, so no lock is held by a thread that the child lacks.
    let forked = unsafe { nix::unistd::fork() };
    match forked {
        Ok(ForkResult::Child) => Ok(Forked::Child),
        Ok(ForkResult::Parent { child }) => signals::set_blocked(&before).map(|()| Forked::Parent(child.as_raw())),
        Err(errno) => signals::set_blocked(&before).and(Err(errno.into())),
    }
}

/// Ends a forked child at once: no destructor or exit handler of the parent's runs in it.
pub(crate) fn leave(code: u8) -> ! {
    // SAFETY: _exit only ends the process.
    unsafe { libc::_exit(code.into()) }
}

/// Asks the kernel to kill us when the process that forked us dies. False: it is dead already.
///
/// To be called after the user was changed, which clears the request (prctl(2)).
pub(crate) fn die_with(parent: i32) -> io::Result<bool> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(getppid().as_raw() == parent)
}

/// Names the process as `ps` and `top` show it; the kernel keeps 15 bytes.
pub(crate) fn set_name(name: &str) {
    let name = CString::new(name.replace('\0', "")).expect("the NULs were just taken out");
    // A name is a courtesy: a process goes on without it.
    let _ = nix::sys::prctl::set_name(&name);
}

/// Sends a signal. A process that is gone already is no error.
pub(crate) fn send(pid: i32, signal: Signal) -> io::Result<()> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The next dead child, ours or adopted (as PID 1 we are everyone's), if there is one.
pub(crate) fn reap() -> Option<(i32, ExitStatus)> {
    let mut status = 0;
    loop {
        // SAFETY: status is a live, writable int.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        match pid {
            1.. => return Some((pid, ExitStatus::from_raw(status))),
            // No child is dead, or there is none at all (ECHILD): both are "nothing to reap".
            0 => return None,
            _ if Errno::last() == Errno::EINTR => {}
            _ => return None,
        }
    }
}

/// Waits until one of the descriptors can be read, a signal comes in, or the deadline has passed.
pub(crate) fn wait_readable(fds: &[BorrowedFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    let mut fds: Vec<_> = fds.iter().map(|&fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    let timeout = match deadline {
        None => PollTimeout::NONE,
        // Rounded up, for a wait that ends before its deadline would have the caller spin.
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
        }
    };
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// A pipe whose ends do not block and do not survive an exec.
pub(crate) fn pipe() -> io::Result<(PipeReader, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    set_nonblocking(&reader)?;
    set_nonblocking(&writer)?;
    Ok((reader, writer))
}

pub(super) fn set_nonblocking(fd: &impl AsFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Marks every descriptor above 2 close-on-exec: parents such as circusd leak theirs into us, and
/// what a check starts shall not get any.
pub(crate) fn close_all_on_exec() -> io::Result<()> {
    // SAFETY: the call changes flags only; no descriptor is closed or taken over.
    let result = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) };
    Errno::result(result)?;
    Ok(())
}

/// Closes every descriptor above 2, in a forked child that needs none of its parent's.
pub(super) fn close_all() -> io::Result<()> {
    // SAFETY: the child ends without running destructors, so nothing is closed twice.
    let result = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    Errno::result(result)?;
    Ok(())
}

/// Gives back the pages of program code that only the start has needed: parsing the command line, setting up
/// the log, collecting. What is needed again is mapped again, from the page cache.
pub(crate) fn release_start_up_code() {
    unsafe extern "C" {
        // Set by the linker: where the executable begins, and where its code ends (end(3)).
        static __executable_start: u8;
        static etext: u8;
    }
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096) as usize;
    let start = (&raw const __executable_start) as usize;
    let end = (&raw const etext) as usize & !(page - 1);
    // SAFETY: the range holds the headers and the code of this executable: mapped from its file, private and
    // never written to (there are no text relocations), so its pages come back as they were.
    // A kernel that refuses costs memory and nothing else.
    let _ = unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
}

/// Takes over an open descriptor that the parent left for us.
///
/// 0, 1 and 2 are never owned: they are duplicated, and `/dev/null` takes the place of 0.
pub(crate) fn adopt(fd: i32) -> io::Result<OwnedFd> {
    if fd > 2 {
        // SAFETY: the caller has found it open, adopts it once, and nothing else here knows its number.
        return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    // SAFETY: borrowed for this one call; 0 to 2 stay open for the whole life of the process.
    let owned = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
    if fd == 0 {
        nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    }
    Ok(owned)
}

/// Starts a program as our child, with these descriptors from 3 on and nothing else open above 2.
///
/// # Errors
///
/// When it cannot be executed; there is no child then.
pub(crate) fn start_program(command: &mut Command, fds: &[BorrowedFd<'_>]) -> io::Result<i32> {
    let own: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let mut moved = vec![-1; own.len()];
    let arrange = move || {
        // Out of the way of their places first, which some of them may hold.
        let beyond = 3 + own.len() as RawFd;
        for (own, moved) in own.iter().zip(&mut moved) {
            // SAFETY: fcntl duplicates a descriptor that the parent keeps open until we have executed.
            *moved = Errno::result(unsafe { libc::fcntl(*own, libc::F_DUPFD_CLOEXEC, beyond) })?;
        }
        for (place, moved) in (3..).zip(&moved) {
            // SAFETY: dup2 replaces what the child has inherited there, which nothing in it uses before exec.
            Errno::result(unsafe { libc::dup2(*moved, place) })?;
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only, which are async-signal-safe; its vectors were made before.
    let child = unsafe { command.pre_exec(arrange) }.spawn()?;
    // The master reaps every child itself, so the handle is of no use.
    Ok(child.id() as i32)
}

/// A pipe that a standard stream goes into, opened anew so that it never blocks: the flags of the one that we were given
/// are shared with whoever else writes to it. `None` where it is no pipe, or cannot be opened.
///
/// [`write_if_ready`] alone is not enough there: a pipe is ready when it has room for one page, which another process may
/// fill first, and a line may be longer.
pub(crate) fn own_pipe(stream: &impl AsFd) -> Option<File> {
    let kind = nix::sys::stat::fstat(stream).ok()?.st_mode & libc::S_IFMT;
    let path = format!("/proc/self/fd/{}", stream.as_fd().as_raw_fd());
    let open = || File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path).ok();
    (kind == libc::S_IFIFO).then(open).flatten()
}

/// Writes to a standard stream now or not at all: a reader that sleeps must not stop us.
pub(crate) fn write_if_ready(out: &impl AsFd, bytes: &[u8]) -> io::Result<()> {
    let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut fds, PollTimeout::ZERO)? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(nix::unistd::write(out, bytes).map(|_| ())?),
    }
}

/// Who the workers are to be.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    user: Option<User>,
    group: Option<Gid>,
}

impl Identity {
    /// Looks up a user and a group, each a name or a number. The error is one line.
    pub(crate) fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Identity, String> {
        let user = user.map(find_user).transpose()?;
        let group = group.map(find_group).transpose()?;
        let changes = user.as_ref().is_some_and(|user| user.uid != Uid::effective())
            || group.is_some_and(|group| group != Gid::effective());
        if changes && !Uid::effective().is_root() {
            return Err("--user and --group need root: start hospital as root, or as that user".to_owned());
        }
        Ok(Identity { user, group })
    }

    /// Becomes that user and group, for good.
    pub(crate) fn assume(&self) -> io::Result<()> {
        if !Uid::effective().is_root() {
            return Ok(());
        }
        let group = self.group.or(self.user.as_ref().map(|user| user.gid));
        if let (Some(user), Some(group)) = (&self.user, group) {
            let name = CString::new(user.name.as_str()).map_err(io::Error::other)?;
            nix::unistd::initgroups(&name, group)?;
        }
        if let Some(group) = group {
            nix::unistd::setgid(group)?;
        }
        if let Some(user) = &self.user {
            nix::unistd::setuid(user.uid)?;
        }
        Ok(())
    }

    /// The user and group to give files to that the workers shall reach.
    pub(crate) fn owner(&self) -> (Option<u32>, Option<u32>) {
        let group = self.group.or(self.user.as_ref().map(|user| user.gid));
        (self.user.as_ref().map(|user| user.uid.as_raw()), group.map(Gid::as_raw))
    }
}

fn find_user(user: &str) -> Result<User, String> {
    let found = match user.parse() {
        // A number needs no entry in the user database: containers often have none.
        Ok(uid) => User::from_uid(Uid::from_raw(uid)).map(|found| found.or_else(|| Some(nameless(uid)))),
        Err(_) => User::from_name(user),
    };
    match found {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(format!("--user names {user:?}, but there is no such user: see `getent passwd`")),
        Err(errno) => Err(format!("--user names {user:?}, which cannot be looked up: {errno}")),
    }
}

fn nameless(uid: u32) -> User {
    User {
        name: uid.to_string(),
        passwd: CString::default(),
        uid: Uid::from_raw(uid),
        gid: Gid::from_raw(uid),
        gecos: CString::default(),
        dir: "/".into(),
        shell: "/bin/false".into(),
    }
}

fn find_group(group: &str) -> Result<Gid, String> {
    if let Ok(gid) = group.parse() {
        return Ok(Gid::from_raw(gid));
    }
    match Group::from_name(group) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(format!("--group names {group:?}, but there is no such group: see `getent group`")),
        Err(errno) => Err(format!("--group names {group:?}, which cannot be looked up: {errno}")),
    }
}

/// The number of the user that we act as.
pub(crate) fn effective_user() -> u32 {
    Uid::effective().as_raw()
}

/// How many descriptors this process may have open.
pub(crate) fn descriptor_limit() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(limit, _)| usize::try_from(limit).unwrap_or(usize::MAX))
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
    // SAFETY: called in a freshly forked worker, which has one thread.
    unsafe {
        for name in remove {
            std::env::remove_var(name);
        }
        for (name, value) in set {
            std::env::set_var(name, value);
        }
    }
}

/// Whether standard input is a terminal that we may lose.
pub(crate) fn on_terminal() -> bool {
    use std::io::IsTerminal;
    io::stdin().is_terminal()
}
