//! Drives the real binary from outside: start it, talk to it, signal it, and leave nothing behind.
//!
//! ```ignore
//! let mut server = Server::start(["-w", "2"]);
//! assert_eq!(get(&server.at, "/").status, 200);
//! server.signal(Signal::SIGTERM);
//! assert_eq!(server.wait(), Some(0));
//! ```

pub(crate) mod browser;
pub(crate) mod cgroup;
pub(crate) mod circus;
pub(crate) mod client;
#[cfg(all(feature = "dns", feature = "tls"))]
pub(crate) mod drill;
pub(crate) mod family;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod metrics;
pub(crate) mod once;
pub(crate) mod processes;
pub(crate) mod programs;
pub(crate) mod python;
pub(crate) mod site;

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use client::{Answer, At, Client, Stream, assert_is_error, get, try_get};
pub(crate) use nix::sys::signal::Signal;
use nix::sys::signal::{kill, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long anything may take that must happen: far longer than it does on the slowest machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// The binary under test.
pub(crate) const HOSPITAL: &str = env!("CARGO_BIN_EXE_hospital");

/// Polls until the condition holds; panics at the deadline and says what did not happen.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    within(DEADLINE, what, condition);
}

/// [`eventually`] for tests of the time itself.
#[track_caller]
pub(crate) fn within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "within {limit:?}: {what}: did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// For tests that take the whole machine, and for those that time what it does: one of them at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // Poisoned by a test that failed, which is no concern of the next one.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How to start a server.
pub(crate) struct Launch {
    command: Command,
    /// `None`: it binds by itself, and reports where.
    listener: Option<OwnedFd>,
    at: Option<At>,
    directory: TempDir,
}

/// A running server. Dropping it kills its whole process group.
pub(crate) struct Server {
    child: Child,
    /// Where it answers.
    pub(crate) at: At,
    /// Its own directory, which holds its output and possibly more.
    directory: TempDir,
}

/// The file with what the clock of a server is set to.
const CLOCK: &str = "clock";

impl Launch {
    /// `hospital serve ARGS` on a listener that the test has bound and passes as descriptor 0.
    pub(crate) fn serve<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(args: I) -> Launch {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        Launch::binding(["--fd", "0"]).on(listener).args(args)
    }

    /// `hospital serve ARGS`, which must name the addresses to bind: the server reports them.
    pub(crate) fn binding<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(args: I) -> Launch {
        Launch::of(HOSPITAL).args(args)
    }

    /// `serve` by another program that is a hospital; otherwise as [`Launch::binding`].
    pub(crate) fn of(program: impl AsRef<std::ffi::OsStr>) -> Launch {
        let mut command = Command::new(program);
        command.arg("serve").stdin(Stdio::null());
        Launch { command: clean(command), listener: None, at: None, directory: directory() }
    }

    /// A shell script that ends in `exec "$@"`, for redirections: `"$@"` is `hospital serve ARGS`.
    pub(crate) fn script<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(script: &str, args: I) -> Launch {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh", HOSPITAL, "serve"]).stdin(Stdio::null());
        Launch { command: clean(command), listener: None, at: None, directory: directory() }.args(args)
    }

    /// Another program that will start the server with the arguments given to it, such as `strace`.
    pub(crate) fn under<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(program: &str, args: I) -> Launch {
        let mut command = Command::new(program);
        command.args(args).args([HOSPITAL, "serve"]).stdin(Stdio::null());
        Launch { command: clean(command), listener: None, at: None, directory: directory() }
    }

