//! A machine that lacks something: descriptors, memory, disk space, a reader of the log, a steady clock.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::harness::cgroup::Cgroup;
use crate::harness::family::{Family, PATIENCE};
use crate::harness::load::{Load, Shape};
use crate::harness::metrics::{gated, open};
use crate::harness::*;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

// --- descriptors and memory ------------------------------------------------------------------------

#[test]
fn a_worker_without_a_descriptor_to_spare_answers_as_soon_as_it_has_one() {
    let server = Server::start(["-w", "1"]);
    let worker = server.workers()[0];
    processes::limit_descriptors(worker, 3);
    let mut client = Client::to(&server.at);
    client.ask("/");
    server.logs("cannot accept connections: Too many open files");
    processes::limit_descriptors(worker, 1024);
    assert_eq!(client.answer().status, 200);
    assert_eq!(server.workers(), [worker]);
}

#[test]
fn newcomers_do_not_wait_for_idle_clients_where_all_descriptors_are_taken() {
    let server = Server::start(["-w", "1"]);
    let worker = server.workers()[0];
    let mut idle: Vec<_> = (0..3).map(|_| Client::to(&server.at)).collect();
    for client in &mut idle {
        client.ask("/");
        assert_eq!(client.answer().status, 200);
    }
    let taken = processes::descriptors(worker);
    let free = (0..).find(|fd| !taken.contains_key(fd)).expect("numbers do not end");
    processes::limit_descriptors(worker, free as u64);
    let mut newcomers: Vec<_> = (0..2).map(|_| Client::to(&server.at)).collect();
    for newcomer in &mut newcomers {
        newcomer.ask("/");
        assert_eq!(newcomer.answer().status, 200);
    }
    assert!(idle[0].is_closed() && idle[1].is_closed(), "whoever was waited for the longest makes room");
    idle[2].ask("/");
    assert_eq!(idle[2].answer().status, 200, "nobody leaves for nothing");
    let complaints = server.stderr().matches("cannot accept connections").count();
    assert_eq!(complaints, 1, "it is said, and once: {}", server.stderr());
}

#[test]
fn more_checks_than_jobs_wait_for_their_turn_and_their_time_begins_with_it() {
    let launch = Launch::serve(["-w", "1", "--jobs", "2"]);
    let (log, program) = (launch.path("log"), launch.path("program"));
    write_program(&program, &format!("#!/bin/sh\necho + >>{0}\nsleep 0.5\necho - >>{0}\n", log.display()));
    let checks: Vec<_> = (0..8).map(|number| format!("c{number}=exec:{}#timeout=1500ms", program.display())).collect();
    let server = launch.env("HEALTHCHECKS", &checks.join(" ")).start();
    let answer = get(&server.at, "/");
    assert_eq!(answer.status, 200, "two seconds for all, and each has less: {}", answer.body);
    let marks = std::fs::read_to_string(log).expect("each has written to it");
    let running = marks.lines().scan(0, |running, mark| {
        *running += if mark == "+" { 1 } else { -1 };
        Some(*running)
    });
    assert_eq!(running.max(), Some(2), "{marks}");
}

