//! Tries what has to work on our side, beside the checks: at most once a round, and only what a finding depends on.
//!
//! A bad finding asks for those controls of its kind that it may come of. A good one asks for the few that could have made it
//! look good, once in [`EVERY`], and in each round while they fail.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Read, Seek, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use socket2::{Domain, Socket, Type};

use super::{our_changes, self_portrait};
use crate::model::attribution::{address, attributed, concerns, refused_by, reset_by};
use crate::model::blame::Blame;
use crate::model::check::{Check, Finding};
use crate::model::clocks;
use crate::model::control::Control;
use crate::model::duration;
use crate::model::episode::CheckRecord;
use crate::model::suite::Suite;
use crate::model::transcript::Field;
use crate::os::child::{self, Bounds, End};
use crate::os::descriptors::Ready;
use crate::os::{cgroup, clock, descriptors, network, ourselves, shared};

/// How long what was tried for a good finding is believed.
const EVERY: Duration = Duration::from_secs(10);

/// How long what was good for a bad finding is believed for those of later rounds: in a crowd of them it costs next to nothing.
const AGAIN: Duration = Duration::from_millis(100);

/// How long anything here may take.
const LIMIT: Duration = Duration::from_millis(250);

/// The difference to an honest clock that is no step: NTP clients slew less.
const STEP: i64 = 2;

/// For so long a step of the clock is doubted, unless somebody keeps the clock right.
const DOUBTED: Duration = Duration::from_secs(3600);

/// Whether the program that runs is our command line, and not one that we are a part of: only ours may be started.
static IS_PROGRAM: AtomicBool = AtomicBool::new(false);

/// The program that runs is our command line.
pub(crate) fn is_program() {
    // From now on, a step of the clock is noticed.
    ourselves::clock_step();
    IS_PROGRAM.store(true, Ordering::Relaxed);
}

/// Tells what is remembered of a check.
type RecordOf = Box<dyn Fn(&Check) -> Option<Arc<CheckRecord>> + Send + Sync>;

/// The controls of a process, and how they last ended.
#[derive(Default)]
pub(super) struct Controls {
    /// How each last ended. Whoever tries one holds its place, so that only those wait who need the same.
    tried: [Mutex<Option<Tried>>; Control::ALL.len()],
    /// Held for a moment only.
    seen: Mutex<Seen>,
    /// What is remembered of a check, where anything is.
    record: OnceLock<RecordOf>,
}

/// What was seen of this host before, to be compared.
#[derive(Debug, Default)]
struct Seen {
    /// How often packets had been lost on the way out when that was last looked at.
    lost: Option<u64>,
    /// The step of the clock that was noticed last, and when.
    stepped: Option<(i64, Instant)>,
    /// The step that is taken for right by now.
    accepted: i64,
    /// How often our control groups had been out of tasks and of memory.
    shortages: Option<(u64, u64)>,
    /// How often our control groups had been out of their CPU time.
    throttled: Option<u64>,
}

/// How a control ended.
#[derive(Debug)]
struct Tried {
    round: u64,
    at: Instant,
    /// Whether it was for a good finding, which is believed more easily.
    is_for_good: bool,
    /// What fails, and how.
    failure: Option<String>,
}

impl Controls {
    /// Remembers how things are before the first check runs.
    pub(super) fn prepare(&self, suite: &Suite) {
        let mut seen = lock(&self.seen);
        if seen.lost.is_none() && suite.checks().iter().any(|check| check.controls.contains(&Control::Output)) {
            seen.lost = Some(ourselves::lost_on_the_way_out().unwrap_or_default());
        }
        if seen.shortages.is_none() && suite.checks().iter().any(|check| check.controls.contains(&Control::Start)) {
            seen.shortages = Some(cgroup::shortages());
        }
    }

    /// From now on, what is remembered of a check counts.
    pub(super) fn remember(&self, record: impl Fn(&Check) -> Option<Arc<CheckRecord>> + Send + Sync + 'static) {
        let _ = self.record.set(Box::new(record));
    }

