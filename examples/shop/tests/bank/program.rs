//! A bank that never answers, whose vault may hang its worker, and which may be robbed: to test what happens to the
//! others.

use std::process::{Command, ExitCode};
use std::time::Duration;

use hospital::healthcheck;

/// The bank answers.
#[healthcheck(timeout = "300ms")]
fn never() {
    forever();
}

/// The vault is counted, in the worker's own loop, for which it says that it never waits.
#[healthcheck(blocking = false, tags = ["liar"])]
fn vault() {
    if std::env::var_os("VAULT_IS_STUCK").is_some() {
        forever();
    }
}

/// The counter is not robbed.
#[healthcheck]
fn counter() {
    be_robbed();
}

/// The till is not robbed, in the worker's own loop.
#[healthcheck(blocking = false)]
fn till() {
    be_robbed();
}

/// The clerk does his work, and takes his time.
#[healthcheck]
fn clerk() {
    std::thread::sleep(Duration::from_millis(200));
}

/// Ends the process in the way that the file of BANK_ROBBERY names, as long as it exists.
fn be_robbed() {
    let way = std::env::var("BANK_ROBBERY").map(|file| std::fs::read_to_string(file).unwrap_or_default());
    match way.unwrap_or_default().as_str() {
        "" => {}
        "abort" => std::process::abort(),
        "exit" => std::process::exit(7),
        "retire" => std::process::exit(0),
        "memory" => drop(vec![1_u8; 1 << 30]),
        // Repeatedly: Rust's own handler of SIGSEGV, which looks for a stack overflow, lets only the second one end the
        // process.
        signal => loop {
            let _ = Command::new("kill").args([signal, &std::process::id().to_string()]).status();
        },
    }
}

fn forever() {
    loop {
        std::thread::park();
    }
}

fn main() -> ExitCode {
    hospital::main()
}
