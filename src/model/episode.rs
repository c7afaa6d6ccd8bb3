//! What is remembered of a check over time: its last good run, the first and the last bad one of its episode, its changes,
//! and how long it was seen to be well. Pure: what follows from one more run, and what can be read from what was kept.
//!
//! An episode begins with the first bad run after a good one and ends with the next good one. A finding stands until the
//! next look; where that comes too late, nobody looked in between: such a time is a gap, and is never filled in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::blame::Blame;
use super::check::{Check, Status};
use super::clocks;
use super::report::LONG_UNWATCHED;
use super::transcript::Transcript;

/// How soon a run that found what the one before had found is written down again.
pub(crate) const AGAIN: Duration = Duration::from_secs(1);

/// How many changes are remembered.
pub const MOST_CHANGES: usize = 256;

/// The most bytes of a context that are remembered.
const LONGEST_CONTEXT: usize = 512;

/// A finding that stands for less than this is not counted: so many parts a second there are.
const PARTS: u64 = 2;

/// One run of a check, as it is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordedRun {
    /// When it ended.
    #[serde(serialize_with = "clocks::write", deserialize_with = "clocks::read")]
    pub at: SystemTime,
    /// What it found.
    pub status: Status,
    /// What it had to say, or the beginning of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// How long it took.
    pub elapsed: Duration,
    /// The number of the configuration that it ran under.
    pub generation: u32,
    /// Whose fault it was, if it was bad and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blame: Option<Blame>,
    /// What the check was told to verify then, and what tells that from anything else it may be told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub definition: String,
    /// What it noted on its way.
    #[serde(default, skip_serializing_if = "Transcript::is_empty")]
    pub transcript: Transcript,
}

/// A check was found in another state than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChange {
    /// When it was found.
    #[serde(serialize_with = "clocks::write", deserialize_with = "clocks::read")]
    pub at: SystemTime,
    /// What it was found to be.
    pub status: Status,
    /// For how long nobody had looked, if that was long: it may have changed that much earlier.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub unwatched: Duration,
}

/// A time in which nobody looked, from one look to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwatched {
    /// The last look before.
    #[serde(serialize_with = "clocks::write", deserialize_with = "clocks::read")]
    pub from: SystemTime,
    /// The first one after.
    #[serde(serialize_with = "clocks::write", deserialize_with = "clocks::read")]
    pub to: SystemTime,
}

/// What the runs of a check find, and since when, as far as anybody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// In one word.
    pub found: &'static str,
    /// When it was found first.
    pub at: SystemTime,
    /// The last long time in which nobody looked, if it led up to that or came after it.
    pub unwatched: Option<Unwatched>,
}

/// Something has happened to the service itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// When.
    #[serde(serialize_with = "clocks::write", deserialize_with = "clocks::read")]
    pub at: SystemTime,
    /// What, for people.
    pub what: String,
}

impl Happening {
    /// The same so many milliseconds later, or earlier if they are negative.
    pub(crate) fn moved(self, by: i64) -> Happening {
        Happening { at: clocks::moved(self.at, by), ..self }
    }
}

/// How long a check was seen to be what, within one period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The number of the period since 1970.
    pub period: u64,
    /// In parts of a second, see [`PARTS`].
    pub(crate) good: u64,
    pub(crate) bad: u64,
    pub(crate) undecided: u64,
}

/// How what was seen is divided: the last day finely, the last month coarsely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grain {
    pub(crate) width: Duration,
    /// How many periods are remembered.
    pub(crate) most: usize,
}

/// For the last hour and the last day.
pub(crate) const FINE: Grain = Grain { width: Duration::from_secs(5 * 60), most: 300 };

/// For the last 30 days.
pub(crate) const COARSE: Grain = Grain { width: Duration::from_secs(60 * 60), most: 730 };

/// All that is remembered of a check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CheckRecord {
    /// A good run, one of the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good: Option<RecordedRun>,
    /// The last good run before the present episode, or before the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good_before: Option<RecordedRun>,
    /// The first bad run of the present episode, or of the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_bad: Option<RecordedRun>,
    /// A bad run, one of the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_bad: Option<RecordedRun>,
    /// How many bad runs that episode has had.
    pub bad_runs: u64,
    /// The last time that it was found good.
    #[serde(serialize_with = "write_maybe", deserialize_with = "read_maybe")]
    pub good_at: Option<SystemTime>,
    /// The last look.
    pub last: Option<StateChange>,
    /// The last long time in which nobody looked, from one look to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unwatched: Option<Unwatched>,
    /// The last changes, in their order.
    pub changes: Vec<StateChange>,
    /// What was seen in the last day and some hours.
    pub(crate) fine: Vec<Seen>,
    /// What was seen in the last month.
    pub(crate) coarse: Vec<Seen>,
}