    /// What a check has found in this thread in so long, with its blame, unless a control fails that it depends on.
    pub(super) fn examined(&self, check: &Check, mut found: Finding, elapsed: Duration, round: u64) -> Finding {
        let waited = check.controls.contains(&Control::CpuTime) && concerns(Control::CpuTime, &found);
        let waited = waited.then(|| Waited::in_this_run(elapsed)).flatten();
        if let Some(waited) = &waited {
            found.transcript.get_or_insert_default().add(Field::OurWaitMs, waited.time.as_millis());
        }
        let concerning = check.controls.iter().copied().filter(|control| concerns(*control, &found));
        let failing = concerning.into_iter().find_map(|control| match control {
            Control::CpuTime => waited
                .as_ref()
                .and_then(|waited| waited.failure(elapsed))
                .or_else(|| stood_still(check.timeout, elapsed))
                .or_else(|| self.failing(control, &found, round)),
            // It is of this address.
            Control::Output if refused_by(&found).is_some() => refused_by(&found).and_then(rejected_here),
            Control::Output if reset_by(&found).is_some() => {
                reset_by(&found).and_then(|address| broken_here(address, check.timeout.saturating_sub(elapsed) / 4))
            }
            control => self.failing(control, &found, round),
        });
        let mut found = attributed(found, check.code, failing.as_deref());
        // What else is there to be told of it has to be told before the round gives up.
        let left = check.timeout.saturating_sub(elapsed) / 4;
        if found.blame == Some(Blame::Path)
            && let Some(dropped) = address(&found).and_then(|address| drops_what_comes(address, left))
        {
            found.transcript.get_or_insert_default().add(Field::OurDrops, if dropped { "some" } else { "none" });
        }
        if let Some(record) = self.record.get() {
            // Here, and not where the round is: the files that may have changed may be on a mount that does not answer.
            our_changes::weigh(check, &mut found, || record(check));
        }
        self_portrait::note(&mut found);
        found
    }

    /// Tries a control, unless that was done in this round; says what fails.
    fn failing(&self, control: Control, found: &Finding, round: u64) -> Option<String> {
        let mut place = lock(&self.tried[control as usize]);
        let now = Instant::now();
        let is_good = !found.status.is_bad();
        let is_known = |tried: &Tried| {
            let believed = match (is_good, tried.is_for_good) {
                (true, _) => EVERY,
                (false, false) => AGAIN,
                (false, true) => Duration::ZERO,
            };
            tried.round == round || (tried.failure.is_none() && now.duration_since(tried.at) < believed)
        };
        if !place.as_ref().is_some_and(is_known) {
            *place = Some(Tried { round, at: now, is_for_good: is_good, failure: self.failure(control, now) });
        }
        place.as_ref().and_then(|tried| tried.failure.clone())
    }

    fn failure(&self, control: Control, now: Instant) -> Option<String> {
        match control {
            Control::Descriptor => {
                descriptors::pipe().err().map(|error| format!("no descriptor can be opened: {error}"))
            }
            Control::Loopback => loopback(),
            Control::ClosedPort => {
                lock(&self.seen).lost = ourselves::lost_on_the_way_out();
                closed_port()
            }
            Control::Name => name(),
            Control::Start => lock(&self.seen).short_of().or_else(no_room).or_else(start),
            Control::File => file().err().map(|error| format!("no file can be written and read here: {error}")),
            Control::Clock => wrong().or_else(|| {
                lock(&self.seen).clock(ourselves::clock_step(), || clock::is_synchronised() == Some(true), now)
            }),
            Control::Output => lock(&self.seen).output(),
            Control::CpuTime => {
                let throttled = cgroup::throttled().map(|(_, throttled)| throttled);
                // Where groups tell that none of them was out of time since, it need not be tried, which takes CPU time itself.
                if throttled.is_some() && std::mem::replace(&mut lock(&self.seen).throttled, throttled) == throttled {
                    return None;
                }
                ourselves::starves().map(|took| format!("a moment of work took {}, for want of a CPU", millis(took)))
            }
        }
    }
}

