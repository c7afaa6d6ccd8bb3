//! `hospital list`: which checks would run.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::check::Selection;
use super::{explain, lint, live, print};
use crate::config::Given;
use crate::error::Error;
use crate::model::check::{Check, Severity};
use crate::model::schedule::Schedule;
use crate::model::suite::Suite;

#[derive(Debug, Args)]
pub(super) struct ListFlags {
    #[command(flatten)]
    selection: Selection,
    /// Show the options of each check too, with the defaults of those that are not given
    #[arg(short, long)]
    verbose: bool,
    /// Show the kinds of checks that there are instead, each with an example
    #[arg(long, conflicts_with_all = ["names", "verbose"])]
    kinds: bool,
    /// Write JSON, one array
    #[arg(long)]
    json: bool,
    /// Show which checks cannot mean what they say, instead
    #[arg(long)]
    lint: bool,
    /// Show what needs what: each check under what it needs
    #[arg(long, conflicts_with_all = ["json", "verbose"])]
    tree: bool,
}

#[derive(Serialize)]
struct Listed<'a> {
    id: &'a str,
    title: &'a str,
    kind: &'a str,
    tags: &'a [String],
    timeout: String,
    #[serde(flatten)]
    schedule: Option<ListedSchedule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<BTreeMap<&'a str, &'a str>>,
    origin: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    needs: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    on_fail: Option<&'static str>,
}

#[derive(Serialize)]
struct ListedSchedule {
    every: String,
    fall: u32,
    rise: u32,
}

impl<'a> Listed<'a> {
    fn of(check: &'a Check, verbose: bool) -> Listed<'a> {
        let options = check.options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Listed {
            id: &check.id,
            title: &check.title,
            kind: check.kind,
            tags: &check.tags,
            timeout: humantime::format_duration(check.timeout).to_string(),
            schedule: check.schedule.map(|Schedule { every, fall, rise }| ListedSchedule {
                every: humantime::format_duration(every).to_string(),
                fall,
                rise,
            }),
            grace: check.grace.map(|grace| humantime::format_duration(grace).to_string()),
            options: verbose.then(|| options.collect()),
            origin: &check.origin,
            needs: &check.needs,
            on_fail: match check.on_fail {
                Severity::Warn => Some("warn"),
                Severity::Fail => None,
            },
        }
    }
}

impl Listed<'_> {
    /// The options by which what the check finds is judged, as they are written.
    fn judged(&self) -> impl Iterator<Item = String> {
        let Listed { schedule, grace, needs, on_fail, .. } = self;
        let schedule = schedule.iter().flat_map(|ListedSchedule { every, fall, rise }| {
            let counts = [("fall", *fall), ("rise", *rise)].into_iter().filter(|(_, count)| *count > 1);
            std::iter::once(format!("every={every}")).chain(counts.map(|(name, count)| format!("{name}={count}")))
        });
        let grace = grace.iter().map(|grace| format!("grace={grace}"));
        let needs = needs.iter().map(|needed| format!("needs={needed}"));
        let on_fail = on_fail.iter().map(|severity| format!("on_fail={severity}"));
        needs.chain(on_fail).chain(schedule).chain(grace)
    }
}

