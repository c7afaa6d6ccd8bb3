//! The units in `deploy/systemd`, as they are shipped, under a whole systemd.

use std::process::Command;

use crate::harness::family::{PATIENCE, deployed};
use crate::harness::load::{Load, Shape};
use crate::harness::machine::Machine;
use crate::harness::*;

const SERVICE: &str = "hospital.service";
const SOCKET: &str = "hospital.socket";
const VARIABLES: &str = "/etc/default/hospital";
const PREDICTABLE: &str = "HEALTHCHECKS=hospital.healthchecks.predictable\nWEB_CONCURRENCY=2\n";

// --- what systemd makes of the files -----------------------------------------------------------------

#[test]
#[ignore = "needs root, target/systemd-root"]
fn systemd_has_nothing_to_say_about_the_units_and_finds_them_well_enclosed() {
    let machine = Machine::boot();
    machine.install(&UNITS);
    for unit in [SOCKET, SERVICE, "hospital@1516.socket", "hospital@1516.service"] {
        let verified = machine.run(&["systemd-analyze", "verify", unit]);
        assert_eq!((verified.code, verified.stdout.as_str(), verified.stderr.as_str()), (Some(0), "", ""), "{unit}");
    }
    for unit in [SERVICE, "hospital@.service"] {
        let path = format!("/etc/systemd/system/{unit}");
        // The threshold is in tenths.
        let enclosed =
            machine.run(&["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", &path]);
        assert_eq!(enclosed.code, Some(0), "{}", enclosed.stdout);
    }
}

