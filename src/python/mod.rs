//! Healthchecks in Python: a zygote imports them, once for a generation, and forks for each run.
//!
//! ```text
//!   who collects ── {"collect": "shop"} ──▶ zygote imports ──▶ tests
//!   a worker ────── {"run": "shop.db", …} and a socket ──▶ zygote ── fork ──▶ the run
//!      ◀──────────────── pid, finding (from the run), how it died (from the zygote) ──┘
//! ```
//!
//! Whoever starts the zygote keeps both ends of the socket that it serves: where it dies, as for lack of memory, another
//! takes its place at the same socket, and what was asked meanwhile is answered. Where none can be started, the master answers
//! in its place, with the cause. It ends when nobody is left who could ask.
//!
//! This file is one role, however long: the life of that interpreter, from its start over its deaths to the one after a reload.
//!
//! The zygote's code is in `zygote.py`, which forks, and `tests.py`, which knows unittest; `package.py` stands in for our package where
//! that is not installed.

#[cfg_attr(not(feature = "tower"), expect(unreachable_pub, reason = "what mounts alone have"))]
mod here;
mod run;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::checks::support::environment::is_ours_alone;
use crate::checks::support::ownership::{self, Distrust};
use crate::error::Error;
use crate::model::duration;
use crate::os::filesystem::absolute;
use crate::os::identity::Identity;
use crate::os::packets::{Incoming, Packets};
use crate::os::pidfd::PidFd;
use crate::os::signals::Signal;
use crate::os::{descriptors, process, tree};
#[cfg_attr(not(feature = "tower"), expect(unreachable_pub, reason = "what mounts alone have"))]
pub use here::{Interpreter as HostedInterpreter, Test};
use run::Said;
pub(crate) use run::TestRunner;

/// How long an interpreter may take to start, and how long each name may take to be imported.
const IMPORT_LIMIT: Duration = Duration::from_secs(30);

/// The oldest Python that will do.
const OLDEST: (u32, u32) = (3, 9);

/// How long after the death of a zygote another is started, first and at most.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// What any Python understands: it tells its version, and then becomes what it is sent.
const BOOTSTRAP: &str = "\
import os, sys
os.write(4, ('%d.%d.%d' % sys.version_info[:3]).encode())
import json
SETUP = json.loads(os.read(4, 1 << 20).decode())
os.close(4)
exec(compile(SETUP['zygote'], 'hospital/zygote.py', 'exec'))
";

/// What it ends with when a module has closed its socket: the same number is in `zygote.py`.
const CLOSED: i32 = 86;

/// Where a process that only tries a reload notes what is to be imported.
static NOTES: OnceLock<File> = OnceLock::new();

/// From now on this process imports nothing, and notes in a file what it would: for [`Preparation::begin`].
pub(crate) fn only_note(notes: File) {
    let _ = NOTES.set(notes);
}

/// The Python of a configuration, if one is set. It is started when a name needs it.
#[derive(Clone, Default)]
pub(crate) struct Python(Option<Place>);

/// Where tests run.
#[derive(Clone)]
enum Place {
    Forks(Arc<Zygote>),
    #[cfg_attr(not(feature = "tower"), expect(dead_code, reason = "mounts alone have it"))]
    Here(Arc<dyn HostedInterpreter>),
}

/// How the interpreter is started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Interpreter {
    path: PathBuf,
    /// The setting that names it.
    origin: String,
    /// Variables besides those of this process.
    environment: Vec<(String, String)>,
    #[serde(skip)]
    identity: Identity,
    /// What the process is called.
    name: String,
}

/// Why a name could not be collected.
#[derive(Debug)]
pub(crate) enum CollectRefusal {
    /// There is no such thing in this Python.
    Missing(String),
    /// It is there, and cannot be used.
    Refused(String),
    /// Others may change the interpreter.
    Unsafe(Error),
}

struct Zygote {
    interpreter: Interpreter,
    started: Mutex<Option<Started>>,
}

/// What there is once it was started.
struct Started {
    /// Who started it, and alone may do so again.
    owner: u32,
    requests: Arc<Packets>,
    served: Arc<Packets>,
    /// It reads what it is to be from the other end.
    setup: Packets,
    /// Whether it has told its version.
    is_known: bool,
    life: Life,
    /// What was collected from each name, in this order.
    collected: BTreeMap<String, Vec<Test>>,
    order: Vec<String>,
}

