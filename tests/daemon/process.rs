//! The processes: how they start and end, and what they hold.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::process::Command;
use std::time::Duration;

use crate::harness::*;

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
        // No worker is there; the kernel keeps the connection until there is one.
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
#[ignore = "needs strace"]
fn it_starts_where_the_kernel_knows_no_close_range() {
    const O_CLOEXEC: u32 = 0o2_000_000;
    // Before 5.9, before 5.11 for the flag, and under a filter that does not know the call.
    for error in ["ENOSYS", "EINVAL", "EPERM"] {
        let strace = format!("exec strace -f -qq -o trace -e close_range -e inject=close_range:error={error}");
        let launch = Launch::script(&format!("{strace} \"$@\" 9</etc/passwd"), ["-b", "127.0.0.1:0"]);
        let (directory, trace) = (launch.path(""), launch.path("trace"));
        let server = launch.current_dir(&directory).env("HEALTHCHECKS", "exec:/bin/true").start();
        assert_eq!(get(&server.at, "/").status, 200, "{error}");
        let master = processes::children(server.master())[0];
        for pid in processes::children(master).into_iter().chain([master]) {
            let mut kept = processes::descriptors(pid);
            kept.retain(|&fd, _| fd > 2 && processes::descriptor_flags(pid, fd) & O_CLOEXEC == 0);
            assert!(kept.is_empty(), "{error}: {} keeps {kept:?} open in what it starts", processes::name(pid));
        }
        let reaper = processes::children(master).into_iter().find(|&pid| processes::name(pid) == "hospital:reaper");
        let reaper = reaper.expect("the check may start programs");
        eventually("it has let go of all", || processes::descriptors(reaper).keys().all(|fd| *fd <= 2));
        let calls = std::fs::read_to_string(&trace).expect("it is traced");
        assert!(calls.matches(&format!("-1 {error}")).count() >= 2, "{calls}");
    }
}

#[test]
fn an_idle_tree_hardly_ever_wakes_up() {
    // This does not wait for anything to happen: it is the time over which wake-ups are counted.
    const WINDOW: Duration = Duration::from_secs(4);
    let server = Server::start(["-w", "4"]);
    assert_eq!(get(&server.at, "/").status, 200);
    let all: Vec<_> = server.workers().into_iter().chain([server.master()]).collect();
    let woken = || all.iter().map(|&pid| processes::number(pid, "voluntary_ctxt_switches")).sum::<u64>();
    // The last to answer goes back to waiting, and the client's connection is closed.
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
    assert!(std::fs::read_dir(place).expect("it is there").flatten().all(|left| left.file_name() == "log"));
}

#[test]
fn nobody_else_can_open_a_pidfile_or_a_lock_and_hold_it() {
    let launch = Launch::binding(["-m", "0", "-b", "unix:socket", "-p", "pid"]);
    let (pid, lock) = (launch.path("pid"), launch.path("socket.lock"));
    // As an earlier version left it.
    std::fs::write(&pid, "4711\n").expect("the directory is ours");
    std::fs::set_permissions(&pid, std::fs::Permissions::from_mode(0o666)).expect("it is ours");
    let directory = pid.parent().expect("it has one").to_owned();
    let _server = launch.current_dir(&directory).start();
    for file in [pid, lock] {
        assert_eq!(std::fs::metadata(&file).expect("it is there").mode() & 0o777, 0o600, "{}", file.display());
    }
}

#[test]
fn a_fifo_in_place_of_the_pidfile_neither_stops_the_end_nor_is_removed() {
    let launch = Launch::serve::<_, &str>([]);
    let path = launch.path("pid");
    let mut server = launch.args(["-p".as_ref(), path.as_os_str()]).start();
    std::fs::remove_file(&path).expect("it is there");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("the directory is ours");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    assert!(path.exists());
    let (code, stderr) = Launch::serve(["-p".as_ref(), path.as_os_str()]).refused();
    assert!(code == 2 && stderr.contains("it is not a regular file"), "{code}: {stderr}");
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
    // A stale one, with a pid that another process has now.
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
#[ignore = "needs root"]
fn workers_run_as_the_user_and_group_that_are_asked_for() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("socket");
    // The user must be able to reach the socket.
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
            assert!(!ids(worker, "Groups").contains(&"0".to_owned()), "{args:?}: it is still in root's group");
            if uid != 0 {
                assert_eq!(processes::status(worker, "CapEff"), "0000000000000000", "{args:?}");
            }
        }
        assert_eq!(ids(server.master(), "Uid"), vec!["0"; 4]);
        let file = std::fs::metadata(&path).expect("it is there");
        assert_eq!((file.uid(), file.gid()), (uid, gid), "{args:?}: the socket belongs to the workers");
        assert_eq!(get(&server.at, "/").status, 200);
        // Changing the user clears the request to die with the master; it must be made afterwards.
        let workers = server.workers();
        server.signal(Signal::SIGKILL);
        within(Duration::from_secs(1), "they go with it", || !workers.iter().any(|&pid| processes::is_alive(pid)));
    }
}

