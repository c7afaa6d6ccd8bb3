//! `hospital list`: which checks would run.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::check::Selection;
use super::print;
use crate::config::Given;
use crate::error::Error;
use crate::model::check::Check;

#[derive(Debug, Args)]
pub(super) struct ListFlags {
    #[command(flatten)]
    selection: Selection,
    /// Write JSON, one array
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed<'a> {
    id: &'a str,
    title: &'a str,
    kind: &'a str,
    tags: &'a [String],
    timeout: String,
    origin: &'a str,
}

impl<'a> From<&'a Check> for Listed<'a> {
    fn from(check: &'a Check) -> Listed<'a> {
        Listed {
            id: &check.id,
            title: &check.title,
            kind: check.kind,
            tags: &check.tags,
            timeout: humantime::format_duration(check.timeout).to_string(),
            origin: &check.origin,
        }
    }
}

/// Shows the selected checks.
pub(super) fn run(flags: &ListFlags, given: &Given) -> Result<ExitCode, Error> {
    let suite = flags.selection.collect(given)?;
    let rows: Vec<Listed<'_>> = suite.checks().iter().map(|check| Listed::from(&**check)).collect();
    if flags.json {
        let json = serde_json::to_string_pretty(&rows).expect("writing plain structs to memory cannot fail");
        print(format!("{json}\n"))?;
    } else {
        print(table(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[Listed<'_>]) -> String {
    let tags: Vec<_> = rows.iter().map(|row| row.tags.join(",")).collect();
    let mut cells = vec![["ID", "TITLE", "KIND", "TAGS", "TIMEOUT", "ORIGIN"]];
    cells.extend(
        rows.iter().zip(&tags).map(|(row, tags)| [row.id, row.title, row.kind, tags, &row.timeout, row.origin]),
    );
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..6).map(width).collect();
    let line = |row: &[&str; 6]| {
        let padded: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    cells.iter().map(line).collect()
}
