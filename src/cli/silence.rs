//! `hospital silence`: what some checks find is shown and does not count, until it ends by itself.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::live::say;
use super::print;
use crate::collect::{Sources, Surroundings};
use crate::config::Given;
use crate::error::Error;
use crate::model::silence::{Covered, LONGEST, LONGEST_REASON, Silence};
use crate::model::{clocks, duration, text};
use crate::os::identity;
use crate::state::{self, StateDir};

const EXAMPLE: &str = "hospital silence db 30m 'upgrade'";

#[derive(Debug, Args)]
#[command(
    override_usage = "hospital silence [OPTIONS] CHECK FOR WHY\n       hospital silence [OPTIONS] --tag TAG FOR WHY\n       \
                      hospital silence [OPTIONS] --lift CHECK\n       hospital silence [OPTIONS] --list",
    after_help = "Exit codes: 0 done, 2 a wrong name or time, 5 refused for safety, 74 it cannot be written."
)]
pub(super) struct SilenceFlags {
    /// A check or a prefix of its name, how long (at most 30 days), and why
    #[arg(value_name = "CHECK FOR WHY")]
    words: Vec<String>,
    /// Those with this tag, instead of a check
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Show the silences that are in force
    #[arg(long, conflicts_with_all = ["lift", "tag", "words"])]
    list: bool,
    /// End this silence now
    #[arg(long)]
    lift: bool,
    /// Where `serve` keeps silences and beats; HOSPITAL_STATE_DIR unless given
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Read variables from this file, as `serve` does; -FILE: if it is there
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    env_file: Option<PathBuf>,
}

/// Makes, shows or lifts silences.
pub(super) fn run(flags: &SilenceFlags, given: &Given) -> Result<ExitCode, Error> {
    let variables = flags.env_file.as_deref().map_or(Ok(Vec::new()), |path| given.read_env_file(path))?;
    let given = given.with(&variables);
    let state = given.state_dir(flags.state_dir.as_deref())?.ok_or_else(|| {
        let advice = "give --state-dir DIR, or set HOSPITAL_STATE_DIR";
        Error::Usage(format!("silences are kept in the state dir of `hospital serve`: {advice}"))
    })?;
    if flags.list {
        return list(&state);
    }
    let (covered, rest) = match (&flags.tag, &flags.words[..]) {
        (Some(tag), rest) => (Covered::Tag(tag.clone()), rest),
        (None, [check, rest @ ..]) => (Covered::Check(check.clone()), rest),
        (None, []) => {
            return Err(Error::Usage(format!("say which check, for how long, and why, as in {EXAMPLE}; or --list")));
        }
    };
    let now = state::now();
    if flags.lift {
        if !rest.is_empty() {
            return Err(Error::Usage("--lift takes the check or the tag, and nothing else".to_owned()));
        }
        state.change_silences(&now, |all| {
            let before = all.len();
            all.retain(|silence| silence.covered != covered);
            match all.len() < before {
                true => Ok(()),
                false => Err(Error::Usage(format!("there is no silence of {covered}: see hospital silence --list"))),
            }
        })?;
        print(format!("the silence of {covered} has ended\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    // It would silence nothing, or everything.
    let (Covered::Check(name) | Covered::Tag(name)) = &covered;
    if name.is_empty() || name.trim() != name || name.contains(text::is_obeyed) {
        return Err(Error::Usage(format!("{name:?} is not the id of a check, nor a tag: write it as in {EXAMPLE}")));
    }
    let [length, why] = rest else {
        return Err(Error::Usage(format!("say for how long {covered} is silenced, and why, as in {EXAMPLE}")));
    };
    let length = match duration::parse_some(length) {
        Ok(length) if length <= LONGEST => length,
        Ok(_) => return Err(Error::Usage("a silence lasts at most 30 days: mend what is wrong".to_owned())),
        Err(why) => return Err(Error::Usage(format!("how long the silence lasts: {why}, as in {EXAMPLE}"))),
    };
    let why = text::line(why.trim()).into_owned();
    if why.is_empty() {
        return Err(Error::Usage(format!("say why {covered} is silenced, as in {EXAMPLE}")));
    }
    if why.len() > LONGEST_REASON {
        return Err(Error::Usage("the reason is longer than 1 KiB: say it in fewer words".to_owned()));
    }
    let silence = Silence { covered, until: now.at + length, from: now.clone(), by: caller(&given), why };
    verify_known(&silence, &given, &state)?;
    state.change_silences(&now, |all| {
        all.retain(|other| other.covered != silence.covered);
        all.push(silence.clone());
        Ok(())
    })?;
    print(format!("{}: {silence}\n", silence.covered))?;
    Ok(ExitCode::SUCCESS)
}

/// Who calls, and for whom.
fn caller(given: &Given) -> String {
    let own = identity::own_name();
    let sudo = given.environment.iter().rev().find(|(name, _)| name == "SUDO_USER");
    match sudo.map(|(_, user)| text::line(user).into_owned()).filter(|user| !user.is_empty() && *user != own) {
        Some(user) => format!("{own} (sudo by {user})"),
        None => own,
    }
}

/// Refuses a silence of what is not checked, where the names of the checks are known: a typing error would silence nothing.
fn verify_known(silence: &Silence, given: &Given, state: &StateDir) -> Result<(), Error> {
    let names = given.healthchecks();
    if names.is_empty() {
        say("whether there is such a check is not known here: HEALTHCHECKS is not set\n");
        return Ok(());
    }
    let surroundings =
        Surroundings { own: given.app.checks.clone(), state: Some(state.clone()), ..Surroundings::default() };
    match Sources::read_in(surroundings, names, "HEALTHCHECKS") {
        Err(error) => say(&format!("whether there is such a check is not known here: {error}\n")),
        Ok(sources) if sources.suite().checks().iter().any(|check| silence.covers(&check.id, &check.tags)) => {}
        Ok(sources) => {
            let known = sources.suite().known();
            return Err(Error::Usage(format!("no check is collected at {} (known: {known})", silence.covered)));
        }
    }
    Ok(())
}

fn list(state: &StateDir) -> Result<ExitCode, Error> {
    let now = state::now();
    let mut silences = state::Silences::of(state.clone());
    silences.look(&now);
    let line = |silence: &Silence| {
        let left = silence.until.duration_since(now.at).unwrap_or_default();
        let left = duration::spoken(Duration::from_secs(left.as_secs()));
        let Silence { covered, until, by, why, .. } = silence;
        format!("{covered}: {left} left, until {} by {by}: {why}\n", spoken(*until))
    };
    print(silences.in_force().iter().map(|silence| line(silence)).collect::<String>())?;
    match silences.problem() {
        None => Ok(ExitCode::SUCCESS),
        Some(why) => Err(Error::Usage(format!("not all silences can be read: {why}"))),
    }
}

fn spoken(at: SystemTime) -> String {
    clocks::spoken(at)
}
