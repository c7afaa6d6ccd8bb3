//! What checks need of each other: names become places in a suite, circles are found, and of a bad check and all that needs
//! it, directly or not, only the check itself is a cause. Pure.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use super::check::Check;
use super::id;

/// The needs of the checks of a suite. All numbers are places in it.
#[derive(Debug)]
pub(crate) struct Needs {
    /// What each check needs directly.
    parents: Vec<Vec<usize>>,
    /// All checks, each after what it needs, else as near to the order of the suite as can be.
    order: Vec<usize>,
    /// Why a check can never be run.
    faults: HashMap<usize, Fault>,
    /// The checks that were not selected, but something that was needs them.
    as_needed: BTreeSet<usize>,
}

/// What is known about a check that something needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It keeps nothing from being run, or nothing is known yet.
    Fine,
    /// It was run, or should have been, and is bad.
    Bad,
    /// It was not run because of what it needs itself, and that is bad.
    Blocked,
}

/// What is wrong with what a check needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing of this name is in the suite.
    Missing(String),
    /// The name is its own, or a path that it is under.
    Itself(String),
    /// The way from the check back to itself, which is both the first and the last.
    Circle(Vec<String>),
    /// It was left out by whoever selected the check.
    Excluded(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing(name) => write!(f, "needs {name}, which is not collected"),
            Fault::Itself(name) => write!(f, "needs itself, by the name of {name}"),
            Fault::Circle(way) => write!(f, "needs itself: {}", way.join(" needs ")),
            Fault::Excluded(id) => write!(f, "needs {id}, which is left out"),
        }
    }
}

impl Needs {
    /// Those of these checks; `None` if none of them needs anything.
    pub(crate) fn of(checks: &[Arc<Check>]) -> Option<Needs> {
        if checks.iter().all(|check| check.needs.is_empty()) {
            return None;
        }
        let ids: HashMap<_, _> = checks.iter().enumerate().map(|(place, check)| (check.id.as_str(), place)).collect();
        let mut named: HashMap<&str, Vec<usize>> = HashMap::new();
        let (mut parents, mut faults) = (Vec::with_capacity(checks.len()), HashMap::new());
        for (place, check) in checks.iter().enumerate() {
            let mut its = Vec::new();
            for name in &check.needs {
                let found = named.entry(name).or_insert_with(|| resolved(name, &ids, checks));
                if found.is_empty() {
                    faults.entry(place).or_insert_with(|| Fault::Missing(name.clone()));
                } else if found.contains(&place) {
                    faults.entry(place).or_insert_with(|| Fault::Itself(name.clone()));
                } else {
                    its.extend(found.iter().copied().filter(|parent| !its.contains(parent)).collect::<Vec<_>>());
                }
            }
            parents.push(its);
        }
        Some(Needs::sorted(parents, faults, BTreeSet::new(), checks))
    }

    /// The needs with their order. What cannot be run needs nothing, so there is no circle left.
    fn sorted(
        mut parents: Vec<Vec<usize>>,
        mut faults: HashMap<usize, Fault>,
        as_needed: BTreeSet<usize>,
        checks: &[Arc<Check>],
    ) -> Needs {
        faults.keys().for_each(|&place| parents[place].clear());
        let mut order = Vec::with_capacity(parents.len());
        let (mut seen, mut placed) = (vec![false; parents.len()], vec![false; parents.len()]);
        for start in 0..parents.len() {
            if std::mem::replace(&mut seen[start], true) {
                continue;
            }
            // A way down the needs, with how many of each check's needs were looked at: it may be longer than a stack.
            let mut way = vec![(start, 0)];
            while let Some((place, looked_at)) = way.last_mut() {
                let Some(&parent) = parents[*place].get(*looked_at) else {
                    placed[*place] = true;
                    order.push(*place);
                    way.pop();
                    continue;
                };
                *looked_at += 1;
                if !std::mem::replace(&mut seen[parent], true) {
                    way.push((parent, 0));
                } else if !placed[parent] {
                    let first = way.iter().position(|(place, _)| *place == parent).expect("it is on the way");
                    let circle: Vec<_> = way[first..].iter().map(|(place, _)| *place).collect();
                    for (turn, place) in circle.iter().enumerate() {
                        let round = circle[turn..].iter().chain(&circle[..=turn]);
                        let names = round.map(|&place| checks[place].id.clone()).collect();
                        faults.entry(*place).or_insert(Fault::Circle(names));
                        parents[*place].clear();
                    }
                }
            }
        }
        Needs { parents, order, faults, as_needed }
    }

