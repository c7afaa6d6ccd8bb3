//! The sources follow the layout in docs/ARCHITECTURE.md: pure modules stay pure, system calls stay in `sys`.

use std::fs;
use std::path::{Path, PathBuf};

/// What makes decisions: no system calls and no clock.
const PURE: [&str; 11] = [
    "address.rs",
    "report.rs",
    "tally.rs",
    "round/quarantine.rs",
    "master/command.rs",
    "master/fleet",
    "worker/connection",
    "worker/negotiate.rs",
    "worker/route.rs",
    "worker/scraper.rs",
    "render",
];

/// The modules, callers before callees: none uses a module before it.
const ORDER: [&str; 28] = [
    "internal",
    "cli",
    "fuzzing",
    "harness",
    "master",
    "worker",
    "plan",
    "disclosure",
    "logging",
    "settings",
    "round",
    "render",
    "report",
    "collect",
    "checks",
    "stamp",
    "sys",
    "healthchecks",
    "answer",
    "check",
    "panics",
    "tally",
    "perfdata",
    "duration",
    "address",
    "error",
    "main",
    "lib",
];

fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("the folder can be read").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("it was found there").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("sources are UTF-8");
        // What follows the head of the tests is not part of the program.
        (name, text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned())
    };
    found.into_iter().map(read).filter(|(name, _)| !name.contains("tests")).collect()
}

/// Whether the text contains the word, and not as the end of a longer one (`nix::` in `unix::`).
fn uses(text: &str, word: &str) -> bool {
    let begins = |at: usize| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| begins(at))
}

#[test]
fn what_is_pure_knows_no_system_and_no_clock() {
    let pure = |name: &str| PURE.iter().any(|part| name.starts_with(part));
    let mut seen = 0;
    for (name, text) in sources().into_iter().filter(|(name, _)| pure(name)) {
        seen += 1;
        for word in ["sys::", "nix::", "mio::", "libc::", "socket2::", "Instant::now", "SystemTime::now"] {
            assert!(!uses(&text, word), "src/{name} is pure, but uses {word}");
        }
    }
    assert!(seen >= PURE.len(), "only {seen} files were looked at");
}

#[test]
fn system_calls_and_unsafe_code_stay_in_sys() {
    let mut seen = 0;
    for (name, text) in sources().into_iter().filter(|(name, _)| !name.starts_with("sys/")) {
        seen += 1;
        for word in ["unsafe {", "unsafe fn", "nix::", "libc::", "from_raw_fd"] {
            assert!(!uses(&text, word), "src/{name} is not in sys, but uses {word}");
        }
    }
    assert!(seen > 10, "only {seen} files were looked at");
}

#[test]
fn dependencies_run_one_way() {
    let rank = |module: &str| ORDER.iter().position(|name| *name == module);
    let mut seen = 0;
    for (name, text) in sources() {
        let module = name.split(['/', '.']).next().unwrap_or_default();
        if ["main", "lib", "docs"].contains(&module) {
            continue;
        }
        let own = rank(module).unwrap_or_else(|| panic!("src/{name} has no place in the order"));
        for (at, path) in text.match_indices("crate::") {
            assert!(
                !text[at..].starts_with("crate::{"),
                "src/{name}: write one `use crate::…` a module, to be read here"
            );
            let used = text[at + path.len()..].split(|c: char| !c.is_alphanumeric() && c != '_').next();
            let Some(other) = used.and_then(rank) else { continue };
            seen += 1;
            assert!(own <= other, "src/{name} uses crate::{}, which stands before it", ORDER[other]);
        }
    }
    assert!(seen > 100, "only {seen} uses were looked at");
}

#[test]
fn no_file_outgrows_its_role() {
    for (name, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 400, "src/{name} has {lines} lines without its tests: split it by role");
    }
}

/// If a module is renamed, the only effect would be more memory, which nobody would notice.
#[test]
fn what_the_linker_puts_together_is_there() {
    let sources = sources();
    let mut seen = 0;
    // Without the comment at its beginning.
    let (_, script) = include_str!("../serving.ld").split_once("SECTIONS").expect("it is a linker script");
    for pattern in script.split(|c: char| c.is_whitespace() || "()*".contains(c)) {
        let Some((_, mangled)) = pattern.split_once("8hospital") else { continue };
        let (mut modules, mut items) = (Vec::new(), Vec::new());
        for name in names(mangled) {
            if items.is_empty() && name.starts_with(char::is_lowercase) {
                modules.push(name);
            } else {
                items.push(name);
            }
        }
        let module = modules.join("/");
        let (file, folder) = (format!("{module}.rs"), format!("{module}/"));
        let text: String = sources
            .iter()
            .filter(|(name, _)| *name == file || name.starts_with(&folder))
            .map(|(_, text)| text.as_str())
            .collect();
        assert!(!text.is_empty(), "serving.ld names {pattern}, but there is no src/{module}");
        for item in items {
            let is_there = ["fn", "struct", "enum"].iter().any(|kind| uses(&text, &format!("{kind} {item}")));
            assert!(is_there, "serving.ld names {pattern}, but there is no {item} in src/{module}");
        }
        seen += 1;
    }
    assert!(seen > 8, "only {seen} patterns were looked at");
}

/// The names in a mangled path, each preceded by its length: `7collect5Suite`.
fn names(mut mangled: &str) -> Vec<&str> {
    let mut names = Vec::new();
    while let Some(digits) = mangled.find(|c: char| !c.is_ascii_digit()) {
        let (length, rest) = mangled.split_at(digits);
        let length = length.parse().unwrap_or_else(|_| panic!("{mangled} begins with no length"));
        let (name, rest) = rest.split_at_checked(length).unwrap_or_else(|| panic!("{rest} is shorter than {length}"));
        names.push(name);
        mangled = rest;
    }
    names
}