#[derive(Debug)]
enum Life {
    Running {
        process: Arc<PidFd>,
        since: Instant,
        wait: Duration,
    },
    /// It died, and another is due.
    Dead {
        again: Instant,
        wait: Duration,
        /// What is told to those who ask meanwhile; `None`: they wait, as it will not take long.
        why: Option<String>,
    },
}

/// A Python that imports what the names of a reload need, while its master goes on.
pub(crate) struct Preparation {
    python: Python,
    /// Each name, and where it is answered that its import was tried.
    asked: Vec<(String, Packets)>,
    process: Arc<PidFd>,
    until: Instant,
}

#[derive(Serialize)]
struct Setup<'a> {
    zygote: &'a str,
    tests: &'a str,
    package: &'a str,
    name: &'a str,
    names: &'a [String],
}

/// What the zygote is asked while names are collected.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Request<'a> {
    /// Import what a name needs, and tell which tests there are.
    Collect(&'a str),
    /// Import what a name needs.
    Import(&'a str),
    /// Whether there is a module of this name, which is not imported.
    Find(&'a str),
}

/// A part of the answer to a [`Request`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part {
    tests: Vec<Test>,
    done: bool,
    notes: Vec<String>,
    refused: Option<String>,
    missing: bool,
}

impl Python {
    /// The one at this path, or of this name where it has no `/`.
    pub(crate) fn found(
        path: &Path,
        origin: &'static str,
        environment: Vec<(String, String)>,
        identity: Identity,
        name: &str,
    ) -> Python {
        let path = if path.components().count() > 1 { absolute(path) } else { in_path(path) };
        let origin = origin.to_owned();
        Python::at(Interpreter { path, origin, environment, identity, name: format!("{name}:python") })
    }

    fn at(interpreter: Interpreter) -> Python {
        Python(Some(Place::Forks(Arc::new(Zygote { interpreter, started: Mutex::new(None) }))))
    }

    /// That of our own process.
    #[cfg(feature = "tower")]
    pub(crate) fn here(interpreter: Arc<dyn HostedInterpreter>) -> Python {
        Python(Some(Place::Here(interpreter)))
    }

    fn zygote(&self) -> Option<&Zygote> {
        match self.0.as_ref()? {
            Place::Forks(zygote) => Some(zygote),
            Place::Here(_) => None,
        }
    }

    /// Whether there is one, to look in for names that are not registered.
    pub(crate) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Whether names have needed it.
    pub(crate) fn is_started(&self) -> bool {
        self.zygote().is_some_and(|zygote| zygote.lock().is_some())
    }

    /// The tests at a name, and notes on what importing it did.
    pub(crate) fn collect(&self, name: &str) -> Result<(Vec<Test>, Vec<String>), CollectRefusal> {
        let Some(place) = &self.0 else {
            return Err(CollectRefusal::Missing(
                "no Python is set to look for it in: give --python, or set HOSPITAL_PYTHON or VIRTUAL_ENV".to_owned(),
            ));
        };
        match place {
            Place::Forks(zygote) if NOTES.get().is_some() => {
                zygote.note(name);
                Ok((Vec::new(), Vec::new()))
            }
            Place::Forks(zygote) => zygote.collect(name),
            Place::Here(interpreter) => Ok((interpreter.collect(name).map_err(CollectRefusal::Refused)?, Vec::new())),
        }
    }

    /// Whether each run has a process of its own.
    pub(crate) fn runs_in_processes(&self) -> bool {
        !matches!(self.0, Some(Place::Here(_)))
    }

    /// Whether there is a module of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        let Some(zygote) = self.zygote() else { return false };
        let guard = zygote.lock();
        guard.as_ref().is_some_and(|started| zygote.ask(started, &Request::Find(name), name).is_ok())
    }

    /// What runs the tests. There is none until something was collected.
    pub(crate) fn runs(&self) -> Option<TestRunner> {
        match self.0.as_ref()? {
            Place::Forks(zygote) => {
                let requests = zygote.lock().as_ref()?.requests.clone();
                Some(TestRunner::in_forks(requests, zygote.clone()))
            }
            Place::Here(interpreter) => Some(TestRunner::Here(interpreter.clone())),
        }
    }

    /// This one, unless the one that was prepared is started just as this one would be.
    pub(crate) fn or_prepared(self, prepared: Option<&Python>) -> Python {
        let interpreter = |python: &Python| python.zygote().map(|zygote| zygote.interpreter.clone());
        match prepared {
            Some(prepared) if interpreter(prepared) == interpreter(&self) => prepared.clone(),
            Some(_) | None => self,
        }
    }

    /// In a forked process: a zygote of its own takes the place of the one that it shares with its parent, for whatever was
    /// collected. It has imported all that when this returns.
    pub(crate) fn take_own(&self) -> Result<(), String> {
        let Some(zygote) = self.zygote() else { return Ok(()) };
        let mut guard = zygote.lock();
        let Some(started) = guard.as_mut() else { return Ok(()) };
        let pair = Packets::pair().and_then(|(requests, served)| {
            started.requests.turn_into(&requests)?;
            started.served.turn_into(&served)
        });
        pair.map_err(|error| format!("Python cannot be asked: {error}"))?;
        let (setup, process) = zygote.spawn(&started.served, &started.order)?;
        started.setup = setup;
        started.life = Life::begun(process, Instant::now(), Duration::ZERO);
        // Whatever it answers, it has imported the rest by then; if it cannot, the check that needs it says so.
        let _ = zygote.ask(started, &Request::Find("sys"), "sys");
        Ok(())
    }

    /// If this was our zygote, which has ended like that, another is due. Returns when.
    pub(crate) fn died(&self, pid: i32, status: ExitStatus, now: Instant) -> Option<Duration> {
        let mut guard = self.zygote()?.lock();
        let started = guard.as_mut()?;
        let Life::Running { ref process, since, wait } = started.life else { return None };
        if process.pid() != pid {
            return None;
        }
        // One that lived for long did not die of what the last one died of.
        let wait = if now.duration_since(since) > LONGEST { FIRST } else { (wait * 2).clamp(FIRST, LONGEST) };
        let why = (wait > FIRST)
            .then(|| format!("Python ended ({status}), and is started again after {}", duration::spoken(wait)));
        started.life = Life::Dead { again: now + wait, wait, why };
        Some(wait)
    }

    /// When [`Python::revive`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match self.zygote()?.lock().as_ref()?.life {
            Life::Dead { again, .. } => Some(again),
            Life::Running { .. } => None,
        }
    }

    /// Where questions arrive that nobody but us will answer; none as long as an interpreter does, or will soon.
    pub(crate) fn unanswered(&self) -> Option<Arc<Packets>> {
        let guard = self.zygote()?.lock();
        let Started { served, life: Life::Dead { why: Some(_), .. }, .. } = guard.as_ref()? else { return None };
        Some(served.clone())
    }

    /// Answers these, with the cause.
    pub(crate) fn answer_in_its_place(&self) {
        let Some(zygote) = self.zygote() else { return };
        let guard = zygote.lock();
        let Some(Started { served, life: Life::Dead { why: Some(why), .. }, .. }) = guard.as_ref() else { return };
        let answer = serde_json::to_vec(&Said::error(why)).expect("text can be written");
        while let Ok(Some(reply)) = served.take_enclosed() {
            // Whoever does not take it has given up.
            let _ = reply.send(&answer, None, Instant::now());
        }
    }

    /// Starts another in the place of one that has died, once it is due. It is not waited for.
    pub(crate) fn revive(&self, now: Instant) -> Option<Result<i32, String>> {
        let zygote = self.zygote()?;
        let mut guard = zygote.lock();
        let started = guard.as_mut()?;
        let Life::Dead { again, wait, .. } = started.life else { return None };
        if now < again {
            return None;
        }
        let spawned = zygote.spawn(&started.served, &started.order);
        Some(
            spawned
                .map(|(setup, process)| {
                    let pid = process.pid();
                    started.setup = setup;
                    started.life = Life::begun(process, now, wait);
                    pid
                })
                .inspect_err(|why| {
                    let wait = (wait * 2).clamp(FIRST, LONGEST);
                    started.life = Life::Dead { again: now + wait, wait, why: Some(why.clone()) };
                }),
        )
    }
}

