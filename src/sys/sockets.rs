//! Listening sockets: bound by us or left open by a parent, validated, and given back in order.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::SockFlag;
use nix::sys::stat::{SFlag, fstat};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{process, systemd};
use crate::address::Address;
use crate::error::Error;

/// How long the kernel holds a connection back that has sent nothing yet, in seconds.
static DEFER_ACCEPT: libc::c_int = 5;

/// The user and group that the file of a unix socket is given to; `None` leaves it as it is.
pub(crate) type FileOwner = (Option<u32>, Option<u32>);

/// A listening stream socket, non-blocking and close-on-exec.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    /// As it is shown: the address that it is really bound to.
    name: String,
    owner: Owner,
}

#[derive(Debug)]
enum Owner {
    /// We bound it: its backlog is ours to serve to the last.
    Us(Option<SocketFile>),
    /// A parent or a sibling goes on accepting when we stop.
    Other,
}

/// The file of a unix socket that we bound: its path, which file it is, and the lock that says so.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
    _lock: File,
}

/// Opens all that is asked for: inherited descriptors, else what systemd passed, else what to bind.
///
/// # Errors
///
/// [`Error::Socket`] with one line a cause; nothing stays bound.
pub(crate) fn open(addresses: &[Address], backlog: i32, owner: FileOwner) -> Result<Vec<Listener>, Error> {
    let passed = systemd::passed_sockets().map_err(|error| {
        Error::Socket(format!("LISTEN_FDS={:?}: {error}: start hospital from its socket unit", env("LISTEN_FDS")))
    })?;
    // Before anything of ours is open, and after systemd's were counted.
    process::close_all_on_exec().map_err(|error| Error::Socket(format!("cannot tidy up descriptors: {error}")))?;
    let inherits = addresses.iter().any(|address| matches!(address, Address::Fd(_)));
    if !passed.is_empty() && !inherits {
        return passed
            .iter()
            .map(|(fd, name)| inherit(*fd, &format!("LISTEN_FDS passes descriptor {fd} ({name:?}), which"), backlog))
            .collect();
    }
    let mut seen = Vec::new();
    addresses
        .iter()
        .map(|address| match address {
            Address::Fd(fd) if seen.contains(fd) => {
                Err(Error::Socket(format!("--fd {fd} is given twice: name each socket once")))
            }
            Address::Fd(fd) => {
                seen.push(*fd);
                inherit(*fd, &format!("--fd {fd}"), backlog)
            }
            Address::Tcp { host, port } => bind_tcp(host, *port, backlog),
            Address::Unix(path) => bind_unix(path, backlog, owner),
            Address::Abstract(name) => bind_abstract(name, backlog),
        })
        .collect()
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

// --- sockets that a parent left open ---------------------------------------------------------------

/// Takes over a socket. `what` begins each message: which descriptor, and who named it.
fn inherit(fd: RawFd, what: &str, backlog: i32) -> Result<Listener, Error> {
    let refuse = |why: &str| Error::Socket(format!("{what} {why}"));
    // SAFETY: borrowed for this call, which finds out whether it is open at all.
    let kind = match fstat(unsafe { BorrowedFd::borrow_raw(fd) }) {
        Ok(stat) => SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT,
        Err(_) => {
            return Err(refuse("is not open: the parent has to leave it open (under circus: use_sockets = True)"));
        }
    };
    if kind != SFlag::S_IFSOCK {
        let kind = match kind {
            SFlag::S_IFREG => "a regular file",
            SFlag::S_IFIFO => "a pipe",
            SFlag::S_IFDIR => "a directory",
            SFlag::S_IFCHR => "a terminal or another device",
            _ => "no socket",
        };
        return Err(refuse(&format!("is {kind}: give the number of a listening socket")));
    }
    let owned = process::adopt(fd).map_err(|error| refuse(&format!("cannot be taken over: {error}")))?;
    let socket = Socket::from(owned);
    let checked = validate(&socket, what).and_then(|()| {
        let listens = socket.is_listener().map_err(|error| refuse(&format!("cannot be examined: {error}")))?;
        if !listens {
            socket.listen(backlog).map_err(|error| refuse(&format!("cannot listen: {error}")))?;
        }
        prepare(&socket).map_err(|error| refuse(&format!("cannot be prepared: {error}")))
    });
    match checked {
        Ok(()) => Ok(Listener { name: shown(&socket), socket, owner: Owner::Other }),
        Err(error) => Err(error),
    }
}

fn validate(socket: &Socket, what: &str) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::Socket(format!("{what} {why}")));
    match socket.r#type() {
        Ok(Type::STREAM) => {}
        Ok(Type::DGRAM) => return refuse("is a datagram socket: HTTP needs a stream socket (SOCK_STREAM)"),
        Ok(Type::SEQPACKET) => return refuse("is a seqpacket socket: HTTP needs a stream socket (SOCK_STREAM)"),
        _ => return refuse("is no stream socket: HTTP needs SOCK_STREAM"),
    }
    match socket.domain() {
        Ok(Domain::IPV4 | Domain::IPV6 | Domain::UNIX) => {}
        _ => return refuse("is of a family that is not served: use IPv4, IPv6 or unix"),
    }
    if socket.peer_addr().is_ok() {
        return refuse("is a connected socket: give the listening one (with inetd, use wait = yes)");
    }
    match socket.local_addr() {
        Ok(address) if address.is_unnamed() || address.as_socket().is_some_and(|address| address.port() == 0) => {
            refuse("is not bound to an address: the parent has to bind it first")
        }
        Ok(_) => Ok(()),
        Err(error) => refuse(&format!("cannot be examined: {error}")),
    }
}

