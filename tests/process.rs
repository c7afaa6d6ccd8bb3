//! Births, deaths and belongings of the processes.

mod support;

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use support::*;

// --- deaths ----------------------------------------------------------------------------------------

#[test]
fn a_worker_that_dies_is_replaced_and_answers_go_on() {
    for signal in [Signal::SIGKILL, Signal::SIGABRT] {
        let server = Server::start(["-w", "2"]);
        let victim = server.workers()[0];
        send(victim, signal);
        eventually("the worker is dead", || !processes::is_alive(victim));
        assert_eq!(get(&server.at, "/").status, 200, "after {signal}");
        eventually("there are two again", || server.workers().len() == 2);
        server.logs(&format!("(pid {victim}) died: signal: {}", signal as i32));
        assert_eq!(get(&server.at, "/").status, 200, "after {signal}");
    }
}

#[test]
fn it_never_gives_up_however_often_its_only_worker_dies() {
    let server = Server::start::<_, &str>([]);
    for round in 0..5 {
        let mut worker = Vec::new();
        eventually("there is a worker", || {
            worker = server.workers();
            worker.len() == 1
        });
        send(worker[0], Signal::SIGKILL);
        eventually("it is dead", || !processes::is_alive(worker[0]));
        // Nobody is there; the kernel keeps the connection until somebody is.
        assert_eq!(get(&server.at, "/").status, 200, "after {round} deaths");
    }
}

#[test]
fn a_killed_master_takes_its_workers_along_and_frees_the_port() {
    let mut server = Launch::binding(["-b", "127.0.0.1:0", "-w", "3"]).start();
    let workers = server.workers();
    let At::Tcp(address) = server.at else { panic!("it binds a port") };
    // One is in the middle of something, another cannot even notice.
    let mut slow = Client::to(&server.at);
    slow.send("GET / HTTP/1.1\r\n");
    send(workers[0], Signal::SIGSTOP);
    server.signal(Signal::SIGKILL);
    within(Duration::from_secs(1), "all workers are gone", || !workers.iter().any(|&pid| processes::is_alive(pid)));
    assert_eq!(server.wait(), None);
    TcpListener::bind(address).expect("the port is free");
}

#[test]
fn retiring_workers_lose_no_request() {
    let server = Launch::binding(["-b", "127.0.0.1:0", "-w", "2"])
        .args(["--max-requests", "20", "--max-requests-jitter", "10"])
        .start();
    let first = server.workers();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| assert_eq!(get(&server.at, "/").status, 200)));
        }
    });
    eventually("there are two again", || server.workers().len() == 2);
    assert!(server.workers().iter().all(|pid| !first.contains(pid)), "the first ones have retired");
    assert!(server.stderr().contains("retired"), "{}", server.stderr());
    assert!(!server.stderr().contains("ERROR"), "{}", server.stderr());
}

#[test]
fn a_retiring_worker_says_so_to_those_who_are_connected() {
    let server = Server::start(["--max-requests", "3"]);
    let mut client = Client::to(&server.at);
    let said_close = (0..10).any(|_| {
        client.ask("/");
        client.answer().header("connection") == Some("close")
    });
    assert!(said_close, "it is never told");
    assert!(client.is_closed());
}

// --- belongings ------------------------------------------------------------------------------------

#[test]
fn a_master_has_one_thread_and_keeps_nothing_of_its_reloads() {
    let server = Server::start(["-w", "2"]);
    let master = server.master();
    let before = processes::descriptors(master);
    for reload in 1..=50 {
        server.signal(Signal::SIGHUP);
        eventually("it has reloaded", || server.stderr().matches("reloaded: all workers").count() == reload);
    }
    eventually("the old workers are gone", || server.workers().len() == 2);
    eventually("it has no more open than before", || processes::descriptors(master).len() <= before.len());
    assert_eq!(processes::number(master, "Threads"), 1);
    assert_eq!(get(&server.at, "/").status, 200);
}

#[test]
fn an_idle_tree_hardly_ever_wakes_up() {
    // Not a wait for something to happen: the time over which it is counted.
    const WINDOW: Duration = Duration::from_secs(4);
    let server = Server::start(["-w", "4"]);
    assert_eq!(get(&server.at, "/").status, 200);
    let all: Vec<_> = server.workers().into_iter().chain([server.master()]).collect();
    let woken = || all.iter().map(|&pid| processes::number(pid, "voluntary_ctxt_switches")).sum::<u64>();
    // Whoever answered last goes back to wait, and the client's connection is closed.
    eventually("all wait", || all.iter().all(|&pid| processes::state(pid) == Some('S')));
    let before = woken();
    std::thread::sleep(WINDOW);
    let often = woken() - before;
    assert!(often < WINDOW.as_secs(), "{often} times in {WINDOW:?}");
}

