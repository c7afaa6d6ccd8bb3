//! The sources follow the layout in docs/ARCHITECTURE.md: dependencies run one way, pure modules stay pure, and system
//! calls stay in `os`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, callers before callees: none uses a room before it.
const ORDER: [&str; 21] = [
    "main",
    "lib",
    "cli",
    "daemon/master",
    "daemon/worker",
    "daemon/generation",
    "daemon/logging",
    "daemon/listen",
    "daemon/shared",
    "config",
    "mount",
    "drill",
    "endpoint",
    "round",
    "render",
    "collect",
    "python",
    "checks",
    "state",
    "functions",
    "model",
];

/// What everybody may use, and uses nothing of the crate itself.
const RIM: [&str; 2] = ["os", "error"];

/// What makes decisions: no system calls and no clock.
const PURE: [&str; 12] = [
    "src/model",
    "src/config/address.rs",
    "src/round/isolation",
    "src/render",
    "src/drill/plan.rs",
    "src/drill/seen.rs",
    "src/drill/writing.rs",
    "src/endpoint/counters.rs",
    "src/endpoint/negotiate.rs",
    "src/endpoint/route.rs",
    "src/daemon/master/fleet",
    "crates/http",
];

struct Source {
    /// From the root of the project.
    path: String,
    /// Without its tests.
    text: String,
}

fn sources() -> Vec<Source> {
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join("src"), &mut found);
    walk(&root.join("crates/http/src"), &mut found);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("sources are UTF-8");
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
        Source { path: path.strip_prefix(root).expect("it was found there").display().to_string(), text }
    };
    found
        .into_iter()
        .map(read)
        .filter(|source| !source.path.contains("tests") && !source.path.ends_with("docs.rs"))
        .collect()
}

/// Whether the text contains the word, and not as the end of a longer one (`nix::` in `unix::`).
fn uses(text: &str, word: &str) -> bool {
    let begins = |at: usize| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| begins(at))
}

/// The path of the module that a file holds: `daemon::listen` for `src/daemon/listen/mod.rs`.
fn module(path: &str) -> Option<String> {
    let name = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    Some(name.strip_suffix("/mod").unwrap_or(name).replace('/', "::"))
}

/// The files that a source imports from, each by the longest path that is a module.
fn imports(source: &Source, modules: &BTreeMap<String, String>) -> BTreeSet<String> {
    let Some(own) = module(&source.path) else { return BTreeSet::new() };
    let parent = own.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut found = BTreeSet::new();
    for (keyword, base) in [("crate::", ""), ("super::", parent)] {
        for (at, _) in source.text.match_indices(keyword) {
            let (path, rest) = path(&source.text[at + keyword.len()..]);
            // Of `super::{signals, tree}`, each.
            let group = rest.strip_prefix('{').and_then(|group| group.split('}').next()).unwrap_or_default();
            for item in group.split(',') {
                let full = format!("{base}::{path}::{}", self::path(item.trim()).0).replace("::::", "::");
                let mut full = full.trim_matches(':');
                while !modules.contains_key(full) {
                    let Some((shorter, _)) = full.rsplit_once("::") else { break };
                    full = shorter;
                }
                if let Some(file) = modules.get(full)
                    && *file != source.path
                {
                    found.insert(file.clone());
                }
            }
        }
    }
    found
}

/// The part of a path that may name modules, without colons at its end, and what follows.
fn path(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c)));
    let (path, rest) = text.split_at(end.unwrap_or(text.len()));
    (path.trim_end_matches(':'), rest)
}

fn modules(sources: &[Source]) -> BTreeMap<String, String> {
    sources.iter().filter_map(|source| Some((module(&source.path)?, source.path.clone()))).collect()
}

fn room(path: &str) -> &str {
    let name = path.strip_prefix("src/").unwrap_or(path);
    let is_in = |room: &&&str| name.strip_prefix(**room).is_some_and(|rest| rest.starts_with(['/', '.']));
    ORDER.iter().chain(&RIM).find(is_in).unwrap_or_else(|| panic!("{path} is in no room of ORDER"))
}

