//! The command line: what is asked for, and which module does it.

mod advice;
mod ask;
mod beat;
mod check;
#[cfg(test)]
mod docs;
mod drill;
mod explain;
mod interrupt;
mod lint;
mod list;
mod live;
#[cfg(feature = "tower")]
pub(crate) mod mount;
mod serve;
mod silence;
mod status;
mod unittest;
mod wait;
mod why;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::checks::FEATURES;
use crate::config::{Given, one_line};
use crate::error::Error;
use crate::functions::app::App;
use crate::model::text;
use crate::os::signals;
use crate::round::controls;

/// Collect healthchecks and run them on demand.
#[derive(Debug, Parser)]
#[command(name = "hospital", version, max_term_width = 80, arg_required_else_help = false)]
pub(crate) struct Invocation {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Answer HTTP requests with the report of the healthchecks
    Serve(Box<serve::ServeFlags>),
    /// Run the healthchecks once and report
    Check(check::CheckFlags),
    /// Show which healthchecks would run
    List(list::ListFlags),
    /// Sabotage the healthchecks, to see whether they can fail
    Drill(drill::DrillFlags),
    /// Tell what a kind of check decides, its options and an example
    Explain(explain::ExplainFlags),
    /// Run the healthchecks until all of them pass
    Wait(wait::WaitFlags),
    /// Tell since when a check is bad, and what was different when it was well
    Why(why::WhyFlags),
    /// Show what the running server reports, and since when
    Status(status::StatusFlags),
    /// Let what a check finds not count for a while, or show or end such silences
    Silence(silence::SilenceFlags),
    /// Say that a job is done, or run it and say how it ended, for the check beat:NAME
    Beat(beat::BeatFlags),
}

/// Does what the command line says.
pub(crate) fn run(app: App, argv: Vec<OsString>) -> ExitCode {
    signals::survive_size_limit();
    signals::heed_children();
    controls::is_program();
    let mut given = Given::from_process(app, argv);
    if let Some((_, verb)) = former_name(&given.argv) {
        given.argv.insert(1, verb.into());
    }
    let outcome = match parse(&given) {
        Ok((command, matches)) => dispatch(given, command, matches),
        Err(error) if error.use_stderr() => Err(Error::Usage(advice::on(&error).unwrap_or_else(|| one_line(&error)))),
        // --help and --version
        Err(text) => print(shown(&text, &given)).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        // Standard error may be closed; the exit code still tells.
        let _ = writeln!(io::stderr(), "hospital: {}", text::line(&error.to_string()));
        ExitCode::from(&error)
    })
}

/// The text of `--help` or `--version`; with `-v`, the latter tells what is in this build.
fn shown(text: &clap::Error, given: &Given) -> String {
    let mut shown = text.to_string();
    if text.kind() != ErrorKind::DisplayVersion {
        return shown;
    }
    if let Some(package) = &given.app.package {
        shown = format!("{} ({package})\n", shown.trim_end());
    }
    if given.argv.iter().any(|arg| arg == "-v" || arg == "--verbose") {
        for (schemes, feature, is_there) in FEATURES {
            let state = if *is_there { "in this build" } else { "left out" };
            shown += &format!("feature {feature}: {state} ({})\n", schemes.join(", "));
        }
    }
    shown
}

/// The whole command line.
pub(crate) fn command() -> Command {
    // So the manual page has them too. To format them takes a fifth of the start, so it waits until they are asked for.
    let with_kinds = |command: Command| command.after_long_help(explain::all());
    Invocation::command().mut_subcommand("explain", |command| command.defer(with_kinds))
}

fn parse(given: &Given) -> Result<(Command, ArgMatches), clap::Error> {
    let mut command = command();
    if let Some((name, verb)) = former_name(&given.argv) {
        command = command.mut_subcommand(verb, |verb| verb.override_usage(format!("{name} [OPTIONS] [NAMES]...")));
    }
    let matches = command.try_get_matches_from_mut(&given.argv)?;
    Ok((command, matches))
}

fn dispatch(given: Given, command: Command, matches: ArgMatches) -> Result<ExitCode, Error> {
    let Invocation { verb } = Invocation::from_arg_matches(&matches).map_err(|error| Error::Usage(one_line(&error)))?;
    match verb {
        Verb::Serve(flags) => serve::run(given, command, matches, &flags),
        Verb::Check(flags) => check::run(&flags, &given),
        Verb::List(flags) => list::run(&flags, &given),
        Verb::Drill(flags) => drill::run(&flags, &given),
        Verb::Explain(flags) => explain::run(&flags),
        Verb::Wait(flags) => wait::run(&flags, &given),
        Verb::Why(flags) => why::run(&flags, &given),
        Verb::Status(flags) => status::run(&flags, &given),
        Verb::Silence(flags) => silence::run(&flags, &given),
        Verb::Beat(flags) => beat::run(&flags, &given),
    }
}

/// The former name that the program was called by (through a link), and the subcommand that it stands for today.
fn former_name(argv: &[OsString]) -> Option<(&'static str, &'static str)> {
    let name = Path::new(argv.first()?).file_name()?;
    [("hospital-cli", "check"), ("hospital-serve", "serve")].into_iter().find(|(old, _)| name == *old)
}

/// Writes to standard output; a reader that has gone away is not a failure.
///
/// # Errors
///
/// When the text is lost, on a full disk for example: a command must not succeed if nobody got its report.
fn print(text: impl AsRef<[u8]>) -> Result<(), Error> {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::Write(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
