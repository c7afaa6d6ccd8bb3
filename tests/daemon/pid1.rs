//! As PID 1 of a container, alone and under tini: an init must get signals, exit codes and orphans right.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};

use crate::harness::{Client, Launch, Server, Signal, eventually, get, processes, send};

const NAMESPACE: [&str; 4] = ["--pid", "--fork", "--mount-proc", "--kill-child"];

#[test]
#[ignore = "needs root"]
fn pid_1_answers_finishes_what_has_begun_and_exits_0_at_a_term() {
    let mut server = alone(["-w", "2"]);
    let init = init(&server);
    assert!(processes::status(init, "NSpid").ends_with("\t1"), "{}", processes::status(init, "NSpid"));
    assert_eq!(processes::name(init), "hospital:master");
    finishes_what_has_begun_at_a_term(&mut server, init);
}

#[test]
#[ignore = "needs root, tini"]
fn under_tini_which_signals_the_workers_as_well_a_term_is_no_different() {
    let mut server = start(&["tini", "-g", "--"], &["-w", "2"]);
    let init = init(&server);
    assert_eq!(processes::name(init), "tini");
    finishes_what_has_begun_at_a_term(&mut server, init);
}

#[test]
#[ignore = "needs root"]
fn an_int_stops_pid_1_at_once_with_0() {
    let mut server = alone([]);
    send(init(&server), Signal::SIGINT);
    assert_eq!(server.wait(), Some(0));
}

#[test]
#[ignore = "needs root"]
fn pid_1_replaces_a_worker_that_was_killed() {
    let server = alone(["-w", "2"]);
    let master = init(&server);
    let before = processes::children(master);
    assert_eq!(before.len(), 2);
    send(before[0], Signal::SIGKILL);
    eventually("there are two workers again, one of them new", || {
        let now = processes::children(master);
        now.len() == 2 && !now.contains(&before[0]) && now.contains(&before[1])
    });
    assert_eq!(get(&server.at, "/").status, 200);
}

#[test]
#[ignore = "needs root"]
fn pid_1_goes_without_its_workers_when_it_is_killed() {
    let mut server = alone(["-w", "2"]);
    let workers = processes::children(init(&server));
    send(init(&server), Signal::SIGKILL);
    server.status();
    eventually("the workers are gone", || !workers.iter().any(|&pid| processes::is_alive(pid)));
}

#[test]
#[ignore = "needs root"]
fn an_orphan_that_exits_with_3_is_buried_and_stops_nobody() {
    let server = alone(["-w", "2"]);
    let master = init(&server);
    let workers = processes::children(master);
    // 3 is the exit code of a worker that cannot boot.
    for code in ["3", "0", "1"] {
        let orphan = Orphan::beside(&server, code);
        orphan.exit();
        eventually("nothing is left of the orphan, not even a zombie", || processes::state(orphan.pid).is_none());
        assert_eq!(get(&server.at, "/").status, 200);
    }
    assert_eq!(processes::children(master), workers);
    assert!(!server.stderr().contains("ERROR"), "{}", server.stderr());
}

#[test]
#[ignore = "needs root"]
fn an_orphan_does_not_hold_up_the_end() {
    let mut server = alone([]);
    let orphan = Orphan::beside(&server, "0");
    send(init(&server), Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    eventually("the namespace took the orphan with it", || !processes::is_alive(orphan.pid));
}

#[test]
#[ignore = "needs root, python3"]
fn a_child_of_the_entrypoint_that_died_before_we_began_is_buried() {
    // An entrypoint that has a dead child when it becomes us: no signal tells us of that death.
    let script = "import os, sys\n\
                  child = os.fork() or os._exit(3)\n\
                  os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)\n\
                  os.execv(sys.argv[1], sys.argv[1:])";
    let server = start(&["python3", "-c", script], &[]);
    let master = init(&server);
    let is_its_zombie = |pid: i32| processes::state(pid) == Some('Z') && processes::parent(pid) == Some(master);
    eventually("there is no zombie", || !processes::all().any(is_its_zombie));
    assert_eq!(get(&server.at, "/").status, 200);
}

/// One request is in progress when the signal arrives: half of it is sent.
#[track_caller]
fn finishes_what_has_begun_at_a_term(server: &mut Server, init: i32) {
    let mut client = Client::to(&server.at);
    client.ask("/");
    assert_eq!(client.answer().status, 200);
    client.send("GET / HTTP/1.1\r\nHost: ");
    send(init, Signal::SIGTERM);
    server.logs("draining");
    client.send("localhost\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(client.is_closed());
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
}

// --- containers --------------------------------------------------------------------------------------

/// Hospital as PID 1.
#[track_caller]
fn alone<const N: usize>(args: [&str; N]) -> Server {
    start(&[], &args)
}

/// A program that starts hospital, in a PID namespace of its own.
#[track_caller]
fn start(parent: &[&str], args: &[&str]) -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    Launch::under("unshare", NAMESPACE.iter().chain(parent)).args(["--fd", "0"]).args(args).on(listener).start()
}

/// The outside pid of the namespace's PID 1.
#[track_caller]
fn init(server: &Server) -> i32 {
    let unshare = server.master();
    let children = processes::children(unshare);
    assert_eq!(children.len(), 1, "unshare has one child");
    children[0]
}

/// A process in the namespace whose parent is gone, so that PID 1 has adopted it.
struct Orphan {
    pid: i32,
    /// The file that it waits for.
    order: std::path::PathBuf,
}

impl Orphan {
    /// As `docker exec` leaves behind: the shell that started it has ended.
    #[track_caller]
    fn beside(server: &Server, code: &str) -> Orphan {
        let (master, order) = (init(server), server.path(&format!("order-{code}")));
        let script = r#"mkfifo "$1"; (read -r order <"$1"; exit "$2") &"#;
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &master.to_string(), "--pid", "--mount", "sh", "-c", script, "sh"])
            .arg(&order)
            .arg(code);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().expect("nsenter can be started").success());
        let mut found = None;
        eventually("PID 1 adopts the orphan", || {
            found = processes::children(master).into_iter().find(|&pid| processes::name(pid) == "sh");
            found.is_some()
        });
        Orphan { pid: found.expect("it was just seen"), order }
    }

    fn exit(&self) {
        let mut order = std::fs::File::options().write(true).open(&self.order).expect("the orphan reads it");
        order.write_all(b"go\n").expect("the orphan reads it");
    }
}