impl fmt::Debug for Python {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Python").field(&self.zygote().map(|zygote| &zygote.interpreter.path)).finish()
    }
}

impl Zygote {
    fn lock(&self) -> MutexGuard<'_, Option<Started>> {
        // What is there was put there whole.
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, name: &str) -> Result<(Vec<Test>, Vec<String>), CollectRefusal> {
        let mut guard = self.lock();
        let started = match &mut *guard {
            Some(started) => started,
            none => none.insert(self.start()?),
        };
        if let Some(tests) = started.collected.get(name) {
            return Ok((tests.clone(), Vec::new()));
        }
        if started.owner != std::process::id() {
            return Err(CollectRefusal::Refused(
                "Python imports at the start and at a reload: reload hospital (HUP) to use this name".to_owned(),
            ));
        }
        let found = started.greet(&self.interpreter).and_then(|()| self.ask(started, &Request::Collect(name), name));
        if found.is_err() && started.has_ended() {
            *guard = None;
        }
        let (tests, notes) = found?;
        let started = guard.as_mut().expect("it was started above");
        started.collected.insert(name.to_owned(), tests.clone());
        started.order.push(name.to_owned());
        Ok((tests, notes))
    }

    /// For [`Preparation::begin`]. What is not noted is imported later, while the master waits.
    fn note(&self, name: &str) {
        let Some(mut notes) = NOTES.get() else { return };
        if let Ok(line) = serde_json::to_string(&(&self.interpreter, name)) {
            let _ = writeln!(notes, "{line}");
        }
    }

    fn ask(
        &self,
        started: &Started,
        request: &Request<'_>,
        name: &str,
    ) -> Result<(Vec<Test>, Vec<String>), CollectRefusal> {
        let deadline = Instant::now() + IMPORT_LIMIT;
        let cannot = |error: io::Error| CollectRefusal::Refused(format!("Python cannot be asked for it: {error}"));
        let Life::Running { process, .. } = &started.life else {
            return Err(CollectRefusal::Refused("Python has ended".to_owned()));
        };
        let answers = started.send(request, deadline).map_err(cannot)?;
        let mut tests = Vec::new();
        loop {
            match answers.receive_from(process, deadline).map_err(cannot)? {
                Incoming::Packet(packet) => {
                    let part: Part = serde_json::from_slice(&packet).map_err(|error| cannot(error.into()))?;
                    tests.extend(part.tests);
                    match part {
                        Part { refused: Some(why), missing: true, .. } => return Err(CollectRefusal::Missing(why)),
                        Part { refused: Some(why), .. } => return Err(CollectRefusal::Refused(why)),
                        Part { done: true, notes, .. } => return Ok((tests, notes)),
                        Part { .. } => {}
                    }
                }
                Incoming::End => {
                    let when = format!("while it imported {name:?}");
                    return Err(CollectRefusal::Refused(end_of(process, &self.interpreter, &when)));
                }
                Incoming::Nothing => {
                    kill(process);
                    let limit = duration::spoken(IMPORT_LIMIT);
                    return Err(CollectRefusal::Refused(format!("importing it takes longer than {limit}")));
                }
            }
        }
    }

    /// The process, if it is ours to replace: that of others is the business of their master.
    fn own(&self) -> Option<Arc<PidFd>> {
        match self.lock().as_ref()? {
            Started { owner, life: Life::Running { process, .. }, .. } if *owner == std::process::id() => {
                Some(process.clone())
            }
            Started { .. } => None,
        }
    }

    /// Starts another at once in the place of this process, which has ended, unless somebody has done that.
    fn replace(&self, ended: &PidFd) -> Result<(), String> {
        let mut guard = self.lock();
        let Some(started) = guard.as_mut() else { return Ok(()) };
        match &started.life {
            Life::Running { process, .. } if process.pid() == ended.pid() && process.has_ended() => {}
            Life::Running { .. } | Life::Dead { .. } => return Ok(()),
        }
        tree::kill_interpreter(ended.pid());
        // It may have been reaped.
        let _ = process::wait_for(ended.pid());
        let (setup, process) = self.spawn(&started.served, &started.order)?;
        started.setup = setup;
        started.life = Life::begun(process, Instant::now(), Duration::ZERO);
        Ok(())
    }

    /// Starts the interpreter; it is not waited for.
    fn start(&self) -> Result<Started, CollectRefusal> {
        let named = self.interpreter.named();
        match ownership::open(&self.interpreter.path) {
            Ok(_) => {}
            Err(Distrust::Unsafe(why)) => return Err(CollectRefusal::Unsafe(ownership::refusal(&named, &why))),
            Err(Distrust::Unseen(error)) => {
                return Err(CollectRefusal::Refused(format!("{named}, but that cannot be run: {error}")));
            }
        }
        let cannot =
            |error: io::Error| CollectRefusal::Refused(format!("{named}, but that cannot be started: {error}"));
        let (requests, served) = Packets::pair().map_err(cannot)?;
        let (setup, process) = self.spawn(&served, &[]).map_err(CollectRefusal::Refused)?;
        Ok(Started {
            owner: std::process::id(),
            requests: Arc::new(requests),
            served: Arc::new(served),
            setup,
            is_known: false,
            life: Life::begun(process, Instant::now(), Duration::ZERO),
            collected: BTreeMap::new(),
            order: Vec::new(),
        })
    }

    /// Starts the interpreter, sends it what it is to be and what it is to import, and does not wait.
    fn spawn(&self, served: &Packets, names: &[String]) -> Result<(Packets, PidFd), String> {
        let cannot = |error: io::Error| format!("{} cannot be started: {error}", self.interpreter.path.display());
        let (setup, theirs) = Packets::pair().map_err(cannot)?;
        let packet = serde_json::to_vec(&Setup {
            zygote: include_str!("zygote.py"),
            tests: include_str!("tests.py"),
            package: include_str!("package.py"),
            name: &self.interpreter.name,
            names,
        });
        let packet = packet.expect("text can be written");
        let mut command = Command::new(&self.interpreter.path);
        command.args(["-c", BOOTSTRAP]);
        std::env::vars_os().filter(|(name, _)| is_ours_alone(name)).for_each(|(name, _)| {
            command.env_remove(name);
        });
        command.envs(self.interpreter.environment.iter().map(|(name, value)| (name, value)));
        // Under it, what a check asserts is left out, and it cannot fail.
        command.env_remove("PYTHONOPTIMIZE");
        command.stdin(descriptors::null().map_err(cannot)?);
        // Standard output may be a report.
        command.stdout(descriptors::standard_error().map_or_else(|_| Stdio::null(), Stdio::from));
        let fds = [served.as_fd(), theirs.as_fd()];
        let process = process::start_interpreter(&mut command, &fds, &self.interpreter.identity).map_err(cannot)?;
        // It does nothing before it is told what it is to be.
        tree::mark_interpreter(process.pid());
        setup.send(&packet, None, Instant::now() + IMPORT_LIMIT).map_err(cannot)?;
        Ok((setup, process))
    }
}

