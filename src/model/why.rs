//! Why a check is as it is: since when, what was different when it was last well, and what else happened then. Pure.

use std::time::{Duration, SystemTime};

use super::check::Status;
use super::clocks;
use super::duration;
use super::episode::{CheckRecord, Episode, Happening, RecordedRun, Since};
use super::report::LONG_UNWATCHED;
use super::transcript::{self, Change, Changes, Field};

/// How long before something fails what happens may have to do with it.
const BEFORE: Duration = Duration::from_secs(60);

/// How long after it, since not all checks look at once.
const AFTER: Duration = Duration::from_secs(5);

/// So many changes of other checks are told; of more, how many there are.
const MOST_AROUND: usize = 12;

/// So much longer a run has to take to be called slow.
const SLOWER: u32 = 4;

/// A run that takes less than this is never called slow.
const QUICK: Duration = Duration::from_millis(100);

/// What is known of the present state of a check and of its last episode.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Why {
    /// The id of the check.
    pub id: String,
    /// What it verifies.
    pub title: String,
    /// Whether it is bad.
    pub state: WhyState,
    /// What its last run has found it to be.
    found: WhyState,
    /// What reports say of it.
    pub standing: Standing,
    /// Since when its runs find that, as far as anybody looked.
    pub since: Option<Since>,
    /// When anybody looked last.
    pub looked_at: Option<SystemTime>,
    /// The present time.
    pub now: SystemTime,
    /// When it was found good last.
    pub good_at: Option<SystemTime>,
    /// The present episode, or the last one.
    pub episode: Option<Episode>,
    /// How many runs in it were bad.
    pub bad_runs: u64,
    /// The last good run before it; without an episode, the last one.
    pub good: Option<RecordedRun>,
    /// The first bad run of it.
    pub first_bad: Option<RecordedRun>,
    /// The last bad run of it.
    pub last_bad: Option<RecordedRun>,
    /// What was different between a good run and the first bad one.
    pub changed: Vec<Change>,
    /// What was not, by fields.
    pub same: Vec<(String, String)>,
    /// What else happened around its beginning, in its order.
    pub around: Vec<Happening>,
}

/// What a check is, when somebody asks why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyState {
    /// It has not run, as far as is remembered.
    Unknown,
    /// It was well when it ran last.
    Well,
    /// It was bad when it ran last.
    Failing,
    /// Its last runs were bad, but not so many that it is.
    WouldFail,
    /// Its last runs were good, but not so many that it is well again.
    WouldPass,
    /// It is not run, because of others.
    Blocked,
    /// Its last run is too long ago to say anything.
    Stale,
}

/// What reports say of a check beside what its runs have found.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Standing {
    /// Its status in the last one.
    pub status: Option<Status>,
    /// The checks because of which it is not run.
    pub blocked_by: Vec<String>,
    /// Whether its last run is too long ago.
    pub is_stale: bool,
    /// How many runs in a row have found the opposite of what is said, and how many it takes.
    pub against: Option<(u32, u32)>,
    /// That it is silenced, until when, by whom and why.
    pub silence: Option<String>,
    /// How long a finding stands, if not as long as others.
    pub stands: Option<Duration>,
}

impl WhyState {
    /// Its name in every format.
    pub fn word(self) -> &'static str {
        match self {
            WhyState::Unknown => "unknown",
            WhyState::Well => "well",
            WhyState::Failing => "failing",
            WhyState::WouldFail => "would_fail",
            WhyState::WouldPass => "would_pass",
            WhyState::Blocked => "blocked",
            WhyState::Stale => "stale",
        }
    }
}

