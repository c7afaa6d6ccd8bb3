//! A process in namespaces of its own: an empty network, mounts that nobody else sees. They go away with the last process
//! in them, so nothing has to be undone.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType};
use nix::unistd::Pid;
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};

use super::identity;

/// What cannot be confined, and what would allow it.
#[derive(Debug)]
pub(crate) struct Denied {
    pub(crate) what: &'static str,
    pub(crate) error: io::Error,
}

/// Enters new namespaces, of the network too if that is wanted. As root, or whoever may, directly; everybody else through a user namespace. Returns whether
/// users other than our own have no name in it.
pub(crate) fn enter(with_network: bool) -> Result<bool, Denied> {
    let denied = |what: &'static str| move |error: Errno| Denied { what, error: error.into() };
    let network = if with_network { CloneFlags::CLONE_NEWNET } else { CloneFlags::empty() };
    let own = network | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC;
    if unshare(own).is_ok() {
        return Ok(false);
    }
    let (user, group) = (identity::effective_user(), identity::effective_group());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(denied("a user namespace"))?;
    let mapped = fs::write("/proc/self/setgroups", "deny")
        .and_then(|()| fs::write("/proc/self/uid_map", format!("{user} {user} 1")))
        .and_then(|()| fs::write("/proc/self/gid_map", format!("{group} {group} 1")));
    mapped.map_err(|error| Denied { what: "a user namespace", error })?;
    unshare(own).map_err(denied("namespaces of network and mounts"))?;
    Ok(true)
}

/// Switches the loopback interface on, and has every address in the world lead to it: whatever is connected to is answered
/// by this network, if something listens here, and refused by it if not.
pub(crate) fn own_all_addresses() -> io::Result<()> {
    let socket = nix::sys::socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        nix::sys::socket::SockProtocol::NetlinkRoute,
    )?;
    let index = 1u32;
    // struct ifinfomsg: a link that is up.
    let up = libc::IFF_UP as u32;
    let link = [&[0u8, 0, 0, 0][..], &index.to_ne_bytes(), &up.to_ne_bytes(), &up.to_ne_bytes()].concat();
    ask(socket.as_raw_fd(), libc::RTM_NEWLINK, 0, &link)?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        // struct rtmsg: to any address, of the table `local`, of the type `local`; RTA_OIF: by this interface.
        let to_here = libc::RTN_LOCAL;
        let scope = if family == libc::AF_INET { libc::RT_SCOPE_HOST } else { libc::RT_SCOPE_UNIVERSE };
        let head = [family as u8, 0, 0, 0, libc::RT_TABLE_LOCAL, libc::RTPROT_BOOT, scope, to_here, 0, 0, 0, 0];
        let attribute = [8u16.to_ne_bytes(), libc::RTA_OIF.to_ne_bytes()].concat();
        let route = [&head[..], &attribute, &index.to_ne_bytes()].concat();
        let create = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
        match ask(socket.as_raw_fd(), libc::RTM_NEWROUTE, create, &route) {
            // A kernel without IPv6.
            Err(error) if family == libc::AF_INET6 => tracing::debug!("IPv6 is not drilled: {error}"),
            other => other?,
        }
    }
    Ok(())
}

/// One's own echo would answer a ping in an empty network.
pub(crate) fn answer_no_ping() {
    // Where /proc/sys cannot be written, loopback answers still.
    let _ = fs::write("/proc/sys/net/ipv4/icmp_echo_ignore_all", "1");
    let _ = fs::write("/proc/sys/net/ipv6/icmp/echo_ignore_all", "1");
}

/// Sends a request to the kernel, and waits for its answer (netlink(7)).
fn ask(socket: i32, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let length = u32::try_from(16 + body.len()).expect("it is short");
    let head = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &1u32.to_ne_bytes(), &[0; 4]];
    let message = [&head.concat(), body].concat();
    nix::sys::socket::send(socket, &message, nix::sys::socket::MsgFlags::empty())?;
    let mut answer = [0; 4096];
    let read = nix::sys::socket::recv(socket, &mut answer, nix::sys::socket::MsgFlags::empty())?;
    // struct nlmsgerr follows the head: a negative errno, or 0.
    let code = answer[..read].get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match code {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::other("the kernel's answer is too short")),
    }
}