impl Life {
    fn begun(process: PidFd, since: Instant, wait: Duration) -> Life {
        Life::Running { process: Arc::new(process), since, wait }
    }
}

impl Interpreter {
    fn named(&self) -> String {
        format!("{} names {}", self.origin, self.path.display())
    }
}

impl Started {
    /// Waits until it has shown that it is a Python that will do.
    fn greet(&mut self, interpreter: &Interpreter) -> Result<(), CollectRefusal> {
        let Life::Running { process, .. } = &self.life else { return Ok(()) };
        if self.is_known {
            return Ok(());
        }
        let named = interpreter.named();
        let refused = |why: String| Err(CollectRefusal::Refused(format!("{named}, but {why}")));
        let said = match self.setup.receive_from(process, Instant::now() + IMPORT_LIMIT) {
            Ok(Incoming::Packet(version)) => String::from_utf8_lossy(&version).into_owned(),
            Ok(Incoming::End) => {
                return refused(format!("{}: is it a Python?", end_of(process, interpreter, "at its start")));
            }
            Ok(Incoming::Nothing) => {
                kill(process);
                return refused(format!("nothing came from it in {}: is it a Python?", duration::spoken(IMPORT_LIMIT)));
            }
            Err(error) => return refused(format!("it cannot be asked: {error}")),
        };
        if !is_new_enough(&said) {
            kill(process);
            let (major, minor) = OLDEST;
            let said: String = said.chars().filter(|c| !c.is_control()).take(20).collect();
            return refused(format!("that is Python {said}: {major}.{minor} or newer is needed"));
        }
        self.is_known = true;
        Ok(())
    }