#[test]
fn dependencies_run_one_way() {
    let sources = sources();
    let modules = modules(&sources);
    let rank = |room: &str| ORDER.iter().position(|name| *name == room);
    let mut seen = 0;
    for source in sources.iter().filter(|source| source.path.starts_with("src/") && source.path != "src/daemon/mod.rs")
    {
        let own = room(&source.path);
        for import in imports(source, &modules) {
            seen += 1;
            if import == "src/lib.rs" || import == "src/daemon/mod.rs" {
                continue;
            }
            let other = room(&import);
            let may = own == other || RIM.contains(&other) || (rank(own) < rank(other) && !RIM.contains(&own));
            assert!(may, "{} uses {import}, which is above it", source.path);
        }
    }
    assert!(seen > 200, "only {seen} imports were looked at");
}

#[test]
fn no_two_files_import_each_other_in_a_circle() {
    let sources = sources();
    let modules = modules(&sources);
    let graph: BTreeMap<_, _> = sources.iter().map(|source| (source.path.clone(), imports(source, &modules))).collect();
    // A folder's root lists its parts, and its parts may use what it defines.
    let is_root_of = |root: &str, part: &str| {
        root.strip_suffix("mod.rs").or(root.strip_suffix("lib.rs")).is_some_and(|folder| part.starts_with(folder))
    };
    for (file, imports) in &graph {
        for import in imports.iter().filter(|import| !is_root_of(import, file) && !is_root_of(file, import)) {
            let (mut seen, mut next) = (BTreeSet::new(), vec![import]);
            while let Some(at) = next.pop() {
                if seen.insert(at) {
                    next.extend(graph[at].iter().filter(|to| !is_root_of(to, at) && !is_root_of(at, to)));
                }
            }
            assert!(!seen.contains(file), "{file} and {import} import each other, maybe through others");
        }
    }
}

#[test]
fn what_is_pure_knows_no_system_and_no_clock() {
    let pure = |source: &Source| PURE.iter().any(|part| source.path.starts_with(part));
    let mut seen = 0;
    for Source { path, text } in sources().into_iter().filter(pure) {
        seen += 1;
        for word in ["os::", "nix::", "mio::", "libc::", "socket2::", "Instant::now", "SystemTime::now"] {
            assert!(!uses(&text, word), "{path} is pure, but uses {word}");
        }
    }
    assert!(seen >= PURE.len(), "only {seen} files were looked at");
}

#[test]
fn the_endpoint_knows_no_server() {
    let mut seen = 0;
    for Source { path, text } in sources().into_iter().filter(|source| source.path.starts_with("src/endpoint/")) {
        seen += 1;
        for word in ["Connection", "Response", "Scoreboard", "slot", "config::"] {
            assert!(!uses(&text, word), "{path} is for any server, but uses {word}");
        }
    }
    assert!(seen > 5, "only {seen} files were looked at");
}

#[test]
fn system_calls_and_unsafe_code_stay_in_os() {
    let mut seen = 0;
    for Source { path, text } in sources().into_iter().filter(|source| !source.path.starts_with("src/os/")) {
        seen += 1;
        for word in ["unsafe {", "unsafe fn", "unsafe impl", "nix::", "libc::", "from_raw_fd"] {
            assert!(!uses(&text, word), "{path} is not in os, but uses {word}");
        }
    }
    assert!(seen > 10, "only {seen} files were looked at");
}

#[test]
fn a_type_name_stands_once() {
    let mut places = BTreeMap::<String, BTreeSet<String>>::new();
    for source in sources().iter().filter(|source| source.path.starts_with("src/")) {
        for line in source.text.lines() {
            // What only its own module sees may be called what it is there.
            let Some(item) = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")) else { continue };
            let Some((keyword, rest)) = item.split_once(' ') else { continue };
            if ["struct", "enum", "trait", "type", "union"].contains(&keyword) {
                let name = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                places.entry(name.to_owned()).or_default().insert(source.path.clone());
            }
        }
    }
    places.retain(|_, files| files.len() > 1);
    assert!(places.is_empty(), "these are each two types: {places:#?}");
}

#[test]
fn a_long_file_says_why_at_its_head() {
    for Source { path, text } in sources() {
        let head: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        let lines = text.lines().count();
        assert!(
            lines <= 600 || head.contains("one role"),
            "{path} has {lines} lines without its tests: its head has to say why it is one role"
        );
    }
}
