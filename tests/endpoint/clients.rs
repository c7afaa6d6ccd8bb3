//! Rude clients: slow, greedy, many, gone. None may keep the endpoint from answering the others.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::harness::*;
use socket2::SockRef;

/// How long a probe may take while there are rude clients: far below the timeouts of real probes.
const PROMPT: Duration = Duration::from_secs(2);

const HALF: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n";
const LIVE: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[track_caller]
fn assert_answers(server: &Server, why: &str) {
    let started = Instant::now();
    assert_eq!(get(&server.at, "/").status, 200, "{why}");
    assert!(started.elapsed() < PROMPT, "{why}: it took {:?}", started.elapsed());
}

#[test]
fn thousands_of_half_sent_requests_hold_up_nobody() {
    const MANY: usize = 2000;
    /// In user space, in a debug build: the connection, a small buffer, its place in slab and timers.
    const BYTES_A_CONNECTION: u64 = 2048;
    processes::allow_many_descriptors();
    let server = Server::start(["--worker-connections", "4000", "--header-timeout", "60s"]);
    let worker = server.workers()[0];
    let open = processes::sockets(worker);
    assert_answers(&server, "before");

    // Grown from the first hundred on: these also bring the code into memory that lets them in.
    const FIRST: usize = 100;
    let mut resident = 0;
    let mut held = Vec::new();
    for n in 0..MANY {
        if n == FIRST {
            resident = processes::number(worker, "RssAnon");
        }
        let mut client = Client::to(&server.at);
        client.send(HALF);
        held.push(client);
        if n % 50 == 0 {
            assert_answers(&server, "while they come");
        }
    }
    eventually("all of them are let in", || processes::sockets(worker) == open + MANY);
    for _ in 0..20 {
        assert_answers(&server, "while they wait");
    }
    let grown = (processes::number(worker, "RssAnon") - resident) * 1024;
    let each = grown / (MANY - FIRST) as u64;
    assert!(each < BYTES_A_CONNECTION, "{each} bytes a connection");

    for client in &mut held {
        client.send("\r\n");
    }
    for mut client in held {
        assert_eq!(client.answer().status, 200, "each is answered once it is complete");
    }
    eventually("all of them are let go", || processes::sockets(worker) == open);
}

#[test]
fn newcomers_are_answered_however_many_sit_there() {
    let server = Server::start(["--worker-connections", "10"]);
    let worker = server.workers()[0];
    let mut held = Vec::new();
    for n in 0..50 {
        let mut client = Client::to(&server.at);
        match n % 2 {
            0 => client.send(HALF),
            _ => {
                client.ask("/");
                assert_eq!(client.answer().status, 200, "newcomer {n}");
            }
        }
        held.push(client);
    }
    assert_answers(&server, "with every place taken");
    assert!(processes::sockets(worker) < 20, "{} connections are open", processes::sockets(worker));
}

#[test]
fn newcomers_are_answered_where_descriptors_run_out_before_places_do() {
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let server = Launch::script("ulimit -n 64; exec \"$@\"", ["--fd", "0"]).on(tcp).start();
    let _held: Vec<_> = (0..100)
        .map(|_| {
            let mut client = Client::to(&server.at);
            client.send(HALF);
            client
        })
        .collect();
    assert_answers(&server, "with every descriptor wanted");
    assert!(!server.stderr().contains("cannot accept"), "{}", server.stderr());
}

#[test]
fn a_client_that_never_reads_costs_little_and_is_let_go() {
    let server = Server::start::<_, &str>([]);
    let worker = server.workers()[0];
    let open = processes::sockets(worker);
    assert_answers(&server, "before");
    let resident = processes::number(worker, "RssAnon");
    let mut client = Client::to(&server.at);
    client.patience(Duration::from_millis(200));
    // Until the kernel's buffers are full on both sides and the server reads no more.
    let mut sent = 0;
    while client.try_send(LIVE.repeat(100)).is_ok() {
        sent += 100 * LIVE.len();
        assert!(sent < 1 << 30, "it is never held back");
    }
    assert_answers(&server, "beside it");
    let grown = processes::number(worker, "RssAnon").saturating_sub(resident);
    assert!(grown < 1024, "{grown} KiB more for one client");
    within(Duration::from_secs(30), "the client is let go", || processes::sockets(worker) == open);
}

