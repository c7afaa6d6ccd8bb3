//! The cost of a round compared with that of its checks, and how late an answer is when a check never returns.
//!
//!     cargo bench --bench rounds
//!
//! The machine's speed drifts during a measurement, so a round and what it is compared with are measured alternately,
//! in pairs; each ratio is that of the medians. Exits with 1 if one exceeds its target.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use criterion::Criterion;
use hospital::model::check::{Check, Finding};
use hospital::model::report::Report;
use hospital::model::suite::Suite;
use hospital::round::Runner;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, SockAddr, Socket, Type};

const CHECK: Duration = Duration::from_millis(50);
const TIMEOUT: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let mut criterion = Criterion::default().configure_from_args().sample_size(30);
    let well = [
        many_checks_take_little_longer_than_one(&mut criterion),
        a_check_that_takes_no_time_costs_little(&mut criterion),
        connections_cost_little_more_than_by_themselves(&mut criterion),
        what_is_looked_at_on_our_side_costs_little(&mut criterion),
        a_stuck_check_costs_its_timeout(&mut criterion),
    ];
    criterion.final_summary();
    ExitCode::from(u8::from(well.contains(&false)))
}

fn many_checks_take_little_longer_than_one(criterion: &mut Criterion) -> bool {
    let mut clinic = Clinic::new((0..100).map(|n| check(format!("c{n}"), || sleep(CHECK))).collect());
    clinic.run();
    compare(criterion, "100 checks of 50 ms", 1.06, || sleep(CHECK), || assert!(clinic.run().passes()))
}

fn a_check_that_takes_no_time_costs_little(criterion: &mut Criterion) -> bool {
    let mut clinic = Clinic::new((0..100).map(|n| check(format!("c{n}"), || ())).collect());
    clinic.run();
    // There is nothing to compare it with: threads are woken, 100 times.
    let beside = || sleep(Duration::from_millis(1));
    compare(criterion, "100 checks that take no time", f64::INFINITY, beside, || assert!(clinic.run().passes()))
}

fn connections_cost_little_more_than_by_themselves(criterion: &mut Criterion) -> bool {
    const CONNECTIONS: usize = 1000;
    // A connection takes two descriptors, as the server is in this process, too.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("every process has limits");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("the soft limit may be raised");
    // Several, so that no address runs out of ports for its clients.
    let servers: Vec<_> = (0..10).map(|_| Server::listen(CONNECTIONS as i32)).collect();
    let targets = || (0..CONNECTIONS).map(|n| (n, &servers[n % servers.len()]));
    let names: Vec<_> = targets().map(|(n, server)| format!("c{n}=tcp://127.0.0.1:{}", server.port)).collect();
    let mut clinic = Clinic::new(hospital::collect(&names).expect("the names are well formed"));
    clinic.run();
    compare(
        criterion,
        "1000 tcp checks on loopback",
        1.5,
        || {
            let connections: Vec<_> = targets().map(|(_, server)| server.connect()).collect();
            connections.iter().for_each(connected);
            LetGo(&servers)
        },
        || {
            assert!(clinic.run().passes());
            LetGo(&servers)
        },
    )
}

fn what_is_looked_at_on_our_side_costs_little(criterion: &mut Criterion) -> bool {
    let server = Server::listen(200);
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free");
    let good = (0..97).map(|n| format!("c{n}=tcp://127.0.0.1:{}", server.port));
    let names: Vec<_> = good.chain((0..3).map(|n| format!("refused{n}=tcp://{free}"))).collect();
    let suite = hospital::collect(&names).expect("the names are well formed");
    let unexamined = suite.checks().iter().map(|check| {
        let mut check = Check::clone(check);
        check.controls = &[];
        Arc::new(check)
    });
    let (mut bare, mut ours) = (Clinic::new(unexamined.collect()), Clinic::new(suite.clone()));
    let servers = [server];
    let run = |clinic: &mut Clinic| {
        assert_eq!(clinic.run().summary().fail, 3);
        LetGo(&servers)
    };
    drop(run(&mut bare));
    drop(run(&mut ours));
    let name = "100 tcp checks, of which 3 are refused, with controls";
    compare(criterion, name, 1.1, || run(&mut bare), || run(&mut ours))
}

