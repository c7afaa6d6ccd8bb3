//! Whom it trusts: what another user could change, or exchange, is neither read nor run.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use tempfile::TempDir;

use crate::harness::once::{Run, check, run};
use crate::harness::{HOSPITAL, Server, get, refused, write_program};

/// The other user.
const NOBODY: u32 = 65534;

/// A folder of root's, and in it one that nobody owns.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().expect("a folder for the test");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is ours");
        fs::create_dir(folder.path().join("theirs")).expect("it is ours");
        Site { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn give(&self, name: &str) {
        lchown(self.path(name), Some(NOBODY), Some(NOBODY)).expect("root may");
    }

    /// A folder with a program and a file of checks, both of which leave a trace that says whose they are.
    fn write_checks(&self, name: &str, whose: &str) {
        let folder = self.path(name);
        fs::create_dir(&folder).expect("it is ours");
        let program = format!("#!/bin/sh\necho {whose} >>{}\n", self.path("trace").display());
        write_program(&folder.join("program"), &program);
        let checks = format!("[[check]]\nname = '{whose}'\nuse = 'file:/'\n");
        fs::write(folder.join("checks.toml"), checks).expect("it is ours");
    }
}

#[test]
#[ignore = "needs root"]
fn what_another_user_can_exchange_is_refused_with_exit_5_though_it_is_roots_own() {
    let site = Site::new();
    site.write_checks("ours", "root");
    site.write_checks("theirs/ours", "root");
    symlink("/bin/true", site.path("theirs/link")).expect("it is ours");
    symlink(site.path("theirs/ours"), site.path("through")).expect("it is ours");
    // Root's folder, and a link of the other user's that he may exchange in it.
    fs::create_dir(site.path("sticky")).expect("it is ours");
    fs::set_permissions(site.path("sticky"), Permissions::from_mode(0o1777)).expect("it is ours");
    symlink("/bin/true", site.path("sticky/his")).expect("it is free");
    symlink("/bin/true", site.path("sticky/ours")).expect("it is free");
    site.give("sticky/his");
    site.give("theirs");
    let at = |name: &str| site.path(name).display().to_string();
    for name in ["theirs/link", "theirs/ours/program", "through/program", "sticky/his"] {
        let Run { code, stderr, .. } = check(&[&format!("exec:{}", at(name))]);
        assert_eq!((code, stderr.lines().count()), (Some(5), 1), "{name}: {stderr}");
        let folder = at(if name == "sticky/his" { name } else { "theirs" });
        assert!(stderr.contains(&format!("because {folder} belongs to the user {NOBODY}")), "{stderr}");
    }
    for name in ["theirs/ours/checks.toml", "theirs/ours", "through", "theirs/../ours"] {
        let Run { code, stderr, .. } = check(&[&at(name)]);
        assert_eq!((code, stderr.lines().count()), (Some(5), 1), "{name}: {stderr}");
    }
    for path in [at("ours/program"), at("sticky/ours"), "/bin/true".to_owned()] {
        assert_eq!(check(&[&format!("exec:{path}")]).code, Some(0), "{path}");
    }
}

#[test]
#[ignore = "needs root"]
fn what_another_user_exchanges_between_judgement_and_use_is_neither_run_nor_read() {
    let site = Site::new();
    site.write_checks("theirs/current", "root");
    site.write_checks("theirs/other", "nobody");
    for name in ["theirs/other", "theirs/other/program", "theirs/other/checks.toml"] {
        site.give(name);
    }
    let current = site.path("theirs/current").display().to_string();
    let server = Server::start(["-w", "1", &format!("exec:{current}/program"), &format!("{current}/checks.toml")]);
    assert_eq!(get(&server.at, "/").status, 200, "up to now the way is root's");
    let traces = || fs::read_to_string(site.path("trace")).expect("it has run");
    let before = traces();

    site.give("theirs");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // As the owner of the folder can.
            let [one, other] = ["theirs/current", "theirs/other"].map(|name| site.path(name));
            while !is_over.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).expect("both are there");
            }
        });
        let bodies: Vec<_> = (0..3000).map(|_| get(&server.at, "/").body).collect();
        is_over.store(true, Ordering::Relaxed);
        for body in bodies {
            assert!(!body.contains("\"nobody\""), "{body}");
            assert!(body.contains(&format!("is not run, because {}", site.path("theirs").display())), "{body}");
        }
    });
    assert_eq!(traces(), before);
}

