//! Follows a process and all that it starts, and stops each of them at the system calls that matter (ptrace(2), with a
//! filter of seccomp(2) so that all other calls run at full speed). What is traced dies with the tracer, whatever ends it.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::calls::{self, Call, Denial, ForgedReply, Stops};
use super::descriptors::retry;
use super::registers::{self, Registers};
use super::task::Task;

/// What becomes of a call.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// It runs, and nobody looks at what came of it.
    Run,
    /// It runs, and then [`Follower::leaves`] is called.
    Watch,
    /// It does not run: it fails with this error.
    Refuse(Denial),
    /// It connects to this abstract unix socket instead.
    Divert(&'static str),
    /// It looks at this path instead.
    Lead(PathBuf),
    /// It opens the file as if it had just been made.
    Empty,
}

/// Who decides.
pub(crate) trait Follower {
    /// A task is about to make a call.
    fn enters(&mut self, task: &Task, call: &Call) -> Then;

    /// A watched call has returned. The answer replaces what the kernel has written, if there is one.
    fn leaves(&mut self, task: &Task, call: &Call, result: Result<i64, io::Error>) -> Option<ForgedReply>;

    /// A task has ended, well if with exit code 0.
    fn ends(&mut self, task: &Task, is_well: bool);

    /// A task is new, or runs another program now.
    fn starts(&mut self, task: &Task, is_program: bool);
}

/// Follows a child of ours, which is stopped until then, until it has ended. Returns the status that it ended with, as
/// waitpid(2) tells it.
///
/// # Errors
///
/// When it cannot be traced.
pub(crate) fn follow(root: i32, go: impl FnOnce() -> io::Result<()>, follower: &mut impl Follower) -> io::Result<i32> {
    let options = Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACESECCOMP
        | Options::PTRACE_O_TRACESYSGOOD;
    ptrace::seize(Pid::from_raw(root), options)?;
    follower.starts(&Task { tid: root }, false);
    go()?;
    let mut pending: HashMap<i32, Pending> = HashMap::new();
    let mut alive = BTreeSet::from([root]);
    loop {
        let mut status = 0;
        // SAFETY: status is a live, writable int.
        let tid = retry(|| Ok(Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) })?))?;
        let task = Task { tid };
        if libc::WIFSTOPPED(status) {
            // A new task may be reported before its parent says that it has made it.
            if alive.insert(tid) {
                follower.starts(&task, false);
            }
            // A task that was killed meanwhile will be reported as ended.
            let _ = step(&task, status, &mut pending, &mut alive, follower);
        } else {
            pending.remove(&tid);
            alive.remove(&tid);
            follower.ends(&task, libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
            if tid == root {
                bury(&alive);
                return Ok(status);
            }
        }
    }
}

/// Kills what is left, and reaps all that has come to us from its parents: init may be one that reaps nothing.
fn bury(alive: &BTreeSet<i32>) {
    for &tid in alive {
        // Not reaped yet, so it is no other by now.
        let _ = kill(Pid::from_raw(tid), Signal::SIGKILL);
    }
    let mut status = 0;
    // SAFETY: status is a live, writable int.
    while let Ok(tid) = retry(|| Ok(Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) })?)) {
        if libc::WIFSTOPPED(status) {
            // A child of one of them, which nobody knew yet.
            let _ = kill(Pid::from_raw(tid), Signal::SIGKILL);
        }
    }
}

/// A call that is under way.
struct Pending {
    call: Call,
    /// What its registers were, if they were changed for the call.
    before: Option<Registers>,
}

