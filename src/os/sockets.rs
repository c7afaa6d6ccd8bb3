//! Listening sockets: what the kernel does for them beyond bind and listen.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::SockFlag;
use socket2::{SockFilter, Socket};

/// How many seconds the kernel holds back a connection that has not sent anything yet.
static DEFER_ACCEPT: libc::c_int = 5;

/// The result of trying to accept.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// A connection.
    Client(Socket),
    /// None this time.
    Nobody,
    /// The machine lacks the descriptors or the memory.
    Exhausted(io::Error),
    /// We may not take connections.
    Forbidden(io::Error),
    /// This listener will never work again.
    Broken(io::Error),
}

/// Takes the next connection, non-blocking and close-on-exec.
pub(crate) fn accept(listener: &Socket) -> Accepted {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    match nix::sys::socket::accept4(listener.as_raw_fd(), flags) {
        // SAFETY: the kernel has just made it, for us alone.
        Ok(fd) => Accepted::Client(Socket::from(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS)) => {
            Accepted::Exhausted(errno.into())
        }
        // As in sandboxes; the connection stays in the queue.
        Err(errno @ (Errno::EACCES | Errno::EPERM)) => Accepted::Forbidden(errno.into()),
        Err(errno @ (Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK | Errno::EOPNOTSUPP | Errno::EFAULT)) => {
            Accepted::Broken(errno.into())
        }
        // A unix socket says only to poll that it was shut down, and wakes us for ever.
        Err(Errno::EAGAIN) if is_shut_down(listener) => {
            Accepted::Broken(io::Error::other("another process that holds it has shut it down"))
        }
        // Another worker was faster, the client has left, or the network reports an error of that one connection
        // (accept(2)).
        Err(_) => Accepted::Nobody,
    }
}

fn is_shut_down(listener: &Socket) -> bool {
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::from_bits_retain(libc::POLLRDHUP))];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Has the kernel deliver a connection of TCP together with its request, so that it can be answered in one go: tcp(7).
pub(crate) fn defer_accept(listener: &Socket) -> io::Result<()> {
    // SAFETY: the option's value is a live int of the given length.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const DEFER_ACCEPT).cast(),
            size_of_val(&DEFER_ACCEPT) as libc::socklen_t,
        )
    };
    Ok(Errno::result(result).map(drop)?)
}

/// Drops what begins a connection of TCP, while those that have begun are still delivered.
pub(crate) fn drop_newcomers(listener: &Socket) -> io::Result<()> {
    const FLAGS: u32 = 13; // the offset of the flags in a TCP header: RFC 9293, 3.1
    const SYN: u32 = 0x02;
    const SYN_OR_ACK: u32 = 0x12;
    let op = |code: u32, k: u32, otherwise: u8| SockFilter::new(code as u16, 0, otherwise, k);
    listener.attach_filter(&[
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, FLAGS, 0),
        op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, SYN_OR_ACK, 0),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, SYN, 1),
        op(libc::BPF_RET | libc::BPF_K, 0, 0),
        op(libc::BPF_RET | libc::BPF_K, u32::MAX, 0),
    ])
}

/// Adds a listener to an epoll set so that each connection wakes one worker.
///
/// mio registers edge-triggered and not exclusively, which wakes every worker for each connection; so listeners, and
/// only they, are added by hand: level-triggered, with EPOLLEXCLUSIVE.
pub(crate) fn watch(listener: &Socket, epoll: &impl AsRawFd, token: usize) -> io::Result<()> {
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
    let mut event = libc::epoll_event { events: flags.bits() as u32, u64: token as u64 };
    // SAFETY: both descriptors are open for the call, and the event outlives it.
    let result =
        unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, listener.as_raw_fd(), &raw mut event) };
    Ok(Errno::result(result).map(drop)?)
}

/// Removes it from an epoll set. An exclusive entry cannot be modified, only deleted and added again.
pub(crate) fn unwatch(listener: &Socket, epoll: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: both descriptors are open for the call; DEL reads no event (epoll_ctl(2)).
    let result =
        unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, listener.as_raw_fd(), std::ptr::null_mut()) };
    Ok(Errno::result(result).map(drop)?)
}
