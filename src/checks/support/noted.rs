//! How what a run comes across is written in its transcript.

use std::io;
use std::time::Instant;

use crate::model::transcript::{Field, note};
use crate::os::errno as errors;

/// Notes an error.
pub(in crate::checks) fn error(error: &io::Error) {
    note(Field::Errno, errno(error));
}

/// What the system calls an error.
pub(in crate::checks) fn errno(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => errors::name(number),
        None if error.kind() == io::ErrorKind::TimedOut => "ETIMEDOUT".to_owned(),
        None if error.kind() == io::ErrorKind::ConnectionRefused => "ECONNREFUSED".to_owned(),
        None => error.to_string(),
    }
}

/// The milliseconds since a moment.
pub(in crate::checks) fn millis(began: Instant) -> String {
    between(began, Instant::now())
}

/// The milliseconds between two moments.
pub(in crate::checks) fn between(began: Instant, end: Instant) -> String {
    format!("{:.1}", end.saturating_duration_since(began).as_secs_f64() * 1000.0)
}
