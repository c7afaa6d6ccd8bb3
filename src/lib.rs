//! `hospital`: healthchecks collected and run on demand, in a shell, in a test runner, or behind an HTTP
//! endpoint served by a prefork daemon.
//!
//! ```text
//!             circus / systemd / a shell
//!                     │ --fd N, LISTEN_FDS, or nothing (it binds)
//!                  master      never runs a check, never accepts, one thread
//!         fork ┌──────┼──────┐
//!           worker  worker  worker     one mio loop each, on the shared listener
//! ```
//!
//! The way of the data, in reading order: environment → `settings` → `sys::sockets` → `master` forks →
//! `worker` accepts → `connection` yields a request → `route` → `collect` → `round` → `report` → `render`
//! → `connection` → socket.

pub mod address;
pub mod check;
pub mod checks;
mod cli;
pub mod collect;
pub mod error;
pub mod healthchecks;
mod logging;
mod master;
pub mod perfdata;
pub mod render;
pub mod report;
pub mod round;
mod settings;
// The only place where unsafe code is allowed; each block says why it is sound.
#[allow(unsafe_code)]
mod sys;
mod worker;

#[cfg(feature = "tls")]
pub use checks::cert::assert_cert;
#[cfg(feature = "dns")]
pub use checks::dns::assert_dns;
#[cfg(feature = "http")]
pub use checks::http::assert_http_response;
pub use checks::ping::assert_ping;
pub use checks::tcp::assert_tcp;
pub use checks::unix::assert_unix;

use std::process::ExitCode;

/// The whole command line and daemon: `fn main() -> ExitCode { hospital::main() }`.
///
/// Reads the process's arguments and environment; the exit codes are those of [`error::Error`] and 0.
pub fn main() -> ExitCode {
    cli::run()
}
