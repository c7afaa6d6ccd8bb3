//! Listening sockets: passed by a parent or bound, in every state in which they may be found.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use crate::harness::*;
use socket2::{Domain, SockAddr, Socket, Type};

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free")
}

fn at(listener: &TcpListener) -> At {
    At::Tcp(listener.local_addr().expect("it is bound"))
}

/// A socket in a state in which std leaves none.
fn socket(domain: Domain, kind: Type) -> Socket {
    Socket::new(domain, kind, None).expect("the kernel has such sockets")
}

/// The boot ends with code 4 and one line that contains the words.
#[track_caller]
fn assert_refused(launch: Launch, words: &[&str]) -> String {
    let (code, stderr) = launch.refused();
    assert_eq!((code, stderr.lines().count()), (4, 1), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is missing: {stderr}");
    }
    stderr
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

// --- passed by a parent ----------------------------------------------------------------------------

#[test]
fn what_is_no_listening_socket_is_refused_with_a_line_of_its_own() {
    let directory = tempfile::tempdir().expect("there is room");
    let tcp = listener();
    let connected = TcpStream::connect(tcp.local_addr().expect("it is bound")).expect("it listens");
    let seqpacket = socket(Domain::UNIX, Type::SEQPACKET);
    seqpacket.bind(&SockAddr::unix(directory.path().join("seqpacket")).expect("it is short")).expect("it is free");
    let file = std::fs::File::open("/etc/passwd").expect("every system has it");
    let (pipe, _writer) = std::io::pipe().expect("there are descriptors");

    let passed =
        |fd: OwnedFd, word: &str| assert_refused(Launch::binding(["--fd", "0"]).stdin(fd), &["--fd 0 is", word]);
    let mut lines = vec![
        assert_refused(Launch::binding(["--fd", "0"]), &["--fd 0 is", "a terminal or another device"]),
        passed(file.into(), "a regular file"),
        passed(std::fs::File::open("/").expect("it is there").into(), "a directory"),
        passed(pipe.into(), "a pipe"),
        passed(UdpSocket::bind("127.0.0.1:0").expect("a port is free").into(), "a datagram socket"),
        passed(seqpacket.into(), "a seqpacket socket"),
        passed(connected.into(), "a connected socket"),
        passed(socket(Domain::IPV4, Type::STREAM).into(), "not bound"),
    ];
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 8, "each says something else: {lines:#?}");

    passed(UnixDatagram::bind(directory.path().join("datagram")).expect("it is free").into(), "a datagram socket");
    passed(UnixStream::pair().expect("there are descriptors").0.into(), "a connected socket");
    passed(socket(Domain::IPV6, Type::STREAM).into(), "not bound");
    passed(socket(Domain::UNIX, Type::STREAM).into(), "not bound");
}

#[test]
fn a_number_that_the_parent_left_closed_is_refused() {
    for args in [&["--fd", "3"][..], &["--fd", "99"], &["-b", "fd://3"]] {
        assert_refused(Launch::binding(args), &[&format!("--fd {}", &args[1].trim_start_matches("fd://")), "not open"]);
    }
}

#[test]
fn a_closed_number_is_not_taken_for_a_socket_or_file_of_our_own() {
    let directory = tempfile::tempdir().expect("there is room");
    let log = directory.path().join("log").display().to_string();
    let socket = unix(&directory.path().join("socket"));
    for args in
        [&["-b", "127.0.0.1:0", "-b", "fd://3"][..], &["-b", &socket, "-b", "fd://3"], &["-b", &socket, "-b", "fd://4"]]
    {
        assert_refused(Launch::binding(args), &["--fd", "not open"]);
    }
    assert_refused(Launch::binding(["--error-logfile", &log, "--fd", "3"]), &["--fd 3 is"]);
}

#[test]
fn one_descriptor_named_twice_is_refused() {
    let twice = Launch::binding(["--fd", "0", "-b", "fd://0"]).stdin(listener());
    assert_refused(twice, &["--fd 0", "twice"]);
}

#[test]
fn a_placeholder_that_circus_left_literal_is_explained() {
    for args in [["--fd", "$(circus.sockets.web)"], ["-b", "fd://$(circus.sockets.web)"]] {
        let (code, stderr) = refused(&args, &[]);
        assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
        assert!(stderr.contains("$(circus.sockets.web)") && stderr.contains("use_sockets = True"), "{stderr}");
    }
}

