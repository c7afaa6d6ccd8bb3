//! A bank that never answers, and whose vault may hang its worker: for the tests of what becomes of the others.

use std::process::ExitCode;

use hospital::healthcheck;

/// The bank answers.
#[healthcheck(timeout = "300ms")]
fn never() {
    loop {
        std::thread::park();
    }
}

/// The vault is counted, in the worker's own loop, for which it says that it never waits.
#[healthcheck(blocking = false, tags = ["liar"])]
fn vault() {
    while std::env::var_os("VAULT_IS_STUCK").is_some() {
        std::thread::park();
    }
}

fn main() -> ExitCode {
    hospital::main()
}
