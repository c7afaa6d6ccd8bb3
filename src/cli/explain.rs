//! `hospital explain KIND`: what a kind decides, its options, and an example, from the rows of the kinds.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value as Json, json};

use super::print;
use crate::checks::{BUILTINS, FEATURES, Kind, Opt, Value};
use crate::collect::{COMMON, PYTHON};
use crate::error::Error;
use crate::model::id::listed;

#[derive(Debug, Args)]
pub(super) struct ExplainFlags {
    /// The kinds, as in `disk`; all of them, if none is named
    #[arg(value_name = "KIND")]
    kinds: Vec<String>,
    /// Write the JSON schema of TOML files with checks, for editors
    #[arg(long, conflicts_with = "kinds")]
    json_schema: bool,
}

/// Prints what is asked for.
pub(super) fn run(flags: &ExplainFlags) -> Result<ExitCode, Error> {
    if flags.json_schema {
        print(schema())?;
        return Ok(ExitCode::SUCCESS);
    }
    let named = |name: &String| {
        // A name such as `tcp://db:5432` is of a kind too.
        let scheme = name.split(':').next().unwrap_or_default();
        let unknown = || {
            let known = listed(BUILTINS.iter().map(|kind| kind.scheme.to_owned()));
            Error::Usage(format!("there is no kind of check {scheme:?} (known: {known})"))
        };
        BUILTINS.iter().find(|kind| kind.scheme == scheme).ok_or_else(unknown)
    };
    let kinds: Vec<_> = match flags.kinds.is_empty() {
        true => BUILTINS.iter().collect(),
        false => flags.kinds.iter().map(named).collect::<Result<_, _>>()?,
    };
    let texts: Vec<_> = kinds.into_iter().map(explained).collect();
    print(texts.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// All kinds, one after the other.
pub(super) fn all() -> String {
    BUILTINS.iter().map(explained).collect::<Vec<_>>().join("\n")
}

/// A table of all kinds.
pub(super) fn table() -> String {
    let head = ["KIND", "PASSES WHEN", "FOR EXAMPLE"];
    let rows: Vec<_> = BUILTINS.iter().map(|kind| [kind.scheme, kind.passes, kind.examples[0]]).collect();
    let all = || std::iter::once(&head).chain(&rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (first, second) = (width(0), width(1));
    all().map(|row| format!("{:first$}  {:second$}  {}\n", row[0], row[1], row[2])).collect()
}

/// The same for programs.
pub(super) fn json() -> String {
    let option = |option: &Opt| {
        json!({
            "name": option.name, "value": option.value.placeholder(), "help": option.help, "default": option.default,
            "repeatable": option.is_repeatable,
        })
    };
    let kind = |kind: &Kind| {
        json!({
            "kind": kind.scheme, "passes": kind.passes, "notices": kind.notices, "examples": kind.examples,
            "options": kind.options.iter().map(option).collect::<Vec<_>>(),
        })
    };
    let kinds: Vec<_> = BUILTINS.iter().map(kind).collect();
    format!("{:#}\n", Json::from(kinds))
}

/// What a kind is, on lines of 80 columns.
pub(super) fn explained(kind: &Kind) -> String {
    let mut text = format!("{}:\n{}\n", kind.scheme, wrapped("  ", "", &format!("passes when {}", kind.passes)));
    if !kind.notices.is_empty() {
        text.push_str(&wrapped("  ", "", &format!("notices in a drill: {}", noticed(kind))));
    }
    for example in kind.examples {
        text.push_str(&format!("    {example}\n"));
    }
    text.push('\n');
    for option in kind.options {
        text.push_str(&described(option));
    }
    let units: BTreeSet<_> = kind.options.iter().filter_map(|option| option.value.units()).collect();
    for unit in units {
        text.push_str(&wrapped("  ", "", unit));
    }
    text.push_str(&wrapped("  ", "", &format!("Like every kind: {}", COMMON.join(", "))));
    let file = in_file(kind.examples[0], kind);
    let _ = write!(text, "\n    [[check]]\n{file}");
    text
}

/// What its checks notice in a drill, in one line.
pub(super) fn noticed(kind: &Kind) -> String {
    let spoken = |noticed: &&str| match noticed.split_once(':') {
        Some((word, when)) => format!("{}:{when}", word.replace('_', " ")),
        None => noticed.replace('_', " "),
    };
    match kind.notices {
        [] => "what the program looks at".to_owned(),
        all => all.iter().map(spoken).collect::<Vec<_>>().join("; "),
    }
}

fn described(option: &Opt) -> String {
    const HELP: usize = 24;
    let value = match option.value {
        Value::Flag => option.name.to_owned(),
        value => format!("{}={}", option.name, value.placeholder()),
    };
    let mut help = option.help.to_owned();
    if let Some(default) = option.default {
        help.push_str(&format!(" (default: {default})"));
    }
    if option.is_repeatable {
        help.push_str(" (repeatable)");
    }
    let begin = format!("  {value:width$}", width = HELP - 4);
    match begin.chars().count() > HELP - 2 {
        true => format!("{begin}\n{}", wrapped(&" ".repeat(HELP), "", &help)),
        false => wrapped(&" ".repeat(HELP), &begin, &help),
    }
}

/// A text on lines of at most 80 columns, each with this margin; that of the first line may hold something.
fn wrapped(margin: &str, first: &str, text: &str) -> String {
    let mut lines = vec![format!("{first:width$}", width = margin.len())];
    let mut is_empty = true;
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one from the start");
        if !is_empty && line.chars().count() + 1 + word.chars().count() > 79 {
            lines.push(format!("{margin}{word}"));
            continue;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A name as the keys of a table.
fn in_file(name: &str, kind: &Kind) -> String {
    let (target, options) = name.split_once('#').unwrap_or((name, ""));
    let mut text = format!("    use = {}\n", Json::from(target));
    for pair in options.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
        let value = &*percent_decode_str(value).decode_utf8_lossy();
        let plain = match kind.option(key).map(|option| option.value) {
            Some(Value::Flag) => value.to_owned(),
            Some(Value::Number) if value.parse::<f64>().is_ok() => value.to_owned(),
            _ => Json::from(value).to_string(),
        };
        text.push_str(&format!("    {key} = {plain}\n"));
    }
    text
}

/// The schema (JSON Schema, draft 7, which editors know) of a TOML file of checks.
pub(super) fn schema() -> String {
    let is_registered = json!({"properties": {"use": {"pattern": "^[^:]*(::[^:]*)*$"}}, "required": ["use"]});
    let common = json!({"$ref": "#/definitions/common"});
    // One after the other, so that an editor says what is wrong with the kind at hand, and not with all others.
    let is_in_python = json!({"properties": {"use": {"pattern": format!("^{PYTHON}:")}}, "required": ["use"]});
    let named = [
        common,
        only(is_registered, "a registered check, or tests in Python", OF_PYTHON),
        only(is_in_python, "tests in Python", OF_PYTHON),
    ];
    let rules = named.into_iter().chain(BUILTINS.iter().map(rule));
    let rules: Vec<_> = rules.collect();
    // Of a kind that is not compiled in here, nothing is known but that there is one.
    let others = FEATURES.iter().filter(|(_, _, is_here)| !is_here).flat_map(|(schemes, ..)| schemes.iter().copied());
    let schemes: Vec<_> = BUILTINS.iter().map(|kind| kind.scheme).chain(others).chain([PYTHON]).collect();
    let mut common: Map<String, Json> = COMMON_VALUES
        .iter()
        .map(|option| {
            let name = if option.name == "tag" { "tags" } else { option.name };
            (name.to_owned(), property(option))
        })
        .collect();
    common.insert("tag".to_owned(), json!({"$ref": "#/definitions/common/properties/tags"}));
    common.insert(
        "name".to_owned(),
        json!({"type": "string", "pattern": "^[A-Za-z0-9_.-]+$", "description": "What it is called"}),
    );
    let known = format!("^({}):|^[A-Za-z_][A-Za-z0-9_]*((\\.|::)[A-Za-z0-9_]+)*$", schemes.join("|"));
    let description = "The name of what is checked, as in disk:/var; or the dotted path of a registered check";
    common.insert("use".to_owned(), json!({"type": "string", "pattern": known, "description": description}));
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Healthchecks for hospital",
        "type": "object",
        "additionalProperties": false,
        "properties": {"check": {"type": "array", "items": {"$ref": "#/definitions/check"}}},
        "definitions": {
            "common": {"properties": common},
            "check": {"type": "object", "required": ["use"], "allOf": rules},
        },
    });
    format!("{schema:#}\n")
}

fn rule(kind: &Kind) -> Json {
    let is_of = json!({"properties": {"use": {"pattern": format!("^{}:", kind.scheme)}}, "required": ["use"]});
    only(is_of, kind.passes, kind.options)
}

/// Where this is so, there are these options, those of every kind, and no others.
fn only(is_so: Json, what: &str, options: &[Opt]) -> Json {
    let own = options.iter().map(|option| (option.name.to_owned(), property(option)));
    let common = COMMON.iter().copied().chain(["name", "use", "tags"]).map(|name| (name.to_owned(), json!(true)));
    let properties: Map<String, Json> = common.chain(own).collect();
    json!({"if": is_so, "then": {"description": what, "properties": properties, "additionalProperties": false}})
}

fn property(option: &Opt) -> Json {
    // What a pattern refuses, the kind refuses, too; not the other way round.
    const NUMBER: &str = "^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$";
    const TIME: &str = "^[+]?[0-9.]+$|^([0-9]+ *(nanos|nsec|ns|usec|us|µs|millis|msec|ms|seconds?|secs?|s|minutes?|mins?|m|\
        hours?|hrs?|h|days?|d|weeks?|wks?|w|months?|M|years?|yrs?|y) *)+$";
    let some = u8::from(!option.may_be_empty);
    let mut property = match option.value {
        Value::Word(words) if words.contains(&"true") => json!({"anyOf": [{"enum": words}, {"type": "boolean"}]}),
        Value::Word(words) => json!({"enum": words}),
        Value::Flag => json!({"type": "boolean"}),
        Value::Number => json!({"type": ["number", "string"], "pattern": NUMBER}),
        Value::Time => json!({"type": ["number", "string"], "minimum": 0, "pattern": TIME}),
        Value::Size => {
            json!({"type": ["number", "string"], "minimum": 0, "pattern": "^[0-9.]+ *[kKmMgGtTpP]?[iI]?[bB]?$"})
        }
        Value::Amount => {
            json!({"type": ["string", "number"], "minimum": 0, "pattern": "^[+]?[0-9.]+ *(%|[kKmMgGtTpP]?[iI]?[bB]?)$"})
        }
        Value::Share => json!({"type": "string", "pattern": "^[+]?[0-9.]+ *%$"}),
        Value::Text => json!({"type": ["string", "number", "boolean"], "minLength": some}),
        Value::Statement | Value::Url => json!({"type": "string", "minLength": some}),
        Value::Path => json!({"type": "string", "pattern": "^/"}),
        Value::Address => json!({"type": "string", "pattern": "^[0-9a-fA-F.:]+$"}),
        Value::Field => json!({"type": "string", "pattern": "^[^:]+:"}),
        Value::Variable => json!({"type": "string", "pattern": "^[^=]+="}),
        Value::Pattern | Value::Bytes | Value::List => json!({"type": "string"}),
    };
    if option.is_repeatable {
        property = json!({"anyOf": [property, {"type": "array", "items": property}]});
    }
    if option.value == Value::Variable {
        let scalar = json!({"type": ["string", "number", "boolean"]});
        property = json!({"anyOf": [property, {"type": "object", "additionalProperties": scalar}]});
    }
    property["description"] = json!(option.help);
    if let Some(default) = option.default {
        property["default"] = json!(default);
    }
    property
}

/// What tests in Python have beside those.
const OF_PYTHON: &[Opt] = &[Opt::new("memory", Value::Size, "So much a run may take beside what is imported")];

/// The options of every kind, as the schema has them.
const COMMON_VALUES: &[Opt] = &[
    Opt::new("timeout", Value::Time, "How long a run may take").or("5s"),
    Opt::new("tag", Value::Text, "A word to select it by").repeatable(),
    Opt::new("title", Value::Text, "What it verifies, for people"),
    Opt::new("expect", Value::Word(&["success", "failure"]), "What a healthy answer is").or("success"),
    Opt::new("on_fail", Value::Word(&["fail", "warn"]), "What a bad finding counts as").or("fail"),
    Opt::new("needs", Value::Text, "A check without which this one is not run").repeatable(),
    Opt::new("every", Value::Time, "The schedule on which a daemon runs it, instead of in each round"),
    Opt::new("fall", Value::Number, "So many scheduled runs have to be bad in a row before it is bad").or("1"),
    Opt::new("rise", Value::Number, "So many have to be good in a row before it is good again").or("1"),
    Opt::new("grace", Value::Time, "How long it may be bad before it has passed for the first time"),
    Opt::new("drill_allow", Value::Text, "What a drill need not see noticed, with the reason").repeatable(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_common_option_is_in_the_schema() {
        let known: Vec<_> = COMMON_VALUES.iter().map(Opt::name).collect();
        assert_eq!(known, COMMON, "src/cli/explain.rs describes those of src/collect/spec.rs in COMMON_VALUES");
    }

    #[test]
    fn the_schema_in_the_documentation_is_that_of_the_rows() {
        // It is that of a release, which has all kinds.
        if FEATURES.iter().any(|(.., is_there)| !is_there) {
            return;
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/healthchecks.schema.json");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == schema(), "write it: hospital explain --json-schema >docs/healthchecks.schema.json");
    }

    #[test]
    fn in_a_file_nothing_is_encoded() {
        let kind = BUILTINS.iter().find(|kind| kind.scheme == "exec").expect("it is everywhere");
        let file = in_file("exec:/bin/sh#args=-c&cwd=/a%20b", kind);
        assert_eq!(file, "    use = \"exec:/bin/sh\"\n    args = \"-c\"\n    cwd = \"/a b\"\n");
    }

    #[test]
    fn every_kind_fits_on_80_columns_and_has_an_example_of_its_own() {
        for kind in BUILTINS {
            let text = explained(kind);
            let long = text.lines().find(|line| line.chars().count() > 80 && !line.starts_with("    "));
            assert_eq!(long, None, "{text}");
            assert!(kind.examples.iter().all(|example| example.starts_with(&format!("{}:", kind.scheme))), "{text}");
            assert!(kind.options.iter().all(|option| !option.help.is_empty() && !option.help.ends_with('.')), "{text}");
        }
    }
}
