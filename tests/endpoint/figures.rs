//! The figures that the endpoint promises when many clients ask at once, and beside slow checks and clients. What can
//! be counted is asserted as promised. Times are printed (`-- --nocapture`), and only asserted far above the promise,
//! as the machine may be busy:
//!
//! ```sh
//! cargo test --release --test integration figures -- --include-ignored --nocapture --test-threads 1
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::family::Family;
use crate::harness::*;

/// How many ask at once.
const CROWD: usize = 200;
const WORKERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(200);

#[test]
fn a_crowd_that_asks_at_once_costs_each_worker_two_rounds_at_most() {
    let directory = tempfile::tempdir().expect("there is room");
    let rounds = directory.path().join("rounds");
    let server =
        Launch::binding(["-b", "127.0.0.1:0", "-w", &WORKERS.to_string()]).env("HEALTHCHECKS", &noted(&rounds)).start();
    let mut crowd: Vec<_> = (0..CROWD).map(|_| Client::to(&server.at)).collect();
    let asked = Instant::now();
    crowd.iter_mut().for_each(|client| client.ask("/"));
    let all_asked = asked.elapsed();
    let answered: Vec<_> = crowd.iter_mut().map(|client| (client.answer().status, asked.elapsed())).collect();
    assert!(answered.iter().all(|(status, _)| *status == 200), "{answered:?}");
    let slowest = answered.iter().map(|(_, took)| *took).max().expect("there is a crowd");
    let began = std::fs::read_to_string(&rounds).expect("there were rounds");
    println!(
        "{CROWD} asked within {all_asked:?}, {} rounds, the slowest answer took {slowest:?}",
        began.lines().count()
    );
    assert!(began.lines().count() <= 2 * WORKERS, "{all_asked:?} {began}");
}

#[test]
fn a_crowd_that_a_worker_is_slow_to_let_in_shares_one_round() {
    let directory = tempfile::tempdir().expect("there is room");
    let (rounds, gate) = (directory.path().join("rounds"), directory.path().join("gate"));
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).expect("the directory is ours");
    let script = format!("echo%20>>{}%3B%20read%20line%20<{}", rounds.display(), gate.display());
    let checks = format!("gated=exec:/bin/sh#args=-c&args={script}");
    let server = Launch::binding(["-b", "127.0.0.1:0"]).env("HEALTHCHECKS", &checks).start();
    let worker = server.workers()[0];
    let began = || std::fs::read_to_string(&rounds).unwrap_or_default().lines().count();
    let mut kept: Vec<_> = (0..CROWD).map(|_| Client::to(&server.at)).collect();
    for client in &mut kept {
        client.ask("/livez");
        assert_eq!(client.answer().status, 200);
    }
    let mut first = Client::to(&server.at);
    first.ask("/");
    eventually("a round begins", || began() == 1);

    // The crowd comes and the round ends while the worker notices nothing.
    send(worker, Signal::SIGSTOP);
    eventually("the worker stands still", || processes::state(worker) == Some('T'));
    std::fs::write(&gate, "\n").expect("the check reads it");
    std::fs::remove_file(&gate).expect("the directory is ours");
    std::fs::write(&gate, "\n").expect("the directory is ours");
    let mut crowd: Vec<_> = kept.into_iter().chain((0..CROWD).map(|_| Client::to(&server.at))).collect();
    crowd.iter_mut().for_each(|client| client.ask("/"));
    send(worker, Signal::SIGCONT);
    for client in std::iter::once(&mut first).chain(&mut crowd) {
        let answer = client.answer();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert_eq!(began(), 2, "the round that ran, and the one that they share");
}