/// What a run found is good, bad or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Good,
    Bad,
    /// It did not apply.
    Neither,
}

impl Condition {
    pub(crate) fn of(status: Status) -> Condition {
        match status {
            Status::Skip => Condition::Neither,
            status if status.is_bad() => Condition::Bad,
            _ => Condition::Good,
        }
    }
}

/// What is known of a check when one more run of it has ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastKnown {
    /// The last look that was written down.
    pub(crate) last: Option<(SystemTime, Status)>,
    pub(crate) good_at: Option<SystemTime>,
}

/// What to write down of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    /// It begins an episode.
    pub(crate) begins: bool,
    /// It found another state.
    pub(crate) change: Option<StateChange>,
    /// It is the last look from now on; false if it comes late.
    pub(crate) is_last: bool,
    /// From when to when the finding before it stood, and which that was.
    pub(crate) stood: Option<(SystemTime, SystemTime, Status)>,
    /// Nobody had looked for long.
    pub(crate) gap: Option<Unwatched>,
}

/// How long a finding of a check stands at most, until the next look.
pub(crate) fn stands(check: &Check) -> Duration {
    let scheduled = check.schedule.map(|schedule| schedule.every + check.timeout + Duration::from_secs(60));
    scheduled.map_or(LONG_UNWATCHED, |time| time.max(LONG_UNWATCHED))
}

/// What follows from a run that ended at `at` and found this. `now`: what was to come then is of a clock that was set back.
/// `first_bad`: when the first bad run of the last episode was. `None`: nothing, since the same was written down just now.
pub(crate) fn next(
    known: LastKnown,
    at: SystemTime,
    status: Status,
    now: SystemTime,
    stands: Duration,
    first_bad: impl FnOnce() -> Option<SystemTime>,
) -> Option<Steps> {
    let last = known.last.filter(|(before, _)| *before <= now);
    let ago = last.map(|(before, _)| at.duration_since(before));
    let same = last.is_some_and(|(_, before)| before == status);
    if same && ago.as_ref().is_some_and(|ago| ago.as_ref().map_or(true, |ago| *ago < AGAIN)) {
        return None;
    }
    let is_last = ago.as_ref().is_none_or(Result::is_ok);
    let ago = ago.and_then(Result::ok).unwrap_or_default();
    let unwatched = if ago >= stands { ago } else { Duration::ZERO };
    let change = (!same).then_some(StateChange { at, status, unwatched });
    let watched = last.filter(|_| is_last && unwatched.is_zero());
    let stood = watched.map(|(before, found)| (before, at, found));
    let gap = last.filter(|_| !unwatched.is_zero()).map(|(before, _)| Unwatched { from: before, to: at });
    let good_at = known.good_at.filter(|good| *good <= now);
    // The run that began an episode is never written over while the episode lasts, whoever finds it again.
    let begins = Condition::of(status) == Condition::Bad
        && first_bad().filter(|first| *first <= now).is_none_or(|first| good_at.is_some_and(|good| good > first));
    Some(Steps { begins, change, is_last, stood, gap })
}

impl Grain {
    /// The parts of a time in which a finding stood, by periods.
    pub(crate) fn divided(self, from: SystemTime, to: SystemTime, found: Status) -> impl Iterator<Item = Seen> {
        // Whole parts since 1970, so that what is left over by one is counted by the next.
        let (from, to) = (parts(from), parts(to));
        let width = self.parts();
        let periods = if from < to { from / width..(to - 1) / width + 1 } else { 0..0 };
        periods.map(move |period| {
            let length = to.min((period + 1) * width) - from.max(period * width);
            Seen { period, ..Seen::default() }.with(found, length)
        })
    }

    pub(crate) fn parts(self) -> u64 {
        self.width.as_secs() * PARTS
    }

    /// The period of a moment.
    fn period(self, at: SystemTime) -> u64 {
        parts(at) / self.parts()
    }
}

fn parts(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() * PARTS + u64::from(since.subsec_millis()) * PARTS / 1000
}

