//! What a round found: its outcomes, and whether the report passes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::check::{Check, Finding, Part, Status};
use super::duration;
use super::judgement::{self, Circumstances, Judgement};
use super::needs::Known;
use super::startup::{self, Start};
use crate::model::suite::Suite;

/// What one check found in one round.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The check that was run.
    pub check: Arc<Check>,
    /// What the check found, after it was judged.
    pub finding: Finding,
    /// How long it took.
    pub elapsed: Duration,
    /// How long before the report it was started.
    pub age: Duration,
    /// What judging it has changed. `None`: nothing.
    pub judgement: Option<Box<Judgement>>,
}

impl Outcome {
    /// The outcome of a check that found this, judged. It took this long, and began so long ago.
    pub fn of(check: Arc<Check>, found: Finding, elapsed: Duration, age: Duration) -> Outcome {
        Outcome::judged(check, found, Circumstances::default(), elapsed, age)
    }

    /// The same where more is known about the check.
    pub(crate) fn judged(
        check: Arc<Check>,
        found: Finding,
        known: Circumstances,
        elapsed: Duration,
        age: Duration,
    ) -> Outcome {
        let (finding, judgement) = judgement::judge(&check, found, known);
        Outcome { check, finding, elapsed, age, judgement }
    }

    /// Makes what is wrong with a check that is still starting a `skip`.
    pub(crate) fn excuse(&mut self, grace: Duration, start: Start) {
        let (raw, before) = (self.raw(), self.finding.status);
        self.finding = startup::judged(std::mem::replace(&mut self.finding, Finding::PASS), raw, grace, start);
        if self.finding.status != before {
            self.judgement.get_or_insert_default().raw = Some(raw);
        }
    }

    /// Makes it an error that the last run, whatever it has found, is too long ago for who asks.
    pub(crate) fn forget(&mut self) {
        if !self.blocked_by().is_empty() {
            return;
        }
        let ago = duration::spoken(self.age);
        let what = format!("not run in time, as was asked: the last run was {ago} ago");
        let as_needed = self.is_as_needed();
        let known = Circumstances { as_needed, ..Circumstances::default() };
        *self = Outcome::judged(self.check.clone(), Finding::error(what), known, self.elapsed, self.age);
    }

    /// Whether a report with this in it fails.
    pub fn is_bad(&self) -> bool {
        let is_bad = self.finding.status.is_bad() || (self.check.strict && self.finding.status == Status::Warn);
        is_bad && !self.is_silenced()
    }

    /// Whether it is shown, but does not count.
    pub fn is_silenced(&self) -> bool {
        judgement::silence(&self.check, &self.finding).is_some()
    }

    /// Whether it passes with a warning that counts.
    pub fn warns(&self) -> bool {
        self.finding.status == Status::Warn && !self.is_bad() && !self.is_silenced()
    }

    /// What is said of the silence of the check, if there is one: until when, by whom and why.
    pub fn silence(&self) -> Option<String> {
        self.check.silence.as_ref().map(|silence| silence.to_string())
    }

    /// Whether what needs this check is not run.
    pub(crate) fn blocks(&self) -> bool {
        self.finding.status.is_bad() && !self.is_silenced()
    }

    /// What this means for what needs the check.
    pub(crate) fn known(&self) -> Known {
        match (self.blocks(), self.blocked_by().is_empty()) {
            (false, _) => Known::Fine,
            (true, true) => Known::Bad,
            (true, false) => Known::Blocked,
        }
    }

    /// The same outcome in another selection, which may have this check only because another needs it.
    pub(crate) fn marked_as_needed(mut self, as_needed: bool) -> Outcome {
        match &mut self.judgement {
            Some(judgement) => judgement.as_needed = as_needed,
            None if as_needed => self.judgement = Some(Box::new(Judgement { as_needed, ..Judgement::default() })),
            None => {}
        }
        self.judgement = self.judgement.filter(|judgement| **judgement != Judgement::default());
        self
    }

    /// Whether it was not selected, but something that was needs it.
    pub fn is_as_needed(&self) -> bool {
        self.judgement.as_ref().is_some_and(|judgement| judgement.as_needed)
    }

