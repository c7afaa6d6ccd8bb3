//! The network namespace of this process, and its interfaces.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrStorage, bind, getsockname, socket};

/// An interface, as the kernel shows it to us.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Interface {
    /// Whether somebody has switched it on.
    pub(crate) is_up: bool,
    /// Whether it can carry packets, which needs a cable, or whatever stands for one.
    pub(crate) is_running: bool,
    pub(crate) addresses: Vec<IpAddr>,
}

/// The interface of this name in our network namespace.
pub(crate) fn interface(name: &str) -> io::Result<Option<Interface>> {
    let mut found: Option<Interface> = None;
    // An entry for each address, and one for the link itself.
    for entry in getifaddrs()?.filter(|entry| entry.interface_name == name) {
        let interface = found.get_or_insert(Interface {
            is_up: entry.flags.contains(InterfaceFlags::IFF_UP),
            is_running: entry.flags.contains(InterfaceFlags::IFF_RUNNING),
            addresses: Vec::new(),
        });
        interface.addresses.extend(entry.address.as_ref().and_then(ip));
    }
    Ok(found)
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
}

/// A port of the loopback interface that is taken for as long as the first is kept, and where nobody listens.
pub(crate) fn taken_port() -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0))?;
    let address: SockaddrIn = getsockname(socket.as_raw_fd())?;
    Ok((socket, SocketAddr::V4(address.into())))
}

/// The address of ours from which another is reached: no packet is sent for that.
pub(crate) fn way_to(address: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // No port is asked for, but the kernel wants one.
    socket.connect((address.ip(), address.port().max(1)))?;
    Ok(socket.local_addr()?.ip())
}

/// What the kernel tells of a connection of TCP (`struct tcp_info` in linux/tcp.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpState {
    /// What we have sent was sent again and again, and is not acknowledged.
    pub(crate) is_unheard: bool,
    /// Packets have come that others before them were missing of.
    pub(crate) has_gaps: bool,
    /// Each packet says when it was sent, which takes 12 bytes.
    pub(crate) has_timestamps: bool,
}

/// The state of a connection; `None`: it is not of TCP.
pub(crate) fn tcp(connection: &impl AsFd) -> Option<TcpState> {
    const RETRANSMITS: usize = 2;
    const OPTIONS: usize = 5;
    const UNACKED: usize = 24;
    // Since Linux 5.4; before, it stays zero.
    const RCV_OOOPACK: usize = 224;
    const LENGTH: usize = RCV_OOOPACK + 4;
    const TIMESTAMPS: u8 = 1;
    let (mut info, mut length) = ([0; LENGTH], LENGTH as libc::socklen_t);
    let fd = connection.as_fd().as_raw_fd();
    // SAFETY: the kernel writes as many bytes as it is told that there is room for.
    let result =
        unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut length) };
    nix::errno::Errno::result(result).ok()?;
    let is_any = |at: usize| info[at..at + 4] != [0; 4];
    Some(TcpState {
        is_unheard: is_any(UNACKED) && info[RETRANSMITS] > 1,
        has_gaps: is_any(RCV_OOOPACK),
        has_timestamps: info[OPTIONS] & TIMESTAMPS != 0,
    })
}

/// The largest packet that an interface carries, in bytes.
pub(crate) fn mtu(name: &str) -> io::Result<u32> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    // SAFETY: all zeroes are a value of this plain struct of C.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: the request is ours, and its name ends with a zero, as it is shorter than its room.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as _, &mut request) };
    nix::errno::Errno::result(answer)?;
    // SAFETY: SIOCGIFMTU has filled this member of the union.
    u32::try_from(unsafe { request.ifr_ifru.ifru_mtu }).map_err(io::Error::other)
}

/// What our network namespace is to the others on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkNamespace {
    /// That of the host.
    Hosts,
    /// That of process 1, as in a container.
    Containers,
    /// Another than that of process 1, as with PrivateNetwork=yes.
    OfItsOwn,
    /// One that we may not compare.
    Unknown,
}

impl NetworkNamespace {
    /// That of this process.
    pub(crate) fn ours() -> NetworkNamespace {
        // The kernel shows this setting of the whole host in its first network namespace only.
        if Path::new("/proc/sys/net/core/netdev_max_backlog").exists() {
            return NetworkNamespace::Hosts;
        }
        let inode = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/net")).map(|found| found.ino());
        match (inode("self"), inode("1")) {
            (Ok(ours), Ok(first)) if ours == first => NetworkNamespace::Containers,
            (Ok(_), Ok(_)) => NetworkNamespace::OfItsOwn,
            (Err(_), _) | (_, Err(_)) => NetworkNamespace::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_well_has_lost_nothing() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = std::net::TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let well = TcpState { is_unheard: false, has_gaps: false, has_timestamps: true };
        assert_eq!(tcp(&client), Some(well));
        assert_eq!(tcp(&UdpSocket::bind("127.0.0.1:0").expect("a free port")), None);
    }

    #[test]
    fn the_loopback_interface_is_known_by_its_address_and_size() {
        let found = interface("lo").expect("they are listed").expect("each namespace has one");
        assert!(found.is_up && found.addresses.contains(&IpAddr::from([127, 0, 0, 1])), "{found:?}");
        assert!(mtu("lo").expect("it has one") >= 1280);
        assert_eq!(interface("no-such").expect("they are listed"), None);
        assert!(mtu("no-such").is_err() && mtu("a-name-that-is-too-long").is_err());
    }
}
