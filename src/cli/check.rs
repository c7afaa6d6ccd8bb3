//! `hospital check`: one round, reported as it proceeds.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::{ArgAction, Args};

use super::interrupt::Interrupts;
use super::live::{self, Live, Shown};
use super::print;
use crate::collect::{Sources, Surroundings, without_secrets};
use crate::config::Given;
use crate::error::Error;
use crate::model::duration;
use crate::model::report::Report;
use crate::model::suite::Suite;
use crate::os::identity::Identity;
use crate::os::{descriptors, process, tree};
use crate::python::Python;
use crate::render::{self, Format};
use crate::round::{MOST_AT_ONCE, Runner, affordable};

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all is well, 1 a check failed, 2 a wrong name or flag, \
                        5 refused for safety; with --format nagios those of a plugin (0 ok, 1 warning, 2 critical, 3 unknown).")]
pub(super) struct CheckFlags {
    #[command(flatten)]
    pub(super) selection: Selection,
    /// Print the name of each check with its outcome; with --format, print more about each. -vv: also what each run did
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Write the report to standard output in this format, instead of the one for people
    #[arg(long, value_name = "FORMAT", value_parser = render::named)]
    format: Option<&'static Format>,
    /// Stop at the first check that is not well
    #[arg(long)]
    failfast: bool,
    /// Fail for a warning, too
    #[arg(long)]
    strict: bool,
    /// Give no check more time than this
    #[arg(long, value_name = "TIME", value_parser = duration::parse_some)]
    timeout: Option<Duration>,
    /// Run at most this many checks at once
    #[arg(short, long, value_name = "N", default_value_t = MOST_AT_ONCE as u32, value_parser = clap::value_parser!(u32).range(1..=MOST_AT_ONCE as i64))]
    jobs: u32,
}

/// A selection of checks; the same for every subcommand that runs or shows checks.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// The checks, as dotted paths, scheme:target, or files; HEALTHCHECKS unless given
    names: Vec<String>,
    /// Only those with this tag; repeatable
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Not those at or under this name; repeatable
    #[arg(long, value_name = "NAME")]
    exclude: Vec<String>,
    /// Run checks in Python with this interpreter, as `serve` does
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
    /// Read variables from this file, as `serve` does; -FILE: if it is there
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    env_file: Option<PathBuf>,
    /// Where `serve` keeps silences and beats; HOSPITAL_STATE_DIR unless given
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl Selection {
    /// Reads the files of the selected checks.
    pub(super) fn read(&self, given: &Given) -> Result<Sources, Error> {
        let variables = self.env_file.as_deref().map_or(Ok(Vec::new()), |path| given.read_env_file(path))?;
        let given = given.with(&variables);
        // The programs that checks start inherit them.
        process::change_environment(variables.iter().map(|(name, value)| (name.as_str(), value.as_str())), []);
        let state = given.state_dir(self.state_dir.as_deref())?;
        let python = self.python.clone().map(|path| (path, "--python")).or_else(|| given.python());
        let python =
            python.map(|(path, origin)| Python::found(&path, origin, Vec::new(), Identity::default(), "hospital"));
        let python = python.unwrap_or_default();
        let surroundings = Surroundings { own: given.app.checks.clone(), state, python, ..Surroundings::default() };
        match self.names.is_empty() {
            true => Sources::read_in(surroundings, given.healthchecks(), "HEALTHCHECKS"),
            false => Sources::read_in(surroundings, self.names.clone(), "the command line"),
        }
    }

    /// Selects from what was read.
    pub(super) fn select(&self, sources: &Sources) -> Result<Suite, Error> {
        let collected = sources.suite();
        // Nothing has run yet, so a wrong name can be refused: it would run the very check that it was meant to leave
        // out.
        if let Some(name) = self.exclude.iter().find(|name| collected.at(name).checks().is_empty()) {
            return Err(Error::Usage(format!(
                "--exclude names {:?}, but no check is collected there (known: {})",
                without_secrets(name),
                collected.known()
            )));
        }
        let suite = collected.select(&self.tag, &self.exclude);
        if suite.checks().is_empty() {
            return Err(Error::Usage("no check is left: --tag and --exclude leave out every one".to_owned()));
        }
        if let Some((check, fault)) = suite.fault() {
            return Err(Error::Usage(format!("--exclude: {} {fault}: exclude both or none", check.id)));
        }
        Ok(suite)
    }
}

/// Runs the checks and reports.
pub(super) fn run(flags: &CheckFlags, given: &Given) -> Result<ExitCode, Error> {
    descriptors::close_all_on_exec().map_err(|error| Error::Boot(format!("cannot tidy up descriptors: {error}")))?;
    let suite = match flags.selection.read(given).and_then(|sources| flags.selection.select(&sources)) {
        Ok(suite) if flags.strict => suite.strict(),
        Ok(suite) => suite,
        Err(error) => return refuse(error, flags.format),
    };
    given.app.prepare().map_err(|why| Error::Boot(format!("the program cannot run its checks: {why}")))?;
    let interrupts =
        Interrupts::listen().map_err(|error| Error::Boot(format!("cannot listen for signals: {error}")))?;
    let began = Instant::now();
    let report = watch(suite, flags, &interrupts);
    let elapsed = began.elapsed();

    let Some(format) = flags.format else {
        live::report(&report, elapsed, flags.verbose);
        return Ok(ExitCode::from(render::exit_code(&report)));
    };
    let mut text = Vec::new();
    (format.verbose(flags.verbose).write)(&report, &mut text);
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    print(&text)?;
    Ok(ExitCode::from((format.exit_code)(&report)))
}

/// Reports that there is nothing to check, in the format that the reader expects.
fn refuse(error: Error, format: Option<&Format>) -> Result<ExitCode, Error> {
    match format.and_then(|format| format.refusal).map(|refusal| refusal(&error.to_string())) {
        Some((text, code)) => {
            print(&text)?;
            Ok(ExitCode::from(code))
        }
        None => Err(error),
    }
}

/// Runs one round and shows each outcome when it arrives.
fn watch(suite: Suite, flags: &CheckFlags, interrupts: &Interrupts) -> Report {
    let shown = match (flags.format, flags.verbose) {
        (Some(_), _) => Shown::Nothing,
        (None, 0) => Shown::Dot,
        (None, _) => Shown::Name,
    };
    let mut live = Live::new(suite.checks().len(), shown);
    let (sender, receiver) = mpsc::channel();
    // Nobody listens any more when a check returns after the report.
    let mut runner = Runner::new(move || sender.send(()).unwrap_or_default())
        .with_at_once(affordable(flags.jobs as usize, 1))
        .with_longest(flags.timeout.unwrap_or(Duration::MAX))
        .with_failfast(flags.failfast);
    let mut round = runner.begin(suite, Duration::MAX, Instant::now());
    let mut seen = 0;
    let report = 'round: loop {
        interrupts.wait_if_ending();
        for outcome in round.finished().skip(seen) {
            live.outcome(outcome);
            seen += 1;
            if flags.failfast && outcome.is_bad() {
                break 'round Report::of_outcomes(round.finished().take(seen).cloned().collect());
            }
        }
        let Some(deadline) = round.next_deadline() else { break round.into_report(Instant::now()) };
        live.still(&round, Instant::now());
        let wait = deadline.saturating_duration_since(Instant::now()).min(live.refresh());
        // Woken or not, the next step is the same.
        let _ = receiver.recv_timeout(wait);
        runner.advance(&mut round, Instant::now());
    };
    if runner.is_busy() {
        // Threads that are left behind end with us; the programs that they started must, too.
        tree::kill_all();
    }
    live.finish();
    report
}