    /// The outcome of each of its parts; none if it does not tell of parts. They have the id, the times and the options of
    /// the check, and its figures stay with the first.
    fn parts(&self) -> impl Iterator<Item = Outcome> {
        self.finding.parts.iter().enumerate().map(|(place, Part { title, status, context })| {
            let mut check = self.check.clone();
            if !title.is_empty() {
                check = Arc::new(Check { title: format!("{} {title}", check.title), ..(*check).clone() });
            }
            let perfdata = if place == 0 { self.finding.perfdata.clone() } else { Vec::new() };
            let finding = Finding { status: *status, context: context.clone(), perfdata, ..Finding::PASS };
            let known = Circumstances { as_needed: self.is_as_needed(), ..Circumstances::default() };
            Outcome::judged(check, finding, known, self.elapsed, self.age)
        })
    }

    /// What the check found itself, whatever the report says.
    pub fn raw(&self) -> Status {
        self.judgement.as_ref().and_then(|judgement| judgement.raw).unwrap_or(self.finding.status)
    }

    /// The ids of the checks because of which it was not run; none if it was.
    pub fn blocked_by(&self) -> &[String] {
        self.judgement.as_ref().map_or(&[], |judgement| &judgement.blocked_by)
    }

    /// The same outcome under a number, with nothing that says which check it is or what it found.
    pub fn anonymous(&self, number: usize) -> Outcome {
        let check = Check::new(format!("check-{number}"), |_| Finding::PASS).title(format!("check {number}"));
        let silence = self.check.silence.as_ref().map(|silence| Arc::new(silence.anonymous()));
        // That it needs something shows what is missing in the metrics; what it is does not.
        let needs = self.check.needs.iter().map(|_| String::new()).collect();
        let check = Check { kind: "check", strict: self.check.strict, needs, silence, ..check };
        let part = |(number, part): (usize, Outcome)| Part {
            title: format!("part {number}"),
            status: part.finding.status,
            context: None,
        };
        let parts = (1..).zip(self.parts()).map(part).collect();
        let finding = Finding { status: self.finding.status, parts, ..Finding::PASS };
        Outcome { check: Arc::new(check), finding, elapsed: self.elapsed, age: self.age, judgement: None }
    }
}

/// From one look to the next, this is long: probes and scrapers come more often.
pub(crate) const LONG_UNWATCHED: Duration = Duration::from_secs(5 * 60);

/// How many outcomes have each status, in the order of the JSON of Python's hospital, and what that has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Checks that do not apply.
    pub skip: usize,
    /// Checks that passed.
    pub pass: usize,
    /// Checks that failed as expected.
    pub expected_failure: usize,
    /// Checks that could not decide.
    pub error: usize,
    /// Checks that failed.
    pub fail: usize,
    /// All of them.
    pub total: usize,
    /// Checks that passed though they were expected to fail.
    pub unexpected_success: usize,
    /// Checks that passed with a warning. In JSON it is left out if there are none, as Python's hospital knows none.
    #[serde(skip_serializing_if = "is_none")]
    pub warn: usize,
    /// Checks whose findings do not count, as they are silenced; they are in no other count. Left out in JSON as `warn` is.
    #[serde(skip_serializing_if = "is_none")]
    pub silenced: usize,
    /// Checks that were not run because of others. They are counted by their status, too; left out like `warn`.
    #[serde(skip_serializing_if = "is_none")]
    pub blocked: usize,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// What a round found, in the order of its suite.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// One outcome for each check.
    pub outcomes: Vec<Outcome>,
    /// Why the host takes no requests, if it does not: `--maintenance-file`. It does not count either.
    pub maintenance: Option<String>,
}

impl Report {
    /// The report with these outcomes.
    pub fn of_outcomes(outcomes: Vec<Outcome>) -> Report {
        Report { outcomes, maintenance: None }
    }

    /// `Pass` when nothing in it is bad (`fail`, `error` or `unexpected_success`; where the checks are strict, `warn`),
    /// else `Fail`.
    pub fn status(&self) -> Status {
        if self.outcomes.iter().any(Outcome::is_bad) { Status::Fail } else { Status::Pass }
    }