#[test]
#[ignore = "needs root, strace"]
fn a_link_in_the_workers_own_folder_gives_nothing_of_roots_away() {
    const NOBODY: u32 = 65534;
    let directory = tempfile::tempdir().expect("there is room");
    let root = |name: &str| directory.path().join(name);
    let theirs = |name: &str| directory.path().join("theirs").join(name);
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    std::fs::create_dir(root("theirs")).and_then(|()| chown(root("theirs"), Some(NOBODY), None)).expect("root may");
    std::fs::write(root("secret"), "root's").expect("it is ours");
    let owner = |path| std::fs::symlink_metadata(path).expect("it is there").uid();
    let secret = || (owner(root("secret")), std::fs::read_to_string(root("secret")).expect("it is there"));
    // What an attacker who controls a worker can do.
    let plant = |target: &str, name: &str| {
        symlink(root(target), theirs("link")).and_then(|()| lchown(theirs("link"), Some(NOBODY), None)).expect("free");
        std::fs::rename(theirs("link"), theirs(name)).expect("it is there");
    };
    let launch = |args: [&str; 2]| {
        let value = args[1].replace("THEIRS", &theirs("").display().to_string());
        Launch::binding(["-b", "127.0.0.1:0", "-u", "nobody", args[0], &value])
    };

    let mut server = launch(["--error-logfile", "THEIRSlog"])
        .args(["--access-logfile".as_ref(), theirs("access").as_os_str()])
        .start();
    assert_eq!([owner(theirs("log")), owner(theirs("access"))], [NOBODY; 2], "they are made for the workers");
    std::fs::rename(theirs("log"), theirs("log.1")).expect("it is there");
    plant("secret", "log");
    plant("made", "access");
    server.signal(Signal::SIGUSR1);
    let said = || std::fs::read_to_string(theirs("log.1")).expect("it is there");
    for name in ["log", "access"] {
        let refused = format!("{} cannot be opened anew: it is a symbolic link", theirs(name).display());
        eventually("the master refuses it, and keeps the old one", || said().contains(&refused));
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));

    // The link is there just before the socket is given to the workers.
    let slowly = ["-f", "-qq", "-o", "/dev/null", "-e", "inject=?chown,?lchown,fchownat:delay_enter=1000000"];
    let bind = format!("unix:{}", theirs("socket").display());
    let server = Launch::under("strace", slowly).args(["-b", &bind, "-u", "nobody"]).spawn();
    eventually("it is bound", || theirs("socket").exists());
    plant("secret", "socket");
    eventually("it is given away", || server.stdout().contains("Serving on "));
    drop(server);
    std::fs::remove_file(theirs("socket")).expect("the link is there");

    for (args, code) in
        [(["--error-logfile", "THEIRSlog"], 2), (["-b", "unix:THEIRSsocket"], 4), (["--pid", "THEIRSpid"], 2)]
    {
        plant("secret", "pid");
        plant("made", "socket.lock");
        let (ended, said) = launch(args).refused();
        assert!(ended == code && said.contains("symbolic link"), "{args:?}: {ended}: {said}");
    }
    assert_eq!(secret(), (0, "root's".to_owned()));
    assert!(!root("made").exists());

    // Files and links of root's own are used as they are.
    std::fs::write(theirs("roots"), "").and_then(|()| symlink(root("secret"), theirs("roots-link"))).expect("root may");
    for path in ["THEIRSroots", "THEIRSroots-link", "/dev/stderr", "/proc/self/fd/2"] {
        let server = launch(["--error-logfile", path]).start();
        let worker = server.workers()[0];
        server.signal(Signal::SIGUSR1);
        send(worker, Signal::SIGKILL);
        let read = |path| std::fs::read_to_string(path).expect("it is there");
        let all = || [read(theirs("roots")), read(root("secret")), server.stderr()].concat();
        eventually("it is written to", || all().contains(&format!("(pid {worker}) died")));
        assert!(!all().contains("symbolic link"), "{path}: {}", all());
    }
    assert_eq!([owner(theirs("roots")), owner(root("secret"))], [0; 2]);
}

#[test]
#[ignore = "needs root"]
fn a_folder_of_logs_that_the_workers_made_a_link_is_not_followed() {
    let directory = tempfile::tempdir().expect("there is room");
    let place = |name: &str| directory.path().join(name);
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    for folder in ["theirs", "theirs/logs", "roots"] {
        std::fs::create_dir(place(folder)).expect("it is ours");
    }
    for folder in ["theirs", "theirs/logs"] {
        chown(place(folder), Some(65534), None).expect("root may");
    }
    // A link of root's own on the way is followed.
    symlink(place("theirs"), place("link")).expect("it is ours");
    let log = place("link/logs/log");
    let server = Launch::binding(["-b", "127.0.0.1:0", "-u", "nobody", "--error-logfile"]).args([&log]).start();
    std::fs::rename(place("theirs/logs"), place("theirs/logs.1")).expect("it is there");
    symlink(place("roots"), place("theirs/logs")).expect("it is free");
    lchown(place("theirs/logs"), Some(65534), None).expect("root may");
    server.signal(Signal::SIGUSR1);
    let said = || std::fs::read_to_string(place("theirs/logs.1/log")).expect("it is there");
    let refused = format!("{} cannot be opened anew: it is a symbolic link", log.display());
    eventually("the master refuses it", || said().contains(&refused));
    assert_eq!(std::fs::read_dir(place("roots")).expect("it is there").count(), 0);
}

