//! A check that never returns costs the others nothing, and nobody more than its timeout.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What the one that never returns says of itself.
const TIMEOUT: Duration = Duration::from_millis(300);

/// How late an answer may be on the slowest machine; benches/rounds.rs measures how late it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// The one that never returns beside 50 good ones.
fn names() -> String {
    (0..50).fold("bank.never".to_owned(), |mut names, n| {
        write!(names, " good{n}=file:/").expect("a string takes all");
        names
    })
}

#[test]
fn the_answer_comes_at_the_timeout_with_the_rest_as_found_the_second_time_as_the_first() {
    let bank = Bank::open();
    for context in ["timed out after 300ms", "still running after "] {
        let began = Instant::now();
        let (head, report) = bank.get();
        assert!(began.elapsed() < TIMEOUT + PATIENCE, "it took {:?}", began.elapsed());
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
        assert_eq!((&report["summary"]["pass"], &report["summary"]["error"]), (&50.into(), &1.into()), "{report}");
        let told = report["details"][0]["context"].as_str().expect("an error has a context");
        assert!(told.starts_with(context), "{told}");
    }
}

#[test]
fn the_command_line_comes_back_and_leaves_the_stuck_one_behind() {
    let began = Instant::now();
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_bank"))
        .arg("check")
        .env("HEALTHCHECKS", names())
        .stdin(Stdio::null())
        .output()
        .expect("cargo built the bank");
    let told = String::from_utf8_lossy(&stderr);
    assert!(began.elapsed() < TIMEOUT + PATIENCE, "it took {:?}", began.elapsed());
    assert_eq!(status.code(), Some(1), "{told}");
    assert!(told.contains("ERROR: bank.never\nThe bank answers.\n"), "{told}");
    assert!(told.contains("timed out after 300ms\n") && told.ends_with("\n\nFAILED (errors=1)\n"), "{told}");
}

#[test]
fn a_worker_that_hangs_is_replaced_and_the_log_names_the_check_that_it_was_in() {
    let mut bank = Bank::with(&["--timeout", "1s"], "bank.vault", Stdio::piped());
    let _client = {
        let mut stream = TcpStream::connect(&bank.address).expect("somebody listens");
        write!(stream, "GET / HTTP/1.1\r\nHost: bank\r\n\r\n").expect("it takes a request");
        stream
    };
    let log = BufReader::new(bank.process.stderr.take().expect("it is piped"));
    // Ends with the bank, if it never says so: that is a failure, for the line is missing then.
    let said = log.lines().map_while(Result::ok).find(|line| line.contains("hangs"));
    assert!(said.is_some_and(|line| line.contains("hangs in the check bank.vault: aborting it")));
    let mut stream = TcpStream::connect(&bank.address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    write!(stream, "GET /livez HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n").expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the successor answers");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// The bank's daemon, on a socket of this test's.
struct Bank {
    process: Child,
    address: String,
}

impl Bank {
    fn open() -> Bank {
        Bank::with(&[], &names(), Stdio::null())
    }

    fn with(args: &[&str], names: &str, stderr: Stdio) -> Bank {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let process = Command::new(env!("CARGO_BIN_EXE_bank"))
            .args(["serve", "--fd", "0"])
            .args(args)
            .env("HEALTHCHECKS", names)
            .env("VAULT_IS_STUCK", "yes")
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("cargo built the bank");
        Bank { process, address }
    }

    /// The head and the report of an answer.
    fn get(&self) -> (String, Value) {
        let mut stream = TcpStream::connect(&self.address).expect("somebody listens");
        stream.set_read_timeout(Some(TIMEOUT + PATIENCE)).expect("it is not zero");
        write!(stream, "GET / HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n").expect("it takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers in time");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        (head.to_owned(), serde_json::from_str(body).expect("the body is JSON"))
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        // It may have ended already; all that matters is that it has. Its workers leave with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
