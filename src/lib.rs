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
//! `docs/ARCHITECTURE.md` tells the way of a request, a finding, a reload and a crash, file by file; `docs/VERSIONS.md` says what
//! of this crate a program may rely on.

// What `#[healthcheck]` expands to begins with `::hospital`, inside this crate too.
extern crate self as hospital;

pub mod checks;
mod cli;
pub mod collect;
mod config;
mod daemon;
mod drill;
pub mod endpoint;
pub mod error;
mod functions;
// Here, because a healthcheck is named after its module.
#[path = "functions/healthchecks.rs"]
pub mod healthchecks;
pub mod model;
#[cfg(feature = "tower")]
pub mod mount;
// The only place for unsafe code; each block says why it is sound.
#[allow(unsafe_code)]
mod os;
mod python;
pub mod render;
pub mod round;
mod state;

#[cfg(feature = "tls")]
pub use checks::cert::assert_cert;
#[cfg(feature = "dns")]
pub use checks::dns::assert_dns;
pub use checks::exec::assert_exec;
#[cfg(feature = "http")]
pub use checks::http::assert_http_response;
pub use checks::ping::assert_ping;
pub use checks::plugin::assert_plugin;
pub use checks::tcp::assert_tcp;
pub use checks::unix::assert_unix;

// Runs the code in these documents with the library's examples.
#[cfg(doctest)]
#[doc = include_str!("../docs/DEVELOPER.md")]
mod developer {}
#[cfg(doctest)]
#[doc = include_str!("../docs/VERSIONS.md")]
mod versions {}

/// An assertion whose finding is dropped would verify nothing:
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// hospital::assert_tcp("127.0.0.1:1");
/// ```
///
/// ```
/// #![deny(unused_must_use)]
/// let _finding = hospital::assert_tcp("127.0.0.1:1");
/// ```
#[cfg(doctest)]
mod an_assertion_is_used {}

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

#[cfg(feature = "tower")]
pub use cli::mount::ServicePlan;
pub use functions::answer::Answer;
pub use functions::app::App;
pub use functions::registry::{Registered, is_healthcheck, registered};
/// Makes a function a healthcheck: collected by its dotted path, run by every runner.
///
/// It goes on a plain `fn`, or with the feature `async` an `async fn`, without arguments that returns `()`, [`hospital::Result`] or `Result<(), E>` (see
/// [`Answer`]). The function itself stays callable.
///
/// ```
/// use hospital::healthcheck;
///
/// /// Orders database answers.                     // the title: the first line of the doc comment
/// #[healthcheck(timeout = "2s", tags = ["readiness"])]
/// fn database() -> hospital::Result {
///     let rows: u32 = "1".parse()?;                // `?` on any std Error → error: the check could not decide
///     hospital::ensure!(rows == 1, "got {rows}");  // false → fail: it decided, and the answer is no
///     Ok(())                                       // a panic (assert!, assert_eq!) → fail, as in a test
/// }                                                // hospital::skip!("why") → skip, hospital::warn!("why") → warn
///
/// assert_eq!(database(), Ok(()));
/// assert!(hospital::is_healthcheck(concat!(module_path!(), "::database")));
/// ```
///
/// | option | meaning | unless given |
/// |---|---|---|
/// | `timeout = "500ms"` | how long a run may take | [5 s](model::check::DEFAULT_TIMEOUT) |
/// | `tags = ["readiness"]` | words to select it by | none |
/// | `title = "Orders are taken."` | what it verifies, in one line | the first line of its doc comment, or its name in words |
/// | `expect = "failure"` | failing is good (`expected_failure`), passing is bad (`unexpected_success`) | `"success"` |
/// | `on_fail = "warn"` | a bad finding is no more than a warning | `"fail"` |
/// | `needs = ["shop.db"]` | run it only if these are not bad: ids of other checks, or paths that they are under | none |
/// | `every = "10m"` | a daemon runs it on this schedule, once for all its workers, instead of in each round | in each round |
/// | `fall = 3`, `rise = 2` | so many runs in a row make it bad, or good again | 1 |
/// | `grace = "60s"` | until it passes for the first time, and for that long at most, what it finds wrong is a `skip` | none |
/// | `blocking = false` | it never waits, so it needs no thread | `true` |
///
/// # An async function
///
/// With the feature `async`, the function may be async. It runs on a runtime of tokio, which the process starts when its
/// first such check runs and keeps, so that a pool in a `static` goes on working. One that is late is dropped at its next
/// `.await`.
///
/// # As a test
///
/// Under `cargo test` and nextest each healthcheck is also an ignored test, named `healthcheck_` and its name, that
/// fails where a report would. A plain run skips these tests; this runs only them:
///
/// ```console
/// $ cargo test -- --ignored healthcheck
/// $ cargo nextest run --run-ignored only -E 'test(healthcheck)'
/// ```
///
/// # In a library
///
/// The linker drops a library that nothing refers to. A program whose healthchecks are in a library needs `use shop as
/// _;`. Where `hospital` is renamed in Cargo.toml, `extern crate other as hospital;` restores its name.
pub use hospital_macros::healthcheck;
pub use model::check::{Check, Reason, Result};