impl Why {
    /// Of the check with this id. `others`: what is remembered of the other checks; `happenings`: what has happened to the
    /// service.
    pub fn of(
        (id, title): (&str, &str),
        record: CheckRecord,
        others: &[(String, CheckRecord)],
        happenings: Vec<Happening>,
        now: SystemTime,
    ) -> Why {
        let found = match record.is_bad() {
            None => WhyState::Unknown,
            Some(false) => WhyState::Well,
            Some(true) => WhyState::Failing,
        };
        let (episode, since) = (record.episodes().pop(), record.since());
        let begins = record.first_bad.as_ref().map(|run| run.at);
        let good = record.good_before_bad().cloned();
        let (changed, same) = match (&good, &record.first_bad) {
            (Some(good), Some(bad)) => compared(good, bad),
            (None, _) | (_, None) => (Vec::new(), Vec::new()),
        };
        let around = begins.map(|begins| around(begins, id, others, happenings)).unwrap_or_default();
        let CheckRecord { first_bad, last_bad, bad_runs, good_at, last, .. } = record;
        let (id, title) = (id.to_owned(), title.to_owned());
        Why {
            id,
            title,
            state: found,
            found,
            standing: Standing::default(),
            since,
            looked_at: last.map(|look| look.at),
            now,
            good_at,
            episode,
            bad_runs,
            good,
            first_bad,
            last_bad,
            changed,
            same,
            around,
        }
    }

    /// The same of a check of which reports say this.
    #[must_use]
    pub fn standing(self, standing: Standing) -> Why {
        let is_bad = standing.status.map(Status::is_bad);
        let state = match (self.found, is_bad, standing.against) {
            _ if !standing.blocked_by.is_empty() => WhyState::Blocked,
            (WhyState::Unknown, ..) => WhyState::Unknown,
            _ if standing.is_stale => WhyState::Stale,
            (WhyState::Failing, Some(false), Some(_)) => WhyState::WouldFail,
            (WhyState::Well, Some(true), Some(_)) => WhyState::WouldPass,
            (found, ..) => found,
        };
        Why { state, standing, ..self }
    }

    /// The state in one line, without the id.
    pub fn headline(&self) -> String {
        let Standing { blocked_by, against, silence, status, stands, .. } = &self.standing;
        let found = self.found();
        let row = |what| against.map_or_else(String::new, |(runs, of)| format!("{runs} of {of} {what} in a row"));
        let mut headline = match self.state {
            WhyState::Unknown => "it has not run yet, as far as is remembered".to_owned(),
            WhyState::Blocked if self.found == WhyState::Unknown => {
                format!("blocked by {}; it has not run yet, as far as is remembered", blocked_by.join(", "))
            }
            WhyState::Blocked => {
                format!("blocked by {}, so it is not run; its last runs found it {found}", blocked_by.join(", "))
            }
            WhyState::Stale => format!("stale, as it was not run in time; its last runs found it {found}"),
            WhyState::WouldFail => format!("it would fail: {}; its runs find it {found}", row("failures")),
            WhyState::WouldPass => format!("still failing: {}; its runs find it {found}", row("successes")),
            WhyState::Failing if *status == Some(Status::Warn) => format!("{found}; it counts as a warning"),
            WhyState::Failing | WhyState::Well => found,
        };
        let is_past =
            |at: SystemTime| self.now.duration_since(at).is_ok_and(|past| past >= stands.unwrap_or(LONG_UNWATCHED));
        let is_known = !matches!(self.state, WhyState::Unknown);
        if let Some(at) = self.looked_at.filter(|at| is_known && is_past(*at)) {
            headline += &format!("; it ran last at {}{}", clocks::spoken(at), ago(at, self.now));
        }
        if let Some(silence) = silence {
            headline += &format!("; {silence}");
        }
        headline
    }

