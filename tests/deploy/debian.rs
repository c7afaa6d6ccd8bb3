//! The Debian package, as an administrator sees it: installed, configured, upgraded under load, removed and purged, on
//! a whole Debian 12 of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use regex_lite::Regex;

use crate::harness::load::{Load, Shape};
use crate::harness::machine::{Machine, Ran};
use crate::harness::once::run;
use crate::harness::{At, eventually, get, processes, try_get};
use tempfile::TempDir;

const ROOT: &str = "debian-root";
const DEFAULTS: &str = "/etc/default/hospital";
/// A socket in addition to the port of the package, which the host can also reach.
const SOCKET: &str = "/run/checks.sock";

#[test]
#[ignore = "needs root, target/debian-root, target/packages"]
fn a_new_user_has_an_endpoint_and_an_upgrade_loses_no_request() {
    let packages = Packages::new();
    let machine = packages.machine();
    machine.write("/etc/systemd/system/hospital.socket.d/test.conf", &format!("[Socket]\nListenStream={SOCKET}\n"));
    let installed = machine.run(&["apt-get", "install", "--yes", "/packages/old.deb"]);
    assert_eq!(installed.code, Some(0), "{installed:?}");

    // It serves at once, on its port, as its user.
    let own = machine.run(&["hospital", "check", "http://127.0.0.1:1515/"]);
    assert_eq!(own.code, Some(0), "{own:?}\n{}", machine.journal());
    assert_eq!(machine.property("hospital.service", "UnitFileState"), "enabled");
    assert_eq!(machine.property("hospital.socket", "UnitFileState"), "enabled");
    let user = machine.run(&["id", "--user", "hospital"]).stdout;
    let worker = machine.workers("hospital.service")[0];
    assert_eq!(processes::status(worker, "Uid").split('\t').next(), Some(user.trim()));

    // The file takes effect with a reload; a bad one is refused and changes nothing.
    let at = At::Unix(machine.path(SOCKET));
    machine.write(
        DEFAULTS,
        "HEALTHCHECKS=\"hospital.healthchecks.predictable memory:#available=0%\"\nHOSPITAL_WORKERS=2\n",
    );
    machine.systemctl(&["reload", "hospital"]);
    eventually("the new check runs", || get(&at, "/").body.contains("\"total\": 3"));
    machine.write(DEFAULTS, "HEALTHCHECKS=\"tpc://nobody\"\n");
    let refused = machine.run(&["systemctl", "reload", "hospital"]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    machine.write(DEFAULTS, "HEALTHCHECKS=hospital.healthchecks.predictable\nHOSPITAL_WORKERS=2\n");

    // The new version takes over, without a question about the edited file.
    let before = machine.master("hospital.service");
    let load = Load::start(&at, Shape::default());
    load.wait_for_answers(200);
    dpkg(&machine, &["--install", "/packages/new.deb"]);
    eventually("the new version serves", || !machine.workers("hospital.service").is_empty());
    load.wait_for_answers(200);
    load.stop().assert_nothing_lost();
    assert_ne!(machine.master("hospital.service"), before);
    assert_eq!(version(&machine), "9.9.9");
    assert!(read(&machine, DEFAULTS).contains("HOSPITAL_WORKERS=2"));
}

#[test]
#[ignore = "needs root, target/debian-root, target/packages"]
fn removed_it_keeps_its_file_and_purged_it_leaves_nothing() {
    let packages = Packages::new();
    let machine = packages.machine();
    let fresh = traces(&machine);
    dpkg(&machine, &["--install", "/packages/old.deb"]);
    machine.write(DEFAULTS, "HEALTHCHECKS=memory:\n");

    dpkg(&machine, &["--remove", "hospital"]);
    assert_eq!(machine.property("hospital.service", "ActiveState"), "inactive");
    assert_eq!(machine.property("hospital.socket", "ActiveState"), "inactive");
    assert_eq!(read(&machine, DEFAULTS), "HEALTHCHECKS=memory:\n");
    assert!(!machine.path("/usr/bin/hospital").exists());

    // After a reinstallation it is enabled again, with the file as it was.
    dpkg(&machine, &["--install", "/packages/old.deb"]);
    assert_eq!(machine.property("hospital.service", "ActiveState"), "active");
    assert_eq!(read(&machine, DEFAULTS), "HEALTHCHECKS=memory:\n");

    dpkg(&machine, &["--purge", "hospital"]);
    assert_eq!(traces(&machine), fresh);
    assert_ne!(machine.run(&["id", "hospital"]).code, Some(0), "the user is gone");
}

#[test]
#[ignore = "needs root, target/debian-root, target/packages"]
fn who_has_switched_it_off_finds_it_off_after_an_upgrade() {
    let packages = Packages::new();
    let machine = packages.machine();
    machine.write("/etc/systemd/system/hospital.socket.d/test.conf", &format!("[Socket]\nListenStream={SOCKET}\n"));
    dpkg(&machine, &["--install", "/packages/old.deb"]);
    let at = At::Unix(machine.path(SOCKET));
    assert_eq!(get(&at, "/").status, 200);
    machine.systemctl(&["disable", "--now", "hospital.socket", "hospital.service"]);
    dpkg(&machine, &["--install", "/packages/new.deb"]);
    assert_eq!(version(&machine), "9.9.9");
    assert_eq!(machine.property("hospital.service", "UnitFileState"), "disabled");
    assert_eq!(machine.property("hospital.service", "ActiveState"), "inactive");
    assert!(try_get(&at, "/").is_err());
}

#[test]
#[ignore = "needs target/packages"]
fn the_package_has_all_that_belongs_to_it() {
    let package = shipped();
    let mut contents = Command::new("dpkg-deb");
    contents.arg("--contents").arg(&package);
    let contents = run(contents).stdout;
    for path in [
        "/usr/bin/hospital",
        "/usr/bin/hospital-cli -> hospital",
        "/usr/bin/hospital-serve -> hospital",
        "/etc/default/hospital",
        "/lib/systemd/system/hospital.service",
        "/lib/systemd/system/hospital.socket",
        "/lib/systemd/system/hospital@.service",
        "/lib/systemd/system/hospital@.socket",
        "/usr/share/man/man1/hospital.1.gz",
        "/usr/share/man/man1/hospital-serve.1.gz",
        "/usr/share/man/man1/hospital-check.1.gz",
        "/usr/share/man/man1/hospital-cli.1.gz -> hospital-check.1.gz",
        "/usr/share/man/man1/hospital-list.1.gz",
        "/usr/share/bash-completion/completions/hospital",
        "/usr/share/fish/vendor_completions.d/hospital.fish",
        "/usr/share/zsh/vendor-completions/_hospital",
        "/usr/share/doc/hospital/copyright",
        "/usr/share/doc/hospital/changelog.gz",
    ] {
        assert!(contents.lines().any(|line| line.ends_with(&format!(" .{path}"))), "{path} is missing: {contents}");
    }
    let others: Vec<_> = contents.lines().filter(|line| !line.contains(" root/root ")).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
#[ignore = "needs target/packages"]
fn its_documents_link_to_nothing_that_it_lacks() {
    let folder = tempfile::tempdir().expect("there is room");
    dpkg_deb(&["--extract".as_ref(), &shipped(), folder.path()]);
    let documents = folder.path().join("usr/share/doc/hospital");
    let mut pages: Vec<_> = ["", "docs", "deploy"].iter().flat_map(|part| pages(&documents.join(part))).collect();
    pages.sort();
    assert!(pages.len() > 10, "{pages:?}");
    let link = Regex::new(r"\]\(([^)#:]+)(#[^):]*)?\)").expect("it is one");
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("pages are UTF-8");
        for target in link.captures_iter(&text).map(|found| found[1].to_owned()) {
            let path = page.parent().expect("it is in a folder").join(&target);
            assert!(path.exists(), "{} links to {target}", page.display());
        }
    }
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("it is read").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

// --- packages --------------------------------------------------------------------------------------------

/// The result of `packaging/deb`.
#[track_caller]
fn shipped() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/packages");
    let entries = std::fs::read_dir(&folder).expect("tests/run makes it").flatten().map(|entry| entry.path());
    let found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).collect();
    let [package] = &found[..] else { panic!("there is one package: {found:?}") };
    package.clone()
}

