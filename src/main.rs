//! The `hospital` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    hospital::main()
}
