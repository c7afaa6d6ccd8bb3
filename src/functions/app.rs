//! A program that is more than its healthchecks: checks of its own state, settings from code, what to do before checks.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::model::check::{Check, Reason};
use crate::model::panics;

type Hook = Arc<dyn Fn() -> Result<(), Reason> + Send + Sync>;

/// The command line and daemon of a program that has something to add to [`hospital::main`].
///
/// ```no_run
/// use std::process::ExitCode;
/// use std::sync::OnceLock;
/// use hospital::{App, Check};
///
/// static POOL: OnceLock<Pool> = OnceLock::new();
/// # struct Pool;
/// # impl Pool {
/// #     fn connect(_url: &str) -> std::io::Result<Pool> { Ok(Pool) }
/// #     fn ping(&self) -> std::io::Result<()> { Ok(()) }
/// # }
///
/// fn main() -> ExitCode {
///     let url = "postgres://db/shop";
///     App::new()
///         .names(["shop", "disk:/"])
///         .setting("workers", "2")
///         .before_checks(move || {
///             let pool = Pool::connect(url)?;
///             POOL.set(pool).map_err(|_| "there is a pool already")?;
///             Ok(())
///         })
///         .check(Check::new("shop.pool", |_deadline| -> hospital::Result {
///             POOL.get().ok_or("there is no pool")?.ping()?;
///             Ok(())
///         }))
///         .main()
/// }
/// ```
#[derive(Clone, Default)]
#[must_use = "it does nothing until its `main` is called"]
pub struct App {
    pub(crate) checks: Vec<Check>,
    names: Option<String>,
    settings: Vec<(String, String)>,
    hooks: Vec<Hook>,
    /// How to start it again, where that is not by its own program and arguments.
    pub(crate) command_line: Option<(PathBuf, Vec<OsString>)>,
    /// What it came in, with the version of that.
    pub(crate) package: Option<String>,
}

impl App {
    /// A program that adds nothing yet.
    pub fn new() -> App {
        App::default()
    }

    /// The same program with one more check, beside the registered ones: it is collected by its id, or a prefix of that.
    pub fn check(mut self, check: Check) -> App {
        self.checks.push(check);
        self
    }

    /// The same program, which runs these checks where neither the command line nor HEALTHCHECKS names any. Unless given,
    /// those are its own, from [`App::check`].
    pub fn names<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> App {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        App { names: Some(names.join(" ")), ..self }
    }

    /// The same program with this value for a setting of `serve`, such as `request-timeout`, where neither the
    /// environment nor the command line sets it.
    pub fn setting(mut self, flag: &str, value: impl Into<String>) -> App {
        let variable = format!("HOSPITAL_{}", flag.trim_start_matches("--").replace('-', "_").to_uppercase());
        self.settings.push((variable, value.into()));
        self
    }

    /// The same program, which does this before the first check, in each process that runs checks: in each worker, after
    /// the fork. An error keeps that process from starting.
    ///
    /// This is the place to make a runtime, a pool, or whatever else has threads or connections. What was made before the
    /// fork is broken in the workers: they have none of its threads, and share its connections.
    pub fn before_checks(mut self, hook: impl Fn() -> crate::Result + Send + Sync + 'static) -> App {
        self.hooks.push(Arc::new(hook));
        self
    }

    /// The same program, which an upgrade starts by this command line: where an interpreter runs us, its own.
    pub fn started_by<A: Into<OsString>>(
        self,
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> App {
        let command_line = Some((program.into(), arguments.into_iter().map(Into::into).collect()));
        App { command_line, ..self }
    }

    /// The same program, which came in a package with a version of its own, such as `Python package 0.10.0`: `--version` tells
    /// both.
    pub fn packaged_in(self, package: impl Into<String>) -> App {
        App { package: Some(package.into()), ..self }
    }

    /// Its settings and names, as variables.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let own = || self.checks.iter().map(|check| check.id.as_str()).collect::<Vec<_>>().join(" ");
        let names = self.names.clone().or_else(|| (!self.checks.is_empty()).then(own));
        let names = names.map(|names| ("HEALTHCHECKS".to_owned(), names));
        self.settings.iter().cloned().chain(names).collect()
    }

    /// Does what has to be done before checks run, and says what keeps them from running.
    pub(crate) fn prepare(&self) -> Result<(), String> {
        self.hooks.iter().try_for_each(|hook| panics::contain(|| hook())?.map_err(|reason| reason.to_string()))
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("checks", &self.checks).finish_non_exhaustive()
    }
}