/// The package, and a copy of it with a later version.
struct Packages(TempDir);

impl Packages {
    #[track_caller]
    fn new() -> Packages {
        let folder = tempfile::tempdir().expect("there is room");
        let (old, tree) = (folder.path().join("old.deb"), folder.path().join("tree"));
        std::fs::copy(shipped(), &old).expect("the folder is ours");
        dpkg_deb(&["--raw-extract".as_ref(), &old, &tree]);
        let control = tree.join("DEBIAN/control");
        let text = std::fs::read_to_string(&control).expect("each package has one");
        let version = text.lines().find(|line| line.starts_with("Version: ")).expect("it has a version");
        std::fs::write(&control, text.replace(version, "Version: 9.9.9")).expect("the folder is ours");
        dpkg_deb(&["--build".as_ref(), "-Znone".as_ref(), &tree, &folder.path().join("new.deb")]);
        Packages(folder)
    }

    /// A Debian 12 with the packages in `/packages`.
    #[track_caller]
    fn machine(&self) -> Machine {
        Machine::of(ROOT, &format!("{}:/packages", self.0.path().display()))
    }
}

#[track_caller]
fn dpkg_deb(args: &[&Path]) {
    let mut command = Command::new("dpkg-deb");
    command.args(args);
    let told = run(command);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
}

/// Runs dpkg, which must succeed without asking anything.
#[track_caller]
fn dpkg(machine: &Machine, args: &[&str]) -> Ran {
    let ran = machine.run(&[&["dpkg"], args].concat());
    assert_eq!(ran.code, Some(0), "dpkg {args:?}: {ran:?}\n{}", machine.journal());
    ran
}

#[track_caller]
fn version(machine: &Machine) -> String {
    machine.run(&["dpkg-query", "--show", "--showformat=${Version}", "hospital"]).stdout
}

#[track_caller]
fn read(machine: &Machine, path: &str) -> String {
    std::fs::read_to_string(machine.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files named after us, wherever a package may leave one.
#[track_caller]
fn traces(machine: &Machine) -> String {
    let ran = machine.run(&["find", "/etc", "/usr", "/var", "/lib", "-name", "*hospital*"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout
}