impl Seen {
    fn with(mut self, found: Status, parts: u64) -> Seen {
        let place = match found {
            Status::Fail | Status::UnexpectedSuccess => &mut self.bad,
            Status::Error => &mut self.undecided,
            Status::Pass | Status::Warn | Status::ExpectedFailure => &mut self.good,
            // What does not apply is not looked at.
            Status::Skip => return self,
        };
        *place += parts;
        self
    }

    /// Both together, no longer than their period.
    pub(crate) fn and(self, other: Seen, grain: Grain) -> Seen {
        let sum = |ours: u64, theirs: u64| ours.saturating_add(theirs).min(grain.parts());
        Seen {
            period: self.period,
            good: sum(self.good, other.good),
            bad: sum(self.bad, other.bad),
            undecided: sum(self.undecided, other.undecided),
        }
    }
}

/// How much of a time a check was seen to be well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uptime {
    /// How long it was good.
    pub good: Duration,
    /// How long anybody knew what it was.
    pub observed: Duration,
    /// How long the time was.
    pub window: Duration,
}

impl Uptime {
    /// The part of the observed time in which it was good, if it was observed at all.
    pub fn ratio(self) -> Option<f64> {
        (!self.observed.is_zero()).then(|| self.good.as_secs_f64() / self.observed.as_secs_f64())
    }

    /// The part of the time that was observed.
    pub fn observed_ratio(self) -> f64 {
        (self.observed.as_secs_f64() / self.window.as_secs_f64()).min(1.0)
    }
}

/// The times that uptime is told of, and what they are called.
pub const WINDOWS: [(&str, Duration); 3] = [
    ("1h", Duration::from_secs(3600)),
    ("24h", Duration::from_secs(24 * 3600)),
    ("30d", Duration::from_secs(30 * 24 * 3600)),
];

/// One piece of a strip of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Nobody looked.
    Gap,
    /// It was good whenever somebody looked.
    Good,
    /// It could not be decided at some time, and was never bad.
    Undecided,
    /// It was bad at some time.
    Bad,
}

/// A time in which a check was bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Episode {
    /// When that was found first.
    pub from: SystemTime,
    /// When it was found not to be bad any more; `None`: it still is.
    pub to: Option<SystemTime>,
    /// What it was found to be first.
    pub status: Status,
    /// For how long nobody had looked before it began, and before it ended, if that was long.
    pub unwatched: (Duration, Duration),
}

impl CheckRecord {
    /// Whether the check was bad when it was last looked at; `None`: it never was.
    pub fn is_bad(&self) -> Option<bool> {
        let bad = [&self.first_bad, &self.last_bad].into_iter().flatten().map(|run| run.at).max();
        match (self.last.map(|last| Condition::of(last.status)), self.good_at, bad) {
            (Some(Condition::Good), ..) => Some(false),
            (Some(Condition::Bad), ..) => Some(true),
            (_, None, None) => None,
            (_, good, bad) => Some(bad > good),
        }
    }

    /// Takes in a run that ended at `at`, in memory that one process keeps for itself.
    #[cfg(feature = "tower")]
    pub(crate) fn take_in(
        &mut self,
        (at, status): (SystemTime, Status),
        now: SystemTime,
        stands: Duration,
        run: impl FnOnce() -> RecordedRun,
    ) {
        let known = LastKnown { last: self.last.map(|last| (last.at, last.status)), good_at: self.good_at };
        let first_bad = self.first_bad.as_ref().map(|first| first.at);
        let (condition, steps) = (Condition::of(status), next(known, at, status, now, stands, || first_bad));
        if steps.is_none_or(|steps| !steps.begins) && condition == Condition::Bad {
            self.bad_runs += 1;
        }
        let Some(steps) = steps else { return };
        let run = run();
        if steps.begins {
            self.good_before = self.good.clone().or(self.good_before.take());
            (self.first_bad, self.bad_runs) = (Some(run.clone()), 1);
        }
        match condition {
            Condition::Good => (self.good, self.good_at) = (Some(run), self.good_at.max(Some(at))),
            Condition::Bad => self.last_bad = Some(run),
            Condition::Neither => {}
        }
        self.changes.extend(steps.change);
        self.changes.drain(..self.changes.len().saturating_sub(MOST_CHANGES));
        if steps.is_last {
            self.last = Some(StateChange { at, status, unwatched: Duration::ZERO });
            self.unwatched = steps.gap.or(self.unwatched);
            if let Some((from, to, stood)) = steps.stood {
                see(&mut self.fine, FINE, FINE.divided(from, to, stood));
                see(&mut self.coarse, COARSE, COARSE.divided(from, to, stood));
            }
        }
    }

