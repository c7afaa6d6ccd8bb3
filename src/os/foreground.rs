//! Runs a program in our place: it has our standard streams, and gets the signals that are sent to us.

use std::io;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use std::os::fd::AsFd;

use super::pidfd::PidFd;
use super::signals::{self, Inbox, Signal};

/// What is passed on.
const PASSED_ON: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
];

/// Runs a program to its end, however long that takes. What the terminal sends goes to the program anyway.
pub(crate) fn run(command: &mut Command) -> io::Result<ExitStatus> {
    // What we ignore, as under nohup, the program ignores too.
    let mut inbox = Inbox::new(PASSED_ON.into_iter().filter(|&signal| !signals::is_ignored(signal)))?;
    let mut child = signals::with_none_blocked(|| command.spawn())?;
    let process = PidFd::open(i32::try_from(child.id()).expect("the kernel gives pids that fit"))?;
    while !process.has_ended() {
        process.wait_with(vec![inbox.as_fd()], Instant::now() + Duration::from_secs(3600))?;
        for received in inbox.take().into_iter().filter(|received| received.is_sent) {
            process.send(received.signal)?;
        }
    }
    child.wait()
}
