//! Processes as /proc shows them (proc(5)).

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The living children of a process, in order of their pids.
pub(crate) fn children(parent: i32) -> Vec<i32> {
    let mut children: Vec<i32> =
        all().filter(|&pid| stat(pid).is_some_and(|stat| !stat.is_dead() && stat.parent == parent)).collect();
    children.sort_unstable();
    children
}

/// The living children of a process, theirs, and so on.
pub(crate) fn descendants(root: i32) -> Vec<i32> {
    let stats: Vec<_> = all().filter_map(|pid| Some((pid, stat(pid)?))).filter(|(_, stat)| !stat.is_dead()).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(stats.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| pid));
        next += 1;
    }
    found.split_off(1)
}

/// All pids.
pub(crate) fn all() -> impl Iterator<Item = i32> {
    let processes = std::fs::read_dir("/proc").expect("/proc is mounted");
    processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Whether a process runs: neither gone nor a zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| !stat.is_dead())
}

/// Whether any process of a group runs, whatever its parent is by now.
pub(crate) fn is_group_alive(group: i32) -> bool {
    all().filter_map(stat).any(|stat| stat.group == group && !stat.is_dead())
}

/// A process's state letter, such as `S`, or `T` when it is stopped.
pub(crate) fn state(pid: i32) -> Option<char> {
    stat(pid).map(|stat| stat.state)
}

/// The process that started this one, or has adopted it.
pub(crate) fn parent(pid: i32) -> Option<i32> {
    stat(pid).map(|stat| stat.parent)
}

/// The fields of /proc/PID/stat that are needed here.
struct Stat {
    state: char,
    parent: i32,
    group: i32,
}

impl Stat {
    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some(Stat { state, parent: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
}

/// How much CPU time a process has used, even if it has ended and is not reaped; to ten milliseconds.
#[track_caller]
pub(crate) fn cpu(pid: i32) -> std::time::Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is not reaped");
    let fields: Vec<&str> = text.rsplit_once(") ").expect("a name is in parentheses").1.split(' ').collect();
    let ticks: u32 = fields[11..13].iter().map(|field| field.parse::<u32>().expect("a number")).sum();
    std::time::Duration::from_millis(10) * ticks
}

/// A field of /proc/PID/status, such as `Threads` or `VmRSS`, without its unit.
#[track_caller]
pub(crate) fn status(pid: i32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map(str::trim);
    value.unwrap_or_else(|| panic!("no {field} in {text}")).trim_end_matches(" kB").to_owned()
}

/// [`status`], for a field that is one number.
#[track_caller]
pub(crate) fn number(pid: i32, field: &str) -> u64 {
    status(pid, field).parse().expect("the field is a number")
}

/// The open descriptors of a process, and what they are.
#[track_caller]
pub(crate) fn descriptors(pid: i32) -> BTreeMap<i32, PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is ours");
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, std::fs::read_link(entry.path()).ok()?))
        })
        .collect()
}

/// How many sockets a process has open: connections, listeners and its own pairs.
#[track_caller]
pub(crate) fn sockets(pid: i32) -> usize {
    descriptors(pid).values().filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// The name of a process, as the kernel keeps it.
pub(crate) fn name(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// The flags of an open descriptor, close-on-exec among them.
#[track_caller]
pub(crate) fn descriptor_flags(pid: i32, fd: i32) -> u32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).expect("it is open");
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).expect("each has flags");
    u32::from_str_radix(flags.trim(), 8).expect("they are octal")
}

/// Limits the descriptors of a running process, and of what it forks from now on.
#[track_caller]
pub(crate) fn limit_descriptors(pid: i32, limit: u64) {
    let limits = format!("--nofile={limit}:");
    let status = std::process::Command::new("prlimit").args(["--pid", &pid.to_string(), &limits]).status();
    assert!(status.expect("util-linux is installed").success());
}

/// Allows this process and what it starts as many descriptors as possible.
pub(crate) fn allow_many_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is such a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("everyone may go up to the hard limit");
}
