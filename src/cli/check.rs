//! `hospital check`: one round, reported as it goes along.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::Args;

use super::live::Live;
use super::unittest;
use crate::collect::{self, Suite};
use crate::error::Error;
use crate::render::{self, Format};
use crate::report::Report;
use crate::round::{MOST_THREADS, Round, Runner};
use crate::settings::{Given, duration};
use crate::sys::{signals, tree};

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all is well, 1 a check failed, 2 a wrong name or flag; \
                        with --format nagios those of a plugin (0 ok, 1 warning, 2 critical, 3 unknown).")]
pub(super) struct Flags {
    #[command(flatten)]
    pub(super) selection: Selection,
    /// Say the name of each check with what it came to
    #[arg(short, long)]
    verbose: bool,
    /// Write the report to standard output in this format, instead of the one for people
    #[arg(long, value_name = "FORMAT", value_parser = render::named)]
    format: Option<&'static Format>,
    /// Stop at the first check that is not well
    #[arg(long)]
    failfast: bool,
    /// Give no check more time than this
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Run so many checks at once at most
    #[arg(short, long, value_name = "N", default_value_t = MOST_THREADS as u32, value_parser = clap::value_parser!(u32).range(1..=MOST_THREADS as i64))]
    jobs: u32,
}

/// Which checks are meant; the same for every subcommand that runs or shows some.
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
}

impl Selection {
    /// Collects them.
    pub(super) fn collect(&self, given: &Given) -> Result<Suite, Error> {
        let (names, origin) = if self.names.is_empty() {
            (given.healthchecks(), "HEALTHCHECKS")
        } else {
            (self.names.clone(), "the command line")
        };
        let suite = collect::collect(&names, origin)?.select(&self.tag, &self.exclude);
        if suite.checks().is_empty() {
            return Err(Error::Usage("no check is left: --tag and --exclude leave out every one".to_owned()));
        }
        Ok(suite)
    }
}

/// Runs the checks and says how they are.
pub(super) fn run(flags: &Flags, given: &Given) -> Result<ExitCode, Error> {
    let suite = flags.selection.collect(given)?;
    let mut live = Live::new(suite.checks().len(), flags.verbose, flags.format.is_some());
    let began = Instant::now();
    // Programs lead process groups of their own, so that a Ctrl-C does not reach them.
    signals::before_ending(tree::kill_all).map_err(|error| Error::Boot(format!("cannot handle signals: {error}")))?;
    let report = watch(suite, flags, &mut live);
    // With --failfast some may still run.
    tree::kill_all();
    live.finish();
    if let Some(format) = flags.format {
        let mut text = Vec::new();
        (format.write)(&report, &mut text);
        // A reader that has gone away is no failure of a check.
        let _ = io::stdout().write_all(&text);
        return Ok(ExitCode::from((format.exit_code)(&report)));
    }
    unittest::report(&report, began.elapsed(), &mut live);
    Ok(ExitCode::from(u8::from(!report.passes())))
}

/// Runs one round and shows each outcome as it comes in.
fn watch(suite: Suite, flags: &Flags, live: &mut Live) -> Report {
    let (sender, receiver) = mpsc::channel();
    // Nobody listens any more when a check comes back after the report.
    let mut runner = Runner::with_threads(flags.jobs as usize, move || sender.send(()).unwrap_or_default());
    let limit = flags.timeout.unwrap_or(Duration::MAX);
    let mut round = runner.begin(suite, limit, Instant::now());
    let mut shown = 0;
    loop {
        for outcome in round.finished().skip(shown) {
            live.outcome(outcome);
            if flags.failfast && outcome.finding.status.is_bad() {
                return so_far(&round);
            }
        }
        shown = round.finished().count();
        let Some(deadline) = round.next_deadline() else { return round.into_report() };
        live.still(&round, Instant::now());
        let wait = deadline.saturating_duration_since(Instant::now()).min(live.refresh());
        // Woken or not, the next step is the same.
        let _ = receiver.recv_timeout(wait);
        runner.advance(&mut round, Instant::now());
    }
}

fn so_far(round: &Round) -> Report {
    Report { outcomes: round.finished().cloned().collect() }
}
