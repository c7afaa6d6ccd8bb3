//! How what a run comes across is written in its transcript.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::model::clocks;
use crate::model::transcript::{Field, UNKNOWN_NAME, note};
use crate::os::{errno as errors, network};

/// Notes an error.
pub(in crate::checks) fn error(error: &io::Error) {
    note(Field::Errno, errno(error));
}

/// Notes what was lost of a connection that has come to nothing: then the other side need not be why.
pub(in crate::checks) fn lost(connection: &impl AsFd) {
    let Some(state) = network::tcp(connection) else { return };
    if state.is_unheard {
        note(Field::Lost, "of what was sent");
    } else if state.has_gaps {
        note(Field::Lost, "of what came");
    }
}

/// What the system calls an error.
pub(in crate::checks) fn errno(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => errors::name(number),
        None if error.kind() == io::ErrorKind::TimedOut => "ETIMEDOUT".to_owned(),
        None if error.kind() == io::ErrorKind::ConnectionRefused => "ECONNREFUSED".to_owned(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        None => error.to_string(),
    }
}

/// What the resolver calls a failed lookup, by what it says in the words of glibc or of musl.
pub(in crate::checks) fn lookup_errno(said: &str) -> &str {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    match () {
        () if says(&["not known", "No address associated", "does not resolve", "no usable address"]) => UNKNOWN_NAME,
        // No name server has answered, so nothing is known of the name.
        () if says(&["Temporary failure", "Try again"]) => "EAI_AGAIN",
        () => said,
    }
}

/// Notes the name servers of this host.
pub(in crate::checks) fn resolver() {
    const FILE: &str = "/etc/resolv.conf";
    static LAST: Mutex<Option<(SystemTime, Vec<String>)>> = Mutex::new(None);
    let Some(changed) = fs::metadata(FILE).and_then(|found| found.modified()).ok() else { return };
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.as_ref().is_none_or(|(read, _)| *read != changed) {
        let text = fs::read_to_string(FILE).unwrap_or_default();
        let servers =
            text.lines().filter_map(|line| line.strip_prefix("nameserver")).map(|rest| rest.trim().to_owned());
        *last = Some((changed, servers.collect()));
    }
    last.iter().flat_map(|(_, servers)| servers).for_each(|server| note(Field::Resolver, server));
}

/// Notes from which address of ours another one is reached.
///
/// # Errors
///
/// When this host has no way to it.
pub(in crate::checks) fn route_to(address: SocketAddr) -> io::Result<()> {
    network::way_to(address).map(|ours| note(Field::From, ours))
}

/// Notes which file is at a path, and how it is.
pub(in crate::checks) fn file(found: &fs::Metadata) {
    note(Field::File, format_args!("{}:{}", found.dev(), found.ino()));
    note(Field::Size, found.len());
    note(Field::Modified, moment(found));
}

/// When a file was changed, to the second; what is not of our time is a number.
pub(in crate::checks) fn moment(found: &fs::Metadata) -> String {
    const YEAR_10000: u64 = 253_402_300_800;
    match u64::try_from(found.mtime()) {
        Ok(second @ ..YEAR_10000) => clocks::spoken(SystemTime::UNIX_EPOCH + Duration::from_secs(second)),
        Ok(_) | Err(_) => found.mtime().to_string(),
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

/// Bytes in hexadecimal.
pub(in crate::checks) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
