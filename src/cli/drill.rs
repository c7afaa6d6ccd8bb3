//! `hospital drill`: sabotages each check, and reports which of them cannot fail.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use console::Term;

use super::check::Selection;
use super::{live, print};
use crate::config::Given;
use crate::drill::{self, DrillOptions, Drilled, Watched, Watcher, report};
use crate::error::Error;
use crate::model::check::Check;
use crate::model::suite::Suite;
use crate::os::descriptors;
use crate::render::{self, Format};

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 each check is sound, 1 one is not, or was not drilled, 2 a wrong name or flag, \
                        5 refused for safety.")]
pub(super) struct DrillFlags {
    #[command(flatten)]
    selection: Selection,
    /// Write the result to standard output in this format, instead of the one for people: json, junit, tap or html
    #[arg(long, value_name = "FORMAT", value_parser = written)]
    format: Option<Written>,
    /// Drill checks too that change something elsewhere: their first run does so, as that of `check` would
    #[arg(long)]
    even_writing: bool,
    /// Annotate the workflow of GitHub with what is not sound
    #[arg(long)]
    in_ci: bool,
    /// Run at most this many runs at once [default: 8 for each processor]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    jobs: Option<u32>,
}

/// How the result is written.
#[derive(Clone, Copy, Debug)]
enum Written {
    /// As JSON of a form of its own.
    Drill,
    /// As a report of checks.
    AsReport(&'static Format),
}

fn written(name: &str) -> Result<Written, String> {
    match name {
        "json" => Ok(Written::Drill),
        "junit" | "tap" | "html" => render::named(name).map(Written::AsReport),
        _ => Err("there is no such format (known: json, junit, tap, html)".to_owned()),
    }
}

/// Drills the selected checks and reports.
pub(super) fn run(flags: &DrillFlags, given: &Given) -> Result<ExitCode, Error> {
    descriptors::close_all_on_exec().map_err(|error| Error::Boot(format!("cannot tidy up descriptors: {error}")))?;
    let sources = flags.selection.read(given)?;
    let suite = flags.selection.select(&sources)?;
    let began = Instant::now();
    let prepare = |check: &Check| {
        // An interpreter is there before, for checks in Python: what it imports for others is no business of one of them.
        if check.begins_late {
            sources.python().take_own()?;
        }
        given.app.prepare()
    };
    let drilled = watch(&suite, flags, &prepare)
        .map_err(|error| Error::Boot(format!("no process can be started to drill in: {error}")))?;
    match flags.format {
        Some(Written::Drill) => print(report::json(&drilled))?,
        Some(Written::AsReport(format)) => {
            let mut text = Vec::new();
            (format.write)(&report::report(&drilled), &mut text);
            print(&text)?;
        }
        None => live::say(&report::summary(&drilled, began.elapsed())),
    }
    if let Some(state) = sources.state() {
        state.keep_drills(
            drilled.iter().filter(|one| one.was_drilled()).map(|one| (one.check.id.as_str(), one.is_well())),
        )?;
    }
    if flags.in_ci {
        live::say(&report::annotations(&drilled));
    }
    Ok(ExitCode::from(u8::from(!drilled.iter().all(Drilled::is_well))))
}

fn watch(suite: &Suite, flags: &DrillFlags, prepare: drill::Prepare<'_>) -> std::io::Result<Vec<Drilled>> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = flags.jobs.map_or(8 * processors, |jobs| jobs as usize);
    let options = DrillOptions { jobs, even_writing: flags.even_writing };
    let terminal = Some(Term::stderr()).filter(|_| flags.format.is_none()).filter(Term::is_term);
    let mut shown =
        Shown { is_silent: flags.format.is_some(), terminal, checks: suite.checks().len(), done: 0, is_dirty: false };
    let drilled = drill::drill(suite.checks(), options, prepare, &mut shown);
    shown.erase();
    drilled
}

/// Progress on standard error.
struct Shown {
    is_silent: bool,
    /// If there is a terminal, its last line shows what is under way.
    terminal: Option<Term>,
    checks: usize,
    done: usize,
    /// Whether there is such a line.
    is_dirty: bool,
}

impl Shown {
    fn erase(&mut self) {
        if let Some(terminal) = self.terminal.as_ref().filter(|_| self.is_dirty) {
            // A terminal that cannot be written to only loses the progress.
            let _ = terminal.clear_line();
        }
        self.is_dirty = false;
    }
}

impl Watcher for Shown {
    fn drilled(&mut self, drilled: &Drilled) {
        self.done += 1;
        self.erase();
        if !self.is_silent {
            live::say(&report::line(drilled));
        }
    }

    fn still(&mut self, runs: &mut dyn Iterator<Item = Watched<'_>>, now: Instant) {
        let Some(terminal) = &self.terminal else { return };
        let run = |Watched { check, sabotage, since }: Watched<'_>| {
            let what = sabotage.map_or("as it is", |sabotage| sabotage.does());
            format!("{}: {what} {}s", check.id, now.saturating_duration_since(since).as_secs())
        };
        let runs: Vec<_> = runs.take(3).map(run).collect();
        let (_, columns) = terminal.size();
        let text = format!("{}/{}, {}", self.done, self.checks, runs.join(", "));
        let text = console::truncate_str(&text, columns.into(), "").into_owned();
        self.erase();
        live::say(&text);
        self.is_dirty = true;
    }

    fn refresh(&self) -> Duration {
        if self.terminal.is_none() { Duration::MAX } else { Duration::from_millis(100) }
    }
}
