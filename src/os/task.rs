//! A task that a tracer has stopped: its memory, its descriptors, and what /proc tells of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// A stopped task of the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    /// Its number, which for the first thread of a process is the pid.
    pub(crate) tid: i32,
}

/// What a descriptor of a task is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Descriptor {
    Socket(String),
    Pipe(String),
    File(PathBuf),
    Other,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Stream,
    Datagram,
    /// ICMP, raw and packet sockets.
    Raw,
    /// To the kernel (netlink(7)).
    Kernel,
}

impl Task {
    /// Reads its memory; less where that ends.
    pub(crate) fn read(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let memory = File::open(format!("/proc/{}/mem", self.tid));
        let read = memory.and_then(|memory| memory.read_at(&mut bytes, at)).unwrap_or_default();
        bytes.truncate(read);
        bytes
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        File::options().write(true).open(format!("/proc/{}/mem", self.tid))?.write_all_at(bytes, at)
    }

    /// Reads a text that ends with a NUL.
    pub(super) fn text(&self, at: u64) -> Vec<u8> {
        const PAGE: u64 = 4096;
        let mut text = Vec::new();
        while text.len() < libc::PATH_MAX as usize {
            let from = at + text.len() as u64;
            let part = self.read(from, (PAGE - from % PAGE) as usize);
            match part.iter().position(|&byte| byte == 0) {
                Some(end) => {
                    text.extend_from_slice(&part[..end]);
                    break;
                }
                None if part.is_empty() => break,
                None => text.extend(part),
            }
        }
        text
    }

    /// What one of its links in /proc leads to: `cwd`, `exe`, `fd/3`.
    pub(crate) fn link(&self, name: &str) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/{name}", self.tid)).ok()
    }

    /// A variable of the environment that its program was started with.
    pub(crate) fn variable(&self, name: &str) -> Option<PathBuf> {
        let environment = std::fs::read(format!("/proc/{}/environ", self.tid)).ok()?;
        let found = |entry: &&[u8]| entry.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='));
        let entry = environment.split(|&byte| byte == 0).find(found)?;
        Some(PathBuf::from(OsStr::from_bytes(&entry[name.len() + 1..])))
    }

    /// Where an absolute path leads for it, with all links followed.
    pub(crate) fn real(&self, path: &Path) -> PathBuf {
        const MOST_LINKS: usize = 40;
        let (mut real, mut links) = (PathBuf::from("/"), 0);
        let mut rest: Vec<_> = path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
        while let Some(part) = rest.pop() {
            match part.as_bytes() {
                b"/" => real = PathBuf::from("/"),
                b"." => {}
                b".." => _ = real.pop(),
                // It would be ours.
                b"self" if real == Path::new("/proc") => real.push(self.process().to_string()),
                b"thread-self" if real == Path::new("/proc") => {
                    real.push(format!("{}/task/{}", self.process(), self.tid));
                }
                _ => {
                    real.push(&part);
                    let link = std::fs::read_link(format!("/proc/{}/root{}", self.tid, real.display()));
                    if let Some(link) = link.ok().filter(|_| links < MOST_LINKS) {
                        links += 1;
                        real.pop();
                        rest.extend(link.components().rev().map(|part| part.as_os_str().to_owned()));
                    }
                }
            }
        }
        real
    }

    /// The same path, with what /proc has of this task under the name that every task has for its own.
    pub(crate) fn own(&self, path: PathBuf) -> PathBuf {
        let Ok(rest) = path.strip_prefix("/proc") else { return path };
        let mut parts = rest.components();
        let number = parts.next().and_then(|part| part.as_os_str().to_str()?.parse::<i32>().ok());
        match number {
            Some(pid) if pid == self.tid || pid == self.process() => Path::new("/proc/self").join(parts),
            Some(_) | None => path,
        }
    }

    /// What its program was started with, its name first.
    pub(crate) fn line(&self) -> Vec<String> {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.tid)).unwrap_or_default();
        let line = line.strip_suffix(b"\0").unwrap_or(&line);
        line.split(|&byte| byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    }

    pub(crate) fn descriptor(&self, fd: i32) -> Descriptor {
        let Some(path) = self.link(&format!("fd/{fd}")) else { return Descriptor::Other };
        match path.to_str() {
            Some(text) if text.starts_with("socket:") => Descriptor::Socket(text.to_owned()),
            Some(text) if text.starts_with("pipe:") => Descriptor::Pipe(text.to_owned()),
            Some(text) if !text.starts_with('/') => Descriptor::Other,
            Some(_) | None => Descriptor::File(path),
        }
    }

    /// The process that it is a thread of.
    pub(crate) fn process(&self) -> i32 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.tid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or(self.tid)
    }

    /// The process that a pidfd of it is of; -1 if that cannot be told.
    pub(crate) fn process_behind(&self, fd: i32) -> i32 {
        let shown = std::fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", self.tid)).unwrap_or_default();
        let line = shown.lines().find_map(|line| line.strip_prefix("Pid:"));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or(-1)
    }

    /// What a socket of it is for.
    pub(crate) fn flow(&self, fd: i32) -> Option<Flow> {
        let socket = self.lend(fd).ok()?;
        let socket = socket2::Socket::from(socket);
        let domain = socket.domain().ok()?;
        if domain == socket2::Domain::from(libc::AF_NETLINK) {
            return Some(Flow::Kernel);
        }
        Some(match socket.r#type().ok()? {
            socket2::Type::STREAM | socket2::Type::SEQPACKET => Flow::Stream,
            socket2::Type::DGRAM if domain == socket2::Domain::UNIX => Flow::Datagram,
            socket2::Type::DGRAM => match socket.protocol().ok()? {
                Some(protocol) if protocol != socket2::Protocol::UDP => Flow::Raw,
                Some(_) | None => Flow::Datagram,
            },
            _ => Flow::Raw,
        })
    }

    /// The peer that a socket of it is connected to.
    pub(crate) fn peer(&self, fd: i32) -> Option<std::net::SocketAddr> {
        socket2::Socket::from(self.lend(fd).ok()?).peer_addr().ok()?.as_socket()
    }

    /// A copy of a descriptor of it, which is of the same open file.
    pub(crate) fn lend(&self, fd: i32) -> io::Result<OwnedFd> {
        // SAFETY: the call takes two numbers and touches no memory of ours.
        let process = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, self.process(), 0) })? as i32;
        // SAFETY: the kernel has just made it, for us alone.
        let process = unsafe { OwnedFd::from_raw_fd(process) };
        let raw = std::os::fd::AsRawFd::as_raw_fd(&process);
        // SAFETY: as above.
        let copy = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_getfd, raw, fd, 0) })? as i32;
        // SAFETY: as above.
        Ok(unsafe { OwnedFd::from_raw_fd(copy) })
    }
}