    /// Those of the part of a suite that has the checks at these places and all that they need, and the places of that. What
    /// is `excluded` is not in it, even if it is needed.
    pub(crate) fn part(
        &self,
        selected: &[usize],
        excluded: impl Fn(usize) -> bool,
        checks: &[Arc<Check>],
    ) -> (Vec<usize>, Option<Needs>) {
        let mut kept: BTreeSet<usize> = BTreeSet::new();
        let mut added = selected.to_vec();
        while let Some(place) = added.pop() {
            if kept.insert(place) {
                added.extend(self.parents[place].iter().filter(|&&parent| !excluded(parent)));
            }
        }
        let places: Vec<_> = kept.into_iter().collect();
        let new: HashMap<_, _> = places.iter().enumerate().map(|(new, &old)| (old, new)).collect();
        let mut faults = HashMap::new();
        let mut parents = Vec::with_capacity(places.len());
        for (place, old) in places.iter().enumerate() {
            if let Some(fault) = self.faults.get(old) {
                faults.insert(place, fault.clone());
            }
            for parent in &self.parents[*old] {
                if !new.contains_key(parent) {
                    faults.entry(place).or_insert_with(|| Fault::Excluded(checks[*parent].id.clone()));
                }
            }
            parents.push(self.parents[*old].iter().filter_map(|parent| new.get(parent).copied()).collect());
        }
        let selected: BTreeSet<_> = selected.iter().collect();
        let as_needed = (0..places.len()).filter(|&place| !selected.contains(&places[place])).collect();
        let kept: Vec<_> = places.iter().map(|&place| checks[place].clone()).collect();
        let is_plain = parents.iter().all(Vec::is_empty) && faults.is_empty();
        let needs = (!is_plain).then(|| Needs::sorted(parents, faults, as_needed, &kept));
        (places, needs)
    }

    /// What this check needs directly.
    pub(crate) fn parents(&self, place: usize) -> &[usize] {
        &self.parents[place]
    }

    /// The places of what keeps a check from being run and is not blocked itself.
    pub(crate) fn causes(&self, place: usize, known: impl Fn(usize) -> Known) -> Vec<usize> {
        let (mut causes, mut seen) = (Vec::new(), BTreeSet::new());
        let mut way: Vec<_> = self.parents[place].iter().rev().copied().collect();
        while let Some(parent) = way.pop() {
            match known(parent) {
                Known::Fine => {}
                Known::Bad | Known::Blocked if !seen.insert(parent) => {}
                Known::Bad => causes.push(parent),
                Known::Blocked => way.extend(self.parents[parent].iter().rev()),
            }
        }
        causes
    }

    /// All checks, each after what it needs.
    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }

    /// Why this check can never be run.
    pub(crate) fn fault(&self, place: usize) -> Option<&Fault> {
        self.faults.get(&place)
    }

    /// Whether this check was not selected, but something that was needs it.
    pub(crate) fn is_as_needed(&self, place: usize) -> bool {
        self.as_needed.contains(&place)
    }
}

