//! `hospital wait`: runs checks until all of them pass, for entrypoints and deploy scripts.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::Args;

use super::check::Selection;
use super::interrupt::Interrupts;
use super::live::{Live, Shown, say};
use crate::config::Given;
use crate::error::Error;
use crate::model::duration;
use crate::model::report::Outcome;
use crate::os::{descriptors, tree};
use crate::render::line::one_line;
use crate::round::{MOST_AT_ONCE, Runner, affordable};

/// The first pause between two rounds; each is longer than the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all of them pass, 1 the time was over before, 2 a wrong name or flag, \
                        5 refused for safety.")]
pub(super) struct WaitFlags {
    #[command(flatten)]
    selection: Selection,
    /// How long to wait at most
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = duration::parse_some)]
    limit: Duration,
}

/// Runs the selected checks, all of them each time, until none is bad or the time is over. Silences do not count here:
/// whoever waits for a thing needs it.
pub(super) fn run(flags: &WaitFlags, given: &Given) -> Result<ExitCode, Error> {
    let began = Instant::now();
    let until = began + flags.limit;
    descriptors::close_all_on_exec().map_err(|error| Error::Boot(format!("cannot tidy up descriptors: {error}")))?;
    let suite = flags.selection.read(given).and_then(|sources| flags.selection.select(&sources))?.silenced(&[]);
    given.app.prepare().map_err(|why| Error::Boot(format!("the program cannot run its checks: {why}")))?;
    let interrupts =
        Interrupts::listen().map_err(|error| Error::Boot(format!("cannot listen for signals: {error}")))?;
    let (sender, receiver) = mpsc::channel();
    // Nobody listens any more when a check returns after the end.
    let mut runner = Runner::new(move || sender.send(()).unwrap_or_default()).with_at_once(affordable(MOST_AT_ONCE, 1));
    let mut missing = Missing::default();
    let mut pause = FIRST_PAUSE;
    let all_pass = loop {
        let mut live = Live::new(suite.checks().len(), Shown::Nothing);
        let left = until.saturating_duration_since(Instant::now());
        let mut round = runner.begin(suite.clone(), left, Instant::now());
        let (mut seen, mut bad) = (0, 0);
        loop {
            interrupts.wait_if_ending();
            let now = Instant::now();
            for outcome in round.finished().skip(seen) {
                live.outcome(outcome);
                seen += 1;
                bad += usize::from(outcome.is_bad());
                // What the end has cut off says nothing new.
                if now < until
                    && let Some(line) = missing.take_in(outcome, now - began)
                {
                    live.clear();
                    say(&line);
                }
            }
            let Some(deadline) = round.next_deadline() else { break };
            live.still(&round, now);
            let wait = deadline.saturating_duration_since(now).min(live.refresh());
            // Woken or not, the next step is the same.
            let _ = receiver.recv_timeout(wait);
            runner.advance(&mut round, Instant::now());
        }
        live.finish();
        let now = Instant::now();
        if bad == 0 || until <= now {
            missing.note_unseen(round.finished());
            break bad == 0;
        }
        std::thread::sleep(pause.min(until - now));
        if until <= Instant::now() {
            break false;
        }
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    };
    if runner.is_busy() {
        // Threads that are left behind end with us; the programs that they started must, too.
        tree::kill_all();
    }
    if all_pass {
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("hospital: not there after {}: {}\n", duration::spoken(flags.limit), missing.all()));
    Ok(ExitCode::FAILURE)
}

/// What was bad when it was last looked at.
#[derive(Default)]
struct Missing {
    /// What each check says, and what it said without its figures, by its id.
    said: BTreeMap<String, (String, String)>,
}

impl Missing {
    /// Takes in an outcome, and returns a line about it, if it is news. A figure that is another each time is not.
    fn take_in(&mut self, outcome: &Outcome, elapsed: Duration) -> Option<String> {
        let id = &outcome.check.id;
        if !outcome.is_bad() {
            let status = outcome.finding.status.word();
            return self.said.remove(id).map(|_| format!("{id}: {status} after {}\n", duration::spoken(elapsed)));
        }
        let text = told(outcome);
        let stable = without_figures(&text);
        let is_known = self.said.get(id).is_some_and(|(_, before)| *before == stable);
        self.said.insert(id.clone(), (text.clone(), stable));
        (!is_known).then(|| format!("waiting for {id}: {text}\n"))
    }

    /// Takes in what is bad and never was told.
    fn note_unseen<'a>(&mut self, outcomes: impl Iterator<Item = &'a Outcome>) {
        for outcome in outcomes.filter(|outcome| outcome.is_bad()) {
            let text = || (told(outcome), String::new());
            self.said.entry(outcome.check.id.clone()).or_insert_with(text);
        }
    }

    /// All that is missing, in one line.
    fn all(&self) -> String {
        self.said.iter().map(|(id, (text, _))| format!("{id}: {text}")).collect::<Vec<_>>().join("; ")
    }
}

fn told(outcome: &Outcome) -> String {
    let status = outcome.finding.status.word();
    match outcome.finding.context.as_deref() {
        Some(context) => format!("{status}: {}", one_line(context)),
        None => status.to_owned(),
    }
}

fn without_figures(text: &str) -> String {
    text.split(|c: char| c.is_ascii_digit() || c == '.').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("#")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::{Check, Finding};
    use std::sync::Arc;

    fn outcome(finding: Finding) -> Outcome {
        let check = Arc::new(Check::new("db", |_| ()));
        crate::model::report::tests::outcome(check, finding)
    }

    #[test]
    fn each_change_is_told_once_and_a_figure_is_no_change() {
        let mut missing = Missing::default();
        let mut take = |finding| missing.take_in(&outcome(finding), Duration::from_secs(3));
        let told = Some("waiting for db: fail: refused in 3 ms\n".to_owned());
        assert_eq!(take(Finding::fail("refused in 3 ms")), told);
        assert_eq!(take(Finding::fail("refused in 12.5 ms")), None);
        assert!(take(Finding::error("no route")).is_some_and(|line| line.ends_with("error: no route\n")));
        assert_eq!(take(Finding::PASS), Some("db: pass after 3s\n".to_owned()));
        assert_eq!(take(Finding::PASS), None);
        assert_eq!(missing.all(), "");
    }
}
