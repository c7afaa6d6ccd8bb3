//! `plugin:/path/to/check_it#args=-w,5`: a plugin of Nagios reports that all is well.
//!
//! | exit code | finding |
//! |---|---|
//! | 0 | pass |
//! | 1 | warn; pass or fail with `warning=pass` or `warning=fail` |
//! | 2 | fail |
//! | 3, any other, death by a signal | error |
//!
//! What it prints is the context, without what follows a `|`, which is read as
//! [`Perfdata`](crate::model::perfdata::Perfdata); without output, its standard error.
//!
//! Source: the Monitoring Plugins Development Guidelines.

use std::path::Path;
use std::process::ExitStatus;

use super::support::program::{self, Program, Ran};
use super::{Action, Kind, Opt, Options, Runs, Value};
use crate::model::check::{Deadline, Finding, Reason, Result, Status};
use crate::model::control::Control;
use crate::model::perfdata;

pub(super) const KIND: Kind = Kind {
    scheme: "plugin",
    port: None,
    options: &[
        program::ARGS,
        program::ENV,
        program::CWD,
        Opt::new("warning", Value::Word(&["pass", "fail", "warn"]), "What exit code 1 means").or("warn"),
    ],
    runs: Runs::AsProgram,
    controls: Control::PROGRAMS,
    title: "{target} reports no problem",
    passes: "a plugin of Nagios ends with exit code 0",
    notices: &[],
    examples: &["plugin:/usr/lib/nagios/plugins/check_load#args=-w,5,-c,9"],
    build,
};

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let program = Program::take(target, options)?;
    let warning = options.parse_or("warning", "warn", warning)?;
    Ok(Box::new(move |deadline| find(&program, warning, deadline)))
}

/// Asserts that a plugin of Nagios, given by its path, ends within 5 s with exit code 0.
///
/// # Errors
///
/// `Warn` when its exit code is 1, and `Fail` when it is 2; `Error` when it is any other, or the plugin cannot be run, is killed, prints more
/// than 1 MiB, or takes longer. It is killed with every process that it started.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_plugin(plugin: impl AsRef<Path>, args: &[&str]) -> Result {
    let program = Program::at(plugin.as_ref()).map_err(Reason::Error)?.with(args);
    super::result(find(&program, Status::Warn, super::default_deadline()))
}

fn find(program: &Program, warning: Status, deadline: Deadline) -> Finding {
    program.run(deadline, |ran| {
        let (text, perfdata) = read(ran);
        let (status, context) = match &ran.end {
            Ok(exit) => verdict(program, *exit, text, warning),
            Err(killed) => (Status::Error, Some(killed.clone())),
        };
        Finding { status, context, perfdata, ..Finding::PASS }
    })
}

/// The text, and the figures.
fn read(Ran { stdout, stderr, is_whole, .. }: &Ran) -> (String, Vec<perfdata::Perfdata>) {
    let (text, mut figures) = perfdata::split(stdout);
    if !is_whole {
        // The last word may be cut off: the rest of a figure would be another figure.
        let whole = stdout.rfind(|c: char| c.is_whitespace() || c == '|').map_or("", |end| &stdout[..end]);
        figures = perfdata::split(whole).1;
    }
    (if text.is_empty() { stderr.trim().to_owned() } else { text }, figures)
}

fn verdict(program: &Program, exit: ExitStatus, text: String, warning: Status) -> (Status, Option<String>) {
    let ended = format!("ended with {exit}");
    let status = match exit.code() {
        Some(0) if text.is_empty() => return (Status::Pass, None),
        Some(0) => Status::Pass,
        Some(1) => warning,
        Some(2) => Status::Fail,
        Some(3) => Status::Error,
        Some(_) | None => {
            return (Status::Error, Some(program.but(&format!("{ended}, where a plugin has 0 to 3"), &text)));
        }
    };
    (status, Some(if text.is_empty() { program.but(&ended, "") } else { text }))
}

fn warning(text: &str) -> std::result::Result<Status, String> {
    match text {
        "warn" => Ok(Status::Warn),
        "pass" => Ok(Status::Pass),
        "fail" => Ok(Status::Fail),
        _ => Err("write warn, pass or fail".to_owned()),
    }
}

#[cfg(test)]
mod tests;
