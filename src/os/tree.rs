//! Whole process trees: found by parent, by process group and by a mark in the environment, and killed.
//!
//! A process leaves its group by `setsid`, and loses its parents when they die; but its initial environment stays in
//! `/proc/PID/environ`. Only a process that sheds all three, the last through `env -i`, can get away, and only if its
//! parents were gone before we looked.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::descriptors;
use super::pidfd::PidFd;
use super::process::{self, Forked};
use super::procfs::{self, Stat};

/// The variable that marks all processes of a tree. Its value ends with the mark of the tree, after those of the trees
/// around it, since a check may run hospital again.
pub(crate) const MARKER: &str = "HOSPITAL_EXEC_ID";

/// How long killed processes may take to disappear before we look at them again.
const PATIENCE: Duration = Duration::from_secs(1);

static STARTED: AtomicU64 = AtomicU64::new(0);
static CLOSED: AtomicBool = AtomicBool::new(false);

/// A unique name for a process tree.
pub(super) struct Mark(String);

impl Mark {
    /// A new mark.
    ///
    /// # Errors
    ///
    /// When this process is about to end: whatever it starts now would outlive it.
    pub(super) fn new() -> io::Result<Mark> {
        let serial = STARTED.fetch_add(1, Ordering::SeqCst);
        if CLOSED.load(Ordering::SeqCst) {
            return Err(io::Error::other("hospital is about to end"));
        }
        Ok(Mark(format!("{}{serial:x}", prefix(std::process::id()))))
    }

    /// The value of [`MARKER`] for the root of the tree.
    pub(super) fn value(&self) -> String {
        match std::env::var(MARKER) {
            Ok(around) => format!("{around} {}", self.0),
            Err(_) => self.0.clone(),
        }
    }
}

/// The beginning of all marks made by the process with this pid: this one, or one forked from it.
fn prefix(pid: u32) -> String {
    format!("{:x}.{pid:x}.", found_family())
}

/// Fixes the name that this process, and all that it forks from now on, put into their marks. It is a point in time, so
/// that processes with the same pid at another time or in another container are not taken for ours.
pub(super) fn found_family() -> u128 {
    static FOUNDED: OnceLock<u128> = OnceLock::new();
    *FOUNDED.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos())
}

/// Kills what is left in the process group of a child. The child must not be reaped yet: until then its pid cannot be
/// reused.
pub(super) fn kill_group(leader: i32) {
    // If none is left, or we may kill none, the closer look will show it.
    let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
}

/// Kills the tree of a child that is not reaped yet, and waits until none of its processes is alive.
///
/// Returns the pids of those that we may not kill, for example because they changed their user.
pub(super) fn kill(root: i32, mark: &Mark) -> BTreeSet<i32> {
    let spared =
        kill_all_of(&|stat| stat.pid == root || stat.group == root || is_marked(stat.pid, &|word| word == mark.0));
    // Without /proc, nothing was found above.
    kill_group(root);
    spared
}

/// Kills everything that this process has started through [`super::child`], and prevents it from starting more. Call
/// this at the end of the process: the threads that would do it end with it.
pub(crate) fn kill_all() {
    CLOSED.store(true, Ordering::SeqCst);
    // Most processes have started nothing and need not look at all the others.
    if STARTED.load(Ordering::SeqCst) > 0 {
        let prefix = prefix(std::process::id());
        kill_all_of(&|stat| is_marked(stat.pid, &|word| word.starts_with(&prefix)));
    }
}

/// Kills what a worker left running when it was itself killed.
///
/// A forked process does it, and then ends: reading /proc can take long, and the master never waits.
pub(crate) fn kill_orphans_of(dead: i32) -> io::Result<()> {
    match process::fork()? {
        Forked::Parent(_) => Ok(()),
        Forked::Child { .. } => {
            // It must not keep a listener open, not even for a moment.
            let _ = descriptors::close_all();
            let prefix = prefix(dead.unsigned_abs());
            let is_ours = |stat: &Stat| is_marked(stat.pid, &|word| word.starts_with(&prefix));
            for process in stop_all_of(&is_ours, &mut BTreeSet::new()) {
                let _ = process.send(Signal::SIGKILL);
            }
            process::leave(0)
        }
    }
}

/// Starts a process that does nothing until we are dead. Then it kills what our workers' checks have left running,
/// since killed workers cannot. Returns its pid.
pub(crate) fn start_keeper(name: &str) -> io::Result<i32> {
    match process::fork()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child { parent } => {
            process::set_name(name);
            let _ = descriptors::close_all();
            // If waiting fails, we may still be alive, so nothing may be killed.
            if process::outlive(parent).is_ok() {
                let family = format!("{:x}.", found_family());
                kill_all_of(&|stat| is_marked(stat.pid, &|word| word.starts_with(&family)));
            }
            process::leave(0)
        }
    }
}

fn is_marked(pid: i32, is_ours: &dyn Fn(&str) -> bool) -> bool {
    let variables = procfs::environment(pid);
    let marks = variables.iter().filter_map(|variable| variable.strip_prefix(MARKER)?.strip_prefix('='));
    marks.flat_map(str::split_whitespace).any(is_ours)
}

fn kill_all_of(is_ours: &dyn Fn(&Stat) -> bool) -> BTreeSet<i32> {
    let mut spared = BTreeSet::new();
    loop {
        let stopped = stop_all_of(is_ours, &mut spared);
        if stopped.is_empty() {
            return spared;
        }
        for process in &stopped {
            // We could stop it, so we can kill it.
            let _ = process.send(Signal::SIGKILL);
        }
        let patience = Instant::now() + PATIENCE;
        for process in &stopped {
            // A process that hangs in the kernel is found again at the next look.
            let _ = process.wait_with(Vec::new(), patience);
        }
    }
}

/// Stops processes until no more are found: stopped processes cannot start others that get away.
fn stop_all_of(is_ours: &dyn Fn(&Stat) -> bool, spared: &mut BTreeSet<i32>) -> Vec<PidFd> {
    let mut stopped = BTreeMap::new();
    loop {
        let known = stopped.len() + spared.len();
        for stat in with_descendants(is_ours) {
            if stopped.contains_key(&stat.pid) || spared.contains(&stat.pid) {
                continue;
            }
            if let Some(process) = hold(&stat) {
                match process.send(Signal::SIGSTOP) {
                    Ok(()) => drop(stopped.insert(stat.pid, process)),
                    Err(_) => drop(spared.insert(stat.pid)),
                }
            }
        }
        if stopped.len() + spared.len() == known {
            return stopped.into_values().collect();
        }
    }
}

/// The processes that are ours, and all their descendants.
fn with_descendants(is_ours: &dyn Fn(&Stat) -> bool) -> Vec<Stat> {
    let all: Vec<Stat> = procfs::all().map(Iterator::collect).unwrap_or_default();
    let mut ours: BTreeSet<i32> = all.iter().filter(|stat| is_ours(stat)).map(|stat| stat.pid).collect();
    loop {
        let children = all.iter().filter(|stat| ours.contains(&stat.parent) && !ours.contains(&stat.pid));
        let children: Vec<i32> = children.map(|stat| stat.pid).collect();
        if children.is_empty() {
            return all.into_iter().filter(|stat| ours.contains(&stat.pid)).collect();
        }
        ours.extend(children);
    }
}

/// Opens a living process, if it is still the one that was seen and not another with its pid.
fn hold(seen: &Stat) -> Option<PidFd> {
    let process = PidFd::open(seen.pid).ok()?;
    Stat::of(seen.pid).filter(|now| now.started == seen.started)?;
    (!process.has_ended()).then_some(process)
}
