//! Whole process trees: found by parent, by process group and by a mark in the environment, and killed.
//!
//! A process leaves its group by `setsid`, and loses its parents when they die; but its initial environment stays in
//! `/proc/PID/environ`. Only a process that sheds all three, the last through `env -i`, can get away, and only if its
//! parents were gone before we looked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::descriptors::{self, wait_readable};
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
    format!("{:x}.{pid:x}.", process::family())
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
    // It does nothing more until its turn comes, and its parents stay known.
    let _ = killpg(Pid::from_raw(root), Signal::SIGSTOP);
    let spared = SWEEPS.kill(Tree { root, mark: mark.0.clone() });
    // Without /proc, nothing was found above.
    kill_group(root);
    spared
}

/// A tree that is to be killed.
struct Tree {
    root: i32,
    mark: String,
}

/// Looking at all processes of the host costs the same for one tree as for many: those whose time has come while one
/// thread looks are killed together at the next look.
struct Sweeps {
    queue: Mutex<Queue>,
    changed: Condvar,
}

static SWEEPS: Sweeps = Sweeps { queue: Mutex::new(Queue::new()), changed: Condvar::new() };

struct Queue {
    waiting: Vec<Tree>,
    /// Whether a thread is looking.
    is_swept: bool,
    /// What was spared of each tree that was killed, under its root.
    killed: BTreeMap<i32, BTreeSet<i32>>,
}

impl Queue {
    const fn new() -> Queue {
        Queue { waiting: Vec::new(), is_swept: false, killed: BTreeMap::new() }
    }
}

impl Sweeps {
    fn kill(&self, tree: Tree) -> BTreeSet<i32> {
        let root = tree.root;
        let mut queue = self.lock();
        queue.waiting.push(tree);
        loop {
            if let Some(spared) = queue.killed.remove(&root) {
                return spared;
            }
            if queue.is_swept {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let trees = std::mem::take(&mut queue.waiting);
            queue.is_swept = true;
            drop(queue);
            let spared = sweep(&trees);
            queue = self.lock();
            queue.is_swept = false;
            queue.killed.extend(trees.iter().map(|tree| tree.root).zip(spared));
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing is half done under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kills these trees. Returns what is spared of each.
fn sweep(trees: &[Tree]) -> Vec<BTreeSet<i32>> {
    let by_root: HashMap<i32, usize> = trees.iter().zip(0..).map(|(tree, index)| (tree.root, index)).collect();
    let by_mark: HashMap<&str, usize> = trees.iter().zip(0..).map(|(tree, index)| (&*tree.mark, index)).collect();
    // What is older than all of them belongs to none, and need not be looked at closely.
    let oldest = trees.iter().map(|tree| Stat::of(tree.root).map_or(0, |stat| stat.started)).min().unwrap_or_default();
    let spared = kill_all_of(&|stat| {
        let tree = || by_root.get(&stat.pid).or_else(|| by_root.get(&stat.group)).copied();
        let marked = || marks(stat.pid).iter().find_map(|mark| by_mark.get(mark.as_str()).copied());
        if stat.started < oldest { None } else { tree().or_else(marked) }
    });
    let of = |index| spared.iter().filter(|&(_, tree)| *tree == index).map(|(pid, _)| *pid).collect();
    (0..trees.len()).map(of).collect()
}

/// Kills everything that this process has started through [`super::child`], and prevents it from starting more. Call
/// this at the end of the process: the threads that would do it end with it.
pub(crate) fn kill_all() {
    CLOSED.store(true, Ordering::SeqCst);
    // Most processes have started nothing and need not look at all the others.
    if STARTED.load(Ordering::SeqCst) > 0 {
        let prefix = prefix(std::process::id());
        kill_all_of(&marked_with(&prefix));
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
            for process in stop_all_of(&marked_with(&prefix), &mut BTreeMap::new()) {
                let _ = process.send(Signal::SIGKILL);
            }
            process::leave(0)
        }
    }
}

/// Starts a process that does nothing until we are dead. Then it kills what our workers' checks have left running,
/// since killed workers cannot. Returns its pid.
pub(crate) fn start_orphan_reaper(name: &str) -> io::Result<i32> {
    match process::fork()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child { parent } => {
            process::set_name(name);
            let _ = descriptors::close_all();
            // If waiting fails, we may still be alive, so nothing may be killed.
            if process::outlive(parent).is_ok() {
                let family = format!("{:x}.", process::family());
                kill_all_of(&marked_with(&family));
            }
            process::leave(0)
        }
    }
}

/// The marks of a process.
fn marks(pid: i32) -> Vec<String> {
    let variables = procfs::environment(pid);
    let values = variables.iter().filter_map(|variable| variable.strip_prefix(MARKER)?.strip_prefix('='));
    values.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// All processes with a mark that begins like this, as one tree.
fn marked_with(prefix: &str) -> impl Fn(&Stat) -> Option<usize> {
    move |stat| marks(stat.pid).iter().any(|mark| mark.starts_with(prefix)).then_some(0)
}

/// Kills the processes that `tree_of` assigns to a tree, and all their descendants. Returns those that we may not kill,
/// with their trees.
fn kill_all_of(tree_of: &dyn Fn(&Stat) -> Option<usize>) -> BTreeMap<i32, usize> {
    let mut spared = BTreeMap::new();
    loop {
        let stopped = stop_all_of(tree_of, &mut spared);
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
            let _ = wait_readable(&[process.as_fd()], Some(patience));
        }
    }
}

/// Stops processes until no more are found: stopped processes cannot start others that get away.
fn stop_all_of(tree_of: &dyn Fn(&Stat) -> Option<usize>, spared: &mut BTreeMap<i32, usize>) -> Vec<PidFd> {
    let mut stopped = BTreeMap::new();
    loop {
        let known = stopped.len() + spared.len();
        for (stat, tree) in with_descendants(tree_of) {
            if stopped.contains_key(&stat.pid) || spared.contains_key(&stat.pid) {
                continue;
            }
            if let Some(process) = hold(&stat) {
                match process.send(Signal::SIGSTOP) {
                    Ok(()) => drop(stopped.insert(stat.pid, process)),
                    Err(_) => drop(spared.insert(stat.pid, tree)),
                }
            }
        }
        if stopped.len() + spared.len() == known {
            return stopped.into_values().collect();
        }
    }
}

/// The processes that are assigned to a tree, and all their descendants.
fn with_descendants(tree_of: &dyn Fn(&Stat) -> Option<usize>) -> Vec<(Stat, usize)> {
    let all: Vec<Stat> = procfs::all().map(Iterator::collect).unwrap_or_default();
    let mut trees: BTreeMap<i32, usize> = all.iter().filter_map(|stat| Some((stat.pid, tree_of(stat)?))).collect();
    loop {
        let new = all.iter().filter(|stat| !trees.contains_key(&stat.pid));
        let children: Vec<_> = new.filter_map(|stat| Some((stat.pid, *trees.get(&stat.parent)?))).collect();
        if children.is_empty() {
            return all.into_iter().filter_map(|stat| trees.get(&stat.pid).map(|&tree| (stat, tree))).collect();
        }
        trees.extend(children);
    }
}

/// Opens a living process, if it is still the one that was seen and not another with its pid.
fn hold(seen: &Stat) -> Option<PidFd> {
    let process = PidFd::open(seen.pid).ok()?;
    Stat::of(seen.pid).filter(|now| now.started == seen.started)?;
    (!process.has_ended()).then_some(process)
}
