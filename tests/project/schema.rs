//! The JSON schema of TOML files with checks takes what hospital takes, and refuses what it refuses.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::once::{hospital, run};
use hospital::checks::{BUILTINS, Value};
use hospital::collect::collect;

/// Reads documents and a schema; prints for each whether it is valid.
const VALIDATE: &str = "import json, sys, jsonschema
schema = json.load(open('docs/healthchecks.schema.json'))
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema)
for document in json.load(sys.stdin):
    print(next((error.message for error in validator.iter_errors(document)), 'valid').splitlines()[0])";

/// What the schema says of each file.
#[track_caller]
fn said_of(files: &[String]) -> Vec<String> {
    use std::io::Write;
    let parsed =
        |text: &String| toml::from_str::<serde_json::Value>(text).unwrap_or_else(|why| panic!("{text}: {why}"));
    let documents = serde_json::Value::from(files.iter().map(parsed).collect::<Vec<_>>());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new(root.join("target/test-venv/bin/python"));
    python.args(["-c", VALIDATE]).current_dir(root).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().expect("tests/run has made it");
    child.stdin.take().expect("it is piped").write_all(documents.to_string().as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it is our child");
    assert!(output.status.success(), "the schema is one");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// The files in a text: each block of lines from the first `[[check]]` on, without the mark of a shell's second line.
fn files_in(text: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut lines = text.lines().map(|line| line.trim_start_matches("    ").trim_start_matches("> ")).peekable();
    while lines.peek().is_some() {
        let is_line = |line: &&str| {
            let key = line.split_once(" = ").map(|(key, _)| key);
            line.is_empty()
                || *line == "[[check]]"
                || line.starts_with('#')
                || key.is_some_and(|key| !key.contains(' '))
        };
        if let Some("[[check]]") = lines.next() {
            let mut file = "[[check]]\n".to_owned();
            while let Some(line) = lines.next_if(is_line) {
                file.push_str(line);
                file.push('\n');
            }
            files.push(file);
        }
    }
    files
}

#[test]
#[ignore = "needs Python's jsonschema"]
fn every_file_in_the_documentation_and_every_example_of_a_kind_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts: Vec<_> = ["README.md", "docs/pictures/make"].map(|path| root.join(path)).into();
    let documents = fs::read_dir(root.join("docs")).expect("it is there").flatten().map(|entry| entry.path());
    texts.extend(documents.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    let mut files: Vec<_> =
        texts.iter().flat_map(|path| files_in(&fs::read_to_string(path).expect("it is text"))).collect();
    assert!(files.len() >= 3, "{files:?}");
    files.extend(files_in(&run(hospital("explain")).stdout));
    assert!(files.len() > 20, "each kind has one");
    for (file, said) in files.iter().zip(said_of(&files)) {
        assert_eq!(said, "valid", "{file}");
    }
}

#[test]
#[ignore = "needs Python's jsonschema"]
fn what_hospital_refuses_the_schema_refuses() {
    let check = |lines: &str| format!("[[check]]\n{lines}\n");
    let files: Vec<_> = [
        "use = \"dsik:/\"",
        "use = \"disk:/\"\nfre = \"10%\"",
        "use = \"disk:/\"\nstatus = 200",
        "use = \"port:53\"\nprotocol = \"sctp\"",
        "use = \"https://shop/\"\ninsecure = \"maybe\"",
        "use = \"disk:/\"\nexpect = \"nothing\"",
        "free = \"10%\"",
        "use = \"shop.db\"\nfree = \"10%\"",
    ]
    .map(check)
    .into();
    for (file, said) in files.iter().zip(said_of(&files)) {
        assert_ne!(said, "valid", "{file}");
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("x.toml");
        fs::write(&path, file).expect("it is ours");
        let mut list = hospital("list");
        list.arg(&path);
        assert_eq!(run(list).code, Some(2), "{file}");
    }
    let good =
        check("use = \"http://shop/\"\nstatus = [200, \"3xx\"]\ntimeout = 2\ntags = [\"readiness\"]\nslow = \"1s\"");
    assert_eq!(said_of(&[good, check("use = \"shop.db\"\ntitle = \"x\"")]), ["valid", "valid"]);
}

/// Values that no option of such values takes, and such as one may take.
fn wrong_and_right(value: Value) -> (&'static [&'static str], &'static [&'static str]) {
    match value {
        Value::Number => (&["", "nan", "5parsec", "٣", "0x10", " 5"], &["0", "1", "+5", "1000"]),
        Value::Time => (&["", "-1", "inf", "5parsec", "soon"], &["0", "1.5", "500ms", "1h 30m", "2days", "1y"]),
        Value::Size => (&["", "-1", "nan", "5parsec", "GiB"], &["1000", "5GiB", "1.5 MB", "2kib", "7B"]),
        Value::Amount => (&["", "-1%", "nan%", "5parsec"], &["0%", "10 %", "5GiB", "200MB", "1000"]),
        Value::Share => (&["", "10", "-1%", "nan%", "5s"], &["0%", "12.5%", "10 %"]),
        Value::Path => (&["", "run/x", "~/x"], &["/run/x", "/"]),
        Value::Address => (&["", "localhost", "10.0.0.0/8", "[::1]"], &["127.0.0.1", "::1", "::ffff:10.0.0.1"]),
        Value::Field => (&["", "X-Token", ": x"], &["X-Token: abc", "Accept:"]),
        Value::Variable => (&["", "HOME", "=x"], &["HOME=/", "A=b=c", "EMPTY="]),
        Value::Word(_) => (&["neither", " "], &[]),
        Value::Flag => (&["yes", "0", "neither"], &[]),
        // Each of these has its own form, or none.
        Value::Text | Value::Statement | Value::Url | Value::Pattern | Value::Bytes | Value::List => (&[], &[]),
        other => panic!("say what {other:?} takes"),
    }
}

