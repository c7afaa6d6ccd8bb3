//! Tries what has to work on our side, beside the checks: at most once a round, and only what a finding depends on.
//!
//! A bad finding asks for those controls of its kind that it may come of. A good one asks for the few that could have made it
//! look good, once in [`EVERY`], and in each round while they fail.

use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, Read, Seek, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::self_portrait;
use crate::model::attribution::{attributed, concerns};
use crate::model::check::{Check, Finding};
use crate::model::control::Control;
use crate::model::duration;
use crate::model::suite::Suite;
use crate::os::child::{self, Bounds, End};
use crate::os::{descriptors, network, ourselves, shared};

/// How long what was tried for a good finding is believed.
const EVERY: Duration = Duration::from_secs(10);

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

/// The controls of a process, and how they last ended.
#[derive(Debug, Default)]
pub(super) struct Controls {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tried: [Option<Tried>; Control::ALL.len()],
    /// How often packets had been lost on the way out when that was last looked at.
    lost: Option<u64>,
    /// The step of the clock that was noticed last, and when.
    stepped: Option<(i64, Instant)>,
    /// The step that is taken for right by now.
    accepted: i64,
}

/// How a control ended.
#[derive(Debug)]
struct Tried {
    round: u64,
    at: Instant,
    /// What fails, and how.
    failure: Option<String>,
}

impl Controls {
    /// Remembers how things are before the first check runs.
    pub(super) fn prepare(&self, suite: &Suite) {
        let mut state = self.lock();
        if state.lost.is_none() && suite.checks().iter().any(|check| check.controls.contains(&Control::Output)) {
            state.lost = Some(ourselves::lost_on_the_way_out().unwrap_or_default());
        }
    }

    /// What a check has found in this thread in so long, with its blame, unless a control fails that it depends on.
    pub(super) fn examined(&self, check: &Check, found: Finding, elapsed: Duration, round: u64) -> Finding {
        let concerning = check.controls.iter().copied().filter(|control| concerns(*control, &found));
        let failing = concerning.into_iter().find_map(|control| match control {
            Control::CpuTime => starved(elapsed),
            control => self.failing(control, &found, round),
        });
        let mut found = attributed(found, check.code, failing.as_deref());
        self_portrait::note(&mut found);
        found
    }

    /// Tries a control, unless that was done in this round; says what fails.
    fn failing(&self, control: Control, found: &Finding, round: u64) -> Option<String> {
        let mut state = self.lock();
        let now = Instant::now();
        let is_good = !found.status.is_bad();
        let is_known = |tried: &Tried| {
            tried.round == round || (is_good && tried.failure.is_none() && now.duration_since(tried.at) < EVERY)
        };
        let place = control as usize;
        if !state.tried[place].as_ref().is_some_and(is_known) {
            let failure = state.failure(control, now);
            state.tried[place] = Some(Tried { round, at: now, failure });
        }
        state.tried[place].as_ref().and_then(|tried| tried.failure.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What a control has found is noted in one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn failure(&mut self, control: Control, now: Instant) -> Option<String> {
        match control {
            Control::Descriptor => {
                descriptors::pipe().err().map(|error| format!("no descriptor can be opened: {error}"))
            }
            Control::Loopback => loopback(),
            Control::ClosedPort => {
                self.lost = ourselves::lost_on_the_way_out();
                closed_port()
            }
            Control::Name => name(),
            Control::Start => start(),
            Control::File => file().err().map(|error| format!("no file can be written and read here: {error}")),
            Control::Clock => self.clock(now),
            Control::Output => self.output(),
            // It is of one run only.
            Control::CpuTime => None,
        }
    }

    fn clock(&mut self, now: Instant) -> Option<String> {
        let step = ourselves::clock_step() - self.accepted;
        if step.abs() < STEP {
            self.stepped = None;
            return None;
        }
        let since = self.stepped.filter(|(last, _)| (last - step).abs() < STEP).map_or(now, |(_, since)| since);
        self.stepped = Some((step, since));
        if ourselves::is_clock_kept() || now.duration_since(since) >= DOUBTED {
            self.accepted += step;
            self.stepped = None;
            return None;
        }
        let far = duration::spoken(Duration::from_secs(step.unsigned_abs()));
        let way = if step > 0 { "ahead" } else { "back" };
        Some(format!("the clock of this host was set {way} by {far}, and nobody keeps it right"))
    }

    fn output(&mut self) -> Option<String> {
        let now = ourselves::lost_on_the_way_out()?;
        let before = self.lost.replace(now)?;
        (now > before)
            .then(|| "packets are dropped before they leave this host, as by a firewall of its own".to_owned())
    }
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

/// Whether the run of this thread that took so long was one long wait for a CPU.
fn starved(elapsed: Duration) -> Option<String> {
    let (now, waited) = (Instant::now(), ourselves::waited()?);
    let before = WAITED.replace(Some((now, waited)));
    let (since, before) = before?;
    let waited = Duration::from_nanos(waited.saturating_sub(before));
    if waited < elapsed / 2 {
        return None;
    }
    // A thread that has run other checks since may have waited then.
    let is_of_this_run = now.duration_since(since) < elapsed * 2;
    let is_busy = || ourselves::pressure().is_some_and(|share| share >= 50.0);
    let told = || format!("of {}, it waited {} for a CPU", millis(elapsed), millis(waited.min(elapsed)));
    (is_of_this_run || is_busy()).then(told)
}

fn millis(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(time.as_millis() as u64))
}
