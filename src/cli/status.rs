//! `hospital status`: the report of the running server, and since when each check that is bad is.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use super::ask::{Answer, Asked, Source, encoded};
use super::print;
use crate::config::Given;
use crate::error::Error;
use crate::render::line::one_line;

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all is well, 1 a check failed, 2 no server answers, 5 refused for safety.")]
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

/// Asks, and shows what is answered.
pub(super) fn run(flags: &StatusFlags, given: &Given) -> Result<ExitCode, Error> {
    let source = flags.asked.source(given)?;
    let answer = source.ask("/?format=json&verbose").map_err(Error::Usage)?;
    let report: ServerReport = serde_json::from_str(&answer.body).map_err(|_| Error::Usage(answer.message()))?;
    print(shown(&report, &source))?;
    Ok(ExitCode::from(u8::from(report.status != "pass")))
}

/// What is wrong first, each with its headline.
fn shown(report: &ServerReport, source: &Source) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a string takes all");
    let is_bad = |detail: &&ServerDetail| matches!(&*detail.status, "fail" | "error" | "unexpected_success");
    let (bad, rest): (Vec<_>, Vec<_>) = report.details.iter().partition(is_bad);
    for detail in bad.iter().chain(&rest) {
        let id = detail.id.as_deref().filter(|id| *id != detail.test).map(|id| format!(" ({})", one_line(id)));
        line(format!("{}: {}{}", one_line(&detail.status), one_line(&detail.test), id.unwrap_or_default()));
        for told in detail.context.iter().flat_map(|context| context.lines()).chain(detail.silence.as_deref()) {
            line(format!("    {}", one_line(told)));
        }
        if is_bad(detail)
            && let Some(headline) = detail.id.as_deref().and_then(|id| headline(id, source))
        {
            line(format!("    {}", one_line(&headline)));
        }
    }
    let who: Vec<_> =
        [&report.host, &report.instance].into_iter().filter(|name| !name.is_empty()).map(|it| one_line(it)).collect();
    let who = if who.is_empty() { String::new() } else { format!(" on {}", who.join(", ")) };
    let count = report.details.len();
    line(format!("\n{}{who}: {} of {count} checks are bad", one_line(&report.status), bad.len()));
    text
}

fn headline(id: &str, source: &Source) -> Option<String> {
    match source.ask(&format!("/why/{}?format=json", encoded(id))) {
        Ok(Answer { status: 200, body }) => serde_json::from_str::<Headline>(&body).ok().map(|it| it.headline),
        Ok(_) | Err(_) => None,
    }
}
