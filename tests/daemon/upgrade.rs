//! Upgrades: the new program takes over without a lost answer, or everything stays as it was.

use std::path::Path;

use crate::harness::family::PATIENCE;
use crate::harness::site::{Site, WORKERS, Way};
use crate::harness::*;

#[test]
fn an_upgrade_under_load_loses_no_request_on_a_port_of_its_own() {
    upgrade_under_load(Way::Tcp);
}

#[test]
fn an_upgrade_under_load_loses_no_request_on_a_unix_socket() {
    upgrade_under_load(Way::Unix);
}

#[test]
fn an_upgrade_under_load_loses_no_request_on_a_passed_socket() {
    upgrade_under_load(Way::Fd);
}

#[test]
#[ignore = "needs systemd-socket-activate"]
fn an_upgrade_under_load_loses_no_request_on_an_activated_socket() {
    upgrade_under_load(Way::Activated);
}

/// Twice, since a master that was upgraded differs from one that was started.
fn upgrade_under_load(way: Way) {
    let site = Site::open(way, &[]);
    let load = site.load(2);
    for _ in 0..2 {
        site.upgrade();
        load.wait_for_answers(30);
        site.reload();
    }
    load.stop().assert_nothing_lost();
    assert_eq!(site.generations(), [2, 4]);
    site.expect_tidy();
}

#[test]
fn the_files_go_over_to_the_new_master_and_go_with_it() {
    let site = Site::open(Way::Unix, &[]);
    let (pidfile, socket) = (site.family.path("pid"), site.family.path("socket"));
    let pid = || std::fs::read_to_string(&pidfile).expect("the pidfile is there").trim().parse::<i32>();
    assert_eq!(pid(), Ok(site.master()));
    for _ in 0..2 {
        let master = site.upgrade();
        assert_eq!(pid(), Ok(master));
        assert_eq!(get(&site.at, "/").status, 200);
    }
    send(site.master(), Signal::SIGTERM);
    within(PATIENCE, "everybody is gone", || site.family.members().is_empty());
    assert!(!pidfile.exists() && !socket.exists());
}

#[test]
fn a_new_program_that_cannot_boot_leaves_everything_as_it_was() {
    let site = Site::open(Way::Tcp, &[]);
    let no_program = site.script("").with_file_name("plain");
    std::fs::write(&no_program, "no program").expect("the directory is ours");
    for (what, program) in [
        ("a program that fails", Some(Path::new("/bin/false"))),
        ("a program that ends as if all were well", Some(Path::new("/bin/true"))),
        ("no program", None),
        ("a file that is not executable", Some(no_program.as_path())),
        ("a directory", Some(Path::new("/tmp"))),
    ] {
        assert_survives(&site, what, program);
    }
}

#[test]
fn a_new_configuration_that_is_bad_leaves_everything_as_it_was() {
    let site = Site::open(Way::Unix, &[]);
    site.write_env("HEALTHCHECKS=hospital.healthchecks.missing\n");
    assert_survives(&site, "a bad configuration", Some(Path::new(HOSPITAL)));
}

/// An upgrade to this program fails without losing a request, and the next one, to the right program, succeeds.
#[track_caller]
fn assert_survives(site: &Site, what: &str, program: Option<&Path>) {
    let (master, load) = (site.master(), site.load(1));
    let workers = site.family.workers_of(master);
    let files = processes::descriptors(master).len();
    site.replace_program(program);
    site.logs_after("no upgrade", || send(master, Signal::SIGUSR2));
    load.wait_for_answers(50);
    load.stop().assert_nothing_lost();
    assert_eq!(site.master(), master, "{what}");
    assert_eq!(site.family.workers_of(master), workers, "{what}");
    eventually("nothing is left open", || processes::descriptors(master).len() == files);
    let pid = std::fs::read_to_string(site.family.path("pid")).expect("the pidfile is there");
    assert_eq!(pid.trim(), master.to_string(), "{what}");
    site.expect_tidy();
    site.mend_program();
    site.mend_env();
    site.upgrade();
    assert_eq!(get(&site.at, "/").status, 200, "after {what}");
}

#[test]
fn a_new_program_that_never_gets_ready_is_given_up() {
    let site = Site::open(Way::Tcp, &["--timeout", "1"]);
    let forever = site.script("exec sleep 1000");
    assert_survives(&site, "a program that hangs", Some(&forever));
}