#[test]
fn processes_are_named_so_that_ps_tells_them_apart() {
    let server = Server::start(["-w", "2", "-n", "shop"]);
    assert_eq!(processes::name(server.master()), "shop:master");
    let names: Vec<_> = server.workers().into_iter().map(processes::name).collect();
    assert_eq!(names, ["shop:w0", "shop:w1"]);
}

#[test]
fn the_umask_is_that_of_every_file_and_the_directory_that_of_every_path() {
    let directory = tempfile::tempdir().expect("there is room");
    let place = directory.path();
    let mut server = Launch::binding(["--chdir".as_ref(), place.as_os_str()])
        .args(["-m", "077", "-b", "unix:socket", "-p", "pid", "--error-logfile", "log"])
        .start();
    for file in ["socket", "pid", "log"] {
        let mode = std::fs::metadata(place.join(file)).unwrap_or_else(|error| panic!("{file}: {error}")).mode();
        assert_eq!(mode & 0o077, 0, "{file} has {mode:o}");
    }
    for pid in server.workers().into_iter().chain([server.master()]) {
        let link = std::fs::read_link(format!("/proc/{pid}/cwd")).expect("it runs");
        assert_eq!(link, place.canonicalize().expect("it is there"));
        assert_eq!(processes::status(pid, "Umask"), "0077");
    }
    assert_eq!(get(&At::Unix(place.join("socket")), "/").status, 200);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    assert!(!place.join("socket").exists() && !place.join("pid").exists(), "both are removed");
}

#[test]
fn the_log_can_be_json() {
    let mut server = Server::start(["--log-format", "json"]);
    let worker = server.workers()[0];
    send(worker, Signal::SIGKILL);
    server.logs("died");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    for line in server.stderr().lines() {
        let json: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for key in ["timestamp", "level", "message"] {
            assert!(json[key].is_string(), "{key} is missing: {line}");
        }
    }
    assert!(server.stderr().lines().count() >= 4, "ready, died, draining, stopped: {}", server.stderr());
}

#[test]
fn it_serves_with_standard_output_and_error_closed() {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let at = At::Tcp(tcp.local_addr().expect("it is bound"));
    let mut server = Launch::script("exec \"$@\" >&- 2>&-", ["--fd", "0"]).stdin(tcp).spawn();
    assert_eq!(get(&at, "/").status, 200);
    eventually("there is a worker", || server.workers().len() == 1);
    send(server.workers()[0], Signal::SIGKILL);
    assert_eq!(get(&at, "/").status, 200, "after something to log");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
}

// --- the pidfile -----------------------------------------------------------------------------------

#[test]
fn the_pidfile_is_there_as_long_as_the_master() {
    let launch = Launch::serve(["-w", "2"]);
    let path = launch.path("pid");
    // A stale one, of a pid that is somebody else's now.
    std::fs::write(&path, "1\n").expect("the directory is ours");
    let mut server = launch.args(["-p".as_ref(), path.as_os_str()]).start();
    let read = || std::fs::read_to_string(&path).expect("it is there");
    assert_eq!(read(), format!("{}\n", server.master()));

    let pid = server.master().to_string();
    let (code, stderr) = refused(&["-b", "127.0.0.1:0", "-p", &path.display().to_string()], &[]);
    assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
    assert!(stderr.contains(&path.display().to_string()) && stderr.contains(&pid), "{stderr}");
    assert_eq!(read(), format!("{pid}\n"), "the refused one leaves it as it is");

    send(server.workers()[0], Signal::SIGTERM);
    server.signal(Signal::SIGHUP);
    server.logs("reloaded");
    assert_eq!(read(), format!("{pid}\n"), "workers that end leave it as it is");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    assert!(!path.exists(), "it is removed at the end");
}

#[test]
fn the_pidfile_of_a_killed_master_is_taken_over() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("pid");
    let args = ["-p".as_ref(), path.as_os_str()];
    let dead = Launch::serve(args).start();
    let former = dead.master();
    drop(dead); // which kills it
    assert_eq!(std::fs::read_to_string(&path).expect("it was left behind"), format!("{former}\n"));
    let server = Launch::serve(args).start();
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), format!("{}\n", server.master()));
}

