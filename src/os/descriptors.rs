//! Descriptors: taken over, waited for, written to, and kept from processes that must not have them.

use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::signals::undisturbed;

/// Makes a call again for as long as signals interrupt it.
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Waits until one of the descriptors is readable, a signal arrives, or the deadline has passed.
pub(crate) fn wait_readable(fds: &[BorrowedFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    let mut fds: Vec<_> = fds.iter().map(|&fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    wait_for(&mut fds, deadline)
}

/// What a connection is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ready {
    ToRead,
    ToWrite,
}

/// Waits until one descriptor is ready, a signal arrives, or the deadline has passed.
pub(crate) fn wait(fd: &impl AsFd, ready: Ready, deadline: Instant) -> io::Result<()> {
    let flags = match ready {
        Ready::ToRead => PollFlags::POLLIN,
        Ready::ToWrite => PollFlags::POLLOUT,
    };
    wait_for(&mut [PollFd::new(fd.as_fd(), flags)], Some(deadline))
}

fn wait_for(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    let timeout = match deadline {
        None => PollTimeout::NONE,
        // Rounded up: a wait that ends before its deadline would make the caller spin.
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
        }
    };
    match poll(fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether a call has failed because a host on the way says that the other one is down.
pub(crate) fn is_of_a_host_that_is_down(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EHOSTDOWN)
}

/// Whether connecting to a unix socket has failed because that is one of another type: for datagrams, not for streams.
pub(crate) fn is_of_another_type(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPROTOTYPE)
}

/// Whether it can be read now; of a listener, whether a connection waits there. A call that fails says no.
pub(crate) fn is_readable(fd: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// A pipe whose ends do not block and do not survive an exec.
pub(crate) fn pipe() -> io::Result<(PipeReader, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    set_nonblocking(&reader)?;
    set_nonblocking(&writer)?;
    Ok((reader, writer))
}

pub(crate) fn set_nonblocking(fd: &impl AsFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Marks every descriptor above 2 close-on-exec: parents such as circusd leak theirs to us, and the programs that
/// checks start must not get any.
pub(crate) fn close_all_on_exec() -> io::Result<()> {
    // SAFETY: the calls change flags only; no descriptor is closed or taken over.
    unsafe { close_range(libc::CLOSE_RANGE_CLOEXEC, |fd| libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC)) }
}

/// Closes every descriptor above 2, in a forked child that needs none of its parent's.
pub(super) fn close_all() -> io::Result<()> {
    // SAFETY: the child ends without running destructors, so nothing is closed twice.
    unsafe { close_range(0, |fd| libc::close(fd)) }
}

/// close_range(2) from 3 on; musl has no function for it. Where the kernel (before 5.11) or a system call filter does not
/// know it, `one` does the same to each descriptor.
///
/// # Safety
///
/// Without a flag it closes descriptors, whoever owns them.
unsafe fn close_range(flags: libc::c_uint, one: impl Fn(RawFd) -> libc::c_int) -> io::Result<()> {
    // SAFETY: the caller is responsible for the descriptors; the call takes no pointer.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, flags) };
    match Errno::result(result) {
        Ok(_) => {}
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) => {
            let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
            let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?.flatten().filter_map(number).collect();
            for fd in open.into_iter().filter(|fd| *fd > 2) {
                // That of the list itself is closed by now.
                let _ = one(fd);
            }
        }
        Err(errno) => return Err(errno.into()),
    }
    Ok(())
}

/// How many bytes that were written to a socket wait for the other side to take them.
pub(crate) fn in_flight(socket: &impl AsRawFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for the call, which writes one int.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// Whether an error says that a connection is being made.
pub(crate) fn is_connecting(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}

/// Whether an error says that a descriptor is not open.
pub(crate) fn is_closed(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBADF)
}