    /// Sends a request; the answers come from the other end of what it returns.
    fn send(&self, request: &Request<'_>, deadline: Instant) -> io::Result<Packets> {
        let (ours, theirs) = Packets::pair()?;
        let packet = serde_json::to_vec(request).expect("text can be written");
        self.requests.send(&packet, Some(theirs.as_fd()), deadline)?;
        Ok(ours)
    }

    fn has_ended(&self) -> bool {
        match &self.life {
            Life::Running { process, .. } => process.has_ended(),
            Life::Dead { .. } => true,
        }
    }
}

/// Ends it with all that its modules have started, and waits for its end.
fn kill(process: &PidFd) {
    tree::kill_interpreter(process.pid());
    // Where it could not be marked.
    let _ = process.send(Signal::SIGKILL);
    let _ = process::wait_for(process.pid());
}

/// How the interpreter has ended, as a sentence.
fn end_of(process: &PidFd, interpreter: &Interpreter, when: &str) -> String {
    let path = interpreter.path.display();
    // It ends now, or does not answer any more.
    if !process.has_ended() {
        let _ = process.wait_with(Vec::new(), Instant::now() + FIRST);
        let _ = process.send(Signal::SIGKILL);
    }
    tree::kill_interpreter(process.pid());
    match process::wait_for(process.pid()) {
        Ok(status) if status.code() == Some(CLOSED) => {
            format!("{path} had to end {when}: a module closes descriptors that it has not opened")
        }
        Ok(status) => format!("{path} ended {when}: {status}"),
        Err(_) => format!("{path} ended {when}"),
    }
}

