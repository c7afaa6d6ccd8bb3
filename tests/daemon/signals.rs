//! What each signal does to the real processes. `docs/SIGNALS.md` has the table.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use crate::harness::*;

/// For what must happen at once, without waiting for any of the server's timeouts.
const AT_ONCE: Duration = Duration::from_secs(1);

const HALF: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n";

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free")
}

/// Waits until none of these processes is left.
#[track_caller]
fn assert_gone(pids: &[i32]) {
    eventually(&format!("{pids:?} are gone"), || !pids.iter().any(|&pid| processes::is_alive(pid)));
}

/// A client that has sent half a request, and the worker that has accepted it.
fn slow_client(server: &Server) -> (Client, i32) {
    let before: BTreeMap<_, _> = server.workers().into_iter().map(|pid| (pid, processes::sockets(pid))).collect();
    let mut client = Client::to(&server.at);
    client.send(HALF);
    let mut taken = None;
    eventually("a worker takes the client in", || {
        taken = before.iter().find(|&(&pid, &count)| processes::sockets(pid) > count).map(|(&pid, _)| pid);
        taken.is_some()
    });
    (client, taken.expect("it was just found"))
}

/// Sends a signal, and waits until this worker has closed its listener, so that it is draining.
#[track_caller]
fn drain(server: &Server, signal: Signal, worker: i32) {
    let before = processes::sockets(worker);
    server.signal(signal);
    eventually("the worker drains", || processes::sockets(worker) < before);
}

// --- the end ---------------------------------------------------------------------------------------

#[test]
fn term_and_quit_finish_what_has_begun_and_exit_0() {
    for signal in [Signal::SIGTERM, Signal::SIGQUIT] {
        let mut server = Server::start(["-w", "2"]);
        let workers = server.workers();
        let (mut slow, worker) = slow_client(&server);
        drain(&server, signal, worker);
        eventually("the other worker is gone", || server.workers() == [worker]);
        slow.send("\r\n");
        let answer = slow.answer();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{signal}");
        assert!(slow.is_closed());
        assert_eq!(server.wait(), Some(0), "{signal}");
        assert_gone(&workers);
    }
}

#[test]
fn a_second_term_ends_it_at_once_whoever_is_still_attached() {
    let mut server = Server::start(["-w", "2"]);
    let workers = server.workers();
    let (_slow, _) = slow_client(&server);
    server.signal(Signal::SIGTERM);
    server.logs("draining");
    // Sent repeatedly, as the first repetition may be taken for an echo.
    within(AT_ONCE, "it stops", || {
        server.signal(Signal::SIGTERM);
        !processes::is_alive(server.master())
    });
    assert_eq!(server.wait(), Some(0));
    assert_gone(&workers);
}

#[test]
fn a_term_to_the_process_and_its_group_is_one_term() {
    let mut server = Server::start(["-w", "2"]);
    let (mut slow, _) = slow_client(&server);
    for _ in 0..2 {
        server.signal(Signal::SIGTERM);
    }
    server.logs("draining");
    slow.send("\r\n");
    assert_eq!(slow.answer().status, 200, "who is attached is still answered");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_term_under_load_refuses_newcomers_and_resets_nobody() {
    for _ in 0..3 {
        let mut server = Launch::binding(["-b", "127.0.0.1:0", "-w", "2"]).start();
        let shape = load::Shape { close: 16, pause: Duration::ZERO, ..Default::default() };
        let load = load::Load::start(&server.at, shape);
        load.wait_for_answers(200);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0));
        let tally = load.stop();
        assert_eq!(tally.lost(), tally.count(load::Verdict::Refused), "{tally}");
    }
}

#[test]
fn int_stops_at_once_whoever_is_still_attached() {
    let mut server = Server::start(["-w", "2"]);
    let workers = server.workers();
    let (_slow, _) = slow_client(&server);
    server.signal(Signal::SIGINT);
    within(AT_ONCE, "it stops", || !processes::is_alive(server.master()));
    assert_eq!(server.wait(), Some(0));
    assert_gone(&workers);
}

