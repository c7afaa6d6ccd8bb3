//! The built-in kinds of check: one file each, one row each in [`BUILTINS`].

mod amqp;
mod beat;
#[cfg(feature = "tls")]
pub mod cert;
#[cfg(feature = "tls")]
mod certificate;
pub mod disk;
#[cfg(feature = "dns")]
pub mod dns;
pub mod exec;
pub mod file;
mod group;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "tls")]
mod imap;
mod interface;
#[cfg(feature = "ldap")]
mod ldap;
pub mod load;
pub mod memcached;
pub mod memory;
mod mount;
#[cfg(feature = "mysql")]
mod mysql;
mod ntp;
mod package;
pub mod ping;
pub mod plugin;
#[cfg(feature = "tls")]
mod pop3;
mod port;
#[cfg(feature = "postgres")]
pub mod postgres;
mod pressure;
pub mod process;
pub mod redis;
mod service;
#[cfg(feature = "tls")]
mod smtp;
pub(crate) mod support;
mod sysctl;
pub mod tcp;
#[cfg(feature = "tls")]
mod tls;
pub mod unix;
mod user;

pub use crate::model::check::Action;
pub use support::opt::{Opt, Value};
pub use support::options::Options;

use std::time::Instant;

use crate::model::check::{Code, DEFAULT_TIMEOUT, Deadline, Finding, Reason, Status};
use crate::model::control::Control;
use support::secrets::Secrets;

/// A kind of check: the scheme before the `:` of a name, and how a target becomes a check.
#[derive(Debug)]
#[non_exhaustive]
pub struct Kind {
    /// The scheme, as in `tcp`.
    pub scheme: &'static str,
    /// The port that its targets may leave out.
    pub port: Option<u16>,
    /// The options of this kind, in addition to those that every check has.
    pub options: &'static [Opt],
    /// Where a run of it takes place.
    pub runs: Runs,
    /// What has to work on our side for a finding of it to say anything.
    pub controls: &'static [Control],
    /// What it verifies, for the title: `{target}` is replaced.
    pub title: &'static str,
    /// When it passes, as the end of "it passes when …".
    pub passes: &'static str,
    /// What its checks notice in a drill, as `word` or `word: where`; a check of it is not asked about anything else. Nothing,
    /// if that depends on the program that it runs.
    pub notices: &'static [&'static str],
    /// Names of such checks.
    pub examples: &'static [&'static str],
    /// Builds a check from what follows the scheme. The error is one line, without the name.
    pub build: fn(target: &str, options: &mut Options) -> Result<Action, String>,
}

impl Kind {
    /// The option with this name.
    pub fn option(&self, name: &str) -> Option<Opt> {
        self.options.iter().copied().find(|option| option.name() == name)
    }
}

/// Where a run of a check takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// In the worker's loop: it never blocks.
    Inline,
    /// On a thread: it may block.
    OnThread,
    /// On a thread that waits for a program, which is the target.
    AsProgram,
    /// On a thread that may ask a program of this host.
    ByProgram,
}

impl Runs {
    pub(crate) fn blocks(self) -> bool {
        match self {
            Runs::Inline => false,
            Runs::OnThread | Runs::AsProgram | Runs::ByProgram => true,
        }
    }

    pub(crate) fn code(self) -> Code {
        match self {
            Runs::Inline | Runs::OnThread => Code::BuiltIn,
            Runs::AsProgram => Code::Program,
            Runs::ByProgram => Code::BuiltInAndProgram,
        }
    }
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
    redis::KIND,
    #[cfg(feature = "tls")]
    redis::KIND_REDISS,
    #[cfg(feature = "postgres")]
    postgres::KIND,
    #[cfg(feature = "mysql")]
    mysql::KIND,
    memcached::KIND,
    amqp::KIND,
    #[cfg(feature = "tls")]
    amqp::KIND_AMQPS,
    #[cfg(feature = "ldap")]
    ldap::KIND,
    #[cfg(feature = "ldap")]
    ldap::KIND_LDAPS,
    #[cfg(feature = "tls")]
    smtp::KIND,
    #[cfg(feature = "tls")]
    smtp::KIND_SMTPS,
    #[cfg(feature = "tls")]
    imap::KIND,
    #[cfg(feature = "tls")]
    imap::KIND_IMAPS,
    #[cfg(feature = "tls")]
    pop3::KIND,
    #[cfg(feature = "tls")]
    pop3::KIND_POP3S,
    #[cfg(feature = "grpc")]
    grpc::KIND,
    #[cfg(feature = "grpc")]
    grpc::KIND_GRPCS,
    ntp::KIND,
    ping::KIND,
    #[cfg(feature = "tls")]
    tls::KIND,
    #[cfg(feature = "tls")]
    cert::KIND,
    exec::KIND,
    plugin::KIND,
    disk::KIND,
    file::KIND,
    load::KIND,
    memory::KIND,
    process::KIND,
    beat::KIND,
    service::KIND,
    package::KIND,
    #[cfg(feature = "tls")]
    certificate::KIND,
    mount::KIND,
    port::KIND,
    pressure::KIND,
    user::KIND,
    group::KIND,
    interface::KIND,
    sysctl::KIND,
];

/// The kinds that a feature of Cargo adds: their schemes, the feature, and whether it is there.
pub(crate) const FEATURES: &[(&[&str], &str, bool)] = &[
    (&["dns"], "dns", cfg!(feature = "dns")),
    (&["http"], "http", cfg!(feature = "http")),
    (
        &["https", "rediss", "amqps", "tls", "cert", "certificate", "smtp", "smtps", "imap", "imaps", "pop3", "pop3s"],
        "tls",
        cfg!(feature = "tls"),
    ),
    (&["mysql"], "mysql", cfg!(feature = "mysql")),
    (&["ldap", "ldaps"], "ldap", cfg!(feature = "ldap")),
    (&["grpc", "grpcs"], "grpc", cfg!(feature = "grpc")),
    (&["postgres"], "postgres", cfg!(feature = "postgres")),
];

/// The kind of a program without a scheme, such as one in a folder: by their custom, plugins are named `check_*`.
pub(crate) fn of_program(name: &str) -> &'static Kind {
    if name.starts_with("check_") { &plugin::KIND } else { &exec::KIND }
}

/// Refuses a target, for kinds that check this host as a whole.
fn nothing_behind(scheme: &str, target: &str) -> Result<(), String> {
    if target.is_empty() { Ok(()) } else { Err(format!("{scheme} takes no target: write {scheme}:")) }
}

/// Turns a finding that is not judged yet into the result of an assertion.
fn result(finding: Finding) -> crate::model::check::Result {
    let context = finding.context.unwrap_or_default();
    match finding.status {
        Status::Pass | Status::ExpectedFailure => Ok(()),
        Status::Fail | Status::UnexpectedSuccess => Err(Reason::Fail(context)),
        Status::Error => Err(Reason::Error(context)),
        Status::Skip => Err(Reason::Skip(context)),
        Status::Warn => Err(Reason::Warn(context)),
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
    // Enough for what is shown, though secrets in it become shorter.
    let kept = &beginning[..beginning.len().min(1024)];
    let text = String::from_utf8_lossy(kept);
    let text =
        hidden.scrub_cut(if kept.len() < total { text.trim_end_matches(char::REPLACEMENT_CHARACTER) } else { &text });
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}… ({total} bytes in all)", &text[..end]),
        None if kept.len() < total => format!("{text:?}… ({total} bytes in all)"),
        None => format!("{text:?}"),
    }
}
