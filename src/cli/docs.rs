//! The tables in `docs/`, compared with the code that they describe.

use std::sync::Arc;
use std::time::Duration;

use clap::Arg;

use super::explain::noticed;
use super::{command, unittest};
use crate::checks::{BUILTINS, Kind, Opt, Runs};
use crate::collect::{COMMON, Sources, Surroundings};
use crate::daemon::master::handled::SIGNALS;
use crate::endpoint::metrics;
use crate::model::check::{Check, Finding, Severity, Status};
use crate::model::judgement::{Circumstances, Scheduled, not_run_yet};
use crate::model::patience::Patience;
use crate::model::report::{Outcome, Report};
use crate::model::sabotage;
use crate::model::schedule::Schedule;
use crate::model::silence::Covered;
use crate::model::silence::tests::silence;
use crate::model::startup::Start;
use crate::render::exposition::{Family, MetricKind};
use crate::render::{FORMATS, prometheus};
use crate::round::Runner;
use crate::state::StateDir;

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
    let row = |kind: &Kind| {
        let options: Vec<_> = kind.options.iter().map(Opt::name).collect();
        let options = if options.is_empty() { String::new() } else { format!("`{}` ", options.join("`, `")) };
        format!("| `{}` | {} | `{}` | {options}|", kind.scheme, kind.passes, kind.examples.join("`, `"))
    };
    // What it means follows, for people.
    let common = COMMON.iter().map(|option| format!("| `{option}="));
    let expected = BUILTINS.iter().map(row).chain(common);
    let missing: Vec<_> = expected.filter(|row| !rows.iter().any(|there| there.starts_with(row))).collect();
    assert!(missing.is_empty(), "docs/CHECKS.md lacks these rows:\n{}", missing.join("\n"));
}

#[test]
fn what_every_kind_notices_is_in_drill_md() {
    let rows = rows("DRILL.md");
    let row = |kind: &Kind| format!("| `{}` | {} |", kind.scheme, noticed(kind));
    let missing: Vec<_> = BUILTINS.iter().map(row).filter(|row| !rows.contains(row)).collect();
    assert!(missing.is_empty(), "docs/DRILL.md lacks these rows:\n{}", missing.join("\n"));
    for word in BUILTINS.iter().flat_map(|kind| kind.notices) {
        let (word, _) = word.split_once(": ").unwrap_or((word, ""));
        assert!(sabotage::WORDS.contains(&word), "{word}");
    }
}

#[test]
fn every_default_is_in_its_row_and_in_checks_md() {
    let rows = rows("CHECKS.md");
    let folder = tempfile::tempdir().expect("a folder for the test");
    let state = StateDir::open(folder.path()).expect("it is ours");
    for kind in BUILTINS {
        let example = kind.examples[0];
        let name = match kind.runs {
            Runs::AsProgram => format!("{}:/bin/true", kind.scheme),
            Runs::Inline | Runs::OnThread | Runs::ByProgram => example.split('#').next().unwrap_or_default().to_owned(),
        };
        let read = |name: &str| {
            let surroundings = Surroundings { state: Some(state.clone()), ..Surroundings::default() };
            Sources::read_in(surroundings, vec![name.to_owned()], "the test")
        };
        let Ok(sources) = read(&name) else {
            // It has to be told what to look for.
            read(example).unwrap_or_else(|error| panic!("{example}: {error}"));
            continue;
        };
        let given = sources.suite().checks()[0].options.clone();
        let defaults =
            kind.options.iter().filter_map(|option| Some((option.name.to_owned(), option.default?.to_owned())));
        let mut defaults: Vec<_> = defaults.collect();
        let mut found = given.clone();
        defaults.sort();
        found.sort();
        assert_eq!(found, defaults, "the rows of {} should have its defaults", kind.scheme);
        let is_default = |row: &&String| !row.contains(example) && row.contains(&format!("`{}`", kind.scheme));
        let has = |(name, value): &(String, String)| {
            rows.iter().filter(is_default).any(|row| row.contains(&format!("`{name}={value}`")))
        };
        assert!(given.iter().all(has), "docs/CHECKS.md lacks {given:?} for {}", kind.scheme);
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
            MetricKind::Gauge => "gauge",
            MetricKind::Counter => "counter",
            MetricKind::Info => "info",
        };
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{name}` | {kind} | {} | {help} |", labels.join(", "))
    };
    let expected: Vec<_> = prometheus::FAMILIES.iter().chain(metrics::FAMILIES).map(row).collect();
    let rows: Vec<_> = rows("ENDPOINT.md").into_iter().filter(|row| row.starts_with("| `hospital_")).collect();
    assert!(rows == expected, "docs/ENDPOINT.md should have these rows:\n{}", expected.join("\n"));
}