#[test]
fn term_during_an_upgrade_ends_both() {
    let site = Site::open(Way::Tcp, &[]);
    hang_in_an_upgrade(&site);
    send(site.family.head(), Signal::SIGTERM);
    within(PATIENCE, "everybody is gone", || site.family.members().is_empty());
    assert!(try_get(&site.at, "/").is_err());
    assert!(!site.family.path("pid").exists());
}

#[test]
fn term_during_an_upgrade_ends_both_whatever_the_drain_delay() {
    let site = Site::open(Way::Tcp, &["--drain-delay", "2"]);
    let (head, gate) = (site.family.head(), site.family.path("gate"));
    let slow = format!("until [ -e {} ]; do sleep 0.01; done; exec {HOSPITAL} \"$@\"", gate.display());
    site.replace_program(Some(&site.script(&slow)));
    site.logs_after("upgrade: a new master", || send(head, Signal::SIGUSR2));
    site.logs_after("INFO draining", || send(head, Signal::SIGTERM));
    // It would answer well within the drain delay.
    std::fs::write(gate, "").expect("the directory is ours");
    within(PATIENCE, "everybody is gone", || site.family.members().is_empty());
    assert_eq!(site.logged("answers: draining"), 0, "{}", site.log());
    assert!(try_get(&site.at, "/").is_err());
}

#[test]
fn a_term_that_comes_with_the_usr2_leaves_no_second_tree() {
    for first in [Signal::SIGUSR2, Signal::SIGTERM] {
        for _ in 0..5 {
            let site = Site::open(Way::Unix, &[]);
            let head = site.family.head();
            let second = if first == Signal::SIGUSR2 { Signal::SIGTERM } else { Signal::SIGUSR2 };
            send(head, first);
            send(head, second);
            within(PATIENCE, "everybody is gone", || site.family.members().is_empty());
            assert!(!site.family.path("pid").exists() && !site.family.path("socket").exists());
        }
    }
}

#[test]
fn a_new_master_that_is_told_to_stop_before_it_answers_takes_no_file_along() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let directory = tempfile::tempdir().expect("there is room");
        let path = |name: &str| directory.path().join(name);
        let unix = format!("unix:{}", path("socket").display());
        // Many workers, so that it is busy for a while.
        let server = Launch::binding(["-w", "60", "-b", &unix, "-p"]).args([path("pid")]).start();
        let head = server.master();
        server.signal(Signal::SIGUSR2);
        let mut heir = None;
        within(PATIENCE, "the new master has begun to fork", || {
            let name = |pid: &i32| processes::name(*pid) == "hospital:master" && !processes::children(*pid).is_empty();
            heir = processes::children(head).into_iter().find(name);
            heir.is_some() || server.stderr().contains("answers: draining")
        });
        // If it was faster than the test, there is nothing to check.
        if let Some(heir) = heir.filter(|_| !server.stderr().contains("answers: draining")) {
            send(heir, signal);
            // The log of the old master tells whether the signal was in time or too late.
            within(PATIENCE, "it ends", || {
                ["answers: draining", "everything is as it was"].iter().any(|said| server.stderr().contains(said))
            });
        }
        if !server.stderr().contains("answers: draining") {
            assert_eq!(get(&server.at, "/").status, 200, "the old one serves on, on its old socket");
            assert!(path("pid").exists());
        }
    }
}

#[test]
fn hup_during_an_upgrade_reloads() {
    let site = Site::open(Way::Tcp, &[]);
    hang_in_an_upgrade(&site);
    let head = site.family.head();
    site.logs_after("reloaded: all workers", || send(head, Signal::SIGHUP));
    assert_eq!(get(&site.at, "/").status, 200);
}

#[test]
fn a_second_usr2_during_an_upgrade_starts_no_third_master() {
    let site = Site::open(Way::Tcp, &[]);
    hang_in_an_upgrade(&site);
    let members = site.family.members();
    let head = site.family.head();
    send(head, Signal::SIGUSR2);
    // Once a later signal has taken effect, the one before has been handled.
    site.logs_after("reloaded: all workers", || send(head, Signal::SIGHUP));
    within(PATIENCE, "the old workers are gone", || site.family.members().len() == members.len());
}

#[test]
fn a_new_master_that_is_killed_before_it_answers_leaves_everything_as_it_was() {
    let site = Site::open(Way::Tcp, &[]);
    let heir = hang_in_an_upgrade(&site);
    let load = site.load(1);
    site.logs_after("no upgrade", || send(heir, Signal::SIGKILL));
    load.wait_for_answers(50);
    load.stop().assert_nothing_lost();
    site.expect_tidy();
}