#[test]
#[ignore = "needs root"]
fn a_setting_whose_file_is_in_the_hands_of_another_user_is_refused_with_exit_5() {
    let site = Site::new();
    for name in ["env", "theirs/env", "open"] {
        fs::write(site.path(name), "A=1\n").expect("it is ours");
    }
    fs::set_permissions(site.path("open"), Permissions::from_mode(0o666)).expect("it is ours");
    site.give("theirs");
    let start = |flags: &[&str], name: &str| {
        let path = site.path(name).display().to_string();
        refused(&[&["-b", "127.0.0.1:0"][..], flags, &[&path]].concat(), &[])
    };
    for (flags, names) in [
        (&["--env-file"][..], &["theirs/env", "open"][..]),
        (&["--details", "token", "--token-file"], &["theirs/env", "open"]),
        (&["--maintenance-file"], &["theirs/none", "theirs/none/none", "theirs/env"]),
    ] {
        for name in names {
            let (code, stderr) = start(flags, name);
            assert_eq!((code, stderr.lines().count()), (5, 1), "{stderr}");
            let flag = flags.last().expect("there is one");
            assert!(stderr.contains(&format!("{flag} {}: refused, because", site.path(name).display())), "{stderr}");
        }
    }
}

#[test]
fn a_maintenance_file_that_anybody_may_create_is_refused_with_exit_5() {
    let folder = tempfile::tempdir_in("/tmp").expect("a folder for the test");
    let path = folder.path().with_extension("maintenance").display().to_string();
    let (code, stderr) = refused(&["-b", "127.0.0.1:0", "--maintenance-file", &path], &[]);
    assert_eq!((code, stderr.lines().count()), (5, 1), "{stderr}");
    assert!(stderr.contains("others may write to /tmp (its mode is 1777)"), "{stderr}");
}

#[test]
#[ignore = "needs root"]
fn a_user_trusts_his_own_home_and_root_does_not() {
    let site = Site::new();
    fs::copy(HOSPITAL, site.path("hospital")).expect("there is room");
    site.write_checks("theirs/checks", "user");
    for name in ["theirs", "theirs/checks", "theirs/checks/program", "theirs/checks/checks.toml"] {
        site.give(name);
    }
    fs::set_permissions(site.path("theirs"), Permissions::from_mode(0o770)).expect("root may");
    let home = site.path("theirs");
    let as_him = |hospital: &Path| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(hospital);
        command.args(["check", "./checks"]).current_dir(&home);
        command
    };
    fs::write(site.path("trace"), "").and_then(|()| chown(site.path("trace"), Some(NOBODY), None)).expect("root may");
    let Run { code, stderr, .. } = run(as_him(&site.path("hospital")));
    assert_eq!(code, Some(0), "{stderr}");
    let path = site.path("theirs/checks").display().to_string();
    assert_eq!(check(&[&path]).code, Some(5));
}

#[test]
#[ignore = "needs root"]
fn a_volume_of_kubernetes_is_trusted_as_long_as_it_is_read_only() {
    // In the root folder, so that it is on the same file system.
    let folder = tempfile::tempdir_in("/").expect("a folder for the test");
    // What kubelet makes of a ConfigMap, and what systemd makes of a host for a service with ProtectSystem=strict.
    const VOLUME: &str = "mount -t tmpfs -o mode=777 none \"$1\" && cd \"$1\" && mkdir ..2026 && ln -s ..2026 ..data &&
        printf \"[[check]]\\nuse = 'file:/'\\n\" >..2026/a.toml && ln -s ..data/a.toml a.toml &&";
    const HOST: &str = "chmod 777 \"$1\" && printf \"[[check]]\\nuse = 'file:/'\\n\" >\"$1\"/a.toml &&
        mount -o remount,bind,ro / && ! touch \"$1\" 2>/dev/null &&";
    for (made, mounted, expected) in [(VOLUME, "mount -o remount,ro \"$1\" &&", 0), (VOLUME, "", 5), (HOST, "", 5)] {
        let script = format!("{made} {mounted} exec {HOSPITAL} check \"$1\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(folder.path());
        let Run { code, stderr, .. } = run(command);
        assert_eq!(code, Some(expected), "{stderr}");
    }
}