#[test]
#[ignore = "needs root"]
fn checks_are_no_errors_where_few_processes_are_allowed() {
    let group = Cgroup::new("pids", "/sys/fs/cgroup");
    group.set("pids.max", "60");
    let script = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", group.path.display());
    let launch = Launch::script(&script, ["-w", "2", "-b", "127.0.0.1:0"]);
    let checks: Vec<_> =
        (0..200).map(|number| format!("c{number}=exec:/bin/sh#args=-c&args=sleep%200.01;true")).collect();
    let server = launch.env("HEALTHCHECKS", &checks.join(" ")).start();
    server.logs("a worker runs at most 7 checks at once: pids.max");
    let answer = get(&server.at, "/");
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn checks_find_their_descriptors_however_many_clients_sit_there() {
    const CHECKS: usize = 8;
    let launch = Launch::script("ulimit -n 128 && exec \"$@\"", ["-w", "1", "-b", "127.0.0.1:0"]);
    let gate = launch.path("gate");
    let checks: Vec<_> = (0..CHECKS).map(|number| format!("{number}{}", gated(&gate))).collect();
    let server = launch.env("HEALTHCHECKS", &checks.join(" ")).start();
    let _idle: Vec<_> = (0..128)
        .map(|_| {
            let mut client = Client::to(&server.at);
            client.ask("/livez");
            assert_eq!(client.answer().status, 200);
            client
        })
        .collect();
    let mut client = Client::to(&server.at);
    client.ask("/");
    eventually("all checks run at once", || processes::children(server.workers()[0]).len() == CHECKS);
    open(&gate);
    let answer = client.answer();
    assert_eq!(answer.json()["summary"]["pass"].as_u64(), Some(CHECKS as u64), "{}", answer.body);
}

#[test]
#[ignore = "needs strace"]
fn livez_is_answered_while_the_files_of_checks_hang() {
    let launch = Launch::serve(["-w", "1", "--timeout", "100"]);
    let checks = launch.path("checks.toml");
    std::fs::write(&checks, "[[check]]\nuse = 'file:/'\n").expect("the directory is ours");
    let server = launch.env("HEALTHCHECKS", &checks.to_string_lossy()).start();
    assert_eq!(get(&server.at, "/").status, 200);
    let worker = server.workers()[0];
    let _strace = looking_slowly(worker, "delay_enter=100000000");
    for _ in 0..3 {
        assert_eq!(get(&server.at, "/livez").status, 200);
    }
    let mut hung = Client::to(&server.at);
    hung.ask("/");
    eventually("the look hangs", || is_held(worker));
    assert_eq!(get(&server.at, "/livez").status, 200);
}

#[test]
#[ignore = "needs strace"]
fn who_comes_while_the_files_of_checks_are_looked_at_is_told_of_what_they_say_by_then() {
    let launch = Launch::binding(["-w", "1", "-b", "127.0.0.1:0"]);
    let (checks, next) = (launch.path("checks.toml"), launch.path("next"));
    let write = |name| {
        let text = format!("[[check]]\nname = '{name}'\nuse = 'tcp://127.0.0.1:1'\n");
        std::fs::write(&next, text).and_then(|()| std::fs::rename(&next, &checks)).expect("the directory is ours");
    };
    write("old");
    let server = launch.env("HEALTHCHECKS", &checks.to_string_lossy()).start();
    let changed = std::fs::metadata(&checks).and_then(|file| file.modified()).expect("it is there");
    let settled = Duration::from_millis(200);
    eventually("it need not be read again", || changed.elapsed().is_ok_and(|age| age > settled));
    assert!(get(&server.at, "/?verbose").body.contains("\"old\""));
    let worker = server.workers()[0];
    let _strace = looking_slowly(worker, "delay_exit=500000");
    let mut clients = [(); 2].map(|()| Client::to(&server.at));
    clients[0].ask("/");
    eventually("it looks at the file", || is_held(worker));
    write("new");
    clients[1].ask("/?verbose");
    let answer = clients[1].answer();
    assert!(answer.body.contains("\"new\""), "{}", answer.body);
}

/// Whether a thread of the worker is stopped in a system call that is delayed.
fn is_held(worker: i32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{worker}/task")).expect("the worker runs");
    let ids = threads.flatten().filter_map(|thread| thread.file_name().to_str()?.parse().ok());
    ids.into_iter().any(|thread| processes::status(thread, "State").starts_with('t'))
}

/// Makes a worker take this long to look at a file.
fn looking_slowly(worker: i32, delay: &str) -> Family {
    tampered(worker, "statx,newfstatat", delay)
}

/// Lets these system calls of a worker fail, or take longer.
fn tampered(worker: i32, calls: &str, how: &str) -> Family {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:{how}"));
    let strace = Family::start(tempfile::tempdir().expect("there is room"), "strace", |command| {
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject, "-p", &worker.to_string()]);
    });
    eventually("it is traced", || processes::status(worker, "TracerPid") == strace.head().to_string());
    strace
}

#[test]
#[ignore = "needs strace"]
fn a_client_that_cannot_be_watched_costs_no_other_client_anything() {
    for error in ["ENOSPC", "ENOMEM"] {
        let launch = Launch::binding(["-w", "1", "-b", "127.0.0.1:0", "--worker-connections", "2"]);
        let gate = launch.path("gate");
        let server = launch.env("HEALTHCHECKS", &gated(&gate)).start();
        let worker = server.workers()[0];
        let mut kept = Client::to(&server.at);
        kept.ask("/livez");
        assert_eq!(kept.answer().status, 200);
        // First the worker turns away from its listener, as there is no room for more.
        let _strace = tampered(worker, "epoll_ctl", &format!("error={error}:when=2..9"));
        kept.ask("/");
        eventually("its check runs", || !processes::children(worker).is_empty());
        let sockets = processes::sockets(worker);
        let mut unwatched = Client::to(&server.at);
        unwatched.ask("/");
        eventually("both wait", || processes::sockets(worker) > sockets);
        open(&gate);
        assert_eq!(kept.answer().status, 200, "{error}: it is watched already");
        assert_eq!(unwatched.answer().status, 200, "{error}: it needs no watching");
        assert!(unwatched.is_closed(), "{error}: nobody would heed it");
        assert_eq!(get(&server.at, "/livez").status, 200, "{error}: the listener is watched again");
        let stderr = server.stderr();
        assert_eq!(stderr.matches("closing clients that cannot be watched").count(), 1, "{error}: {stderr}");
        assert_eq!(stderr.matches("cannot accept connections").count(), 1, "{error}: {stderr}");
        assert_eq!(server.workers(), [worker], "{error}");
    }
}