    /// The last good run before the present state became bad, and the first bad one, if it is bad.
    pub(crate) fn turn(&self) -> (Option<&RecordedRun>, Option<&RecordedRun>) {
        match self.is_bad() {
            None | Some(false) => (self.good.as_ref(), None),
            Some(true) => (self.good_before_bad(), self.first_bad.as_ref()),
        }
    }

    /// The last good run before the first bad one of the last episode; without an episode, the last one.
    pub(crate) fn good_before_bad(&self) -> Option<&RecordedRun> {
        let begins = self.first_bad.as_ref().map(|run| run.at);
        let is_before = |run: &&RecordedRun| begins.is_none_or(|begins| run.at <= begins);
        [&self.good_before, &self.good].into_iter().flatten().find(is_before)
    }

    /// The same with all its times so many milliseconds later, or earlier if they are negative.
    pub(crate) fn moved(mut self, by: i64) -> CheckRecord {
        if by == 0 {
            return self;
        }
        let runs = [&mut self.good, &mut self.good_before, &mut self.first_bad, &mut self.last_bad];
        let changes = self.last.iter_mut().chain(&mut self.changes).map(|change| &mut change.at);
        let gap = self.unwatched.iter_mut().flat_map(|Unwatched { from, to }| [from, to]);
        let times =
            runs.into_iter().flatten().map(|run| &mut run.at).chain(changes).chain(&mut self.good_at).chain(gap);
        times.for_each(|at| *at = clocks::moved(*at, by));
        for (seen, grain) in [(&mut self.fine, FINE), (&mut self.coarse, COARSE)] {
            let periods = by.div_euclid(grain.width.as_millis() as i64);
            seen.iter_mut().for_each(|seen| seen.period = seen.period.saturating_add_signed(periods));
        }
        self
    }

    /// The last moment in it.
    pub(crate) fn end(&self) -> Option<SystemTime> {
        let runs = [&self.good, &self.good_before, &self.first_bad, &self.last_bad].into_iter().flatten();
        let changes = self.last.iter().chain(&self.changes).map(|change| change.at);
        runs.map(|run| run.at).chain(changes).chain(self.good_at).max()
    }

    /// All changes, one for each.
    pub fn history(&self) -> Vec<StateChange> {
        let mut all = self.changes.clone();
        all.sort_by_key(|change| change.at);
        // Whoever was killed before it had written down a change has left the look after that.
        if let Some(last) = self.last
            && all.last().is_none_or(|change| change.at <= last.at)
        {
            all.push(last);
        }
        all.dedup_by_key(|change| change.status);
        all
    }

    /// The times in which it was bad, in their order.
    pub fn episodes(&self) -> Vec<Episode> {
        let mut episodes: Vec<Episode> = Vec::new();
        for StateChange { at, status, unwatched } in self.history() {
            let open = episodes.last_mut().filter(|episode| episode.to.is_none());
            match (open, Condition::of(status)) {
                (None, Condition::Bad) => {
                    episodes.push(Episode { from: at, to: None, status, unwatched: (unwatched, Duration::ZERO) })
                }
                (Some(open), Condition::Good | Condition::Neither) => {
                    (open.to, open.unwatched.1) = (Some(at), unwatched);
                }
                (Some(_), Condition::Bad) | (None, Condition::Good | Condition::Neither) => {}
            }
        }
        episodes
    }

    /// What its runs find, and since when. Whatever else they find, it is failing from the first bad one to the next good one.
    pub(crate) fn since(&self) -> Option<Since> {
        let history = self.history();
        let (found, at) = match (self.is_bad()?, history.last()) {
            // The run that began it is kept, whatever else was.
            (true, _) => {
                let first = self.first_bad.as_ref().map(|run| run.at);
                ("failing", first.or_else(|| Some(self.episodes().last()?.from))?)
            }
            (false, None) => return None,
            (false, Some(StateChange { at, status: Status::Warn, .. })) => ("warning", *at),
            (false, Some(StateChange { at, status: Status::Skip, .. })) => ("skipped", *at),
            (false, Some(StateChange { at, .. })) => ("well", *at),
        };
        Some(Since { found, at, unwatched: self.unwatched.filter(|gap| gap.to >= at) })
    }

