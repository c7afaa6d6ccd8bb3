//! One run of a check, well or under sabotage: in a process of its own that another one follows.
//!
//! ```text
//!   drill ──fork──▶ supervisor ──fork──▶ runner ──▶ the check, and what that starts
//!                       │  follows them ───▲  └─fork──▶ impostor, in the same network
//! ```
//!
//! Each dies with the one before it, whatever ends that, so a drill can be interrupted at any moment.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::impostor::Impostor;
use super::learner::Learner;
use super::plan::{Promise, RunEnd};
use super::saboteur::Saboteur;
use super::seen::{self, Trace};
use super::substitute;
use super::tasks::Counted;
use crate::model::blame::Blame;
use crate::model::check::{Check, Severity, Status};
use crate::model::report::Outcome;
use crate::model::sabotage::{Gone, Sabotage, Starved};
use crate::os::calls::Stops;
use crate::os::confinement::{self, Denied};
use crate::os::process::{self, Forked};
use crate::os::task::Task;
use crate::os::{descriptors, registers, signals, tracer};
use crate::round::Runner;

/// How much longer than its check a run may take.
const GRACE: Duration = Duration::from_secs(5);

/// Where programs keep what they need for a moment.
const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// What a host is called, and how many files may be open there, where nothing is as it was.
const ANOTHER_HOST: &str = "hospital-drill";
const FEW_FILES: u64 = 64;

/// What is to be run.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) check: Arc<Check>,
    /// What is sabotaged, and what a good run was seen to do.
    pub(super) sabotage: Option<(Sabotage, Arc<Trace>)>,
}

/// What came of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Came {
    found: Option<(Status, String)>,
    /// How the runner ended without a finding.
    lost: Option<String>,
    /// Why there was no run.
    pub(super) problem: Option<String>,
    /// Why a run under sabotage says nothing: this host was too busy for it.
    pub(super) busy: Option<String>,
    /// Whether there was none because this sabotage cannot be done here, and the check can be judged without it.
    pub(super) is_untried: bool,
    /// What a good run did.
    pub(super) seen: Option<Trace>,
    /// Whether a run under sabotage found its own memory of an answer missing, and tried to ask again.
    pub(super) asked_again: bool,
    /// How many of the programs of such a run ended badly.
    pub(super) failures: usize,
    /// Whether it trusted the certificate of a stranger.
    trusted: bool,
}

impl Came {
    fn problem(why: impl Into<String>) -> Came {
        Came { problem: Some(why.into()), ..Came::default() }
    }

    /// How the run ended.
    pub(super) fn end(&self) -> RunEnd {
        match (&self.found, &self.lost) {
            _ if self.trusted => RunEnd::Trusted,
            (Some((status, context)), _) => RunEnd::Found { status: *status, context: context.clone() },
            (None, Some(lost)) => RunEnd::Lost(lost.clone()),
            (None, None) => RunEnd::Lost("it left no finding".to_owned()),
        }
    }
}

/// A run that is under way.
pub(super) struct Running {
    pid: i32,
    pipe: PipeReader,
    told: Vec<u8>,
    pub(super) since: Instant,
    deadline: Instant,
    limit: Duration,
}

/// What programs add to a check: it is done before each run.
pub(crate) type Prepare<'a> = &'a dyn Fn(&Check) -> Result<(), String>;

impl Running {
    /// Starts a run. There must be no other thread in this process.
    pub(super) fn start(order: &Order, prepare: Prepare<'_>) -> io::Result<Running> {
        let (pipe, mut theirs) = io::pipe()?;
        descriptors::set_nonblocking(&pipe)?;
        match process::fork()? {
            Forked::Child { parent } => {
                // Where that is denied, only who kills a whole group leaves something behind.
                let _ = process::leave_group();
                // Blocked until there is something to kill.
                let came = match process::be_told_with(parent) {
                    Ok(true) => supervise(order, prepare),
                    Ok(false) | Err(_) => process::leave(1),
                };
                let json = serde_json::to_vec(&came).expect("it is plain data");
                // Without a reader, nobody wants to know.
                let _ = theirs.write_all(&json);
                process::leave(0)
            }
            Forked::Parent(pid) => {
                let (since, limit) = (Instant::now(), order.check.timeout + GRACE);
                Ok(Running { pid, pipe, told: Vec::new(), since, deadline: since + limit, limit })
            }
        }
    }

