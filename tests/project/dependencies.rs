//! Every crate that the project builds with complies with `deny.toml`: the same as `cargo deny check licenses bans
//! sources` verifies, but without cargo-deny and without network.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

#[test]
fn every_dependency_keeps_to_deny_toml() {
    let policy = Policy::read();
    let graph = Metadata::read();
    let wrong: Vec<String> = graph
        .packages
        .iter()
        .filter(|package| graph.resolve.nodes.iter().any(|node| node.id == package.id))
        .flat_map(|package| policy.objections(package, &graph.workspace_root))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

// ---- the policy ----

#[derive(Deserialize)]
struct Policy {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

impl Policy {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
        let text = std::fs::read_to_string(path).expect("deny.toml stands beside Cargo.toml");
        toml::from_str(&text).expect("deny.toml allows licences, and gives each banned crate a reason")
    }

    /// What is wrong with a package, one sentence for each: the crate, the objection, what to do.
    fn objections(&self, package: &Package, workspace: &Path) -> Vec<String> {
        let ours = package.source.is_none() && package.manifest_path.starts_with(workspace);
        let mut found = Vec::new();

        match package.license.as_deref().map(|text| (text, satisfied(text, &self.licenses.allow))) {
            Some((_, Some(true))) => {}
            Some((text, Some(false))) => found.push(format!(
                "its licence is `{text}`, which [licenses] does not allow: drop it, or allow the licence on purpose"
            )),
            Some((text, None)) => found.push(format!(
                "its licence `{text}` is not an SPDX expression: read the licence, then drop the crate or teach this test"
            )),
            None => found.push("it names no licence: read its licence file, and drop it if in doubt".into()),
        }
        if !ours && !package.source.as_deref().is_some_and(is_public_registry) {
            let source = package.source.as_deref().unwrap_or("a path outside the workspace");
            found.push(format!("it comes from {source}: use a version that is published in the public registry"));
        }
        for ban in self.bans.deny.iter().filter(|ban| ban.name == package.name) {
            let Ban { name, reason } = ban;
            found.push(format!("it is banned ({reason}): `cargo tree --invert {name}` shows who brings it in"));
        }
        // The registry refuses `*` for other crates. Between members of the workspace the path counts, not the version.
        let from_elsewhere = package.dependencies.iter().filter(|dependency| dependency.path.is_none());
        for Dependency { name, req, .. } in from_elsewhere.filter(|dependency| ours && dependency.req.contains('*')) {
            found.push(format!("it requires {name} `{req}`: write the version that it was tested with"));
        }
        found.into_iter().map(|what| format!("{} {}: {what}", package.name, package.version)).collect()
    }
}

/// Cargo has one name for the public registry, whatever mirror the crates come from.
fn is_public_registry(source: &str) -> bool {
    source.starts_with("registry+") && source.ends_with("/crates.io-index")
}

// ---- licence expressions ----

/// Whether the allowed licences satisfy an expression; `None` if it is malformed.
///
/// The grammar is that of SPDX (annex D of its specification): AND binds tighter than OR, WITH tightest. In addition,
/// the `/` of older manifests means OR. As in cargo-deny, a licence WITH an exception must be allowed by its full name.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> Option<bool> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let verdict = any_of(&mut words, allowed)?;
    words.is_empty().then_some(verdict)
}

/// `a OR b …`; pops its words off the stack.
fn any_of(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut verdict = all_of(words, allowed)?;
    while words.pop_if(|word| *word == "OR").is_some() {
        verdict |= all_of(words, allowed)?;
    }
    Some(verdict)
}

/// `a AND b …`
fn all_of(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut verdict = one(words, allowed)?;
    while words.pop_if(|word| *word == "AND").is_some() {
        verdict &= one(words, allowed)?;
    }
    Some(verdict)
}

/// `( … )`, `licence` or `licence WITH exception`
fn one(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> Option<bool> {
    match words.pop()? {
        "(" => {
            let verdict = any_of(words, allowed)?;
            (words.pop()? == ")").then_some(verdict)
        }
        ")" | "OR" | "AND" | "WITH" => None,
        licence if words.pop_if(|word| *word == "WITH").is_some() => {
            let exception = words.pop()?;
            Some(allowed.contains(&format!("{licence} WITH {exception}")))
        }
        licence => Some(allowed.contains(licence)),
    }
}

// ---- what cargo knows ----

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
}

#[derive(Clone, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Deserialize)]
struct Dependency {
    name: String,
    req: String,
    path: Option<PathBuf>,
}

impl Metadata {
    /// The graph with all features: normal, build and dev dependencies. Only for this platform, because the manifests
    /// of the others may not have been downloaded.
    fn read() -> Self {
        let version = cargo(&["-vV"]);
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo -vV names the host");
        let metadata = ["metadata", "--offline", "--locked", "--format-version=1", "--all-features"];
        serde_json::from_str(&cargo(&[&metadata[..], &["--filter-platform", host]].concat()))
            .expect("cargo metadata prints format version 1")
    }
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("whoever runs this test has cargo");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?} failed (run `cargo fetch --locked` once?):\n{complaint}");
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

// ---- the test can fail ----

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"].map(String::from).into();
    for (expression, expected) in [
        ("MIT", Some(true)),
        ("GPL-3.0", Some(false)),
        ("MIT OR GPL-3.0", Some(true)),
        ("GPL-3.0/MIT", Some(true)),
        ("MIT AND GPL-3.0", Some(false)),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", Some(true)),
        ("GPL-3.0 AND MIT OR MIT", Some(true)),
        ("GPL-3.0 AND (MIT OR MIT)", Some(false)),
        ("Apache-2.0 WITH LLVM-exception", Some(true)),
        ("MIT WITH LLVM-exception", Some(false)),
        ("", None),
        ("MIT OR", None),
        ("(MIT", None),
        ("MIT)", None),
        ("MIT GPL-3.0", None),
    ] {
        assert_eq!(satisfied(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn each_breach_is_named() {
    let workspace = Path::new("/workspace");
    let good = Package {
        id: "shop".into(),
        name: "shop".into(),
        version: "1.0.0".into(),
        license: Some("MIT".into()),
        source: None,
        manifest_path: workspace.join("shop/Cargo.toml"),
        dependencies: vec![],
    };
    let any_version = Dependency { name: "mio".into(), req: "*".into(), path: None };
    let from_git = Some("git+https://example.org/shop".into());
    let objections = |package| Policy::read().objections(&package, workspace).join("\n");

    assert_eq!(objections(good.clone()), "");
    for (breach, expected) in [
        (Package { license: Some("GPL-3.0".into()), ..good.clone() }, "its licence is `GPL-3.0`"),
        (Package { license: None, ..good.clone() }, "it names no licence"),
        (Package { source: from_git, ..good.clone() }, "it comes from git+https://example.org/shop"),
        (Package { manifest_path: "/elsewhere/Cargo.toml".into(), ..good.clone() }, "a path outside the workspace"),
        (Package { name: "net2".into(), ..good.clone() }, "it is banned (RUSTSEC-2020-0016"),
        (Package { dependencies: vec![any_version], ..good.clone() }, "it requires mio `*`"),
    ] {
        let found = objections(breach);
        assert!(found.contains(expected), "`{expected}` should be in: {found}");
    }
}
