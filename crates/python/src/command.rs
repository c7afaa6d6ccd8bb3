//! The command line.

use std::ffi::OsString;
use std::process::ExitCode;

use hospital::App;
use pyo3::prelude::*;

/// Runs the command line with these arguments, of which the first is the name of the program. Returns its exit code.
///
/// `again` is what an upgrade starts: the interpreter, and its arguments. `version` is that of the package.
#[pyfunction]
pub(crate) fn main(argv: Vec<OsString>, again: Vec<OsString>, version: &str) -> u8 {
    let mut app = App::new().packaged_in(format!("Python package {version}"));
    if let Some((program, arguments)) = again.split_first() {
        app = app.started_by(program, arguments);
    }
    let ended = app.main_with(argv);
    // An ExitCode does not tell its number.
    (0..=u8::MAX).find(|code| ExitCode::from(*code) == ended).unwrap_or(1)
}