/// The check with exactly this id, else all that are under it as a path.
fn resolved(name: &str, ids: &HashMap<&str, usize>, checks: &[Arc<Check>]) -> Vec<usize> {
    let dotted = id::dotted(name);
    match ids.get(name).or_else(|| ids.get(dotted.as_str())) {
        Some(&place) => vec![place],
        None => (0..checks.len())
            .filter(|&place| id::is_at(&checks[place].id, &dotted) || id::is_at(&checks[place].id, name))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Finding;
    use proptest::prelude::*;

    fn checks(all: &[(&str, &[&str])]) -> Vec<Arc<Check>> {
        let check = |&(id, needs): &(&str, &[&str])| Check::new(id, |_| Finding::PASS).needs(needs.iter().copied());
        all.iter().map(check).map(Arc::new).collect()
    }

    fn fault(all: &[(&str, &[&str])], place: usize) -> String {
        Needs::of(&checks(all)).expect("something is needed").fault(place).map(Fault::to_string).unwrap_or_default()
    }

    #[test]
    fn a_name_is_an_id_or_else_a_path() {
        let all = checks(&[
            ("shop.web", &["shop.db", "mail"]),
            ("shop.db", &[]),
            ("shop.db.replica", &["shop.db"]),
            ("mail.in", &[]),
            ("mail.out", &["shop::db"]),
            ("mailing", &[]),
        ]);
        let needs = Needs::of(&all).expect("something is needed");
        assert_eq!(needs.parents(0), [1, 3, 4], "mailing is not under mail");
        assert_eq!((needs.parents(2), needs.parents(4)), (&[1][..], &[1][..]));
        assert_eq!(needs.order(), [1, 3, 4, 0, 2, 5]);
        assert!(Needs::of(&checks(&[("a", &[]), ("b", &[])])).is_none());
    }

    #[test]
    fn what_can_never_be_run_is_told_with_the_reason() {
        assert_eq!(fault(&[("a", &["b"])], 0), "needs b, which is not collected");
        assert_eq!(fault(&[("a", &["a"])], 0), "needs itself, by the name of a");
        assert_eq!(fault(&[("shop.a", &["shop"]), ("shop.b", &[])], 0), "needs itself, by the name of shop");
        let circle: &[(&str, &[&str])] = &[("a", &["b"]), ("b", &["c"]), ("c", &["a"]), ("d", &["a"])];
        assert_eq!(fault(circle, 0), "needs itself: a needs b needs c needs a");
        assert_eq!(fault(circle, 1), "needs itself: b needs c needs a needs b");
        assert_eq!(fault(circle, 3), "", "it needs a circle and is none");
    }

    #[test]
    fn a_part_holds_what_it_needs_and_knows_why() {
        let all = checks(&[("web", &["api"]), ("mail", &[]), ("api", &["db"]), ("db", &[])]);
        let needs = Needs::of(&all).expect("something is needed");
        let (places, part) = needs.part(&[0], |_| false, &all);
        let part = part.expect("something is needed");
        assert_eq!(places, [0, 2, 3]);
        assert_eq!((part.parents(0), part.order()), (&[1][..], &[2, 1, 0][..]));
        assert_eq!([0, 1, 2].map(|place| part.is_as_needed(place)), [false, true, true]);

        let (places, part) = needs.part(&[0], |place| place == 3, &all);
        assert_eq!(places, [0, 2]);
        let fault = part.expect("something is needed").fault(1).cloned();
        assert_eq!(fault, Some(Fault::Excluded("db".to_owned())));
        let (places, part) = needs.part(&[1], |_| false, &all);
        assert!(places == [1] && part.is_none());
    }

    #[test]
    fn a_chain_of_any_length_has_an_order() {
        let names: Vec<_> = (0..50_000).map(|n| format!("c{n}")).collect();
        let check = |n: usize| {
            let check = Check::new(&names[n], |_| Finding::PASS);
            Arc::new(if n + 1 < names.len() { check.needs([&names[n + 1]]) } else { check })
        };
        let all: Vec<_> = (0..names.len()).map(check).collect();
        let needs = Needs::of(&all).expect("something is needed");
        assert!(needs.order().iter().copied().eq((0..names.len()).rev()));
    }

    proptest! {
        #[test]
        fn everything_comes_once_and_after_what_it_needs(links in proptest::collection::vec((0..8usize, 0..8usize), 0..30)) {
            let check = |n: usize| {
                let needs = links.iter().filter(|(child, _)| *child == n).map(|(_, parent)| format!("c{parent}"));
                Arc::new(Check::new(format!("c{n}"), |_| Finding::PASS).needs(needs))
            };
            let all: Vec<_> = (0..8).map(check).collect();
            let Some(needs) = Needs::of(&all) else { return Ok(()) };
            let mut order = needs.order().to_vec();
            for (index, &place) in order.iter().enumerate() {
                prop_assert!(needs.parents(place).iter().all(|parent| order[..index].contains(parent)));
                prop_assert!(needs.fault(place).is_none() || needs.parents(place).is_empty());
            }
            order.sort_unstable();
            prop_assert!(order.into_iter().eq(0..8));
        }
    }
}
