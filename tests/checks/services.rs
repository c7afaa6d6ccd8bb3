//! The kind service against those that look after services: runit, s6 and systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::family::PATIENCE;
use crate::harness::machine::Machine;
use crate::harness::once::{Run, check};
use crate::harness::within;

/// Whether `hospital check NAME` ends with this status, and says this.
#[track_caller]
fn is(name: &str, status: &str, text: &str) {
    let run = check(&[name]);
    assert!(ends(&run, status, text), "{name} should be {status} with {text:?}: {}{}", run.stdout, run.stderr);
}

fn ends(run: &Run, status: &str, text: &str) -> bool {
    let code = if status == "pass" { 0 } else { 1 };
    let told = format!("{}{}", run.stdout, run.stderr);
    run.code == Some(code) && (code == 0 || told.contains(&format!("\n{status}: "))) && told.contains(text)
}

/// A service in a folder of its own, with whoever supervises it.
struct Supervised {
    supervisor: Child,
    folder: tempfile::TempDir,
}

impl Supervised {
    fn start(supervisor: &str, script: &str) -> Supervised {
        let folder = tempfile::tempdir().expect("there is room");
        let run = folder.path().join("run");
        fs::write(&run, format!("#!/bin/sh\n{script}\n")).expect("it is ours");
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let mut command = Command::new(supervisor);
        let supervisor = command.arg(folder.path()).stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        Supervised { supervisor: supervisor.expect("it is installed"), folder }
    }

    fn name(&self, options: &str) -> String {
        format!("service:{}#{options}", self.folder.path().display())
    }

    #[track_caller]
    fn becomes(&self, options: &str, status: &str, text: &str) {
        within(PATIENCE, &format!("{options} is {status} with {text:?}"), || {
            ends(&check(&[&self.name(options)]), status, text)
        });
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
        // What it has left behind.
        for pid in crate::harness::processes::all() {
            let folder = fs::read_link(format!("/proc/{pid}/cwd"));
            if folder.is_ok_and(|folder| folder == self.folder.path()) {
                crate::harness::send(pid, crate::harness::Signal::SIGKILL);
            }
        }
    }
}

#[test]
#[ignore = "needs runsv, sv"]
fn what_runit_supervises_is_up_down_or_without_a_supervisor() {
    let mut service = Supervised::start("runsv", "exec sleep 1000");
    service.becomes("", "pass", "");
    is(&service.name("enabled"), "pass", "");
    is(&service.name("restarts=0"), "ERROR", "does not count them");
    let path = service.folder.path().to_owned();
    let sv = |verb: &str| {
        let ended = Command::new("sv").arg(verb).arg(&path).stdout(Stdio::null()).status();
        assert!(ended.expect("it is installed").success());
    };
    sv("down");
    service.becomes("", "FAIL", "got one that is down");
    is(&service.name("state=not-failed"), "pass", "");
    sv("up");
    service.becomes("", "pass", "");
    fs::write(path.join("down"), "").expect("it is ours");
    is(&service.name("enabled"), "FAIL", "to be started with the host, and it is not");
    service.supervisor.kill().expect("it is ours");
    service.becomes("", "FAIL", "nobody does any more");
}

#[test]
#[ignore = "needs s6-supervise, s6-svc"]
fn the_deaths_that_s6_counts_are_restarts() {
    let service = Supervised::start("s6-supervise", "exec sleep 1000");
    service.becomes("restarts=0&within=1h", "pass", "");
    let path = service.folder.path();
    let control = |flag: &str| {
        assert!(Command::new("s6-svc").arg(flag).arg(path).status().expect("it is installed").success());
    };
    control("-k");
    service.becomes("restarts=0&within=1h", "FAIL", "expected at most 0 restarts");
    service.becomes("restarts=1&within=1h", "pass", "");
    control("-d");
    service.becomes("", "FAIL", "got one that is down");
    is(&format!("service:{}", Path::new("/no/such").display()), "FAIL", "nobody does");
}

#[test]
#[ignore = "needs root, target/systemd-root"]
fn systemd_says_what_a_unit_is_and_without_it_nothing_is_decided() {
    let machine = Machine::boot();
    let unit = |name: &str, line: &str| {
        machine.write(&format!("/etc/systemd/system/{name}.service"), &format!("[Service]\n{line}\n"));
    };
    unit("well", "ExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target");
    unit("broken", "ExecStart=/bin/false");
    unit(
        "again",
        "ExecStart=/bin/sh -c 'sleep 0.2; exit 1'\nRestart=always\nRestartSec=100ms\n[Unit]\nStartLimitIntervalSec=0",
    );
    machine.systemctl(&["daemon-reload"]);
    machine.systemctl(&["enable", "--now", "well"]);
    machine.systemctl(&["start", "again"]);
    machine.run(&["systemctl", "start", "broken"]);
    let is = |name: &str, status: &str, text: &str| {
        within(PATIENCE, &format!("{name} is {status} with {text:?}"), || {
            let ran = machine.run(&["hospital", "check", "-v", name]);
            let told = format!("{}{}", ran.stdout, ran.stderr);
            told.contains(status) && told.contains(text)
        });
    };
    is("service:well#enabled&restarts=0", "ok", "");
    is("service:well.service", "ok", "");
    is("service:broken", "FAIL", "got failed (failed, after exit-code)");
    is("service:broken#state=not-failed", "FAIL", "not to have failed");
    is("service:no-such", "FAIL", "a name that systemd has no unit for");
    is("service:again#state=not-failed&restarts=1", "FAIL", "restarts of again since somebody started it");
    is("service:systemd-journald#enabled", "ERROR", "it is static");
    machine.systemctl(&["disable", "well"]);
    is("service:well#enabled", "FAIL", "to be started with the host, and it is not");
    // This machine has no D-Bus, by which users other than root would ask.
    let other = machine.run(&["setpriv", "--reuid=65534", "--clear-groups", "hospital", "check", "service:well"]);
    let told = format!("{}{}", other.stdout, other.stderr);
    assert!(other.code == Some(1) && told.contains("\nERROR: ") && told.contains("cannot ask systemd"), "{told}");
}
