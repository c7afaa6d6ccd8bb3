//! Under s6, runit, start-stop-daemon and OpenRC, with the files that `deploy/` ships.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::family::{Family, PATIENCE, deployed, own_address};
use crate::harness::load::{Load, Shape};
use crate::harness::machine::Machine;
use crate::harness::*;

const WORKERS: usize = 2;
/// Both managers wait a second before they start again what has ended.
const LOCAL: &str = "127.0.0.1:1515";

// --- s6 and runit ------------------------------------------------------------------------------------

#[test]
#[ignore = "needs s6-svscan"]
fn s6_knows_when_it_answers() {
    let service = Supervised::by_s6();
    service.s6_svc(&["-wU", "-u"]);
    assert_eq!(get(&service.at, "/").status, 200);
    let status = service.run("s6-svstat", &["-o", "up,ready"]);
    assert_eq!(String::from_utf8_lossy(&status.stdout).trim(), "true true");
}

#[test]
#[ignore = "needs s6-svscan"]
fn s6_does_not_take_one_for_ready_that_cannot_start() {
    let service = Supervised::by_s6();
    service.s6_svc(&["-wU", "-u"]);
    let run = service.folder.join("run");
    fs::write(&run, fs::read_to_string(&run).expect("it is there").replace("hospital.healthchecks", "nowhere"))
        .expect("the folder is ours");
    let restarted = service.run("s6-svc", &["-T3000", "-wR", "-r"]);
    assert_eq!(restarted.status.code(), Some(99), "it is waited for in vain");
    service.logs("hospital ended with exit code 2");
}

#[test]
#[ignore = "needs s6-svscan"]
fn s6_reloads_stops_and_restarts() {
    let service = Supervised::by_s6();
    service.s6_svc(&["-wU", "-u"]);
    service.reload_stop_and_crash("signal 9", |verb| match verb {
        Verb::Reload => service.s6_svc(&["-h"]),
        Verb::Stop => service.s6_svc(&["-wD", "-d"]),
        Verb::Start => service.s6_svc(&["-wU", "-u"]),
    });
}

#[test]
#[ignore = "needs runsvdir"]
fn runit_reloads_stops_and_restarts() {
    let service = Supervised::by_runit();
    service.reload_stop_and_crash("signal 9", |verb| match verb {
        Verb::Reload => service.sv("hup"),
        Verb::Stop => service.sv("stop"),
        Verb::Start => service.sv("start"),
    });
}

#[test]
#[ignore = "needs runsvdir"]
fn runit_knows_when_it_answers() {
    let service = Supervised::by_runit();
    service.sv("start");
    assert_eq!(get(&service.at, "/").status, 200);
    service.sv("check");
    service.family.workers_of(service.master()).iter().for_each(|&pid| send(pid, Signal::SIGSTOP));
    let checked = service.run("sv", &["-w2", "check"]);
    assert_eq!(checked.status.code(), Some(1), "{}", String::from_utf8_lossy(&checked.stdout));
}

enum Verb {
    Reload,
    Stop,
    Start,
}

/// A folder of `deploy/` under its supervisor.
struct Supervised {
    family: Family,
    at: At,
    folder: PathBuf,
}

impl Supervised {
    #[track_caller]
    fn by_s6() -> Supervised {
        let service = Supervised::start("s6", "s6-svscan", &["notification-fd", "timeout-kill"], &["finish"]);
        within(PATIENCE, "s6-supervise is there", || service.run("s6-svstat", &[]).status.success());
        service
    }

    #[track_caller]
    fn by_runit() -> Supervised {
        let service = Supervised::start("runit", "runsvdir", &[], &["finish", "check"]);
        within(PATIENCE, "runsv is there", || service.run("sv", &["status"]).status.success());
        service
    }

    #[track_caller]
    fn start(manager: &str, scanner: &str, files: &[&str], scripts: &[&str]) -> Supervised {
        let directory = tempfile::tempdir().expect("there is room");
        let (scan, address) = (directory.path().join("scan"), own_address().to_string());
        let (folder, logs) = (scan.join("hospital"), directory.path().join("log").display().to_string());
        let shipped =
            |file: &str, replacements: &[(&str, &str)]| deployed(&format!("{manager}/hospital/{file}"), replacements);
        fs::create_dir_all(folder.join("log")).expect("the directory is ours");
        for file in files {
            fs::write(folder.join(file), shipped(file, &[])).expect("the folder is ours");
        }
        for script in scripts {
            let replacements = [("exec hospital", &*format!("exec {HOSPITAL}")), (LOCAL, &address)];
            write_program(&folder.join(script), &shipped(script, if *script == "check" { &replacements } else { &[] }));
        }
        write_program(&folder.join("log/run"), &shipped("log/run", &[("/var/log/hospital", &logs)]));
        let serve = format!("exec {HOSPITAL} serve");
        write_program(&folder.join("run"), &shipped("run", &[("exec hospital serve", &serve), (LOCAL, &address)]));
        let family = Family::start(directory, scanner, |command| {
            command.arg(scan);
        });
        Supervised { family, at: At::Tcp(address.parse().expect("it is one")), folder }
    }