    /// What its runs have found.
    fn found(&self) -> String {
        let runs = match self.bad_runs {
            1 => "1 bad run".to_owned(),
            runs => format!("{runs} bad runs"),
        };
        let ago = |at: SystemTime| ago(at, self.now);
        let told = |since: Since| format!("{} since {}{}", since.found, clocks::spoken(since.at), ago(since.at));
        let since = self.since.map_or_else(|| self.found.word().to_owned(), told);
        match (self.found, self.good_at) {
            (WhyState::Failing, Some(good)) => {
                format!("{since}, {runs}; last good {}{}", clocks::spoken(good), ago(good))
            }
            (WhyState::Failing, None) => format!("{since}, {runs}; it was never seen good"),
            (_, _) if self.first_bad.is_none() => format!("{since}; it was never seen bad"),
            (_, _) => since,
        }
    }

    /// Whether its last run found it well.
    pub(crate) fn was_found_well(&self) -> bool {
        self.found == WhyState::Well
    }
}

/// How long ago that is; nothing if the clock was set back.
pub(crate) fn ago(at: SystemTime, now: SystemTime) -> String {
    now.duration_since(at).map(|past| format!(" ({} ago)", duration::spoken(whole(past)))).unwrap_or_default()
}

/// Without what nobody wants to read.
pub(crate) fn whole(time: Duration) -> Duration {
    let grain = match time.as_secs() {
        0..3600 => 1,
        3600..86_400 => 60,
        _ => 3600,
    };
    Duration::from_secs(time.as_secs() / grain * grain)
}

/// What differs between two runs, and what does not.
fn compared(good: &RecordedRun, bad: &RecordedRun) -> (Vec<Change>, Vec<(String, String)>) {
    let (mut changed, mut same) = (Vec::new(), Vec::new());
    let mut compare = |field: &str, before: String, after: String| match before == after {
        true => same.push((field.to_owned(), after)),
        false => changed.push(Change { field: field.to_owned(), before: Some(before), after: Some(after) }),
    };
    compare("result", told(good), told(bad));
    if bad.elapsed >= QUICK && bad.elapsed > good.elapsed.saturating_mul(SLOWER) {
        compare("time", duration::spoken(good.elapsed), duration::spoken(bad.elapsed));
    }
    let generation = |run: &RecordedRun| format!("generation {}", run.generation);
    compare("our configuration", generation(good), generation(bad));
    if !good.definition.is_empty() && !bad.definition.is_empty() {
        compare("our definition", good.definition.clone(), bad.definition.clone());
    }
    let Changes { changed: noted, same: kept } = transcript::changes(&good.transcript, &bad.transcript);
    // It is said above, of runs without a transcript, too.
    let is_new = |field: &str| field != Field::OurGeneration.name();
    changed.extend(noted.into_iter().filter(|change| is_new(&change.field)));
    same.extend(kept.into_iter().filter(|(field, _)| is_new(field)));
    (changed, same)
}

/// The status of a run, and what it had to say.
pub(crate) fn told(run: &RecordedRun) -> String {
    match &run.context {
        Some(context) => format!("{}: {context}", run.status.word()),
        None => run.status.word().to_owned(),
    }
}

