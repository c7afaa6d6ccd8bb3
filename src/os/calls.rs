//! The system calls that a tracer looks at: which they are, what they ask for, and what came of them. That is one role,
//! though a long one: each call stands in a list, is filtered by its number, and has arguments of its own.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use super::registers::{ARCHITECTURE, Registers};
use super::task::Task;

/// How much of what is sent or received is read.
const SHOWN: usize = 64 * 1024;

/// A system call of a task.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) what: What,
    number: libc::c_long,
    arguments: [u64; 6],
}

/// What a call asks for. Paths are absolute; links in them are not followed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// To open a file.
    Open {
        path: PathBuf,
        access: Access,
    },
    /// Whether something is there, or where it leads.
    Look {
        path: PathBuf,
    },
    /// What is known about a file.
    Stat {
        of: StatOf,
    },
    /// To run a program.
    Execute {
        path: PathBuf,
    },
    /// How much room a file system has.
    Measure {
        path: PathBuf,
    },
    /// To make, remove, rename or change files.
    Change {
        paths: Vec<PathBuf>,
    },
    /// A new socket.
    Socket {
        is_local: bool,
    },
    Connect {
        fd: i32,
        to: Peer,
    },
    /// To be reached at an address.
    Bind {
        to: Peer,
    },
    Send {
        fd: i32,
        to: Option<Peer>,
        bytes: Vec<u8>,
    },
    Receive {
        fd: i32,
    },
    /// How an earlier connect ended.
    SocketError {
        fd: i32,
    },
    /// What time it is.
    Time,
    /// 0 asks whether the process is there.
    Signal {
        pid: i32,
        signal: i32,
    },
    /// To change how a process runs: its priority, its limits, its processors.
    Influence {
        pid: i32,
    },
    /// To follow a process, as strace does.
    Follow {
        pid: i32,
    },
    /// Who it is: its user, and the name of the host.
    Identity,
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    /// To look at what is in it, and to change that; `makes`: it is made if it is not there.
    Update {
        makes: bool,
    },
    /// To write to it, or to make it anew.
    Write,
}

impl Access {
    fn of(flags: u64) -> Access {
        let flags = flags as i32;
        let has = |flag: i32| flags & flag != 0;
        match flags & libc::O_ACCMODE {
            libc::O_RDWR if !has(libc::O_TRUNC | libc::O_EXCL) && flags & libc::O_TMPFILE != libc::O_TMPFILE => {
                Access::Update { makes: has(libc::O_CREAT) }
            }
            libc::O_RDONLY if !has(libc::O_CREAT | libc::O_TRUNC) => Access::Read,
            _ => Access::Write,
        }
    }

    /// Whether something may be changed, made or emptied.
    pub(crate) fn changes(self) -> bool {
        self != Access::Read
    }
}

/// What a stat is of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StatOf {
    Path(PathBuf),
    Descriptor(i32),
}

/// Whom a socket talks to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    Internet(SocketAddr),
    Path(PathBuf),
    Other,
}

/// What a task is told instead of what the kernel said.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ForgedReply {
    /// The owner of a file.
    Owner { user: u32, group: u32 },
    /// When a file was changed, in seconds.
    Changed(i64),
    /// A file system without room.
    Full,
    /// A time that is so many seconds later.
    Later(i64),
    /// Another user, on another host.
    Stranger,
}

