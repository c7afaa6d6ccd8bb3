//! Under real parents that hand over a socket or just keep us running: systemd-socket-activate and supervisord.

use std::process::Command;

use crate::harness::family::{Family, MARK, PATIENCE, deployed, own_address};
use crate::harness::load::{Load, Shape};
use crate::harness::{At, HOSPITAL, Signal, get, processes, send, try_get, within};

// --- systemd-socket-activate -------------------------------------------------------------------------

#[test]
#[ignore = "needs systemd-socket-activate"]
fn the_connection_that_activates_us_is_answered() {
    let (mut family, at) = socket_activate(&[HOSPITAL, "serve", "-w", "2"]);
    assert_eq!(get(&at, "/").status, 200);
    // It became us: our pid is the one in LISTEN_PID.
    let master = family.new_master(&[], 2);
    assert_eq!(master, family.head());
    assert!(family.text("stdout").contains("Serving on 127."), "{}", family.text("stdout"));
    send(master, Signal::SIGTERM);
    assert_eq!(family.wait().code(), Some(0));
    family.expect_extinct();
}

#[test]
#[ignore = "needs systemd-socket-activate"]
fn a_reload_after_activation_loses_no_request() {
    let (family, at) = socket_activate(&[HOSPITAL, "serve", "-w", "2"]);
    let load = Load::start(&at, Shape { patience: PATIENCE, ..Shape::default() });
    load.wait_for_answers(100);
    let master = family.new_master(&[], 2);
    for _ in 0..3 {
        let before = family.workers_of(master);
        send(master, Signal::SIGHUP);
        family.expect_new_workers(master, &before);
        load.wait_for_answers(100);
    }
    load.stop().assert_nothing_lost();
}

#[test]
#[ignore = "needs systemd-socket-activate"]
fn a_socket_that_was_passed_to_the_shell_around_us_is_not_taken() {
    // The shell is activated and waits for us, so LISTEN_PID is its pid and not ours.
    let script = r#""$@"; exit $?"#;
    let (family, at) = socket_activate(&["sh", "-c", script, "sh", HOSPITAL, "serve", "-b", "127.0.0.1:0"]);
    let At::Tcp(address) = at else { panic!("{at:?} is not a TCP address") };
    let _activates = std::net::TcpStream::connect(address).expect("systemd-socket-activate listens");
    let master = family.new_master(&[], 1);
    assert_ne!(master, family.head());
    within(PATIENCE, "it serves", || family.text("stdout").contains("Serving on "));
    let bound = At::announced(&family.text("stdout"));
    assert_eq!(get(&bound, "/").status, 200);
    // The passed socket has another address.
    assert!(family.text("stdout").contains("Serving on 127.0.0.1 "), "{}", family.text("stdout"));
}

#[test]
#[ignore = "needs systemd-socket-activate"]
fn each_socket_that_is_passed_is_served_and_its_file_is_left() {
    let directory = tempfile::tempdir().expect("there is room");
    let (path, address) = (directory.path().join("socket"), own_address());
    let mut family = Family::start(directory, "systemd-socket-activate", |command| {
        let listen = ["-l".into(), address.to_string(), "-l".into(), path.display().to_string()];
        command.args(listen).args(["--fdname=tcp:unix", "-E", CHECKS, "-E", MARK, HOSPITAL, "serve"]);
    });
    let (tcp, unix) = (At::Tcp(address), At::Unix(path.clone()));
    family.within_patience("systemd-socket-activate listens", || family.text("stderr").contains(" as 4."));
    assert_eq!(get(&unix, "/").status, 200);
    assert_eq!(get(&tcp, "/").status, 200);
    send(family.head(), Signal::SIGTERM);
    assert_eq!(family.wait().code(), Some(0));
    // Whoever made it may pass it on to the next program.
    assert!(path.exists());
}

const CHECKS: &str = "HEALTHCHECKS=hospital.healthchecks.predictable";

/// A command that runs at the first connection to the address, with the socket.
#[track_caller]
fn socket_activate(command_line: &[&str]) -> (Family, At) {
    let address = own_address();
    let family = Family::start(tempfile::tempdir().expect("there is room"), "systemd-socket-activate", |command| {
        command.args(["-l", &address.to_string(), "--fdname=hospital", "-E", CHECKS, "-E", MARK]).args(command_line);
    });
    family.within_patience("systemd-socket-activate listens", || family.text("stderr").contains("Listening on"));
    (family, At::Tcp(address))
}

// --- supervisord -------------------------------------------------------------------------------------

#[test]
#[ignore = "needs supervisord"]
fn a_hup_through_supervisor_loses_no_request() {
    let supervisor = Supervisor::start();
    let masters = supervisor.two_masters(&[]);
    let load = supervisor.load();
    let before = supervisor.workers();
    supervisor.ctl(&["signal", "HUP", "hospital:*"]);
    within(PATIENCE, "every worker of both masters is replaced", || {
        let now = supervisor.workers();
        now.len() == 4 && now.iter().all(|pid| !before.contains(pid))
    });
    load.wait_for_answers(100);
    load.stop().assert_nothing_lost();
    assert_eq!(supervisor.family.masters(), masters);
}

#[test]
#[ignore = "needs supervisord"]
fn restarting_one_master_after_the_other_loses_no_request() {
    let supervisor = Supervisor::start();
    let masters = supervisor.two_masters(&[]);
    let load = supervisor.load();
    for name in ["hospital:0", "hospital:1"] {
        supervisor.ctl(&["restart", name]);
        load.wait_for_answers(100);
    }
    supervisor.two_masters(&masters);
    load.wait_for_answers(100);
    load.stop().assert_nothing_lost();
}

