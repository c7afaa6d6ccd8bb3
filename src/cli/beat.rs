//! `hospital beat`: a job says that it is done, by itself or because it was run here.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use clap::Args;

use super::live::say;
use crate::config::Given;
use crate::error::Error;
use crate::model::text;
use crate::os::{foreground, identity, signals};
use crate::state::{self, Beat, StateDir};

/// As a shell has it for a program that is missing, or cannot be executed.
const MISSING: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: that of the command, where one is given (128 + N when signal N ended it, 126 or 127 when \
                        it cannot be run); else 0. 74 when the beat cannot be kept, 2 for a wrong name or flag."
)]
pub(super) struct BeatFlags {
    /// What beats, as in beat:NAME
    name: String,
    /// Say that it has failed, and why
    #[arg(long, value_name = "WHY", conflicts_with = "command")]
    fail: Option<String>,
    /// Where `serve` keeps silences and beats; HOSPITAL_STATE_DIR unless given
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Run this, and say how it ended
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Keeps a beat.
pub(super) fn run(flags: &BeatFlags, given: &Given) -> Result<ExitCode, Error> {
    if !state::is_name(&flags.name) {
        return Err(Error::Usage(format!(
            "{:?} is not the name of a beat: write letters, digits, '_', '-' and '.'",
            text::line(&flags.name)
        )));
    }
    let state = || given.state_dir(flags.state_dir.as_deref());
    let none = || {
        let advice = "give --state-dir DIR, or set HOSPITAL_STATE_DIR";
        Error::Usage(format!("beats are kept in the state dir of `hospital serve`: {advice}"))
    };
    let Some((program, arguments)) = flags.command.split_first() else {
        let fail = flags.fail.as_deref().map(|why| match text::line(why.trim()) {
            why if why.is_empty() => "it has failed".to_owned(),
            why => why.into_owned(),
        });
        return keep(&state()?.ok_or_else(none)?, &flags.name, fail, None).map(|()| ExitCode::SUCCESS);
    };
    match state() {
        Ok(Some(_)) => {}
        Ok(None) => return Err(none()),
        // The job must not be left undone because nobody can be told.
        Err(error) => say(&format!("hospital: {error}\n")),
    }
    let began = Instant::now();
    let ended = foreground::run(Command::new(program).args(arguments));
    let took = began.elapsed();
    let (code, why) = judge(&ended);
    if let (Err(_), Some(why)) = (&ended, &why) {
        say(&format!("hospital: {}: {why}\n", program.display()));
    }
    let kept = state().and_then(|state| keep(&state.ok_or_else(none)?, &flags.name, why, Some((code, took))));
    match (kept, code) {
        (Ok(()), code) => Ok(ExitCode::from(code)),
        (Err(error), 0) => Err(error),
        (Err(error), code) => {
            say(&format!("hospital: {error}\n"));
            Ok(ExitCode::from(code))
        }
    }
}

/// The exit code of a program, and what was wrong with it.
fn judge(ended: &io::Result<ExitStatus>) -> (u8, Option<String>) {
    match ended {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (MISSING, Some(format!("it cannot be run: {error}"))),
        Err(error) => (NOT_EXECUTABLE, Some(format!("it cannot be run: {error}"))),
        Ok(status) => match (status.code(), status.signal()) {
            (Some(0), _) => (0, None),
            (Some(code), _) => (code as u8, Some(format!("it ended with exit code {code}"))),
            (None, signal) => {
                let signal = signal.unwrap_or_default() as u8;
                (128 + signal, Some(format!("it was ended by {}", signals::name(signal))))
            }
        },
    }
}

fn keep(state: &StateDir, name: &str, fail: Option<String>, run: Option<(u8, Duration)>) -> Result<(), Error> {
    let beat = Beat {
        when: state::now(),
        by: identity::own_name(),
        fail,
        code: run.map(|(code, _)| code.into()),
        seconds: run.map(|(_, took)| (took.as_secs_f64() * 1000.0).round() / 1000.0),
    };
    state.keep_beat(name, &beat)
}
