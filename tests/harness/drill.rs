//! `hospital drill`, on checks that other tests have a peer for.

use std::collections::BTreeSet;

use serde_json::Value;

use super::once::{self, hospital};

/// Drills these checks: each is sound, and notices what the row of its kind says, and nothing else.
#[track_caller]
pub(crate) fn assert_sound(flags: &[&str], names: &[String]) {
    let mut command = hospital("drill");
    command.args(["--format", "json"]).args(flags).args(names);
    let run = once::run(command);
    let drilled: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}{}", run.stdout, run.stderr));
    let mut command = hospital("list");
    command.args(["--kinds", "--json"]);
    let kinds: Value = serde_json::from_str(&once::run(command).stdout).expect("it is JSON");
    let list = |value: &Value| value.as_array().expect("it is a list").clone();
    let text = |value: &Value| value.as_str().expect("it is text").to_owned();
    for (check, name) in list(&drilled["checks"]).iter().zip(names) {
        assert_eq!(check["verdict"], "sound", "{check:#}");
        let (_, name) = name.split_once('=').filter(|(label, _)| !label.contains(':')).unwrap_or(("", name));
        let (scheme, _) = name.split_once(':').expect("it is of a kind");
        let kind = list(&kinds).into_iter().find(|kind| kind["kind"] == scheme).expect("it is known");
        let words = list(&kind["notices"]).iter().map(text).collect::<Vec<_>>();
        let always: BTreeSet<_> = words.iter().filter(|word| !word.contains(": ")).cloned().collect();
        let maybe: BTreeSet<_> = words.iter().filter_map(|word| Some(word.split_once(": ")?.0.to_owned())).collect();
        let noticed: BTreeSet<_> = list(&check["noticed"]).iter().map(text).collect();
        assert!(always.is_subset(&noticed), "{scheme} does not notice {:?}", always.difference(&noticed));
        let all: BTreeSet<_> = always.union(&maybe).cloned().collect();
        assert!(noticed.is_subset(&all), "the row of {scheme} should have {:?}", noticed.difference(&all));
    }
}
