//! A closed-loop client: each of its threads asks, waits for the answer, and asks again, and every request is accounted
//! for. It shows what a reload, a restart or a fault costs the clients.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::At;

mod tests;

/// How many failures are described; the others are only counted.
const DESCRIBED: usize = 5;
/// The body of the slow clients: each byte is sent separately, this long after the one before.
const BODY: [u8; 8] = *b"slowness";
const BODY_PAUSE: Duration = Duration::from_millis(2);

/// The kinds of clients, and how they behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// How many clients open a connection for each request.
    pub(crate) close: usize,
    /// How many keep theirs as long as the server allows.
    pub(crate) keep_alive: usize,
    /// How many open a connection for each request and send a body with it, slowly.
    pub(crate) slow_body: usize,
    /// How long each waits after an answer before its next request; a kept connection is idle meanwhile.
    pub(crate) pause: Duration,
    /// How long an answer may take, including the time to connect; beyond that it is slow.
    pub(crate) patience: Duration,
    /// What they ask for.
    pub(crate) path: &'static str,
    /// No load goes on for longer than this, whatever becomes of the test.
    pub(crate) longest: Duration,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            close: 4,
            keep_alive: 4,
            slow_body: 0,
            pause: Duration::from_millis(2),
            patience: Duration::from_secs(10),
            path: "/",
            longest: Duration::from_secs(180),
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// A whole answer with status 200, in time.
    Ok,
    /// Nobody listens.
    Refused,
    /// The connection ended, by a close or a reset, before the first byte of an answer.
    Reset,
    /// An answer came, but not whole, or was followed by something that is not part of it.
    Truncated,
    /// A whole answer with another status.
    Not200,
    /// No whole answer in time.
    Slow,
    /// The server closed a kept connection while the request was on its way. Every client must be prepared for that, so
    /// nothing is lost; a server that announces each close causes none.
    Stale,
}

/// What became of all requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    counts: BTreeMap<Verdict, usize>,
    /// How long the slowest good answer took.
    pub(crate) slowest: Duration,
    /// The first few failures.
    pub(crate) described: Vec<String>,
}

impl Tally {
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.counts.get(&verdict).copied().unwrap_or_default()
    }

    /// How many requests failed; stale ones are not lost.
    pub(crate) fn lost(&self) -> usize {
        let good = |verdict: &Verdict| matches!(verdict, Verdict::Ok | Verdict::Stale);
        self.counts.iter().filter(|(verdict, _)| !good(verdict)).map(|(_, count)| count).sum()
    }

    /// Fails unless every single request was answered.
    #[track_caller]
    pub(crate) fn assert_nothing_lost(&self) {
        assert!(self.count(Verdict::Ok) > 0, "no request was answered: {self}");
        assert_eq!(self.lost(), 0, "requests were lost: {self}");
        assert_eq!(self.count(Verdict::Stale), 0, "kept connections were closed unannounced: {self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> = self.counts.iter().map(|(verdict, count)| format!("{count} {verdict:?}")).collect();
        write!(f, "{}; the slowest took {:?}", counts.join(", "), self.slowest)?;
        self.described.iter().try_for_each(|failure| write!(f, "\n  {failure}"))
    }
}

/// Clients at work, until [`Load::stop`]; dropping it stops them as well.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    at: At,
    shape: Shape,
    began: Instant,
    told_to_stop: AtomicBool,
    tally: Mutex<Tally>,
    changed: Condvar,
}

impl Load {
    pub(crate) fn start(at: &At, shape: Shape) -> Load {
        let shared = Arc::new(Shared {
            at: at.clone(),
            shape,
            began: Instant::now(),
            told_to_stop: AtomicBool::new(false),
            tally: Mutex::default(),
            changed: Condvar::new(),
        });
        let some = |mode, count| std::iter::repeat_n(mode, count);
        let modes = some(Mode::Close, shape.close)
            .chain(some(Mode::KeepAlive, shape.keep_alive))
            .chain(some(Mode::SlowBody, shape.slow_body));
        let clients = modes.map(|mode| {
            let client = Client { shared: Arc::clone(&shared), mode, kept: None, input: Vec::new() };
            std::thread::spawn(move || client.work())
        });
        Load { clients: clients.collect(), shared }
    }

