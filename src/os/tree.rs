//! Whole process trees: found by parent, by process group and by a mark, and killed.
//!
//! A process leaves its group by `setsid`, and loses its parents when they die. Its mark stays, in two places:
//!
//! - in its initial environment, as long as it does not write its name over that, or starts through `env -i`;
//! - in its limit on real-time CPU (RLIMIT_RTTIME, getrlimit(2)), as a number of microseconds. Of what a process hands down
//!   to all its descendants, this is what we can mark without any right and without effect: it binds only those under a
//!   real-time scheduler, after 146,000 years. And /proc shows it, whoever they are by then.
//!
//! Each is there for what the other misses. The limit can only be set once the program runs, so what that starts in its
//! first moments does not have it; and if a check runs hospital, whose checks have marks of their own, it tells the
//! innermost mark alone. A subreaper would find orphans, too, but could not tell whose they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
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

/// A unique number for a process tree: the family, the process that started it, and a serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark(u64);

/// The bits of a mark that tell the pid and the serial number. Linux has no larger pids.
const PID: u32 = 22;
const SERIAL: u32 = 16;

/// Marks are above this, which is more than anybody else would set as a limit.
const CENTURIES: u64 = 1 << 62;

/// Whose trees are meant.
#[derive(Clone, Copy)]
enum Whose {
    /// Those of a process with this pid: ours, or one forked by us.
    Process(u32),
    /// Those of our whole family.
    Family,
}

impl Mark {
    /// A new mark.
    ///
    /// # Errors
    ///
    /// When this process is about to end: whatever it starts now would outlive it.
    pub(crate) fn new() -> io::Result<Mark> {
        let serial = STARTED.fetch_add(1, Ordering::SeqCst);
        if CLOSED.load(Ordering::SeqCst) {
            return Err(io::Error::other("hospital is about to end"));
        }
        Ok(Mark::of(std::process::id(), serial))
    }

    fn of(pid: u32, serial: u64) -> Mark {
        let (family, serial) = (process::family() as u64 % (1 << (62 - PID - SERIAL)), serial % (1 << SERIAL));
        Mark(CENTURIES | family << (PID + SERIAL) | u64::from(pid) << SERIAL | serial)
    }

    fn is_of(self, whose: Whose) -> bool {
        match whose {
            Whose::Process(pid) => self.0 >> SERIAL == Mark::of(pid, 0).0 >> SERIAL,
            Whose::Family => self.0 >> (PID + SERIAL) == Mark::of(0, 0).0 >> (PID + SERIAL),
        }
    }

    /// The value of [`MARKER`] for the root of the tree.
    pub(crate) fn value(self) -> String {
        match std::env::var(MARKER) {
            Ok(around) => format!("{around} {:x}", self.0),
            Err(_) => format!("{:x}", self.0),
        }
    }

    /// The limit that marks the root of the tree, where that sets it itself.
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// Marks the root of the tree, and all that it starts from now on.
    pub(super) fn limit(self, root: i32) {
        let Ok((ours, rlim_max)) = getrlimit(Resource::RLIMIT_RTTIME) else { return };
        // A limit that somebody meant stays.
        if ours < CENTURIES {
            return;
        }
        let limit = libc::rlimit { rlim_cur: self.0, rlim_max };
        // SAFETY: the limit is live, and no old one is asked for. Where it fails, there is the other mark.
        unsafe { libc::prlimit(root, libc::RLIMIT_RTTIME, &raw const limit, std::ptr::null_mut()) };
    }