#[test]
fn a_crowd_that_asks_for_many_checks_that_cannot_block_shares_their_rounds() {
    let checks: Vec<_> = (0..500).map(|n| format!("l{n}=load:#max=9999")).collect();
    let server = Launch::binding(["-b", "127.0.0.1:0"]).env("HEALTHCHECKS", &checks.join(" ")).start();
    let rounds = || metrics::scrape(&server)[r#"hospital_rounds_total{outcome="pass"}"#];
    let before = rounds();
    let mut crowd: Vec<_> = (0..CROWD).map(|_| Client::to(&server.at)).collect();
    let asked = Instant::now();
    crowd.iter_mut().for_each(|client| client.ask("/"));
    let live = get(&server.at, "/livez");
    let live_took = asked.elapsed();
    assert!(crowd.iter_mut().all(|client| client.answer().status == 200) && live.status == 200);
    let ran = rounds() - before;
    println!("{CROWD} asked for 500 checks: {ran} rounds, {:?}; /livez within {live_took:?}", asked.elapsed());
    assert!(ran <= 10.0, "{ran} rounds");
}

#[test]
fn livez_is_answered_at_once_while_every_worker_runs_slow_checks() {
    let directory = tempfile::tempdir().expect("there is room");
    let (began, ended) = (directory.path().join("began"), directory.path().join("ended"));
    let script = format!("echo%20>>{}%3B%20sleep%205%3B%20echo%20>>{}", began.display(), ended.display());
    let checks = format!("slow=exec:/bin/sh#args=-c&args={script}&timeout=20s");
    let server = Launch::binding(["-b", "127.0.0.1:0", "-w", &WORKERS.to_string(), "--request-timeout", "20s"])
        .env("HEALTHCHECKS", &checks)
        .start();
    let lines = |path: &Path| std::fs::read_to_string(path).unwrap_or_default().lines().count();
    let _slow: Vec<_> = (1..=WORKERS)
        .map(|n| {
            let mut client = Client::to(&server.at);
            client.ask("/");
            eventually("a worker that was free takes the request", || lines(&began) == n);
            client
        })
        .collect();
    let times = Times::of(PROBES, || get(&server.at, "/livez"));
    assert_eq!(lines(&ended), 0, "every worker was busy all the time");
    times.show_and_assert("/livez beside four workers that run slow checks");
}

#[test]
fn livez_is_answered_by_the_worker_with_room_when_another_is_full() {
    let settings = ["-b", "127.0.0.1:0", "-w", "2", "--worker-connections", "2", "--request-timeout", "60s"];
    let launch = Launch::binding(settings);
    let gate = launch.path("gate");
    let server = launch.env("HEALTHCHECKS", &metrics::gated(&gate)).start();
    // Two workers with a round each, and one of them with a second client: that one has room for no more.
    let sockets = |worker: &i32| processes::sockets(*worker);
    // The listener is the only one that is watched with EPOLLEXCLUSIVE.
    let watches = |worker: &&i32| {
        let sets =
            processes::descriptors(**worker).into_iter().filter(|(_, link)| link.ends_with("anon_inode:[eventpoll]"));
        let mut watched =
            sets.filter_map(|(set, _)| std::fs::read_to_string(format!("/proc/{worker}/fdinfo/{set}")).ok());
        watched.any(|watched| watched.contains("events: 10000"))
    };
    let workers = server.workers();
    let at_first: usize = workers.iter().map(sockets).sum();
    let clients = [1, 2, 3].map(|count| {
        let mut client = Client::to(&server.at);
        client.ask("/");
        eventually("it is let in, and the round begins", || {
            let rounds = workers.iter().filter(|&&worker| !processes::children(worker).is_empty()).count();
            workers.iter().map(sockets).sum::<usize>() == at_first + count && rounds == count.min(2)
        });
        client
    });
    let with_room = workers.iter().min_by_key(|worker| sockets(worker)).expect("there are two");
    eventually("the one with room is open to all again", || watches(&with_room));
    for _ in 0..3 {
        assert_eq!(get(&server.at, "/livez").status, 200);
    }
    drop(clients);
}

#[test]
fn a_dead_or_stopped_worker_is_not_taken_for_a_free_one() {
    let start = |workers: &str| {
        let launch = Launch::binding(["-b", "127.0.0.1:0", "-w", workers, "--request-timeout", "60s"]);
        let gate = launch.path("gate");
        launch.env("HEALTHCHECKS", &metrics::gated(&gate)).start()
    };
    // Has a worker run a round that does not end: which one?
    let occupy = |server: &Server| {
        let mut client = Client::to(&server.at);
        client.ask("/");
        let mut busy = None;
        eventually("a round begins", || {
            busy = server.workers().into_iter().find(|&worker| !processes::children(worker).is_empty());
            busy.is_some()
        });
        (client, busy.expect("it was just seen"))
    };
    let stop = |worker| {
        send(worker, Signal::SIGSTOP);
        eventually("it stands still", || processes::state(worker) == Some('T'));
    };

    // One that is merely stopped looks as if it were free.
    let server = start("2");
    let (_client, busy) = occupy(&server);
    stop(server.workers().into_iter().find(|&worker| worker != busy).expect("there are two"));
    for _ in 0..3 {
        assert_eq!(get(&server.at, "/livez").status, 200);
    }

    // One that the master has sent away does not, even if it cannot go.
    let server = start("1");
    let old = server.workers()[0];
    stop(old);
    server.signal(Signal::SIGHUP);
    server.logs("reloaded: all workers");
    let median = || {
        let (_client, _) = occupy(&server);
        let mut times = Times::of(10, || get(&server.at, "/livez")).0;
        times.sort_unstable();
        times[5]
    };
    let beside_the_stopped = median();
    send(old, Signal::SIGKILL);
    eventually("it is dead", || server.workers().len() == 1);
    let beside_the_dead = median();
    // For so long the door is left to a worker that is free.
    let patience = Duration::from_millis(50);
    assert!(beside_the_stopped < patience && beside_the_dead < patience, "{beside_the_stopped:?} {beside_the_dead:?}");
}

#[test]
#[ignore = "needs slowhttptest"]
fn a_thousand_slow_headers_hold_up_no_probe() {
    beside_slowhttptest("slow headers", &["-H", "-i", "1"], SLOW);
}

#[test]
#[ignore = "needs slowhttptest"]
fn a_thousand_slow_bodies_hold_up_no_probe() {
    // A body is not read: each request is answered and closed, so they do not accumulate.
    beside_slowhttptest("slow bodies", &["-B", "-i", "1"], 0);
}

#[test]
#[ignore = "needs slowhttptest"]
fn a_thousand_slow_readers_hold_up_no_probe() {
    beside_slowhttptest("slow readers", &["-X", "-n", "1", "-w", "8", "-y", "16", "-z", "5"], SLOW);
}

/// How many slow connections there are.
const SLOW: usize = 1000;
/// How many probes are timed.
const PROBES: usize = 1000;
/// What a slow connection may cost in user space: the connection, its buffers, its place in slab and timers.
const BYTES_A_CONNECTION: u64 = 4 * 1024;

/// Probes a server that slowhttptest works on, until the wanted number of its connections has been open for a while, or
/// none is left.
#[track_caller]
fn beside_slowhttptest(what: &str, options: &[&str], wanted: usize) {
    let _alone = alone();
    processes::allow_many_descriptors();
    let checks = "hospital.healthchecks.predictable memory:#available=1B";
    let server = Launch::binding(["-b", "127.0.0.1:0", "-w", "2"]).env("HEALTHCHECKS", checks).start();
    let workers = server.workers();
    let total = |count: fn(i32) -> u64| workers.iter().map(|&pid| count(pid)).sum::<u64>();
    let resident = || total(|pid| processes::number(pid, "RssAnon")) * 1024;
    let sockets = || total(|pid| processes::sockets(pid) as u64) as usize;
    let idle = sockets();
    assert_eq!(get(&server.at, "/").status, 200);
    let before = resident();

    let At::Tcp(address) = server.at else { panic!("it serves {:?}", server.at) };
    let mut slow = Family::start(tempfile::tempdir().expect("there is room"), "slowhttptest", |command| {
        let count = SLOW.to_string();
        command.args(options).args(["-c", &count, "-r", &count, "-l", "60", "-u", &format!("http://{address}/")]);
    });
    let (mut times, mut most, mut since) = (Times::default(), 0, 0);
    while processes::is_alive(slow.head()) && since < PROBES / 2 {
        (0..10).for_each(|_| times.add(|| get(&server.at, "/")));
        most = most.max(sockets().saturating_sub(idle));
        since += if wanted > 0 && most >= wanted { 10 } else { 0 };
    }
    let grown = resident().saturating_sub(before);
    println!("{what}: {most} connections at the most, {} KiB more", grown / 1024);
    assert!(most >= wanted, "{most} connections at the most: {}", slow.text("stdout"));
    assert!(grown < SLOW as u64 * BYTES_A_CONNECTION, "{grown} bytes more");
    times.show_and_assert(what);
    send(slow.head(), Signal::SIGINT);
    slow.expect_extinct();
    assert_eq!(server.workers(), workers, "{}", server.stderr());
    eventually("all of them are let go", || sockets() == idle);
}

/// The times of good answers.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    #[track_caller]
    fn of(count: usize, ask: impl Fn() -> Answer) -> Times {
        let mut times = Times::default();
        (0..count).for_each(|_| times.add(&ask));
        times
    }

    #[track_caller]
    fn add(&mut self, ask: impl Fn() -> Answer) {
        let asked = Instant::now();
        let answer = ask();
        assert_eq!(answer.status, 200, "{}", answer.body);
        self.0.push(asked.elapsed());
    }

    /// Far above the promise, and far below the time of waiting for other clients.
    #[track_caller]
    fn show_and_assert(mut self, what: &str) {
        self.0.sort_unstable();
        let at = |percent: usize| self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)];
        let (median, late, last) = (at(50), at(99), at(100));
        println!("{what}: {} probes, median {median:?}, 99th percentile {late:?}, slowest {last:?}", self.0.len());
        assert!(late < Duration::from_secs(1), "{what}: 99th percentile {late:?}");
    }
}

/// A check that takes as long as [`PAUSE`] and appends a line to the file each time.
fn noted(file: &Path) -> String {
    format!(
        "slow=exec:/bin/sh#args=-c&args=date%20%2B%25s.%25N%20>>{}%3B%20sleep%20{}",
        file.display(),
        PAUSE.as_secs_f32()
    )
}