    /// Waits until this many more requests have good answers: so that what the test does next happens under load.
    #[track_caller]
    pub(crate) fn wait_for_answers(&self, more: usize) {
        let wanted = self.shared.tally().count(Verdict::Ok) + more;
        let deadline = Instant::now() + self.shared.shape.patience * 2;
        let mut tally = self.shared.tally();
        while tally.count(Verdict::Ok) < wanted {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {more} answers within two times the patience: {tally}");
            tally = self.shared.changed.wait_timeout(tally, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What has become of the requests so far.
    pub(crate) fn so_far(&self) -> Tally {
        self.shared.tally().clone()
    }

    /// Lets each client finish its present request, and returns what became of all.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Tally {
        assert!(
            self.shared.began.elapsed() < self.shared.shape.longest,
            "the load ended by itself: the test takes too long"
        );
        let panicked = self.halt();
        assert_eq!(panicked, 0, "clients panicked");
        let tally = self.so_far();
        println!("load: {tally}");
        tally
    }

    fn halt(&mut self) -> usize {
        self.shared.told_to_stop.store(true, Ordering::Relaxed);
        self.clients.drain(..).map(JoinHandle::join).filter(Result::is_err).count()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.halt();
    }
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.told_to_stop.load(Ordering::Relaxed) && self.began.elapsed() < self.shape.longest
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, result: Result<(), Failure>, mode: Mode, took: Duration) {
        let mut tally = self.tally();
        match result {
            Ok(()) => {
                *tally.counts.entry(Verdict::Ok).or_default() += 1;
                tally.slowest = tally.slowest.max(took);
            }
            Err(Failure { verdict, what }) => {
                *tally.counts.entry(verdict).or_default() += 1;
                if tally.described.len() < DESCRIBED {
                    let at = self.began.elapsed();
                    tally.described.push(format!("{verdict:?} at {at:.3?} after {took:.3?} ({mode:?}): {what}"));
                }
            }
        }
        self.changed.notify_all();
    }
}

struct Failure {
    verdict: Verdict,
    what: String,
}

fn failure(verdict: Verdict, what: impl ToString) -> Failure {
    Failure { verdict, what: what.to_string() }
}

/// How one of the clients behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Close,
    KeepAlive,
    SlowBody,
}

/// One of the threads.
struct Client {
    shared: Arc<Shared>,
    mode: Mode,
    kept: Option<Socket>,
    input: Vec<u8>,
}

/// The head of an answer.
struct Head {
    length: usize,
    body: usize,
    status: u16,
    closes: bool,
}

impl Client {
    fn work(mut self) {
        while self.shared.goes_on() {
            let asked = Instant::now();
            let result = self.ask(asked + self.shared.shape.patience);
            self.shared.note(result, self.mode, asked.elapsed());
            std::thread::sleep(self.shared.shape.pause);
        }
    }

    /// One request, on the kept connection if there is one.
    fn ask(&mut self, deadline: Instant) -> Result<(), Failure> {
        let kept = self.kept.take();
        let is_kept = kept.is_some();
        let mut socket = match kept {
            Some(socket) => socket,
            None => connect(&self.shared.at, deadline)?,
        };
        match self.exchange(&mut socket, deadline) {
            Ok(head) => {
                if !head.closes {
                    self.kept = Some(socket);
                }
                if head.status == 200 {
                    return Ok(());
                }
                let answer = String::from_utf8_lossy(&self.input).into_owned();
                Err(failure(Verdict::Not200, answer))
            }
            Err(Failure { verdict: Verdict::Reset, what }) if is_kept => Err(failure(Verdict::Stale, what)),
            Err(failure) => Err(failure),
        }
    }