#[test]
fn a_passed_socket_is_served_under_any_number() {
    let tcp = listener();
    let at = at(&tcp);
    for (number, script) in [("0", "exec \"$@\""), ("7", "exec \"$@\" 7<&0 </dev/null")] {
        let passed = tcp.try_clone().expect("there are descriptors");
        let mut server = Launch::script(script, ["--fd", number]).stdin(passed).start();
        assert_eq!(get(&at, "/").status, 200, "as {number}");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "as {number}");
    }
}

#[test]
fn a_passed_socket_that_does_not_listen_yet_is_made_to() {
    let bound = socket(Domain::IPV4, Type::STREAM);
    bound.bind(&SockAddr::from(std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).expect("a port is free");
    let server = Launch::binding(["--fd", "0"]).stdin(bound).start();
    assert_eq!(get(&server.at, "/").status, 200);
}

#[test]
fn passed_unix_and_ipv6_sockets_are_served() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("socket");
    let passed: [OwnedFd; 2] = [
        UnixListener::bind(&path).expect("it is free").into(),
        TcpListener::bind("[::1]:0").expect("a port is free").into(),
    ];
    for fd in passed {
        let mut server = Launch::binding(["--fd", "0"]).stdin(fd).start();
        assert_eq!(get(&server.at, "/").status, 200, "{:?}", server.at);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0));
    }
    assert!(path.exists(), "it is the parent's to delete");
}

#[test]
fn somebody_else_may_clear_the_non_blocking_flag_of_a_shared_socket() {
    let tcp = listener();
    let mut server =
        Launch::serve(["-w", "4", "--graceful-timeout", "60s"]).on(tcp.try_clone().expect("it is open")).start();
    // The flag belongs to the open file, not to the descriptor: any process that shares it can change it.
    tcp.set_nonblocking(false).expect("it is open");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(get(&server.at, "/").status, 200)));
        }
    });
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0), "no worker waits in accept for ever");
}

#[test]
fn leaked_descriptors_do_not_reach_what_the_workers_start() {
    const O_CLOEXEC: u32 = 0o2_000_000;
    let server = Launch::script("exec \"$@\" 7<&0 8</etc/passwd 9<&0", ["--fd", "7"]).stdin(listener()).start();
    for pid in server.workers().into_iter().chain([server.master()]) {
        let kept: Vec<_> = processes::descriptors(pid)
            .into_iter()
            .filter(|&(fd, _)| fd > 2 && processes::descriptor_flags(pid, fd) & O_CLOEXEC == 0)
            .collect();
        assert!(kept.is_empty(), "{} keeps {kept:?} open in what it starts", processes::name(pid));
    }
}

// --- passed by systemd -----------------------------------------------------------------------------

/// LISTEN_FDS, with our own pid, as systemd sets it; the listener arrives as descriptor 0.
fn activated(variables: &str) -> String {
    format!("export LISTEN_PID=$$ {variables}; exec \"$@\" 3<&0 </dev/null")
}

#[test]
fn sockets_that_systemd_passes_are_served() {
    let tcp = listener();
    for variables in ["LISTEN_FDS=1", "LISTEN_FDS=1 LISTEN_FDNAMES=web"] {
        let passed = tcp.try_clone().expect("there are descriptors");
        let mut server = Launch::script(&activated(variables), ["-b", "127.0.0.1:0"]).stdin(passed).start();
        assert_eq!(get(&at(&tcp), "/").status, 200, "{variables}");
        assert_eq!(server.stdout().lines().count(), 1, "nothing else is bound: {}", server.stdout());
        server.logs("LISTEN_FDS passes the sockets to serve: --bind 127.0.0.1:0 is not bound");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0));
    }
}

#[test]
fn sockets_that_systemd_passed_to_another_process_are_not_ours() {
    let tcp = listener();
    for script in [
        "export LISTEN_PID=1 LISTEN_FDS=1; exec \"$@\" 3<&0 </dev/null",
        "export LISTEN_FDS=1; exec \"$@\" 3<&0 </dev/null",
    ] {
        let passed = tcp.try_clone().expect("there are descriptors");
        let server = Launch::script(script, ["-b", "127.0.0.1:0"]).stdin(passed).start();
        let At::Tcp(address) = server.at else { panic!("it binds a port") };
        assert_ne!(address, tcp.local_addr().expect("it is bound"));
        assert_eq!(get(&server.at, "/").status, 200);
    }
}

