//! Workers that die, cannot boot or hang, and what else stops processes.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::harness::cgroup::Cgroup;
use crate::harness::family::{Family, PATIENCE};
use crate::harness::load::{Load, Shape};
use crate::harness::*;

#[test]
fn a_crash_loop_waits_longer_and_longer_and_ends_when_its_cause_does() {
    // The first delays are 1 ms, 1.5 ms, and so on; this many deaths take at least 2 × (1.5¹⁶ − 1) ms.
    const DEATHS: usize = 18;
    const AT_LEAST: Duration = Duration::from_millis(1311);
    let server = Server::start(["-w", "1"]);
    processes::limit_descriptors(server.master(), 3);
    let began = Instant::now();
    send(server.workers()[0], Signal::SIGKILL);
    eventually("its successors die as they boot", || server.stderr().matches("died while it booted").count() >= DEATHS);
    assert!(began.elapsed() >= AT_LEAST, "{DEATHS} deaths in {:?}", began.elapsed());
    assert!(server.stderr().contains("cannot go on: Too many open files"), "{}", server.stderr());

    // Asked while no worker is there.
    let mut client = Client::to(&server.at);
    client.ask("/");
    processes::limit_descriptors(server.master(), 1024);
    assert_eq!(client.answer().status, 200);
    eventually("there is one again", || server.workers().len() == 1);
}

#[test]
fn workers_that_are_killed_as_they_boot_are_replaced_when_that_stops() {
    let server = Server::start(["-w", "2"]);
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        server.workers().into_iter().for_each(|pid| send(pid, Signal::SIGKILL));
    }
    assert_eq!(get(&server.at, "/").status, 200);
    eventually("there are two again", || server.workers().len() == 2);
}

#[test]
#[ignore = "needs strace"]
fn a_worker_that_hangs_is_aborted_and_replaced() {
    let server = Server::start(["-w", "1", "--timeout", "1"]);
    let victim = server.workers()[0];
    // It never returns from sending its answer.
    let inject = "inject=sendto:delay_enter=100000000";
    let mut strace = Family::start(tempfile::tempdir().expect("there is room"), "strace", |command| {
        command.args(["-qq", "-o", "/dev/null", "-e", "trace=sendto", "-e", inject, "-p", &victim.to_string()]);
    });
    eventually("it is traced", || processes::status(victim, "TracerPid") == strace.head().to_string());
    let mut first = Client::to(&server.at);
    first.ask("/");
    server.logs("hangs: aborting it");
    let asked = Instant::now();
    assert_eq!(get(&server.at, "/").status, 200);
    assert!(asked.elapsed() < Duration::from_secs(4), "its successor did not wait for its end");
    // It dies of the pending signal as soon as strace lets it go.
    send(strace.head(), Signal::SIGKILL);
    strace.wait();
    within(PATIENCE, "it is dead", || !processes::is_alive(victim));
    eventually("one worker is left", || server.workers().len() == 1);
}

#[test]
fn a_tree_that_was_stopped_for_longer_than_the_timeout_goes_on_with_the_same_workers() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let server = Server::start(["-w", "2", "--timeout", "1"]);
    // So that some of them are stopped in the middle of something.
    let load = Load::start(&server.at, Shape { patience: PATIENCE, ..Shape::default() });
    load.wait_for_answers(100);
    let workers = server.workers();
    let tree: Vec<_> = workers.iter().copied().chain([server.master()]).collect();
    for _ in 0..2 {
        tree.iter().for_each(|&pid| send(pid, Signal::SIGSTOP));
        // This does not wait for anything to happen, but is the test.
        std::thread::sleep(TIMEOUT * 2);
        // The master first: it finds the workers still stopped.
        tree.iter().rev().for_each(|&pid| send(pid, Signal::SIGCONT));
        load.wait_for_answers(100);
        std::thread::sleep(TIMEOUT * 2);
    }
    load.stop().assert_nothing_lost();
    assert_eq!(server.workers(), workers);
    assert!(!server.stderr().contains("hangs"), "{}", server.stderr());
}

