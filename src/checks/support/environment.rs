//! The environment of the programs that checks run.

use std::ffi::OsStr;

/// Whether a variable is not for programs: our settings, which hold what all other checks sign in with, and what a service
/// manager says to us.
pub(crate) fn is_ours_alone(name: &OsStr) -> bool {
    const NAMES: [&str; 3] = ["HEALTHCHECKS", "GUNICORN_CMD_ARGS", "NOTIFY_SOCKET"];
    const BEGINNINGS: [&str; 3] = ["HOSPITAL_", "LISTEN_", "WATCHDOG_"];
    let name = name.as_encoded_bytes();
    NAMES.iter().any(|own| name == own.as_bytes()) || BEGINNINGS.iter().any(|own| name.starts_with(own.as_bytes()))
}
