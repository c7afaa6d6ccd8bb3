//! The command line.

use std::ffi::OsString;
use std::process::ExitCode;

use hospital::App;
use pyo3::prelude::*;

/// Runs the command line with these arguments, of which the first is the name of the program. Returns its exit code.
#[pyfunction]
pub(crate) fn main(argv: Vec<OsString>) -> u8 {
    let ended = App::new().main_with(argv);
    // An ExitCode does not tell its number.
    (0..=u8::MAX).find(|code| ExitCode::from(*code) == ended).unwrap_or(1)
}

/// Whether a healthcheck of this dotted path is compiled in, or any under it.
#[pyfunction]
pub(crate) fn is_registered(name: &str) -> bool {
    hospital::registered().any(|check| check.id() == name || check.id().starts_with(&format!("{name}.")))
}