/// Takes over an open descriptor that the parent left for us.
///
/// 0, 1 and 2 are never owned: they are duplicated, and `/dev/null` takes the place of 0.
pub(crate) fn adopt(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: borrowed for this one call, which finds out whether it is open.
    nix::fcntl::fcntl(unsafe { BorrowedFd::borrow_raw(fd) }, nix::fcntl::FcntlArg::F_GETFD)?;
    if fd > 2 {
        // SAFETY: it was just found open; callers adopt a number once, and nothing else here knows it.
        return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    // SAFETY: borrowed for this one call; 0 to 2 stay open for the whole life of the process.
    let owned = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
    if fd == 0 {
        nix::unistd::dup2_stdin(null()?)?;
    }
    Ok(owned)
}

/// What gives nothing to read. Where it is missing, the error says so, and not only that something is.
pub(crate) fn null() -> io::Result<File> {
    const NULL: &str = "/dev/null";
    File::open(NULL).map_err(|error| io::Error::new(error.kind(), format!("{NULL}: {error}")))
}

/// From now on nothing is read from the standard streams, and what is written to them is lost.
pub(crate) fn mute() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

/// Standard error once more, for a program that shall not write to our standard output.
pub(crate) fn standard_error() -> io::Result<OwnedFd> {
    io::stderr().as_fd().try_clone_to_owned()
}

/// Takes over an open descriptor above 2 that the parent left for us to write to.
pub(crate) fn left_for_writing(fd: i32) -> io::Result<File> {
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    if fd < 3 {
        return Err(io::Error::other("0, 1 and 2 are the standard streams"));
    }
    // SAFETY: borrowed for these two calls, which find out whether it is open and what for.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let flags = FdFlag::from_bits_retain(fcntl(borrowed, FcntlArg::F_GETFD).unwrap_or(libc::FD_CLOEXEC));
    // What survived the exec was left by the parent; what we opened ourselves is close-on-exec.
    if flags.contains(FdFlag::FD_CLOEXEC) {
        return Err(io::Error::other("the parent has left no such descriptor open"));
    }
    let mode = OFlag::from_bits_retain(fcntl(borrowed, FcntlArg::F_GETFL)?) & OFlag::O_ACCMODE;
    let peer = nix::sys::socket::getpeername::<nix::sys::socket::SockaddrStorage>(fd);
    // A socket without a peer is a listening one.
    if mode == OFlag::O_RDONLY || matches!(peer, Err(errno) if errno != Errno::ENOTSOCK) {
        return Err(io::Error::other("nothing can be written to it"));
    }
    adopt(fd).map(File::from)
}

/// Reopens the pipe behind a standard stream so that it never blocks: the flags of the inherited descriptor are shared
/// with every process that writes to it. `None` if it is not a pipe, or cannot be opened.
///
/// [`write_if_ready`] alone is not enough there: a pipe is ready when it has room for one page, but another process may
/// fill that first, and a line may be longer.
pub(crate) fn own_pipe(stream: &impl AsFd) -> Option<File> {
    let kind = nix::sys::stat::fstat(stream).ok()?.st_mode & libc::S_IFMT;
    let path = format!("/proc/self/fd/{}", stream.as_fd().as_raw_fd());
    let open = || File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path).ok();
    (kind == libc::S_IFIFO).then(open).flatten()
}

/// Writes to a standard stream now or not at all: a reader that sleeps must not stop us. Returns the number of bytes.
pub(crate) fn write_if_ready(out: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut fds, PollTimeout::ZERO)? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(write_from_background(|| nix::unistd::write(out, bytes))?),
    }
}

/// Writes to what may be a terminal that stops background output (`stty tostop`): it sends SIGTTOU, and as long as that
/// has a handler the write is begun again and again. Where the signal is blocked, the terminal lets it pass.
pub(crate) fn write_from_background<T>(write: impl FnOnce() -> T) -> T {
    undisturbed(write)
}

/// How many descriptors this process may have open.
pub(crate) fn limit() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(limit, _)| usize::try_from(limit).unwrap_or(usize::MAX))
}
