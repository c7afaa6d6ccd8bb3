//! The JSON schema of TOML files with checks takes what hospital takes, and refuses what it refuses.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::once::{hospital, run};

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