    /// What every supervisor must be able to do with it.
    #[track_caller]
    fn reload_stop_and_crash(&self, ended_by: &str, ask: impl Fn(Verb)) {
        ask(Verb::Start);
        let master = self.master();
        let load = Load::start(&self.at, Shape { patience: PATIENCE, ..Shape::default() });
        load.wait_for_answers(100);
        let before = self.family.workers_of(master);
        ask(Verb::Reload);
        self.family.expect_new_workers(master, &before);
        load.wait_for_answers(100);
        load.stop().assert_nothing_lost();

        ask(Verb::Stop);
        assert!(self.family.masters().is_empty());
        assert!(try_get(&self.at, "/").is_err());
        ask(Verb::Start);
        assert_eq!(get(&self.at, "/").status, 200);

        let master = self.master();
        send(master, Signal::SIGKILL);
        self.family.new_master(&[master], WORKERS);
        self.logs(&format!("hospital was ended by {ended_by}"));
    }

    #[track_caller]
    fn master(&self) -> i32 {
        self.family.new_master(&[], WORKERS)
    }

    #[track_caller]
    fn s6_svc(&self, args: &[&str]) {
        let output = self.run("s6-svc", &[&["-T30000"], args].concat());
        assert!(output.status.success(), "s6-svc {args:?}: {output:?}");
    }

    #[track_caller]
    fn sv(&self, verb: &str) {
        let output = self.run("sv", &["-w30", verb]);
        assert!(output.status.success(), "sv {verb}: {output:?}");
    }

    /// Runs a command on the folder.
    fn run(&self, program: &str, args: &[&str]) -> Output {
        Command::new(program).args(args).arg(&self.folder).output().expect("tests/run has installed it")
    }

    #[track_caller]
    fn logs(&self, text: &str) {
        within(PATIENCE, &format!("the log has {text:?}"), || self.family.text("log/current").contains(text));
    }
}

// --- init scripts ------------------------------------------------------------------------------------

#[test]
#[ignore = "needs root"]
fn the_init_script_starts_reloads_upgrades_and_stops() {
    let init = Init::start("HEALTHCHECKS=hospital.healthchecks.predictable\nHOSPITAL_WORKERS=2\n");
    // `start` returns when everything answers.
    let master = init.master();
    assert_eq!(get(&init.at, "/").status, 200);
    let load = Load::start(&init.at, Shape { patience: PATIENCE, ..Shape::default() });
    load.wait_for_answers(100);
    assert_eq!(init.ask("status"), Some(0));
    assert_eq!(init.ask("start"), Some(0), "it runs already");
    assert_eq!(init.master(), master);

    let before = init.family.workers_of(master);
    assert_eq!(init.ask("reload"), Some(0));
    init.family.expect_new_workers(master, &before);
    load.wait_for_answers(100);
    assert_eq!(init.ask("upgrade"), Some(0));
    let second = init.family.new_master(&[master], WORKERS);
    load.wait_for_answers(100);
    load.stop().assert_nothing_lost();

    assert_eq!(init.ask("restart"), Some(0));
    let third = init.family.new_master(&[second], WORKERS);
    send(third, Signal::SIGKILL);
    // It is dead and has left its pidfile, as soon as it is reaped.
    within(PATIENCE, "the status is that it is dead", || init.ask("status") == Some(1));
    assert_eq!(init.ask("start"), Some(0));
    assert_eq!(get(&init.at, "/").status, 200);
    assert_eq!(init.ask("stop"), Some(0));
    assert!(init.family.members().is_empty());
    assert_eq!(init.ask("stop"), Some(0), "it is stopped already");
    assert_eq!(init.ask("status"), Some(3));
}

/// The process has another name then, and a pidfile that anybody may write to is one that start-stop-daemon refuses.
#[test]
#[ignore = "needs root"]
fn the_init_script_stops_a_server_with_another_name_and_no_umask() {
    let settings = "HOSPITAL_NAME=shop\nHOSPITAL_UMASK=000\nHOSPITAL_CHDIR=/\nHOSPITAL_WORKERS=2\n";
    let init = Init::start(&format!("HEALTHCHECKS=hospital.healthchecks.predictable\n{settings}"));
    assert_eq!(init.ask("status"), Some(0));
    assert_eq!(init.ask("reload"), Some(0));
    assert_eq!(init.ask("stop"), Some(0));
    assert!(init.family.members().is_empty());
    assert_eq!(init.ask("status"), Some(3));
}

#[test]
#[ignore = "needs root"]
fn the_init_script_stops_nothing_for_a_configuration_that_is_bad() {
    let init = Init::start("HEALTHCHECKS=hospital.healthchecks.predictable\nHOSPITAL_WORKERS=2\n");
    let master = init.master();
    let workers = init.family.workers_of(master);
    fs::write(init.family.path("variables"), "HEALTHCHECKS=nowhere\n").expect("the directory is ours");
    for verb in ["reload", "restart", "upgrade"] {
        assert_ne!(init.ask(verb), Some(0), "{verb}");
    }
    assert_eq!((init.master(), init.family.workers_of(master)), (master, workers));
}

