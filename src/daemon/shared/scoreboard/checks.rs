//! The last outcome of each check, in whichever worker it ran.

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use zerocopy::FromBytes;

use super::Scoreboard;
use super::outcome::{self, Judged, Last, millis};
use crate::daemon::shared::Flag;
use crate::daemon::shared::sealed::Sealed;
use crate::daemon::shared::table::{Table, key};
use crate::endpoint::Before;
use crate::model::check::Status;
use crate::model::perfdata::{self, Perfdata};
use crate::model::report::{Outcome, Report};
use crate::model::suite::Suite;
use crate::os::clock;

/// How many checks are remembered.
const CHECKS: usize = 16 * 1024;

/// How many checks can have their figures remembered.
const WITH_FIGURES: usize = 1024;

type SealedFigures = Sealed<127>;

/// The checks that have run, and their figures.
#[derive(FromBytes)]
#[repr(C)]
pub(super) struct Checks {
    outcomes: Table<outcome::OutcomeCell, CHECKS>,
    figures: Table<SealedFigures, WITH_FIGURES>,
    /// How many outcomes there was no room for, with or without their figures.
    pub(super) lost: AtomicU64,
    /// Whether that was logged.
    is_full: Flag,
}

/// The last outcome of a check.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Noted {
    pub(crate) status: Status,
    /// How long it took, to four digits.
    pub(crate) elapsed: Duration,
    /// When it ended, to the millisecond.
    pub(crate) at: SystemTime,
    /// As many figures as there was room for.
    pub(crate) figures: Vec<Perfdata>,
    pub(crate) judged: Judged,
}

/// The places for an outcome and its figures.
struct Places<'a> {
    outcome: Option<&'a outcome::OutcomeCell>,
    figures: Option<&'a SealedFigures>,
    is_enough: bool,
}

impl Judged {
    fn of(outcome: &Outcome) -> Judged {
        let raw = outcome.judgement.as_ref().and_then(|judgement| judgement.raw);
        Judged { raw, is_blocked: !outcome.blocked_by().is_empty(), blame: outcome.finding.blame }
    }
}

impl Scoreboard {
    /// Notes what a round of checks of this suite has found by `now`. Returns the outcomes whose status has changed, with
    /// the one before (`None`: the first time). Where there is no room, what is not in the suite any more is forgotten.
    pub(crate) fn note<'a>(
        &self,
        report: &'a Report,
        suite: &Suite,
        now: SystemTime,
    ) -> Vec<(&'a Outcome, Option<Before>)> {
        let mut changed = Vec::new();
        let mut has_tidied = false;
        for outcome in &report.outcomes {
            let Outcome { check, finding, elapsed, age, .. } = outcome;
            let (key, text) = (key(&check.id), written(&finding.perfdata));
            let mut room = self.room(key, &text);
            if !room.is_enough && !std::mem::replace(&mut has_tidied, true) {
                self.forget_all_but(suite);
                room = self.room(key, &text);
            }
            if !room.is_enough {
                self.lose();
            }
            let Some(place) = room.outcome else { continue };
            // A check that runs in place has only just ended.
            let at = clock::before(now, age.saturating_sub(*elapsed));
            // A round ends with its slowest check, and another worker may have run this one since. A later time that has
            // not come yet is that of a clock which was set back.
            let later = |last: Last| millis(last.at) > millis(at) && last.at <= clock::wall();
            if place.last().is_some_and(later) {
                continue;
            }
            if let Some(figures) = room.figures {
                figures.write_among_others(text.as_bytes());
            }
            let status = finding.status;
            let judged = Judged::of(outcome);
            let was_blocked = place.note_judged(judged).is_blocked;
            let before = place.note(Last { status, elapsed: *elapsed, at, has_figures: room.figures.is_some() });
            if before != Some(status) || was_blocked != judged.is_blocked {
                changed.push((outcome, before.map(|status| Before { status, was_blocked })));
            }
        }
        changed
    }

    fn room(&self, key: u64, text: &str) -> Places<'_> {
        let Checks { outcomes, figures, .. } = &self.board.checks;
        let outcome = outcomes.claim(key);
        let figures = if text.is_empty() { None } else { figures.claim(key) };
        Places { outcome, figures, is_enough: outcome.is_some() && (text.is_empty() || figures.is_some()) }
    }

    fn forget_all_but(&self, suite: &Suite) {
        let kept: HashSet<u64> = suite.checks().iter().map(|check| key(&check.id)).collect();
        self.board.checks.outcomes.retain(|key, _| kept.contains(&key));
        self.board.checks.figures.retain(|key, _| kept.contains(&key));
    }

    fn lose(&self) {
        self.board.checks.lost.fetch_add(1, Relaxed);
        if self.board.checks.is_full.change(true) {
            tracing::error!(
                "too many checks: {CHECKS} can be remembered, {WITH_FIGURES} of them with figures; for any more, changes \
                 are not logged and metrics are missing"
            );
        }
    }

    /// The last outcome of a check.
    pub(crate) fn last(&self, id: &str) -> Option<Noted> {
        let (key, Checks { outcomes, figures, .. }) = (key(id), &self.board.checks);
        let place = outcomes.find(key)?;
        let (judged, Last { status, elapsed, at, has_figures }) = (place.judged(), place.last()?);
        let text = has_figures.then(|| figures.find(key)?.read_among_others()).flatten();
        let figures = text.map(|text| perfdata::split(&String::from_utf8_lossy(&text)).1).unwrap_or_default();
        Some(Noted { status, elapsed, at, figures, judged })
    }
}

