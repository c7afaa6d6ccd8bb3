//! The tables in `docs/`, compared with the code that they describe.

use clap::Arg;

use super::command;
use crate::checks::BUILTINS;
use crate::collect::COMMON;
use crate::daemon::master::command::SIGNALS;
use crate::endpoint::metrics;
use crate::render::exposition::{Family, Kind};
use crate::render::{FORMATS, prometheus};

/// The rows of the table in a file, below its head.
fn rows(file: &str) -> Vec<String> {
    let path = format!("{}/docs/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the file is there");
    text.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect()
}

#[track_caller]
fn compare(file: &str, expected: &[String]) {
    let rows = rows(file);
    assert!(rows == expected, "docs/{file} should have these rows:\n{}", expected.join("\n"));
}

#[test]
fn the_states_are_drawn_as_in_the_code_that_they_are_of() {
    let document = include_str!("../../docs/ARCHITECTURE.md");
    for code in [include_str!("../daemon/master/fleet/mod.rs"), include_str!("../../crates/http/src/connection.rs")] {
        let drawn =
            code.lines().skip_while(|line| *line != "//! ```text").skip(1).take_while(|line| *line != "//! ```");
        let drawn: Vec<_> = drawn.map(|line| line.trim_start_matches("//!").strip_prefix(' ').unwrap_or("")).collect();
        assert!(drawn.len() > 5 && document.contains(&drawn.join("\n")), "ARCHITECTURE.md draws\n{}", drawn.join("\n"));
    }
}

#[test]
fn every_setting_is_in_settings_md_as_the_command_line_has_it() {
    let command = command();
    let serve = command.find_subcommand("serve").expect("there is such a subcommand");
    let row = |arg: &Arg| {
        let long = arg.get_long()?;
        let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
        if !arg.get_action().takes_values() {
            return None;
        }
        let value = arg.get_value_names().unwrap_or_default().first().map(ToString::to_string).unwrap_or_default();
        let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        // `--env` sets variables; a variable for it makes no sense.
        let variable = match arg.get_id().as_str() {
            "env" => String::new(),
            id => format!("`HOSPITAL_{}`", id.to_uppercase()),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        Some(format!("| {short}`--{long}` {value} | {variable} | {} | {help} |", default.join(" ")))
    };
    compare("SETTINGS.md", &serve.get_arguments().filter_map(row).collect::<Vec<_>>());
}

#[test]
fn every_help_fits_on_80_columns_and_every_setting_stands_under_a_heading() {
    let mut program = command();
    program.build();
    for command in program.get_subcommands_mut() {
        for help in [command.render_help(), command.render_long_help()] {
            let help = help.to_string();
            let long = help.lines().find(|line| line.chars().count() > 80);
            assert_eq!(long, None, "{help}");
        }
    }
    let serve = program.find_subcommand("serve").expect("there is such a subcommand");
    let settings = serve.get_arguments().filter(|arg| arg.get_long().is_some() && arg.get_action().takes_values());
    let without: Vec<_> = settings.filter(|arg| arg.get_help_heading().is_none()).filter_map(Arg::get_long).collect();
    assert!(without.is_empty(), "{without:?} stand in no group of src/config/settings.rs");
}

#[test]
fn every_kind_and_option_is_in_checks_md() {
    let rows = rows("CHECKS.md");
    for kind in BUILTINS {
        let (start, end) = (format!("| `{}` | ", kind.scheme), format!(" | `{}` |", kind.options.join("`, `")));
        let is_it = |row: &String| row.starts_with(&start) && row.ends_with(&end);
        assert!(rows.iter().any(is_it), "docs/CHECKS.md lacks a row {start}…{end}");
    }
    for option in COMMON {
        let start = format!("| `{option}=");
        assert!(rows.iter().any(|row| row.starts_with(&start)), "docs/CHECKS.md lacks a row {start}…");
    }
}

#[test]
fn every_format_is_in_checks_md() {
    let row = rows("CHECKS.md").into_iter().find(|row| row.starts_with("| `--format F` | "));
    let row = row.expect("docs/CHECKS.md has a row for --format");
    for format in FORMATS {
        assert!(row.contains(format.name), "docs/CHECKS.md does not say that there is {}", format.name);
    }
}

#[test]
fn every_metric_is_in_endpoint_md() {
    let row = |Family { name, kind, labels, help }: &Family| {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Info => "info",
        };
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{name}` | {kind} | {} | {help} |", labels.join(", "))
    };
    let expected: Vec<_> = prometheus::FAMILIES.iter().chain(&metrics::FAMILIES).map(row).collect();
    let rows: Vec<_> = rows("ENDPOINT.md").into_iter().filter(|row| row.starts_with("| `hospital_")).collect();
    assert!(rows == expected, "docs/ENDPOINT.md should have these rows:\n{}", expected.join("\n"));
}

#[test]
fn every_signal_is_in_signals_md() {
    let rows = rows("SIGNALS.md");
    for (signal, command) in SIGNALS {
        let name = signal.as_str().trim_start_matches("SIG");
        let cells = format!("| `{name}` | {} ", format!("{command:?}").to_lowercase());
        assert!(rows.iter().any(|row| row.starts_with(&cells)), "docs/SIGNALS.md lacks a row {cells:?}");
    }
    assert_eq!(rows.len(), SIGNALS.len(), "docs/SIGNALS.md has rows for signals that are not handled");
}