    /// Whether [`Report::status`] is `Pass`.
    pub fn passes(&self) -> bool {
        self.status() == Status::Pass
    }

    /// Whether something in it passes with a warning.
    pub fn warns(&self) -> bool {
        self.outcomes.iter().any(|outcome| outcome.finding.status == Status::Warn && !outcome.is_silenced())
    }

    /// Whether both have the same checks with the same status and context, whatever their times and figures.
    pub fn says_the_same(&self, other: &Report) -> bool {
        let same = |(ours, theirs): (&Outcome, &Outcome)| {
            let (found, other) = (&ours.finding, &theirs.finding);
            Arc::ptr_eq(&ours.check, &theirs.check)
                && found.status == other.status
                && found.context == other.context
                && found.parts == other.parts
                && ours.judgement == theirs.judgement
        };
        self.outcomes.len() == other.outcomes.len() && self.outcomes.iter().zip(&other.outcomes).all(same)
    }

    /// The outcomes of the checks in that part of the suite. They are matched by id: the suite may have been reread
    /// since the round began.
    pub fn of(&self, part: &Suite) -> Report {
        let all = &self.outcomes;
        // The search starts after the last match and mostly ends there: both are in the order of the suite.
        let mut place = 0;
        let find = |(index, check): (usize, &Arc<Check>)| {
            let found =
                (0..all.len()).map(|step| (place + step) % all.len()).find(|&at| all[at].check.id == check.id)?;
            place = found + 1;
            Some(all[found].clone().marked_as_needed(part.is_as_needed(index)))
        };
        let outcomes = part.checks().iter().enumerate().filter_map(find).collect();
        Report { outcomes, maintenance: self.maintenance.clone() }
    }

    /// The same report for formats in which each part of a check is told as a check.
    pub(crate) fn in_parts(&self) -> Cow<'_, Report> {
        if self.outcomes.iter().all(|outcome| outcome.finding.parts.is_empty()) {
            return Cow::Borrowed(self);
        }
        let mut outcomes = Vec::new();
        for outcome in &self.outcomes {
            match outcome.finding.parts.is_empty() {
                true => outcomes.push(outcome.clone()),
                false => outcomes.extend(outcome.parts()),
            }
        }
        Cow::Owned(Report { outcomes, maintenance: self.maintenance.clone() })
    }

    /// The report for strangers: nothing in it says which checks there are or what they found.
    pub fn anonymous(&self) -> Report {
        let outcomes = (1..).zip(&self.outcomes).map(|(number, outcome)| outcome.anonymous(number)).collect();
        let mut report = Report { outcomes, maintenance: self.maintenance.clone() };
        if self.blocked().next().is_some() {
            let numbers: HashMap<_, _> = (1..).zip(&self.outcomes).map(|(n, outcome)| (&outcome.check.id, n)).collect();
            for (hidden, outcome) in report.outcomes.iter_mut().zip(&self.outcomes) {
                let number = |id| numbers.get(id).map_or_else(String::new, |n| format!("check-{n}"));
                let blocked_by: Vec<_> = outcome.blocked_by().iter().map(number).collect();
                hidden.judgement =
                    (!blocked_by.is_empty()).then(|| Box::new(Judgement { blocked_by, ..Judgement::default() }));
            }
        }
        report
    }

    /// The outcomes of the checks that were not run because of others.
    pub fn blocked(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| !outcome.blocked_by().is_empty())
    }

    /// The outcomes in the order of the suite, but each that is blocked after its cause.
    pub fn causes_first(&self) -> impl Iterator<Item = &Outcome> {
        let order = self.order();
        (0..self.outcomes.len()).map(move |index| &self.outcomes[order.get(index).copied().unwrap_or(index)])
    }

    /// The places of [`Report::causes_first`]; none if they are those of the suite.
    fn order(&self) -> Vec<usize> {
        if self.blocked().next().is_none() {
            return Vec::new();
        }
        let places: HashMap<_, _> =
            self.outcomes.iter().enumerate().map(|(place, outcome)| (&outcome.check.id, place)).collect();
        let mut under: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
        for (place, outcome) in self.outcomes.iter().enumerate() {
            let cause = outcome.blocked_by().first().and_then(|id| places.get(id).copied());
            under.entry(cause).or_default().push(place);
        }
        let mut its = |place| under.remove(&place).unwrap_or_default();
        let causes = its(None);
        let mut order: Vec<_> = causes.into_iter().flat_map(|place| [vec![place], its(Some(place))].concat()).collect();
        // A cause that is blocked itself is none, yet nothing may be left out.
        order.extend(under.into_values().flatten());
        order
    }

    /// The counts.
    pub fn summary(&self) -> Summary {
        summary(self.outcomes.iter())
    }

    /// The counts of what is not blocked, and how many are.
    pub fn causes(&self) -> Summary {
        let unblocked = self.outcomes.iter().filter(|outcome| outcome.blocked_by().is_empty());
        Summary { total: self.outcomes.len(), blocked: self.blocked().count(), ..summary(unblocked) }
    }
}