/// From now on the host has this name, there is one processor, and no more than so many files may be open.
pub(crate) fn move_elsewhere(name: &str, files: u64) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWUTS)?;
    // SAFETY: the name is live for the call, and of this length.
    Errno::result(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })?;
    let (ourselves, mut one) = (Pid::from_raw(0), CpuSet::new());
    let all = sched_getaffinity(ourselves)?;
    let first = (0..CpuSet::count()).find(|&processor| all.is_set(processor).unwrap_or(false));
    one.set(first.unwrap_or_default())?;
    sched_setaffinity(ourselves, &one)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, files, files)?)
}

/// What could be laid over the files of the host.
#[derive(Debug)]
pub(crate) struct Overlay {
    /// The folders to which something can be written, and to nothing else.
    pub(crate) writable: Vec<PathBuf>,
    /// A folder in memory that nobody finds by its path, or why there is none.
    pub(crate) room: io::Result<fs::File>,
}

/// Has what is written to these folders go to memory of ours, while what is in them can be read.
///
/// # Errors
///
/// Why it cannot be done for one that is needed.
pub(crate) fn overlay(folders: &[PathBuf], needed: &[PathBuf]) -> io::Result<Overlay> {
    match lay(folders) {
        Err(error) if needed.is_empty() => Ok(Overlay { writable: Vec::new(), room: Err(error) }),
        Ok(done) if needed.iter().any(|folder| !done.writable.contains(folder)) => {
            Err(io::Error::other("an overlay cannot be mounted"))
        }
        done => done,
    }
}

/// Nothing can be written by any way, such as links or a descriptor, on all mounts but /proc, where processes have files of
/// their own. A kernel before 5.12 cannot do so.
fn make_read_only() -> io::Result<()> {
    // linux/fcntl.h: on all mounts below.
    const AT_RECURSIVE: libc::c_int = 0x8000;
    // struct mount_attr of linux/mount.h: to be set, to be cleared, propagation, user namespace.
    let set = |path: &std::ffi::CStr, flags: libc::c_int, attributes: [u64; 4]| {
        // SAFETY: path and attributes are live, and of the size that is given.
        Errno::result(unsafe {
            let size = std::mem::size_of_val(&attributes);
            libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, path.as_ptr(), flags, attributes.as_ptr(), size)
        })
    };
    set(c"/", AT_RECURSIVE, [libc::MOUNT_ATTR_RDONLY, 0, 0, 0])?;
    set(c"/proc", 0, [0, libc::MOUNT_ATTR_RDONLY, 0, 0])?;
    Ok(())
}

fn lay(folders: &[PathBuf]) -> io::Result<Overlay> {
    let named = |what: &'static str| move |error: Errno| io::Error::other(format!("{what}: {error}"));
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let none: Option<&str> = None;
    // In a chroot, the root is no mount: then what we mount might be seen outside.
    mount(none, "/", none, private, none).map_err(named("mount /"))?;
    // Where that is not known, who follows the calls is alone with it.
    if let Err(error) = make_read_only() {
        tracing::debug!("mounts stay writable: {error}");
    }
    let held: Vec<_> = folders.iter().filter_map(|folder| Some((folder, fs::File::open(folder).ok()?))).collect();
    let Some((base, _)) = held.first() else {
        return Err(io::Error::other("there is no folder for temporary files, such as /tmp"));
    };
    mount(Some("tmpfs"), *base, Some("tmpfs"), MsFlags::MS_NOSUID, Some("size=64m")).map_err(named("mount tmpfs"))?;
    let memory = fs::File::open(base)?;
    let room = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let mut writable = Vec::new();
    // The base last: it covers the room for all.
    for (index, (folder, held)) in held.iter().enumerate().rev() {
        let (upper, work) = (format!("{room}/{index}u"), format!("{room}/{index}w"));
        let made = fs::create_dir(&upper).and_then(|()| fs::create_dir(&work));
        let mode = held.metadata().map(|metadata| metadata.permissions());
        let made = made.and_then(|()| mode.and_then(|mode| fs::set_permissions(&upper, mode)));
        let options = format!("lowerdir=/proc/self/fd/{},upperdir={upper},workdir={work}", held.as_raw_fd());
        let options = |more: &str| format!("{options}{more}");
        let lay = |more| mount(Some("overlay"), *folder, Some("overlay"), MsFlags::empty(), Some(&*options(more)));
        if made.is_ok() && (lay(",userxattr").is_ok() || lay("").is_ok()) {
            writable.push((*folder).clone());
        }
    }
    Ok(Overlay { writable, room: Ok(memory) })
}