#[test]
#[ignore = "needs Python's jsonschema"]
fn each_option_of_each_kind_is_as_strict_in_the_schema_as_it_is() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("x.toml");
    let takes = |file: &str| {
        fs::write(&path, file).expect("it is ours");
        collect(&[path.display().to_string()], "the test").map(drop)
    };
    let (mut refused, mut taken, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    for kind in BUILTINS {
        let example = kind.examples[0].split('#').next().unwrap_or_default();
        for option in kind.options {
            if seen.contains(option) {
                continue;
            }
            seen.push(*option);
            let file = |value: &&str| format!("[[check]]\nuse = {example:?}\n{} = {value:?}\n", option.name);
            let (wrong, right) = wrong_and_right(option.value);
            let words = if let Value::Word(words) = option.value { words } else { &[] };
            for file in wrong.iter().filter(|value| !words.contains(value)).map(file) {
                let error = takes(&file).expect_err(&file).to_string();
                assert_eq!(error.lines().count(), 1, "{error}");
                refused.push(file);
            }
            // It may want another option beside it.
            taken.extend(right.iter().chain(words).map(file).filter(|file| takes(file).is_ok()));
        }
    }
    assert!(refused.len() > 200 && taken.len() > 200, "{} {}", refused.len(), taken.len());
    for (file, said) in refused.iter().zip(said_of(&refused)) {
        assert_ne!(said, "valid", "{file}");
    }
    for (file, said) in taken.iter().zip(said_of(&taken)) {
        assert_eq!(said, "valid", "{file}");
    }
    let python = |more: &str| format!("[[check]]\nuse = \"python:shop.checks\"\n{more}\n");
    let said = said_of(&[python("memory = \"200MiB\""), python("memory = \"much\""), python("free = \"1%\"")]);
    assert!(said[0] == "valid" && said[1] != "valid" && said[2] != "valid", "{said:?}");
    let env =
        ["env = {A = \"b\", C = 5}", "env = \"A\""].map(|env| format!("[[check]]\nuse = \"exec:/bin/true\"\n{env}\n"));
    let said = said_of(&env);
    assert!(said[0] == "valid" && said[1] != "valid", "{said:?}");
}
