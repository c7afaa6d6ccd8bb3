//! A check that never returns does not delay the others, and delays nobody beyond its timeout.

#[allow(dead_code)]
#[path = "bank/daemon.rs"]
mod daemon;

use std::fmt::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use daemon::{Bank, PATIENCE};

/// The timeout of the check that never returns.
const TIMEOUT: Duration = Duration::from_millis(300);

/// The check that never returns, and 50 good ones.
fn names() -> String {
    (0..50).fold("bank.never".to_owned(), |mut names, n| {
        write!(names, " good{n}=file:/").expect("a string takes all");
        names
    })
}

#[test]
fn the_answer_comes_at_the_timeout_with_the_rest_as_found_the_second_time_as_the_first() {
    let bank = Bank::open(&names(), &[], &[]);
    for context in ["timed out after 300ms", "still running after "] {
        let began = Instant::now();
        let (head, report) = bank.report();
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
    let bank = Bank::open("bank.vault", &["--timeout", "1s"], &[("VAULT_IS_STUCK", "yes")]);
    assert_eq!(bank.ask("/"), None, "there is no answer");
    assert!(bank.log().contains("hangs in the check bank.vault: aborting it"), "{}", bank.log());
    assert!(bank.ask("/livez").is_some_and(|answer| answer.starts_with("HTTP/1.1 200 ")));
}
