//! What is shown while checks run: dots or lines, and on a terminal what still runs and for how long.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use console::Style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::unittest;
use crate::check::Status;
use crate::report::Outcome;
use crate::round::Round;
use crate::sys::descriptors;

/// How many checks that still run are named.
const NAMED: usize = 3;

/// What is written of each outcome as it comes in.
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
    /// The line at the bottom of a terminal; hidden elsewhere.
    bar: ProgressBar,
    /// The dots above that line.
    dots: String,
}

impl Live {
    /// For so many checks.
    pub(super) fn new(checks: usize, shown: Shown) -> Live {
        let template = match shown {
            Shown::Nothing | Shown::Name => "{wide_msg}",
            Shown::Dot => "{prefix}\n{wide_msg}",
        };
        let style = ProgressStyle::with_template(template).expect("the templates are well formed");
        let bar = ProgressBar::with_draw_target(Some(checks as u64), ProgressDrawTarget::stderr()).with_style(style);
        Live { shown, bar, dots: String::new() }
    }

    /// How often [`Live::still`] has something new to say; never where there is no terminal.
    pub(super) fn refresh(&self) -> Duration {
        if self.bar.is_hidden() { Duration::MAX } else { Duration::from_millis(100) }
    }

    /// A check has come to this.
    pub(super) fn outcome(&mut self, outcome: &Outcome) {
        let style = style(outcome.finding.status);
        match self.shown {
            Shown::Nothing => {}
            Shown::Name => {
                let word = style.apply_to(unittest::word(outcome));
                let line = format!("{} ... {word}\n", unittest::description(&outcome.check));
                self.bar.suspend(|| say(&line));
            }
            Shown::Dot => {
                let dot = style.apply_to(unittest::letter(outcome.finding.status)).to_string();
                if self.bar.is_hidden() {
                    say(&dot);
                }
                self.dots.push_str(&dot);
                self.bar.set_prefix(self.dots.clone());
            }
        }
        self.bar.inc(1);
    }

    /// Shows what still runs.
    pub(super) fn still(&self, round: &Round, now: Instant) {
        if self.bar.is_hidden() {
            return;
        }
        let running: Vec<_> = round
            .running()
            .map(|(check, since)| format!("{} {}s", check.id, now.saturating_duration_since(since).as_secs()))
            .collect();
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
        let mut text = format!("{done}/{all}, running {}", running[..running.len().min(NAMED)].join(", "));
        if running.len() > NAMED {
            text += &format!(" and {} more", running.len() - NAMED);
        }
        self.bar.set_message(text);
    }

    /// Everything has come in: what was shown stays, but for the line at the bottom.
    pub(super) fn finish(self) {
        let hidden = self.bar.is_hidden();
        self.bar.finish_and_clear();
        match self.shown {
            Shown::Nothing => {}
            Shown::Dot if !hidden => say(&format!("{}\n", self.dots)),
            Shown::Dot | Shown::Name => say("\n"),
        }
    }
}

/// Leaves the line at the bottom of a terminal to whoever writes next, if the terminal is not held up.
pub(super) fn leave() {
    if console::user_attended_stderr() {
        let _ = descriptors::write_if_ready(&io::stderr(), b"\n");
    }
}

/// The colours of a status, where standard error is a terminal and NO_COLOR is not set.
pub(super) fn style(status: Status) -> Style {
    let style = Style::new().for_stderr();
    match status {
        Status::Pass => style.green(),
        Status::Fail | Status::Error | Status::UnexpectedSuccess => style.red().bold(),
        Status::Skip | Status::ExpectedFailure => style.yellow(),
    }
}

/// Writes to standard error; whoever does not read it loses nothing but this.
pub(super) fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