    /// How long it was well in a time up to now, of which at most 30 days are remembered. Until the next look, the last
    /// finding has not stood yet.
    pub fn uptime(&self, now: SystemTime, window: Duration) -> Uptime {
        let (grain, seen) = if window <= WINDOWS[1].1 { (FINE, &self.fine) } else { (COARSE, &self.coarse) };
        let first = grain.period(now).saturating_sub(window.as_secs() / grain.width.as_secs());
        let within = || seen.iter().filter(|seen| seen.period > first && seen.period <= grain.period(now));
        let time = |parts: u64| Duration::from_millis(parts * 1000 / PARTS);
        let observed = within().map(|seen| seen.good + seen.bad + seen.undecided).sum();
        Uptime { good: time(within().map(|seen| seen.good).sum()), observed: time(observed), window }
    }

    /// The last day in this many pieces, the present one last.
    pub fn strip(&self, now: SystemTime, pieces: u64) -> Vec<Piece> {
        let day = WINDOWS[1].1.as_secs() / FINE.width.as_secs();
        let (present, each) = (FINE.period(now), day.div_ceil(pieces.max(1)));
        let piece = |number: u64| {
            let end = (present + 1).saturating_sub((pieces - number - 1) * each);
            let within = self.fine.iter().filter(|seen| (end.saturating_sub(each)..end).contains(&seen.period));
            let all = within.fold(Seen::default(), |all, seen| Seen {
                period: 0,
                good: all.good + seen.good,
                bad: all.bad + seen.bad,
                undecided: all.undecided + seen.undecided,
            });
            match all {
                Seen { bad: 1.., .. } => Piece::Bad,
                Seen { undecided: 1.., .. } => Piece::Undecided,
                Seen { good: 1.., .. } => Piece::Good,
                _ => Piece::Gap,
            }
        };
        (0..pieces).map(piece).collect()
    }
}

/// Adds what was seen.
#[cfg(feature = "tower")]
fn see(periods: &mut Vec<Seen>, grain: Grain, added: impl Iterator<Item = Seen>) {
    for seen in added {
        match periods.last_mut().filter(|last| last.period == seen.period) {
            Some(last) => *last = last.and(seen, grain),
            None => periods.push(seen),
        }
    }
    periods.drain(..periods.len().saturating_sub(grain.most));
}

impl RecordedRun {
    /// Of this run, bounded.
    pub(crate) fn new(
        at: SystemTime,
        status: Status,
        context: Option<&str>,
        elapsed: Duration,
        generation: u32,
        transcript: Transcript,
    ) -> RecordedRun {
        let bounded = |context: &str| context[..context.floor_char_boundary(LONGEST_CONTEXT)].to_owned();
        let (context, definition) = (context.map(bounded), String::new());
        RecordedRun { at, status, context, elapsed, generation, blame: None, definition, transcript }
    }

    /// Leaves out something; false if nothing is left to leave out.
    pub(crate) fn shorten(&mut self) -> bool {
        self.context.take().is_some() || !std::mem::take(&mut self.transcript).is_empty()
    }
}

fn write_maybe<S: serde::Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| humantime::format_rfc3339_millis(at).to_string()).serialize(serializer)
}