// --- sockets that we bind --------------------------------------------------------------------------

fn bind_tcp(host: &str, port: u16, backlog: i32) -> Result<Listener, Error> {
    let address = (host, port).to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(|| {
        Error::Socket(format!("--bind {host}:{port}: {host:?} is no address and no name that can be looked up"))
    })?;
    let bound = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // So that 0.0.0.0 and [::] can be bound side by side on one port.
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        prepare(&socket)?;
        socket.listen(backlog)?;
        Ok(socket)
    };
    let socket = bound().map_err(|error| Error::Socket(refused(address, &error)))?;
    Ok(Listener { name: shown(&socket), socket, owner: Owner::Us(None) })
}

fn refused(address: SocketAddr, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there: see `ss -ltnp`, stop it, or choose another port",
        io::ErrorKind::AddrNotAvailable => "no interface of this host has that address: see `ip address`",
        io::ErrorKind::PermissionDenied => "ports below 1024 need root or CAP_NET_BIND_SERVICE",
        _ => "the kernel refuses it",
    };
    format!("cannot listen on {address}: {error}: {advice}")
}

fn bind_unix(path: &Path, backlog: i32, owner: FileOwner) -> Result<Listener, Error> {
    let refuse = |why: String| Error::Socket(format!("cannot listen on unix:{}: {why}", path.display()));
    let lock = lock_beside(path).map_err(&refuse)?;
    clear_way(path).map_err(&refuse)?;
    let bound = || -> io::Result<(Socket, (u64, u64))> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        std::os::unix::fs::chown(path, owner.0, owner.1)?;
        prepare(&socket)?;
        socket.listen(backlog)?;
        let file = std::fs::symlink_metadata(path)?;
        Ok((socket, (file.dev(), file.ino())))
    };
    let (socket, inode) = bound().map_err(|error| refuse(error.to_string()))?;
    let file = SocketFile { path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()), inode, _lock: lock };
    Ok(Listener { name: format!("unix:{}", path.display()), socket, owner: Owner::Us(Some(file)) })
}

/// Holds `PATH.lock`, so that of two servers that start at once one waits for neither and gives up.
/// The lock goes with the last process that has it open; its file stays, as deleting it would race.
fn lock_beside(path: &Path) -> Result<File, String> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&name)
        .map_err(|error| format!("its lock {} cannot be opened: {error}", Path::new(&name).display()))?;
    file.try_lock().map_err(|_| "another server holds it: stop that one, or choose another path".to_owned())?;
    Ok(file)
}