    /// A server whose wall clock [`Server::set_clock`] sets: that of its host stays as it is.
    pub(crate) fn with_a_clock<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(args: I) -> Launch {
        let launch = Launch::script(r#"exec env LD_PRELOAD="$(faketime -f +0d printenv LD_PRELOAD)" "$@""#, args);
        let clock = launch.path(CLOCK);
        std::fs::write(&clock, "+0d").expect("the directory is ours");
        launch
            .env("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    /// Passes this listener as descriptor 0; the test may keep a clone of it, as circus does.
    pub(crate) fn on(mut self, listener: TcpListener) -> Launch {
        self.at = Some(At::Tcp(listener.local_addr().expect("it is bound")));
        self.listener = Some(listener.into());
        self
    }

    /// Passes any descriptor as 0.
    pub(crate) fn stdin(mut self, fd: impl Into<OwnedFd>) -> Launch {
        self.listener = Some(fd.into());
        self
    }

    pub(crate) fn args<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(mut self, args: I) -> Launch {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Launch {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Launch {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn current_dir(mut self, directory: &Path) -> Launch {
        self.command.current_dir(directory);
        self
    }

    /// A path in the directory of the future server.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts it and waits until all its workers answer.
    #[track_caller]
    pub(crate) fn start(self) -> Server {
        let mut server = self.spawn();
        eventually("the server says that it serves", || {
            if let Some(status) = server.child.try_wait().expect("it is our child") {
                panic!("the server ended with {status}:\n{}", server.stderr());
            }
            server.stdout().contains("Serving on ")
        });
        if let At::Nowhere = server.at {
            server.at = At::announced(&server.stdout());
        }
        server
    }

    /// Starts it without waiting for anything.
    #[track_caller]
    pub(crate) fn spawn(mut self) -> Server {
        if let Some(listener) = self.listener.take() {
            self.command.stdin(listener);
        }
        let output = |name| std::fs::File::create(self.directory.path().join(name)).expect("the directory is ours");
        self.command.stdout(output("stdout")).stderr(output("stderr")).process_group(0);
        let child = self.command.spawn().expect("the program can be started");
        Server { child, at: self.at.unwrap_or(At::Nowhere), directory: self.directory }
    }

    /// Runs what must not become a server; returns its exit code and its standard error.
    #[track_caller]
    pub(crate) fn refused(self) -> (i32, String) {
        let mut server = self.spawn();
        let code = server.wait();
        (code.expect("it exits by itself"), server.stderr())
    }

    /// Runs what prints something and exits with 0; returns what it printed.
    #[track_caller]
    pub(crate) fn printed(self) -> String {
        let mut server = self.spawn();
        assert_eq!(server.wait(), Some(0), "{}", server.stderr());
        server.stdout()
    }
}

/// A boot that must fail, with further variables; returns its exit code and standard error.
#[track_caller]
pub(crate) fn refused(args: &[&str], env: &[(&str, &str)]) -> (i32, String) {
    env.iter().fold(Launch::binding(args), |launch, (name, value)| launch.env(name, value)).refused()
}

impl Server {
    /// [`Launch::serve`], started.
    #[track_caller]
    pub(crate) fn start<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(args: I) -> Server {
        Launch::serve(args).start()
    }

    /// The pid of the master.
    pub(crate) fn master(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sets its wall clock by so much, as in `+1h`, against that of the host.
    pub(crate) fn set_clock(&self, jump: &str) {
        std::fs::write(self.path(CLOCK), jump).expect("the directory is ours");
    }

    /// The pids of the workers, in order.
    pub(crate) fn workers(&self) -> Vec<i32> {
        let is_worker = |pid: &i32| !["hospital:reaper", "hospital:python"].contains(&&*processes::name(*pid));
        processes::children(self.master()).into_iter().filter(is_worker).collect()
    }

    /// A path in the server's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(self.path("stdout")).unwrap_or_default()
    }

    /// The log, while it goes to standard error.
    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }

    /// Waits for a line in the log.
    #[track_caller]
    pub(crate) fn logs(&self, text: &str) {
        eventually(&format!("the log says {text:?}"), || self.stderr().contains(text));
    }

    /// Sends a signal to the master.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.master(), signal);
    }

    /// Waits for the master's end; returns its exit code, or `None` if a signal ended it.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.status().code()
    }

    /// Waits for the master's end.
    #[track_caller]
    pub(crate) fn status(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the server ends", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("it was just seen")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The programs of checks have groups of their own, and nobody is left to end them.
        let programs = processes::descendants(self.master());
        // KILL also ends stopped processes. It is fine if none is left.
        let _ = killpg(Pid::from_raw(self.master()), Signal::SIGKILL);
        programs.into_iter().for_each(|pid| send(pid, Signal::SIGKILL));
        let _ = self.child.wait();
        // A dying process keeps what it holds, such as the lock beside a socket, until it is dead.
        let deadline = Instant::now() + DEADLINE;
        while processes::is_group_alive(self.master()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if std::thread::panicking() {
            eprintln!("--- stdout\n{}--- stderr\n{}---", self.stdout(), self.stderr());
        }
    }
}

/// Sends a signal to any process; if it is gone, that is no failure.
pub(crate) fn send(pid: i32, signal: Signal) {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(errno) => panic!("cannot send {signal} to {pid}: {errno}"),
    }
}

/// Writes a program. It is another process that does: if one of our threads forked while this process had the file open
/// for writing, it could not be executed.
#[track_caller]
pub(crate) fn write_program(path: &Path, text: &str) {
    let mut write = Command::new("/bin/sh");
    write.args(["-c", "printf '%s' \"$1\" >\"$2\" && chmod 755 \"$2\"", "sh", text]).arg(path);
    assert!(write.status().expect("there is a shell").success(), "{}", path.display());
}

/// A command without the test's environment, but with one check that passes.
fn clean(mut command: Command) -> Command {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HEALTHCHECKS", "hospital.healthchecks.predictable.collected");
    command
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("there is room for temporary files")
}