#[test]
#[ignore = "needs systemd-analyze"]
fn before_systemd_253_the_service_is_one_that_the_notes_describe() {
    let folder = tempfile::tempdir().expect("there is room");
    let reload = format!("ExecReload={HOSPITAL} serve --env-file=-/etc/default/hospital --check-config\n");
    let service = deployed(
        "systemd/hospital.service",
        &[
            ("\nType=notify-reload\n", "\nType=notify\n"),
            ("ExecStart=/usr/bin/hospital", &format!("ExecStart={HOSPITAL}")),
            (
                "ExecReload=/usr/bin/hospital serve --env-file=-/etc/default/hospital --check-config\n",
                &format!("{reload}ExecReload=/bin/sh -c 'kill -HUP $MAINPID'\n"),
            ),
        ],
    );
    std::fs::write(folder.path().join(SERVICE), service).expect("the folder is ours");
    std::fs::write(folder.path().join(SOCKET), deployed("systemd/hospital.socket", &[])).expect("the folder is ours");
    let output = Command::new("systemd-analyze").arg("verify").arg(folder.path().join(SERVICE)).output();
    let output = output.expect("systemd is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

const UNITS: [&str; 4] = [SOCKET, SERVICE, "hospital@.socket", "hospital@.service"];

// --- a host's own checks -----------------------------------------------------------------------------

#[test]
#[ignore = "needs root, target/systemd-root"]
fn the_first_connection_starts_the_service_and_what_checks_need_works_in_it() {
    let checks = "hospital.healthchecks.predictable disk:/ memory: process:systemd ping:127.0.0.1 ping:::1 \
                  echo=exec:/bin/ping#args=-c,1,127.0.0.1 self=tcp://127.0.0.1:1515";
    let service = Service::new(&format!("HEALTHCHECKS=\"{checks}\"\n"));
    let machine = &service.machine;
    machine.systemctl(&["start", SOCKET]);
    assert_eq!(machine.property(SERVICE, "ActiveState"), "inactive");

    let answer = service.get("/?verbose");
    assert_eq!(answer.status, 200, "{}", answer.body);

    assert_eq!(machine.property(SERVICE, "ActiveState"), "active");
    let status = machine.systemctl(&["status", SERVICE]);
    assert!(status.contains("Status: \"1 of 1 workers serve on :: port 1515\""), "{status}");
    // There is no user of that name, so systemd allocated one; and of root's capabilities, only raw sockets are left.
    let worker = machine.workers(SERVICE)[0];
    assert_ne!(processes::status(worker, "Uid"), "0\t0\t0\t0");
    assert_eq!(processes::status(worker, "CapBnd"), format!("{:016x}", 1 << 13));
    assert_eq!(processes::status(worker, "NoNewPrivs"), "1");
    let journal = machine.run(&["journalctl", "--no-pager", "--output=cat", "--unit", SERVICE]).stdout;
    // Without a time, which the journal adds.
    assert!(journal.contains("\n INFO ready: 1 of 1 workers serve on :: port 1515"), "{journal}");
}

#[test]
#[ignore = "needs root, target/systemd-root"]
fn a_user_of_that_name_is_taken() {
    let service = Service::new(PREDICTABLE);
    let machine = &service.machine;
    let made = machine.run(&["useradd", "--system", "--user-group", "--uid", "345", "hospital"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    machine.systemctl(&["start", SERVICE]);
    assert_eq!(processes::status(machine.master(SERVICE), "Uid"), "345\t345\t345\t345");
    assert_eq!(service.get("/").status, 200);
}

#[test]
#[ignore = "needs root, target/systemd-root"]
fn a_service_with_another_name_umask_and_a_pidfile_starts_reloads_and_stops() {
    let settings = "HOSPITAL_NAME=shop\nHOSPITAL_UMASK=000\nHOSPITAL_PID=/run/hospital/pid\n";
    let service = Service::started(&format!("{PREDICTABLE}{settings}"));
    let written = std::fs::read_to_string(service.machine.path("/run/hospital/pid")).expect("it is there");
    assert_eq!(written.trim(), service.machine.property(SERVICE, "MainPID"));
    service.machine.systemctl(&["reload", SERVICE]);
    assert_eq!(service.get("/").status, 200);
    service.machine.systemctl(&["stop", SERVICE]);
    assert_eq!(service.machine.property(SERVICE, "Result"), "success");
}

#[test]
#[ignore = "needs root, target/systemd-root"]
fn each_instance_has_its_own_port_and_checks() {
    let machine = Machine::boot();
    machine.install(&["hospital@.socket", "hospital@.service"]);
    machine.write("/etc/default/hospital-1516", PREDICTABLE);
    machine.write("/etc/default/hospital-127.0.0.1:1517", "HEALTHCHECKS=shop=disk:/\n");
    let units = ["hospital@1516.socket", "hospital@1516.service", "hospital@127.0.0.1:1517.socket"];
    machine.systemctl(&[&["enable", "--now"][..], &units].concat());
    let status = |port, path| machine.inside(|| get(&At::Tcp(([127, 0, 0, 1], port).into()), path).status);
    assert_eq!((status(1516, "/hospital.healthchecks"), status(1516, "/shop")), (200, 404));
    assert_eq!((status(1517, "/hospital.healthchecks"), status(1517, "/shop")), (404, 200));
    machine.systemctl(&["restart", units[1]]);
    assert_eq!(machine.property("hospital@127.0.0.1:1517.service", "NRestarts"), "0");
}

// --- reload, restart, upgrade ------------------------------------------------------------------------

#[test]
#[ignore = "needs root, target/systemd-root"]
fn a_reload_takes_the_file_anew_and_a_bad_one_fails_and_says_why() {
    let service = Service::started(PREDICTABLE);
    let machine = &service.machine;
    assert_eq!(machine.property(SERVICE, "Type"), "notify-reload");
    let load = service.load();
    machine.write(VARIABLES, "HEALTHCHECKS=root=disk:/\nWEB_CONCURRENCY=3\n");
    machine.systemctl(&["reload", SERVICE]);
    // systemctl returns when the reload is complete.
    assert_eq!(service.get("/root").status, 200);
    assert_eq!(machine.workers(SERVICE).len(), 3);
    let status = machine.property(SERVICE, "StatusText");
    assert!(status.starts_with("3 of 3 workers serve on :: port 1515; reloaded: generation 1 ("), "{status}");

    machine.write(VARIABLES, "HEALTHCHECKS=nowhere\n");
    let reload = machine.run(&["systemctl", "reload", SERVICE]);
    assert_eq!(reload.code, Some(1), "{reload:?}");
    machine.logs("HEALTHCHECKS names \"nowhere\"");
    let status = machine.property(SERVICE, "StatusText");
    assert!(status.contains("; reload refused: ") && status.contains("nowhere"), "{status}");
    // The journal also knows it as an error.
    let errors =
        machine.run(&["journalctl", "--no-pager", "--output=cat", "--priority=err", "_COMM=hospital:master"]).stdout;
    assert!(errors.contains("reload refused") && !errors.contains("INFO"), "{errors}");
    assert_eq!(machine.property(SERVICE, "ActiveState"), "active");
    assert_eq!(service.get("/root").status, 200);
    load.wait_for_answers(100);
    load.stop().assert_nothing_lost();
}

#[test]
#[ignore = "needs root, target/systemd-root"]
fn restarts_under_load_refuse_nobody() {
    let service = Service::started(PREDICTABLE);
    let load = service.load();
    for _ in 0..5 {
        service.machine.systemctl(&["restart", SERVICE]);
        load.wait_for_answers(100);
    }
    load.stop().assert_nothing_lost();
    assert_eq!(service.machine.property(SERVICE, "NRestarts"), "0");
}

#[test]
#[ignore = "needs root, target/systemd-root"]
fn a_master_that_was_killed_under_load_costs_no_more_than_what_it_had_in_hand() {
    let service = Service::started(PREDICTABLE);
    let load = service.load();
    service.machine.systemctl(&["kill", "--kill-whom=main", "--signal=KILL", SERVICE]);
    load.wait_for_answers(100);
    let tally = load.stop();
    let cut_off =
        [load::Verdict::Reset, load::Verdict::Truncated].map(|verdict| tally.count(verdict)).iter().sum::<usize>();
    assert_eq!(tally.lost(), cut_off, "nobody is refused or waits in vain: {tally}");
    let clients = Shape::default().close + Shape::default().keep_alive;
    assert!(cut_off + tally.count(load::Verdict::Stale) <= clients, "{tally}");
    assert_eq!(service.machine.property(SERVICE, "NRestarts"), "1");
}

#[test]
#[ignore = "needs root, target/systemd-root"]
fn a_service_that_cannot_start_does_so_when_its_cause_is_gone() {
    let service = Service::new("HEALTHCHECKS=nowhere\n");
    service.machine.systemctl(&["start", SOCKET]);
    let answer = service.machine.inside(|| {
        let mut client = Client::to(&at());
        client.patience(PATIENCE);
        client.ask("/");
        service.machine.logs("restart counter is at 1.");
        service.machine.write(VARIABLES, PREDICTABLE);
        client.answer()
    });
    assert_eq!(answer.status, 200);
}

#[test]
#[ignore = "needs root, target/systemd-root"]
fn an_upgrade_under_load_loses_no_request_and_systemd_follows_the_new_master() {
    let service = Service::started(PREDICTABLE);
    let machine = &service.machine;
    let load = service.load();
    for _ in 0..2 {
        let (before, number) = (machine.master(SERVICE), machine.property(SERVICE, "MainPID"));
        machine.systemctl(&["kill", "--kill-whom=main", "--signal=USR2", SERVICE]);
        within(PATIENCE, "the old master is gone", || !processes::is_alive(before));
        assert_ne!(machine.property(SERVICE, "MainPID"), number);
        let status = machine.property(SERVICE, "StatusText");
        assert!(status.starts_with("2 of 2 workers serve"), "{status}");
        load.wait_for_answers(100);
    }
    machine.systemctl(&["reload", SERVICE]);
    load.wait_for_answers(100);
    load.stop().assert_nothing_lost();
    let journal = machine.journal();
    assert!(!journal.contains("reception only permitted"), "{journal}");
    assert_eq!(machine.property(SERVICE, "NRestarts"), "0");

    // systemd did not start this process itself, but notices its death.
    send(machine.master(SERVICE), Signal::SIGKILL);
    eventually("it is started anew", || machine.property(SERVICE, "NRestarts") == "1");
    assert_eq!(service.get("/").status, 200);
}

#[test]
#[ignore = "needs root, target/systemd-root"]
fn the_check_of_a_service_passes_while_it_runs_and_fails_when_it_does_not() {
    let service = Service::new(PREDICTABLE);
    let machine = &service.machine;
    let text = include_str!("../../docs/MIGRATING.md");
    let row = text.lines().find(|line| line.starts_with("| `service: nginx")).expect("there is such a row");
    let name = row.split('`').nth(3).expect("it holds a name").replace("nginx", SERVICE);
    let check = || machine.run(&["hospital", "check", &name]);
    let stopped = check();
    assert!(stopped.code == Some(1) && stopped.stderr.contains("FAIL: "), "{}", stopped.stderr);
    machine.systemctl(&["start", SERVICE]);
    assert_eq!(check().code, Some(0));
}

// --- the end, and what does not end it ---------------------------------------------------------------

#[test]
#[ignore = "needs root, target/systemd-root"]
fn a_drain_that_takes_longer_than_systemd_would_wait_is_waited_for() {
    let service = Service::new("HEALTHCHECKS=slow=exec:/bin/sleep#args=4\n");
    let machine = &service.machine;
    machine.edit(SERVICE, "[Service]\nTimeoutStopSec=1\n");
    machine.systemctl(&["start", SERVICE]);
    let answer = machine.inside(|| {
        let mut client = Client::to(&at());
        client.ask("/");
        eventually("the check runs", || machine.processes(SERVICE).iter().any(|&pid| processes::name(pid) == "sleep"));
        machine.systemctl(&["stop", "--no-block", SERVICE]);
        eventually("it says that it drains", || machine.property(SERVICE, "StatusText").starts_with("draining: 1 "));
        client.answer()
    });
    assert_eq!(answer.status, 200, "{}", answer.body);
    eventually("it has stopped", || machine.property(SERVICE, "ActiveState") == "inactive");
    assert_eq!(machine.property(SERVICE, "Result"), "success");
}

#[test]
#[ignore = "needs root, target/systemd-root"]
fn the_watchdog_restarts_a_service_whose_workers_are_all_stuck() {
    let service = Service::new(PREDICTABLE);
    let machine = &service.machine;
    machine.edit(SERVICE, "[Service]\nWatchdogSec=1\nLimitCORE=0\n");
    machine.systemctl(&["start", SERVICE]);
    let workers = machine.workers(SERVICE);
    assert_eq!(workers.len(), 2);
    send(workers[0], Signal::SIGSTOP);
    // Longer than WatchdogSec: the test is that nothing happens.
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(machine.property(SERVICE, "NRestarts"), "0", "one of two still answers");
    send(workers[1], Signal::SIGSTOP);
    machine.logs("Failed with result 'watchdog'");
    assert_eq!(service.get("/").status, 200);
    assert_eq!(machine.property(SERVICE, "NRestarts"), "1");
    assert!(workers.iter().all(|&pid| !processes::is_alive(pid)));
    assert!(machine.journal().contains("every worker is stuck"));
}

// --- the service -------------------------------------------------------------------------------------

/// A machine with the units of the one service.
struct Service {
    machine: Machine,
}

impl Service {
    /// With this text in its file of variables, not started.
    #[track_caller]
    fn new(variables: &str) -> Service {
        let machine = Machine::boot();
        machine.write(VARIABLES, variables);
        machine.install(&[SOCKET, SERVICE]);
        Service { machine }
    }

    #[track_caller]
    fn started(variables: &str) -> Service {
        let service = Service::new(variables);
        service.machine.systemctl(&["enable", "--now", SERVICE]);
        service
    }

    #[track_caller]
    fn get(&self, path: &str) -> Answer {
        self.machine.inside(|| {
            let mut client = Client::to(&at());
            client.patience(PATIENCE);
            client.ask(path);
            client.answer()
        })
    }

    #[track_caller]
    fn load(&self) -> Load {
        let load = self.machine.inside(|| Load::start(&at(), Shape { patience: PATIENCE, ..Shape::default() }));
        load.wait_for_answers(100);
        load
    }
}

/// Where the units listen.
fn at() -> At {
    At::Tcp(([127, 0, 0, 1], 1515).into())
}
