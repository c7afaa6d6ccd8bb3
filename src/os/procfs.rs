//! Processes as /proc shows them.

use std::fs;
use std::io;

/// What `/proc/PID/stat` says about a process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stat {
    pub(crate) pid: i32,
    /// The name of the program, or what it calls itself: at most 15 bytes.
    pub(crate) name: String,
    state: char,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    /// When it was started, in clock ticks since boot: together with the pid it identifies one process.
    pub(crate) started: u64,
}

impl Stat {
    /// What is known about a process; `None` if no process has this pid.
    pub(crate) fn of(pid: i32) -> Option<Stat> {
        Stat::parse(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
    }

    /// Whether it has ended and is waiting to be reaped.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Whether it is stopped, by SIGSTOP or by a debugger.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// Source of the fields: proc_pid_stat(5).
    fn parse(line: &str) -> Option<Stat> {
        // The name is in parentheses and may itself contain parentheses and spaces.
        let (pid, rest) = line.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let mut fields = rest.split_ascii_whitespace();
        Some(Stat {
            pid: pid.parse().ok()?,
            name: name.to_owned(),
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
            started: fields.nth(16)?.parse().ok()?,
        })
    }
}

/// Every process that we may see.
pub(crate) fn all() -> io::Result<impl Iterator<Item = Stat>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| Stat::of(entry.ok()?.file_name().to_str()?.parse().ok()?)))
}

/// The arguments that a process was started with.
pub(crate) fn arguments(pid: i32) -> Vec<String> {
    strings(pid, "cmdline")
}

/// The environment that a process was started with; empty if we may not see it.
pub(crate) fn environment(pid: i32) -> Vec<String> {
    strings(pid, "environ")
}

/// Its limit on real-time CPU, in microseconds; `None` if it has none.
pub(crate) fn realtime_limit(pid: i32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max realtime timeout"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The file that a process runs, if we may see it.
pub(crate) fn program(pid: i32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?.to_string_lossy().into_owned();
    // The kernel appends this when a program was replaced while it ran, as by an update.
    Some(path.strip_suffix(" (deleted)").map(str::to_owned).unwrap_or(path))
}

fn strings(pid: i32, file: &str) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let strings = bytes.split(|&byte| byte == 0).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    strings.filter(|string| !string.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses_and_spaces() {
        let line = "42 (a) b (c) S 7 41 41 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 98765 1000 1 18446744073709551615\n";
        let expected = Stat { pid: 42, name: "a) b (c".into(), state: 'S', parent: 7, group: 41, started: 98765 };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse("42 (cut) S 7"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn this_process_is_among_all() {
        let pid = i32::try_from(std::process::id()).expect("pids are small");
        let stat = all().expect("/proc is mounted").find(|stat| stat.pid == pid).expect("it runs");
        assert!(!stat.is_dead());
        assert_eq!(program(pid), std::env::current_exe().ok().map(|path| path.display().to_string()));
        assert_eq!(arguments(pid).first(), std::env::args().next().as_ref());
        assert!(environment(pid).iter().any(|variable| variable.starts_with("CARGO")));
    }
}