/// What is behind it is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    /// By so many seconds the clock was set since the beginning, and somebody keeps it right, or nobody. That is asked only after a
    /// step: a system call filter may take it amiss.
    fn clock(&mut self, step: i64, is_kept: impl FnOnce() -> bool, now: Instant) -> Option<String> {
        let step = step - self.accepted;
        if step.abs() < STEP {
            self.stepped = None;
            return None;
        }
        let since = self.stepped.filter(|(last, _)| (last - step).abs() < STEP).map_or(now, |(_, since)| since);
        self.stepped = Some((step, since));
        if is_kept() || now.duration_since(since) >= DOUBTED {
            self.accepted += step;
            self.stepped = None;
            return None;
        }
        let far = duration::spoken(Duration::from_secs(step.unsigned_abs()));
        let way = if step > 0 { "ahead" } else { "back" };
        Some(format!("the clock of this host was set {way} by {far}, and nobody keeps it right"))
    }

    /// What programs have lacked that ran since this was last looked at.
    fn short_of(&mut self) -> Option<String> {
        let now = cgroup::shortages();
        let (tasks, kills) = self.shortages.replace(now)?;
        match now {
            (more, _) if more > tasks => {
                Some("a control group of ours had as many tasks as it may (pids.max)".to_owned())
            }
            (_, more) if more > kills => Some("a control group of ours was out of memory".to_owned()),
            _ => None,
        }
    }

    fn output(&mut self) -> Option<String> {
        let now = ourselves::lost_on_the_way_out()?;
        let before = self.lost.replace(now)?;
        (now > before)
            .then(|| "packets are dropped before they leave this host, as by a firewall of its own".to_owned())
    }
}

/// When it was seen last that others have refused or reset connections to these addresses, and not this host. Held while that is tried:
/// it takes to count the packets of this host, of which another's are.
static BY_OTHERS: Mutex<BTreeMap<SocketAddr, Instant>> = Mutex::new(BTreeMap::new());

/// Whether that was only just now.
fn is_known(by_others: &mut BTreeMap<SocketAddr, Instant>, address: SocketAddr) -> bool {
    by_others.retain(|_, at| at.elapsed() < AGAIN);
    by_others.contains_key(&address)
}

/// Whether it is this host that refuses connections to another one. If it tells itself so by ICMP, it counts that; if it resets
/// them, the packet that asks for one has never left.
fn rejected_here(address: SocketAddr) -> Option<String> {
    const TRIES: usize = 2;
    // Where nobody listens, this host refuses as any other does.
    if address.ip().is_loopback() || network::way_to(address).ok()? == address.ip() {
        return None;
    }
    let mut by_others = lock(&BY_OTHERS);
    if is_known(&mut by_others, address) {
        return None;
    }
    let is_counted = || {
        let before = ourselves::rejected()?;
        let _ = TcpStream::connect_timeout(&address, LIMIT);
        Some(ourselves::rejected()? > before)
    };
    // What is counted once may be of others.
    let is_ours = (0..TRIES).all(|_| is_counted() == Some(true)) || is_reset_here(address) == Some(true);
    if !is_ours {
        by_others.insert(address, Instant::now());
        return None;
    }
    Some(format!("connections to {address} are refused by this host, as by a firewall of its own"))
}

/// Whether all that is sent in an attempt to connect is shorter than what asks for a connection, as the reset is that a filter
/// sends to its own host. Where others send meanwhile, it is tried again; `None`: they do so all the time.
fn is_reset_here(address: SocketAddr) -> Option<bool> {
    const TRIES: usize = 8;
    const PAUSE: Duration = Duration::from_millis(1);
    // The headers of IP and TCP. What asks for a connection has options, of 40 bytes at most, and a reset has none.
    let reset = if address.is_ipv4() { 20 + 20 } else { 40 + 20 };
    (0..TRIES).find_map(|tried| {
        if tried > 0 {
            thread::sleep(PAUSE);
        }
        let before = ourselves::sent(address.is_ipv4())?;
        let answer = TcpStream::connect_timeout(&address, LIMIT);
        let sent = ourselves::sent(address.is_ipv4())?.checked_sub(before)?;
        let is_refused = answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        (is_refused && (reset..=reset + 40).contains(&sent)).then_some(sent == reset)
    })
}

