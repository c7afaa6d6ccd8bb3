//! Sockets that keep packets apart and take descriptors along: how we talk to a process that serves many of us.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recv, recvmsg, sendmsg,
    socketpair,
};

use super::descriptors::{Ready, retry, wait};
use super::pidfd::PidFd;

/// The longest packet that is read.
const LONGEST: usize = 64 * 1024;

/// One end of a pair.
#[derive(Debug)]
pub(crate) struct Packets(OwnedFd);

/// What waiting for a packet came to.
#[derive(Debug)]
pub(crate) enum Incoming {
    Packet(Vec<u8>),
    /// Nobody can send any more.
    End,
    /// None came in time.
    Nothing,
}

impl Packets {
    /// Two ends that do not survive an exec.
    pub(crate) fn pair() -> io::Result<(Packets, Packets)> {
        let (one, other) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )?;
        Ok((Packets(one), Packets(other)))
    }

    /// Under its number there is another end from now on.
    pub(crate) fn turn_into(&self, other: &Packets) -> io::Result<()> {
        // SAFETY: both are open; the kernel closes what ours was, and everybody who has its number means the new one.
        let result = unsafe { libc::dup3(other.0.as_raw_fd(), self.0.as_raw_fd(), libc::O_CLOEXEC) };
        Ok(Errno::result(result).map(drop)?)
    }

    /// Sends a packet, and a descriptor with it, as soon as there is room.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] when there is none in time.
    pub(crate) fn send(&self, packet: &[u8], with: Option<BorrowedFd<'_>>, deadline: Instant) -> io::Result<()> {
        let fds: Vec<_> = with.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let control = if fds.is_empty() { &[][..] } else { &rights[..] };
        loop {
            let sent =
                sendmsg::<UnixAddr>(self.0.as_raw_fd(), &[IoSlice::new(packet)], control, MsgFlags::MSG_NOSIGNAL, None);
            match sent {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if Instant::now() < deadline => wait(&self.0, Ready::ToWrite, deadline)?,
                Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The end that came with the next packet, if there is a packet with one now.
    pub(crate) fn take_enclosed(&self) -> io::Result<Option<Packets>> {
        let mut buffer = vec![0; LONGEST];
        let mut space = nix::cmsg_space!(RawFd);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let received = match recvmsg::<UnixAddr>(self.0.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Err(Errno::EAGAIN) => return Ok(None),
            received => received?,
        };
        let fds = received.cmsgs()?.flat_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => fds,
            _ => Vec::new(),
        });
        // SAFETY: the kernel has just made these for us, and nothing else knows them.
        let fds: Vec<_> = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect();
        Ok(fds.into_iter().next().map(Packets))
    }

    /// The next packet, when it is there.
    pub(crate) fn receive(&self, deadline: Instant) -> io::Result<Incoming> {
        let mut buffer = vec![0; LONGEST];
        loop {
            match retry(|| Ok(recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?)) {
                Ok(0) => return Ok(Incoming::End),
                Ok(length) => {
                    buffer.truncate(length);
                    return Ok(Incoming::Packet(buffer));
                }
                // Its end had packets of ours that were not read.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Incoming::End),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if Instant::now() >= deadline => return Ok(Incoming::Nothing),
                Err(_) => wait(&self.0, Ready::ToRead, deadline)?,
            }
        }
    }
}

impl Packets {
    /// The next packet of what that process answers: it may die before it has taken over the other end.
    pub(crate) fn receive_from(&self, process: &PidFd, deadline: Instant) -> io::Result<Incoming> {
        loop {
            // Asked before the packets are: if it has ended by now, all that it sent is there.
            let has_ended = process.has_ended();
            match self.receive(Instant::now())? {
                Incoming::Nothing if has_ended => return Ok(Incoming::End),
                Incoming::Nothing if Instant::now() < deadline => process.wait_with(vec![self.0.as_fd()], deadline)?,
                received => return Ok(received),
            }
        }
    }
}

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn packets_stay_apart_and_end_with_their_sender() {
        let (one, other) = Packets::pair().expect("there are descriptors");
        for text in ["first", "second"] {
            one.send(text.as_bytes(), None, soon()).expect("there is room");
        }
        drop(one);
        for text in ["first", "second"] {
            let Ok(Incoming::Packet(packet)) = other.receive(soon()) else { panic!("{text} was sent") };
            assert_eq!(packet, text.as_bytes());
        }
        assert!(matches!(other.receive(soon()), Ok(Incoming::End)));
    }

    #[test]
    fn nothing_is_waited_for_after_the_deadline() {
        let (one, other) = Packets::pair().expect("there are descriptors");
        assert!(matches!(other.receive(Instant::now()), Ok(Incoming::Nothing)));
        let full = (0..100_000).find_map(|_| one.send(b"x", None, Instant::now()).err()).expect("nobody reads");
        assert_eq!(full.kind(), io::ErrorKind::TimedOut);
    }
}