#[test]
fn a_client_that_never_stops_asking_holds_up_nobody() {
    let server = Server::start(["--timeout", "2s"]);
    let worker = server.workers()[0];
    let Stream::Tcp(flood) = Client::to(&server.at).into_stream() else { panic!("it is TCP") };
    flood.set_read_timeout(Some(DEADLINE)).expect("it can be set");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let requests = LIVE.repeat(1000);
            // This ends when the server closes the connection or gives up on it.
            let _ = (0..).try_for_each(|_: u64| (&flood).write_all(requests.as_bytes()));
        });
        scope.spawn(|| {
            let mut buffer = vec![0; 1 << 20];
            let _ = (0..).try_for_each(|_: u64| (&flood).read_exact(&mut buffer));
        });
        let started = Instant::now();
        let probes: Vec<_> = std::iter::from_fn(|| {
            let asked = Instant::now();
            (started.elapsed() < Duration::from_secs(3)).then(|| try_get(&server.at, "/").map(|_| asked.elapsed()))
        })
        .collect();
        flood.shutdown(std::net::Shutdown::Both).expect("it is connected");
        for probe in &probes {
            let took = probe.as_ref().expect("each probe is answered");
            assert!(*took < PROMPT, "a probe took {took:?}");
        }
    });
    assert_eq!(server.workers(), [worker], "the worker was not taken for hung: {}", server.stderr());
}

#[test]
fn clients_that_reset_the_connection_are_forgotten() {
    let server = Server::start::<_, &str>([]);
    let worker = server.workers()[0];
    let open = processes::sockets(worker);
    for n in 0..200 {
        let mut client = Client::to(&server.at);
        let Stream::Tcp(stream) = client.stream() else { panic!("it is TCP") };
        // So that closing sends a reset: before, during or after the answer.
        SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).expect("a socket has that option");
        client.send(match n % 3 {
            0 => HALF.to_owned(),
            1 => LIVE.repeat(500),
            _ => LIVE.to_owned(),
        });
        if n % 3 > 0 && n % 2 == 0 {
            let _ = client.try_answer();
        }
    }
    eventually("no connection is left", || processes::sockets(worker) == open);
    assert_answers(&server, "afterwards");
    assert_eq!(server.workers(), [worker], "{}", server.stderr());
}

#[test]
fn clients_that_connect_and_say_nothing_hold_up_nobody() {
    let server = Server::start(["--worker-connections", "10"]);
    let silent: Vec<_> = (0..200).map(|_| Client::to(&server.at)).collect();
    assert_answers(&server, "beside them");
    drop(silent);
    assert_answers(&server, "after them");
}

#[test]
fn a_busy_endpoint_does_not_leak_descriptors_or_memory() {
    let server = Server::start::<_, &str>([]);
    let worker = server.workers()[0];
    let visit = |count: usize| {
        for n in 0..count {
            assert_eq!(get(&server.at, if n % 2 == 0 { "/" } else { "/nothing" }).status, [200, 404][n % 2]);
        }
    };
    let open = processes::sockets(worker);
    visit(200);
    let resident = processes::number(worker, "RssAnon");
    visit(2000);
    eventually("no connection is left", || processes::sockets(worker) == open);
    let grown = processes::number(worker, "RssAnon").saturating_sub(resident);
    assert!(grown < 512, "{grown} KiB more after 2,000 requests");
}