    /// What becomes readable when there is something to take.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What came of the run, if it is over.
    pub(super) fn take(&mut self, now: Instant) -> Option<Came> {
        let mut buffer = [0; 64 * 1024];
        loop {
            match descriptors::retry(|| self.pipe.read(&mut buffer)) {
                Ok(0) => break,
                Ok(length) => self.told.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && now < self.deadline => return None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tracer::end(self.pid);
                    let lost = format!("it did not end within {}", humantime::format_duration(self.limit));
                    return Some(Came { lost: Some(lost), ..Came::default() });
                }
                Err(error) => return Some(Came::problem(format!("the supervisor cannot be heard: {error}"))),
            }
        }
        tracer::put_down(self.pid);
        let came = serde_json::from_slice(&self.told);
        Some(came.unwrap_or_else(|_| Came::problem("its supervisor was killed")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        tracer::put_down(self.pid);
    }
}

/// What a runner tells before it runs.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Ready {
    problem: Option<String>,
    /// Why what stands in place of its files could not be made.
    untried: Option<String>,
    forgets_users: bool,
    writable: Vec<PathBuf>,
    /// What stands in place of its files, and where.
    leads: HashMap<PathBuf, PathBuf>,
}

fn supervise(order: &Order, prepare: Prepare<'_>) -> Came {
    try_to_supervise(order, prepare).unwrap_or_else(|error| Came::problem(error.to_string()))
}

fn try_to_supervise(order: &Order, prepare: Prepare<'_>) -> io::Result<Came> {
    if !registers::ARE_KNOWN {
        return Err(registers::unknown());
    }
    process::adopt_orphans()?;
    let (mut ready, ready_writer) = io::pipe()?;
    let (go_reader, go) = io::pipe()?;
    let (found, found_writer) = io::pipe()?;
    let (trusted, trusted_writer) = io::pipe()?;
    descriptors::set_nonblocking(&trusted)?;
    descriptors::set_nonblocking(&found)?;
    let runner = match process::fork()? {
        Forked::Child { parent } => {
            drop((ready, go, found, trusted));
            let pipes = Pipes { ready: ready_writer, go: go_reader, found: found_writer, trusted: trusted_writer };
            // An error has been told, or nobody listens.
            let _ = run(order, prepare, parent, pipes);
            process::leave(0)
        }
        Forked::Parent(pid) => pid,
    };
    signals::kill_when_told(runner)?;
    drop((ready_writer, go_reader, found_writer, trusted_writer));
    let mut told = Vec::new();
    read_line(&mut ready, &mut told)?;
    let ready: Ready = serde_json::from_slice(&told).map_err(|_| io::Error::other("its runner ended too early"))?;
    // A kind answers for what it minds; all others are asked about more than they may claim.
    let is_optional = Promise::of(&order.check, Status::Pass).notices.is_empty();
    if let Some(problem) = ready.problem.or_else(|| ready.untried.clone().filter(|_| !is_optional)) {
        tracer::put_down(runner);
        return Ok(Came::problem(problem));
    }
    if ready.untried.is_some() {
        tracer::put_down(runner);
        return Ok(Came { is_untried: true, ..Came::default() });
    }
    let counted = Counted::of(&order.check);
    let begin = move || {
        // Without it nobody knows what its sockets are.
        Task { tid: runner }.lend(0).map_err(|error| io::Error::new(error.kind(), format!("pidfd_getfd: {error}")))?;
        (&go).write_all(b"!")
    };
    let mut came = Came::default();
    let status = match &order.sabotage {
        None => {
            let mut learner = Learner::new(counted);
            let status = tracer::follow(runner, begin, &mut learner);
            // Whether it was told to end or was killed, it had no time.
            if signals::was_told() || status.as_ref().is_ok_and(|status| process::was_killed(*status)) {
                learner.tidy_up();
            }
            came.seen = Some(learner.into_seen());
            status
        }
        Some((sabotage, seen)) => {
            let mut saboteur = Saboteur::new(*sabotage, seen, counted);
            saboteur.confined(ready.forgets_users, ready.writable, ready.leads);
            let status = tracer::follow(runner, begin, &mut saboteur);
            came.asked_again = saboteur.attempted
                && (!saboteur.renewed.is_empty() || seen.files.iter().any(|path| seen::is_cache(path)));
            came.failures = saboteur.failures;
            status
        }
    };
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            tracer::put_down(runner);
            return Ok(Came::problem(format!(
                "it cannot be followed ({error}): allow ptrace (kernel.yama.ptrace_scope below 3, SYS_PTRACE in a container, \
                 no strace or debugger around hospital)"
            )));
        }
    };
    came.trusted = (&trusted).read(&mut [0]).is_ok_and(|length| length > 0);
    told.clear();
    // What was told before its end is in the pipe by now.
    let _ = (&found).read_to_end(&mut told);
    match serde_json::from_slice(&told) {
        Ok(Told::Found(found)) => came.found = found,
        Ok(Told::Problem(why)) => return Ok(Came::problem(why)),
        Ok(Told::Busy(why)) => return Ok(Came { busy: Some(why), ..came }),
        Err(_) => {}
    }
    if came.found.is_none() {
        came.lost = Some(process::ending(status));
    }
    Ok(came)
}

