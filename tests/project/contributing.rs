//! What CONTRIBUTING.md tells to add can be added as it stands there, and works.

use std::fs;
use std::path::Path;
use std::process::Command;

use regex_lite::Regex;

#[test]
#[ignore = "takes long"]
fn a_kind_a_format_and_a_setting_are_added_as_the_guide_says() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("there is room");
    copy(here, folder.path());
    let guide = fs::read_to_string(here.join("CONTRIBUTING.md")).expect("it is there");
    let step = Regex::new("(?s)(?:`([^`]+)`, a new file|In `([^`]+)`, below `([^`]+)`):\n\n```rust\n(.*?)```");
    let mut steps = 0;
    for found in step.expect("it is one").captures_iter(&guide) {
        let code = &found[4];
        match (found.get(1), found.get(2), found.get(3)) {
            (Some(path), ..) => fs::write(folder.path().join(path.as_str()), code).expect("the folder is ours"),
            (None, Some(path), Some(line)) => insert(&folder.path().join(path.as_str()), line.as_str(), code),
            _ => unreachable!("a step is one or the other"),
        }
        steps += 1;
    }
    assert_eq!(steps, 7);
    let told = hospital(folder.path(), &["check", "--format", "csv", "up=uptime:#min=1ms"]);
    assert_eq!(told, "\"check\",status\n\"up\",pass\n");
    let told = hospital(folder.path(), &["serve", "--print-config", "up=uptime:"]);
    assert!(told.contains("HOSPITAL_SIGNATURE=\"hospital\""), "{told}");
}

/// Copies what git tracks, or would.
fn copy(from: &Path, to: &Path) {
    let mut git = Command::new("git");
    let listed = git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(from).output();
    let listed = String::from_utf8(listed.expect("git is installed").stdout).expect("the names are UTF-8");
    for name in listed.split_terminator('\0').filter(|name| from.join(name).is_file()) {
        let target = to.join(name);
        fs::create_dir_all(target.parent().expect("it is below a folder")).expect("the folder is ours");
        fs::copy(from.join(name), target).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Puts code below the only line that reads like this.
#[track_caller]
fn insert(path: &Path, line: &str, code: &str) {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let below = format!("\n{line}\n");
    assert_eq!(text.matches(&below).count(), 1, "{} has one line {line:?}", path.display());
    fs::write(path, text.replace(&below, &format!("{below}{code}"))).expect("the folder is ours");
}

/// What the program that is built there prints.
#[track_caller]
fn hospital(folder: &Path, args: &[&str]) -> String {
    // An example, because the folder of builds is shared, and its `hospital` is what other tests run.
    fs::write(folder.join("examples/whole.rs"), "fn main() -> std::process::ExitCode { hospital::main() }\n")
        .expect("the folder is ours");
    let mut cargo = Command::new(env!("CARGO"));
    let builds = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the folder of builds");
    cargo.args(["run", "--quiet", "--offline", "--example", "whole", "--target-dir"]).arg(builds).arg("--").args(args);
    let told = cargo.current_dir(folder).output().expect("cargo can be started");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).expect("it prints text")
}
