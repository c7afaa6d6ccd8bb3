//! What a drill found, as text: for people, as JSON, and as a report of checks for all formats that take one.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Drilled;
use super::plan::{RunEnd, Verdict};
use crate::model::check::{Finding, Status};
use crate::model::report::{Outcome, Report};
use crate::model::text;

/// What a drill found.
#[derive(Serialize)]
struct Json<'a> {
    checks: Vec<JsonCheck<'a>>,
}

#[derive(Serialize)]
struct JsonCheck<'a> {
    id: &'a str,
    verdict: &'static str,
    noticed: &'a [&'static str],
    fooled_by: Vec<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unclaimed: &'a [&'static str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    allowed: &'a [&'static str],
    why: String,
    seconds: f64,
    trials: Vec<JsonTrial<'a>>,
}

#[derive(Serialize)]
struct JsonTrial<'a> {
    sabotage: &'static str,
    does: &'static str,
    noticed: bool,
    status: &'static str,
    context: &'a str,
}

/// The drill as JSON, one object.
pub(crate) fn json(drilled: &[Drilled]) -> String {
    let checks = drilled.iter().map(|one| JsonCheck {
        id: &one.check.id,
        verdict: one.verdict.word(),
        noticed: &one.noticed,
        fooled_by: words(one),
        unclaimed: &one.unclaimed,
        allowed: &one.allowed,
        why: one.why(),
        seconds: (one.elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
        trials: one.trials.iter().map(trial).collect(),
    });
    let json = Json { checks: checks.collect() };
    serde_json::to_string_pretty(&json).expect("writing plain structs to memory cannot fail") + "\n"
}

fn words(one: &Drilled) -> Vec<&'static str> {
    let mut words: Vec<_> = one.fooled_by.iter().map(|sabotage| sabotage.word()).collect();
    words.dedup();
    words
}

fn trial(trial: &super::plan::Trial) -> JsonTrial<'_> {
    let (status, context) = match &trial.end {
        RunEnd::Found { status, context } => (status.word(), context.as_str()),
        RunEnd::Lost(why) => (Status::Error.word(), why.as_str()),
        RunEnd::Trusted => (Status::Pass.word(), "it went on with the stranger's certificate"),
    };
    JsonTrial {
        sabotage: trial.sabotage.word(),
        does: trial.sabotage.does(),
        noticed: trial.is_noticed,
        status,
        context,
    }
}

/// One check in one line or two, for people.
pub(crate) fn line(one: &Drilled) -> String {
    let mut out = String::new();
    let id = &one.check.id;
    let word = match &one.verdict {
        Verdict::Sound => "sound".to_owned(),
        Verdict::Fooled => format!("fooled by {}", spoken(&words(one))),
        Verdict::CannotFail => "cannot fail".to_owned(),
        Verdict::Unwell(_) => "unwell".to_owned(),
        Verdict::NotDrilled(_) => "not drilled".to_owned(),
    };
    // A string takes all that is written.
    let _ = write!(out, "{id} ... {word}");
    if !one.noticed.is_empty() {
        let _ = write!(out, " (noticed: {})", spoken(&one.noticed));
    }
    out.push('\n');
    let why = one.why();
    if !why.is_empty() {
        let _ = writeln!(out, "    {}", text::line(&why));
    }
    out
}

/// The last line, for people.
pub(crate) fn summary(drilled: &[Drilled], elapsed: Duration) -> String {
    let sound = drilled.iter().filter(|one| one.is_well()).count();
    let total = drilled.len();
    format!("\n{sound} of {total} sound, in {:.1} s\n", elapsed.as_secs_f64())
}

/// The words as people write them.
fn spoken(words: &[&str]) -> String {
    words.iter().map(|word| word.replace('_', " ")).collect::<Vec<_>>().join(", ")
}

/// The drill as a report of checks: what is sound passes, what is not fails, what was not drilled is an error.
pub(crate) fn report(drilled: &[Drilled]) -> Report {
    let outcome = |one: &Drilled| {
        let status = match &one.verdict {
            Verdict::Sound => Status::Pass,
            Verdict::Fooled | Verdict::CannotFail => Status::Fail,
            Verdict::Unwell(_) | Verdict::NotDrilled(_) => Status::Error,
        };
        let said = line(one);
        let said = said.trim_end().strip_prefix(&format!("{} ... ", one.check.id)).unwrap_or_default().to_owned();
        let finding = Finding::new(status, said);
        Outcome { check: Arc::clone(&one.check), finding, elapsed: one.elapsed, age: one.elapsed, judgement: None }
    };
    Report::of_outcomes(drilled.iter().map(outcome).collect())
}

/// An annotation of a workflow of GitHub for each check that is not sound.
pub(crate) fn annotations(drilled: &[Drilled]) -> String {
    let escaped = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let annotation = |one: &Drilled| {
        let said = line(one);
        format!("::error title=hospital drill::{}\n", escaped(said.trim_end()))
    };
    drilled.iter().filter(|one| !one.is_well()).map(annotation).collect()
}