/// Gives up what could undo the confinement. A user other than root keeps no right at all.
pub(crate) fn drop_rights() -> io::Result<()> {
    const DANGEROUS: [u32; 16] = [
        9,  // CAP_LINUX_IMMUTABLE
        12, // CAP_NET_ADMIN
        16, // CAP_SYS_MODULE
        17, // CAP_SYS_RAWIO
        19, // CAP_SYS_PTRACE
        20, // CAP_SYS_PACCT
        21, // CAP_SYS_ADMIN
        22, // CAP_SYS_BOOT
        25, // CAP_SYS_TIME
        26, // CAP_SYS_TTY_CONFIG
        27, // CAP_MKNOD
        30, // CAP_AUDIT_CONTROL
        33, // CAP_MAC_ADMIN
        35, // CAP_WAKE_ALARM
        38, // CAP_PERFMON
        39, // CAP_BPF
    ];
    let is_root = identity::effective_user() == 0;
    let dropped = if is_root { DANGEROUS.iter().fold(0u64, |all, bit| all | 1 << bit) } else { u64::MAX };
    if is_root {
        for right in DANGEROUS {
            // SAFETY: the call takes numbers. A right that there is not cannot be dropped, and need not be.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, right, 0, 0, 0) };
        }
    }
    // struct __user_cap_header_struct and two of struct __user_cap_data_struct: capget(2).
    let mut header = [0x2008_0522u32, 0];
    let mut data = [0u32; 6];
    // SAFETY: both are live, and of the size that this version has.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), data.as_mut_ptr()) })?;
    for (word, mask) in [dropped as u32, (dropped >> 32) as u32].into_iter().enumerate() {
        data[word * 3..word * 3 + 3].iter_mut().for_each(|set| *set &= !mask);
    }
    // SAFETY: as above.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), data.as_mut_ptr()) })?;
    Ok(())
}

/// A listener at a port of all addresses, to which nothing ever gets through if `is_deaf`.
pub(crate) fn listen(port: u16, is_stream: bool, is_deaf: bool) -> io::Result<Socket> {
    let kind = if is_stream { Type::STREAM } else { Type::DGRAM };
    let protocol = if is_stream { Protocol::TCP } else { Protocol::UDP };
    let any = |domain, address: std::net::SocketAddr| -> io::Result<Socket> {
        let socket = Socket::new(domain, kind.cloexec().nonblocking(), Some(protocol))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(is_stream)?;
        if is_deaf {
            // BPF_RET 0: nothing is let through.
            socket.attach_filter(&[SockFilter::new(6, 0, 0, 0)])?;
        }
        socket.bind(&SockAddr::from(address))?;
        if is_stream {
            socket.listen(128)?;
        }
        Ok(socket)
    };
    any(Domain::IPV6, (std::net::Ipv6Addr::UNSPECIFIED, port).into())
        .or_else(|_| any(Domain::IPV4, (std::net::Ipv4Addr::UNSPECIFIED, port).into()))
}

/// A listener at an abstract unix socket.
pub(crate) fn listen_at(name: &str) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec().nonblocking(), None)?;
    socket.bind(&SockAddr::unix(Path::new(&format!("\0{name}")))?)?;
    socket.listen(128)?;
    Ok(socket)
}
