//! Patience with a check that runs on a schedule: `fall` bad runs in a row before it is bad, `rise` good ones before it is
//! good again. Pure: a state, and what follows it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::check::{Finding, Status};
use super::schedule::Schedule;

/// How many changes are remembered with their times.
const REMEMBERED: usize = 64;

/// So many changes within an hour are called flapping.
const FLAPPING: usize = 5;

const HOUR: u64 = 3600;

/// What is said of a check, and what speaks against it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Patience {
    /// `None`: nothing yet, as it has not run, or is starting.
    standing: Option<Standing>,
    /// How many runs in a row have found the opposite.
    against: u32,
    /// How often what is said of it has changed.
    flips: u64,
    /// When it has, the last ones, in seconds.
    changes: Vec<u64>,
}

/// What is said of a check until enough runs have found the opposite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    is_bad: bool,
    /// What the last run found that says so.
    status: Status,
    context: Option<String>,
}

/// How often what is said of a check has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flips {
    /// Since the daemon has known it.
    pub total: u64,
    /// In the last hour; of very many, only the last are counted.
    pub within_the_hour: usize,
}

/// How many runs in a row speak against what is said of a check, and how many it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streak {
    /// So many in a row.
    pub runs: u32,
    /// So many are needed.
    pub of: u32,
    /// Whether they were bad.
    pub is_bad: bool,
}

impl fmt::Display for Streak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Streak { runs, of, is_bad } = self;
        write!(f, "{runs} of {of} {}", if *is_bad { "failures" } else { "successes" })
    }
}

impl Flips {
    /// Whether that is often.
    pub fn is_flapping(self) -> bool {
        self.within_the_hour >= FLAPPING
    }
}

impl Patience {
    /// The state after a run that began at `second` and found this. What is bad does not count while the check starts.
    pub(crate) fn after(mut self, schedule: Schedule, found: &Finding, is_starting: bool, second: u64) -> Patience {
        let is_bad = found.status.is_bad();
        let standing = || Some(Standing { is_bad, status: found.status, context: found.context.clone() });
        match &self.standing {
            None if is_bad && is_starting => {}
            // There is nothing that enough runs would have to speak against.
            None => self.standing = standing(),
            Some(before) if before.is_bad == is_bad => (self.standing, self.against) = (standing(), 0),
            Some(_) => {
                self.against = self.against.saturating_add(1);
                if self.against >= if is_bad { schedule.fall } else { schedule.rise } {
                    (self.standing, self.against) = (standing(), 0);
                    self.flips = self.flips.saturating_add(1);
                    self.changes.push(second);
                    let forgotten = self.changes.len().saturating_sub(REMEMBERED);
                    self.changes.drain(..forgotten);
                }
            }
        }
        self
    }

    /// Whether nothing was said of the check yet.
    pub(crate) fn is_new(&self) -> bool {
        self.standing.is_none()
    }

    /// How many runs in a row have found the opposite of what is said; 0: the last one has not.
    pub(crate) fn against(&self) -> u32 {
        self.against
    }

    /// Leaves out the text that may take much room; false if there is none.
    pub(crate) fn shorten(&mut self) -> bool {
        self.standing.as_mut().is_some_and(|standing| standing.context.take().is_some())
    }

    /// How often what is said has changed, as of a second.
    pub(crate) fn flips(&self, second: u64) -> Flips {
        let recent = self.changes.iter().filter(|&&at| at.saturating_add(HOUR) > second).count();
        Flips { total: self.flips, within_the_hour: recent }
    }

    /// The runs that speak against what is said, if the last one, which has found this, does.
    pub(crate) fn streak(&self, schedule: Schedule, found: &Finding) -> Option<Streak> {
        let is_bad = found.status.is_bad();
        let of = if is_bad { schedule.fall } else { schedule.rise };
        self.standing.as_ref().filter(|standing| standing.is_bad != is_bad)?;
        Some(Streak { runs: self.against, of, is_bad })
    }

    /// What is said when the last run has found this.
    pub(crate) fn judged(&self, schedule: Schedule, found: Finding, second: u64) -> Finding {
        let mut told = match (&self.standing, self.streak(schedule, &found)) {
            (Some(standing), Some(streak)) => {
                let context = match standing.is_bad {
                    false => with(streak.to_string(), found.context.as_deref()),
                    true => with(format!("{streak}, after"), standing.context.as_deref()),
                };
                Finding { status: standing.status, context: Some(context), parts: Vec::new(), ..found }
            }
            _ => found,
        };
        let flips = self.flips(second);
        if flips.is_flapping() {
            let changes = format!("flapping: {} changes in the last hour", flips.within_the_hour);
            told.context = Some(told.context.map_or(changes.clone(), |context| format!("{context}; {changes}")));
            told.parts.clear();
        }
        told
    }
}

