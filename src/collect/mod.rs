//! Names → suite: the grammar of what HEALTHCHECKS and the command line hold.

pub mod registry;

use std::collections::HashSet;
use std::sync::Arc;

use crate::check::Check;
use crate::error::Error;

/// The checks collected for one request, each id once, in the order they were named.
#[derive(Clone, Debug, Default)]
pub struct Suite {
    checks: Vec<Arc<Check>>,
}

impl Suite {
    /// The checks, in order.
    pub fn checks(&self) -> &[Arc<Check>] {
        &self.checks
    }

    /// The part of the suite at or under a dotted path; empty when nothing is there.
    pub fn at(&self, path: &str) -> Suite {
        let path = registry::dotted(path);
        Suite { checks: self.checks.iter().filter(|check| registry::is_at(&check.id, &path)).cloned().collect() }
    }

    /// The ids, joined for a message.
    pub fn known(&self) -> String {
        listed(self.checks.iter().map(|check| check.id.clone()))
    }
}

impl FromIterator<Arc<Check>> for Suite {
    /// The first check of an id stays.
    fn from_iter<I: IntoIterator<Item = Arc<Check>>>(checks: I) -> Suite {
        let mut seen = HashSet::new();
        Suite { checks: checks.into_iter().filter(|check| seen.insert(check.id.clone())).collect() }
    }
}

/// Collects what the names say. `origin` is where they stand, for the message when one is wrong.
///
/// Overlapping names collect a check once. A name that collects nothing is an error, so that a
/// slip of the pen never makes a green report.
pub fn collect<S: AsRef<str>>(names: &[S], origin: &str) -> Result<Suite, Error> {
    let mut collected = Vec::new();
    for name in names.iter().map(AsRef::as_ref) {
        let found = registry::at(name);
        if found.is_empty() {
            let known = listed(registry::registered().map(registry::Registered::id));
            return Err(Error::Usage(format!(
                "{origin} names {name:?}, but no check is registered there (known: {known})"
            )));
        }
        collected.extend(found);
    }
    Ok(collected.into_iter().collect())
}

/// The first names in full, the rest as a count: a message stays one line, whatever is collected.
fn listed(names: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 20;
    let names: Vec<_> = names.collect();
    match names.len() {
        0 => "none".to_owned(),
        n if n <= SHOWN => names.join(", "),
        n => format!("{}, and {} more", names[..SHOWN].join(", "), n - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREDICTABLE: &str = "hospital.healthchecks.predictable";

    fn ids(suite: &Suite) -> Vec<&str> {
        suite.checks().iter().map(|check| check.id.as_str()).collect()
    }

    #[test]
    fn a_dotted_path_collects_what_is_at_and_under_it() {
        for name in [PREDICTABLE, "hospital", "hospital.healthchecks.predictable.collected"] {
            let suite = collect(&[name], "HEALTHCHECKS").expect("it is registered");
            assert_eq!(ids(&suite), ["hospital.healthchecks.predictable.collected"], "{name}");
        }
    }

    #[test]
    fn rust_paths_are_dotted_paths() {
        assert!(collect(&["hospital::healthchecks::predictable"], "HEALTHCHECKS").is_ok());
    }

    #[test]
    fn half_a_name_is_not_a_prefix() {
        let error = collect(&["hospital.health"], "HEALTHCHECKS").expect_err("no such path");
        assert_eq!(
            error.to_string(),
            "HEALTHCHECKS names \"hospital.health\", but no check is registered there \
             (known: hospital.healthchecks.predictable.collected)"
        );
        assert_eq!(error.code(), 2);
    }

    #[test]
    fn overlapping_names_collect_a_check_once() {
        let suite = collect(&["hospital", PREDICTABLE], "HEALTHCHECKS").expect("both are registered");
        assert_eq!(suite.checks().len(), 1);
    }

    #[test]
    fn a_part_of_a_suite_is_selected_by_path() {
        let suite = collect(&["hospital"], "HEALTHCHECKS").expect("it is registered");
        assert_eq!(suite.at(PREDICTABLE).checks().len(), 1);
        assert_eq!(suite.at("hospital.nothing").checks().len(), 0);
    }

    #[test]
    fn a_long_list_is_cut_to_one_readable_line() {
        let text = listed((0..1000).map(|n| format!("check.{n}")));
        assert!(text.ends_with("check.19, and 980 more"), "{text}");
    }
}
