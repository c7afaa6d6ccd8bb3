//! What people see of a round: dots or lines while it runs, on a terminal also which checks are running and for how long,
//! and the report below.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use console::{Style, Term};

use super::unittest;
use crate::model::check::Status;
use crate::model::report::{Outcome, Report};
use crate::os::descriptors;
use crate::round::Round;

/// How many running checks are named.
const NAMED: usize = 3;

/// What is shown of each outcome when it arrives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown {
    /// Nothing: the report goes elsewhere.
    Nothing,
    /// One letter.
    Dot,
    /// The check, and a word.
    Name,
}

/// Progress on standard error.
pub(super) struct Live {
    shown: Shown,
    /// If there is a terminal, its last line shows the running checks.
    terminal: Option<Term>,
    /// How many of its last lines will be rewritten.
    lines: usize,
    /// The dots in the line above that, and their number.
    dots: (String, usize),
    done: usize,
    checks: usize,
}

impl Live {
    /// For this many checks.
    pub(super) fn new(checks: usize, shown: Shown) -> Live {
        let terminal = Some(Term::stderr()).filter(Term::is_term);
        Live { shown, terminal, lines: 0, dots: (String::new(), 0), done: 0, checks }
    }

    /// How often [`Live::still`] has something new to show; never without a terminal.
    pub(super) fn refresh(&self) -> Duration {
        if self.terminal.is_none() { Duration::MAX } else { Duration::from_millis(100) }
    }

    /// A check has this outcome.
    pub(super) fn outcome(&mut self, outcome: &Outcome) {
        self.done += 1;
        let style = style(outcome.finding.status);
        match self.shown {
            Shown::Nothing => {}
            Shown::Name => {
                let word = style.apply_to(unittest::word(outcome));
                self.erase();
                say(&format!("{} ... {word}\n", unittest::description(&outcome.check)));
            }
            Shown::Dot => self.dot(&style.apply_to(unittest::letter(outcome)).to_string()),
        }
    }

    fn dot(&mut self, dot: &str) {
        let Some(terminal) = &self.terminal else { return say(dot) };
        let (_, columns) = terminal.size();
        let (dots, count) = &mut self.dots;
        dots.push_str(dot);
        *count += 1;
        if *count >= usize::from(columns) {
            self.leave_dots();
        }
    }

    /// Shows the running checks.
    pub(super) fn still(&mut self, round: &Round, now: Instant) {
        let Some(terminal) = &self.terminal else { return };
        let running: Vec<_> = round
            .running()
            .map(|(check, since)| format!("{} {}s", check.id, now.saturating_duration_since(since).as_secs()))
            .collect();
        let named = running[..running.len().min(NAMED)].join(", ");
        let mut text = format!("{}/{}, running {named}", self.done, self.checks);
        if running.len() > NAMED {
            text += &format!(" and {} more", running.len() - NAMED);
        }
        let (_, columns) = terminal.size();
        let dots = if matches!(self.shown, Shown::Dot) { format!("{}\n", self.dots.0) } else { String::new() };
        let text = dots + &console::truncate_str(&text, columns.into(), "");
        self.erase();
        say(&text);
        self.lines = text.lines().count();
    }

    /// The round is over: what was shown stays, except the running checks.
    pub(super) fn finish(mut self) {
        match (self.shown, &self.terminal) {
            (Shown::Nothing, _) => self.erase(),
            (Shown::Dot, Some(_)) => self.leave_dots(),
            (Shown::Dot, None) => say("\n"),
            (Shown::Name, _) => {
                self.erase();
                say("\n");
            }
        }
    }

    /// Takes away what is shown of the running checks, for a line of others.
    pub(super) fn clear(&mut self) {
        self.erase();
    }

    /// Leaves the dots where they are.
    fn leave_dots(&mut self) {
        self.erase();
        let (dots, _) = std::mem::take(&mut self.dots);
        say(&format!("{dots}\n"));
    }

    /// A terminal that cannot be written to only loses the progress.
    fn erase(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        if let Some(terminal) = self.terminal.as_ref().filter(|_| lines > 0) {
            let _ = terminal.clear_line().and_then(|()| terminal.clear_last_lines(lines - 1));
        }
    }
}

/// Writes everything below the dots.
pub(super) fn report(report: &Report, elapsed: Duration, verbosity: u8) {
    say(&unittest::body(report, elapsed, verbosity));
    let style = style(if report.passes() { Status::Pass } else { Status::Fail });
    say(&format!("{}\n", style.apply_to(unittest::verdict(report))));
}

/// Moves the cursor below the progress for whoever writes next, unless the terminal is stopped.
pub(super) fn leave() {
    if console::user_attended_stderr() {
        let _ = descriptors::write_if_ready(&io::stderr(), b"\n");
    }
}

/// The style of a status, if standard error is a terminal and NO_COLOR is not set.
fn style(status: Status) -> Style {
    let style = Style::new().for_stderr();
    match status {
        Status::Pass => style.green(),
        Status::Fail | Status::Error | Status::UnexpectedSuccess => style.red().bold(),
        Status::Warn | Status::Skip | Status::ExpectedFailure => style.yellow(),
    }
}

/// Writes to standard error. If that fails, only this text is lost.
pub(super) fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
