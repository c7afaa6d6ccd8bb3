//! What a supervisor is told, as it hears it: the messages of sd_notify(3) one by one, and the newline of --notify-fd.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use crate::harness::*;

#[test]
fn it_is_ready_once_and_says_who_serves_where() {
    let (_server, manager) = Manager::start(&["-w", "2"], &[]);
    let ready = manager.hear("READY=1");
    assert!(ready.contains("STATUS=2 of 2 workers serve on 127.0.0.1 port "), "{ready}");
}

#[test]
fn a_reload_begins_with_the_time_of_its_beginning_and_ends_with_ready() {
    let (server, manager) = Manager::start(&["-w", "2"], &[]);
    manager.hear("READY=1");
    server.signal(Signal::SIGHUP);
    // systemd only takes this for the reload that it asked for if both are in one message.
    let reloading = manager.next();
    let began = value(&reloading, "MONOTONIC_USEC").parse::<u64>().expect("it is a number");
    assert!(reloading.lines().any(|line| line == "RELOADING=1") && began > 0, "{reloading}");
    let ready = manager.hear("READY=1");
    assert!(ready.contains("; reloaded: generation 1 ("), "{ready}");
}

#[test]
fn a_reload_that_is_refused_is_over_and_stays_in_the_status() {
    let (server, manager) = Manager::start(&["-w", "1", "--env-file", "variables"], &[]);
    manager.hear("READY=1");
    std::fs::write(server.path("variables"), "HEALTHCHECKS=nowhere\n").expect("the directory is ours");
    server.signal(Signal::SIGHUP);
    manager.hear("RELOADING=1");
    let ready = manager.hear("READY=1");
    assert!(ready.contains("; reload refused: ") && ready.contains("nowhere"), "{ready}");
    // It stays visible, whatever changes then.
    server.signal(Signal::SIGTTIN);
    let status = manager.hear("2 of 2 workers");
    assert!(status.contains("; reload refused: "), "{status}");
}

#[test]
fn a_slip_beside_a_password_publishes_it_in_no_status_and_no_log() {
    let (server, manager) = Manager::start(&["-w", "1", "--env-file", "variables"], &[]);
    manager.hear("READY=1");
    for slip in [
        "HEALTHCHECKS=http:/user:hunter2@shop/",
        "HEALTHCHECKS=//user:hunter2@shop/",
        "HEALTHCHECKS=http://shop/#haeder=X-Token:%20hunter2",
        "HOSPITAL_BIND=http://user:hunter2@shop/",
        "HOSPITAL_TIMEOUT=hunter2",
    ] {
        std::fs::write(server.path("variables"), format!("{slip}\n")).expect("the directory is ours");
        server.signal(Signal::SIGHUP);
        manager.hear("RELOADING=1");
        let ready = manager.hear("READY=1");
        assert!(ready.contains("; reload refused: ") && !ready.contains("hunter2"), "{ready}");
    }
    assert!(!server.stderr().contains("hunter2"), "{}", server.stderr());
}

#[test]
fn a_reload_that_is_interrupted_is_ended_for_systemd() {
    let (server, manager) = Manager::start(&["-w", "2"], &[]);
    manager.hear("READY=1");
    // Both are there when it goes on.
    for signal in [Signal::SIGSTOP, Signal::SIGHUP, Signal::SIGWINCH, Signal::SIGCONT] {
        server.signal(signal);
    }
    manager.hear("RELOADING=1");
    let ready = manager.hear("READY=1");
    assert!(ready.contains("STATUS=0 of 2 workers") && ready.contains("; reload broken off: "), "{ready}");
    server.signal(Signal::SIGHUP);
    assert!(manager.hear("READY=1").contains("STATUS=2 of 2 workers serve"));
}

#[test]
#[ignore = "needs strace"]
fn nobody_is_told_ready_before_the_first_worker_answers() {
    let inject = "inject=clone,clone3,fork,vfork:error=EAGAIN";
    let trace = ["-qq", "-o", "/dev/null", "-e", "trace=clone,clone3,fork,vfork", "-e", inject];
    let launch = Launch::under("strace", trace).args(["-b", "127.0.0.1:0", "--env-file", "variables"]);
    let home = launch.path("");
    let write = |text| std::fs::write(home.join("variables"), text).expect("the directory is ours");
    write("");
    let (launch, manager) = Manager::of(launch.current_dir(&home));
    let server = launch.spawn();
    server.logs("cannot fork a worker");
    write("HEALTHCHECKS=nowhere\n");
    let master = processes::children(server.master())[0];
    send(master, Signal::SIGHUP);
    let first = manager.next();
    assert!(first.starts_with("STATUS=0 of 1 workers") && first.contains("; reload refused: "), "{first}");
    send(master, Signal::SIGTERM);
    assert!(manager.next().starts_with("STOPPING=1"));
}