#[test]
#[ignore = "needs root"]
fn a_first_boot_that_cannot_work_exits_3_and_says_why() {
    // Root without the right to change users, as in a locked-down container.
    let mut server = Launch::under("setpriv", ["--bounding-set", "-setuid,-setgid"])
        .args(["-b", "127.0.0.1:0", "-w", "2", "-u", "nobody"])
        .spawn();
    assert_eq!(server.wait(), Some(3), "{}", server.stderr());
    assert!(server.stderr().contains("--user nobody: Operation not permitted"), "{}", server.stderr());
    assert_eq!(server.stdout(), "", "it never said that it serves");
}

/// Runs the program as nobody, of a group that the user database does not give it.
fn as_nobody(directory: &tempfile::TempDir, args: &[&str]) -> Launch {
    // Where nobody can reach it, unlike the build directory.
    let program = directory.path().join("hospital");
    std::fs::copy(HOSPITAL, &program).expect("there is room");
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).expect("it is ours");
    let setpriv = "shift; exec setpriv --reuid 65534 --regid 12345 --clear-groups";
    Launch::script(&format!("{setpriv} {} \"$@\"", program.display()), args)
}

#[test]
#[ignore = "needs root"]
fn only_root_can_choose_the_user() {
    let directory = tempfile::tempdir().expect("there is room");
    let (code, stderr) = as_nobody(&directory, &["-b", "127.0.0.1:0", "-u", "daemon"]).refused();
    assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
    assert!(stderr.contains("--user daemon needs root"), "{stderr}");
}

#[test]
#[ignore = "needs root"]
fn the_user_that_one_is_already_needs_no_rights() {
    let directory = tempfile::tempdir().expect("there is room");
    let bind = format!("unix:{}", directory.path().join("socket").display());
    let server = as_nobody(&directory, &["-b", &bind, "-u", "nobody"]).start();
    assert_eq!(get(&server.at, "/").status, 200);
}

#[test]
#[ignore = "needs root"]
fn checks_that_only_root_can_read_are_refused_for_another_user() {
    let directory = tempfile::tempdir().expect("there is room");
    let checks = directory.path().join("checks.d");
    std::fs::create_dir(&checks).expect("there is room");
    std::fs::write(checks.join("a.toml"), "[[check]]\nuse = 'load:'\n").expect("there is room");
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let launch = || {
        let args = ["-b", "127.0.0.1:0", "-u", "nobody", "--check-config"];
        Launch::binding(args).env("HEALTHCHECKS", checks.to_str().expect("a plain path"))
    };
    assert!(launch().printed().contains("the configuration is good"));
    std::fs::set_permissions(&checks, std::fs::Permissions::from_mode(0o700)).expect("it is ours");
    let (code, stderr) = launch().refused();
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("Permission denied") && stderr.contains("nobody"), "{stderr}");
}

#[test]
fn threads_that_a_program_makes_before_the_fork_are_warned_of() {
    let launch = Launch::serve(["-w", "1"]);
    let (source, library) = (launch.path("threads.c"), launch.path("threads.so"));
    // As a `main` does that makes a runtime before it calls hospital::main().
    let text = "#include <pthread.h>\n#include <unistd.h>\n\
                static void *wait_forever(void *none) { for (;;) pause(); return none; }\n\
                __attribute__((constructor)) static void start(void) { pthread_t t; pthread_create(&t, 0, wait_forever, 0); }\n";
    std::fs::write(&source, text).expect("the directory is ours");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-pthread", "-o"]).args([&library, &source]).status();
    assert!(compiled.expect("there is a compiler").success());
    let server = launch.env("LD_PRELOAD", library.to_str().expect("a plain path")).start();
    server.logs("the program has 2 threads before hospital::main() forks the workers");
    let other = Server::start(["-w", "1"]);
    assert!(!other.stderr().contains("threads"), "{}", other.stderr());
}

#[test]
fn a_timeout_that_is_longer_than_a_round_is_told_at_the_start() {
    let checks = "db=tcp://127.0.0.1:1#timeout=30s mail=tcp://127.0.0.1:2#timeout=20s later=tcp://127.0.0.1:3#timeout=20s&every=1h";
    let server = Launch::serve(["-w", "1"]).env("HEALTHCHECKS", checks).start();
    server.logs(
        "db is given less than its timeout of 30s, and so are 1 more: a round takes 10s at most. Raise --request-timeout, \
         or run the check on a schedule (every=)",
    );
}
