//! Runs a program until it ends or its deadline passes. Nothing of it is left behind, and only it is waited for.
//!
//! What a program leaves running when it ends is killed, so that a check that runs every few seconds does not fill the
//! host. Only a real daemon is spared: one that has left the process group and closed the output.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use super::descriptors::{null, retry, set_nonblocking};
use super::pidfd::PidFd;
use super::signals;
use super::tree::{self, MARKER, Mark};

/// The limits of a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// When it is killed.
    pub(crate) deadline: Instant,
    /// How many bytes of each of its two outputs are kept.
    pub(crate) kept: usize,
    /// How many bytes it may print before it is killed.
    pub(crate) printed: usize,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Exited(ExitStatus),
    TimedOut,
    TooLoud,
}

/// A program that was run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) end: End,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// The pids of its processes that we may not kill.
    pub(crate) spared: BTreeSet<i32>,
}

/// Runs a program and waits for it alone.
///
/// It is started through posix_spawn, whose cost does not grow with our memory: `command` must have no pre-exec hook,
/// user or group. It leads its own process group, so a signal for its group does not hit us, and it has no parent-death
/// signal, since the thread that started it may end first.
pub(crate) fn run(command: &mut Command, bounds: Bounds) -> io::Result<Run> {
    let mark = Mark::new()?;
    command.env(MARKER, mark.value()).process_group(0);
    command.stdin(null()?).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = signals::with_none_blocked(|| command.spawn())?;
    let root = i32::try_from(child.id()).expect("the kernel gives pids that fit");
    mark.limit(root);

    let mut outputs = Outputs {
        stdout: Output::new(child.stdout.take().map(OwnedFd::from), bounds.kept),
        stderr: Output::new(child.stderr.take().map(OwnedFd::from), bounds.kept),
    };
    let limit = follow(root, &mut outputs, bounds);
    let mut spared = BTreeSet::new();
    match limit {
        Ok(Limit::None) => {
            tree::kill_group(root);
            outputs.drain(bounds.printed);
            if outputs.are_held() {
                // By a process that has left the group, or one in it that is just dying.
                spared = tree::kill(root, mark);
            }
        }
        Ok(Limit::Time | Limit::Output) | Err(_) => spared = tree::kill(root, mark),
    }
    // Every path leads here, so no zombie is left. Waiting for a child that cannot be killed is fine: this thread
    // belongs to the check, and the round has already answered at the deadline.
    let status = child.wait()?;
    let end = match limit? {
        Limit::None => End::Exited(status),
        Limit::Time => End::TimedOut,
        Limit::Output => End::TooLoud,
    };
    Ok(Run { end, stdout: outputs.stdout.kept, stderr: outputs.stderr.kept, spared })
}

/// The limit that a program has reached.
enum Limit {
    None,
    Time,
    Output,
}

/// Reads what a program prints until it has ended or reached a limit. Does not reap it.
fn follow(root: i32, outputs: &mut Outputs, bounds: Bounds) -> io::Result<Limit> {
    let process = PidFd::open(root)?;
    outputs.prepare()?;
    loop {
        process.wait_with(outputs.open(), bounds.deadline)?;
        // Asked before the outputs are read: if it has ended by now, all that it printed is in them.
        let has_ended = process.has_ended();
        outputs.read();
        if outputs.total() > bounds.printed {
            return Ok(Limit::Output);
        }
        if has_ended {
            return Ok(Limit::None);
        }
        if Instant::now() >= bounds.deadline {
            return Ok(Limit::Time);
        }
    }
}

struct Outputs {
    stdout: Output,
    stderr: Output,
}

impl Outputs {
    fn prepare(&self) -> io::Result<()> {
        [&self.stdout, &self.stderr].into_iter().filter_map(|output| output.pipe.as_ref()).try_for_each(set_nonblocking)
    }

    fn open(&self) -> Vec<BorrowedFd<'_>> {
        [&self.stdout, &self.stderr].into_iter().filter_map(|output| Some(output.pipe.as_ref()?.as_fd())).collect()
    }

    fn total(&self) -> usize {
        self.stdout.total + self.stderr.total
    }

    /// Reads a part of what is available; returns whether there was anything.
    fn read(&mut self) -> bool {
        // `|` and not `||`: both are read.
        self.stdout.read() | self.stderr.read()
    }

    /// Reads all that is available now, up to the limit, as another process may still be printing.
    fn drain(&mut self, most: usize) {
        while self.total() <= most && self.read() {}
    }

    /// Whether any process can still print.
    fn are_held(&self) -> bool {
        self.stdout.pipe.is_some() || self.stderr.pipe.is_some()
    }
}

/// One output of a program.
struct Output {
    /// `None` once its end was read.
    pipe: Option<File>,
    kept: Vec<u8>,
    most: usize,
    total: usize,
}

impl Output {
    fn new(pipe: Option<OwnedFd>, most: usize) -> Output {
        Output { pipe: pipe.map(File::from), kept: Vec::new(), most, total: 0 }
    }

    /// Reads what is available, once; returns whether there was anything.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let Some(pipe) = &mut self.pipe else { return false };
        match retry(|| pipe.read(&mut buffer)) {
            Ok(0) => self.pipe = None,
            Ok(length) => {
                self.total += length;
                let room = self.most - self.kept.len();
                self.kept.extend_from_slice(&buffer[..length.min(room)]);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // A pipe that cannot be read will give nothing more.
            Err(_) => self.pipe = None,
        }
        false
    }
}