#[test]
fn a_pidfile_that_somebody_else_put_there_is_not_removed() {
    let launch = Launch::serve::<_, &str>([]);
    let path = launch.path("pid");
    let mut server = launch.args(["-p".as_ref(), path.as_os_str()]).start();
    std::fs::remove_file(&path).expect("it is there");
    std::fs::write(&path, "4711\n").expect("the directory is ours");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "4711\n");
}

#[test]
fn a_pidfile_that_cannot_be_written_is_named() {
    let (code, stderr) = refused(&["-b", "127.0.0.1:0", "-p", "/no/such/place/pid"], &[]);
    assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
    assert!(stderr.contains("--pid /no/such/place/pid"), "{stderr}");
}

// --- who they are ----------------------------------------------------------------------------------

#[test]
#[ignore = "needs root: run tests/run"]
fn workers_run_as_the_user_and_group_that_are_asked_for() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("socket");
    // A user must be able to reach what is his.
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let bind = format!("unix:{}", path.display());
    let ids = |pid, field| processes::status(pid, field).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for (args, uid, gid) in [
        (&["-u", "nobody"][..], 65534, 65534),
        (&["-u", "nobody", "-g", "daemon"], 65534, 1),
        (&["-u", "65534", "-g", "65533"], 65534, 65533),
        (&["-u", "54321"], 54321, 54321),
        (&["-g", "daemon"], 0, 1),
    ] {
        let server = Launch::binding(["-b", &bind, "-w", "2"]).args(args).start();
        for worker in server.workers() {
            assert_eq!(ids(worker, "Uid"), vec![uid.to_string(); 4], "{args:?}");
            assert_eq!(ids(worker, "Gid"), vec![gid.to_string(); 4], "{args:?}");
            if uid != 0 {
                assert!(!ids(worker, "Groups").contains(&"0".to_owned()), "{args:?}: it is still in root's group");
                assert_eq!(processes::status(worker, "CapEff"), "0000000000000000", "{args:?}");
            }
        }
        assert_eq!(ids(server.master(), "Uid"), vec!["0"; 4]);
        let file = std::fs::metadata(&path).expect("it is there");
        assert_eq!((file.uid(), file.gid()), (uid, gid), "{args:?}: the socket belongs to the workers");
        assert_eq!(get(&server.at, "/").status, 200);
        // Changing the user clears the request to die with the master; it has to be made behind that.
        let workers = server.workers();
        server.signal(Signal::SIGKILL);
        within(Duration::from_secs(1), "they go with it", || !workers.iter().any(|&pid| processes::is_alive(pid)));
    }
}

#[test]
fn a_first_boot_that_takes_longer_than_the_timeout_exits_3_and_says_what_to_do() {
    // One of so many is late for certain.
    let (code, stderr) = refused(&["-b", "127.0.0.1:0", "-w", "8", "--timeout", "1us"], &[]);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("ERROR worker ") && stderr.contains("if it needs longer, raise --timeout"), "{stderr}");
}

#[test]
#[ignore = "needs root: run tests/run"]
fn a_first_boot_that_cannot_work_exits_3_and_says_why() {
    // Root without the right to become somebody else, as in a container that was locked down.
    let mut server = Launch::under("setpriv", ["--bounding-set", "-setuid,-setgid"])
        .args(["-b", "127.0.0.1:0", "-w", "2", "-u", "nobody"])
        .spawn();
    assert_eq!(server.wait(), Some(3), "{}", server.stderr());
    assert!(server.stderr().contains("Operation not permitted"), "{}", server.stderr());
    assert_eq!(server.stdout(), "", "it never said that it serves");
}

#[test]
#[ignore = "needs root: run tests/run"]
fn only_root_can_choose_the_user() {
    let directory = tempfile::tempdir().expect("there is room");
    // Where nobody can reach it, unlike the build directory.
    let program = directory.path().join("hospital");
    std::fs::copy(HOSPITAL, &program).expect("there is room");
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let script = format!("shift; exec setpriv --reuid 65534 --clear-groups {} \"$@\"", program.display());
    let (code, stderr) = Launch::script(&script, ["-b", "127.0.0.1:0", "-u", "daemon"]).refused();
    assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
    assert!(stderr.contains("--user") && stderr.contains("need root"), "{stderr}");
}
