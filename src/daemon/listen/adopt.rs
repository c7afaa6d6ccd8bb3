//! Sockets that a parent left open: examined, refused with a reason, or taken over.

use std::fs::File;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;

use socket2::{Domain, Socket, Type};

use super::{Listener, Owner, prepare, shown};
use crate::error::Error;
use crate::os::descriptors;

/// Takes over a socket. `what` begins each error message: it names the descriptor and where its number came from.
pub(super) fn take(fd: RawFd, what: &str, backlog: i32) -> Result<Listener, Error> {
    let refuse = |why: &str| Error::Socket(format!("{what} {why}"));
    let file = descriptors::adopt(fd).map(File::from).map_err(|error| match descriptors::is_closed(&error) {
        true => refuse("is not open: the parent has to leave it open (under circus: use_sockets = True)"),
        false => refuse(&format!("cannot be taken over: {error}")),
    })?;
    let unreadable = |error| refuse(&format!("cannot be examined: {error}"));
    let kind = file.metadata().map_err(unreadable)?.file_type();
    if !kind.is_socket() {
        let kind = match () {
            () if kind.is_file() => "a regular file",
            () if kind.is_fifo() => "a pipe",
            () if kind.is_dir() => "a directory",
            () if kind.is_char_device() => "a terminal or another device",
            () => "not a socket",
        };
        return Err(refuse(&format!("is {kind}: give the number of a listening socket")));
    }
    let socket = Socket::from(OwnedFd::from(file));
    validate(&socket, what)?;
    if !socket.is_listener().map_err(unreadable)? {
        socket.listen(backlog).map_err(|error| refuse(&format!("cannot listen: {error}")))?;
    }
    prepare(&socket).map_err(|error| refuse(&format!("cannot be prepared: {error}")))?;
    Ok(Listener { name: shown(&socket), socket, owner: Owner::Other })
}

fn validate(socket: &Socket, what: &str) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::Socket(format!("{what} {why}")));
    match socket.r#type() {
        Ok(Type::STREAM) => {}
        Ok(Type::DGRAM) => return refuse("is a datagram socket: HTTP needs a stream socket (SOCK_STREAM)"),
        Ok(Type::SEQPACKET) => return refuse("is a seqpacket socket: HTTP needs a stream socket (SOCK_STREAM)"),
        _ => return refuse("is not a stream socket: HTTP needs SOCK_STREAM"),
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