#[test]
#[ignore = "needs supervisord"]
fn a_master_that_was_killed_is_started_anew_on_the_same_socket() {
    let supervisor = Supervisor::start();
    let masters = supervisor.two_masters(&[]);
    let orphans: Vec<_> = processes::children(masters[0]);
    send(masters[0], Signal::SIGKILL);
    within(PATIENCE, "its workers leave with it", || !orphans.iter().any(|&pid| processes::is_alive(pid)));
    supervisor.two_masters(&masters[..1]);
    assert_eq!(get(&supervisor.at, "/").status, 200);
}

#[test]
#[ignore = "needs supervisord"]
fn no_process_is_left_when_supervisor_has_stopped() {
    let mut supervisor = Supervisor::start();
    supervisor.two_masters(&[]);
    supervisor.ctl(&["stop", "hospital:*"]);
    assert_eq!(supervisor.family.members(), [supervisor.family.head()]);
    // This is why the file has two masters on the socket.
    assert!(try_get(&supervisor.at, "/").is_err(), "supervisord closes the socket when no process has it");
    supervisor.ctl(&["start", "hospital:*"]);
    supervisor.two_masters(&[]);
    send(supervisor.family.head(), Signal::SIGTERM);
    assert!(supervisor.family.wait().success());
    supervisor.family.expect_extinct();
}

#[test]
#[ignore = "needs supervisord"]
fn supervisor_starts_reloads_and_stops_a_program_that_binds_by_itself() {
    let supervisor = Supervisor::start();
    supervisor.ctl(&["stop", "hospital:*"]);
    supervisor.ctl(&["start", "hospital-alone"]);
    let master = supervisor.family.new_master(&[], 2);
    let at = supervisor.announced("hospital-alone.log");
    let load = Load::start(&at, Shape { patience: PATIENCE, ..Shape::default() });
    load.wait_for_answers(100);
    let before = supervisor.family.workers_of(master);
    supervisor.ctl(&["signal", "HUP", "hospital-alone"]);
    supervisor.family.expect_new_workers(master, &before);
    load.wait_for_answers(100);
    load.stop().assert_nothing_lost();
    supervisor.ctl(&["stop", "hospital-alone"]);
    assert_eq!(supervisor.family.members(), [supervisor.family.head()]);
    assert!(try_get(&at, "/").is_err());
}

/// A supervisord with the programs that `deploy/` ships.
struct Supervisor {
    family: Family,
    /// Where `hospital` answers.
    at: At,
}

impl Supervisor {
    #[track_caller]
    fn start() -> Supervisor {
        let directory = tempfile::tempdir().expect("there is room");
        let (path, config) = (directory.path().display(), directory.path().join("supervisord.conf"));
        let programs = deployed(
            "supervisor/hospital.conf",
            &[
                ("command = hospital serve --fd 0", &format!("command = {HOSPITAL} serve --fd 0")),
                (
                    "command = hospital serve --bind 127.0.0.1:1516",
                    &format!("command = {HOSPITAL} serve -b 127.0.0.1:0"),
                ),
                ("socket = tcp://127.0.0.1:1515", &format!("socket = tcp://{}", own_address())),
                ("/var/log/supervisor/hospital-%", &format!("{path}/hospital-%")),
                ("/var/log/supervisor/hospital-alone.log", &format!("{path}/hospital-alone.log")),
            ],
        );
        let own = format!(
            "[supervisord]\nnodaemon = true\nlogfile = {path}/supervisord.log\npidfile = {path}/supervisord.pid\n\
             [unix_http_server]\nfile = {path}/control\n\
             [supervisorctl]\nserverurl = unix://{path}/control\n\
             [rpcinterface:supervisor]\n\
             supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\n"
        );
        std::fs::write(&config, own + &programs).expect("the directory is ours");
        let family = Family::start(directory, "supervisord", |command| {
            command.arg("--configuration").arg(config);
        });
        let mut supervisor = Supervisor { family, at: At::Nowhere };
        supervisor.at = supervisor.announced("hospital-0.log");
        supervisor
    }

    /// Waits until the program with this log reports where it serves.
    #[track_caller]
    fn announced(&self, log: &str) -> At {
        self.family.within_patience("the master says that it serves", || self.family.text(log).contains("..."));
        At::announced(&self.family.text(log))
    }

    /// Makes supervisord do something, and waits until it is done.
    #[track_caller]
    fn ctl(&self, args: &[&str]) {
        let mut command = Command::new("supervisorctl");
        command.arg("--configuration").arg(self.family.path("supervisord.conf")).args(args);
        let output = command.output().expect("supervisorctl can be started");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !said.contains("ERROR"), "supervisorctl {args:?}: {said}");
    }

    /// Waits for two masters that are not in `before`, each with its two workers.
    #[track_caller]
    fn two_masters(&self, before: &[i32]) -> Vec<i32> {
        let mut masters = Vec::new();
        within(PATIENCE, "there are two new masters with all their workers", || {
            masters = self.family.masters();
            let complete = |master: &i32| !before.contains(master) && self.family.workers_of(*master).len() == 2;
            masters.len() == 2 && masters.iter().all(complete)
        });
        masters
    }

    fn workers(&self) -> Vec<i32> {
        self.family.masters().into_iter().flat_map(|master| self.family.workers_of(master)).collect()
    }

    #[track_caller]
    fn load(&self) -> Load {
        let load = Load::start(&self.at, Shape { patience: PATIENCE, ..Shape::default() });
        load.wait_for_answers(100);
        load
    }
}
