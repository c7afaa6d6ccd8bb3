//! What `packaging/serving.ld` puts together is there: if a module is renamed, the only effect would be more memory, which
//! nobody would notice.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn what_the_linker_puts_together_is_in_the_source() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = fs::read_to_string(packaging.join("serving.ld")).expect("the script is there");
    // Without the comment at its beginning.
    let (_, script) = script.split_once("SECTIONS").expect("it is a linker script");
    let mut seen = 0;
    for pattern in script.split(|c: char| c.is_whitespace() || "()*".contains(c)) {
        let Some((_, mangled)) = pattern.split_once("8hospital") else { continue };
        let names = names(mangled);
        let path = |depth: usize| packaging.join("../src").join(names[..depth].join("/"));
        let depth = (1..=names.len()).rev().find(|depth| !module(&path(*depth)).is_empty()).unwrap_or(1);
        let (modules, items) = names.split_at(depth);
        let text = module(&path(depth));
        assert!(!text.is_empty(), "serving.ld names {pattern}, but there is no module {}", modules.join("::"));
        for item in items {
            let is_there = ["fn", "struct", "enum"].iter().any(|kind| text.contains(&format!("{kind} {item}")));
            assert!(is_there, "serving.ld names {pattern}, but there is no {item} in {}", modules.join("::"));
        }
        seen += 1;
    }
    assert!(seen > 8, "only {seen} patterns were looked at");
}

/// The sources of a module, in one file or a folder; empty if there is no such module.
fn module(path: &Path) -> String {
    let folder = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let files: Vec<PathBuf> = folder.chain([path.with_extension("rs")]).collect();
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect()
}

/// The names in a mangled path, each preceded by its length: `7collect5Suite`.
fn names(mut mangled: &str) -> Vec<&str> {
    let mut names = Vec::new();
    while let Some(digits) = mangled.find(|c: char| !c.is_ascii_digit()) {
        let (length, rest) = mangled.split_at(digits);
        let length = length.parse().unwrap_or_else(|_| panic!("{mangled} does not begin with a length"));
        let (name, rest) = rest.split_at_checked(length).unwrap_or_else(|| panic!("{rest} is shorter than {length}"));
        names.push(name);
        mangled = rest;
    }
    names
}
