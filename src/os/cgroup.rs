//! The control groups of this process that limit its memory and its tasks (cgroups(7)).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where control groups are mounted.
pub(crate) const MOUNT: &str = "/sys/fs/cgroup";

/// The version of control groups; the files have other names in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// The groups of this process as /proc tells them; empty where the kernel has no control groups.
pub(crate) fn membership() -> io::Result<String> {
    match fs::read_to_string("/proc/self/cgroup") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

/// The most processes and threads that there may be in our group, if there is a limit.
pub(crate) fn most_tasks() -> Option<usize> {
    most_tasks_in(Path::new(MOUNT), &membership().ok()?)
}

fn most_tasks_in(mount: &Path, membership: &str) -> Option<usize> {
    let limits = groups(mount, membership, "pids").map(|(group, _)| group.join("pids.max"));
    limits.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

/// In how many periods our groups could use CPU time up to a limit, and in how many of them they would have used more; `None`
/// where no group tells.
pub(crate) fn throttled() -> Option<(u64, u64)> {
    throttled_in(Path::new(MOUNT), &membership().ok()?)
}

fn throttled_in(mount: &Path, membership: &str) -> Option<(u64, u64)> {
    let counts = groups(mount, membership, "cpu").filter_map(|(group, _)| {
        let text = fs::read_to_string(group.join("cpu.stat")).ok()?;
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        Some((value("nr_periods ")?, value("nr_throttled ")?))
    });
    counts.reduce(|one, other| (one.0.wrapping_add(other.0), one.1.wrapping_add(other.1)))
}

/// How often something was not started in our groups, for there were as many tasks as there may be, and how often something was
/// killed there for want of memory.
pub(crate) fn shortages() -> (u64, u64) {
    let Ok(membership) = membership() else { return (0, 0) };
    let sum = |controller: &str, files: [&str; 2], name: &str| {
        let counts = groups(Path::new(MOUNT), &membership, controller).filter_map(|(group, version)| {
            let text = fs::read_to_string(group.join(files[usize::from(version == Version::One)])).ok()?;
            text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        });
        counts.fold(0, u64::wrapping_add)
    };
    let refused = sum("pids", ["pids.events", "pids.events"], "max ");
    (refused, sum("memory", ["memory.events", "memory.oom_control"], "oom_kill "))
}

/// Our group of this controller and the groups around it, from the inside out. In a container our path may be the one on the host, which
/// does not exist here: then the mounted root counts.
pub(crate) fn groups(mount: &Path, membership: &str, controller: &str) -> impl Iterator<Item = (PathBuf, Version)> {
    membership.lines().flat_map(move |line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let found = match controllers {
            "" => Some((mount.to_owned(), Version::Two)),
            names if names.split(',').any(|name| name == controller) => Some((mount.join(controller), Version::One)),
            _ => None,
        };
        let path = PathBuf::from(path.trim_start_matches('/'));
        found.into_iter().flat_map(move |(root, version)| {
            path.ancestors().map(|part| (root.join(part), version)).collect::<Vec<_>>()
        })
    })
}

/// Counts the out-of-memory kills in our group, and knows the file that reports them.
pub(crate) struct OomKills {
    file: PathBuf,
    seen: u64,
}

impl OomKills {
    /// Starts counting; `None` where the kernel does not count.
    pub(crate) fn watch() -> Option<OomKills> {
        OomKills::watch_in(Path::new(MOUNT), &membership().ok()?)
    }

    fn watch_in(mount: &Path, membership: &str) -> Option<OomKills> {
        groups(mount, membership, "memory").find_map(|(group, version)| {
            let file = group.join(match version {
                Version::One => "memory.oom_control",
                Version::Two => "memory.events",
            });
            let seen = count(&file)?;
            Some(OomKills { file, seen })
        })
    }

    /// Our group, if there was one more kill in it since the last call. The kernel counts before it kills, so the kill
    /// of a process that is dead has been counted.
    pub(crate) fn another(&mut self) -> Option<&Path> {
        if count(&self.file)? <= self.seen {
            return None;
        }
        self.seen += 1;
        self.file.parent()
    }

    /// Skips the kills so far: they hit other processes.
    pub(crate) fn catch_up(&mut self) {
        self.seen = count(&self.file).unwrap_or(self.seen);
    }
}

fn count(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mount: &Path, name: &str, text: &str) {
        let path = mount.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
        fs::write(path, text).expect("it can be written");
    }

    #[test]
    fn what_our_groups_had_no_time_for_adds_up() {
        let mount = tempfile::tempdir().expect("there is room");
        file(mount.path(), "cpu.stat", "usage_usec 7\n");
        assert_eq!(throttled_in(mount.path(), "0::/shop/a\n"), None);
        file(mount.path(), "shop/cpu.stat", "usage_usec 7\nnr_periods 9\nnr_throttled 2\nthrottled_usec 1\n");
        file(mount.path(), "shop/a/cpu.stat", "nr_periods 8\nnr_throttled 3\n");
        assert_eq!(throttled_in(mount.path(), "0::/shop/a\n"), Some((17, 5)));
        file(mount.path(), "cpu/b/cpu.stat", "nr_periods 9\nnr_throttled 4\n");
        assert_eq!(throttled_in(mount.path(), "4:cpu,cpuacct:/b\n"), Some((9, 4)));
    }

    #[test]
    fn each_kill_for_want_of_memory_is_noticed_once() {
        for (membership, name, before) in [
            ("0::/shop\n", "shop/memory.events", "low 0\nhigh 7\nmax 3\noom 3\n"),
            ("4:memory:/shop\n0::/\n", "memory/shop/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n"),
        ] {
            let mount = tempfile::tempdir().expect("there is room");
            file(mount.path(), name, &format!("{before}oom_kill 5\n"));
            let mut kills = OomKills::watch_in(mount.path(), membership).expect("it is counted");
            assert_eq!(kills.another(), None);
            file(mount.path(), name, &format!("{before}oom_kill 7\n"));
            assert_eq!(kills.another(), mount.path().join(name).parent());
            assert!(kills.another().is_some() && kills.another().is_none());
            file(mount.path(), name, &format!("{before}oom_kill 9\n"));
            kills.catch_up();
            assert_eq!(kills.another(), None);
        }
    }

    #[test]
    fn the_tightest_limit_of_tasks_counts() {
        for (membership, group) in [("0::/shop/web\n", "shop"), ("8:pids:/shop/web\n0::/\n", "pids/shop")] {
            let mount = tempfile::tempdir().expect("there is room");
            assert_eq!(most_tasks_in(mount.path(), membership), None);
            file(mount.path(), &format!("{group}/web/pids.max"), "max\n");
            assert_eq!(most_tasks_in(mount.path(), membership), None);
            file(mount.path(), &format!("{group}/pids.max"), "100\n");
            assert_eq!(most_tasks_in(mount.path(), membership), Some(100));
        }
    }

    #[test]
    fn where_nothing_is_counted_nothing_is_watched() {
        let mount = tempfile::tempdir().expect("there is room");
        assert!(OomKills::watch_in(mount.path(), "").is_none());
        file(mount.path(), "memory.events", "low 0\n");
        assert!(OomKills::watch_in(mount.path(), "0::/shop\n").is_none(), "an old kernel does not count them");
    }
}
