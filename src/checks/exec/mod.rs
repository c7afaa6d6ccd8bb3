//! `exec:/path/to/program#args=-q,5`: a program succeeds.
//!
//! | exit code | finding |
//! |---|---|
//! | 0 | pass |
//! | 126, 127: a shell cannot run or find a program | error |
//! | 129 to 192: a signal has killed the program that a shell ran | error |
//! | death by a signal | error |
//! | any other | fail |
//!
//! What it prints is the context: its standard output, and below it, unless it passes, its standard error.

use std::path::Path;

use super::support::program::{self, Program, Ran};
use super::{Action, Kind, Options, Runs};
use crate::model::check::{Deadline, Finding, Reason, Result, Status};
use crate::model::control::Control;

pub(super) const KIND: Kind = Kind {
    scheme: "exec",
    port: None,
    options: &[program::ARGS, program::ENV, program::CWD],
    runs: Runs::AsProgram,
    controls: Control::PROGRAMS,
    title: "{target} succeeds",
    passes: "a program ends with exit code 0",
    notices: &[],
    examples: &["exec:/usr/bin/systemctl#args=is-active,nginx"],
    build,
};

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let program = Program::take(target, options)?;
    Ok(Box::new(move |deadline| find(&program, deadline)))
}

/// Asserts that a program, given by its path, ends within 5 s with exit code 0.
///
/// # Errors
///
/// `Fail` when it ends with another exit code; `Error` when it cannot be run, is killed, prints more than 1 MiB, or
/// takes longer. It is killed with every process that it started.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_exec(program: impl AsRef<Path>, args: &[&str]) -> Result {
    let program = Program::at(program.as_ref()).map_err(Reason::Error)?.with(args);
    super::result(find(&program, super::default_deadline()))
}

fn find(program: &Program, deadline: Deadline) -> Finding {
    program.run(deadline, |ran| {
        let exit = match &ran.end {
            Ok(exit) => exit,
            Err(killed) => return Finding::error(killed.clone()),
        };
        let text = text(ran, exit.success());
        match exit.code() {
            Some(0) if text.is_empty() => Finding::PASS,
            Some(0) => Finding::new(Status::Pass, text),
            Some(126 | 127 | 129..=192) | None => Finding::error(program.but(&format!("ended with {exit}"), &text)),
            Some(_) if text.is_empty() => Finding::new(Status::Fail, program.but(&format!("ended with {exit}"), "")),
            Some(_) => Finding::new(Status::Fail, text),
        }
    })
}

/// What it printed. Programs that succeed may say on standard error how far they are.
fn text(Ran { stdout, stderr, .. }: &Ran, succeeds: bool) -> String {
    match (stdout.trim(), stderr.trim()) {
        ("", text) | (text, "") => text.to_owned(),
        (stdout, _) if succeeds => stdout.to_owned(),
        (stdout, stderr) => format!("{stdout}\n{stderr}"),
    }
}

#[cfg(test)]
mod tests;