#[test]
fn a_master_killed_during_an_upgrade_takes_the_new_one_along() {
    let site = Site::open(Way::Tcp, &[]);
    hang_in_an_upgrade(&site);
    send(site.family.head(), Signal::SIGKILL);
    within(PATIENCE, "everybody is gone", || site.family.members().is_empty());
}

/// Begins an upgrade to a program that never gets ready; returns its pid.
#[track_caller]
fn hang_in_an_upgrade(site: &Site) -> i32 {
    let master = site.master();
    let forever = site.script("exec sleep 1000");
    site.replace_program(Some(&forever));
    send(master, Signal::SIGUSR2);
    let mut heir = None;
    within(PATIENCE, "the new program runs", || {
        heir = processes::children(master).into_iter().find(|&pid| processes::name(pid) == "sleep");
        heir.is_some()
    });
    heir.expect("it was just seen")
}

#[test]
fn requests_that_the_old_master_has_begun_are_finished_by_it() {
    let site = Site::open(Way::Tcp, &[]);
    let old = site.master();
    let before: Vec<_> = site.family.workers_of(old).into_iter().map(|pid| (pid, processes::sockets(pid))).collect();
    let mut client = Client::to(&site.at);
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n");
    let mut host = None;
    eventually("a worker takes the client in", || {
        host = before.iter().find(|&&(pid, count)| processes::sockets(pid) > count);
        host.is_some()
    });
    site.logs_after("answers: draining", || send(old, Signal::SIGUSR2));
    within(PATIENCE, "both masters are there", || site.family.masters().len() == 2);
    let &(host, count) = host.expect("it was just seen");
    // The log line comes a moment before the signal.
    within(PATIENCE, "its worker takes nobody in any more", || processes::sockets(host) == count);
    client.send("\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(site.family.new_master(&[old], WORKERS) != old);
}

#[test]
fn a_program_behind_a_link_is_the_one_that_the_link_names_now() {
    for by_name in [false, true] {
        let directory = tempfile::tempdir().expect("there is room");
        let [link, old, new] = ["current", "old", "new"].map(|name| directory.path().join(name));
        for version in [&old, &new] {
            std::fs::create_dir(version).expect("the directory is ours");
            std::fs::hard_link(HOSPITAL, version.join("hospital"))
                .or_else(|_| std::fs::copy(HOSPITAL, version.join("hospital")).map(drop))
                .expect("the program can be placed");
        }
        std::os::unix::fs::symlink(&old, &link).expect("the directory is ours");
        let path = format!("/bin:{}", link.display());
        let program = if by_name { "hospital".into() } else { link.join("hospital") };
        let family = family::Family::start(directory, "env", |command| {
            command.env("PATH", path).arg(program);
            command.args(["serve", "-b", "127.0.0.1:0", "hospital.healthchecks.predictable"]);
        });
        let master = family.new_master(&[], 1);
        // Before that, no upgrade is begun.
        family.within_patience("it is ready", || family.text("stderr").contains("ready: "));
        std::fs::remove_file(&link)
            .and_then(|()| std::os::unix::fs::symlink(&new, &link))
            .expect("the directory is ours");
        send(master, Signal::SIGUSR2);
        let heir = family.new_master(&[master], 1);
        let program = std::fs::read_link(format!("/proc/{heir}/exe")).expect("it runs");
        assert_eq!(program, new.join("hospital"));
    }
}

#[test]
fn a_server_that_was_called_by_its_name_of_old_can_be_upgraded() {
    let launch = Launch::script("ln -s \"$1\" \"$LINK\"; shift 2; exec \"$LINK\" \"$@\"", ["-b", "127.0.0.1:0"]);
    let link = launch.path("hospital-serve");
    let mut server = launch.env("LINK", &link.display().to_string()).start();
    server.signal(Signal::SIGUSR2);
    server.logs("answers: draining");
    assert_eq!(server.wait(), Some(0));
    assert_eq!(get(&server.at, "/").status, 200);
}

#[test]
fn the_lock_of_the_state_dir_goes_over_to_the_new_master() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let state = folder.path().to_str().expect("a plain path");
    let site = Site::open(Way::Tcp, &["--state-dir", state]);
    for _ in 0..2 {
        site.upgrade();
        let (code, stderr) = Launch::serve(["--state-dir", state]).refused();
        assert!(code == 2 && stderr.contains("a running server keeps its state there"), "{stderr}");
    }
}