fn read_maybe<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    #[derive(Deserialize)]
    struct Moment(#[serde(deserialize_with = "clocks::read")] SystemTime);
    Ok(Option::<Moment>::deserialize(deserializer)?.map(|Moment(at)| at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_790_000_000 + second)
    }

    fn change(at: u64, status: Status) -> StateChange {
        StateChange { at: second(at), status, unwatched: Duration::ZERO }
    }

    #[test]
    fn what_a_time_is_divided_into_is_as_long_as_the_time() {
        for (from, to) in [(0, 0), (0, 1), (7, 299), (100, 4000), (3599, 3601), (1, 90_000)] {
            for grain in [FINE, COARSE] {
                let divided: Vec<_> = grain.divided(second(from), second(to), Status::Fail).collect();
                assert_eq!(divided.iter().map(|seen| seen.bad).sum::<u64>(), (to - from) * PARTS);
                assert!(divided.iter().all(|seen| seen.bad > 0 && seen.good == 0 && seen.bad <= grain.parts()));
                assert!(divided.is_sorted_by(|one, other| one.period + 1 == other.period));
            }
        }
    }

    #[test]
    fn short_looks_add_up() {
        let parts = (0..1000).map(|n| {
            let at = |n: u64| second(0) + Duration::from_millis(1100 * n);
            FINE.divided(at(n), at(n + 1), Status::Pass).map(|seen| seen.good).sum::<u64>()
        });
        assert_eq!(parts.sum::<u64>(), 1100 * PARTS);
    }

    #[test]
    fn an_episode_lasts_from_the_first_bad_run_to_the_next_that_is_not() {
        let mut record = CheckRecord {
            changes: vec![
                change(10, Status::Pass),
                change(20, Status::Fail),
                change(25, Status::Error),
                change(30, Status::Warn),
                change(40, Status::Error),
            ],
            last: Some(change(50, Status::Error)),
            ..CheckRecord::default()
        };
        let told = |record: &CheckRecord| -> Vec<_> {
            record.episodes().iter().map(|episode| (episode.from, episode.to, episode.status)).collect()
        };
        let first = (second(20), Some(second(30)), Status::Fail);
        assert_eq!(told(&record), [first, (second(40), None, Status::Error)]);
        // Whoever found it good again was killed before it wrote that down.
        record.last = Some(change(60, Status::Pass));
        assert_eq!(told(&record), [first, (second(40), Some(second(60)), Status::Error)]);
    }

    #[test]
    fn what_is_found_is_so_since_it_was_found_first_whatever_its_report_says() {
        let since = |changes: &[(u64, Status)], last: u64| {
            let all: Vec<_> = changes.iter().map(|&(at, status)| change(at, status)).collect();
            let last = all.last().map(|it| StateChange { at: second(last), ..*it });
            let good_at = changes.first().map(|(at, _)| second(*at));
            let since = CheckRecord { changes: all, last, good_at, ..CheckRecord::default() }.since();
            since.map(|since| (since.found, since.at))
        };
        assert_eq!(since(&[], 0), None);
        let good = [(10, Status::Pass), (20, Status::Warn), (30, Status::Pass)];
        assert_eq!(since(&good, 40), Some(("well", second(30))));
        assert_eq!(since(&good[..2], 40), Some(("warning", second(20))));
        let bad = [(10, Status::Pass), (20, Status::Fail), (30, Status::Error), (40, Status::Fail)];
        assert_eq!(since(&bad, 50), Some(("failing", second(20))), "it was never good in between");
        assert_eq!(since(&[(10, Status::Pass), (20, Status::Skip)], 50), Some(("skipped", second(20))));
    }

    #[test]
    fn a_time_in_which_nobody_looked_is_told_as_long_as_it_matters() {
        let mut known = LastKnown::default();
        let mut record = CheckRecord::default();
        let mut look = |status, minute: u64| {
            let at = second(minute * 60);
            let steps = next(known, at, status, at, LONG_UNWATCHED, || None).expect("it is long ago");
            known.last = Some((at, status));
            record.changes.extend(steps.change);
            (record.last, record.unwatched) = (Some(change(minute * 60, status)), steps.gap.or(record.unwatched));
            record.since().and_then(|since| since.unwatched)
        };
        let gap = |from: u64, to: u64| Some(Unwatched { from: second(from * 60), to: second(to * 60) });
        assert_eq!(look(Status::Pass, 1), None);
        assert_eq!(look(Status::Fail, 90), gap(1, 90), "it may have failed for longer");
        assert_eq!(look(Status::Fail, 91), gap(1, 90));
        assert_eq!(look(Status::Pass, 92), None, "this change was watched");
        assert_eq!(look(Status::Pass, 200), gap(92, 200), "it may have failed in between");
    }

    #[test]
    fn a_gap_is_neither_up_nor_down() {
        let now = second(3 * 3600);
        let mut record = CheckRecord::default();
        for (from, to, status) in [(0, 100, Status::Pass), (3 * 3600 - 900, 3 * 3600 - 300, Status::Pass)] {
            record.fine.extend(FINE.divided(second(from), second(to), status));
        }
        let uptime = record.uptime(now, WINDOWS[0].1);
        assert_eq!((uptime.ratio(), uptime.observed), (Some(1.0), Duration::from_secs(600)));
        assert!((uptime.observed_ratio() - 1.0 / 6.0).abs() < 1e-9);
        assert_eq!(CheckRecord::default().uptime(now, WINDOWS[0].1).ratio(), None);
        let strip = record.strip(now, 96);
        assert_eq!(strip.len(), 96);
        assert_eq!(strip.iter().filter(|piece| **piece == Piece::Gap).count(), 96 - 3, "{strip:?}");
    }
}