    /// The marks of a process.
    fn all_of(pid: i32) -> Vec<Mark> {
        let variables = procfs::environment(pid);
        let values = variables.iter().filter_map(|variable| variable.strip_prefix(MARKER)?.strip_prefix('='));
        let words = values.flat_map(str::split_whitespace).filter_map(|word| u64::from_str_radix(word, 16).ok());
        words.chain(procfs::realtime_limit(pid)).map(Mark).collect()
    }
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
pub(crate) fn kill(root: i32, mark: Mark) -> BTreeSet<i32> {
    // It does nothing more until its turn comes, and its parents stay known.
    let _ = killpg(Pid::from_raw(root), Signal::SIGSTOP);
    let spared = SWEEPS.kill(Tree { root, mark });
    // Without /proc, nothing was found above.
    kill_group(root);
    spared
}

/// Kills what has this mark, where the root of the tree may have been reaped by another.
pub(crate) fn kill_marked(mark: Mark) {
    kill_all_of(&|stat| Mark::all_of(stat.pid).contains(&mark).then_some(0));
}

/// Marks an interpreter by its own pid, and with it what its modules start. Its runs have marks of their own.
pub(crate) fn mark_interpreter(pid: i32) {
    Mark::of(pid.unsigned_abs(), 0).limit(pid);
}

/// Kills an interpreter, if it lives, and what its modules have started. It may have been reaped.
pub(crate) fn kill_interpreter(pid: i32) {
    kill_all_of(&marked_by(Whose::Process(pid.unsigned_abs())));
}

/// A tree that is to be killed.
struct Tree {
    root: i32,
    mark: Mark,
}

/// Looking at all processes of the host costs the same for one tree as for many: those whose time has come while one
/// thread looks are killed together at the next look.
struct Sweeps {
    queue: Mutex<Waiting>,
    changed: Condvar,
}

static SWEEPS: Sweeps = Sweeps { queue: Mutex::new(Waiting::new()), changed: Condvar::new() };

struct Waiting {
    waiting: Vec<Tree>,
    /// Whether a thread is looking.
    is_swept: bool,
    /// What was spared of each tree that was killed, under its root.
    killed: BTreeMap<i32, BTreeSet<i32>>,
}

impl Waiting {
    const fn new() -> Waiting {
        Waiting { waiting: Vec::new(), is_swept: false, killed: BTreeMap::new() }
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

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing is half done under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kills these trees. Returns what is spared of each.
fn sweep(trees: &[Tree]) -> Vec<BTreeSet<i32>> {
    let by_root: HashMap<i32, usize> = trees.iter().zip(0..).map(|(tree, index)| (tree.root, index)).collect();
    let by_mark: HashMap<Mark, usize> = trees.iter().zip(0..).map(|(tree, index)| (tree.mark, index)).collect();
    // What is older than all of them belongs to none, and need not be looked at closely.
    let oldest = trees.iter().map(|tree| Stat::of(tree.root).map_or(0, |stat| stat.started)).min().unwrap_or_default();
    let spared = kill_all_of(&|stat| {
        let tree = || by_root.get(&stat.pid).or_else(|| by_root.get(&stat.group)).copied();
        let marked = || Mark::all_of(stat.pid).iter().find_map(|mark| by_mark.get(mark).copied());
        if stat.started < oldest { None } else { tree().or_else(marked) }
    });
    let of = |index| spared.iter().filter(|&(_, tree)| *tree == index).map(|(pid, _)| *pid).collect();
    (0..trees.len()).map(of).collect()
}

/// Kills every program that this process has run for a check, and prevents it from starting more. Call
/// this at the end of the process: the threads that would do it end with it.
pub(crate) fn kill_all() {
    CLOSED.store(true, Ordering::SeqCst);
    // Most processes have started nothing and need not look at all the others.
    if STARTED.load(Ordering::SeqCst) > 0 {
        kill_all_of(&marked_by(Whose::Process(std::process::id())));
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
            let is_orphan = marked_by(Whose::Process(dead.unsigned_abs()));
            for process in stop_all_of(&is_orphan, &mut BTreeMap::new()) {
                let _ = process.send(Signal::SIGKILL);
            }
            process::leave(0)
        }
    }
}

/// Whether a program is left that a process has started for a check since then, by the clock that counts suspensions. Looks
/// at all processes of the host.
pub(crate) fn has_programs_of(pid: u32, since: Duration) -> bool {
    const TICK: Duration = Duration::from_millis(10);
    let (is_its, since) = (marked_by(Whose::Process(pid)), since.saturating_sub(TICK));
    let is_left = |stat: Stat| !stat.is_dead() && stat.began() >= since && is_its(&stat).is_some();
    procfs::all().is_ok_and(|mut all| all.any(is_left))
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
                kill_all_of(&marked_by(Whose::Family));
            }
            process::leave(0)
        }
    }
}

/// All these processes, as one tree.
fn marked_by(whose: Whose) -> impl Fn(&Stat) -> Option<usize> {
    move |stat| Mark::all_of(stat.pid).iter().any(|mark| mark.is_of(whose)).then_some(0)
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
            let _ = process.wait_with(Vec::new(), patience);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_whose_tree_it_is() {
        let mark = Mark::of(4_194_303, 65_536 + 7);
        assert!(mark.is_of(Whose::Process(4_194_303)) && mark.is_of(Whose::Family));
        assert!(!mark.is_of(Whose::Process(4_194_302)));
        assert!(mark != Mark::of(4_194_303, 8) && mark != Mark::of(7, 7));
        let of_others = Mark(mark.0 ^ 1 << (PID + SERIAL));
        assert!(!of_others.is_of(Whose::Family) && !of_others.is_of(Whose::Process(4_194_303)));
        assert!([u64::MAX, 0, 1000].into_iter().all(|limit| !Mark(limit).is_of(Whose::Family)), "limits of others");
    }
}
