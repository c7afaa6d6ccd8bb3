//! Processes as /proc shows them.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

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
    /// What is known about a process; `None` if no process that we may see has this pid.
    pub(crate) fn of(pid: i32) -> Option<Stat> {
        Stat::read(pid).ok().flatten()
    }

    /// The same, with the error where /proc lists a process that we may not see.
    pub(crate) fn read(pid: i32) -> io::Result<Option<Stat>> {
        match read(pid, "stat") {
            Ok(bytes) => Ok(Stat::parse(&String::from_utf8_lossy(&bytes))),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// When it was started, by the clock that counts suspensions, or up to 10 ms before: that is a tick on all machines of
    /// today.
    pub(crate) fn began(&self) -> Duration {
        Duration::from_millis(self.started.saturating_mul(10))
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
    Ok(listed()?.filter_map(Result::ok))
}

/// Every process that /proc lists, with the error where we may not see it.
pub(crate) fn listed() -> io::Result<impl Iterator<Item = io::Result<Stat>>> {
    let pids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(|pid| Stat::read(pid).transpose()))
}

/// Whether /proc leaves out processes of other users for us (`hidepid` in proc(5)).
pub(crate) fn leaves_out() -> io::Result<bool> {
    Ok(are_left_out(&fs::read_to_string("/proc/self/mountinfo")?, &fs::read_to_string("/proc/self/status")?))
}

fn are_left_out(mounts: &str, status: &str) -> bool {
    const CAP_SYS_PTRACE: u32 = 19;
    let last = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc"));
    let options = || last.and_then(|line| line.rsplit(' ').next()).unwrap_or_default().split(',');
    let option = |name: &str| options().find_map(|option| option.strip_prefix(name));
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let sees_all = u64::from_str_radix(field("CapEff:"), 16).is_ok_and(|held| held >> CAP_SYS_PTRACE & 1 == 1);
    let groups = || field("Gid:").split_whitespace().chain(field("Groups:").split_whitespace());
    let is_excepted = option("gid=").is_some_and(|group| groups().any(|ours| ours == group));
    match option("hidepid=") {
        Some("invisible" | "2") => !sees_all && !is_excepted,
        Some("ptraceable" | "4") => !sees_all,
        Some(_) | None => false,
    }
}

/// Whether there is a process or a thread with this id, even if /proc leaves it out.
pub(crate) fn exists(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

/// The process of a thread, which has an entry in /proc too, though an unlisted one.
pub(crate) fn process_of(thread: i32) -> io::Result<i32> {
    let status = read(thread, "status")?;
    let text = String::from_utf8_lossy(&status);
    let found = text.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
    found.ok_or_else(|| io::Error::other("its status names no Tgid"))
}

/// The arguments that a process was started with; none if it is gone.
pub(crate) fn arguments(pid: i32) -> io::Result<Vec<String>> {
    match read(pid, "cmdline") {
        Err(error) if !is_gone(&error) => Err(error),
        read => Ok(strings(&read.unwrap_or_default())),
    }
}

/// The control groups that a process is in, in each hierarchy, as far as our control-group namespace shows them.
pub(crate) fn control_groups(pid: i32) -> io::Result<Vec<String>> {
    let text = String::from_utf8_lossy(&read(pid, "cgroup")?).into_owned();
    Ok(text.lines().filter_map(|line| Some(line.splitn(3, ':').nth(2)?.to_owned())).collect())
}

/// The environment that a process was started with; empty if we may not see it.
pub(crate) fn environment(pid: i32) -> Vec<String> {
    strings(&read(pid, "environ").unwrap_or_default())
}

/// Its limit on real-time CPU, in microseconds; `None` if it has none.
pub(crate) fn realtime_limit(pid: i32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max realtime timeout"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The sockets that a process holds, by their inodes. Other users' are only shown to those who may trace them.
pub(crate) fn sockets(pid: i32) -> io::Result<Vec<u64>> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?;
    let target = |entry: io::Result<fs::DirEntry>| match fs::read_link(entry?.path()) {
        Ok(target) => Ok(Some(target)),
        // It was closed since it was listed.
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    };
    let inode = |target: PathBuf| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    descriptors.map(target).filter_map(|target| target.map(|target| target.and_then(inode)).transpose()).collect()
}

/// The file that a process runs. Other users' are only shown to those who may trace them.
pub(crate) fn program(pid: i32) -> io::Result<String> {
    let path = fs::read_link(executable(pid))?.to_string_lossy().into_owned();
    // The kernel appends this when a program was replaced while it ran, as by an update.
    Ok(path.strip_suffix(" (deleted)").map(str::to_owned).unwrap_or(path))
}

/// A path that leads to the file that a process runs, even if that was replaced or lies in another root.
pub(crate) fn executable(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/exe"))
}

/// A path that leads us where this one leads a process, from its root or its working directory.
pub(crate) fn seen_by(pid: i32, path: &str) -> PathBuf {
    let start = if path.starts_with('/') { "root" } else { "cwd" };
    PathBuf::from(format!("/proc/{pid}/{start}/{path}"))
}

fn strings(bytes: &[u8]) -> Vec<String> {
    let strings = bytes.split(|&byte| byte == 0).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    strings.filter(|string| !string.is_empty()).collect()
}

/// Reads a file of a process, which can make its arguments and its environment as long as its memory.
fn read(pid: i32, file: &str) -> io::Result<Vec<u8>> {
    // The kernel gives a new program at most 6 MiB of both together.
    const MOST: u64 = 6 << 20;
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/{file}"))?.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether this is the error of a process that has ended.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
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
    fn who_may_not_see_all_is_known_by_the_mount_and_our_rights() {
        const ALL: &str = "Gid:\t0\t0\t0\t0\nGroups:\t\nCapEff:\t000001ffffffffff\n";
        const OURS: &str = "Gid:\t9\t9\t9\t9\nGroups:\t9 27\nCapEff:\t0000000000000000\n";
        for (options, status, left_out) in [
            ("rw", OURS, false),
            ("rw,hidepid=noaccess", OURS, false),
            ("rw,hidepid=invisible", OURS, true),
            ("rw,gid=28,hidepid=2", OURS, true),
            ("rw,gid=27,hidepid=2", OURS, false),
            ("rw,gid=27,hidepid=ptraceable", OURS, true),
            ("rw,hidepid=invisible", ALL, false),
            ("rw,hidepid=4", ALL, false),
        ] {
            let mounts = format!(
                "1 0 0:1 / / rw - ext4 /dev/sda rw\n2 1 0:2 / /proc rw,nosuid shared:5 - proc proc {options}\n"
            );
            assert_eq!(are_left_out(&mounts, status), left_out, "{options} {status}");
        }
    }

    #[test]
    fn this_process_is_among_all() {
        let pid = i32::try_from(std::process::id()).expect("pids are small");
        let stat = all().expect("/proc is mounted").find(|stat| stat.pid == pid).expect("it runs");
        assert!(!stat.is_dead());
        assert_eq!(program(pid).ok(), std::env::current_exe().ok().map(|path| path.display().to_string()));
        assert_eq!(arguments(pid).expect("it is ours").first(), std::env::args().next().as_ref());
        assert!(environment(pid).iter().any(|variable| variable.starts_with("CARGO")));
    }
}