/// What a runner tells of its run.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    Found(Option<(Status, String)>),
    Busy(String),
    Problem(String),
}

fn read_line(pipe: &mut PipeReader, told: &mut Vec<u8>) -> io::Result<()> {
    let mut byte = [0];
    while descriptors::retry(|| pipe.read(&mut byte))? > 0 && byte != *b"\n" {
        told.push(byte[0]);
    }
    Ok(())
}

/// The runner's ends of the pipes to its supervisor.
struct Pipes {
    ready: PipeWriter,
    go: PipeReader,
    found: PipeWriter,
    trusted: PipeWriter,
}

/// The runner: confines itself, waits until it is followed, and runs the check as `hospital check` does.
fn run(order: &Order, prepare: Prepare<'_>, parent: i32, mut pipes: Pipes) -> io::Result<()> {
    if !process::die_with(parent)? {
        return Ok(());
    }
    let begun = process::lead_group().and_then(|()| signals::unblock_all()).and_then(|()| {
        descriptors::mute().map_err(|error| io::Error::new(error.kind(), format!("/dev/null: {error}")))
    });
    let ready = match &order.sabotage {
        _ if let Err(error) = begun => Err(format!("its process cannot begin: {error}")),
        None => Ok(Ready::default()),
        Some((sabotage, seen)) => {
            let asks_the_world = Promise::of(&order.check, Status::Pass).is_about_the_clock();
            confine(*sabotage, seen, asks_the_world, pipes.trusted)
        }
    };
    // A change of rights clears the request.
    if !process::die_with(parent)? {
        return Ok(());
    }
    let ready = ready.unwrap_or_else(|why| Ready { problem: Some(why), ..Ready::default() });
    pipes.ready.write_all(&[serde_json::to_vec(&ready)?, b"\n".to_vec()].concat())?;
    if ready.problem.is_some() {
        return Ok(());
    }
    pipes.go.read_exact(&mut [0])?;
    drop((pipes.ready, pipes.go));
    let stopped = tracer::stop_at_calls(match &order.sabotage {
        None => Stops::Data,
        Some((Sabotage::Starved(Starved::Clock(_)), _)) => Stops::Time,
        Some((Sabotage::Gone(Gone::Surroundings), _)) => Stops::Identity,
        Some(_) => Stops::Usual,
    });
    if let Err(error) = stopped {
        let why = format!(
            "its calls cannot be stopped at (seccomp: {error}): allow seccomp filters, as in a container without a profile of its own"
        );
        pipes.found.write_all(&serde_json::to_vec(&Told::Problem(why))?)?;
        return Ok(());
    }
    let told = match prepare(&order.check) {
        Ok(()) => {
            // What it finds is of interest, and not what is made of that.
            let check = Check {
                on_fail: Severity::Fail,
                needs: Vec::new(),
                grace: None,
                schedule: None,
                // They are about us, and would be seen as what the check does.
                controls: &[],
                ..(*order.check).clone()
            };
            let suite = std::iter::once(Arc::new(check)).collect();
            told_of(order, Runner::run(suite, Duration::MAX).outcomes.pop())
        }
        Err(why) => Told::Found(Some((Status::Error, format!("the program cannot run its checks: {why}")))),
    };
    pipes.found.write_all(&serde_json::to_vec(&told)?)?;
    process::leave(0)
}