#[test]
fn the_graceful_timeout_ends_a_drain_that_never_would() {
    let mut server = Server::start(["--graceful-timeout", "300ms", "--header-timeout", "60s"]);
    let (_slow, _) = slow_client(&server);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_kept_connection_is_told_that_the_end_has_come() {
    let mut server = Server::start::<_, &str>([]);
    let (mut busy, mut idle) = (Client::to(&server.at), Client::to(&server.at));
    for client in [&mut busy, &mut idle] {
        client.ask("/");
        assert_eq!(client.answer().header("connection"), None);
    }
    drain(&server, Signal::SIGTERM, server.workers()[0]);
    busy.ask("/");
    let answer = busy.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(busy.is_closed());
    assert!(idle.is_closed(), "who says nothing does not hold up the end");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn readiness_fails_while_everything_is_still_answered() {
    let mut server = Server::start(["--drain-delay", "1s"]);
    assert_eq!(get(&server.at, "/readyz").status, 200);
    server.signal(Signal::SIGTERM);
    server.logs("draining");
    let answer = get(&server.at, "/readyz");
    assert_eq!((answer.status, answer.body.contains("draining")), (503, true), "{}", answer.body);
    assert_eq!((get(&server.at, "/").status, get(&server.at, "/livez").status), (200, 200));
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn what_waits_in_the_backlog_of_our_own_socket_is_answered_before_the_end() {
    const WAITING: usize = 64;
    let mut server = Launch::binding(["-b", "127.0.0.1:0", "-w", "2"]).start();
    let workers = server.workers();
    stop(&workers);
    let mut clients: Vec<_> = (0..WAITING).map(|_| Client::to(&server.at)).collect();
    clients.iter_mut().for_each(|client| client.ask("/"));
    server.signal(Signal::SIGTERM);
    server.logs("draining");
    workers.iter().for_each(|&pid| send(pid, Signal::SIGCONT));
    for (n, client) in clients.iter_mut().enumerate() {
        let answer = client.try_answer().unwrap_or_else(|error| panic!("client {n} of {WAITING}: {error}"));
        assert_eq!(answer.status, 200, "client {n}");
    }
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn what_waits_at_a_passed_socket_is_left_to_its_owner() {
    let tcp = listener();
    let on = || Launch::serve(["-w", "2"]).on(tcp.try_clone().expect("it is open"));
    let mut server = on().start();
    let workers = server.workers();
    stop(&workers);
    let mut waiting: Vec<_> = (0..8).map(|_| Client::to(&server.at)).collect();
    waiting.iter_mut().for_each(|client| client.ask("/"));
    server.signal(Signal::SIGTERM);
    server.logs("draining");
    workers.iter().for_each(|&pid| send(pid, Signal::SIGCONT));
    assert_eq!(server.wait(), Some(0));
    let _successor = on().start();
    for client in &mut waiting {
        assert_eq!(client.answer().status, 200);
    }
}

#[track_caller]
fn stop(pids: &[i32]) {
    pids.iter().for_each(|&pid| send(pid, Signal::SIGSTOP));
    eventually("the workers are stopped", || pids.iter().all(|&pid| processes::state(pid) == Some('T')));
}

#[test]
fn a_term_is_not_lost_while_workers_are_being_forked() {
    for _ in 0..30 {
        let mut server = Launch::serve(["-w", "3"]).spawn();
        eventually("the first worker is forked", || !server.workers().is_empty());
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", server.stderr());
        assert!(!server.stderr().contains("ERROR"), "{}", server.stderr());
    }
}

// --- reload ----------------------------------------------------------------------------------------

#[test]
fn hup_replaces_every_worker_and_loses_no_request() {
    let server = Launch::binding(["-b", "127.0.0.1:0", "-w", "2"]).start();
    let before = server.workers();
    std::thread::scope(|scope| {
        let visitor = scope.spawn(|| {
            let mut answers = 0;
            while before.iter().any(|&pid| processes::is_alive(pid)) || answers < 50 {
                assert_eq!(get(&server.at, "/").status, 200);
                answers += 1;
            }
        });
        server.signal(Signal::SIGHUP);
        assert_gone(&before);
        visitor.join().expect("each request was answered");
    });
    server.logs("reloaded");
    assert_eq!(server.workers().len(), 2);
}

#[test]
fn hup_finishes_what_the_old_workers_have_begun() {
    let server = Server::start::<_, &str>([]);
    let (mut slow, old) = slow_client(&server);
    drain(&server, Signal::SIGHUP, old);
    assert_eq!(server.workers().len(), 2, "a new worker stands beside the old one");
    slow.send("\r\n");
    let answer = slow.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_gone(&[old]);
}

#[test]
fn many_hups_are_as_good_as_one_and_term_goes_before_them() {
    let mut server = Server::start(["-w", "3"]);
    let before = server.workers();
    (0..20).for_each(|_| server.signal(Signal::SIGHUP));
    assert_gone(&before);
    eventually("things come to rest", || server.workers().len() == 3);
    assert_eq!(get(&server.at, "/").status, 200);
    (0..20).for_each(|_| server.signal(Signal::SIGHUP));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
}

// --- how many --------------------------------------------------------------------------------------

#[test]
fn ttin_and_ttou_change_the_number_of_workers_down_to_one() {
    let server = Server::start::<_, &str>([]);
    let mut expected: usize = 1;
    for signal in "++--+---".chars() {
        let (signal, wanted) = match signal {
            '+' => (Signal::SIGTTIN, expected + 1),
            _ => (Signal::SIGTTOU, (expected - 1).max(1)),
        };
        server.signal(signal);
        eventually(&format!("after {signal} there are {wanted}"), || server.workers().len() == wanted);
        expected = wanted;
        assert_eq!(get(&server.at, "/").status, 200);
    }
}

#[test]
fn winch_sends_the_workers_away_until_hup_calls_them_back() {
    let mut server = Server::start(["-w", "2"]);
    server.signal(Signal::SIGWINCH);
    eventually("the workers are gone", || server.workers().is_empty());
    let mut waiting = Client::to(&server.at);
    waiting.ask("/");
    server.signal(Signal::SIGHUP);
    assert_eq!(waiting.answer().status, 200, "the kernel kept it");
    eventually("both are back", || server.workers().len() == 2);

    server.signal(Signal::SIGWINCH);
    eventually("the workers are gone", || server.workers().is_empty());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0), "a master without workers can be stopped");
}

#[test]
fn resizing_a_terminal_stops_nothing_though_standard_input_is_none() {
    // The size changes in the foreground, where the server is too, since no job control is on.
    let line = format!(
        "{HOSPITAL} serve -b 127.0.0.1:0 hospital.healthchecks.predictable </dev/null & echo $! >pid; \
         until test -e go; do sleep 0.01; done; stty cols 91; stty cols 92; echo done >resized; wait $!"
    );
    let script = family::Family::start(tempfile::tempdir().expect("there is room"), "script", |command| {
        command.env("SHELL", "/bin/sh").args(["--quiet", "--flush", "--command", &line, "screen"]);
    });
    let screen = || script.text("screen");
    eventually("it serves", || screen().contains("Serving on"));
    std::fs::write(script.path("go"), "").expect("the folder is ours");
    eventually("it is resized", || script.text("resized") == "done\n");
    let master = script.text("pid").trim().parse().expect("a pid");
    // A later signal has been handled: so was this one.
    send(master, Signal::SIGUSR1);
    eventually("signals are handled", || screen().contains("SIGUSR1: Reopen"));
    assert!(!screen().contains("SIGWINCH"), "{}", screen());
    assert_eq!(get(&At::announced(&screen()), "/livez").status, 200);
    send(master, Signal::SIGTERM);
    eventually("it ends", || !processes::is_alive(master));
}

// --- log files -------------------------------------------------------------------------------------

#[test]
fn usr1_opens_a_rotated_log_anew_in_every_process() {
    let launch = Launch::serve(["-w", "2"]);
    let (log, rotated) = (launch.path("log"), launch.path("log.1"));
    let server = launch.args([std::ffi::OsStr::new("--error-logfile"), log.as_os_str()]).start();
    let writes_to = |path: &std::path::Path| {
        let all: Vec<_> = server.workers().into_iter().chain([server.master()]).collect();
        all.iter().filter(|&&pid| processes::descriptors(pid).values().any(|link| link == path)).count()
    };
    assert_eq!(writes_to(&log), 3);
    std::fs::rename(&log, &rotated).expect("it is there");
    assert_eq!(writes_to(&rotated), 3);
    server.signal(Signal::SIGUSR1);
    eventually("all write to the new file", || writes_to(&log) == 3 && writes_to(&rotated) == 0);
    send(server.workers()[0], Signal::SIGKILL);
    let text = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    eventually("the death is logged there", || text(&log).contains("died"));
    assert!(text(&rotated).contains("ready") && !text(&rotated).contains("died"));
    assert_eq!(server.stderr(), "", "nothing goes to standard error");
}

#[test]
fn a_log_that_cannot_be_opened_anew_is_kept() {
    let launch = Launch::serve::<_, &str>([]);
    let directory = launch.path("logs");
    std::fs::create_dir(&directory).expect("the directory is ours");
    let log = directory.join("log");
    let server = launch.args([std::ffi::OsStr::new("--error-logfile"), log.as_os_str()]).start();
    let elsewhere = server.path("elsewhere");
    std::fs::rename(&directory, &elsewhere).expect("it is there");
    server.signal(Signal::SIGUSR1);
    let kept = || std::fs::read_to_string(elsewhere.join("log")).unwrap_or_default();
    eventually("it says so in the old one", || kept().contains("cannot be opened anew"));
    assert_eq!(get(&server.at, "/").status, 200);
}

// --- signals that hit a worker ---------------------------------------------------------------------

#[test]
fn stray_signals_do_not_kill_a_worker() {
    let server = Server::start::<_, &str>([]);
    let worker = server.workers()[0];
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGPIPE,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGWINCH,
        Signal::SIGCHLD,
    ] {
        send(worker, signal);
        assert_eq!(get(&server.at, "/").status, 200, "after {signal}");
        assert_eq!(server.workers(), [worker], "after {signal}");
    }
}

#[test]
fn a_worker_that_is_told_to_finish_is_replaced() {
    for signal in [Signal::SIGTERM, Signal::SIGQUIT] {
        let server = Server::start::<_, &str>([]);
        let worker = server.workers();
        send(worker[0], signal);
        assert_gone(&worker);
        eventually("there is another", || server.workers().len() == 1);
        assert_eq!(get(&server.at, "/").status, 200);
        assert!(!server.stderr().contains("ERROR"), "{}", server.stderr());
    }
}

#[test]
fn ctrl_c_reaches_the_whole_group_and_ends_it_in_order() {
    let mut server = Server::start(["-w", "2"]);
    nix::sys::signal::killpg(nix::unistd::Pid::from_raw(server.master()), Signal::SIGINT).expect("it is our group");
    assert_eq!(server.wait(), Some(0));
    assert!(!server.stderr().contains("ERROR"), "{}", server.stderr());
}
