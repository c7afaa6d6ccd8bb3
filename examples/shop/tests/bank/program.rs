//! A bank that never answers: for the tests of what becomes of the others.

use std::process::ExitCode;

use hospital::healthcheck;

/// The bank answers.
#[healthcheck(timeout = "300ms")]
fn never() {
    loop {
        std::thread::park();
    }
}

fn main() -> ExitCode {
    hospital::main()
}