#[test]
#[ignore = "needs root, target/systemd-root"]
fn openrc_starts_reloads_stops_and_restarts() {
    let machine = Machine::boot();
    let good = "HEALTHCHECKS=hospital.healthchecks.predictable\nHOSPITAL_WORKERS=2\nHOSPITAL_UMASK=000\n";
    machine.write("/etc/default/hospital", good);
    write_program(&machine.path("/etc/init.d/hospital"), &deployed("openrc/hospital", &[]));
    // What OpenRC creates when it boots a machine.
    machine.write("/run/openrc/softlevel", "");
    for state in ["daemons", "exclusive", "failed", "init.d", "options", "started", "starting", "stopping", "tmp"] {
        fs::create_dir(machine.path("/run/openrc").join(state)).expect("the layer is writable");
    }
    let service = |verb| {
        let ran = machine.run(&["rc-service", "hospital", verb]);
        ran.code.unwrap_or_else(|| panic!("{ran:?}"))
    };
    let at = At::Tcp(LOCAL.parse().expect("it is one"));
    let load = || machine.inside(|| Load::start(&at, Shape { patience: PATIENCE, ..Shape::default() }));
    let new_master = |before: i32| {
        let masters = || machine.named("hospital:master");
        within(PATIENCE, "there is one new master", || matches!(masters()[..], [master] if master != before));
        within(PATIENCE, "it has its workers", || processes::children(masters()[0]).len() == WORKERS);
        masters()[0]
    };

    assert_eq!(service("start"), 0);
    let master = new_master(0);
    within(PATIENCE, "it answers", || machine.inside(|| try_get(&at, "/").is_ok()));
    let clients = load();
    clients.wait_for_answers(100);
    let workers = processes::children(master);
    assert_eq!(service("reload"), 0);
    within(PATIENCE, "its workers are new", || {
        let now = processes::children(master);
        now.len() == WORKERS && !now.iter().any(|pid| workers.contains(pid))
    });
    machine.write("/etc/default/hospital", "HEALTHCHECKS=nowhere\n");
    assert_ne!(service("reload"), 0);
    assert_ne!(service("restart"), 0);
    clients.wait_for_answers(100);
    clients.stop().assert_nothing_lost();
    assert_eq!(new_master(0), master);

    machine.write("/etc/default/hospital", good);
    send(master, Signal::SIGKILL);
    let second = new_master(master);
    assert_eq!(service("status"), 0);
    assert_eq!(service("restart"), 0);
    new_master(second);
    assert_eq!(service("stop"), 0);
    assert!(machine.named("hospital:master").is_empty());
}

#[test]
#[ignore = "needs shellcheck"]
fn every_script_is_one_that_shellcheck_passes() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let mut scripts: Vec<_> = ["s6", "runit"]
        .iter()
        .flat_map(|manager| ["run", "finish", "log/run"].map(|script| format!("{manager}/hospital/{script}")))
        .chain(["runit/hospital/check".into(), "sysv/hospital".into()])
        .map(|script| vec![deploy.join(script)])
        .collect();
    // Its variables are for openrc-run.
    scripts.push(vec!["--shell=sh".into(), "--exclude=SC2034".into(), deploy.join("openrc/hospital")]);
    for arguments in scripts {
        let output = Command::new("shellcheck").args(&arguments).output().expect("tests/run has installed it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// The script for /etc/init.d, which has started the server once.
struct Init {
    family: Family,
    at: At,
}

impl Init {
    #[track_caller]
    fn start(variables: &str) -> Init {
        let directory = tempfile::tempdir().expect("there is room");
        let (path, address) = (directory.path().display().to_string(), own_address());
        let script = deployed(
            "sysv/hospital",
            &[
                ("PROGRAM=/usr/bin/hospital\n", &format!("PROGRAM={HOSPITAL}\n")),
                ("VARIABLES=/etc/default/hospital\n", &format!("VARIABLES={path}/variables\n")),
                ("PIDFILE=/run/hospital.pid\n", &format!("PIDFILE={path}/pid\n")),
                ("LOG=/var/log/hospital.log\n", &format!("LOG={path}/log\n")),
            ],
        );
        write_program(&directory.path().join("hospital"), &script);
        let variables = format!("{variables}HOSPITAL_BIND={address}\n");
        fs::write(directory.path().join("variables"), variables).expect("the directory is ours");
        let script = directory.path().join("hospital");
        let mut family = Family::start(directory, script, |command| {
            command.arg("start");
        });
        assert!(family.wait().success(), "{}{}", family.text("stderr"), family.text("log"));
        Init { family, at: At::Tcp(address) }
    }

    /// The exit code of the script for this verb.
    #[track_caller]
    fn ask(&self, verb: &str) -> Option<i32> {
        let mut command = self.family.command(self.family.path("hospital"));
        command.arg(verb).output().expect("the script can be run").status.code()
    }

    #[track_caller]
    fn master(&self) -> i32 {
        self.family.new_master(&[], WORKERS)
    }
}
