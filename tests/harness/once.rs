//! The commands that run once and end: `hospital check` and `hospital list`.

use std::process::{Command, Stdio};

use super::{DEADLINE, HOSPITAL};

/// A check with a known answer.
pub(crate) const PREDICTABLE: &str = "hospital.healthchecks.predictable";

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
    let output = assert_cmd::Command::from_std(command).timeout(DEADLINE * 3).output().expect("it can be started");
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