/// The calls that are stopped at in every run.
#[rustfmt::skip]
const CALLS: &[libc::c_long] = &[
    libc::SYS_openat, libc::SYS_openat2, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat,
    libc::SYS_newfstatat, libc::SYS_fstat, libc::SYS_statx, libc::SYS_chdir, libc::SYS_execve, libc::SYS_execveat,
    libc::SYS_statfs, libc::SYS_truncate, libc::SYS_unlinkat, libc::SYS_renameat, libc::SYS_renameat2,
    libc::SYS_mkdirat, libc::SYS_mknodat, libc::SYS_linkat, libc::SYS_symlinkat, libc::SYS_fchmodat,
    libc::SYS_fchownat, libc::SYS_utimensat, libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_sendto,
    libc::SYS_sendmsg, libc::SYS_sendmmsg, libc::SYS_kill, libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo, libc::SYS_setpriority, libc::SYS_ioprio_set, libc::SYS_ptrace, libc::SYS_fchmod, libc::SYS_fchown, libc::SYS_setxattr,
    libc::SYS_lsetxattr, libc::SYS_fsetxattr, libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr,
    #[cfg(target_arch = "x86_64")] libc::SYS_open,
    #[cfg(target_arch = "x86_64")] libc::SYS_creat,
    #[cfg(target_arch = "x86_64")] libc::SYS_access,
    #[cfg(target_arch = "x86_64")] libc::SYS_stat,
    #[cfg(target_arch = "x86_64")] libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")] libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")] libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")] libc::SYS_rename,
    #[cfg(target_arch = "x86_64")] libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")] libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")] libc::SYS_link,
    #[cfg(target_arch = "x86_64")] libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")] libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")] libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")] libc::SYS_chown,
    #[cfg(target_arch = "x86_64")] libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")] libc::SYS_utime,
    #[cfg(target_arch = "x86_64")] libc::SYS_utimes,
];

/// Those that move data, too: what a good run says and hears is of interest.
const DATA: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_getsockopt,
];

/// Those that tell the time, of which `clock_gettime` has clocks of other kinds, too.
const TIME: &[libc::c_long] = &[
    libc::SYS_gettimeofday,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];
const WALL_CLOCKS: [libc::clockid_t; 3] = [libc::CLOCK_REALTIME, libc::CLOCK_REALTIME_COARSE, libc::CLOCK_TAI];

/// Those that tell who it is, and where.
const IDENTITY: &[libc::c_long] = &[libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_uname];

/// Those that change how a process runs, with the place of the argument that names it: 0 is the task itself.
const INFLUENCE: [(libc::c_long, usize); 5] = [
    (libc::SYS_prlimit64, 0),
    (libc::SYS_sched_setaffinity, 0),
    (libc::SYS_sched_setscheduler, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setattr, 0),
];

/// What reaches the host around all namespaces, and is denied under sabotage: keys, the kernel's log and programs, files
/// by handle, descriptors and memory of other processes.
const DENIED: &[libc::c_long] = &[
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_perf_event_open,
    libc::SYS_bpf,
    libc::SYS_open_by_handle_at,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
];

/// Of calls with many uses, those that are denied: the place of the argument that tells them, and its values.
const DENIED_USES: [(libc::c_long, usize, &[u32]); 3] = [
    // TIOCSTI, FIOSETOWN and SIOCSPGRP: input for a terminal, signals for others.
    (libc::SYS_ioctl, 1, &[0x5412, 0x8901, 0x8902]),
    // To empty the kernel's log, and to say what of it goes to the console.
    (libc::SYS_syslog, 0, &[4, 5, 6, 7, 8]),
    // All that makes, changes or removes keys: keyctl(2).
    (libc::SYS_keyctl, 0, &[2, 3, 4, 5, 7, 8, 9, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23, 29, 30]),
];

/// Which calls a task is stopped at besides those that matter in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stops {
    Usual,
    /// At those that move data.
    Data,
    /// At those that tell the time.
    Time,
    /// At those that tell who it is.
    Identity,
}

