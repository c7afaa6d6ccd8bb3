//! What is shown while checks run: dots or lines, and on a terminal what is still waited for.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use console::Style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::unittest;
use crate::check::Status;
use crate::report::Outcome;
use crate::round::Round;

/// How many checks that still run are named.
const NAMED: usize = 3;

/// Progress on standard error.
pub(super) struct Live {
    /// The line at the bottom of a terminal; hidden elsewhere.
    bar: ProgressBar,
    verbose: bool,
    /// Nothing is shown but the line at the bottom.
    quiet: bool,
    dots: String,
}

impl Live {
    /// For so many checks. `quiet` is for a report that goes elsewhere.
    pub(super) fn new(checks: usize, verbose: bool, quiet: bool) -> Live {
        let bar = ProgressBar::with_draw_target(Some(checks as u64), ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is well formed"));
        Live { bar, verbose, quiet, dots: String::new() }
    }

    /// How often [`Live::still`] has something new to say; for ever where there is no terminal.
    pub(super) fn refresh(&self) -> Duration {
        if self.bar.is_hidden() { Duration::MAX } else { Duration::from_millis(100) }
    }

    /// A check has come to this.
    pub(super) fn outcome(&mut self, outcome: &Outcome) {
        self.bar.inc(1);
        let style = style(outcome.finding.status);
        if self.quiet {
        } else if self.verbose {
            let said = style.apply_to(unittest::word(outcome));
            self.line(&format!("{}\n{} ... {said}", outcome.check.id, outcome.check.title));
        } else {
            let dot = style.apply_to(unittest::letter(outcome.finding.status)).to_string();
            if self.bar.is_hidden() {
                say(&dot);
            }
            self.dots.push_str(&dot);
        }
    }

    /// Shows what is still waited for.
    pub(super) fn still(&self, round: &Round, now: Instant) {
        if self.bar.is_hidden() {
            return;
        }
        let open: Vec<_> = round.open().map(|check| check.id.as_str()).collect();
        let named = open[..open.len().min(NAMED)].join(", ");
        let more = if open.len() > NAMED { format!(" and {} more", open.len() - NAMED) } else { String::new() };
        let seconds = now.saturating_duration_since(round.began()).as_secs();
        let count = format!("{}/{}", self.bar.position(), self.bar.length().unwrap_or_default());
        self.bar.set_message(format!("{}\n{count} waiting {seconds}s for {named}{more}", self.dots));
    }

    /// Everything has come in.
    pub(super) fn finish(&mut self) {
        let hidden = self.bar.is_hidden();
        self.bar.finish_and_clear();
        if !self.quiet {
            // Without a terminal the dots are there already.
            say(if hidden { "" } else { &self.dots });
            say("\n");
        }
    }

    /// Writes a line, above the one at the bottom.
    pub(super) fn line(&self, text: &str) {
        self.bar.suspend(|| say(&format!("{text}\n")));
    }

    /// Writes the last line.
    pub(super) fn verdict(&self, text: &str, passes: bool) {
        let style = style(if passes { Status::Pass } else { Status::Fail });
        self.line(&style.apply_to(text).to_string());
    }
}

fn style(status: Status) -> Style {
    let style = Style::new().for_stderr();
    match status {
        Status::Pass => style.green(),
        Status::Fail | Status::Error | Status::UnexpectedSuccess => style.red().bold(),
        Status::Skip | Status::ExpectedFailure => style.yellow(),
    }
}

/// Writes to standard error; whoever does not read it loses nothing but this.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
