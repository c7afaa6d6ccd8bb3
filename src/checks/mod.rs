//! The built-in kinds of check: one file each, one row each in [`BUILTINS`].

pub mod amount;
#[cfg(feature = "tls")]
pub mod cert;
pub mod disk;
#[cfg(feature = "dns")]
pub mod dns;
mod endpoint;
mod exchange;
pub mod exec;
pub mod file;
#[cfg(feature = "http")]
pub mod http;
pub mod load;
pub mod memory;
mod options;
pub mod pattern;
pub mod ping;
pub mod process;
pub(crate) mod secrets;
pub mod tcp;
#[cfg(all(test, feature = "http"))]
mod testing;
mod timed;
#[cfg(feature = "tls")]
mod tls;
pub(crate) mod trust;
#[cfg(feature = "tls")]
mod trusted;
pub mod unix;

pub use crate::check::Action;
pub use options::Options;

use std::time::Instant;

use crate::check::{DEFAULT_TIMEOUT, Deadline, Finding, Reason, Status};
use secrets::Secrets;

/// A kind of check: the scheme before the `:` of a name, and how a target becomes a check.
#[derive(Debug)]
pub struct Kind {
    /// The scheme, as in `tcp`.
    pub scheme: &'static str,
    /// The options of this kind, in addition to those that every check has.
    pub options: &'static [&'static str],
    /// Whether a run of it may block.
    pub blocking: bool,
    /// What it verifies, for the title: `{target}` is replaced.
    pub title: &'static str,
    /// Builds a check from what follows the scheme. The error is one line, without the name.
    pub build: fn(target: &str, options: &mut Options) -> Result<Action, String>,
}

/// All built-in kinds, one row each.
pub static BUILTINS: &[Kind] = &[
    tcp::KIND,
    unix::KIND,
    #[cfg(feature = "http")]
    http::KIND,
    #[cfg(feature = "tls")]
    http::KIND_HTTPS,
    #[cfg(feature = "dns")]
    dns::KIND,
    ping::KIND,
    #[cfg(feature = "tls")]
    cert::KIND,
    exec::KIND,
    disk::KIND,
    file::KIND,
    load::KIND,
    memory::KIND,
    process::KIND,
];

/// Refuses a target, for kinds that check this host as a whole.
fn nothing_behind(scheme: &str, target: &str) -> Result<(), String> {
    if target.is_empty() { Ok(()) } else { Err(format!("{scheme} takes no target, got {target:?}: write {scheme}:")) }
}

/// Turns a finding that is not judged yet into the result of an assertion.
fn result(finding: Finding) -> crate::check::Result {
    let context = finding.context.unwrap_or_default();
    match finding.status {
        Status::Pass | Status::ExpectedFailure => Ok(()),
        Status::Fail | Status::UnexpectedSuccess => Err(Reason::Fail(context)),
        Status::Error => Err(Reason::Error(context)),
        Status::Skip => Err(Reason::Skip(context)),
    }
}

/// The deadline of an assertion that is called directly.
fn default_deadline() -> Deadline {
    Deadline::at(Instant::now() + DEFAULT_TIMEOUT)
}

/// How long something took, for the end of a message.
fn since(began: Instant) -> String {
    format!("in {} ms", began.elapsed().as_millis())
}

/// The beginning of a text from outside, escaped, so that a message stays on one line; `total` is how many bytes it has with
/// what is not kept of it. Secrets are hidden before it is cut and escaped: afterwards they could not be found.
fn excerpt(beginning: &[u8], total: usize, hidden: &Secrets) -> String {
    const SHOWN: usize = 120;
    // Enough for what is shown and a secret that is cut off at its end.
    let kept = &beginning[..beginning.len().min(16 * 1024)];
    let text = String::from_utf8_lossy(kept);
    let text =
        hidden.scrub_cut(if kept.len() < total { text.trim_end_matches(char::REPLACEMENT_CHARACTER) } else { &text });
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}… ({total} bytes in all)", &text[..end]),
        None => format!("{text:?}"),
    }
}
