//! The bank's daemon, on a socket of the test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How late an answer may be on the slowest machine; benches/rounds.rs measures how late it is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Bank {
    pub(crate) process: Child,
    address: String,
    directory: TempDir,
}

impl Bank {
    /// Starts it with these checks. The listener is already bound, so the first request waits for it.
    pub(crate) fn open(names: &str, args: &[&str], variables: &[(&str, &str)]) -> Bank {
        let mut program = Command::new(env!("CARGO_BIN_EXE_bank"));
        program.arg("serve");
        Bank::run(program, names, args, variables)
    }

    /// Starts it with another command, to which `--fd 0` and the rest are added.
    pub(crate) fn run(mut command: Command, names: &str, args: &[&str], variables: &[(&str, &str)]) -> Bank {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let directory = tempfile::tempdir().expect("there is room");
        let log = std::fs::File::create(directory.path().join("log")).expect("the directory is ours");
        let process = command
            .args(["--fd", "0"])
            .args(args)
            .env("HEALTHCHECKS", names)
            .env("BANK_ROBBERY", directory.path().join("robbery"))
            .envs(variables.iter().copied())
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("cargo built the bank");
        Bank { process, address, directory }
    }

    /// From now on the checks that may be robbed end their worker in this way; `None`: they no longer do.
    pub(crate) fn robbed(&self, way: Option<&str>) {
        let file: PathBuf = self.directory.path().join("robbery");
        match way {
            Some(way) => std::fs::write(file, way).expect("the directory is ours"),
            None => std::fs::remove_file(file).expect("it was there"),
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).expect("the log is UTF-8")
    }

    /// The answer; `None` when the connection ends without one.
    pub(crate) fn ask(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE * 2)).expect("it is not zero");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n").expect("it takes a request");
        let mut answer = String::new();
        // If the connection is reset because the worker died, that is no answer either.
        let read = stream.read_to_string(&mut answer);
        let is_late = read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_late, "{path}: no answer in time\n{}", self.log());
        (!answer.is_empty()).then_some(answer)
    }

    /// The head and the report of an answer, which must come.
    pub(crate) fn report(&self) -> (String, Value) {
        let answer = self.ask("/").expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        (head.to_owned(), serde_json::from_str(body).expect("the body is JSON"))
    }

    /// Sends a signal to the master.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(sent.expect("there is a kill").success());
    }

    /// Polls until the condition holds.
    #[track_caller]
    pub(crate) fn within(&self, limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + limit;
        while !condition() {
            assert!(Instant::now() < deadline, "within {limit:?}: {what}: did not happen\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        // It may have ended already, which is fine. Its workers end with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