/// The filter that stops a task at these calls. A ring of io_uring would make calls that nobody sees, so there is none; and no
/// process that its tracer would not follow (CLONE_UNTRACED): it would outlive it. Whoever starts one with `clone3`, whose
/// flags a filter cannot read, takes `clone` where there is no such call.
pub(super) fn filter(stops: Stops) -> Vec<libc::sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let more = match stops {
        Stops::Usual => &[],
        Stops::Data => DATA,
        Stops::Time => TIME,
        Stops::Identity => IDENTITY,
    };
    let calls: Vec<_> = CALLS.iter().chain(more).collect();
    let none = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let mut program = vec![
        // The architecture is the second word of struct seccomp_data, the number of the call the first.
        op(LOAD, 0, 0, 4),
        op(IS, 1, 0, ARCHITECTURE),
        // What we cannot read, such as calls of 32 bits, is not made.
        op(RETURN, 0, 0, none),
        op(LOAD, 0, 0, 0),
    ];
    program.extend([
        op(IS, 0, 4, libc::SYS_clone as u32),
        // The first half of its first argument.
        op(LOAD, 0, 0, 16),
        op(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, libc::CLONE_UNTRACED as u32),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]);
    // The first half of an argument.
    let argument = |place: usize| op(LOAD, 0, 0, 16 + 8 * place as u32);
    let (trace, allow) = (op(RETURN, 0, 0, libc::SECCOMP_RET_TRACE), op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    let denied = op(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    for (number, place) in INFLUENCE {
        program.extend([op(IS, 0, 4, number as u32), argument(place), op(IS, 0, 1, 0), allow, trace]);
    }
    let owner = [libc::F_SETOWN as u32, F_SETOWN_EX];
    program.extend([op(IS, 0, 5, libc::SYS_fcntl as u32), argument(1), op(IS, 2, 0, owner[0]), op(IS, 1, 0, owner[1])]);
    program.extend([allow, trace]);
    // The good run is that of `hospital check`.
    if stops != Stops::Data {
        for (number, place, values) in DENIED_USES {
            let count = values.len() as u8;
            program.extend([op(IS, 0, count + 3, number as u32), argument(place)]);
            program.extend((0..count).map(|index| op(IS, count - index, 0, values[usize::from(index)])));
            program.extend([allow, denied]);
        }
        let count = DENIED.len() as u8;
        program.extend((0..count).map(|index| op(IS, count - index, 0, DENIED[usize::from(index)] as u32)));
        program.extend([op(libc::BPF_JMP | libc::BPF_JA, 0, 0, 1), denied]);
    }
    if stops == Stops::Time {
        program.extend([
            op(IS, 0, 6, libc::SYS_clock_gettime as u32),
            op(LOAD, 0, 0, 16),
            op(IS, 2, 0, WALL_CLOCKS[0] as u32),
            op(IS, 1, 0, WALL_CLOCKS[1] as u32),
            op(IS, 0, 1, WALL_CLOCKS[2] as u32),
            op(RETURN, 0, 0, libc::SECCOMP_RET_TRACE),
            op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        ]);
    }
    let count = calls.len() + 2;
    for (index, &&number) in calls.iter().enumerate() {
        program.push(op(IS, u8::try_from(count - index).expect("there are fewer than 255"), 0, number as u32));
    }
    program.push(op(IS, 3, 0, libc::SYS_clone3 as u32));
    program.push(op(IS, 2, 0, libc::SYS_io_uring_setup as u32));
    program.push(op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    program.push(op(RETURN, 0, 0, libc::SECCOMP_RET_TRACE));
    program.push(op(RETURN, 0, 0, none));
    program
}

/// F_SETOWN_EX of asm-generic/fcntl.h: who gets the signals of a descriptor.
const F_SETOWN_EX: u32 = 15;

/// What a stopped task asks for. `None`: nothing that matters.
pub(super) fn read(task: &Task, registers: &Registers) -> Option<Call> {
    let (number, arguments) = (registers.number(), registers.arguments());
    let what = what(task, number, &arguments)?;
    Some(Call { what, number, arguments })
}

fn what(task: &Task, number: libc::c_long, arguments: &[u64; 6]) -> Option<What> {
    let [first, second, third, fourth, fifth, _] = *arguments;
    let here = libc::AT_FDCWD as u64;
    let open = |folder: u64, path: u64, flags: u64| {
        Some(What::Open { path: path_at(task, folder, path)?, access: Access::of(flags) })
    };
    let look = |folder: u64, path: u64| Some(What::Look { path: path_at(task, folder, path)? });
    let stat = |folder: u64, path: u64| {
        let text = if path == 0 { Vec::new() } else { task.text(path) };
        let of = match text.is_empty() {
            true => StatOf::Descriptor(folder as i32),
            false => StatOf::Path(path_at(task, folder, path)?),
        };
        Some(What::Stat { of })
    };
    let change = |places: &[(u64, u64)]| {
        let paths = places.iter().filter_map(|&(folder, path)| path_at(task, folder, path)).collect();
        Some(What::Change { paths })
    };
    let send = |to: Option<Peer>, bytes: Vec<u8>| Some(What::Send { fd: first as i32, to, bytes });
    match number {
        libc::SYS_openat => open(first, second, third),
        // The flags are the first word of struct open_how.
        libc::SYS_openat2 => open(first, second, word(task, third)),
        libc::SYS_faccessat | libc::SYS_faccessat2 | libc::SYS_readlinkat => look(first, second),
        libc::SYS_chdir => look(here, first),
        libc::SYS_newfstatat | libc::SYS_statx => stat(first, second),
        libc::SYS_fstat => Some(What::Stat { of: StatOf::Descriptor(first as i32) }),
        libc::SYS_execve => Some(What::Execute { path: path_at(task, here, first)? }),
        libc::SYS_execveat => {
            let by_path = path_at(task, first, second);
            Some(What::Execute { path: by_path.or_else(|| task.link(&format!("fd/{}", first as i32)))? })
        }
        libc::SYS_statfs => Some(What::Measure { path: path_at(task, here, first)? }),
        libc::SYS_truncate
        | libc::SYS_setxattr
        | libc::SYS_lsetxattr
        | libc::SYS_removexattr
        | libc::SYS_lremovexattr => change(&[(here, first)]),
        libc::SYS_fchmod | libc::SYS_fchown | libc::SYS_fsetxattr | libc::SYS_fremovexattr => {
            let path = task.link(&format!("fd/{}", first as i32)).filter(|path| path.is_absolute())?;
            Some(What::Change { paths: vec![path] })
        }
        libc::SYS_unlinkat | libc::SYS_mkdirat | libc::SYS_mknodat | libc::SYS_fchmodat | libc::SYS_fchownat => {
            change(&[(first, second)])
        }
        // Without a path, it is of a descriptor that was opened for writing, or of a file of one's own.
        libc::SYS_utimensat if second != 0 => change(&[(first, second)]),
        libc::SYS_renameat | libc::SYS_renameat2 | libc::SYS_linkat => change(&[(first, second), (third, fourth)]),
        libc::SYS_symlinkat => change(&[(second, third)]),
        libc::SYS_socket => Some(What::Socket { is_local: ![libc::AF_INET, libc::AF_INET6].contains(&(first as i32)) }),
        libc::SYS_connect => Some(What::Connect { fd: first as i32, to: peer(task, second, third)? }),
        libc::SYS_bind => Some(What::Bind { to: peer(task, second, third)? }),
        libc::SYS_sendto => send(peer(task, fifth, arguments[5]), task.read(second, SHOWN.min(third as usize))),
        libc::SYS_sendmsg | libc::SYS_sendmmsg => {
            let message = Message::at(task, second);
            send(peer(task, message.name, message.name_length), message.bytes(task))
        }
        libc::SYS_write => send(None, task.read(second, SHOWN.min(third as usize))),
        libc::SYS_writev => send(None, vector(task, second, third)),
        libc::SYS_read | libc::SYS_readv | libc::SYS_recvfrom | libc::SYS_recvmsg => {
            Some(What::Receive { fd: first as i32 })
        }
        libc::SYS_getsockopt => {
            let asks = (second as i32, third as i32) == (libc::SOL_SOCKET, libc::SO_ERROR);
            asks.then_some(What::SocketError { fd: first as i32 })
        }
        libc::SYS_clock_gettime | libc::SYS_gettimeofday => Some(What::Time),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_time => Some(What::Time),
        libc::SYS_kill => Some(What::Signal { pid: first as i32, signal: second as i32 }),
        libc::SYS_pidfd_open => Some(What::Signal { pid: first as i32, signal: 0 }),
        libc::SYS_pidfd_send_signal => {
            Some(What::Signal { pid: task.process_behind(first as i32), signal: second as i32 })
        }
        libc::SYS_tkill | libc::SYS_rt_sigqueueinfo => Some(What::Signal { pid: first as i32, signal: second as i32 }),
        libc::SYS_tgkill | libc::SYS_rt_tgsigqueueinfo => {
            Some(What::Signal { pid: second as i32, signal: third as i32 })
        }
        // PTRACE_TRACEME names none.
        libc::SYS_ptrace => Some(What::Follow { pid: if first == 0 { 0 } else { second as i32 } }),
        // Without new limits, it only asks.
        libc::SYS_prlimit64 if third == 0 => None,
        // Of a group or a user, nobody is told apart: PRIO_PROCESS, IOPRIO_WHO_PROCESS.
        libc::SYS_setpriority if first != 0 => Some(What::Influence { pid: -1 }),
        libc::SYS_ioprio_set if first != 1 => Some(What::Influence { pid: -1 }),
        libc::SYS_setpriority | libc::SYS_ioprio_set => Some(What::Influence { pid: second as i32 }),
        libc::SYS_fcntl if second as u32 == F_SETOWN_EX => {
            // struct f_owner_ex: its kind, and the number.
            let pid = task.read(third + 4, 4).try_into().map(i32::from_ne_bytes).unwrap_or(-1);
            Some(What::Influence { pid })
        }
        libc::SYS_fcntl => Some(What::Influence { pid: third as i32 }),
        _ if let Some((_, place)) = INFLUENCE.iter().find(|(call, _)| *call == number) => {
            Some(What::Influence { pid: arguments[*place] as i32 })
        }
        libc::SYS_getuid | libc::SYS_geteuid | libc::SYS_uname => Some(What::Identity),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => open(here, first, second),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_creat => open(here, first, (libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY) as u64),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_access | libc::SYS_readlink => look(here, first),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_stat | libc::SYS_lstat => stat(here, first),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_unlink
        | libc::SYS_mkdir
        | libc::SYS_rmdir
        | libc::SYS_mknod
        | libc::SYS_chmod
        | libc::SYS_chown
        | libc::SYS_lchown
        | libc::SYS_utime
        | libc::SYS_utimes => change(&[(here, first)]),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename | libc::SYS_link => change(&[(here, first), (here, second)]),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_symlink => change(&[(here, second)]),
        _ => None,
    }
}

impl Call {
    /// What a call that receives has received; its result is the number of bytes.
    pub(crate) fn received(&self, task: &Task, result: i64) -> Vec<u8> {
        let length = SHOWN.min(usize::try_from(result).unwrap_or_default());
        let [_, second, third, ..] = self.arguments;
        let mut bytes = match self.number {
            libc::SYS_read | libc::SYS_recvfrom => task.read(second, length),
            libc::SYS_readv => vector(task, second, third),
            libc::SYS_recvmsg => Message::at(task, second).bytes(task),
            _ => Vec::new(),
        };
        bytes.truncate(length);
        bytes
    }

    /// Which argument is the path that it looks at.
    pub(super) fn path_argument(&self) -> Option<usize> {
        match (&self.what, self.number) {
            (What::Open { .. } | What::Look { .. } | What::Stat { of: StatOf::Path(_) }, number) => {
                #[rustfmt::skip]
                let is_second = [
                    libc::SYS_openat, libc::SYS_openat2, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat,
                    libc::SYS_newfstatat, libc::SYS_statx,
                ].contains(&number);
                Some(usize::from(is_second))
            }
            _ => None,
        }
    }

    /// Which argument says how a file is opened, and what it has to be so that the file is empty.
    pub(super) fn emptying(&self) -> Option<(usize, u64)> {
        let place = match self.number {
            libc::SYS_openat => 2,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => 1,
            _ => return None,
        };
        Some((place, self.arguments[place] | libc::O_TRUNC as u64))
    }

    /// The error of an earlier connect, if a call has asked for it.
    pub(crate) fn socket_error(&self, task: &Task) -> i32 {
        let bytes = task.read(self.arguments[3], 4);
        bytes.try_into().map(i32::from_ne_bytes).unwrap_or_default()
    }

    /// The owner of a file, as the task was told.
    pub(crate) fn owner(&self, task: &Task) -> Option<u32> {
        let (buffer, layout) = self.stat_buffer()?;
        let bytes = task.read(buffer + layout.user, 4);
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    }

    fn stat_buffer(&self) -> Option<(u64, StatLayout)> {
        let place = match self.number {
            libc::SYS_statx => return Some((self.arguments[4], StatLayout::EXTENDED)),
            libc::SYS_newfstatat => 2,
            libc::SYS_fstat => 1,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_stat | libc::SYS_lstat => 1,
            _ => return None,
        };
        Some((self.arguments[place], StatLayout::PLAIN))
    }
}

/// Where the fields are in what a stat returns.
struct StatLayout {
    user: u64,
    group: u64,
    changed: u64,
}

impl StatLayout {
    const PLAIN: StatLayout = StatLayout {
        user: std::mem::offset_of!(libc::stat, st_uid) as u64,
        group: std::mem::offset_of!(libc::stat, st_gid) as u64,
        changed: std::mem::offset_of!(libc::stat, st_mtime) as u64,
    };
    /// struct statx of linux/stat.h, the same on every architecture.
    const EXTENDED: StatLayout = StatLayout { user: 20, group: 24, changed: 0x70 };
}

/// Replaces what a call has written. Returns what it returns now, if that is replaced, too.
pub(super) fn rewrite(task: &Task, call: &Call, reply: ForgedReply, result: i64) -> io::Result<Option<i64>> {
    match reply {
        ForgedReply::Owner { user, group } => {
            let Some((buffer, layout)) = call.stat_buffer() else { return Ok(None) };
            task.write(buffer + layout.user, &user.to_ne_bytes())?;
            task.write(buffer + layout.group, &group.to_ne_bytes())?;
        }
        ForgedReply::Changed(seconds) => {
            let Some((buffer, layout)) = call.stat_buffer() else { return Ok(None) };
            task.write(buffer + layout.changed, &seconds.to_ne_bytes())?;
        }
        ForgedReply::Full => {
            let buffer = call.arguments[1];
            let free = std::mem::offset_of!(libc::statfs, f_bfree) as u64;
            let available = std::mem::offset_of!(libc::statfs, f_bavail) as u64;
            let files = std::mem::offset_of!(libc::statfs, f_ffree) as u64;
            [free, available, files].iter().try_for_each(|field| task.write(buffer + field, &[0; 8]))?;
        }
        ForgedReply::Stranger if call.number == libc::SYS_uname => {
            // struct utsname: fields of 65 bytes. A C library may refuse to run on an older release.
            task.write(call.arguments[0] + 65, b"hospital-drill\0")?;
            task.write(call.arguments[0] + 130, b"3.10.0\0")?;
        }
        ForgedReply::Stranger => return Ok(Some(STRANGER)),
        ForgedReply::Later(seconds) => {
            // Seconds come first, in struct timespec as in struct timeval; of SYS_time, they are all there is.
            let (buffer, is_plain) = match call.number {
                libc::SYS_clock_gettime => (call.arguments[1], false),
                libc::SYS_gettimeofday => (call.arguments[0], false),
                _ => (call.arguments[0], true),
            };
            if buffer != 0 {
                let told = word(task, buffer) as i64;
                task.write(buffer, &(told + seconds).to_ne_bytes())?;
            }
            return Ok(is_plain.then_some(result + seconds));
        }
    }
    Ok(None)
}

/// The number of a user whom nobody is.
const STRANGER: i64 = 65533;

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    Missing,
    Forbidden,
    NotPermitted,
    Refused,
    ReadOnly,
    NoDescriptor,
    NoMemory,
    NoProcess,
    NoRoom,
}

impl Denial {
    /// The number of its error.
    pub(super) fn errno(self) -> i32 {
        match self {
            Denial::Missing => libc::ENOENT,
            Denial::Forbidden => libc::EACCES,
            Denial::NotPermitted => libc::EPERM,
            Denial::Refused => libc::ECONNREFUSED,
            Denial::ReadOnly => libc::EROFS,
            Denial::NoDescriptor => libc::EMFILE,
            Denial::NoMemory => libc::ENOMEM,
            Denial::NoProcess => libc::ESRCH,
            Denial::NoRoom => libc::ENOSPC,
        }
    }
}

/// The address of an abstract unix socket, as the kernel takes it.
pub(super) fn abstract_address(name: &str) -> Vec<u8> {
    let family = libc::AF_UNIX as libc::sa_family_t;
    [&family.to_ne_bytes()[..], b"\0", name.as_bytes()].concat()
}

fn peer(task: &Task, at: u64, length: u64) -> Option<Peer> {
    if at == 0 || length < 2 {
        return None;
    }
    let bytes = task.read(at, length.min(128) as usize);
    let port = || Some(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
    Some(match i32::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?])) {
        libc::AF_INET => {
            let address: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Peer::Internet(SocketAddr::from((Ipv4Addr::from(address), port()?)))
        }
        libc::AF_INET6 => {
            let address: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            Peer::Internet(SocketAddr::from((Ipv6Addr::from(address), port()?)))
        }
        libc::AF_UNIX if bytes.get(2).is_some_and(|&first| first != 0) => {
            let path = bytes[2..].split(|&byte| byte == 0).next().unwrap_or_default();
            Peer::Path(absolute(task, libc::AT_FDCWD as u64, path)?)
        }
        _ => Peer::Other,
    })
}

