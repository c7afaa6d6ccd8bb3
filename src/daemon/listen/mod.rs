//! Which sockets we serve: those that were passed, else those that we bind; and what becomes of them at the end.

mod adopt;
mod bind;
mod handover;

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::{fmt, io};

use socket2::{Domain, Socket};

use crate::config::Settings;
use crate::config::address::Address;
use crate::error::Error;
use crate::os::filesystem::{FileOwner, remove_held};
use crate::os::sockets::{self, Accepted};
use crate::os::systemd;
pub(crate) use handover::{Handover, hand_over, take_over};

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
pub(crate) fn open(settings: &Settings, owner: FileOwner) -> Result<Vec<Listener>, Error> {
    let (addresses, backlog) = (settings.addresses(), settings.sockets.backlog);
    let passed = systemd::passed_sockets().map_err(|error| {
        let count = std::env::var("LISTEN_FDS").unwrap_or_default();
        Error::Socket(format!("LISTEN_FDS={count:?}: {error}: start hospital from its socket unit"))
    })?;
    // The inherited ones first: a number that the parent left closed would be given to the next socket that we bind.
    let (inherited, bound): (Vec<_>, Vec<_>) = addresses.iter().partition(|address| matches!(address, Address::Fd(_)));
    if !passed.is_empty() && inherited.is_empty() {
        let left: Vec<_> = settings.sockets.bind.iter().map(ToString::to_string).collect();
        if !left.is_empty() {
            tracing::warn!("LISTEN_FDS passes the sockets to serve: --bind {} is not bound", left.join(","));
        }
        let one = |(fd, name): &(RawFd, String)| {
            adopt::take(*fd, &format!("LISTEN_FDS passes descriptor {fd} ({name:?}), which"), backlog)
        };
        return passed.iter().map(one).collect();
    }
    if !passed.is_empty() {
        tracing::warn!("--fd names the sockets to serve: those that LISTEN_FDS passes are not served");
    }
    let mut listeners = Vec::new();
    for (index, address) in inherited.iter().chain(&bound).enumerate() {
        let listener = match address {
            Address::Fd(fd) if inherited[..index].contains(address) => {
                Err(Error::Socket(format!("--fd {fd} is given twice: name each socket once")))
            }
            Address::Fd(fd) => adopt::take(*fd, &format!("--fd {fd}"), backlog),
            Address::Tcp { host, port } => bind::tcp(host, *port, backlog, is_shared(*port, &addresses)),
            Address::Unix(path) => bind::unix(path, backlog, owner),
            Address::Abstract(name) => bind::r#abstract(name, backlog),
        };
        listeners.push(listener.inspect_err(|_| listeners.iter().for_each(Listener::remove_file))?);
    }
    Ok(listeners)
}

/// Whether several addresses have this port.
fn is_shared(port: u16, addresses: &[Address]) -> bool {
    addresses.iter().filter(|address| matches!(address, Address::Tcp { port: other, .. } if *other == port)).count() > 1
}

/// Sets what every listener needs, whoever bound it.
fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_cloexec(true)?;
    socket.set_nonblocking(true)?;
    if socket.domain()? != Domain::UNIX {
        // Only to save a wake-up: a sandbox may not know it.
        if let Err(error) = sockets::defer_accept(socket) {
            tracing::debug!(%error, "connections are delivered before their requests");
        }
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

impl Listener {
    /// Whether we have to serve its backlog to the last when we stop.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.owner, Owner::Us(_))
    }

    /// Where a client on this host reaches it, if it can be said.
    pub(crate) fn url(&self) -> Option<String> {
        let address = self.socket.local_addr().ok()?;
        if let Some(mut address) = address.as_socket() {
            match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
                IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
                IpAddr::V4(_) | IpAddr::V6(_) => {}
            }
            return Some(format!("http://{address}"));
        }
        (address.is_unix() && !address.is_unnamed()).then(|| shown(&self.socket))
    }

    /// Takes the next connection, non-blocking and close-on-exec.
    pub(crate) fn accept(&self) -> Accepted {
        // The flag belongs to the open file, so any process that shares it can clear it. Then, if another worker was
        // faster, accept would block until the next connection, with all our clients. Failing to set it makes nothing
        // worse.
        if !self.is_ours() {
            let _ = self.socket.set_nonblocking(true);
        }
        sockets::accept(&self.socket)
    }

    /// [`Listener::accept`], for callers that need not know why there is no client.
    pub(crate) fn accept_client(&self) -> Option<Socket> {
        match self.accept() {
            Accepted::Client(socket) => Some(socket),
            Accepted::Nobody | Accepted::Exhausted(_) | Accepted::Forbidden(_) | Accepted::Broken(_) => None,
        }
    }

    /// Adds it to an epoll set so that each connection wakes one worker.
    pub(crate) fn watch(&self, epoll: &impl AsRawFd, token: usize) -> io::Result<()> {
        sockets::watch(&self.socket, epoll, token)
    }

    /// Removes it from an epoll set.
    pub(crate) fn unwatch(&self, epoll: &impl AsRawFd) -> io::Result<()> {
        sockets::unwatch(&self.socket, epoll)
    }

    /// Lets no new connection begin on a TCP socket that we bound, while those that have begun are still served. A
    /// client that tries is then refused when the socket is closed; otherwise it would be reset after sending its
    /// request.
    pub(crate) fn refuse_newcomers(&self) {
        if self.is_ours()
            && self.socket.domain().is_ok_and(|domain| domain != Domain::UNIX)
            && let Err(error) = sockets::drop_newcomers(&self.socket)
        {
            tracing::debug!(%error, "newcomers cannot be refused");
        }
    }

    /// Deletes the file of a unix socket, if it is still the one that we made, and then its lock: the next server may run
    /// as another user. The master does this at its end.
    pub(crate) fn remove_file(&self) {
        let Owner::Us(Some(SocketFile { path, inode, lock })) = &self.owner else { return };
        let removed = match std::fs::symlink_metadata(path) {
            Ok(file) if (file.dev(), file.ino()) == *inode => std::fs::remove_file(path),
            _ => Ok(()),
        };
        if let Err(error) = removed.and_then(|()| remove_held(lock, &bind::lock_path(path))) {
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