#[test]
fn a_flag_goes_before_what_systemd_passes() {
    let tcp = listener();
    let script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3</etc/passwd";
    let server = Launch::script(script, ["--fd", "0"]).stdin(tcp.try_clone().expect("it is open")).start();
    assert_eq!(get(&at(&tcp), "/").status, 200);
    assert_eq!(server.stdout().lines().count(), 1);
}

#[test]
fn what_systemd_passes_is_validated_too() {
    for (script, words) in [
        ("export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3</etc/passwd", &["LISTEN_FDS", "3", "regular file"]),
        ("export LISTEN_PID=$$ LISTEN_FDS=2; exec \"$@\" 3<&0", &["LISTEN_FDS", "2", "socket unit"]),
        ("export LISTEN_PID=$$ LISTEN_FDS=many; exec \"$@\" 3<&0", &["LISTEN_FDS", "many", "socket unit"]),
    ] {
        assert_refused(Launch::script(script, [""; 0]).stdin(listener()), words);
    }
}

// --- bound by us -----------------------------------------------------------------------------------

#[test]
fn it_says_where_it_serves_in_the_words_of_the_origin() {
    let server = Launch::binding(["--host", "0.0.0.0", "--port", "0"]).start();
    let At::Tcp(address) = server.at else { panic!("it binds a port") };
    assert_eq!(server.stdout(), format!("Serving on 0.0.0.0 port {}...\n", address.port()));
    assert_eq!(get(&server.at, "/").status, 200);
}

#[test]
fn a_port_in_use_is_refused() {
    let taken = listener();
    let address = taken.local_addr().expect("it is bound").to_string();
    assert_refused(Launch::binding(["-b", &address]), &[&address, "in use", "choose another port"]);
    // And what was bound before is released.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr().expect("it is bound").to_string();
    assert_refused(Launch::binding(["-b", &free, "-b", &address]), &[&address]);
    TcpListener::bind(&free).expect("it is free again");
}

#[test]
fn an_address_that_this_host_does_not_have_is_refused() {
    assert_refused(Launch::binding(["-b", "192.0.2.1:0"]), &["192.0.2.1", "no interface"]);
}

#[test]
fn a_port_is_free_again_as_soon_as_the_server_has_stopped() {
    let mut server = Launch::binding(["-b", "127.0.0.1:0"]).start();
    let At::Tcp(address) = server.at else { panic!("it binds a port") };
    // The server closes this connection, so its side of it stays in TIME_WAIT.
    assert_eq!(get(&server.at, "/").status, 200);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    let again = Launch::binding(["-b", &address.to_string()]).start();
    assert_eq!(get(&again.at, "/").status, 200);
}

#[test]
fn several_addresses_are_served_at_once() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("socket");
    let name = format!("hospital-{}", std::process::id());
    let tcp = listener();
    let server = Launch::binding(["--fd", "0", "-b", "127.0.0.1:0", "-b", "[::1]:0", "-b", &unix(&path)])
        .args(["-b", &format!("unix:@{name}"), "-w", "2"])
        .stdin(tcp.try_clone().expect("it is open"))
        .start();
    eventually("all are announced", || server.stdout().lines().count() == 5);
    for line in server.stdout().lines() {
        assert_eq!(get(&At::announced(line), "/").status, 200, "{line}");
    }
    assert!(server.stdout().contains("Serving on ::1 port "), "{}", server.stdout());
    assert!(server.stdout().contains(&format!("Serving on unix:@{name}...")), "{}", server.stdout());
}

#[test]
fn the_unspecified_address_of_ipv6_serves_ipv4_too() {
    let server = Launch::binding(["-b", "[::]:0", "--access-logfile", "-"]).start();
    let At::Tcp(address) = server.at else { panic!("it binds a port") };
    for host in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        assert_eq!(get(&At::Tcp((host, address.port()).into()), "/livez").status, 200, "{host}");
        eventually("it is logged as what it is", || server.stdout().contains(&format!("\n{host} - ")));
    }
}

#[test]
fn one_port_is_served_in_both_families() {
    let mut server = Launch::binding(["-b", "127.0.0.1:0"]).start();
    let At::Tcp(address) = server.at else { panic!("it binds a port") };
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    let both = Launch::binding(["-b", &format!("0.0.0.0:{}", address.port())])
        .args(["-b", &format!("[::]:{}", address.port())])
        .start();
    assert_eq!(get(&both.at, "/").status, 200);
    assert_eq!(get(&At::Tcp((Ipv6Addr::LOCALHOST, address.port()).into()), "/").status, 200);
}

// --- the file of a unix socket ---------------------------------------------------------------------

