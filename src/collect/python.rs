//! `python:shop.healthchecks#timeout=2s&tag=readiness`, or a dotted name that is registered nowhere: tests in Python.

use super::spec::{COMMON, Common, PYTHON};
use crate::checks::Options;
use crate::checks::support::secrets::{self, Secrets};
use crate::error::Error;
use crate::model::amount;
use crate::model::check::{Check, DEFAULT_TIMEOUT};
use crate::model::id;
use crate::python::{CollectRefusal, Python, Test, TestRunner};
use std::time::Duration;

/// The option that these have beside the common ones: how much memory a run may take beside what is imported.
pub(super) const MEMORY: &str = "memory";

/// The least of it that is not a slip of the pen.
const LEAST: u64 = 1 << 20;

impl CollectRefusal {
    /// As an error of the name that was to be collected.
    pub(super) fn error(self, tell: impl FnOnce(&str) -> Error) -> Error {
        match self {
            CollectRefusal::Missing(why) | CollectRefusal::Refused(why) => tell(&why),
            CollectRefusal::Unsafe(error) => error,
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
) -> Result<CollectedTests, CollectRefusal> {
    let refused = CollectRefusal::Refused;
    let known: Vec<_> = COMMON.into_iter().chain([MEMORY]).collect();
    if let Some(unknown) = options.names().find(|name| !known.contains(name)) {
        return Err(refused(format!("the kind {PYTHON:?} has no option {}", secrets::unknown_name(unknown, &known))));
    }
    let are_unchanged = label.is_none() && options.names().next().is_none();
    let is_titled = options.names().any(|name| name == "title");
    let common = Common::take(&mut options).map_err(refused)?;
    let memory = options.parse(MEMORY, enough).map_err(refused)?;
    if memory.is_some() && !python.runs_in_processes() {
        return Err(CollectRefusal::Refused(format!(
            "option {MEMORY}: it limits a process, and here no check has one of its own: leave it out, or let hospital serve run it"
        )));
    }
    let name = if name.starts_with(['.', '/']) { name.to_owned() } else { id::dotted(name) };
    let (tests, notes) = python.collect(&name)?;
    if tests.len() > 1 && (label.is_some() || is_titled) {
        return Err(CollectRefusal::Refused(format!(
            "it has {} checks, which cannot share a name or a title",
            tests.len()
        )));
    }
    let Some(runs) = python.runs() else {
        return Ok(CollectedTests { checks: Vec::new(), notes, are_unchanged });
    };
    let hidden = Secrets::default().within(secrets);
    let check = |test: Test| {
        let mut check = check(test, runs.clone(), memory, hidden.clone());
        common.apply(&mut check).map_err(CollectRefusal::Refused)?;
        if let Some(label) = label {
            check.id = label.to_owned();
        }
        Ok(check)
    };
    let checks = tests.into_iter().map(check).collect::<Result<_, CollectRefusal>>()?;
    Ok(CollectedTests { checks, notes, are_unchanged })
}

/// A limit with which something can still be run.
fn enough(text: &str) -> Result<u64, String> {
    match amount::size(text)? {
        bytes if bytes < LEAST => {
            Err(format!("{} is less than any check needs: write it as 200MiB", amount::spoken(bytes)))
        }
        bytes => Ok(bytes),
    }
}

fn check(test: Test, runs: TestRunner, memory: Option<u64>, hidden: Secrets) -> Check {
    let Test { id, title, timeout, tags } = test;
    let timeout = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let test = id.clone();
    let code = runs.code();
    let check =
        Check::new(id, move |deadline| runs.run(&test, memory, deadline)).masked(move |text| hidden.scrub_cut(text));
    let check = check.title(title).tags(tags).timeout(timeout.unwrap_or(DEFAULT_TIMEOUT));
    let options = memory.map(|bytes| (MEMORY.to_owned(), amount::spoken(bytes)));
    Check { kind: PYTHON, code, options: options.into_iter().collect(), ..check }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::{Sources, Surroundings};
    use crate::os::identity::Identity;
    use std::path::Path;

    /// What these names collect where `shop.db` is compiled in and in Python, too.
    fn read(names: &[&str]) -> Result<Sources, Error> {
        let folder = tempfile::tempdir().expect("there is room for temporary files");
        let text = "def db(): pass\ndb.is_healthcheck = True\n";
        for name in ["shop.py", "more.py"] {
            std::fs::write(folder.path().join(name), text).expect("the folder is ours");
        }
        let path = folder.path().to_str().expect("a plain path").to_owned();
        let environment = vec![("PYTHONPATH".to_owned(), path)];
        let python = Python::found(Path::new("python3"), "--python", environment, Identity::default(), "hospital");
        let own = vec![Check::new("shop.db", |_| ()), Check::new("shop", |_| ())];
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Sources::read_in(Surroundings { own, python, ..Surroundings::default() }, names, "HEALTHCHECKS")
    }

    #[test]
    #[ignore = "needs python3"]
    fn a_name_that_is_compiled_in_and_in_python_means_the_first_and_is_noted() {
        let sources = read(&["shop", "more"]).expect("all are good");
        let kinds: Vec<_> = sources.suite().checks().iter().map(|check| (check.id.as_str(), check.kind)).collect();
        assert_eq!(kinds, [("shop.db", "function"), ("shop", "function"), ("more.db", "python")]);
        let [note] = sources.notes() else { panic!("{:?}", sources.notes()) };
        assert!(note.starts_with("shop is compiled in, and there is such a module in Python: "), "{note}");
        assert!(read(&["shop"]).expect("it is good").notes().is_empty(), "no Python is started to find that out");
    }

    #[test]
    #[ignore = "needs python3"]
    fn an_id_that_both_have_is_refused() {
        let error = read(&["shop", "python:shop"]).expect_err("one id").to_string();
        assert!(error.starts_with("two checks have the id \"shop.db\": shop and python:shop: "), "{error}");
    }
}
