//! Listening sockets: bound by us or inherited, validated, and given back in order.

mod adopt;
mod bind;
mod handover;

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::{fmt, io};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::SockFlag;
use socket2::{Domain, SockFilter, Socket};

use crate::config::address::Address;
use crate::error::Error;
use crate::os::filesystem::FileOwner;
use crate::os::systemd;
pub(crate) use handover::{Bequest, bequeath, inherit};

/// How many seconds the kernel holds back a connection that has not sent anything yet.
static DEFER_ACCEPT: libc::c_int = 5;

/// A listening stream socket, non-blocking and close-on-exec.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    /// The address that it is really bound to, as it is shown.
    name: String,
    owner: Owner,
}

#[derive(Debug)]
enum Owner {
    /// We bound it, so we serve its backlog to the last.
    Us(Option<SocketFile>),
    /// Another process goes on accepting when we stop.
    Other,
}

/// The file of a unix socket that we bound: its path, its identity, and the lock that claims it.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
    lock: File,
}

/// Opens the listeners: inherited descriptors, else those passed by systemd, else what we have to bind.
///
/// # Errors
///
/// [`Error::Socket`] with one line for the cause; whatever was bound before it is cleaned up.
pub(crate) fn open(addresses: &[Address], backlog: i32, owner: FileOwner) -> Result<Vec<Listener>, Error> {
    let passed = systemd::passed_sockets().map_err(|error| {
        let count = std::env::var("LISTEN_FDS").unwrap_or_default();
        Error::Socket(format!("LISTEN_FDS={count:?}: {error}: start hospital from its socket unit"))
    })?;
    // The inherited ones first: a number that the parent left closed would be given to the next socket that we bind.
    let (inherited, bound): (Vec<_>, Vec<_>) = addresses.iter().partition(|address| matches!(address, Address::Fd(_)));
    if !passed.is_empty() && inherited.is_empty() {
        let one = |(fd, name): &(RawFd, String)| {
            adopt::inherit(*fd, &format!("LISTEN_FDS passes descriptor {fd} ({name:?}), which"), backlog)
        };
        return passed.iter().map(one).collect();
    }
    let mut listeners = Vec::new();
    for (index, address) in inherited.iter().chain(&bound).enumerate() {
        let listener = match address {
            Address::Fd(fd) if inherited[..index].contains(address) => {
                Err(Error::Socket(format!("--fd {fd} is given twice: name each socket once")))
            }
            Address::Fd(fd) => adopt::inherit(*fd, &format!("--fd {fd}"), backlog),
            Address::Tcp { host, port } => bind::tcp(host, *port, backlog),
            Address::Unix(path) => bind::unix(path, backlog, owner),
            Address::Abstract(name) => bind::r#abstract(name, backlog),
        };
        listeners.push(listener.inspect_err(|_| listeners.iter().for_each(Listener::remove_file))?);
    }
    Ok(listeners)
}

/// Sets what every listener needs, whoever bound it.
fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_cloexec(true)?;
    socket.set_nonblocking(true)?;
    if socket.domain()? != Domain::UNIX {
        // The kernel delivers a connection together with its request, so that it can be answered in one go: tcp(7).
        // SAFETY: the option's value is a live int of the given length.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_DEFER_ACCEPT,
                (&raw const DEFER_ACCEPT).cast(),
                size_of_val(&DEFER_ACCEPT) as libc::socklen_t,
            )
        };
        Errno::result(result)?;
    }
    Ok(())
}

fn shown(socket: &Socket) -> String {
    let Ok(address) = socket.local_addr() else { return "an unknown address".to_owned() };
    if let Some(address) = address.as_socket() {
        // The words of Python's hospital, which scripts look for.
        return format!("{} port {}", address.ip(), address.port());
    }
    match (address.as_pathname(), address.as_abstract_namespace()) {
        (Some(path), _) => format!("unix:{}", path.display()),
        (None, Some(name)) => format!("unix:@{}", String::from_utf8_lossy(name)),
        (None, None) => "an unnamed unix socket".to_owned(),
    }
}

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