#[test]
fn the_file_of_a_live_server_is_left_alone() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("socket");
    let server = Launch::binding(["-b", &unix(&path)]).start();
    assert_refused(Launch::binding(["-b", &unix(&path)]), &[&unix(&path), "another server holds it"]);
    assert_eq!(get(&server.at, "/").status, 200, "the first one still answers there");

    // A server that is not hospital, and knows nothing of our lock.
    let path = directory.path().join("other");
    let _other = UnixListener::bind(&path).expect("it is free");
    assert_refused(Launch::binding(["-b", &unix(&path)]), &["a live server holds it"]);
    UnixStream::connect(&path).expect("it still listens there");
}

#[test]
fn the_file_that_a_dead_server_left_is_taken_over() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("socket");
    let dead = Launch::binding(["-b", &unix(&path)]).start();
    drop(dead); // which kills it
    assert!(path.exists(), "a killed server leaves it");
    let server = Launch::binding(["-b", &unix(&path)]).start();
    assert_eq!(get(&server.at, "/").status, 200);
}

#[test]
fn a_file_that_is_no_socket_is_not_deleted() {
    let directory = tempfile::tempdir().expect("there is room");
    let file = directory.path().join("precious");
    std::fs::write(&file, "data").expect("the directory is ours");
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&file, &link).expect("the directory is ours");
    for path in [&file, &link, &directory.path().to_owned()] {
        assert_refused(Launch::binding(["-b", &unix(path)]), &[&unix(path), "not a socket"]);
        // Such a file may mean something to others: `/etc/passwd.lock` keeps useradd out.
        let lock = format!("{}.lock", path.display());
        assert!(!std::path::Path::new(&lock).exists(), "{lock} is left");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("it is still there"), "data");
    assert_refused(Launch::binding(["-b", "unix:/no/such/directory/socket"]), &["/no/such/directory/socket"]);
}

#[test]
fn the_file_goes_with_the_server() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("socket");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Launch::binding(["-b", &unix(&path), "-w", "2"]).start();
        send(server.workers()[0], Signal::SIGKILL);
        eventually("the worker is replaced", || server.workers().len() == 2);
        assert_eq!(get(&server.at, "/").status, 200, "a dead worker does not take it along");
        server.signal(signal);
        assert_eq!(server.wait(), Some(0));
        assert!(!path.exists(), "after {signal}");
    }
}

#[test]
fn the_file_of_whoever_came_after_us_stays() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("socket");
    let mut server = Launch::binding(["-b", &unix(&path)]).start();
    std::fs::remove_file(&path).expect("it is there");
    let _successor = UnixListener::bind(&path).expect("it is free");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    UnixStream::connect(&path).expect("the successor is still reached");
}

#[test]
fn an_abstract_name_in_use_is_refused() {
    let name = format!("unix:@hospital-twice-{}", std::process::id());
    let server = Launch::binding(["-b", &name]).start();
    assert_refused(Launch::binding(["-b", &name]), &[&name, "in use"]);
    assert_eq!(get(&server.at, "/").status, 200);
}

#[test]
fn a_passed_socket_that_its_holder_shuts_down_makes_no_worker_spin() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).expect("it is free");
    let held = UnixStream::from(std::os::fd::OwnedFd::from(listener.try_clone().expect("there are descriptors")));
    let server = Launch::binding(["--fd", "0", "-b", "127.0.0.1:0"]).stdin(listener).start();
    held.shutdown(std::net::Shutdown::Both).expect("it listens");
    server.logs("another process that holds it has shut it down: going on without it");
    let worker = server.workers()[0];
    let at = server.stdout().lines().find(|line| line.contains("127.0.0.1")).map(At::announced).expect("it is bound");
    for _ in 0..3 {
        assert_eq!(get(&at, "/").status, 200);
    }
    let mut rests = 0;
    eventually("it rests, look after look", || {
        rests = if processes::state(worker) == Some('S') { rests + 1 } else { 0 };
        rests > 20
    });
    assert_eq!(server.workers(), [worker]);
}

#[test]
#[ignore = "needs strace"]
fn a_filter_that_refuses_to_defer_accept_keeps_no_server_from_starting() {
    // The first option that is set is SO_REUSEADDR, which is asked for on purpose.
    let inject = "inject=setsockopt:error=EPERM:when=2";
    let trace = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=setsockopt", "-e", inject];
    let server = Launch::under("strace", trace).args(["-b", "127.0.0.1:0"]).start();
    assert_eq!(get(&server.at, "/").status, 200);
}
