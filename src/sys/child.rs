//! Runs a program to its end, or to its deadline: nothing of it is left, and nothing is waited for but it.
//!
//! What a program leaves running when it ends is killed, so that a check that is run every few seconds
//! does not fill the host. Spared is only a daemon in the full sense: it has left the process group, and
//! let go of the output.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use super::descriptors::{set_nonblocking, wait_readable};
use super::pidfd::PidFd;
use super::signals;
use super::tree::{self, MARKER, Mark};

/// What a program may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// When it is killed.
    pub(crate) deadline: Instant,
    /// How much of each of its two outputs is kept.
    pub(crate) kept: usize,
    /// How much it may print before it is killed.
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
    /// The pids of those of its processes that we may not kill.
    pub(crate) spared: BTreeSet<i32>,
}

/// Runs a program and waits for it alone.
///
/// It is started through posix_spawn, whose cost does not grow with our memory: `command` must not have
/// a hook before exec, a user or a group. It leads a process group of its own, so what stops a group does
/// not mix it up with us, and dies by no signal of the thread that started it, which may end before it.
pub(crate) fn run(command: &mut Command, bounds: Bounds) -> io::Result<Run> {
    let mark = Mark::new()?;
    command.env(MARKER, mark.value()).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = signals::with_none_blocked(|| command.spawn())?;
    let root = i32::try_from(child.id()).expect("the kernel gives pids that fit");

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
                // By somebody who has left the group, or is just dying in it.
                spared = tree::kill(root, &mark);
            }
        }
        Ok(Limit::Time | Limit::Output) | Err(_) => spared = tree::kill(root, &mark),
    }
    // Every path leads here, so no zombie is left. A child that cannot be killed is waited for: this thread
    // belongs to the check, and whoever asked has the answer from the deadline.
    let status = child.wait()?;
    let end = match limit? {
        Limit::None => End::Exited(status),
        Limit::Time => End::TimedOut,
        Limit::Output => End::TooLoud,
    };
    Ok(Run { end, stdout: outputs.stdout.kept, stderr: outputs.stderr.kept, spared })
}

/// Which bound a program has come up against.
enum Limit {
    None,
    Time,
    Output,
}

/// Reads what a program prints until it has ended or come up against a bound. It is not reaped.
fn follow(root: i32, outputs: &mut Outputs, bounds: Bounds) -> io::Result<Limit> {
    let process = PidFd::open(root)?;
    outputs.prepare()?;
    loop {
        let mut awaited = outputs.open();
        awaited.push(process.as_fd());
        wait_readable(&awaited, Some(bounds.deadline))?;
        // Asked before the outputs are read: what it has printed is in them when it has ended.
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

    /// Takes a part of what there is to read; whether there was anything.
    fn read(&mut self) -> bool {
        // Both, whatever the first says.
        self.stdout.read() | self.stderr.read()
    }

    /// Takes all that there is to read now, within the bound: somebody may still be printing.
    fn drain(&mut self, most: usize) {
        while self.total() <= most && self.read() {}
    }

    /// Whether somebody can still print.
    fn are_held(&self) -> bool {
        self.stdout.pipe.is_some() || self.stderr.pipe.is_some()
    }
}

/// One output of a program.
struct Output {
    /// Until its end was read.
    pipe: Option<File>,
    kept: Vec<u8>,
    most: usize,
    total: usize,
}

impl Output {
    fn new(pipe: Option<OwnedFd>, most: usize) -> Output {
        Output { pipe: pipe.map(File::from), kept: Vec::new(), most, total: 0 }
    }

    /// Takes what there is to read, once; whether there was anything.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let Some(pipe) = &mut self.pipe else { return false };
        match pipe.read(&mut buffer) {
            Ok(0) => self.pipe = None,
            Ok(length) => {
                self.total += length;
                let room = self.most - self.kept.len();
                self.kept.extend_from_slice(&buffer[..length.min(room)]);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock || error.kind() == io::ErrorKind::Interrupted => {}
            // A pipe that cannot be read has nothing more to say.
            Err(_) => self.pipe = None,
        }
        false
    }
}