#[test]
fn no_error_speaks_to_systemd_in_lines_of_its_own() {
    let launch = Launch::serve(["-w", "1"]);
    let home = launch.path("checks");
    std::fs::create_dir(&home).expect("the directory is ours");
    let write = |text: &str| std::fs::write(home.join("a.toml"), text).expect("the directory is ours");
    write("[[check]]\nuse = \"load:\"\n");
    let (launch, manager) = Manager::of(launch.args([&home]));
    let server = launch.start();
    manager.hear("READY=1");
    let long = "\u{1F3E5}".repeat(1000);
    let long = format!("/no/{long}");
    for bad in ["exec:/bin/no\\nMAINPID=1", "exec:no\\nMAINPID=1", "nothing\\nMAINPID=1", "no\" = \"toml", &long] {
        write(&format!("[[check]]\nuse = \"{bad}\"\n"));
        server.signal(Signal::SIGHUP);
        let ready = manager.hear("READY=1");
        let names: Vec<_> = ready.lines().map(|line| line.split('=').next().unwrap_or_default()).collect();
        assert_eq!(names, ["READY", "STATUS"], "{ready}");
        assert!(ready.contains("; reload refused: ") && ready.len() < 1100, "{ready}");
    }
}

#[test]
fn the_status_follows_the_number_of_workers() {
    let (server, manager) = Manager::start(&["-w", "2"], &[]);
    manager.hear("READY=1");
    server.signal(Signal::SIGTTOU);
    manager.hear("STATUS=1 of 1 workers serve");
}

#[test]
fn the_status_says_how_many_checks_failed() {
    let checks = "file:/no/such/file hospital.healthchecks.predictable.collected";
    let (server, manager) = Manager::start(&["--timeout", "1"], &[("HEALTHCHECKS", checks)]);
    assert!(!manager.hear("READY=1").contains("failed"), "none has run");
    assert_eq!(get(&server.at, "/").status, 500);
    // Noticed when the master inspects its workers.
    manager.hear("; 1 of 2 checks failed when last run");
}

#[test]
fn a_drain_asks_for_the_time_that_it_may_take() {
    assert_drain_asks_for("200", Duration::from_secs(201));
}

#[test]
fn a_drain_of_two_hours_is_asked_for_in_full() {
    assert_drain_asks_for("2h", Duration::from_secs(7201));
}

