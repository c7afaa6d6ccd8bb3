//! `python:shop.healthchecks#timeout=2s&tag=readiness`, or a dotted name that is registered nowhere: tests in Python.

use super::spec::{COMMON, Common, PYTHON};
use crate::checks::Options;
use crate::checks::support::secrets::{self, Secrets};
use crate::error::Error;
use crate::model::amount;
use crate::model::check::{Check, Code, DEFAULT_TIMEOUT};
use crate::model::id;
use crate::python::{Python, Refusal, Runs, Test};
use std::time::Duration;

/// The option that these have beside the common ones: how much memory a run may take beside what is imported.
pub(super) const MEMORY: &str = "memory";

impl Refusal {
    /// As an error of the name that was to be collected.
    pub(super) fn error(self, tell: impl FnOnce(&str) -> Error) -> Error {
        match self {
            Refusal::Missing(why) | Refusal::Refused(why) => tell(&why),
            Refusal::Unsafe(error) => error,
        }
    }
}

/// What a name in Python has collected.
pub(super) struct CollectedTests {
    pub(super) checks: Vec<Check>,
    pub(super) notes: Vec<String>,
    /// Whether nothing was changed in them.
    pub(super) are_unchanged: bool,
}

/// The checks at a name in Python, with the changes that the options make. `label` names a single one.
pub(super) fn collect(
    python: &Python,
    name: &str,
    label: Option<&str>,
    mut options: Options,
    secrets: &mut Secrets,
) -> Result<CollectedTests, Refusal> {
    let refused = Refusal::Refused;
    let is_known = |name: &str| COMMON.contains(&name) || name == MEMORY;
    if let Some(unknown) = options.names().find(|name| !is_known(name)) {
        let known = || COMMON.into_iter().chain([MEMORY]);
        let unknown = secrets::quotable_name(unknown, known());
        let known = known().collect::<Vec<_>>().join(", ");
        return Err(refused(format!("the kind {PYTHON:?} has no option {unknown:?} (known: {known})")));
    }
    let are_unchanged = label.is_none() && options.names().next().is_none();
    let is_titled = options.names().any(|name| name == "title");
    let common = Common::take(&mut options).map_err(refused)?;
    let memory = options.parse(MEMORY, amount::size).map_err(Refusal::Refused)?;
    let name = if name.starts_with(['.', '/']) { name.to_owned() } else { id::dotted(name) };
    let (tests, mut notes) = python.collect(&name)?;
    if tests.len() > 1 && (label.is_some() || is_titled) {
        return Err(Refusal::Refused(format!("it has {} checks, which cannot share a name or a title", tests.len())));
    }
    let Some(runs) = python.runs() else {
        return Ok(CollectedTests { checks: Vec::new(), notes, are_unchanged });
    };
    if memory.is_some() && runs.code() == Code::Function {
        notes.push(format!("{name}: {MEMORY} limits a process of its own, and here is none, so it is not heeded"));
    }
    let hidden = Secrets::default().within(secrets);
    let check = |test: Test| {
        let mut check = check(test, runs.clone(), memory, hidden.clone());
        common.apply(&mut check).map_err(Refusal::Refused)?;
        if let Some(label) = label {
            check.id = label.to_owned();
        }
        Ok(check)
    };
    let checks = tests.into_iter().map(check).collect::<Result<_, Refusal>>()?;
    Ok(CollectedTests { checks, notes, are_unchanged })
}

fn check(test: Test, runs: Runs, memory: Option<u64>, hidden: Secrets) -> Check {
    let Test { id, title, timeout, tags } = test;
    let timeout = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let test = id.clone();
    let code = runs.code();
    let action = move |deadline| {
        let mut finding = runs.run(&test, memory, deadline);
        if !hidden.is_empty() {
            finding.context = finding.context.map(|context| hidden.scrub(&context));
        }
        finding
    };
    let check = Check::new(id, action).title(title).tags(tags).timeout(timeout.unwrap_or(DEFAULT_TIMEOUT));
    let options = memory.map(|bytes| (MEMORY.to_owned(), amount::spoken(bytes)));
    Check { kind: PYTHON, code, options: options.into_iter().collect(), ..check }
}