#[test]
fn a_client_that_leaves_with_its_last_byte_is_let_go_at_once() {
    let server = Server::start(["--header-timeout", "60", "--keep-alive", "60"]);
    let worker = server.workers()[0];
    let mut client = Client::to(&server.at);
    client.ask("/");
    assert_eq!(client.answer().status, 200);
    // So that the worker finds the bytes and the end together.
    send(worker, Signal::SIGSTOP);
    eventually("the worker stands still", || processes::state(worker) == Some('T'));
    client.send("GET / HT");
    client.stream().shut_writing();
    send(worker, Signal::SIGCONT);
    assert!(client.is_closed());
}

#[test]
fn a_client_that_is_not_waited_for_is_told_so() {
    let server = Server::start(["--keep-alive", "0"]);
    for request in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"] {
        let mut client = Client::to(&server.at);
        client.send(request);
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{request:?}");
        assert!(client.is_closed());
    }
}

#[test]
fn only_clients_who_may_see_details_are_told_the_prefix() {
    for (details, is_told) in [("always", true), ("never", false)] {
        let server = Server::start(["--prefix", "/elsewhere", "--details", details]);
        let answer = get(&server.at, "/");
        assert_eq!((answer.status, answer.body.contains("elsewhere")), (404, is_told), "{}", answer.body);
    }
}

#[test]
fn a_large_report_is_held_once_for_all_slow_clients_and_given_back() {
    const MANY: usize = 150;
    for cache in ["0s", "100ms"] {
        let launch = Launch::serve(["--cache", cache]);
        let (folder, gate) = (large_checks(&launch), launch.path("gate"));
        let names = format!("{} {}", folder.display(), metrics::gated(&gate));
        let server = launch.env("HEALTHCHECKS", &names).start();
        let worker = server.workers()[0];
        let open = processes::sockets(worker);
        metrics::open(&gate);
        let length = get(&server.at, "/").body.len();
        assert!(length > LARGE, "{length} bytes");
        std::fs::remove_file(&gate).expect("it was there");
        let resident = || processes::number(worker, "RssAnon");
        let before = resident();

        let mut slow: Vec<_> = (0..MANY).map(|_| Client::to(&server.at)).collect();
        slow.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
        eventually("all of them are let in", || processes::sockets(worker) == open + MANY);
        metrics::open(&gate);
        metrics::shows(&server, r#"hospital_requests_total{route="checks",code="2xx"}"#, (MANY + 1) as f64);
        let during = resident();
        println!("--cache {cache}: {before} KiB before, {during} KiB for {MANY} clients");
        assert!(during < 64 * 1024, "--cache {cache}: {during} KiB");
        assert_eq!(slow[0].answer().body.len(), length, "it is all there");
        drop(slow);
        eventually("all of them are let go", || processes::sockets(worker) == open);
        eventually("the memory is given back", || resident() * 10 <= before * 11);
    }
}

#[test]
fn a_client_that_reads_slowly_and_steadily_gets_a_large_report_whole() {
    let launch = Launch::serve([""; 0]);
    let checks = large_checks(&launch);
    let server = launch.env("HEALTHCHECKS", &checks.display().to_string()).start();
    let mut client = Client::to(&server.at);
    client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    // For longer than a client has to take some of it, in which it takes less than the kernel wants to have free in the
    // server's buffer before that may be written to again.
    let mut received = 0;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(15) {
        received += client.stream().read(&mut [0; 4096]).expect("it is being sent");
        std::thread::sleep(Duration::from_millis(100));
    }
    received += client.stream().read_to_end(&mut Vec::new()).expect("it is being sent");
    assert!(received > LARGE, "cut off after {received} bytes");
}

/// How long a report about [`large_checks`] is, at least.
const LARGE: usize = 8 << 20;

/// A folder of checks with long titles.
fn large_checks(launch: &Launch) -> std::path::PathBuf {
    let folder = launch.path("checks.d");
    std::fs::create_dir(&folder).expect("the directory is ours");
    for n in 0..16 {
        let title = "x".repeat(LARGE / 16);
        let check = format!("[[check]]\nname = 'large{n}'\nuse = 'load:'\nmax = '9999'\ntitle = '{title}'\n");
        std::fs::write(folder.join(format!("{n}.toml")), check).expect("the directory is ours");
    }
    folder
}
