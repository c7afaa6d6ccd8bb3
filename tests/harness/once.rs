//! The commands that run once and end: `hospital check` and `hospital list`.

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::{DEADLINE, HOSPITAL, Signal, send};

/// A check with a known answer.
pub(crate) const PREDICTABLE: &str = "hospital.healthchecks.predictable.collected";

/// The result of a command.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A subcommand of the binary, in an environment with nothing but PATH.
pub(crate) fn hospital(verb: &str) -> Command {
    let mut command = Command::new(HOSPITAL);
    command.arg(verb).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

/// Runs a command to its end, which must come.
#[track_caller]
pub(crate) fn run(command: Command) -> Run {
    run_within(command, DEADLINE * 3)
}

/// Runs a command that has much to do.
#[track_caller]
pub(crate) fn run_within(mut command: Command, deadline: Duration) -> Run {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
    let pid = child.id() as i32;
    // A thread, because a handler of SIGCHLD would interrupt the reads of all other tests.
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = receiver.recv_timeout(deadline).unwrap_or_else(|_| {
        send(pid, Signal::SIGKILL);
        panic!("{command:?} does not end");
    });
    let output = output.expect("it is our child");
    let text = |bytes| String::from_utf8(bytes).expect("it writes UTF-8");
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// `hospital check ARGS`.
#[track_caller]
pub(crate) fn check(args: &[&str]) -> Run {
    let mut command = hospital("check");
    command.args(args);
    run(command)
}