fn around(
    begins: SystemTime,
    id: &str,
    others: &[(String, CheckRecord)],
    happenings: Vec<Happening>,
) -> Vec<Happening> {
    let is_near = |at: SystemTime| at + BEFORE >= begins && at <= begins + AFTER;
    let mut changed = Vec::new();
    for (other, record) in others.iter().filter(|(other, _)| other != id) {
        let history = record.history();
        // What is seen for the first time has not changed.
        for pair in history.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            if is_near(after.at) {
                let what = format!("check {other}: {} → {}", before.status.word(), after.status.word());
                changed.push(Happening { at: after.at, what });
            }
        }
    }
    changed.sort_by_key(|it| it.at);
    if changed.len() > MOST_AROUND {
        let last = &changed[MOST_AROUND - 1];
        let what = format!("and {} more changes of checks", changed.len() - (MOST_AROUND - 1));
        changed[MOST_AROUND - 1] = Happening { at: last.at, what };
        changed.truncate(MOST_AROUND);
    }
    let mut all: Vec<Happening> = happenings.into_iter().filter(|it| is_near(it.at)).chain(changed).collect();
    all.sort_by_key(|it| it.at);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Status;
    use crate::model::episode::StateChange;
    use crate::model::transcript::Transcript;
    use std::time::UNIX_EPOCH;

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_790_000_000 + second)
    }

    fn run(second: u64, status: Status, notes: &[(Field, &str)]) -> RecordedRun {
        let mut transcript = Transcript::default();
        notes.iter().for_each(|(field, value)| transcript.add(*field, value));
        let context = (status != Status::Pass).then_some("refused");
        RecordedRun::new(at(second), status, context, Duration::from_millis(3), 1, transcript)
    }

    fn changes(all: &[(u64, Status)]) -> Vec<StateChange> {
        all.iter().map(|&(second, status)| StateChange { at: at(second), status, unwatched: Duration::ZERO }).collect()
    }

    fn record(all: &[(u64, Status)]) -> CheckRecord {
        let changes = changes(all);
        CheckRecord { last: changes.last().copied(), changes, ..CheckRecord::default() }
    }

    fn failing() -> CheckRecord {
        CheckRecord {
            good: Some(run(
                90,
                Status::Pass,
                &[(Field::Address, "10.0.0.1"), (Field::Status, "200"), (Field::Issuer, "A")],
            )),
            first_bad: Some(run(100, Status::Fail, &[(Field::Address, "10.0.0.2"), (Field::Status, "200")])),
            last_bad: Some(run(400, Status::Error, &[])),
            bad_runs: 12,
            good_at: Some(at(95)),
            last: Some(StateChange { at: at(515), status: Status::Fail, unwatched: Duration::ZERO }),
            ..record(&[(0, Status::Pass), (100, Status::Fail)])
        }
    }

    #[test]
    fn a_good_run_after_the_first_bad_one_is_not_told_as_the_one_before_it() {
        let good = Some(run(150, Status::Pass, &[]));
        let why = Why::of(("db", "The database"), CheckRecord { good, ..failing() }, &[], Vec::new(), at(520));
        assert_eq!((why.good, why.changed.len(), why.same.len()), (None, 0, 0));
    }

    #[test]
    fn what_differs_is_told_and_what_does_not() {
        let why = Why::of(("db", "The database"), failing(), &[], Vec::new(), at(520));
        assert_eq!((why.state, why.since.map(|since| since.at)), (WhyState::Failing, Some(at(100))));
        let changed: Vec<_> =
            why.changed.iter().map(|it| (it.field.as_str(), it.before.as_deref(), it.after.as_deref())).collect();
        let expected = [
            ("result", Some("pass"), Some("fail: refused")),
            ("address", Some("10.0.0.1"), Some("10.0.0.2")),
            ("issuer", Some("A"), None),
        ];
        assert_eq!(changed, expected);
        let same: Vec<_> = why.same.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(same, ["our configuration", "status"]);
        assert_eq!(
            why.headline(),
            "failing since 2026-09-21T14:15:00Z (7m ago), 12 bad runs; last good 2026-09-21T14:14:55Z (7m 5s ago)"
        );
    }

    #[test]
    fn what_happened_a_minute_before_is_told_and_nothing_else() {
        let others = [
            ("dns".to_owned(), record(&[(0, Status::Pass), (60, Status::Error), (99, Status::Pass)])),
            ("new".to_owned(), record(&[(98, Status::Fail)])),
            ("db".to_owned(), failing()),
        ];
        let happenings = [(30, "too early"), (50, "reloaded: generation 2"), (104, "after"), (200, "too late")];
        let happenings = happenings.map(|(second, what)| Happening { at: at(second), what: what.to_owned() });
        let why = Why::of(("db", "The database"), failing(), &others, happenings.to_vec(), at(520));
        let told: Vec<_> = why.around.iter().map(|it| it.what.as_str()).collect();
        assert_eq!(told, ["reloaded: generation 2", "check dns: pass → error", "check dns: error → pass", "after"]);
    }

    #[test]
    fn what_is_not_run_is_not_well_and_what_may_fail_yet_does_not_fail() {
        let of = |record: &CheckRecord, second| Why::of(("db", ""), record.clone(), &[], Vec::new(), at(second));
        let well = record(&[(0, Status::Pass)]);
        let blocked = || Standing { blocked_by: vec!["dns".to_owned()], ..Standing::default() };
        let told = |why: Why| (why.state.word(), why.headline());
        assert_eq!(
            told(of(&well, 20).standing(blocked())),
            (
                "blocked",
                "blocked by dns, so it is not run; its last runs found it well since 2026-09-21T14:13:20Z (20s ago); it was never seen bad"
                    .to_owned()
            )
        );
        let never = of(&CheckRecord::default(), 20).standing(blocked());
        assert_eq!(told(never).1, "blocked by dns; it has not run yet, as far as is remembered");
        let against =
            |status, runs, of| Standing { status: Some(status), against: Some((runs, of)), ..Standing::default() };
        let failing = failing();
        let would = of(&failing, 101).standing(against(Status::Pass, 2, 3));
        assert!(
            told(would.clone())
                .1
                .starts_with("it would fail: 2 of 3 failures in a row; its runs find it failing since")
        );
        assert_eq!(would.state.word(), "would_fail");
        let would = of(&well, 1).standing(against(Status::Fail, 1, 2));
        assert_eq!(would.state.word(), "would_pass");
        assert!(would.headline().starts_with("still failing: 1 of 2 successes in a row; its runs find it well"));
        let stale = of(&well, 1000).standing(Standing { is_stale: true, ..Standing::default() });
        assert!(stale.headline().starts_with("stale, as it was not run in time; its last runs found it well since"));
        assert!(stale.headline().ends_with("; it ran last at 2026-09-21T14:13:20Z (16m 40s ago)"));
        let long_ago = of(&well, 1000).headline();
        assert!(long_ago.ends_with("; it ran last at 2026-09-21T14:13:20Z (16m 40s ago)"), "{long_ago}");
        let silence = Some("silenced until …".to_owned());
        let warned = Standing { status: Some(Status::Warn), silence, ..Standing::default() };
        assert!(of(&failing, 101).standing(warned).headline().ends_with("; it counts as a warning; silenced until …"));
    }

    #[test]
    fn where_very_many_fail_at_once_not_each_of_them_is_named() {
        let of = |number: usize| (format!("c{number}"), record(&[(0, Status::Pass), (99, Status::Fail)]));
        let others: Vec<_> = (0..100).map(of).collect();
        let reloaded = Happening { at: at(104), what: "reloaded".to_owned() };
        let around = Why::of(("db", ""), failing(), &others, vec![reloaded.clone()], at(520)).around;
        assert_eq!(around.len(), MOST_AROUND + 1);
        assert_eq!(
            (around[MOST_AROUND - 1].what.as_str(), &around[MOST_AROUND]),
            ("and 89 more changes of checks", &reloaded)
        );
    }

    #[test]
    fn of_a_check_that_is_well_its_last_episode_is_told() {
        let mut record = failing();
        (record.changes, record.good_at) =
            (changes(&[(0, Status::Pass), (100, Status::Fail), (500, Status::Pass)]), Some(at(500)));
        record.last = record.changes.last().copied();
        let why = Why::of(("db", "The database"), record, &[], Vec::new(), at(520));
        assert_eq!((why.state, why.since.map(|since| since.at)), (WhyState::Well, Some(at(500))));
        assert_eq!(why.episode.map(|episode| (episode.from, episode.to)), Some((at(100), Some(at(500)))));
        assert_eq!(why.headline(), "well since 2026-09-21T14:21:40Z (20s ago)");
        let never = Why::of(("db", ""), CheckRecord::default(), &[], Vec::new(), at(520));
        assert_eq!((never.state, never.since), (WhyState::Unknown, None));
    }
}