/// Deletes the socket file of a server that is dead; refuses anything else that stands there.
fn clear_way(path: &Path) -> Result<(), String> {
    let Ok(file) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !file.file_type().is_socket() {
        return Err("a file that is no socket stands there: move it away, or choose another path".to_owned());
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| format!("a dead server's socket cannot be removed: {error}"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("a socket stands there that cannot be probed: {error}")),
        Ok(_) => Err("a live server holds it: stop that one, or choose another path".to_owned()),
    }
}

fn bind_abstract(name: &str, backlog: i32) -> Result<Listener, Error> {
    let bound = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(format!("\0{name}"))?)?;
        prepare(&socket)?;
        socket.listen(backlog)?;
        Ok(socket)
    };
    let socket = bound().map_err(|error| Error::Socket(format!("cannot listen on unix:@{name}: {error}")))?;
    Ok(Listener { name: format!("unix:@{name}"), socket, owner: Owner::Us(None) })
}

/// What every listener needs, whoever bound it.
fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_cloexec(true)?;
    socket.set_nonblocking(true)?;
    if socket.domain()? != Domain::UNIX {
        // A connection comes to us with its request, so that it can be answered in one go: tcp(7).
        // SAFETY: the option's value is a live int of the length that is given.
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
        // The words of the origin, which scripts look for.
        return format!("{} port {}", address.ip(), address.port());
    }
    match (address.as_pathname(), address.as_abstract_namespace()) {
        (Some(path), _) => format!("unix:{}", path.display()),
        (None, Some(name)) => format!("unix:@{}", String::from_utf8_lossy(name)),
        (None, None) => "an unnamed unix socket".to_owned(),
    }
}

/// What a try to accept came to.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// A connection.
    Client(Socket),
    /// Nothing, this time.
    Nobody,
    /// The machine has no descriptor or no memory for it.
    Exhausted(io::Error),
    /// This listener will never work again.
    Broken(io::Error),
}

impl Listener {
    /// Whether its backlog is ours to serve to the last when we stop.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.owner, Owner::Us(_))
    }

    /// Takes the next connection, non-blocking and close-on-exec.
    pub(crate) fn accept(&self) -> Accepted {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        match nix::sys::socket::accept4(self.socket.as_raw_fd(), flags) {
            // SAFETY: the kernel has just made it, for us alone.
            Ok(fd) => Accepted::Client(Socket::from(unsafe { OwnedFd::from_raw_fd(fd) })),
            Err(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS)) => {
                Accepted::Exhausted(errno.into())
            }
            Err(errno @ (Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK | Errno::EOPNOTSUPP | Errno::EFAULT)) => {
                Accepted::Broken(errno.into())
            }
            // Another worker was faster, the client has left, or the network reports an error of that one
            // connection (accept(2)).
            Err(_) => Accepted::Nobody,
        }
    }

    /// Adds it to an epoll set so that one worker at a time is woken for a connection.
    ///
    /// mio registers edge-triggered and not exclusively, which wakes every worker for each
    /// connection; so the listener alone is added by hand: level-triggered, EPOLLEXCLUSIVE.
    pub(crate) fn watch(&self, epoll: &impl AsRawFd, token: usize) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        let mut event = libc::epoll_event { events: flags.bits() as u32, u64: token as u64 };
        // SAFETY: both descriptors are open for the call, and the event outlives it.
        let result =
            unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, self.socket.as_raw_fd(), &raw mut event) };
        Errno::result(result)?;
        Ok(())
    }

    /// Takes it out of an epoll set. An exclusive one cannot be modified, only deleted and added.
    pub(crate) fn unwatch(&self, epoll: &impl AsRawFd) -> io::Result<()> {
        // SAFETY: both descriptors are open for the call; DEL reads no event (epoll_ctl(2)).
        let result = unsafe {
            libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, self.socket.as_raw_fd(), std::ptr::null_mut())
        };
        Errno::result(result)?;
        Ok(())
    }

    /// Deletes the file of a unix socket, if it is still the one that we made. For the master, at its end.
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