use collect::{Sources, Surroundings};
use error::Error;
use model::report::Report;
use model::suite::Suite;

/// The whole command line and daemon: `fn main() -> ExitCode { hospital::main() }`.
///
/// Reads the process's arguments and environment; the exit codes are those of [`error::Error`] and 0.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     hospital::main()
/// }
/// ```
pub fn main() -> ExitCode {
    App::new().main()
}

impl App {
    /// The whole command line and daemon, for the process's arguments.
    pub fn main(self) -> ExitCode {
        self.main_with(std::env::args_os())
    }

    /// The same for other arguments, of which the first is the name of the program.
    pub fn main_with<A: Into<OsString>>(self, arguments: impl IntoIterator<Item = A>) -> ExitCode {
        cli::run(self, arguments.into_iter().map(Into::into).collect())
    }

    /// Plans the endpoint for a mount, as `hospital serve` with these arguments, of which the first is the name of the
    /// program, would answer in this environment: HEALTHCHECKS, HOSPITAL_DETAILS, HOSPITAL_CACHE and whatever else is
    /// about answers and the time that they take. Sockets, workers and the log are the other program's business.
    ///
    /// Where that program forks, plan before and start after the fork.
    ///
    /// # Errors
    ///
    /// What would keep the daemon from starting, but for the names of checks, which are looked up when it starts.
    ///
    /// ```
    /// use hospital::App;
    ///
    /// let plan = App::new().plan_service(["shop", "--fail-status=503", "hospital.healthchecks.predictable"])?;
    /// let health: hospital::mount::Service = plan.start()?;
    /// assert!(App::new().plan_service(["shop", "--fail-status=200"]).is_err());
    /// # Ok::<(), hospital::error::Error>(())
    /// ```
    #[cfg(feature = "tower")]
    pub fn plan_service<A: Into<OsString>>(
        self,
        arguments: impl IntoIterator<Item = A>,
    ) -> std::result::Result<ServicePlan, Error> {
        ServicePlan::make(self, arguments.into_iter().map(Into::into).collect())
    }

    /// Collects the checks that its names select, or its own, for a mount or another runner.
    ///
    /// # Errors
    ///
    /// Those of [`collect()`].
    ///
    /// ```
    /// use hospital::{App, Check};
    ///
    /// let app = App::new().check(Check::new("shop.stock", |_deadline| ()));
    /// assert_eq!(app.collect()?.suite().checks().len(), 1);
    /// let both = app.names(["hospital.healthchecks.predictable.collected", "shop"]);
    /// assert_eq!(both.collect()?.suite().checks().len(), 2);
    /// # Ok::<(), hospital::error::Error>(())
    /// ```
    pub fn collect(&self) -> std::result::Result<Sources, Error> {
        let names = self.variables().into_iter().filter(|(name, _)| name == "HEALTHCHECKS");
        let names = names.flat_map(|(_, names)| names.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let surroundings = Surroundings { own: self.checks.clone(), ..Surroundings::default() };
        Sources::read_in(surroundings, names.collect(), "the program")
    }
}

/// The definition of the command line, to generate manual pages and completions from. Not part of the public interface.
#[doc(hidden)]
pub fn command() -> clap::Command {
    cli::command()
}

/// Collects the checks that these names select, as HEALTHCHECKS and the command line do.
///
/// # Errors
///
/// When a name collects nothing: one line that says which names are known.
///
/// ```
/// let suite = hospital::collect(&["hospital.healthchecks.predictable"])?;
/// assert_eq!(suite.checks().len(), 2);
/// assert!(hospital::collect(&["hospital.healthchecks.predicable"]).is_err());
/// # Ok::<(), hospital::error::Error>(())
/// ```
pub fn collect<S: AsRef<str>>(names: &[S]) -> std::result::Result<Suite, Error> {
    collect::collect(names, "the program")
}

/// Runs a suite once and waits for the report, for `limit` at most. [`render`] turns it into text.
///
/// A check that is late is reported as an error and left behind on its thread. To run rounds repeatedly, keep a
/// [`Runner`](round::Runner), which knows what is stuck.
///
/// ```
/// use std::time::Duration;
///
/// let suite = hospital::collect(&["hospital.healthchecks.predictable"])?;
/// let report = hospital::run(suite, Duration::from_secs(10));
/// assert!(report.passes());
///
/// let mut json = Vec::new();
/// hospital::render::json::report(&report, &mut json);
/// assert!(String::from_utf8_lossy(&json).contains(r#""test": "Health checks are collected.""#));
/// # Ok::<(), hospital::error::Error>(())
/// ```
pub fn run(suite: Suite, limit: Duration) -> Report {
    round::Runner::run(suite, limit)
}

/// What the expansion of [`#[healthcheck]`](healthcheck) refers to. Not part of the public interface.
#[doc(hidden)]
pub mod __private {
    #[cfg(feature = "async")]
    pub use crate::functions::wait::wait;
    pub use crate::round::as_test::run_as_test;
    pub use inventory;
}
