//! Two builds, one hash: the same source gives the same bytes, wherever it is and whoever builds it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::container::static_program;
use crate::harness::alone;

/// Time, place and order get into a program in the same ways when it is built in a fraction of the time: without
/// optimization, and without the crates for TLS.
const QUICKLY: [&str; 5] = [
    "--no-default-features",
    "--config=profile.release.opt-level=0",
    "--config=profile.release.package.'*'.opt-level=0",
    "--config=profile.release.lto=false",
    "--config=profile.release.codegen-units=16",
];

#[test]
#[ignore = "takes long, needs musl-gcc"]
fn the_same_source_in_another_place_makes_the_same_program() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("there is room");
    // The crates are in another place, too.
    let [one, other] = ["here", "elsewhere"].map(|place| {
        let place = folder.path().join(place);
        let (source, home) = (place.join("source"), place.join("home"));
        copy(Path::new(env!("CARGO_MANIFEST_DIR")), &source);
        copy_home(&home);
        build(&source, &home)
    });
    assert!(one.len() > 1_000_000);
    // Not with assert_eq!: nobody wants to see the bytes.
    assert!(one == other, "the two programs differ");
}

#[test]
#[ignore = "needs target/*-musl/release/hospital"]
fn the_program_does_not_tell_where_it_was_built() {
    let program = std::fs::read(static_program()).expect("it is there");
    for place in [Path::new(env!("CARGO_MANIFEST_DIR")), &home()] {
        let path = place.as_os_str().as_encoded_bytes();
        assert!(!program.windows(path.len()).any(|window| window == path), "it tells {}", place.display());
    }
}

/// Where cargo keeps the crates.
fn home() -> PathBuf {
    std::env::var_os("CARGO_HOME")
        .map_or_else(|| std::env::home_dir().expect("there is one").join(".cargo"), PathBuf::from)
}

/// A home for cargo with the crates that are already downloaded.
#[track_caller]
fn copy_home(to: &Path) {
    let home = home();
    std::fs::create_dir(to).expect("the folder is ours");
    for part in ["registry", "config.toml"] {
        if home.join(part).exists() {
            std::os::unix::fs::symlink(home.join(part), to.join(part)).expect("the folder is ours");
        }
    }
}

/// Copies what belongs to the source: what git tracks, or would.
#[track_caller]
fn copy(from: &Path, to: &Path) {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(from);
    let listed = git.output().expect("git is installed");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).expect("the names are UTF-8");
    for name in listed.split_terminator('\0').filter(|name| from.join(name).exists()) {
        let (source, target) = (from.join(name), to.join(name));
        std::fs::create_dir_all(target.parent().expect("it is below a folder")).expect("the folder is ours");
        let copied = match std::fs::read_link(&source) {
            Ok(link) => std::os::unix::fs::symlink(link, target),
            Err(_) => std::fs::copy(source, target).map(drop),
        };
        copied.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// The static program, built from the source there.
#[track_caller]
fn build(source: &Path, home: &Path) -> Vec<u8> {
    let mut build = Command::new(source.join("packaging/build"));
    build.args(["--static", "--offline"]).args(QUICKLY);
    build.env("CARGO_HOME", home).stderr(Stdio::piped());
    // Without the settings that the test itself was built with.
    for variable in ["RUSTFLAGS", "CARGO_TARGET_DIR"] {
        build.env_remove(variable);
    }
    let told = build.output().expect("it can be started");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let path = String::from_utf8(told.stdout).expect("it prints a path");
    std::fs::read(path.trim()).unwrap_or_else(|error| panic!("{path}: {error}"))
}