#[test]
fn a_worker_without_a_descriptor_to_spare_does_not_flood_the_log_at_its_end() {
    let mut server = Launch::binding(["-b", "127.0.0.1:0"]).start();
    processes::limit_descriptors(server.workers()[0], 3);
    let mut client = Client::to(&server.at);
    client.ask("/");
    server.logs("cannot accept connections");
    let complaints = || server.stderr().matches("cannot accept connections").count();
    let before = complaints();
    server.signal(Signal::SIGTERM);
    eventually("the end has come", || !processes::is_alive(server.master()));
    assert_eq!(complaints(), before, "it is said once");
    assert_eq!(server.wait(), Some(0));
}

#[test]
#[ignore = "needs strace"]
fn accepting_may_fail_in_every_way_that_passes() {
    for error in ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EACCES", "EPERM", "ECONNABORTED", "EINTR", "EPROTO"] {
        let server = injected("accept4", &format!("accept4:error={error}:when=1..20+2"), &["-w", "2"]);
        let load = Load::start(&server.at, Shape { patience: PATIENCE, ..Shape::default() });
        load.wait_for_answers(60);
        let tally = load.stop();
        assert!(tally.count(load::Verdict::Ok) >= 60 && tally.lost() == 0, "{error}: {tally}");
        assert!(!server.stderr().contains("died"), "{error}: {}", server.stderr());
        // The others are of one connection only.
        let stays = !["ECONNABORTED", "EINTR", "EPROTO"].contains(&error);
        assert_eq!(server.stderr().contains("cannot accept connections"), stays, "{error}: {}", server.stderr());
    }
}

#[test]
#[ignore = "needs strace"]
fn every_wait_may_be_interrupted() {
    for call in ["epoll_wait", "poll", "read", "recvfrom", "sendto"] {
        let inject = format!("{call}:error=EINTR:when=40+3");
        let server = injected(call, &inject, &["-w", "2"]);
        let load = Load::start(&server.at, Shape { patience: PATIENCE, ..Shape::default() });
        load.wait_for_answers(200);
        load.stop().assert_nothing_lost();
        assert!(!server.stderr().contains("died"), "{call}: {}", server.stderr());
    }
}

#[test]
#[ignore = "needs strace"]
fn a_fork_without_memory_is_tried_again() {
    // The first two succeed; then it fails for a while.
    for error in ["ENOMEM", "EAGAIN"] {
        let calls = "clone,clone3,fork";
        let server = injected(calls, &format!("{calls}:error={error}:when=3..8"), &["-w", "2"]);
        let master = traced(&server);
        let workers = || processes::children(master);
        eventually("there are two workers", || workers().len() == 2);
        for pid in workers() {
            send(pid, Signal::SIGKILL);
        }
        assert_eq!(get(&server.at, "/").status, 200);
        eventually("there are two again", || workers().len() == 2);
        server.logs("cannot fork a worker");
    }
}