/// Whether it is this host that resets a connection to another one once that is made, as far as it does so before anything is sent: then
/// the last packet of the handshake does not leave, and is longer than the reset that a filter sends to its own host.
fn broken_here(address: SocketAddr, limit: Duration) -> Option<String> {
    const TRIES: usize = 8;
    const LONGEST_WAIT: Duration = Duration::from_millis(50);
    if address.ip().is_loopback() || network::way_to(address).ok()? == address.ip() {
        return None;
    }
    let mut by_others = lock(&BY_OTHERS);
    if is_known(&mut by_others, address) {
        return None;
    }
    // With times in them; without, both are as long.
    let (asked, reset, made) = if address.is_ipv4() { (60, 40, 52) } else { (80, 60, 72) };
    for _ in 0..TRIES {
        let before = ourselves::sent(address.is_ipv4())?;
        let connection = Socket::new(Domain::for_address(address), Type::STREAM, None).ok()?;
        let broken = match connection.connect_timeout(&address.into(), LIMIT) {
            Ok(()) => {
                descriptors::wait(&connection, Ready::ToRead, Instant::now() + limit.min(LONGEST_WAIT)).ok()?;
                connection.take_error().ok()?
            }
            Err(error) => Some(error),
        };
        let is_reset = broken.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionReset);
        if !network::tcp(&connection)?.has_timestamps {
            return None;
        }
        let sent = ourselves::sent(address.is_ipv4())?.checked_sub(before)?;
        match is_reset {
            true if sent == asked + reset => {
                return Some(format!("connections to {address} are reset by this host, as by a firewall of its own"));
            }
            // Something else was sent meanwhile.
            true if sent != asked + made => continue,
            true | false => {}
        }
        by_others.insert(address, Instant::now());
        return None;
    }
    None
}

/// Whether packets that come are dropped here while one that is silent is tried again: of it or of others. `None`: it is not
/// silent, or that is not known.
fn drops_what_comes(address: SocketAddr, limit: Duration) -> Option<bool> {
    const LEAST: Duration = Duration::from_millis(1);
    let before = ourselves::dropped_on_the_way_in(address.is_ipv4())?;
    let silent = TcpStream::connect_timeout(&address, limit.clamp(LEAST, LIMIT));
    let is_silent = silent.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
    is_silent.then_some(ourselves::dropped_on_the_way_in(address.is_ipv4())? > before)
}

/// An error that says that we may not try this: then nothing is known.
fn is_untried(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported)
}

fn loopback() -> Option<String> {
    let failure = |error: io::Error| Some(format!("the loopback interface does not connect: {error}"));
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) {
        Ok(listener) => listener,
        Err(error) if is_untried(&error) => return None,
        Err(error) => return failure(error),
    };
    let connected = listener.local_addr().and_then(|address| TcpStream::connect_timeout(&address, LIMIT));
    connected.err().and_then(failure)
}

fn closed_port() -> Option<String> {
    // A port that is taken, and where nobody listens.
    let (_taken, address) = network::taken_port().ok()?;
    let accepted = TcpStream::connect_timeout(&address, LIMIT);
    accepted.is_ok().then(|| "connections to a closed port of this host are accepted by something".to_owned())
}

/// A thread looks it up: where other sources come first, they may be waited for.
fn name() -> Option<String> {
    let text = std::fs::read_to_string("/etc/hosts").ok()?;
    let name = text.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        words.next()?.parse::<IpAddr>().ok()?;
        words.next().map(str::to_owned)
    })?;
    let (sender, receiver) = mpsc::channel();
    let asked = name.clone();
    let look_up = move || sender.send((asked.as_str(), 0).to_socket_addrs().map(drop)).unwrap_or_default();
    let told = match thread::Builder::new().name("control".to_owned()).spawn(look_up) {
        Ok(_) => receiver.recv_timeout(LIMIT).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        Err(error) => Err(error),
    };
    told.err().map(|error| format!("the name {name} is not found, and stands in /etc/hosts: {error}"))
}

/// Whether the clock says that this program is not made yet, or what the one of the hardware does not, and nobody keeps it right.
fn wrong() -> Option<String> {
    let made = std::fs::metadata("/proc/self/exe").and_then(|found| found.modified()).ok()?;
    wrong_by(clock::wall(), made, clock::hardware(), || clock::is_synchronised() == Some(true))
}