#[track_caller]
fn assert_drain_asks_for(graceful: &str, asked: Duration) {
    let (mut server, manager) = Manager::start(&["--drain-delay", "1", "--graceful-timeout", graceful], &[]);
    manager.hear("READY=1");
    server.signal(Signal::SIGTERM);
    let stopping = manager.hear("STOPPING=1");
    let extended = Duration::from_micros(value(&stopping, "EXTEND_TIMEOUT_USEC").parse().expect("it is a number"));
    assert!(extended > asked && extended < asked + Duration::from_secs(29), "{extended:?}");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn an_upgrade_names_the_new_master_before_anybody_listens_to_it() {
    let (server, manager) = Manager::start(&["-w", "2"], &[]);
    manager.hear("READY=1");
    let before = server.workers();
    server.signal(Signal::SIGUSR2);
    let message = manager.hear("MAINPID=");
    // For a reload that had not ended.
    assert!(message.starts_with("READY=1\n"), "{message}");
    let master: i32 = value(&message, "MAINPID").parse().expect("it is a number");
    assert_eq!(processes::name(master), "hospital:master");
    assert!(message.contains("STATUS=2 of 2 workers serve on "), "{message}");
    eventually("the old master is gone", || !processes::is_alive(server.master()));
    assert!(before.iter().all(|&pid| !processes::is_alive(pid)));
    // The next one reports for itself.
    send(master, Signal::SIGTTIN);
    manager.hear("STATUS=3 of 3 workers serve");
    send(master, Signal::SIGTERM);
    manager.hear("STOPPING=1");
    eventually("the new master is gone", || !processes::is_alive(master));
}

#[test]
fn a_notify_socket_that_nobody_reads_holds_up_nothing() {
    let (mut server, manager) = Manager::start(&["-w", "1"], &[]);
    manager.hear("READY=1");
    manager.fill();
    server.signal(Signal::SIGTTIN);
    eventually("another worker is there", || server.workers().len() == 2);
    server.signal(Signal::SIGHUP);
    server.logs("reloaded: all workers");
    // What matters is told as soon as there is room.
    let ready = manager.hear("READY=1");
    assert!(ready.contains("; reloaded: generation 1 ("), "{ready}");
    server.signal(Signal::SIGTTIN);
    manager.hear("STATUS=2 of 2 workers serve");
    manager.fill();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_notify_socket_may_have_an_abstract_name() {
    let name = format!("hospital-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("it is short");
    let socket = UnixDatagram::bind_addr(&address).expect("nobody else has it");
    socket.set_read_timeout(Some(DEADLINE)).expect("it is not zero");
    let _server = Launch::serve(["-w", "1"]).env("NOTIFY_SOCKET", &format!("@{name}")).start();
    Manager { socket }.hear("READY=1");
}

// --- the watchdog ------------------------------------------------------------------------------------

const PERIOD: Duration = Duration::from_millis(400);

#[test]
fn the_watchdog_is_fed_while_one_worker_of_two_can_answer() {
    let (server, manager) = Manager::start(&["-w", "2"], &[("WATCHDOG_USEC", "400000")]);
    send(server.workers()[0], Signal::SIGSTOP);
    for _ in 0..4 {
        let waited = Instant::now();
        manager.hear("WATCHDOG=1");
        assert!(waited.elapsed() < PERIOD, "{:?}", waited.elapsed());
    }
}

#[test]
fn the_watchdog_is_not_fed_while_every_worker_is_stopped() {
    let (server, manager) = Manager::start(&["-w", "2"], &[("WATCHDOG_USEC", "400000")]);
    manager.hear("WATCHDOG=1");
    server.workers().iter().for_each(|&pid| send(pid, Signal::SIGSTOP));
    server.logs("every worker is stuck");
    assert!(!manager.is_fed_within(PERIOD * 2));
    server.workers().iter().for_each(|&pid| send(pid, Signal::SIGCONT));
    manager.hear("WATCHDOG=1");
}

#[test]
fn the_watchdog_is_not_fed_while_all_workers_are_paused() {
    let (server, manager) = Manager::start(&["-w", "2"], &[("WATCHDOG_USEC", "400000")]);
    manager.hear("WATCHDOG=1");
    server.signal(Signal::SIGWINCH);
    eventually("they are gone", || server.workers().is_empty());
    assert!(!manager.is_fed_within(PERIOD * 2));
    server.signal(Signal::SIGHUP);
    manager.hear("WATCHDOG=1");
}

#[test]
#[ignore = "needs strace"]
fn the_watchdog_is_not_fed_while_every_worker_hangs() {
    // The timeout of the workers is longer.
    let (server, manager) = Manager::start(&["-w", "2", "--timeout", "60"], &[("WATCHDOG_USEC", "400000")]);
    manager.hear("WATCHDOG=1");
    let workers = server.workers();
    let inject = "inject=sendto:delay_enter=100000000";
    let _straces: Vec<_> = workers
        .iter()
        .map(|worker| {
            let directory = tempfile::tempdir().expect("there is room");
            let strace = family::Family::start(directory, "strace", |command| {
                let trace = ["-qq", "-o", "/dev/null", "-e", "trace=sendto", "-e", inject];
                command.args(trace).args(["-p", &worker.to_string()]);
            });
            eventually("it is traced", || processes::status(*worker, "TracerPid") == strace.head().to_string());
            strace
        })
        .collect();
    // Each takes one, and never returns from answering it.
    let _clients: Vec<_> = workers
        .iter()
        .map(|_| {
            let mut client = Client::to(&server.at);
            client.ask("/");
            client
        })
        .collect();
    server.logs("every worker is stuck");
    assert!(!manager.is_fed_within(PERIOD * 2));
    assert_eq!(server.workers(), workers);
}

#[test]
fn the_watchdog_is_not_fed_while_no_worker_can_boot() {
    let (server, manager) = Manager::start(&["-w", "1"], &[("WATCHDOG_USEC", "400000")]);
    manager.hear("WATCHDOG=1");
    processes::limit_descriptors(server.master(), 3);
    send(server.workers()[0], Signal::SIGKILL);
    server.logs("cannot go on: Too many open files");
    eventually("it is not fed any more", || !manager.is_fed_within(PERIOD * 2));
    processes::limit_descriptors(server.master(), 1024);
    manager.hear("WATCHDOG=1");
}

// --- --notify-fd -------------------------------------------------------------------------------------

#[test]
fn a_newline_on_the_descriptor_says_that_it_answers() {
    let server = Launch::script("exec 3>notified; exec \"$@\"", ["-b", "127.0.0.1:0", "--notify-fd", "3"]);
    let directory = server.path("");
    let server = server.current_dir(&directory).start();
    assert_eq!(std::fs::read(server.path("notified")).expect("the shell has made it"), b"\n");
    assert_eq!(get(&server.at, "/").status, 200);
    for pid in server.workers().into_iter().chain([server.master()]) {
        assert!(!processes::descriptors(pid).values().any(|link| link.ends_with("notified")), "{pid} has closed it");
    }
    // By then, the number belongs to another descriptor.
    server.signal(Signal::SIGUSR2);
    server.logs("the new master (pid");
    server.logs("stopped");
    assert_eq!(get(&server.at, "/").status, 200);
    assert_eq!(std::fs::read(server.path("notified")).expect("the shell has made it"), b"\n");
}

#[test]
fn a_descriptor_that_is_none_to_write_to_is_refused() {
    // If this were not checked early, the log would have that number.
    let args = ["-b", "127.0.0.1:0", "--notify-fd", "3", "--error-logfile", "/dev/null"];
    for (redirection, complaint) in [
        ("exec 3>&-", "the parent has left no such descriptor open"),
        ("exec 3</dev/null", "nothing can be written to it"),
    ] {
        let (code, said) = Launch::script(&format!("{redirection}; exec \"$@\""), args).refused();
        assert_eq!(code, 2, "{redirection}");
        assert!(said.contains("--notify-fd 3: ") && said.contains(complaint), "{said}");
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let script = "exec 3<&0 0</dev/null; exec \"$@\"";
    let (code, said) = Launch::script(script, ["--fd", "3", "--notify-fd", "3"]).stdin(listener).refused();
    assert_eq!((code, said.contains("--notify-fd 3: nothing can be written to it")), (2, true), "{said}");
    let (code, said) = refused(&["-b", "127.0.0.1:0", "--notify-fd", "1"], &[]);
    assert_eq!((code, said.contains("--notify-fd")), (2, true), "{said}");
}

// --- a service manager -------------------------------------------------------------------------------

/// Listens at $NOTIFY_SOCKET, as systemd does.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// A server with this service manager, and with an empty file `variables` in its directory.
    #[track_caller]
    fn start(args: &[&str], env: &[(&str, &str)]) -> (Server, Manager) {
        let launch = Launch::serve(args);
        let home = launch.path("");
        std::fs::write(home.join("variables"), "").expect("the directory is ours");
        let launch = env.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        let (launch, manager) = Manager::of(launch.current_dir(&home));
        (launch.start(), manager)
    }

    /// The service manager of a server to be.
    #[track_caller]
    fn of(launch: Launch) -> (Launch, Manager) {
        let path = launch.path("notify");
        let socket = UnixDatagram::bind(&path).expect("the directory is ours");
        socket.set_read_timeout(Some(DEADLINE)).expect("it is not zero");
        (launch.env("NOTIFY_SOCKET", path.to_str().expect("it is UTF-8")), Manager { socket })
    }

    /// Leaves no room for another message.
    fn fill(&self) {
        let address = self.socket.local_addr().expect("it is bound");
        // By a sender of its own each, for there is a limit for each sender, too.
        let fits = || {
            let sender = UnixDatagram::unbound().expect("there is a descriptor");
            sender.set_nonblocking(true).expect("it is ours");
            sender.send_to_addr(b"nothing", &address).is_ok()
        };
        while fits() {}
    }

    /// The next message, whatever it says, except those for the watchdog.
    #[track_caller]
    fn next(&self) -> String {
        loop {
            let message = self.receive().expect("there is a message in time");
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    /// Waits for a message that contains this text.
    #[track_caller]
    fn hear(&self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut heard = Vec::new();
        while Instant::now() < deadline {
            let Some(message) = self.receive() else { break };
            if message.contains(text) {
                return message;
            }
            heard.push(message);
        }
        panic!("no message has {text:?}; there were {heard:?}");
    }

    /// Whether the watchdog is fed within this time. What was sent before does not count.
    fn is_fed_within(&self, time: Duration) -> bool {
        self.socket.set_nonblocking(true).expect("it is a socket");
        while self.receive().is_some() {}
        self.socket.set_nonblocking(false).expect("it is a socket");
        let until = Instant::now() + time;
        self.socket.set_read_timeout(Some(time)).expect("it is not zero");
        let mut fed = false;
        while !fed && Instant::now() < until {
            fed = self.receive().is_some_and(|message| message.contains("WATCHDOG=1"));
        }
        self.socket.set_read_timeout(Some(DEADLINE)).expect("it is not zero");
        fed
    }

    fn receive(&self) -> Option<String> {
        let mut bytes = [0; 8192];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).trim_end().to_owned())
    }
}

#[track_caller]
fn value<'a>(message: &'a str, name: &str) -> &'a str {
    let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("{message:?} has no {name}"))
}