impl Listener {
    /// Whether we have to serve its backlog to the last when we stop.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.owner, Owner::Us(_))
    }

    /// Takes the next connection, non-blocking and close-on-exec.
    pub(crate) fn accept(&self) -> Accepted {
        // The flag belongs to the open file, so any process that shares it can clear it. Then, if another worker was
        // faster, accept would block until the next connection, with all our clients. Failing to set it makes nothing
        // worse.
        if !self.is_ours() {
            let _ = self.socket.set_nonblocking(true);
        }
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        match nix::sys::socket::accept4(self.socket.as_raw_fd(), flags) {
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
            // Another worker was faster, the client has left, or the network reports an error of that one connection
            // (accept(2)).
            Err(_) => Accepted::Nobody,
        }
    }

    /// [`Listener::accept`], for callers that need not know why there is no client.
    pub(crate) fn accept_client(&self) -> Option<Socket> {
        match self.accept() {
            Accepted::Client(socket) => Some(socket),
            Accepted::Nobody | Accepted::Exhausted(_) | Accepted::Forbidden(_) | Accepted::Broken(_) => None,
        }
    }

    /// Adds it to an epoll set so that each connection wakes one worker.
    ///
    /// mio registers edge-triggered and not exclusively, which wakes every worker for each connection; so listeners,
    /// and only they, are added by hand: level-triggered, with EPOLLEXCLUSIVE.
    pub(crate) fn watch(&self, epoll: &impl AsRawFd, token: usize) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        let mut event = libc::epoll_event { events: flags.bits() as u32, u64: token as u64 };
        // SAFETY: both descriptors are open for the call, and the event outlives it.
        let result =
            unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, self.socket.as_raw_fd(), &raw mut event) };
        Errno::result(result)?;
        Ok(())
    }

    /// Removes it from an epoll set. An exclusive entry cannot be modified, only deleted and added again.
    pub(crate) fn unwatch(&self, epoll: &impl AsRawFd) -> io::Result<()> {
        // SAFETY: both descriptors are open for the call; DEL reads no event (epoll_ctl(2)).
        let result = unsafe {
            libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, self.socket.as_raw_fd(), std::ptr::null_mut())
        };
        Errno::result(result)?;
        Ok(())
    }

    /// Lets no new connection begin on a TCP socket that we bound, while those that have begun are still served. A
    /// client that tries is then refused when the socket is closed; otherwise it would be reset after sending its
    /// request.
    pub(crate) fn refuse_newcomers(&self) {
        const FLAGS: u32 = 13; // the offset of the flags in a TCP header: RFC 9293, 3.1
        const SYN: u32 = 0x02;
        const SYN_OR_ACK: u32 = 0x12;
        let op = |code: u32, k: u32, otherwise: u8| SockFilter::new(code as u16, 0, otherwise, k);
        let only_established = [
            op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, FLAGS, 0),
            op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, SYN_OR_ACK, 0),
            op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, SYN, 1),
            op(libc::BPF_RET | libc::BPF_K, 0, 0),
            op(libc::BPF_RET | libc::BPF_K, u32::MAX, 0),
        ];
        if self.is_ours()
            && self.socket.domain().is_ok_and(|domain| domain != Domain::UNIX)
            && let Err(error) = self.socket.attach_filter(&only_established)
        {
            tracing::debug!(%error, "newcomers cannot be refused");
        }
    }

    /// Deletes the file of a unix socket, if it is still the one that we made. The master does this at its end.
    pub(crate) fn remove_file(&self) {
        if let Owner::Us(Some(SocketFile { path, inode, .. })) = &self.owner
            && std::fs::symlink_metadata(path).is_ok_and(|file| (file.dev(), file.ino()) == *inode)
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove the socket file");
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