/// Shows the selected checks.
pub(super) fn run(flags: &ListFlags, given: &Given) -> Result<ExitCode, Error> {
    if flags.kinds {
        print(if flags.json { explain::json() } else { explain::table() })?;
        return Ok(ExitCode::SUCCESS);
    }
    let sources = flags.selection.read(given)?;
    let suite = flags.selection.select(&sources)?;
    if flags.lint {
        return linted(&suite, flags, given);
    }
    let rows: Vec<Listed<'_>> = suite.checks().iter().map(|check| Listed::of(check, flags.verbose)).collect();
    if flags.tree {
        print(tree(&suite) + &paragraph(sources.notes()))?;
    } else if flags.json {
        let json = serde_json::to_string_pretty(&rows).expect("writing plain structs to memory cannot fail");
        print(format!("{json}\n"))?;
        sources.notes().iter().for_each(|note| live::say(&format!("{note}\n")));
    } else {
        print(table(&rows, flags.verbose) + &paragraph(sources.notes()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what is wrong with checks; the exit code is 1 if there is something.
fn linted(suite: &Suite, flags: &ListFlags, given: &Given) -> Result<ExitCode, Error> {
    let found = lint::lint(suite, given.request_timeout());
    if flags.json {
        let json = serde_json::to_string_pretty(&found).expect("writing plain structs to memory cannot fail");
        print(format!("{json}\n"))?;
    } else {
        print(found.iter().map(|lint| format!("{}: {}\n", lint.id, lint.why)).collect::<String>())?;
    }
    Ok(ExitCode::from(u8::from(!found.is_empty())))
}

/// Each check under the first thing that it needs, with whatever else it needs beside it.
fn tree(suite: &Suite) -> String {
    let ids: Vec<_> = suite.checks().iter().map(|check| check.id.as_str()).collect();
    let parents = |place| suite.needs().map_or(&[][..], |needs| needs.parents(place));
    let mut under: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
    for place in 0..ids.len() {
        under.entry(parents(place).first().copied()).or_default().push(place);
    }
    let mut lines = String::new();
    // The next last; with each, how deep it is.
    let mut next: Vec<(usize, usize)> =
        under.remove(&None).into_iter().flatten().rev().map(|place| (place, 0)).collect();
    while let Some((place, depth)) = next.pop() {
        let others: Vec<_> = parents(place).iter().skip(1).map(|&parent| ids[parent]).collect();
        let others = if others.is_empty() { String::new() } else { format!("  (also needs {})", others.join(", ")) };
        let as_needed = if suite.is_as_needed(place) { "  (as needed)" } else { "" };
        let branch = if depth == 0 { "" } else { "└─ " };
        let indent = "   ".repeat(depth.saturating_sub(1));
        lines += &format!("{indent}{branch}{}{others}{as_needed}\n", ids[place]);
        next.extend(under.remove(&Some(place)).into_iter().flatten().rev().map(|child| (child, depth + 1)));
    }
    lines
}

/// Lines below the table, if there are any.
fn paragraph(notes: &[String]) -> String {
    let lines = notes.iter().map(|note| format!("\n{note}"));
    if notes.is_empty() { String::new() } else { lines.collect::<String>() + "\n" }
}

fn table(rows: &[Listed<'_>], verbose: bool) -> String {
    let pair = |(name, value): (&&str, &&str)| format!("{name}={value}");
    let options = |row: &Listed<'_>| row.options.iter().flatten().map(pair).chain(row.judged()).collect::<Vec<_>>();
    let head = ["ID", "TITLE", "KIND", "TAGS", "TIMEOUT", "ORIGIN", "OPTIONS"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        let [id, title, kind, origin] = [row.id, row.title, row.kind, row.origin].map(str::to_owned);
        [id, title, kind, row.tags.join(","), row.timeout.clone(), origin, options(row).join(" ")]
    });
    let cells: Vec<_> = std::iter::once(head).chain(cells).collect();
    let shown = if verbose { 7 } else { 6 };
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..shown).map(width).collect();
    let line = |row: &[String; 7]| {
        let padded: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    cells.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Finding;

    #[test]
    fn what_a_check_is_judged_by_is_shown_with_its_options() {
        let minute = std::time::Duration::from_secs(60);
        let check = Check::new("db", |_| Finding::PASS).needs(["dns"]).on_fail(Severity::Warn).grace(minute);
        let check = check.schedule(Schedule { every: 10 * minute, fall: 3, rise: 1 });
        let expected = ["needs=dns", "on_fail=warn", "every=10m", "fall=3", "grace=1m"];
        assert_eq!(Listed::of(&check, true).judged().collect::<Vec<_>>(), expected);
        assert!(table(&[Listed::of(&check, true)], true).trim_end().ends_with(&expected.join(" ")));
    }

    #[test]
    fn each_check_stands_under_what_it_needs() {
        let needing =
            |(id, needs): (&str, &[&str])| Check::new(id, |_| Finding::PASS).needs(needs.iter().copied()).into();
        let all: [(&str, &[&str]); 5] =
            [("shop", &["api", "dns"]), ("mail", &["dns"]), ("api", &["db"]), ("db", &[]), ("dns", &[])];
        let suite: Suite = all.into_iter().map(needing).collect();
        insta::assert_snapshot!(tree(&suite), @r"
        db
        └─ api
           └─ shop  (also needs dns)
        dns
        └─ mail
        ");
        insta::assert_snapshot!(tree(&suite.at("mail")), @r"
        dns  (as needed)
        └─ mail
        ");
    }
}