/// struct msghdr, as far as it matters.
struct Message {
    name: u64,
    name_length: u64,
    parts: u64,
    count: u64,
}

impl Message {
    fn at(task: &Task, at: u64) -> Message {
        let length = word(task, at + std::mem::offset_of!(libc::msghdr, msg_namelen) as u64) & u64::from(u32::MAX);
        Message {
            name: word(task, at + std::mem::offset_of!(libc::msghdr, msg_name) as u64),
            name_length: length,
            parts: word(task, at + std::mem::offset_of!(libc::msghdr, msg_iov) as u64),
            count: word(task, at + std::mem::offset_of!(libc::msghdr, msg_iovlen) as u64),
        }
    }

    fn bytes(&self, task: &Task) -> Vec<u8> {
        vector(task, self.parts, self.count)
    }
}

/// What the parts of an iovec hold.
fn vector(task: &Task, at: u64, count: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in 0..count.min(64) {
        let (base, length) = (word(task, at + part * 16), word(task, at + part * 16 + 8));
        let room = SHOWN - bytes.len();
        bytes.extend(task.read(base, room.min(length as usize)));
    }
    bytes
}

fn word(task: &Task, at: u64) -> u64 {
    task.read(at, 8).try_into().map(u64::from_ne_bytes).unwrap_or_default()
}

fn path_at(task: &Task, folder: u64, path: u64) -> Option<PathBuf> {
    let text = task.text(path);
    if text.is_empty() { None } else { absolute(task, folder, &text) }
}

/// The path from the root, without `.` and `..`.
fn absolute(task: &Task, folder: u64, path: &[u8]) -> Option<PathBuf> {
    let path = PathBuf::from(OsString::from_vec(path.to_vec()));
    let full = match path.as_os_str().as_bytes().first()? {
        b'/' => path,
        _ if folder as i32 == libc::AT_FDCWD => task.link("cwd")?.join(path),
        _ => task.link(&format!("fd/{}", folder as i32))?.join(path),
    };
    Some(task.own(plain(&full)))
}

/// The same path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) | Component::Normal(_) => plain.push(component),
        }
    }
    plain
}