fn summary<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Summary {
    let mut summary = Summary::default();
    for outcome in outcomes {
        summary.total += 1;
        summary.blocked += usize::from(!outcome.blocked_by().is_empty());
        let count = match outcome.finding.status {
            _ if outcome.is_silenced() => &mut summary.silenced,
            Status::Pass => &mut summary.pass,
            Status::Warn => &mut summary.warn,
            Status::Fail => &mut summary.fail,
            Status::Error => &mut summary.error,
            Status::Skip => &mut summary.skip,
            Status::ExpectedFailure => &mut summary.expected_failure,
            Status::UnexpectedSuccess => &mut summary.unexpected_success,
        };
        *count += 1;
    }
    summary
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::check::Severity;
    use proptest::prelude::*;

    /// An outcome for tests.
    pub(crate) fn outcome(check: Arc<Check>, finding: Finding) -> Outcome {
        Outcome::of(check, finding, Duration::from_millis(1), Duration::from_millis(2))
    }

    /// A report with these statuses, for tests.
    pub(crate) fn report(statuses: &[Status]) -> Report {
        let outcome = |(index, &status): (usize, &Status)| {
            let check = Check::new(format!("check.{index}"), |_| Finding::PASS).title(format!("Check {index}."));
            let finding = match status {
                Status::Pass => Finding::PASS,
                status => Finding::new(status, format!("it was {}", status.word())),
            };
            Outcome::of(Arc::new(check), finding, Duration::from_millis(1), Duration::from_millis(2))
        };
        Report::of_outcomes(statuses.iter().enumerate().map(outcome).collect())
    }

    #[test]
    fn a_part_is_found_in_its_own_order_and_by_id() {
        let whole = report(&[Status::Pass, Status::Fail, Status::Skip]);
        let part = report(&[Status::Pass; 3]).outcomes;
        let part: Suite = [2, 0].into_iter().map(|index: usize| part[index].check.clone()).collect();
        let found: Vec<_> = whole.of(&part).outcomes.iter().map(|outcome| outcome.finding.status).collect();
        assert_eq!(found, [Status::Skip, Status::Pass]);
        assert!(Report::default().of(&part).outcomes.is_empty());
    }

    #[test]
    fn reports_say_the_same_whenever_it_was_found() {
        let first = report(&[Status::Pass, Status::Fail]);
        let mut second = first.clone();
        assert!(first.says_the_same(&second));
        second.outcomes[0].age += Duration::from_secs(1);
        second.outcomes[0].elapsed += Duration::from_secs(1);
        assert!(first.says_the_same(&second));
        second.outcomes[1].finding.context = None;
        assert!(!first.says_the_same(&second));
        second.outcomes.pop();
        assert!(!first.says_the_same(&second) && !second.says_the_same(&first));
        assert!(!first.says_the_same(&report(&[Status::Pass, Status::Fail])), "these are other checks");
    }

    #[test]
    fn strangers_see_statuses_and_counts_and_nothing_else() {
        let open = report(&[Status::Pass, Status::Fail]);
        let hidden = open.anonymous();
        assert_eq!(hidden.summary(), open.summary());
        assert_eq!(hidden.outcomes[1].finding, Finding { status: Status::Fail, ..Finding::PASS });
        assert_eq!(
            (hidden.outcomes[1].check.id.as_str(), hidden.outcomes[1].check.title.as_str()),
            ("check-2", "check 2")
        );
    }

    /// A report with these statuses, in which some checks are blocked by others, for tests.
    pub(crate) fn blocking(statuses: &[Status], blocked: &[(usize, &[usize])]) -> Report {
        let mut report = report(statuses);
        for &(place, causes) in blocked {
            let blocked_by = causes.iter().map(|cause| format!("check.{cause}")).collect();
            report.outcomes[place].judgement = Some(Box::new(Judgement { blocked_by, ..Judgement::default() }));
            report.outcomes[place].finding.context = Some(format!("blocked by check.{}: it was fail", causes[0]));
        }
        report
    }

    #[test]
    fn what_is_blocked_follows_its_cause_and_is_counted_apart() {
        let bad = [Status::Error, Status::Pass, Status::Error, Status::Fail, Status::Error];
        let report = blocking(&bad, &[(0, &[3]), (2, &[4, 3]), (1, &[7])]);
        let ids = |report: &Report| report.causes_first().map(|o| o.check.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&report), ["check.1", "check.3", "check.0", "check.4", "check.2"]);
        let (all, causes) = (report.summary(), report.causes());
        assert_eq!((all.error, all.pass, all.blocked, all.total), (3, 1, 3, 5));
        assert_eq!((causes.error, causes.pass, causes.fail, causes.blocked, causes.total), (1, 0, 1, 3, 5));
        let hidden = report.anonymous();
        assert_eq!(hidden.outcomes[2].blocked_by(), ["check-5", "check-4"]);
        assert_eq!(ids(&hidden), ["check-2", "check-4", "check-1", "check-5", "check-3"]);
    }

    #[test]
    fn parts_are_told_as_checks_with_the_id_and_the_severity_of_theirs() {
        let part = |title: &str, status| Part { title: title.into(), status, context: Some("why".into()) };
        let parts = vec![part("(n=1)", Status::Pass), part("(n=2)", Status::Fail), part("", Status::Skip)];
        let check = Check::new("shop", |_| Finding::PASS).title("Shop.").on_fail(Severity::Warn);
        let whole = outcome(Arc::new(check), Finding { parts, ..Finding::fail("(n=2): why") });
        let mut report = report(&[Status::Pass]);
        assert!(matches!(report.in_parts(), Cow::Borrowed(_)));
        report.outcomes.push(whole);
        let told = |report: &Report| {
            let told = |outcome: &Outcome| (outcome.check.title.clone(), outcome.finding.status, outcome.raw());
            report.in_parts().outcomes.iter().map(told).collect::<Vec<_>>()
        };
        assert_eq!(
            told(&report)[1..],
            [
                ("Shop. (n=1)".to_owned(), Status::Pass, Status::Pass),
                ("Shop. (n=2)".to_owned(), Status::Warn, Status::Fail),
                ("Shop.".to_owned(), Status::Skip, Status::Skip),
            ]
        );
        assert!(report.in_parts().outcomes[1..].iter().all(|outcome| outcome.check.id == "shop"));
        let hidden = report.anonymous();
        assert_eq!(hidden.in_parts().summary(), report.in_parts().summary());
        assert_eq!(told(&hidden)[2], ("check 2 part 2".to_owned(), Status::Warn, Status::Warn));
    }

    #[test]
    fn an_empty_report_passes() {
        assert!(Report::default().passes());
    }

    proptest! {
        #[test]
        fn it_passes_exactly_when_nothing_is_bad(statuses in proptest::collection::vec(proptest::sample::select(&Status::ALL[..]), 0..20)) {
            let report = report(&statuses);
            let bad = statuses.iter().any(|s| matches!(s, Status::Fail | Status::Error | Status::UnexpectedSuccess));
            prop_assert_eq!(report.passes(), !bad);
        }

        #[test]
        fn the_counts_add_up(statuses in proptest::collection::vec(proptest::sample::select(&Status::ALL[..]), 0..20)) {
            let s = report(&statuses).summary();
            prop_assert_eq!(s.total, statuses.len());
            prop_assert_eq!(s.pass + s.warn + s.fail + s.error + s.skip + s.expected_failure + s.unexpected_success, s.total);
        }
    }
}
