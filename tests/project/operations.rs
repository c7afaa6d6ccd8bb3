//! Whatever the tables "What happens when…" in docs/OPERATIONS.md and "Attack by attack" in SECURITY.md promise, a test
//! shows.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

#[test]
fn each_row_of_what_happens_and_of_the_attacks_names_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = HashSet::new();
    for folder in ["src", "tests", "examples", "crates"] {
        collect(&root.join(folder), &mut tests);
    }
    for (page, title) in [("docs/OPERATIONS.md", "What happens when"), ("SECURITY.md", "Attack by attack")] {
        let text = fs::read_to_string(root.join(page)).expect("the file is there");
        let section = text.split("\n## ").find(|section| section.starts_with(title)).expect("it is there");
        let rows: Vec<_> = section.lines().filter(|line| line.starts_with('|')).skip(2).collect();
        assert!(rows.len() > 10, "only {} rows were found in {page}", rows.len());
        for row in rows {
            let (_, comment) = row.split_once("<!-- ").unwrap_or_else(|| panic!("no test is named: {row}"));
            let names = comment.strip_suffix(" --> |").unwrap_or_else(|| panic!("the names end the row: {row}"));
            for name in names.split(", ") {
                assert!(tests.contains(name), "there is no test {name}: {row}");
            }
        }
    }
}

/// Adds the names of all tests in a folder, wherever in it they are.
fn collect(folder: &Path, tests: &mut HashSet<String>) {
    for path in fs::read_dir(folder).expect("the folder is there").flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).expect("sources are UTF-8");
            let lines: Vec<_> = source.lines().map(str::trim).collect();
            let name = |line: &str| Some(line.strip_prefix("fn ")?.split_once('(')?.0.to_owned());
            let heads = lines.iter().enumerate().filter_map(|(at, line)| Some((at, name(line)?)));
            tests.extend(heads.filter(|(at, _)| is_test(&lines[..*at])).map(|(_, name)| name));
        }
    }
}

/// Whether `#[test]` stands among the attributes and comments at the end of these lines.
fn is_test(above: &[&str]) -> bool {
    above
        .iter()
        .rev()
        .take_while(|line| line.starts_with("#[") || line.starts_with("//"))
        .any(|line| *line == "#[test]")
}
