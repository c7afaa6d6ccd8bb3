//! From what a check found to what the report says. Pure: no clock, and no state of its own.
//!
//! | step | what it does | where |
//! |---|---|---|
//! | needs | a check of which something that it needs is bad is not run: it is blocked | `blocked`, of `needs` |
//! | every | the finding of a check with a schedule has an age, and is stale some day | `judge` |
//! | fall, rise | one bad run need not be bad yet, one good run not good yet | `judge`, of `patience` |
//! | severity | `on_fail=warn` makes a bad finding a warning, on whatever path it came | `judge` |
//! | grace | what is wrong with a check that is starting is skipped | `startup` |
//! | silence | the finding is shown and does not count | `silence` |
//!
//! This is the order in which they are taken. For readers, docs/JUDGEMENT.md begins with severity, which comes to the same.
//!
//! What the check found itself stays visible in the [`Judgement`].

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{Check, Finding, Severity, Status};
use super::duration;
use super::patience::{Patience, Streak};
use super::schedule::Schedule;
use super::silence::Silence;

/// What the steps have made of a finding, for those whom they have changed something for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Judgement {
    /// The status that the check found, if the report says another one.
    pub raw: Option<Status>,
    /// The ids of the checks that are the cause, if it was not run because of them.
    pub blocked_by: Vec<String>,
    /// Whether it was not selected, but something that was needs it.
    pub as_needed: bool,
    /// The runs that speak against what is said, if it is on a schedule with `fall` or `rise`.
    pub streak: Option<Streak>,
}

/// What is known about a check when its finding is judged, beside its options. Each step reads its own field.
#[derive(Clone, Debug, Default)]
pub(crate) struct Circumstances {
    /// Why it was not run: the ids of the causes, the worst first.
    pub(crate) blocked_by: Vec<String>,
    /// Whether it was not selected, but something that was needs it.
    pub(crate) as_needed: bool,
    /// What is known of its runs, if it was run on a schedule.
    pub(crate) scheduled: Option<Scheduled>,
}

/// What is known of the runs of a check that has a schedule.
#[derive(Clone, Debug)]
pub(crate) struct Scheduled {
    /// How long ago the last one began.
    pub(crate) age: Duration,
    pub(crate) patience: Patience,
    /// The present second, by the clock of its changes.
    pub(crate) second: u64,
    /// Why the next one is late, if that is known.
    pub(crate) delay: Option<Delay>,
}

/// Why a run that is due has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delay {
    /// It has begun.
    UnderWay,
    /// As many checks run as may run at once; this one has done so the longest, for so long.
    NoPlace { holder: String, time: Duration },
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Delay::UnderWay => f.write_str("a run is under way"),
            Delay::NoPlace { holder, time } => {
                let time = duration::spoken(Duration::from_secs(time.as_secs().max(1)));
                write!(f, "it waits for a place (--jobs): {holder} has run for {time}")
            }
        }
    }
}

/// Takes a finding through the steps. `None`: they have changed nothing.
pub(crate) fn judge(check: &Check, found: Finding, known: Circumstances) -> (Finding, Option<Box<Judgement>>) {
    let raw = found.status;
    let is_blocked = !known.blocked_by.is_empty();
    let (finding, streak) = timely(check, found, known.scheduled.filter(|_| !is_blocked));
    let finding = severity(check, finding);
    if finding.status == raw && !is_blocked && !known.as_needed {
        return (finding, None);
    }
    let judgement = Judgement {
        raw: (finding.status != raw).then_some(raw),
        blocked_by: known.blocked_by,
        as_needed: known.as_needed,
        streak,
    };
    (finding, Some(Box::new(judgement)))
}

/// The finding of a check that is not run because of these causes and what they have found.
pub(crate) fn blocked<'a>(causes: impl IntoIterator<Item = (&'a Check, &'a Finding)>) -> Finding {
    let mut context = "blocked by ".to_owned();
    for (index, (check, finding)) in causes.into_iter().enumerate() {
        let why = finding.context.as_deref().and_then(|context| context.lines().next());
        match index {
            0 => context += &format!("{}: {}", check.id, why.unwrap_or(finding.status.word())),
            _ => context += &format!(", and by {}", check.id),
        }
    }
    Finding::error(context)
}

/// The steps every, fall and rise, for a check with a schedule. What is bad is judged before it is made milder: that changes
/// nothing of what is told, but a warning counts as good otherwise.
fn timely(check: &Check, found: Finding, scheduled: Option<Scheduled>) -> (Finding, Option<Streak>) {
    let (Some(schedule), Some(Scheduled { age, patience, second, delay })) = (check.schedule, scheduled) else {
        return (found, None);
    };
    if schedule.is_stale(check.timeout, age) {
        return (stale(schedule, &found, age, delay.as_ref()), None);
    }
    let streak = patience.streak(schedule, &found);
    (patience.judged(schedule, found, second), streak)
}

/// What is told of a check whose last run, which began so long ago, says nothing any more.
fn stale(Schedule { every, .. }: Schedule, found: &Finding, age: Duration, delay: Option<&Delay>) -> Finding {
    // Rounded up: else it could be as long ago as it may be.
    let unit = if age < Duration::from_secs(1) { 100 } else { 1000 };
    let ago = duration::spoken(Duration::from_millis((age.as_millis() as u64).div_ceil(unit) * unit));
    let (every, was) = (duration::spoken(every), found.status.word());
    Finding::error(format!("stale, last run {ago} ago, not {every}: it was {was}{}", because(delay)))
}