impl Preparation {
    /// Begins to import what was noted for this user. `None`: that is nothing, or it cannot be begun; whoever asks for it then is
    /// told why.
    pub(crate) fn begin(mut notes: File, identity: &Identity, now: Instant) -> Option<Preparation> {
        let mut text = String::new();
        notes.rewind().and_then(|()| notes.read_to_string(&mut text)).ok()?;
        let noted: Vec<(Interpreter, String)> =
            text.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
        let interpreter = Interpreter { identity: identity.clone(), ..noted.first()?.0.clone() };
        let names: Vec<String> = noted.into_iter().map(|(_, name)| name).collect();
        let python = Python::at(interpreter);
        let zygote = python.zygote()?;
        let started = zygote.start().ok()?;
        let until = now + IMPORT_LIMIT;
        let ask = |name: String| Some((started.send(&Request::Import(&name), until).ok()?, name));
        let asked =
            names.into_iter().map(|name| ask(name).map(|(answer, name)| (name, answer))).collect::<Option<_>>()?;
        let Life::Running { process, .. } = &started.life else { return None };
        let process = process.clone();
        *zygote.lock() = Some(started);
        Some(Preparation { python, asked, process, until })
    }

    /// What becomes readable when it is over.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.asked.last().map(|(_, answer)| answer.as_fd()).into_iter().chain(self.process.descriptor())
    }

    /// When it is over at the latest.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let is_answered = self.asked.last().is_none_or(|(_, answer)| descriptors::is_readable(answer));
        is_answered || self.process.has_ended() || now >= self.until
    }

    /// The Python that has imported, or why it has not.
    pub(crate) fn end(self) -> Result<Python, Error> {
        let Some(zygote) = self.python.zygote() else { return Ok(self.python) };
        for (name, answer) in &self.asked {
            let why = match answer.receive_from(&self.process, Instant::now()) {
                Ok(Incoming::Packet(_)) => continue,
                Ok(Incoming::End) => end_of(&self.process, &zygote.interpreter, &format!("while it imported {name:?}")),
                Ok(Incoming::Nothing) => {
                    kill(&self.process);
                    format!("importing {name:?} takes longer than {}", duration::spoken(IMPORT_LIMIT))
                }
                Err(error) => format!("Python cannot be asked for {name:?}: {error}"),
            };
            return Err(Error::Boot(why));
        }
        Ok(self.python)
    }
}

/// The program of this name that a shell would run.
fn in_path(name: &Path) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| name.to_owned())
}

fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    matches!((parts.next().flatten(), parts.next().flatten()), (Some(major), Some(minor)) if (major, minor) >= OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_compared_as_numbers() {
        for (version, is_new) in [
            ("3.9.0", true),
            ("3.11.7", true),
            ("3.8.20", false),
            ("2.7.18", false),
            ("4.0.0", true),
            ("Ruby", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), is_new, "{version}");
        }
    }
}