fn wrong_by(
    now: SystemTime,
    made: SystemTime,
    hardware: Option<SystemTime>,
    is_kept: impl FnOnce() -> bool,
) -> Option<String> {
    // It may be in local time.
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let is_far = |one: SystemTime, other: SystemTime| one.duration_since(other).is_ok_and(|ahead| ahead > DAY);
    let says = format!("the clock of this host says {}", clocks::spoken(now));
    if is_far(made, now) {
        return Some(format!("{says}, which is before this program was made"));
    }
    // Where its battery is empty, it begins anew.
    let hardware = hardware.filter(|hardware| !is_far(made, *hardware))?;
    let is_apart = is_far(now, hardware) || is_far(hardware, now);
    (is_apart && !is_kept())
        .then(|| format!("{says}, its hardware {}, and nobody keeps it right", clocks::spoken(hardware)))
}

/// Whether so few tasks can be started that a program of some could not have been.
fn no_room() -> Option<String> {
    const SOME: usize = 3;
    const STACK: usize = 16 * 1024;
    let gate = Mutex::new(());
    thread::scope(|scope| {
        // They are there at the same time.
        let _closed = lock(&gate);
        let begin = |_| {
            let task = || drop(lock(&gate));
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, task).err()
        };
        let failure = (0..SOME).find_map(begin);
        failure.map(|error| format!("not even {SOME} tasks can be started here, as by `ulimit -u`: {error}"))
    })
}

