//! Whatever the table "What happens when…" in docs/OPERATIONS.md promises, a test shows.

use std::fs;
use std::path::Path;

#[test]
fn each_row_of_what_happens_names_tests_that_there_are() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let text = fs::read_to_string(docs.join("OPERATIONS.md")).expect("the file is there");
    let section = text.split("\n## ").find(|section| section.starts_with("What happens when")).expect("it is there");
    let rows: Vec<_> = section.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert!(rows.len() > 20, "only {} rows were found", rows.len());
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let [_, _, tests] = cells[..] else { panic!("three cells are wanted: {row}") };
        for test in tests.split(", ") {
            let link = test.trim().strip_prefix("[`").and_then(|link| link.strip_suffix(')')?.split_once("`]("));
            let (name, path) = link.unwrap_or_else(|| panic!("{test:?} is no link to a test: {row}"));
            let source = fs::read_to_string(docs.join(path)).unwrap_or_else(|error| panic!("{path}: {error}: {row}"));
            assert!(is_test(&source, name), "{path} has no test {name}: {row}");
        }
    }
}

/// Whether there is a function with this name under `#[test]`, with at most other attributes and comments in between.
fn is_test(source: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let above =
        |at: usize| lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    let is_head = |&(_, line): &(usize, &&str)| line.starts_with(&head);
    lines.iter().enumerate().filter(is_head).any(|(at, _)| above(at).any(|line| *line == "#[test]"))
}