/// Accepts no connections: the kernel completes them, and [`LetGo`] closes them.
struct Server {
    listener: TcpListener,
    port: u16,
    address: SockAddr,
}

impl Server {
    fn listen(backlog: i32) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        // A second call changes the length of the queue.
        let socket = socket2::SockRef::from(&listener);
        socket.listen(backlog).and_then(|()| socket.set_nonblocking(true)).expect("it listens");
        let address = listener.local_addr().expect("it is bound");
        Server { listener, port: address.port(), address: address.into() }
    }

    fn connect(&self) -> Socket {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are descriptors");
        socket.set_nonblocking(true).expect("every socket can be");
        // It is in progress or already complete; writability will tell.
        let _ = socket.connect(&self.address);
        socket
    }
}

/// Makes the servers close their connections.
struct LetGo<'a>(&'a [Server]);

impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        for server in self.0 {
            while server.listener.accept().is_ok() {}
        }
    }
}

/// Waits until a connection is complete.
fn connected(socket: &Socket) {
    let mut wanted = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    poll(&mut wanted, PollTimeout::MAX).expect("one descriptor can be waited for");
    assert!(socket.take_error().is_ok_and(|error| error.is_none()), "the server listens");
}

fn a_stuck_check_costs_its_timeout(criterion: &mut Criterion) -> bool {
    let target = 1.0 + 0.1 / TIMEOUT.as_secs_f64();
    compare(
        criterion,
        "one that never returns beside 50 good ones",
        target,
        || sleep(TIMEOUT),
        || {
            let (stuck, _release) = stuck();
            let good = (0..50).map(|n| check(format!("c{n}"), || ()));
            let mut clinic = Clinic::new(good.chain([stuck]).collect());
            for _ in 0..2 {
                // The second round knows that the check is stuck, and does not wait for it.
                let summary = clinic.run().summary();
                assert_eq!((summary.pass, summary.error), (50, 1));
            }
        },
    )
}

/// Measures `ours` and `bare` and prints both; returns whether the ratio meets the target. What they return is dropped
/// after the clock has stopped.
fn compare<T>(
    criterion: &mut Criterion,
    name: &str,
    target: f64,
    mut bare: impl FnMut() -> T,
    mut ours: impl FnMut() -> T,
) -> bool {
    let mut times: [Vec<Duration>; 2] = Default::default();
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|pairs| {
            for _ in 0..pairs {
                times[0].push(timed(&mut bare));
                times[1].push(timed(&mut ours));
            }
            times[1][times[1].len() - pairs as usize..].iter().sum()
        });
    });
    let [Some(bare), Some(ours)] = times.map(median) else { return true };
    let ratio = ours.as_secs_f64() / bare.as_secs_f64();
    println!("{name}: {ours:.1?} beside {bare:.1?}, ratio {ratio:.3}, target at most {target:.2}\n");
    ratio <= target
}

fn timed<T>(action: &mut impl FnMut() -> T) -> Duration {
    let began = Instant::now();
    let _dropped_later = action();
    began.elapsed()
}

/// `None` when a filter has excluded the measurement.
fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// A runner that keeps its threads from round to round, as a worker does.
struct Clinic {
    suite: Suite,
    runner: Runner,
    wakes: Receiver<()>,
}

impl Clinic {
    fn new(suite: Suite) -> Clinic {
        let (woken, wakes) = mpsc::channel();
        Clinic { suite, runner: Runner::new(move || woken.send(()).unwrap_or_default()), wakes }
    }

    fn run(&mut self) -> Report {
        let mut round = self.runner.begin(self.suite.clone(), Duration::from_secs(10), Instant::now());
        while let Some(deadline) = round.next_deadline() {
            let _ = self.wakes.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            self.runner.advance(&mut round, Instant::now());
        }
        round.into_report(Instant::now())
    }
}

fn check(id: String, action: impl Fn() + Send + Sync + 'static) -> Arc<Check> {
    let run = move |_| {
        action();
        Finding::PASS
    };
    Arc::new(Check::new(id, run))
}

/// A check that waits until the sender is dropped.
fn stuck() -> (Arc<Check>, mpsc::Sender<()>) {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let wait = move |_| {
        let _ = gate.lock().map(|gate| gate.recv());
        Finding::PASS
    };
    (Arc::new(Check::new("stuck", wait).timeout(TIMEOUT)), release)
}
