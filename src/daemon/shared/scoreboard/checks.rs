//! The last outcome of each check, in whichever worker it ran.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use super::Scoreboard;
use super::last::Last;
use super::sealed::{ROOM, Sealed};
use super::since::Since;
use crate::daemon::shared::table::{Table, key};
use crate::model::check::{Finding, Status};
use crate::model::perfdata::{self, Perfdata};
use crate::model::report;

/// How many checks are remembered. For any more, changes go unnoticed and metrics are missing.
const CHECKS: usize = 16 * 1024;

/// How many checks can have their figures remembered.
const WITH_FIGURES: usize = 1024;

/// The checks that have run, and their figures.
#[repr(C)]
pub(super) struct Checks {
    outcomes: Table<Outcome, CHECKS>,
    figures: Table<Sealed, WITH_FIGURES>,
}

#[repr(C)]
struct Outcome {
    last: AtomicU64,
    since: Since,
}

/// The last outcome of a check.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Noted {
    pub(crate) status: Status,
    /// How long it took, to four digits.
    pub(crate) elapsed: Duration,
    /// When it was noted, to the millisecond.
    pub(crate) at: SystemTime,
    /// As many figures as there was room for.
    pub(crate) figures: Vec<Perfdata>,
}

impl Scoreboard {
    /// Notes what a check found, how long that took, and when. If the status has changed, returns `Some` with the one
    /// before (`None`: the first time).
    pub(crate) fn note(
        &self,
        id: &str,
        finding: &Finding,
        elapsed: Duration,
        at: SystemTime,
    ) -> Option<Option<Status>> {
        let (key, status) = (key(id), finding.status);
        let Checks { outcomes, figures } = &self.board.checks;
        let Outcome { last, since } = outcomes.claim(key)?;
        let text = written(&finding.perfdata);
        let sealed = (!text.is_empty()).then(|| figures.claim(key)).flatten();
        let word = Last { status, elapsed, at, has_figures: sealed.is_some() }.to_word();
        // A round ends with its slowest check, and another worker may have run this one since. A later time that has not
        // come yet is that of a clock which was set back.
        let noted = last.load(Relaxed);
        if Last::is_later(noted, word) && Last::from_word(noted).is_some_and(|noted| noted.at <= SystemTime::now()) {
            return None;
        }
        if let Some(sealed) = sealed {
            sealed.write(&text);
        }
        since.note(status, Last::from_word(noted).map(|noted| noted.at), at);
        let before = Last::status(last.swap(word, Relaxed));
        (before != Some(status)).then_some(before)
    }

    /// Since when a check has had this status, if that is its last one.
    pub(crate) fn since(&self, id: &str, status: Status) -> Option<report::Since> {
        self.board.checks.outcomes.find(key(id))?.since.read(status)
    }

    /// The last outcome of a check.
    pub(crate) fn last(&self, id: &str) -> Option<Noted> {
        let (key, Checks { outcomes, figures }) = (key(id), &self.board.checks);
        let Last { status, elapsed, at, has_figures } = Last::from_word(outcomes.find(key)?.last.load(Relaxed))?;
        let text = has_figures.then(|| figures.find(key)?.read()).flatten();
        let figures = text.map(|text| perfdata::split(&text).1).unwrap_or_default();
        Some(Noted { status, elapsed, at, figures })
    }
}

/// As many figures as fit, as a plugin prints them.
fn written(figures: &[Perfdata]) -> String {
    let mut text = String::new();
    for figure in figures {
        let before = text.len();
        text.push_str(if text.is_empty() { "|" } else { " " });
        text.push_str(&figure.to_string());
        if text.len() > ROOM {
            text.truncate(before);
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn board() -> Scoreboard {
        Scoreboard::new(Instant::now()).expect("memory can be mapped")
    }

    fn noted(status: Status, figures: &[Perfdata]) -> Noted {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_123);
        Noted { status, elapsed: Duration::from_micros(51_230), at, figures: figures.to_vec() }
    }

    fn note(board: &Scoreboard, id: &str, noted: &Noted) -> Option<Option<Status>> {
        let finding = Finding { status: noted.status, context: None, perfdata: noted.figures.clone() };
        board.note(id, &finding, noted.elapsed, noted.at)
    }

    #[test]
    fn each_change_of_a_check_is_noticed_once() {
        let board = board();
        let note = |id, status| note(&board, id, &noted(status, &[]));
        assert_eq!(note("db", Status::Pass), Some(None));
        assert_eq!(note("db", Status::Pass), None);
        assert_eq!(note("mail", Status::Pass), Some(None));
        assert_eq!(note("db", Status::Error), Some(Some(Status::Pass)));
        assert_eq!(note("db", Status::Error), None);
    }

    #[test]
    fn a_round_that_ends_late_does_not_undo_what_was_found_since() {
        let board = board();
        let [newer, older, to_come] = [500, 400, 1_000_000_000_000].map(|millis| Noted {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_000 + millis),
            ..noted(if millis == 400 { Status::Pass } else { Status::Fail }, &[])
        });
        let now = SystemTime::now();
        assert!(newer.at < now && now < to_come.at, "this test is for today");
        assert_eq!(note(&board, "db", &newer), Some(None));
        assert_eq!(note(&board, "db", &older), None);
        assert_eq!((board.last("db"), board.since("db", Status::Pass)), (Some(newer), None));
        note(&board, "db", &to_come);
        assert_eq!(note(&board, "db", &older), Some(Some(Status::Fail)), "the clock was set back");
    }

    #[test]
    fn the_last_outcome_is_remembered_with_its_figures() {
        let board = board();
        assert_eq!(board.last("load"), None);
        let figures = [Perfdata::new("load1", 0.31, ""), Perfdata::new("it's", 1e22, "B")];
        let with = noted(Status::Pass, &figures);
        note(&board, "load", &with);
        assert_eq!(board.last("load"), Some(with));
        let without = noted(Status::Error, &[]);
        note(&board, "load", &without);
        assert_eq!(board.last("load"), Some(without), "figures of an earlier run are not those of the last");
        assert_eq!(board.last("db"), None);
    }

    #[test]
    fn of_too_many_figures_the_first_are_remembered() {
        let board = board();
        let figures: Vec<_> = (0..200).map(|n| Perfdata::new(&format!("figure {n}"), f64::from(n), "s")).collect();
        note(&board, "many", &noted(Status::Pass, &figures));
        let there = board.last("many").expect("it was noted").figures;
        assert!(there.len() > 30 && figures.starts_with(&there), "{} are there", there.len());
        let large = [Perfdata::new(&"x".repeat(2 * ROOM), 1.0, "s")];
        note(&board, "large", &noted(Status::Pass, &large));
        assert_eq!(board.last("large").expect("it was noted").figures, []);
    }
}