/// What is told of a run with this outcome.
fn told_of(order: &Order, outcome: Option<Outcome>) -> Told {
    let Some(Outcome { finding, elapsed, .. }) = outcome else { return Told::Found(None) };
    let context = finding.context.unwrap_or_default();
    // It says itself that we are to blame for its being late, as where it has waited for its process.
    let is_late = finding.blame == Some(Blame::Ours) && elapsed * 2 >= order.check.timeout;
    match &order.sabotage {
        Some((sabotage, _)) if is_late && !matches!(sabotage, Sabotage::Starved(_)) => Told::Busy(context),
        // A good run is judged as it is, and who is starved may be late by that.
        _ => Told::Found(Some((finding.status, context))),
    }
}

/// What would allow what a filter of system calls, or a policy, denies.
const ALLOW: &str = ": allow that call, as in a container without a seccomp profile of its own";

/// Puts this process where the sabotage is. The error says what would allow it.
fn confine(sabotage: Sabotage, seen: &Trace, asks_the_world: bool, trusted: PipeWriter) -> Result<Ready, String> {
    // What the time is elsewhere can only be asked elsewhere, as in the good run.
    let keeps_network = asks_the_world && matches!(sabotage, Sabotage::Starved(Starved::Clock(_)));
    let forgets_users = confinement::enter(!keeps_network).map_err(|denied| unconfined(&denied))?;
    let failed = |error: io::Error| format!("its network cannot be set up: {error}");
    if sabotage != Sabotage::Gone(Gone::Interfaces) && !keeps_network {
        confinement::own_all_addresses().map_err(failed)?;
    }
    if !keeps_network {
        confinement::answer_no_ping();
    }
    let folders = folders(seen);
    let is_needed = |folder: &&PathBuf| seen.written.iter().any(|written| written.starts_with(folder));
    let needed: Vec<_> = folders.iter().filter(is_needed).cloned().collect();
    let put_aside = |error: io::Error| {
        format!(
            "its files cannot be put aside ({error}): allow mounts, and bind the root of a chroot on itself before (mount \
             --bind DIR DIR)"
        )
    };
    let overlay = confinement::overlay(&folders, &needed).map_err(put_aside)?;
    let substitutes = substitute::substitutes(sabotage, seen);
    let mut ready = Ready { forgets_users, writable: overlay.writable, ..Ready::default() };
    match overlay.room {
        _ if substitutes.is_empty() => {}
        Err(error) => ready.untried = Some(put_aside(error)),
        Ok(room) => {
            let place = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), room.into_raw_fd()));
            substitute::make(&place, &substitutes).map_err(put_aside)?;
            let paths = substitutes.into_iter().enumerate();
            ready.leads = paths.map(|(index, (path, _))| (path, place.join(index.to_string()))).collect();
        }
    }
    if sabotage.is_of_the_network() && sabotage != Sabotage::Refused {
        let impostor = Impostor::bind(sabotage, seen).map_err(failed)?;
        match process::fork().map_err(failed)? {
            Forked::Child { parent } => {
                if signals::unblock_all().is_err() || !process::die_with(parent).unwrap_or(false) {
                    process::leave(1);
                }
                let trusted = move || drop((&trusted).write_all(b"!"));
                impostor.answer(sabotage, seen, trusted)
            }
            Forked::Parent(_) => {}
        }
    }
    if sabotage == Sabotage::Gone(Gone::Surroundings) {
        confinement::move_elsewhere(ANOTHER_HOST, FEW_FILES)
            .map_err(|error| format!("it cannot have another name, processor and limit: {error}{ALLOW}"))?;
        forget_environment();
    }
    confinement::drop_rights().map_err(|error| format!("its rights cannot be dropped: {error}{ALLOW}"))?;
    Ok(ready)
}