fn with(what: String, why: Option<&str>) -> String {
    why.map_or(what.clone(), |why| format!("{what}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn schedule(fall: u32, rise: u32) -> Schedule {
        Schedule { every: Duration::from_secs(60), fall, rise }
    }

    fn found(is_bad: bool) -> Finding {
        if is_bad { Finding::fail("refused") } else { Finding::PASS }
    }

    /// What is said after each run of a history. `grace`: how many runs the start lasts at most.
    fn said(history: &[bool], schedule: Schedule, grace: usize) -> Vec<Option<bool>> {
        let (mut patience, mut has_passed) = (Patience::default(), false);
        let step = |(run, &is_bad): (usize, &bool)| {
            let is_starting = !has_passed && run < grace;
            has_passed |= !is_bad;
            patience = std::mem::take(&mut patience).after(schedule, &found(is_bad), is_starting, run as u64);
            let told = patience.judged(schedule, found(is_bad), run as u64);
            (!patience.is_new()).then(|| told.status.is_bad())
        };
        history.iter().enumerate().map(step).collect()
    }

    /// The same, worked out anew from the whole history each time.
    fn naive(history: &[bool], schedule: Schedule, grace: usize) -> Vec<Option<bool>> {
        let after = |runs: usize| {
            let history = &history[..runs];
            let started = history.iter().position(|is_bad| !is_bad).unwrap_or(runs).min(grace);
            let mut said = *history.get(started)?;
            for run in started..runs {
                let needed = if said { schedule.rise } else { schedule.fall } as usize;
                let last = &history[(run + 1).saturating_sub(needed).max(started)..=run];
                if last.len() == needed && last.iter().all(|&is_bad| is_bad != said) {
                    said = !said;
                }
            }
            Some(said)
        };
        (1..=history.len()).map(after).collect()
    }

    #[test]
    fn every_history_of_twelve_runs_is_judged_as_a_naive_second_implementation_judges_it() {
        for bits in 0..1_u32 << 12 {
            let history: Vec<bool> = (0..12).map(|run| bits >> run & 1 == 1).collect();
            for (fall, rise, grace) in [(1, 1, 0), (1, 1, 5), (3, 2, 0), (3, 2, 4), (2, 3, 12), (1, 4, 1), (5, 1, 3)] {
                let schedule = schedule(fall, rise);
                let expected = naive(&history, schedule, grace);
                assert_eq!(said(&history, schedule, grace), expected, "{history:?} {schedule:?} {grace}");
            }
        }
    }

    #[test]
    fn the_streak_is_told() {
        let schedule = schedule(3, 2);
        let mut patience = Patience::default();
        let mut told = |is_bad| {
            patience = std::mem::take(&mut patience).after(schedule, &found(is_bad), false, 0);
            let told = patience.judged(schedule, found(is_bad), 0);
            (told.status, told.context.unwrap_or_default())
        };
        let texts = [false, true, true, true, false, false].map(&mut told);
        assert_eq!(
            texts.map(|(status, text)| format!("{} {text}", status.word())),
            [
                "pass ",
                "pass 1 of 3 failures: refused",
                "pass 2 of 3 failures: refused",
                "fail refused",
                "fail 1 of 2 successes, after: refused",
                "pass ",
            ]
        );
    }

    #[test]
    fn flapping_is_named_for_an_hour() {
        let (schedule, mut patience) = (schedule(1, 1), Patience::default());
        for run in 0..8 {
            patience = patience.after(schedule, &found(run % 2 == 1), false, run * 60);
        }
        let told = |second| patience.judged(schedule, found(true), second).context;
        assert_eq!(told(420).as_deref(), Some("refused; flapping: 7 changes in the last hour"));
        assert_eq!(told(420 + HOUR).as_deref(), Some("refused"));
        let quiet = patience.judged(schedule, Finding::PASS, 420);
        assert!(quiet.context.is_some_and(|context| context.ends_with("flapping: 7 changes in the last hour")));
        assert_eq!(patience.flips(420 + HOUR), Flips { total: 7, within_the_hour: 0 });
        for run in 0..1000 {
            patience = patience.after(schedule, &found(run % 2 == 0), false, run);
        }
        assert_eq!(patience.changes.len(), REMEMBERED, "memory is bounded");
    }
}