#[test]
#[ignore = "needs root"]
fn a_tree_that_was_frozen_for_longer_than_the_timeout_goes_on_with_the_same_workers() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let group = Cgroup::to_freeze();
    let server = Server::start(["-w", "2", "--timeout", "1"]);
    let load = Load::start(&server.at, Shape { patience: PATIENCE, ..Shape::default() });
    load.wait_for_answers(100);
    let workers = server.workers();
    workers.iter().copied().chain([server.master()]).for_each(|pid| group.take(pid));
    for _ in 0..2 {
        group.freeze();
        // This does not wait for anything to happen, but is the test.
        std::thread::sleep(TIMEOUT * 2);
        group.thaw();
        load.wait_for_answers(100);
        std::thread::sleep(TIMEOUT * 2);
    }
    load.stop().assert_nothing_lost();
    assert_eq!(server.workers(), workers);
    assert!(!server.stderr().contains("hangs"), "{}", server.stderr());
}

#[test]
fn a_stopped_worker_holds_up_nobody_who_comes_later() {
    let server = Server::start(["-w", "2"]);
    send(server.workers()[0], Signal::SIGSTOP);
    // The first connection may wake the stopped worker in vain; the next one wakes another worker, which takes both.
    let load = Load::start(&server.at, Shape { close: 2, keep_alive: 0, ..Shape::default() });
    load.wait_for_answers(100);
    load.stop().assert_nothing_lost();
}

#[test]
fn a_check_is_not_interrupted_by_a_signal_to_its_worker() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let check = format!("tcp://{}#match=hello&timeout=60s", listener.local_addr().expect("it is bound"));
    let server = Launch::serve(["-w", "1", "--request-timeout", "60s"]).env("HEALTHCHECKS", &check).start();
    let worker = server.workers()[0];
    let mut client = Client::to(&server.at);
    client.ask("/");
    let (mut peer, _) = listener.accept().expect("the check connects");
    let threads = std::fs::read_dir(format!("/proc/{worker}/task")).expect("it is alive").flatten();
    let mut threads = threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
    let thread: i32 = threads.find(|&thread| processes::name(thread) == "check").expect("it runs in one");
    for _ in 0..10 {
        eventually("the check waits", || processes::state(thread) == Some('S'));
        // To the worker, but that thread is the first to be asked.
        send(thread, Signal::SIGUSR1);
        eventually("somebody takes it", || processes::status(worker, "ShdPnd").trim_start_matches('0').is_empty());
    }
    peer.write_all(b"hello").expect("the check is still there");
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn a_terminal_that_stops_background_output_stops_nothing() {
    let serve = format!("{HOSPITAL} serve -b 127.0.0.1:0 --access-logfile - --error-logfile /dev/stderr");
    let line = format!(
        "stty tostop; set -m; {serve} hospital.healthchecks.predictable & echo $! >pid; wait $!; echo $? >code"
    );
    let script = Family::start(tempfile::tempdir().expect("there is room"), "script", |command| {
        command.env("SHELL", "/bin/sh").args(["--quiet", "--flush", "--command", &line, "screen"]);
    });
    let screen = || script.text("screen");
    eventually("it serves", || screen().contains("INFO") && screen().contains("Serving on"));
    assert_eq!(get(&At::announced(&screen()), "/livez").status, 200);
    eventually("the worker logs it", || screen().contains("GET /livez"));
    let master = script.text("pid").trim().parse().expect("a pid");
    send(master, Signal::SIGTERM);
    eventually("it ends", || script.text("code") == "0\n");
}

#[test]
fn more_workers_than_the_machine_has_processors_answer_reload_and_stop() {
    let mut server = Launch::binding(["-b", "127.0.0.1:0", "-w", "64"]).start();
    assert_eq!(server.workers().len(), 64);
    let load = Load::start(&server.at, Shape { patience: PATIENCE, ..Shape::default() });
    load.wait_for_answers(200);
    server.signal(Signal::SIGHUP);
    within(PATIENCE, "all are replaced", || server.stderr().contains("reloaded: all workers"));
    load.wait_for_answers(200);
    load.stop().assert_nothing_lost();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
}

#[test]
#[ignore = "needs strace"]
fn a_first_boot_that_takes_longer_than_the_timeout_exits_3_and_says_what_to_do() {
    // Only workers make an epoll set: this one does two seconds late.
    let inject = "inject=epoll_create1:delay_enter=2000000";
    let trace = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=epoll_create1", "-e", inject];
    let (code, stderr) = Launch::under("strace", trace).args(["-b", "127.0.0.1:0", "--timeout", "100ms"]).refused();
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("ERROR worker ") && stderr.contains("if it needs longer, raise --timeout"), "{stderr}");
}