    fn exchange(&mut self, socket: &mut Socket, deadline: Instant) -> Result<Head, Failure> {
        let path = self.shared.shape.path;
        let fields = match self.mode {
            Mode::Close => "Connection: close\r\n".to_owned(),
            Mode::KeepAlive => "Connection: keep-alive\r\n".to_owned(),
            Mode::SlowBody => format!("Connection: close\r\nContent-Length: {}\r\n", BODY.len()),
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: load\r\n{fields}\r\n");
        // It fits into any socket's buffer.
        let mut send = |bytes: &[u8]| socket.write_all(bytes).map_err(|error| failure(Verdict::Reset, error));
        send(request.as_bytes())?;
        if self.mode == Mode::SlowBody {
            for byte in BODY {
                std::thread::sleep(BODY_PAUSE);
                send(&[byte])?;
            }
        }
        self.input.clear();
        let head = loop {
            if let Some(head) = parse(&self.input)? {
                break head;
            }
            self.read(socket, deadline)?;
        };
        let whole = head.length + head.body;
        while self.input.len() < whole {
            self.read(socket, deadline)?;
        }
        if self.input.len() > whole {
            let extra = String::from_utf8_lossy(&self.input[whole..]).into_owned();
            return Err(failure(Verdict::Truncated, format!("behind the answer comes {extra:?}")));
        }
        if head.closes { self.see_off(socket, deadline).map(|()| head) } else { Ok(head) }
    }

    /// Reads at least one more byte.
    fn read(&mut self, socket: &mut Socket, deadline: Instant) -> Result<(), Failure> {
        let came = self.input.len();
        let ended = |how: String| match came {
            0 => failure(Verdict::Reset, how),
            _ => failure(Verdict::Truncated, format!("{how} after {came} bytes")),
        };
        match read_by(socket, &mut self.input, deadline) {
            Ok(0) => Err(ended("closed".to_owned())),
            Ok(_) => Ok(()),
            Err(error) if is_timeout(&error) => Err(failure(Verdict::Slow, format!("{came} bytes of the answer came"))),
            Err(error) => Err(ended(error.to_string())),
        }
    }

    /// The server has announced that it closes, so only the end may follow. A reset here would have cost a slower
    /// client the answer.
    fn see_off(&mut self, socket: &mut Socket, deadline: Instant) -> Result<(), Failure> {
        match read_by(socket, &mut self.input, deadline) {
            Ok(0) => Ok(()),
            Ok(count) => Err(failure(Verdict::Truncated, format!("{count} bytes behind the last answer"))),
            Err(error) if is_timeout(&error) => Err(failure(Verdict::Slow, "answered, but not closed as announced")),
            Err(error) => Err(failure(Verdict::Truncated, format!("{error} behind the last answer"))),
        }
    }
}

fn connect(at: &At, deadline: Instant) -> Result<Socket, Failure> {
    let connected = || {
        let (domain, address) = match at {
            At::Nowhere => return Err(io::Error::other("the server's address is not known")),
            At::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
            At::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
            At::Abstract(name) => (Domain::UNIX, SockAddr::unix(format!("\0{name}"))?),
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.connect_timeout(&address, deadline.saturating_duration_since(Instant::now()))?;
        Ok(socket)
    };
    connected().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionReset => failure(Verdict::Reset, error),
        io::ErrorKind::TimedOut => failure(Verdict::Slow, "not even connected"),
        // No listener, no socket file; the text tells if it is anything else.
        _ => failure(Verdict::Refused, error),
    })
}

fn read_by(socket: &mut Socket, input: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
    let mut chunk = [0; 16 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(count) => {
                input.extend_from_slice(&chunk[..count]);
                return Ok(count);
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// The head of the answer, once it is complete.
fn parse(input: &[u8]) -> Result<Option<Head>, Failure> {
    let malformed =
        |why: &dyn fmt::Display| failure(Verdict::Truncated, format!("{why}: {:?}", String::from_utf8_lossy(input)));
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = answer.parse(input).map_err(|error| malformed(&error))? else {
        return Ok(None);
    };
    let field = |name: &str| {
        let field = answer.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.map(|field| String::from_utf8_lossy(field.value).into_owned())
    };
    let body = field("Content-Length").and_then(|value| value.parse().ok());
    Ok(Some(Head {
        length,
        body: body.ok_or_else(|| malformed(&"no Content-Length"))?,
        status: answer.code.unwrap_or_default(),
        closes: field("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
    }))
}
