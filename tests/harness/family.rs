//! A program and all its descendants, wherever they are: service managers put what they start into sessions and groups
//! of its own, and leave orphans when they die.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Signal, processes, send, within};

/// How long a service manager may take: some look only once a second.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The variable that every member has inherited, and no other process has with this value. A program that clears the
/// environment must be told to leave it.
pub(crate) const MARK: &str = "TEST_FAMILY";

/// Running processes. Dropping it kills them all.
pub(crate) struct Family {
    head: Child,
    mark: String,
    directory: TempDir,
}

impl Family {
    /// Starts a program in a directory of its own, with its output in the files `stdout` and `stderr` there.
    #[track_caller]
    pub(crate) fn start(directory: TempDir, program: impl AsRef<OsStr>, adapt: impl FnOnce(&mut Command)) -> Family {
        static FAMILIES: AtomicUsize = AtomicUsize::new(0);
        let mark = format!("{}-{}", std::process::id(), FAMILIES.fetch_add(1, Ordering::Relaxed));
        let output = |name| std::fs::File::create(directory.path().join(name)).expect("the directory is ours");
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env(MARK, &mark)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .process_group(0);
        adapt(&mut command);
        let head = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", program.as_ref()));
        Family { head, mark, directory }
    }

    /// Another program whose descendants belong to the family, for programs that start something and end.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env(MARK, &self.mark);
        command
    }

    /// The pid of the program that was started.
    pub(crate) fn head(&self) -> i32 {
        self.head.id() as i32
    }

    /// All living members, in order of their pids.
    pub(crate) fn members(&self) -> Vec<i32> {
        let mark = format!("{MARK}={}", self.mark);
        let is_marked = |pid: &i32| {
            // A zombie's environment is empty.
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes())
        };
        let mut members: Vec<_> = processes::all().filter(is_marked).collect();
        members.sort_unstable();
        members
    }

    /// The masters among them.
    pub(crate) fn masters(&self) -> Vec<i32> {
        // The longest name that the kernel keeps.
        self.members().into_iter().filter(|&pid| processes::name(pid) == "hospital:master").collect()
    }

    /// Waits until there is exactly one master with all its `workers`, which is not in `before`.
    #[track_caller]
    pub(crate) fn new_master(&self, before: &[i32], workers: usize) -> i32 {
        let mut masters = Vec::new();
        within(PATIENCE, "one new master with all its workers is all there is", || {
            masters = self.masters();
            matches!(masters[..], [master] if !before.contains(&master) && self.workers_of(master).len() == workers)
        });
        masters[0]
    }

    /// The workers of a master that have their names, which they get once they handle TERM.
    pub(crate) fn workers_of(&self, master: i32) -> Vec<i32> {
        let named = |pid: &i32| processes::name(*pid).starts_with("hospital:w");
        processes::children(master).into_iter().filter(named).collect()
    }

    /// Waits until a master has as many workers as `before`, all of them new.
    #[track_caller]
    pub(crate) fn expect_new_workers(&self, master: i32, before: &[i32]) {
        within(PATIENCE, "every worker is replaced", || {
            let now = self.workers_of(master);
            now.len() == before.len() && now.iter().all(|pid| !before.contains(pid))
        });
    }

    /// Polls until the condition holds, as long as the program that was started runs.
    #[track_caller]
    pub(crate) fn within_patience(&self, what: &str, mut condition: impl FnMut() -> bool) {
        within(PATIENCE, what, || {
            condition() || {
                assert!(
                    processes::is_alive(self.head()),
                    "{what}: did not happen, and the head of the family has ended"
                );
                false
            }
        });
    }

    /// Waits until no member is alive.
    #[track_caller]
    pub(crate) fn expect_extinct(&mut self) {
        within(PATIENCE, "every process of the family ends", || {
            // So that its head is not a zombie.
            let _ = self.head.try_wait();
            self.members().is_empty()
        });
    }

    /// Waits for the end of the program that was started.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        within(PATIENCE, "the head of the family ends", || {
            status = self.head.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("it was just seen")
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The content of a file in its directory, such as `stdout`.
    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn print_files(&self) {
        let files = std::fs::read_dir(self.directory.path()).into_iter().flatten().flatten();
        for path in files.map(|file| file.path()).filter(|path| path.is_file()) {
            eprintln!("--- {}\n{}", path.display(), std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_files();
        }
        // Repeatedly: a process that was just forked inherits the mark but was not seen.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let members = self.members();
            members.iter().for_each(|&pid| send(pid, Signal::SIGKILL));
            if members.is_empty() || Instant::now() > deadline {
                break;
            }
        }
        // The head may have lost its mark.
        let _ = self.head.kill();
        let _ = self.head.wait();
    }
}

/// A file from `deploy/`, with each `from` replaced by its `to`. Each must appear exactly once: the test is of the file
/// as it is shipped, except for its place.
#[track_caller]
pub(crate) fn deployed(path: &str, replacements: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    replacements.iter().fold(text, |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{} has {from:?} once", path.display());
        text.replace(from, to)
    })
}

/// An address for another program to bind that cannot be given port 0. The port is free now, and as this process has a
/// loopback address of its own, nobody else is likely to take it before it is bound.
pub(crate) fn own_address() -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 64 | high, middle, low);
    let listener = TcpListener::bind((ip, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound")
}

/// A program in the Python environment that tests/run makes.
pub(crate) fn python_program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv/bin").join(name)
}