/// A server with errors injected into its system calls.
#[track_caller]
fn injected(calls: &str, inject: &str, args: &[&str]) -> Server {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={inject}"));
    Launch::under("strace", ["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject])
        .args(["-b", "127.0.0.1:0", "hospital.healthchecks.predictable"])
        .args(args)
        .start()
}

/// The master under strace.
#[track_caller]
fn traced(server: &Server) -> i32 {
    let strace = processes::children(server.master());
    *strace.first().expect("it runs under strace")
}

// --- the log ---------------------------------------------------------------------------------------

#[test]
fn a_log_pipe_that_nobody_reads_any_more_stops_nothing() {
    let (server, pipe) = logging_to_a_pipe();
    drop(pipe);
    assert_works(server);
}

#[test]
fn a_log_pipe_that_nobody_reads_yet_stops_nothing() {
    let (server, pipe) = logging_to_a_pipe();
    // Two pages: the second one is free, and too small for the next log line.
    fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(8192)).expect("a pipe can be made smaller");
    assert_works(server);
    drop(pipe);
}

/// A server whose standard output and error are a pipe, and the reading end.
#[track_caller]
fn logging_to_a_pipe() -> (Server, File) {
    // A long name in the message, so that one line does not fit into the pipe.
    let long = format!("HEALTHCHECKS={}\n", "x".repeat(8000));
    let launch = Launch::script(r#"exec "$@" >"$PIPE" 2>&1"#, ["-w", "2", "--fd", "0"]);
    let (pipe, env) = (launch.path("pipe"), launch.path("env"));
    mkfifo(&pipe, Mode::S_IRWXU).expect("the directory is ours");
    std::fs::write(launch.path("bad"), long).expect("the directory is ours");
    std::fs::write(&env, "").expect("the directory is ours");
    let reader = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&pipe).expect("it is there");
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let server = launch
        .on(listener)
        .env("PIPE", &pipe.display().to_string())
        .args(["--env-file", &env.display().to_string()])
        .spawn();
    assert_eq!(get(&server.at, "/").status, 200);
    (server, reader)
}

/// It answers, refuses reloads, reloads, replaces workers, upgrades and ends, whatever becomes of its log.
#[track_caller]
fn assert_works(mut server: Server) {
    eventually("two workers are there", || server.workers().len() == 2);
    let load = Load::start(&server.at, Shape::default());
    let (env, bad) = (server.path("env"), server.path("bad"));
    std::fs::rename(&env, server.path("good")).expect("it is there");
    std::fs::rename(bad, &env).expect("it is there");
    server.signal(Signal::SIGHUP);
    // No signal is needed to wake it.
    load.wait_for_answers(20);
    within(Duration::from_secs(5), "the master waits for what comes next, not for the log", || {
        std::fs::read_to_string(format!("/proc/{}/wchan", server.master())).is_ok_and(|place| place.contains("poll"))
    });
    std::fs::rename(server.path("good"), &env).expect("it is there");
    let old = server.workers();
    eventually("it reloads", || {
        server.signal(Signal::SIGHUP);
        let now = server.workers();
        now.len() == 2 && now.iter().all(|pid| !old.contains(pid))
    });
    load.wait_for_answers(20);
    load.stop().assert_nothing_lost();
    send(server.workers()[0], Signal::SIGKILL);
    eventually("there are two again", || server.workers().len() == 2);
    server.signal(Signal::SIGUSR2);
    assert_eq!(server.wait(), Some(0), "the old master goes when the new one answers");
    assert_eq!(get(&server.at, "/").status, 200);
    // Nothing else has that pipe in its environment.
    let (old, mark) = (server.master(), format!("PIPE={}", server.path("pipe").display()));
    let is_heir = |&pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        pid != old
            && processes::name(pid) == "hospital:master"
            && environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let heir = processes::all().find(is_heir).expect("a new master answers");
    send(heir, Signal::SIGTERM);
    eventually("the new master heeds signals", || !processes::is_alive(heir));
}

#[test]
fn a_log_on_a_full_disk_stops_nothing() {
    let server = Server::start(["-w", "2", "--error-logfile", "/dev/full"]);
    let old = server.workers();
    server.signal(Signal::SIGHUP);
    eventually("it reloads", || {
        let now = server.workers();
        now.len() == 2 && now.iter().all(|pid| !old.contains(pid))
    });
    assert_eq!(get(&server.at, "/").status, 200);
}

#[test]
#[ignore = "needs root"]
fn lines_that_were_lost_on_a_full_disk_are_counted_when_there_is_room_again() {
    let server = on_a_small_disk(&["--error-logfile", "/mnt/log"]);
    let disk = disk_of(&server);
    let filler = disk.join("filler");
    fill(&filler);
    // The rest of the log's last page is soon full.
    for _ in 0..60 {
        let before = server.workers();
        server.signal(Signal::SIGHUP);
        eventually("it reloads", || server.workers().len() == 1 && server.workers() != before);
    }
    assert_eq!(get(&server.at, "/").status, 200);
    std::fs::remove_file(filler).expect("it is there");
    server.signal(Signal::SIGHUP);
    let log = || std::fs::read_to_string(disk.join("log")).unwrap_or_default();
    eventually("the log goes on", || log().contains("lines of this log were lost"));
}

#[test]
#[ignore = "needs root"]
fn a_pidfile_on_a_full_disk_is_refused_at_the_start() {
    let script = r#"mount -t tmpfs -o size=4k none /mnt && printf '%4096s' >/mnt/filler; exec "$@""#;
    let args = ["--mount", "sh", "-c", script, "sh"];
    let (code, said) = Launch::under("unshare", args).args(["-b", "127.0.0.1:0", "--pid", "/mnt/pid"]).refused();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--pid /mnt/pid: it cannot be written: No space left"), "{said}");
}

#[test]
#[ignore = "needs root"]
fn a_pidfile_on_a_full_disk_does_not_stop_an_upgrade() {
    let mut server = on_a_small_disk(&["--pid", "/mnt/pid"]);
    // The file has a page of its own, so it must be emptied.
    let pidfile = disk_of(&server).join("pid");
    File::options().write(true).open(&pidfile).and_then(|file| file.set_len(0)).expect("it is there");
    fill(&disk_of(&server).join("filler"));
    server.signal(Signal::SIGUSR2);
    assert_eq!(server.wait(), Some(0));
    assert_eq!(get(&server.at, "/").status, 200);
    server.logs("the pidfile cannot be written");
}

/// A server that has a file system of 32 KiB at /mnt.
#[track_caller]
fn on_a_small_disk(args: &[&str]) -> Server {
    let script = r#"mount -t tmpfs -o size=32k none /mnt && exec "$@""#;
    Launch::under("unshare", ["--mount", "sh", "-c", script, "sh"]).args(["-b", "127.0.0.1:0"]).args(args).start()
}

fn disk_of(server: &Server) -> std::path::PathBuf {
    Path::new("/proc").join(server.master().to_string()).join("root/mnt")
}

#[track_caller]
fn fill(path: &Path) {
    let full = std::fs::write(path, vec![0; 64 * 1024]).expect_err("it is more than there is room for");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
}

// --- files that every system has -------------------------------------------------------------------

#[test]
#[ignore = "needs root"]
fn a_machine_without_users_and_without_dev_null_is_told_what_it_lacks() {
    let empty = |folder: &str| {
        let script = format!(r#"mount -t tmpfs none {folder} && exec "$@""#);
        ["--mount", "sh", "-c", &script, "sh"].map(str::to_owned)
    };
    for (folder, args, lacks) in [
        ("/etc", ["-u", "daemon"], "there is no /etc/passwd to look the user up in: write its number"),
        ("/etc", ["-g", "daemon"], "there is no /etc/group to look the group up in: write its number"),
        ("/dev", ["--fd", "0"], "--fd 0 cannot be taken over: /dev/null: No such file or directory"),
    ] {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let (_, said) = Launch::under("unshare", empty(folder)).on(listener).args(args).refused();
        assert!(said.contains(lacks) && said.lines().count() == 1, "{args:?}: {said}");
    }
    for (folder, check, lacks) in [
        ("/etc", "file:/#owner=daemon", "there is no /etc/passwd to look the user up in: write its number"),
        ("/dev", "exec:/bin/true", "cannot run /bin/true: /dev/null: No such file or directory"),
    ] {
        let mut command = std::process::Command::new("unshare");
        command.args(empty(folder)).args([HOSPITAL, "check", check]);
        let run = once::run(command);
        assert!(run.stderr.contains(lacks), "{check}: {}", run.stderr);
    }
}

// --- the clock -------------------------------------------------------------------------------------

#[test]
#[ignore = "needs faketime"]
fn a_clock_that_jumps_changes_nothing_but_the_date() {
    let server = Launch::with_a_clock(["-b", "127.0.0.1:0", "-w", "2", "--timeout", "1"]).start();
    let workers = server.workers();
    let load = Load::start(&server.at, Shape::default());
    let year = || get(&server.at, "/").header("date").expect("each has one").split(' ').nth(3).map(str::to_owned);
    let now = year();
    // 30,000 days ago was before 1970.
    for jump in ["+3650d", "-3650d", "-30000d", "+0d"] {
        server.set_clock(jump);
        eventually("the date jumps", || (year() == now) == (jump == "+0d"));
        for path in ["/?format=html", "/metrics"] {
            assert_eq!(get(&server.at, path).status, 200, "{jump}: {path}");
        }
        // Time for the master to inspect its workers twice.
        load.wait_for_answers(500);
        std::thread::sleep(Duration::from_millis(1500));
    }
    load.stop().assert_nothing_lost();
    assert_eq!(server.workers(), workers);
    server.signal(Signal::SIGHUP);
    server.logs("reloaded: all workers");
}
