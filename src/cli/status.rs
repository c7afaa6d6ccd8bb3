//! `hospital status`: the report of the running server, and since when each check that is bad is.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use super::ask::{Asked, Fetched, PROMPT, ROUND, Source, encoded};
use super::live::say;
use super::print;
use crate::config::Given;
use crate::error::Error;
use crate::model::episode::CheckRecord;
use crate::model::why::Why;
use crate::os::clock;
use crate::render::line::one_line;
use crate::state::StateDir;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 all is well, 1 a check failed, 2 no server answers, or another than hospital, or it does not tell us, 5 refused for safety."
)]
pub(super) struct StatusFlags {
    #[command(flatten)]
    asked: Asked,
}

#[derive(Deserialize)]
struct ServerReport {
    status: String,
    details: Vec<ServerDetail>,
    #[serde(default)]
    host: String,
    #[serde(default)]
    instance: String,
}

#[derive(Deserialize)]
struct ServerDetail {
    test: String,
    status: String,
    context: Option<String>,
    silence: Option<String>,
    /// Left out for strangers.
    id: Option<String>,
}

#[derive(Deserialize)]
struct Headline {
    headline: String,
}

/// Asks, and shows what is answered. Where nobody answers, what is in the files of the state dir is shown.
pub(super) fn run(flags: &StatusFlags, given: &Given) -> Result<ExitCode, Error> {
    let source = flags.asked.source(given)?;
    // A round takes its time; whether somebody is there is known sooner.
    let answer = source.ask("/livez", PROMPT).and_then(|_| source.ask("/?format=json&verbose", ROUND));
    let report =
        answer.and_then(|answer| serde_json::from_str::<ServerReport>(&answer.body).map_err(|_| answer.refusal()));
    let left = || source.state.as_ref().and_then(|state| Some((state.history(), remembered(state)?)));
    let report = match report {
        Ok(report) => report,
        Err(why) => {
            if let Some((place, left)) = left() {
                say(&format!("hospital: this is what was written to {}\n", place.display()));
                print(left)?;
            }
            return Err(Error::Usage(why));
        }
    };
    let (mut text, tells) = shown(&report, &source);
    // Whoever may read the files may know what is in them.
    if let (Tells::Others, Some((place, left))) = (tells, left()) {
        text += &format!("\nstrangers are told no more, and {} says:\n{left}", place.display());
    }
    print(text)?;
    Ok(ExitCode::from(u8::from(report.status != "pass")))
}

/// Whether the server tells why a check is bad.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tells {
    Us,
    Others,
    Nobody,
}

/// What the files of the state dir tell: a line for each check, and for each that cannot be read. `None`: nothing.
fn remembered(state: &StateDir) -> Option<String> {
    let ((all, unreadable), now) = (state.records(), clock::wall());
    let line = |(id, record): &(String, CheckRecord)| {
        let why = Why::of((id, ""), record.clone(), &[], Vec::new(), now);
        format!("{}: {}\n", one_line(id), one_line(&why.headline()))
    };
    let lines: String = all.iter().map(line).chain(unreadable.iter().map(|why| format!("{why}\n"))).collect();
    (!lines.is_empty()).then_some(lines)
}

/// What is wrong first, each with its headline.
fn shown(report: &ServerReport, source: &Source) -> (String, Tells) {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a string takes all");
    let is_bad = |detail: &&ServerDetail| matches!(&*detail.status, "fail" | "error" | "unexpected_success");
    let (bad, rest): (Vec<_>, Vec<_>) = report.details.iter().partition(is_bad);
    // Who tells nothing of one tells nothing of the others.
    let mut tells = Tells::Us;
    for detail in bad.iter().chain(&rest) {
        let id = detail.id.as_deref().filter(|id| *id != detail.test).map(|id| format!(" [{}]", one_line(id)));
        line(format!("{}: {}{}", one_line(&detail.status), one_line(&detail.test), id.unwrap_or_default()));
        // It ends with the silence.
        let mut headline = None;
        if let (true, Tells::Us, Some(id)) = (is_bad(detail), tells, detail.id.as_deref()) {
            match self::headline(id, source) {
                Ok(told) => headline = Some(told),
                Err(why) => tells = why,
            }
        }
        let said = headline.as_deref().or(detail.silence.as_deref());
        for told in detail.context.iter().flat_map(|context| context.lines()).chain(said) {
            line(format!("    {}", one_line(told)));
        }
    }
    let who: Vec<_> =
        [&report.host, &report.instance].into_iter().filter(|name| !name.is_empty()).map(|it| one_line(it)).collect();
    let who = if who.is_empty() { String::new() } else { format!(" on {}", who.join(", ")) };
    let count = report.details.len();
    let silenced = bad.iter().filter(|detail| detail.silence.is_some()).count();
    let counted = bad.len() - silenced;
    let besides = if silenced > 0 { format!(", and {silenced} more that are silenced") } else { String::new() };
    line(format!("\n{}{who}: {counted} of {count} checks are bad{besides}", one_line(&report.status)));
    (text, tells)
}

fn headline(id: &str, source: &Source) -> Result<String, Tells> {
    match source.ask(&format!("/why/{}?format=json", encoded(id)), PROMPT) {
        Ok(Fetched { status: 200, body, .. }) => {
            serde_json::from_str::<Headline>(&body).map(|it| it.headline).map_err(|_| Tells::Nobody)
        }
        Ok(answer) if answer.is_for_others() => Err(Tells::Others),
        Ok(_) | Err(_) => Err(Tells::Nobody),
    }
}