/// What is told of a check that has not run yet.
pub(crate) fn not_run_yet(Schedule { every, .. }: Schedule, delay: Option<&Delay>) -> Finding {
    let every = duration::spoken(every);
    Finding::error(format!("it has not run yet, and does so every {every}{}", because(delay)))
}

fn because(delay: Option<&Delay>) -> String {
    delay.map_or_else(String::new, |delay| format!("; {delay}"))
}

/// What is told of a check that was blocked when it was to run last, by one that is well now.
pub(crate) fn not_run_since(cause: &str) -> Finding {
    Finding::error(format!("it has not run yet since {cause} has recovered"))
}

/// The step severity. That a check is blocked is a bad finding of it, too.
fn severity(check: &Check, found: Finding) -> Finding {
    match check.on_fail {
        Severity::Warn if found.status.is_bad() => Finding { status: Status::Warn, ..found },
        Severity::Warn | Severity::Fail => found,
    }
}

/// The last step: the silence of a check whose finding would count without it.
pub(super) fn silence<'a>(check: &'a Check, finding: &Finding) -> Option<&'a Silence> {
    let counts = finding.status.is_bad() || finding.status == Status::Warn;
    check.silence.as_deref().filter(|_| counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_schedule_has_found_is_told_until_it_is_stale_and_then_it_is_an_error() {
        let second = Duration::from_secs(1);
        let schedule = Schedule { every: 10 * second, fall: 2, rise: 1 };
        let check = Check::new("db", |_| Finding::PASS).schedule(schedule).timeout(5 * second);
        let patience = Patience::default().after(schedule, &Finding::PASS, false, 0);
        let told = |check: &Check, found: Finding, patience: &Patience, age| {
            let scheduled = Some(Scheduled { age, patience: patience.clone(), second: 100, delay: None });
            let (told, judgement) = judge(check, found, Circumstances { scheduled, ..Circumstances::default() });
            (told.status, told.context.unwrap_or_default(), judgement.and_then(|judgement| judgement.raw))
        };
        assert_eq!(told(&check, Finding::PASS, &patience, 15 * second), (Status::Pass, String::new(), None));
        let stale = "stale, last run 26s ago, not 10s: it was pass".to_owned();
        let late = Duration::from_millis(25_300);
        assert_eq!(told(&check, Finding::PASS, &patience, late), (Status::Error, stale.clone(), Some(Status::Pass)));
        let mild = check.clone().on_fail(Severity::Warn);
        assert_eq!(told(&mild, Finding::PASS, &patience, late), (Status::Warn, stale, Some(Status::Pass)));

        // Two bad runs are needed, of a check whose bad findings are warnings, too.
        for (check, bad) in [(&check, Status::Fail), (&mild, Status::Warn)] {
            let found = || Finding::fail("refused");
            let once = patience.clone().after(schedule, &found(), false, 1);
            let first = (Status::Pass, "1 of 2 failures: refused".to_owned(), Some(Status::Fail));
            assert_eq!(told(check, found(), &once, second), first);
            let streak = once.streak(schedule, &found());
            assert_eq!(streak, Some(Streak { runs: 1, of: 2, is_bad: true }));
            let twice = once.after(schedule, &found(), false, 2);
            let (status, context, _) = told(check, found(), &twice, second);
            assert_eq!((status, context.as_str()), (bad, "refused"));
            assert_eq!(twice.streak(schedule, &found()), None);
        }
    }

    #[test]
    fn how_long_ago_a_stale_run_was_is_longer_than_it_may_be_and_why_the_next_one_is_late_is_told() {
        let told = |every: u64, age: u64, delay: Option<&Delay>| {
            let schedule = Schedule { every: Duration::from_millis(every), fall: 1, rise: 1 };
            stale(schedule, &Finding::PASS, Duration::from_millis(age), delay).context.unwrap_or_default()
        };
        assert_eq!(told(1000, 1200, None), "stale, last run 2s ago, not 1s: it was pass");
        assert_eq!(told(100, 210, None), "stale, last run 300ms ago, not 100ms: it was pass");
        let full = Delay::NoPlace { holder: "hog".to_owned(), time: Duration::from_millis(3900) };
        let why = "stale, last run 4s ago, not 1s: it was pass; it waits for a place (--jobs): hog has run for 3s";
        assert_eq!(told(1000, 4000, Some(&full)), why);
        let schedule = Schedule { every: Duration::from_secs(60), fall: 1, rise: 1 };
        let first = not_run_yet(schedule, Some(&Delay::UnderWay)).context;
        assert_eq!(first.as_deref(), Some("it has not run yet, and does so every 1m; a run is under way"));
    }

    #[test]
    fn a_bad_finding_may_be_no_more_than_a_warning() {
        for status in Status::ALL {
            let found = Finding::new(status, "why");
            let plain = Check::new("plain", |_| Finding::PASS);
            let (same, judgement) = judge(&plain, found.clone(), Circumstances::default());
            assert_eq!((&same, judgement), (&found, None));

            let mild = plain.on_fail(Severity::Warn);
            let (finding, judgement) = judge(&mild, found.clone(), Circumstances::default());
            assert!(!finding.status.is_bad() && finding.context == found.context);
            match status.is_bad() {
                true => {
                    let raw = judgement.and_then(|judgement| judgement.raw);
                    assert_eq!((finding.status, raw), (Status::Warn, Some(status)));
                }
                false => assert_eq!((finding.status, judgement), (status, None)),
            }
        }
    }
}
