//! Sockets that we bind: TCP, unix sockets in the file system under a lock, and abstract ones.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt, lchown};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{Listener, Owner, SocketFile, prepare, shown};
use crate::error::Error;
use crate::os::filesystem::{FileOwner, absolute, open_locked};

/// `is_shared`: other addresses have the same port.
pub(super) fn tcp(host: &str, port: u16, backlog: i32, is_shared: bool) -> Result<Listener, Error> {
    let address = (host, port).to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(|| {
        Error::Socket(format!("--bind {host}:{port}: {host:?} is neither an address nor a name that can be looked up"))
    })?;
    let bound = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // [::] is every address, of IPv4 too, unless that would keep 0.0.0.0 from being bound to the same port.
            socket.set_only_v6(is_shared)?;
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

pub(super) fn unix(path: &Path, backlog: i32, owner: FileOwner) -> Result<Listener, Error> {
    let refuse = |why: String| Error::Socket(format!("cannot listen on unix:{}: {why}", path.display()));
    // Checked before locking, too: a lock beside a file that is not ours, such as /etc/passwd.lock, would lock out the
    // programs that use that name.
    is_vacant(path).map_err(&refuse)?;
    let lock = lock_beside(path).map_err(&refuse)?;
    clear_way(path).map_err(&refuse)?;
    let bound = || -> io::Result<(Socket, (u64, u64))> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // If somebody has put a link in its place by now, its target is not ours.
        lchown(path, owner.0, owner.1)?;
        prepare(&socket)?;
        socket.listen(backlog)?;
        let file = std::fs::symlink_metadata(path)?;
        Ok((socket, (file.dev(), file.ino())))
    };
    let (socket, inode) = bound().map_err(|error| refuse(error.to_string()))?;
    let file = SocketFile { path: absolute(path), inode, lock };
    Ok(Listener { name: format!("unix:{}", path.display()), socket, owner: Owner::Us(Some(file)) })
}

/// Holds `PATH.lock`: of two servers that start at once, the second gives up without waiting. The lock ends with the
/// last process that has it open.
fn lock_beside(path: &Path) -> Result<File, String> {
    let lock = lock_path(path);
    open_locked(&lock).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => "another server holds it: stop that one, or choose another path".to_owned(),
        io::ErrorKind::PermissionDenied => {
            format!("its lock {} belongs to another user: remove it if no server runs there", lock.display())
        }
        _ => format!("its lock {} cannot be opened: {error}", lock.display()),
    })
}

/// Where the lock of a unix socket is.
pub(super) fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Whether there is nothing at this path; refuses what is not a socket.
fn is_vacant(path: &Path) -> Result<bool, String> {
    match std::fs::symlink_metadata(path) {
        Err(_) => Ok(true),
        Ok(file) if file.file_type().is_socket() => Ok(false),
        Ok(_) => Err("a file that is not a socket stands there: move it away, or choose another path".to_owned()),
    }
}

/// Deletes the socket file of a dead server; refuses anything else at this path.
fn clear_way(path: &Path) -> Result<(), String> {
    if is_vacant(path)? {
        return Ok(());
    }
    // Non-blocking, so as not to wait for a live server whose backlog is full.
    let probe = || -> io::Result<()> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    match probe() {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| format!("a dead server's socket cannot be removed: {error}"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
            Err(format!("a socket stands there that cannot be probed: {error}"))
        }
        _ => Err("a live server holds it: stop that one, or choose another path".to_owned()),
    }
}

pub(super) fn r#abstract(name: &str, backlog: i32) -> Result<Listener, Error> {
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
