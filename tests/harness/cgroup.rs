//! Control groups for one test, of whichever version is mounted. Needs root.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A control group. Dropping it kills its processes, and removes it.
pub(crate) struct Cgroup {
    pub(crate) path: PathBuf,
    pub(crate) is_v2: bool,
}

impl Cgroup {
    /// A group that can be frozen.
    #[track_caller]
    pub(crate) fn to_freeze() -> Cgroup {
        let mut v2 = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].into_iter();
        let v2 = v2.rfind(|mount| fs::exists(format!("{mount}/cgroup.procs")).unwrap_or_default());
        Cgroup::new("freezer", v2.unwrap_or("/sys/fs/cgroup"))
    }

    /// A group below the mount of version 1's controller, or else below this mount of version 2.
    #[track_caller]
    pub(crate) fn new(controller: &str, v2: &str) -> Cgroup {
        static GROUPS: AtomicUsize = AtomicUsize::new(0);
        let v1 = PathBuf::from("/sys/fs/cgroup").join(controller);
        let is_v2 = !v1.join("cgroup.procs").exists();
        let name = format!("hospital-test-{}-{}", std::process::id(), GROUPS.fetch_add(1, Ordering::Relaxed));
        let path = if is_v2 { PathBuf::from(v2) } else { v1 }.join(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}: run it as root", path.display()));
        Cgroup { path, is_v2 }
    }

    /// Moves a process into it; what that starts from now on belongs to it, too.
    #[track_caller]
    pub(crate) fn take(&self, pid: i32) {
        self.set("cgroup.procs", &pid.to_string());
    }

    /// Stops all processes in it, until [`Cgroup::thaw`].
    #[track_caller]
    pub(crate) fn freeze(&self) {
        if self.is_v2 {
            self.set("cgroup.freeze", "1")
        } else {
            self.set("freezer.state", "FROZEN")
        }
        let is_frozen = || match self.is_v2 {
            true => self.text("cgroup.events").contains("frozen 1"),
            false => self.text("freezer.state").trim() == "FROZEN",
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_frozen() {
            assert!(Instant::now() < deadline, "{} does not freeze", self.path.display());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[track_caller]
    pub(crate) fn thaw(&self) {
        if self.is_v2 { self.set("cgroup.freeze", "0") } else { self.set("freezer.state", "THAWED") }
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path.join(file)).unwrap_or_default()
    }

    /// Writes one of its files.
    #[track_caller]
    pub(crate) fn set(&self, file: &str, value: &str) {
        let path = self.path.join(file);
        fs::write(&path, value).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    pub(crate) fn try_set(&self, file: &str, value: &str) {
        let _ = fs::write(self.path.join(file), value);
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.try_set(
            if self.is_v2 { "cgroup.freeze" } else { "freezer.state" },
            if self.is_v2 { "0" } else { "THAWED" },
        );
        let deadline = Instant::now() + Duration::from_secs(10);
        // It can be removed once it has no processes, not even zombies.
        while fs::remove_dir(&self.path).is_err() && Instant::now() < deadline {
            for pid in self.text("cgroup.procs").lines() {
                let _ = std::process::Command::new("kill").args(["-KILL", pid]).output();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
