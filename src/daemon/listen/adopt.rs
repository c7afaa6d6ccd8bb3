//! Sockets that a parent left open: examined, refused with a reason, or taken over.

use std::os::fd::{BorrowedFd, RawFd};

use nix::sys::stat::{SFlag, fstat};
use socket2::{Domain, Socket, Type};

use super::{Listener, Owner, prepare, shown};
use crate::error::Error;
use crate::os::descriptors;

/// Takes over a socket. `what` begins each error message: it names the descriptor and where its number came from.
pub(super) fn inherit(fd: RawFd, what: &str, backlog: i32) -> Result<Listener, Error> {
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
    let owned = descriptors::adopt(fd).map_err(|error| refuse(&format!("cannot be taken over: {error}")))?;
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
