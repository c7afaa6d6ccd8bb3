//! A whole Debian with systemd as its first process, in namespaces of its own: the root that tests/run has made,
//! read-only under a layer in memory. `/usr/bin/hospital` is the binary under test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};

use super::family::{Family, PATIENCE};
use super::{HOSPITAL, Signal, eventually, processes, send, within};

/// A running machine. Dropping it ends every process in it and removes its control groups.
pub(crate) struct Machine {
    family: Family,
    /// Its first process, as the host numbers it.
    first: i32,
    /// Its control groups, in each hierarchy that systemd uses.
    groups: Vec<PathBuf>,
}

/// The result of a command in the machine.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Machine {
    /// Starts one with the binary under test in it.
    #[track_caller]
    pub(crate) fn boot() -> Machine {
        Machine::of("systemd-root", &format!("{HOSPITAL}:/usr/bin/hospital"))
    }

    /// Starts one from a root below `target/`, with something of the host mounted in it (`FROM:TO`), and waits until
    /// all its own services are up.
    #[track_caller]
    pub(crate) fn of(root: &str, bound: &str) -> Machine {
        static MACHINES: AtomicUsize = AtomicUsize::new(0);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(root);
        assert!(root.exists(), "{} is made by tests/run", root.display());
        let name = format!("hospital-{}-{}", std::process::id(), MACHINES.fetch_add(1, Ordering::Relaxed));
        let groups: Vec<_> = hierarchies().into_iter().map(|hierarchy| hierarchy.join(&name)).collect();
        groups.iter().for_each(|group| fs::create_dir(group).expect("root may make control groups"));
        let directory = tempfile::tempdir().expect("there is room");
        // nspawn must be in the groups from the start, so that everything that it starts is, too.
        let enter = "while [ \"$1\" != -- ]; do echo $$ >\"$1/cgroup.procs\"; shift; done; shift; exec \"$@\"";
        let family = Family::start(directory, "/bin/sh", |command| {
            command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1").args(["-c", enter, "sh"]).args(&groups);
            command.args(["--", "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network"]);
            command.args(["--read-only", "--volatile=overlay", "--console=pipe", "--boot"]).arg("--machine").arg(&name);
            command.arg("--directory").arg(root).arg(format!("--bind-ro={bound}"));
        });
        let mut machine = Machine { family, first: 0, groups };
        within(PATIENCE, "all that the machine starts runs", || {
            machine.first = processes::children(machine.family.head()).first().copied().unwrap_or_default();
            machine.first > 0 && machine.run(&["systemctl", "is-system-running"]).stdout.trim() == "running"
        });
        machine
    }

    /// Installs units from `deploy/systemd`, unchanged.
    #[track_caller]
    pub(crate) fn install(&self, units: &[&str]) {
        for unit in units {
            let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd").join(unit);
            fs::copy(&shipped, self.path(&format!("/etc/systemd/system/{unit}"))).expect("the unit is there");
        }
        self.systemctl(&["daemon-reload"]);
    }

    /// Overrides settings of a unit, as `systemctl edit` does.
    #[track_caller]
    pub(crate) fn edit(&self, unit: &str, text: &str) {
        self.write(&format!("/etc/systemd/system/{unit}.d/override.conf"), text);
        self.systemctl(&["daemon-reload"]);
    }

    /// A file of the machine, as the host sees it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.first))
    }

    #[track_caller]
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("it is absolute")).expect("the layer is writable");
        fs::write(path, text).expect("the layer is writable");
    }

    /// Runs a command in the machine.
    #[track_caller]
    pub(crate) fn run(&self, command_line: &[&str]) -> Ran {
        let mut command = Command::new("timeout");
        let patience = PATIENCE.as_secs().to_string();
        command.args([&patience, "nsenter", "--target", &self.first.to_string(), "--all", "--"]).args(command_line);
        let output = command.output().expect("util-linux is installed");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Runs `systemctl ARGS`, which must succeed; returns what it prints.
    #[track_caller]
    pub(crate) fn systemctl(&self, args: &[&str]) -> String {
        let ran = self.run(&[&["systemctl", "--no-pager"], args].concat());
        assert_eq!(ran.code, Some(0), "systemctl {args:?}: {ran:?}\n{}", self.journal());
        ran.stdout
    }

    /// A property of a unit, as `systemctl show` prints it.
    #[track_caller]
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        self.systemctl(&["show", "--value", "--property", name, unit]).trim().to_owned()
    }

    /// Everything that was logged.
    pub(crate) fn journal(&self) -> String {
        self.run(&["journalctl", "--no-pager", "--output=cat"]).stdout
    }

    /// Waits for a line in the journal.
    #[track_caller]
    pub(crate) fn logs(&self, text: &str) {
        eventually(&format!("the journal has {text:?}"), || self.journal().contains(text));
    }

    /// The processes of a unit that is not an instance, as the host numbers them.
    pub(crate) fn processes(&self, unit: &str) -> Vec<i32> {
        // nspawn makes a group for itself beside that of the machine.
        let group = format!("payload/system.slice/{unit}/cgroup.procs");
        let lists = self.groups.iter().filter_map(|base| fs::read_to_string(base.join(&group)).ok());
        lists.take(1).flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
    }

    /// The workers of a service, as the host numbers them.
    pub(crate) fn workers(&self, unit: &str) -> Vec<i32> {
        let is_worker = |pid: &i32| processes::name(*pid).starts_with("hospital:w");
        self.processes(unit).into_iter().filter(is_worker).collect()
    }

    /// The master of a service, as the host numbers it.
    #[track_caller]
    pub(crate) fn master(&self, unit: &str) -> i32 {
        let masters: Vec<_> =
            self.processes(unit).into_iter().filter(|&pid| processes::name(pid) == "hospital:master").collect();
        let [master] = masters[..] else { panic!("{unit} has the masters {masters:?}") };
        master
    }

    /// Every process of the machine with this name, whatever started it.
    pub(crate) fn named(&self, name: &str) -> Vec<i32> {
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = namespace(self.first);
        processes::all().filter(|&pid| processes::name(pid) == name && namespace(pid) == own).collect()
    }

    /// Does something in the machine's network: sockets and threads that are made in it belong to that network.
    #[track_caller]
    pub(crate) fn inside<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.first)).expect("the machine runs");
        thread::scope(|scope| {
            let enter = || {
                setns(network, CloneFlags::CLONE_NEWNET).expect("root may enter it");
                action()
            };
            scope.spawn(enter).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() && self.first > 0 {
            eprintln!("--- the machine's journal\n{}---", self.journal());
        }
        // The first process of a namespace takes all others with it, and then nspawn ends.
        if self.first > 0 {
            send(self.first, Signal::SIGKILL);
        }
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < deadline && !self.groups.iter().all(|group| remove(group)) {
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// Removes control groups, innermost first; fails while there is a process in any.
fn remove(group: &Path) -> bool {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).for_each(|entry| {
        remove(&entry.path());
    });
    fs::remove_dir(group).is_ok() || !group.exists()
}

/// The hierarchies in which systemd has its groups: the unified one, and its own if there are others.
fn hierarchies() -> Vec<PathBuf> {
    let hybrid: Vec<_> = ["unified", "systemd"].iter().map(|name| Path::new("/sys/fs/cgroup").join(name)).collect();
    if hybrid.iter().all(|path| path.exists()) { hybrid } else { vec!["/sys/fs/cgroup".into()] }
}