fn start() -> Option<String> {
    if !IS_PROGRAM.load(Ordering::Relaxed) {
        return None;
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg("--version").stdin(Stdio::null());
    let bounds = Bounds { deadline: Instant::now() + LIMIT, kept: 0, printed: usize::MAX };
    let failure = |why: &dyn Display| Some(format!("no program starts here, not even hospital --version: {why}"));
    match child::run(&mut command, bounds).map(|run| run.end) {
        Ok(End::Exited(status)) if !status.success() => failure(&status),
        // It may be slow: that it started is what matters.
        Ok(End::Exited(_) | End::TimedOut | End::TooLoud) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => failure(&error),
    }
}

fn file() -> io::Result<()> {
    const WRITTEN: [u8; 8] = *b"hospital";
    let mut file = shared::file::<u64>()?;
    file.write_all(&WRITTEN)?;
    file.rewind()?;
    let mut read = [0; WRITTEN.len()];
    file.read_exact(&mut read)?;
    if read == WRITTEN { Ok(()) } else { Err(io::Error::other("what is read is not what was written")) }
}

thread_local! {
    /// When this thread last knew how long it had waited for a CPU, and how long that was.
    static WAITED: Cell<Option<(Instant, u64)>> = const { Cell::new(None) };
}

/// A thread that has not waited for a CPU yet begins to run checks.
pub(super) fn thread_begins() {
    WAITED.set(Some((Instant::now(), 0)));
}

/// For how long a run has waited for a CPU.
struct Waited {
    time: Duration,
    /// Whether another run of the thread may have waited instead.
    is_vague: bool,
}

impl Waited {
    /// Of the run of this thread that has just ended, and took so long. `None`: it is not measured.
    fn in_this_run(elapsed: Duration) -> Option<Waited> {
        let (now, waited) = (Instant::now(), ourselves::waited()?);
        let (since, before) = WAITED.replace(Some((now, waited)))?;
        let time = Duration::from_nanos(waited.saturating_sub(before)).min(elapsed);
        Some(Waited { time, is_vague: now.duration_since(since) >= elapsed * 2 })
    }

    /// Whether that was one long wait for a CPU.
    fn failure(&self, elapsed: Duration) -> Option<String> {
        let is_long = self.time >= elapsed / 2;
        let is_busy = || ourselves::pressure().is_some_and(|share| share >= 50.0);
        let told = || match elapsed < Duration::from_millis(1) {
            true => "no time was left when it had a CPU".to_owned(),
            false => format!("of {}, it waited {} for a CPU", millis(elapsed), millis(self.time)),
        };
        (is_long && (!self.is_vague || is_busy())).then(told)
    }
}

/// A check gives up before its time is over, so one that took longer was not run: this process was stopped, or the host.
fn stood_still(timeout: Duration, elapsed: Duration) -> Option<String> {
    let limit = timeout + Duration::from_millis(250);
    let told = || format!("it took {} of at most {}: we were stopped meanwhile", millis(elapsed), millis(timeout));
    (elapsed > limit).then(told)
}

fn millis(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(time.as_millis() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Status;

    #[test]
    fn a_run_that_took_longer_than_it_may_was_stopped_and_a_late_one_was_not() {
        let second = Duration::from_secs(1);
        assert_eq!(stood_still(second, second + Duration::from_millis(20)), None);
        assert!(stood_still(second, second * 3).is_some_and(|why| why.contains("it took 3s of at most 1s")));
    }

    #[test]
    fn a_clock_that_is_months_from_that_of_the_hardware_is_doubted_unless_somebody_keeps_it_right() {
        let day = |day: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(day * 24 * 3600);
        let wrong = |now, hardware| wrong_by(day(now), day(20_000), hardware, || false);
        assert_eq!(wrong(20_100, None), None);
        assert_eq!(wrong(20_100, Some(day(20_101))), None, "it may be in local time");
        let told = wrong(20_160, Some(day(20_100))).expect("it is far ahead");
        assert!(told.contains("says 2025-03-13T00:00:00Z, its hardware 2025-01-12T00:00:00Z"), "{told}");
        assert!(wrong(20_100, Some(day(20_160))).is_some(), "it is far behind");
        assert_eq!(wrong(20_100, Some(day(3))), None, "its battery is empty");
        assert!(wrong(19_000, None).is_some_and(|why| why.contains("before this program was made")));
        assert_eq!(wrong_by(day(20_160), day(20_000), Some(day(20_100)), || true), None);
    }

    #[test]
    fn each_control_holds_here() {
        let controls = Controls::default();
        // Whether there is CPU time depends on what else runs here.
        for control in Control::ALL.into_iter().filter(|control| *control != Control::CpuTime) {
            assert_eq!(controls.failure(control, Instant::now()), None, "{control:?}");
        }
    }

    #[test]
    fn a_clock_that_was_set_is_doubted_until_somebody_keeps_it_right_or_it_is_old_news() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        assert_eq!(seen.clock(1, || false, now), None, "no step");
        let told = seen.clock(3600, || false, now).expect("it is doubted");
        assert_eq!(told, "the clock of this host was set ahead by 1h, and nobody keeps it right");
        assert_eq!(seen.clock(0, || false, now), None, "it was set back");
        assert!(seen.clock(-3600, || false, now).expect("it is doubted").contains("set back by 1h"));
        assert_eq!(seen.clock(-3600, || true, now), None, "somebody keeps it right");
        assert_eq!(seen.clock(-3600, || false, now), None, "that was believed then");
        assert!(seen.clock(0, || false, now).is_some());
        assert!(seen.clock(0, || false, now + DOUBTED / 2).is_some());
        assert!(seen.clock(7200, || false, now + DOUBTED).is_some(), "that is another step");
        assert_eq!(seen.clock(7200, || false, now + DOUBTED * 2), None);
    }

    #[test]
    fn what_a_control_found_holds_for_its_round_and_what_was_good_a_little_longer() {
        let controls = Controls::default();
        let check = Check { controls: &[Control::File], ..Check::new("x", |_| ()) };
        let tried = |round, failure: Option<&str>, at| {
            let failure = failure.map(str::to_owned);
            *lock(&controls.tried[Control::File as usize]) = Some(Tried { round, at, is_for_good: false, failure });
        };
        let now = Instant::now();
        tried(7, Some("no file"), now);
        let found = controls.examined(&check, Finding::fail("gone"), Duration::ZERO, 7);
        assert_eq!((found.status, found.blame), (Status::Error, Some(Blame::Ours)));
        assert_eq!(found.context.as_deref(), Some("not decided: no file (it was fail: gone)"));
        let found = controls.examined(&check, Finding::fail("gone"), Duration::ZERO, 8);
        assert_eq!((found.status, found.blame), (Status::Fail, Some(Blame::Theirs)), "it is tried again");
        tried(7, None, now - AGAIN);
        let is_tried = |status: Status, round| {
            controls.failing(Control::File, &Finding { status, ..Finding::PASS }, round);
            lock(&controls.tried[Control::File as usize]).as_ref().is_some_and(|tried| tried.round == round)
        };
        assert!(!is_tried(Status::Pass, 8), "what was good a moment ago is good for what passes");
        assert!(is_tried(Status::Fail, 9));
    }
}
