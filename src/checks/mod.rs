//! The built-in kinds of check: one file each, one row each in [`BUILTINS`].

pub mod amount;
pub mod disk;
pub mod exec;
pub mod file;
pub mod load;
pub mod memory;
mod options;
pub mod process;
pub(crate) mod secrets;
pub mod tcp;

pub use options::Options;

use crate::check::{Deadline, Finding, Reason, Status};

/// What runs a check that was built: called once a round, with the moment by which it has to return.
pub type Action = Box<dyn Fn(Deadline) -> Finding + Send + Sync>;

/// A kind of check: what stands before the `:` of a name, and how a target becomes a check.
#[derive(Debug)]
pub struct Kind {
    /// The scheme, as in `tcp`.
    pub scheme: &'static str,
    /// The options of this kind, besides those that every check has.
    pub options: &'static [&'static str],
    /// Whether a run of it may wait for anything.
    pub blocking: bool,
    /// What it verifies about a target, for its title: `{target}` is put in.
    pub title: &'static str,
    /// Builds a check from what stands behind the scheme. The error is one line, without the name.
    pub build: fn(target: &str, options: &mut Options) -> Result<Action, String>,
}

/// Every kind there is, one row each.
pub static BUILTINS: &[Kind] =
    &[tcp::KIND, disk::KIND, exec::KIND, file::KIND, load::KIND, memory::KIND, process::KIND];

/// For the kinds that look at this host as a whole.
fn nothing_behind(scheme: &str, target: &str) -> Result<(), String> {
    if target.is_empty() { Ok(()) } else { Err(format!("{scheme} takes no target, got {target:?}: write {scheme}:")) }
}

/// What an assertion returns of a finding that is not judged yet.
fn result(finding: Finding) -> crate::check::Result {
    let context = finding.context.unwrap_or_default();
    match finding.status {
        Status::Pass | Status::ExpectedFailure => Ok(()),
        Status::Fail | Status::UnexpectedSuccess => Err(Reason::Fail(context)),
        Status::Error => Err(Reason::Error(context)),
        Status::Skip => Err(Reason::Skip(context)),
    }
}