/// The tables of deadlines in ARCHITECTURE.md, as (what, how long, where).
fn deadlines() -> Vec<[String; 3]> {
    let text = include_str!("../../docs/ARCHITECTURE.md");
    let section = text.split("\n## ").find(|section| section.starts_with("Deadlines")).expect("it is there");
    let cells = |row: &str| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        <[String; 3]>::try_from(cells).ok()
    };
    section.lines().filter_map(cells).filter(|[_, _, place]| place.starts_with('`')).collect()
}

/// The duration at the beginning of a text such as "100 ms earlier".
fn duration(text: &str) -> Duration {
    let mut words = text.split([' ', ',']);
    let (number, unit) = (words.next().expect("a number"), words.next().expect("a unit"));
    humantime::parse_duration(&format!("{number}{unit}")).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

#[test]
fn every_deadline_in_architecture_md_is_that_of_the_code() {
    let command = command();
    let serve = command.find_subcommand("serve").expect("there is such a subcommand");
    let mut flags: Vec<_> =
        serve.get_arguments().filter(|arg| arg.get_value_names().is_some_and(|names| names[0] == "TIME")).collect();
    for [what, told, place] in deadlines() {
        let mut names = place.split('`').skip(1).step_by(2);
        let name = names.next().expect("it begins with one");
        let actual = match name.strip_prefix("--") {
            Some(flag) => {
                let at = flags.iter().position(|arg| arg.get_long() == Some(flag));
                let arg =
                    flags.remove(at.unwrap_or_else(|| panic!("{what}: there is no --{flag}, or it was told twice")));
                let default = arg.get_default_values()[0].to_string_lossy();
                humantime::parse_duration(&default).unwrap_or_else(|error| panic!("{default}: {error}"))
            }
            None => {
                let path = names.next().unwrap_or_else(|| panic!("{what}: in which file is {name}?"));
                constant(name, path)
            }
        };
        assert_eq!(duration(&told), actual, "{what}");
    }
    let forgotten: Vec<_> = flags.iter().filter_map(|arg| arg.get_long()).collect();
    assert!(forgotten.is_empty(), "ARCHITECTURE.md does not tell where {forgotten:?} stand among the deadlines");
}

/// The value of `const NAME: Duration = Duration::from_…(…);` in a file.
fn constant(name: &str, path: &str) -> Duration {
    let text = std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR")));
    let text = text.unwrap_or_else(|error| panic!("{path}: {error}"));
    let (_, value) = text
        .split_once(&format!("const {name}: Duration = Duration::from_"))
        .unwrap_or_else(|| panic!("{path} has no {name}"));
    let (unit, rest) = value.split_once('(').expect("it is a call");
    let number = rest.split(')').next().and_then(|number| number.parse().ok()).expect("it is a number");
    match unit {
        "secs" => Duration::from_secs(number),
        "millis" => Duration::from_millis(number),
        other => panic!("{path}: {name} is in {other}"),
    }
}

/// Whoever waits has to wait longer than what they wait for takes.
#[test]
fn each_deadline_ends_before_the_one_around_it() {
    let of = |name: &str| {
        let found = deadlines().into_iter().find(|[_, _, place]| place.starts_with(&format!("`{name}`")));
        duration(&found.unwrap_or_else(|| panic!("there is no row for {name}"))[1])
    };
    let lease = of("--request-timeout") + of("GRACE");
    let chain = [of("DEFAULT_TIMEOUT"), of("--request-timeout"), lease, of("--timeout")];
    assert!(chain.is_sorted_by(|inner, outer| inner < outer), "{chain:?}");
    assert!(of("MARGIN") < of("DEFAULT_TIMEOUT"));
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

/// What each format says of the check at this place of a report.
fn said(report: &Report, place: usize) -> String {
    let outcome = &report.outcomes[place];
    let written = |name: &str| {
        let format = crate::render::named(name).expect("there is such a format");
        let mut out = Vec::new();
        (format.write)(report, &mut out);
        (String::from_utf8(out).expect("each format is text"), (format.exit_code)(report))
    };
    let json = |name| serde_json::from_str::<serde_json::Value>(&written(name).0).expect("it is JSON");
    let word = |value: &serde_json::Value| value.as_str().expect("a word").to_owned();
    let at = report.causes_first().position(|other| other.check.id == outcome.check.id).expect("it is in the report");
    let (nagios, state) = written("nagios");
    let state = format!("{} {state}", nagios.split(' ').nth(1).expect("a state"));
    let line = |text: &str, is_its: &dyn Fn(&str) -> bool| text.lines().find(|line| is_its(line)).map(str::to_owned);
    let (junit, tap, text) = (written("junit").0, written("tap").0, written("text").0);
    let its_title = |line: &str| line.contains(&outcome.check.title);
    let junit = line(&junit, &|line| its_title(line) && line.contains("<testcase")).expect("a case");
    let junit =
        ["failure", "error", "skipped", "system-out"].into_iter().find(|name| junit.contains(&format!("<{name}")));
    let tap = line(&tap, &|line| its_title(line)).expect("a point");
    let tap = format!("{}{}", if tap.starts_with("not") { "not ok" } else { "ok" }, {
        let directive = ["# SKIP", "# TODO"].into_iter().find(|directive| tap.contains(directive));
        directive.map_or(String::new(), |directive| format!(" {directive}"))
    });
    let text = line(&text, &its_title).expect("a line");
    let ready = crate::render::kubernetes::answer("readyz", report, true);
    let ready = line(&ready, &|line| line[3..].starts_with(&outcome.check.id)).expect("a line");
    let page = written("html").0;
    let (_, page) = page.split_once(&format!("data-id=\"{}\"", outcome.check.id)).expect("it is on the page");
    let (_, page) = page.split_once("<span aria-hidden=\"true\">").expect("it has a mark");
    let page = page.split_once("</span> <span class=\"title\">").expect("it has a title").0;
    // As it is seen: without what is only for those who hear it, and without tags.
    let page = page.split_once("<span class=\"unseen\">").map_or(page, |(seen, _)| seen);
    let seen = page.split('>').map(|part| part.split_once('<').map_or(part, |(seen, _)| seen));
    let page: String = seen.collect();
    let cells = [
        word(&json("json")["status"]),
        word(&json("json")["details"][at]["status"]),
        word(&json("health+json")["checks"][&outcome.check.id][0]["status"]),
        state,
        junit.unwrap_or("passed").to_owned(),
        tap,
        text.trim().split(':').next().expect("a word").to_owned(),
        unittest::letter(outcome).to_string(),
        page,
        ready[..3].to_owned(),
        measured(&written("prometheus").0, &outcome.check.id),
    ];
    cells.map(|cell| format!("`{cell}`")).join(" | ")
}

/// What the metrics say of a check: whether it is a success, and what stands beside that.
fn measured(metrics: &str, id: &str) -> String {
    let series = |name: &str| {
        let start = format!("hospital_check_{name}{{check=\"{id}\"");
        metrics.lines().find(|line| line.starts_with(&start) && !line.ends_with(" 0"))
    };
    let raw = series("raw_status").and_then(|line| line.split_once("status=\"")?.1.split('"').next());
    let mut told = vec![u8::from(series("success").is_some()).to_string()];
    told.extend(raw.map(|raw| format!("raw {raw}")));
    told.extend(series("blocked").map(|_| "blocked".to_owned()));
    told.extend(series("silenced_until_timestamp_seconds").map(|_| "silenced".to_owned()));
    told.join(", ")
}

/// All that a finding can be judged to be, and what each format says of it. A step that is added has its rows here.
#[test]
fn judgement_md_says_what_every_format_says() {
    const SECOND: Duration = Duration::from_secs(1);
    let check = |id: &str| Check::new(id, |_| Finding::PASS).title(format!("Title of {id}"));
    let found =
        |status| Finding { status, context: (status != Status::Pass).then(|| "why".to_owned()), ..Finding::PASS };
    let of = |check: Check, finding| Outcome::of(check.into(), finding, Duration::ZERO, Duration::ZERO);
    let cells = |outcome: Outcome| said(&Report::of_outcomes(vec![outcome]), 0);
    let mut expected = Vec::new();
    let mut row = |status: Status, judged: &str, cells: &str| {
        expected.push(format!("| `{}` | {judged} | {cells} |", status.word()));
    };
    for status in Status::ALL {
        row(status, "", &cells(of(check("it"), found(status))));
    }
    let bad = || Status::ALL.into_iter().filter(|status| status.is_bad());
    for status in bad() {
        row(status, "`on_fail=warn`", &cells(of(check("it").on_fail(Severity::Warn), found(status))));
    }
    let strict = |is_strict| Check { strict: is_strict, ..check("it") };
    for (severity, judged) in
        [(Severity::Fail, "blocked by a `fail`"), (Severity::Warn, "the same, with `on_fail=warn`")]
    {
        let cause = Check::new("cause", |_| Finding::fail("why")).title("Title of cause");
        let it = check("it").needs(["cause"]).on_fail(severity);
        let report = Runner::run([cause, it].map(Into::into).into_iter().collect(), 60 * SECOND);
        row(Status::Error, judged, &said(&report, 1));
    }

    // The check runs every 10 seconds, has found each of these, and did so last so long ago.
    let scheduled = |schedule: Schedule, history: &[Status], age: u64| {
        let it = check("it").schedule(schedule).timeout(SECOND);
        let patience = history
            .iter()
            .fold(Patience::default(), |before, status| before.after(schedule, &found(*status), false, 0));
        let last = history.last().expect("it has run");
        let scheduled = Some(Scheduled { age: SECOND * age as u32, patience, second: 0, delay: None });
        let known = Circumstances { scheduled, ..Circumstances::default() };
        cells(Outcome::judged(it.into(), found(*last), known, Duration::ZERO, SECOND * age as u32))
    };
    let schedule = |fall, rise| Schedule { every: 10 * SECOND, fall, rise };
    let not_run = check("it").schedule(schedule(1, 1));
    row(Status::Error, "`every=10s`, before its first run", &cells(of(not_run, not_run_yet(schedule(1, 1), None))));
    for status in [Status::Pass, Status::Fail] {
        row(status, "`every=10s`, 10 s ago", &scheduled(schedule(1, 1), &[status], 10));
        row(status, "`every=10s`, longer ago than this and `timeout`", &scheduled(schedule(1, 1), &[status], 20));
    }
    for (fall, rise, history, judged) in [
        (2, 1, [Status::Pass, Status::Fail].as_slice(), "`fall=2`, the first after a `pass`"),
        (2, 1, &[Status::Pass, Status::Fail, Status::Fail], "`fall=2`, the second"),
        (1, 2, &[Status::Fail, Status::Pass], "`rise=2`, the first after a `fail`"),
        (1, 2, &[Status::Fail, Status::Pass, Status::Pass], "`rise=2`, the second"),
    ] {
        row(*history.last().expect("there is one"), judged, &scheduled(schedule(fall, rise), history, 0));
    }
    for status in bad() {
        let mut starting = of(check("it"), found(status));
        starting.excuse(60 * SECOND, Start::Ago(SECOND));
        row(status, "`grace=60s`, while it lasts", &cells(starting));
    }

    // Each status, strict and silenced or not: rows that are as those without are left out.
    let silenced = |check: Check| {
        let silence = silence(Covered::Check("it".to_owned()));
        Check { silence: Some(Arc::new(silence)), ..check }
    };
    let without_metrics = |cells: &str| cells.rsplit_once('|').map(|(rest, _)| rest.to_owned());
    for status in Status::ALL {
        let [plain, only_strict] = [false, true].map(|is_strict| cells(of(strict(is_strict), found(status))));
        let [quiet, both] = [false, true].map(|is_strict| cells(of(silenced(strict(is_strict)), found(status))));
        if only_strict != plain {
            row(status, "`--strict`", &only_strict);
        }
        // That there is a silence is told of what passes, too.
        if without_metrics(&quiet) != without_metrics(&plain) {
            row(status, "silenced", &quiet);
        }
        assert_eq!(both, quiet, "what is silenced does not count, strict or not");
    }
    compare("JUDGEMENT.md", &expected);
}