/// Forgets all variables that a check may be about: not what programs need to be found and to run.
fn forget_environment() {
    const NEEDED: [&str; 9] = ["HOME", "HOSPITAL", "LANG", "LC_", "LOGNAME", "PATH", "SHELL", "TERM", "USER"];
    let is_needed = |name: &str, value: &str| {
        // Where something is.
        NEEDED.iter().any(|needed| name.starts_with(needed)) || value.starts_with('/')
    };
    let all: Vec<_> = std::env::vars_os()
        .filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            (!is_needed(&name, &value.to_string_lossy())).then_some(name)
        })
        .collect();
    process::change_environment([], all.iter().map(String::as_str));
}

/// The folders that a run may write to: the usual ones, and those that the good run wrote to, or keeps an answer in.
fn folders(seen: &Trace) -> Vec<PathBuf> {
    let caches = seen.files.iter().filter(|path| seen::is_cache(path));
    let written = seen.written.iter().chain(caches).filter_map(|path| path.parent().map(Path::to_owned));
    let all: BTreeSet<PathBuf> =
        TEMPORARY.iter().map(PathBuf::from).chain(written).filter(|path| path.is_dir()).collect();
    let kernel = |path: &PathBuf| ["/proc", "/sys", "/dev/pts"].iter().any(|mount| path.starts_with(mount));
    let is_inner = |path: &PathBuf| all.iter().any(|outer| outer != path && path.starts_with(outer));
    let outermost = all
        .iter()
        .filter(|path| path.parent().is_some() && **path != Path::new("/dev") && !kernel(path) && !is_inner(path));
    outermost.cloned().collect()
}

fn unconfined(Denied { what, error }: &Denied) -> String {
    format!(
        "there can be no namespaces here ({what}: {error}): run it as root, or allow user namespaces \
         (user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1, \
         kernel.apparmor_restrict_unprivileged_userns=0; in a container --privileged)"
    )
}

/// Whether a process can be confined here. The error says what would allow it.
pub(super) fn probe() -> io::Result<Option<String>> {
    let (mut reader, mut writer) = io::pipe()?;
    let pid = match process::fork()? {
        Forked::Child { parent } => {
            let told = match process::die_with(parent) {
                Ok(true) if !process::is_shown_to_itself() => {
                    "/proc is not there, or not that of its processes, so that nothing can be followed: mount it (mount -t \
                     proc proc /proc)"
                        .to_owned()
                }
                Ok(true) => confinement::enter(true).err().map(|denied| unconfined(&denied)).unwrap_or_default(),
                Ok(false) | Err(_) => String::new(),
            };
            // A lost answer is no answer.
            let _ = writer.write_all(told.as_bytes());
            process::leave(0)
        }
        Forked::Parent(pid) => pid,
    };
    drop(writer);
    let mut told = String::new();
    reader.read_to_string(&mut told)?;
    tracer::put_down(pid);
    Ok(Some(told).filter(|told| !told.is_empty()))
}
