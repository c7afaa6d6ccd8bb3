//! `hospital why`: since when a check is bad, and what was different when it was well.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::ask::{Answer, Asked, encoded};
use super::live::say;
use super::print;
use crate::config::Given;
use crate::error::Error;
use crate::model::id;
use crate::model::why::Why;
use crate::os::clock;
use crate::render;
use crate::state::StateDir;

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 told, 2 nothing is known of such a check, 5 refused for safety.")]
pub(super) struct WhyFlags {
    /// The check
    #[arg(value_name = "CHECK")]
    check: String,
    #[command(flatten)]
    asked: Asked,
    /// As text for people or as JSON for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: WhyFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WhyFormat {
    Text,
    Json,
}

/// Asks the server, or reads what it has left.
pub(super) fn run(flags: &WhyFlags, given: &Given) -> Result<ExitCode, Error> {
    let source = flags.asked.source(given)?;
    let format = match flags.format {
        WhyFormat::Text => "text",
        WhyFormat::Json => "json",
    };
    let told = match source.ask(&format!("/why/{}?format={format}", encoded(&flags.check))) {
        Ok(Answer { status: 200, body }) => body.into_bytes(),
        Ok(answer) => return Err(Error::Usage(answer.message())),
        Err(why) => {
            let Some(state) = &source.state else { return Err(Error::Usage(why)) };
            let told = remembered(flags, state).map_err(|missing| Error::Usage(format!("{why}, and {missing}")))?;
            say(&format!("hospital: {why}: this is what it has left in {}\n", state.history().display()));
            told
        }
    };
    print(told)?;
    Ok(ExitCode::SUCCESS)
}

/// What the files of the state dir tell.
fn remembered(flags: &WhyFlags, state: &StateDir) -> Result<Vec<u8>, String> {
    let all = state.records();
    let is_it = |name: &str| name == flags.check;
    let under: Vec<_> = all.iter().filter(|(name, _)| id::is_at(name, &flags.check)).collect();
    let found = all.iter().find(|(name, _)| is_it(name)).or(match under[..] {
        [one] => Some(one),
        _ => None,
    });
    let Some((name, record)) = found else {
        // It may be there and unreadable.
        state.record(&flags.check)?;
        let known = id::listed(all.iter().map(|(name, _)| name.clone()));
        return Err(format!("{} remembers nothing of {:?} (known: {known})", state.history().display(), flags.check));
    };
    let happenings = state.happenings().unwrap_or_default();
    let why = Why::of((name, name), record.clone(), &all, happenings, clock::wall());
    let mut out = Vec::new();
    match flags.format {
        WhyFormat::Text => render::why::text(&why, &mut out),
        WhyFormat::Json => render::why::json(&why, &mut out),
    }
    Ok(out)
}
