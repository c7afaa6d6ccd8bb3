//! `hospital why`: since when a check is bad, and what was different when it was well.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::ask::{Asked, PROMPT, Source, encoded};
use super::live::say;
use super::print;
use crate::config::Given;
use crate::error::Error;
use crate::model::id;
use crate::model::why::Why;
use crate::os::clock;
use crate::render;
use crate::render::line::one_line;
use crate::state::StateDir;

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 told, 2 nothing is known of such a check or nobody tells, 5 refused for safety.")]
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
    if flags.check.trim().is_empty() {
        return Err(Error::Usage("say which check: its id, as `hospital status` shows it".to_owned()));
    }
    let source = flags.asked.source(given)?;
    let told = match (asked(flags, &source), &source.state) {
        (Ok(told), _) => told,
        (Err(NotTold::Refused(why)), _) | (Err(NotTold::Hidden(why) | NotTold::Unanswered(why)), None) => {
            return Err(Error::Usage(why));
        }
        // Whoever may read the files may know what is in them.
        (Err(NotTold::Hidden(why) | NotTold::Unanswered(why)), Some(state)) => {
            let told = remembered(flags, state).map_err(|missing| Error::Usage(format!("{why}, and {missing}")))?;
            say(&format!("hospital: {why}: this is what it has written to {}\n", state.history().display()));
            told
        }
    };
    print(told)?;
    Ok(ExitCode::SUCCESS)
}

/// Why a server has not told what it was asked for.
enum NotTold {
    /// No server has answered.
    Unanswered(String),
    /// It tells others only.
    Hidden(String),
    /// It knows no such check, or is another server.
    Refused(String),
}

/// What the server tells.
fn asked(flags: &WhyFlags, source: &Source) -> Result<Vec<u8>, NotTold> {
    #[derive(Deserialize)]
    struct Told {
        id: String,
        #[serde(rename = "headline")]
        _headline: String,
    }
    let ask = |format: &str| {
        let path = format!("/why/{}?format={format}", encoded(&flags.check));
        let answer = source.ask(&path, PROMPT).map_err(NotTold::Unanswered)?;
        match answer.status {
            200 => Ok(answer),
            _ if answer.is_for_others() => Err(NotTold::Hidden(answer.refusal())),
            _ => Err(NotTold::Refused(answer.refusal())),
        }
    };
    // Whatever answers there may say 200: this tells whether it is hospital.
    let json = ask("json")?;
    let Ok(Told { id, .. }) = serde_json::from_str(&json.body) else { return Err(NotTold::Refused(json.refusal())) };
    match flags.format {
        WhyFormat::Json => Ok(json.body.into_bytes()),
        WhyFormat::Text => match ask("text")? {
            text if text.body.starts_with(&one_line(&id)) => Ok(text.body.into_bytes()),
            other => Err(NotTold::Refused(other.refusal())),
        },
    }
}

/// What the files of the state dir tell.
fn remembered(flags: &WhyFlags, state: &StateDir) -> Result<Vec<u8>, String> {
    let (all, _) = state.records();
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