fn step(
    task: &Task,
    status: i32,
    pending: &mut HashMap<i32, Pending>,
    alive: &mut BTreeSet<i32>,
    follower: &mut impl Follower,
) -> nix::Result<()> {
    let pid = Pid::from_raw(task.tid);
    let resume = |pending: &HashMap<i32, Pending>, signal: i32| {
        let request = if pending.contains_key(&task.tid) { libc::PTRACE_SYSCALL } else { libc::PTRACE_CONT };
        resume(task.tid, request, signal)
    };
    let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
    match event {
        0 if signal == libc::SIGTRAP | 0x80 => {
            let Some(Pending { call, before }) = pending.remove(&task.tid) else { return resume(pending, 0) };
            let after = registers::get(task.tid)?;
            if let Some(before) = before {
                registers::set(task.tid, &before.with_result_of(&after))?;
            }
            let result = match after.result() {
                error @ -4095..=-1 => Err(io::Error::from_raw_os_error(-error as i32)),
                result => Ok(result),
            };
            if let Some(reply) = follower.leaves(task, &call, result) {
                // A buffer that cannot be written keeps what the kernel wrote.
                if let Ok(Some(result)) = calls::rewrite(task, &call, reply, after.result()) {
                    registers::set(task.tid, &after.returning(result))?;
                }
            }
            resume(pending, 0)
        }
        0 => resume(pending, signal),
        libc::PTRACE_EVENT_SECCOMP => {
            let registers = registers::get(task.tid)?;
            let Some(call) = calls::read(task, &registers) else { return resume(pending, 0) };
            match follower.enters(task, &call) {
                Then::Run => {}
                Then::Watch => {
                    pending.insert(task.tid, Pending { call, before: None });
                }
                Then::Lead(path) => {
                    let place = (registers.stack() - 8192) & !15;
                    if let Some(argument) = call.path_argument()
                        && task.write(place, &[path.as_os_str().as_bytes(), b"\0"].concat()).is_ok()
                    {
                        registers::set(task.tid, &registers.with_argument(argument, place))?;
                        pending.insert(task.tid, Pending { call, before: Some(registers) });
                    }
                }
                Then::Empty => {
                    if let Some((argument, value)) = call.emptying() {
                        registers::set(task.tid, &registers.with_argument(argument, value))?;
                        pending.insert(task.tid, Pending { call, before: Some(registers) });
                    }
                }
                Then::Refuse(why) => registers::set(task.tid, &registers.refused(why.errno()))?,
                Then::Divert(name) => {
                    let address = calls::abstract_address(name);
                    // Below what a function may use under its stack pointer.
                    let place = (registers.stack() - 4096) & !15;
                    if task.write(place, &address).is_ok() {
                        registers::set(task.tid, &registers.with_address(place, address.len() as u64))?;
                        pending.insert(task.tid, Pending { call, before: Some(registers) });
                    }
                }
            }
            resume(pending, 0)
        }
        libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => {
            if let Ok(new) = ptrace::getevent(pid)
                && alive.insert(new as i32)
            {
                follower.starts(&Task { tid: new as i32 }, false);
            }
            resume(pending, 0)
        }
        libc::PTRACE_EVENT_EXEC => {
            // Another thread of the process may have made the call, whose number is gone now.
            if let Ok(former) = ptrace::getevent(pid)
                && former as i32 != task.tid
                && let Some(call) = pending.remove(&(former as i32))
            {
                pending.insert(task.tid, call);
            }
            follower.starts(task, true);
            resume(pending, 0)
        }
        libc::PTRACE_EVENT_STOP => match signal {
            libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => {
                self::resume(task.tid, libc::PTRACE_LISTEN, 0)
            }
            _ => resume(pending, 0),
        },
        _ => resume(pending, 0),
    }
}

/// The type of a request differs between C libraries.
#[cfg(target_env = "gnu")]
type Request = libc::c_uint;
#[cfg(not(target_env = "gnu"))]
type Request = libc::c_int;

fn resume(tid: i32, request: Request, signal: i32) -> nix::Result<()> {
    // SAFETY: these requests take a number and touch no memory of ours.
    Errno::result(unsafe { libc::ptrace(request, tid, 0, libc::c_long::from(signal)) }).map(drop)
}

/// Tells a child of ours to end, and waits for it.
pub(crate) fn end(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    // SAFETY: no status is asked for.
    let _ = retry(|| Ok(Errno::result(unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) })?));
}

/// Kills a child of ours and waits for it.
pub(crate) fn put_down(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    // SAFETY: no status is asked for.
    let _ = retry(|| Ok(Errno::result(unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) })?));
}

/// From now on, this process and all that it starts stop at the calls that matter, for the tracer that is there already.
pub(crate) fn stop_at_calls(stops: Stops) -> io::Result<()> {
    let program = calls::filter(stops);
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("it is short"),
        filter: program.as_ptr().cast_mut(),
    };
    let install = || {
        // SAFETY: the program is live for the call, which copies it.
        Errno::result(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) })
    };
    // Root needs not give up the programs that change the user.
    if install().is_err() {
        // SAFETY: the call takes numbers.
        Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
        install()?;
    }
    Ok(())
}