/// As many figures as fit, as a plugin prints them.
fn written(figures: &[Perfdata]) -> String {
    let mut text = String::new();
    for figure in figures {
        let before = text.len();
        text.push_str(if text.is_empty() { "|" } else { " " });
        text.push_str(&figure.to_string());
        if text.len() > SealedFigures::ROOM {
            text.truncate(before);
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::{Check, Finding};
    use crate::model::judgement::Judgement;
    use std::sync::Arc;
    use std::time::Instant;

    fn board() -> Scoreboard {
        Scoreboard::new(Instant::now()).expect("memory can be mapped")
    }

    fn noted(status: Status, figures: &[Perfdata]) -> Noted {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_123);
        let judged = Judged::default();
        Noted { status, elapsed: Duration::from_micros(51_230), at, figures: figures.to_vec(), judged }
    }

    fn outcome(id: &str, noted: &Noted) -> Outcome {
        let finding = Finding { status: noted.status, perfdata: noted.figures.clone(), ..Finding::PASS };
        let check = Arc::new(Check::new(id, |_| Finding::PASS));
        Outcome::of(check, finding, noted.elapsed, noted.elapsed)
    }

    fn note(board: &Scoreboard, id: &str, noted: &Noted) -> Option<Option<Status>> {
        let report = Report::of_outcomes(vec![outcome(id, noted)]);
        let changed = board.note(&report, &Suite::default(), noted.at);
        changed.first().map(|&(_, before)| before.map(|before| before.status))
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
    fn how_it_was_judged_is_remembered_and_a_change_of_that_is_one() {
        let board = board();
        let blocked = Judged { raw: Some(Status::Error), is_blocked: true, blame: None };
        let note = |judged: Judged| {
            let mut made = outcome("shop", &noted(Status::Warn, &[]));
            let blocked_by = judged.is_blocked.then(|| "db".to_owned()).into_iter().collect();
            made.judgement = Some(Box::new(Judgement::default()));
            if let Some(judgement) = &mut made.judgement {
                (judgement.raw, judgement.blocked_by) = (judged.raw, blocked_by);
            }
            let report = Report::of_outcomes(vec![made]);
            let at = noted(Status::Warn, &[]).at;
            let changed = board.note(&report, &Suite::default(), at);
            (changed.first().map(|&(_, before)| before), board.last("shop").map(|noted| noted.judged))
        };
        assert_eq!(note(blocked), (Some(None), Some(blocked)));
        assert_eq!(note(blocked), (None, Some(blocked)));
        let before = Before { status: Status::Warn, was_blocked: true };
        assert_eq!(note(Judged::default()), (Some(Some(before)), Some(Judged::default())));
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
        assert_eq!(board.last("db"), Some(newer));
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
        let large = [Perfdata::new(&"x".repeat(2 * SealedFigures::ROOM), 1.0, "s")];
        note(&board, "large", &noted(Status::Pass, &large));
        assert_eq!(board.last("large").expect("it was noted").figures, []);
    }

    fn round<'a>(names: impl Iterator<Item = &'a String>, figures: &[Perfdata]) -> (Report, Suite) {
        let outcomes: Vec<_> = names.map(|name| outcome(name, &noted(Status::Fail, figures))).collect();
        let suite = outcomes.iter().map(|outcome| outcome.check.clone()).collect();
        (Report::of_outcomes(outcomes), suite)
    }

    #[test]
    fn checks_that_are_no_longer_collected_make_room_for_new_ones() {
        let board = board();
        for (room, figures) in [(CHECKS, vec![]), (WITH_FIGURES, vec![Perfdata::new("load1", 0.31, "")])] {
            // The first leave room for half of the second, and the third come when nothing was free for long.
            for (collected, count) in [room - 50, 100, 100].into_iter().enumerate() {
                let names: Vec<_> = (0..count).map(|n| format!("folder.{room}.{collected}.{n}")).collect();
                let (report, suite) = round(names.iter(), &figures);
                assert_eq!(board.note(&report, &suite, clock::wall()).len(), count, "each is new");
                assert!(names.iter().all(|name| board.last(name).is_some_and(|last| last.figures == figures)));
            }
        }
        assert_eq!(board.counters().lost, 0);
    }

    #[test]
    fn outcomes_that_there_is_no_room_for_are_counted() {
        let board = board();
        let names: Vec<_> = (0..CHECKS + 10).map(|n| format!("check.{n}")).collect();
        let (report, suite) = round(names.iter(), &[]);
        assert_eq!(board.note(&report, &suite, clock::wall()).len(), CHECKS);
        assert_eq!(board.counters().lost, 10);
        assert!(board.last(&names[CHECKS - 1]).is_some() && board.last(&names[CHECKS]).is_none());
    }
}
