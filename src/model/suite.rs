//! The checks collected for one request, and parts of it.

use std::collections::HashSet;
use std::sync::Arc;

use super::check::Check;
use super::clocks::Clocks;
use super::id;
use super::silence::Silence;

/// The checks collected for one request, each id once, in the order in which they were named.
#[derive(Clone, Debug, Default)]
pub struct Suite {
    checks: Arc<[Arc<Check>]>,
    has_grace: bool,
    has_silences: bool,
}

impl Suite {
    /// The checks, in order.
    pub fn checks(&self) -> &[Arc<Check>] {
        &self.checks
    }

    /// Whether a check has a grace.
    pub(crate) fn has_grace(&self) -> bool {
        self.has_grace
    }

    /// Whether a check is silenced.
    pub(crate) fn has_silences(&self) -> bool {
        self.has_silences
    }

    /// The same checks, silenced by these and no others. Where several cover one, that which ends last.
    pub(crate) fn silenced(&self, silences: &[Arc<Silence>]) -> Suite {
        if silences.is_empty() && !self.has_silences {
            return self.clone();
        }
        let silenced = |check: &Arc<Check>| {
            let silence = silences
                .iter()
                .filter(|silence| silence.covers(&check.id, &check.tags))
                .max_by_key(|silence| silence.until);
            match silence == check.silence.as_ref() {
                true => check.clone(),
                false => Arc::new(Check { silence: silence.cloned(), ..(**check).clone() }),
            }
        };
        self.checks.iter().map(silenced).collect()
    }

    /// The same checks without the silences that have ended; `None`: all are in force.
    pub(crate) fn without_ended(&self, now: &Clocks) -> Option<Suite> {
        let silences: Vec<_> = self.checks.iter().filter_map(|check| check.silence.clone()).collect();
        let in_force: Vec<_> = silences.iter().filter(|silence| silence.is_in_force(now)).cloned().collect();
        (in_force.len() < silences.len()).then(|| self.silenced(&in_force))
    }

    /// The checks that fulfil a condition.
    pub(crate) fn filtered(&self, wanted: impl Fn(&Check) -> bool) -> Suite {
        self.checks.iter().filter(|check| wanted(check)).cloned().collect()
    }

    /// Whether it is the very same suite, from the same collection.
    pub fn is(&self, other: &Suite) -> bool {
        Arc::ptr_eq(&self.checks, &other.checks)
    }

    /// The part of the suite at or under a dotted path; empty when nothing is there.
    pub fn at(&self, path: &str) -> Suite {
        let dotted = id::dotted(path);
        // An address may contain `::`, and means it literally.
        let wanted = |it: &str| id::is_at(it, &dotted) || id::is_at(it, path);
        self.filtered(|check| wanted(&check.id))
    }

    /// The part of the suite that has one of these tags, if there are any, and is not at or under one of these names.
    pub fn select(&self, tags: &[String], excluded: &[String]) -> Suite {
        if tags.is_empty() && excluded.is_empty() {
            return self.clone();
        }
        let tagged = |check: &Check| tags.is_empty() || check.tags.iter().any(|tag| tags.contains(tag));
        let excluded: Vec<_> = excluded.iter().map(|name| self.at(name)).collect();
        let excluded: HashSet<_> = excluded.iter().flat_map(Suite::checks).map(|check| &check.id).collect();
        self.filtered(|check| tagged(check) && !excluded.contains(&check.id))
    }

    /// The ids, joined for a message.
    pub fn known(&self) -> String {
        id::listed(self.checks.iter().map(|check| check.id.clone()))
    }
}

impl FromIterator<Arc<Check>> for Suite {
    /// Of several checks with the same id, the first stays.
    fn from_iter<I: IntoIterator<Item = Arc<Check>>>(checks: I) -> Suite {
        let mut seen = HashSet::new();
        let checks: Arc<[_]> = checks.into_iter().filter(|check| seen.insert(check.id.clone())).collect();
        let has_grace = checks.iter().any(|check| check.grace.is_some());
        Suite { has_grace, has_silences: checks.iter().any(|check| check.silence.is_some()), checks }
    }
}
