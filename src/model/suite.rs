//! The checks collected for one request, and parts of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::check::Check;
use super::clocks::Clocks;
use super::duration;
use super::id;
use super::needs::{Fault, Needs};
use super::silence::Silence;

/// The checks collected for one request, each id once, in the order in which they were named.
#[derive(Clone, Debug, Default)]
pub struct Suite {
    checks: Arc<[Arc<Check>]>,
    /// `None`: no check needs another.
    needs: Option<Arc<Needs>>,
    has_grace: bool,
    has_silences: bool,
    has_schedule: bool,
}

impl Suite {
    /// The checks, in order.
    pub fn checks(&self) -> &[Arc<Check>] {
        &self.checks
    }

    /// Whether a check has a grace.
    pub(crate) fn has_grace(&self) -> bool {
        self.has_grace
    }

    /// Whether a check is silenced.
    pub(crate) fn has_silences(&self) -> bool {
        self.has_silences
    }

    /// The same checks, silenced by these and no others. Where several cover one, that which ends last.
    pub(crate) fn silenced(&self, silences: &[Arc<Silence>]) -> Suite {
        if silences.is_empty() && !self.has_silences {
            return self.clone();
        }
        let silenced = |check: &Arc<Check>| {
            let silence = silences
                .iter()
                .filter(|silence| silence.covers(&check.id, &check.tags))
                .max_by_key(|silence| silence.until);
            match silence == check.silence.as_ref() {
                true => check.clone(),
                false => Arc::new(Check { silence: silence.cloned(), ..(**check).clone() }),
            }
        };
        let checks: Arc<[_]> = self.checks.iter().map(silenced).collect();
        Suite { has_silences: checks.iter().any(|check| check.silence.is_some()), checks, ..self.clone() }
    }

    /// The same checks without the silences that have ended; `None`: all are in force.
    pub(crate) fn without_ended(&self, now: &Clocks) -> Option<Suite> {
        let silences: Vec<_> = self.checks.iter().filter_map(|check| check.silence.clone()).collect();
        let in_force: Vec<_> = silences.iter().filter(|silence| silence.is_in_force(now)).cloned().collect();
        (in_force.len() < silences.len()).then(|| self.silenced(&in_force))
    }

    /// Whether a check has a schedule.
    pub(crate) fn has_schedule(&self) -> bool {
        self.has_schedule
    }

    /// One line of the checks whose timeout does not count, if a round takes so long at most: `None` if there are none.
    pub(crate) fn cut_short(&self, round: Duration) -> Option<String> {
        let mut short = self.checks.iter().filter(|check| check.is_cut_short(round));
        let first = short.next()?;
        let (id, timeout, round) = (&first.id, duration::spoken(first.timeout), duration::spoken(round));
        let who = match short.count() {
            0 => format!("{id} is given less than its timeout of {timeout}"),
            more => format!("{id} is given less than its timeout of {timeout}, and so are {more} more"),
        };
        Some(format!(
            "{who}: a round takes {round} at most. Raise --request-timeout, or run the check on a schedule (every=)"
        ))
    }

    /// The checks that fulfil a condition, and what they need.
    pub(crate) fn filtered(&self, wanted: impl Fn(&Check) -> bool) -> Suite {
        self.part(|place| wanted(&self.checks[place]), |_| false)
    }

    /// Whether it is the very same suite, from the same collection.
    pub fn is(&self, other: &Suite) -> bool {
        Arc::ptr_eq(&self.checks, &other.checks)
    }

    /// The part of the suite at or under a dotted path, and what that needs; empty when nothing is there.
    pub fn at(&self, path: &str) -> Suite {
        self.filtered(is_at(path))
    }

    /// The part of the suite that has one of these tags, if there are any, and is not at or under one of these names; and
    /// what that needs.
    pub fn select(&self, tags: &[String], excluded: &[String]) -> Suite {
        if tags.is_empty() && excluded.is_empty() {
            return self.clone();
        }
        let tagged = |check: &Check| tags.is_empty() || check.tags.iter().any(|tag| tags.contains(tag));
        let left_out: Vec<_> = excluded.iter().map(|name| is_at(name)).collect();
        let left_out: HashSet<usize> = match left_out.is_empty() {
            true => HashSet::new(),
            false => (0..self.checks.len())
                .filter(|&place| left_out.iter().any(|is_at| is_at(&self.checks[place])))
                .collect(),
        };
        // What is only there because it is needed was not selected before, and is not now.
        let was_selected = |place| !self.is_as_needed(place);
        let wanted = |place: usize| tagged(&self.checks[place]) && !left_out.contains(&place) && was_selected(place);
        self.part(wanted, |place| left_out.contains(&place))
    }

    /// The checks that are `wanted`, and what they need, except what is `excluded`.
    fn part(&self, wanted: impl Fn(usize) -> bool, excluded: impl Fn(usize) -> bool) -> Suite {
        let places = (0..self.checks.len()).filter(|&place| wanted(place));
        let Some(needs) = &self.needs else {
            return Suite::with(places.map(|place| self.checks[place].clone()).collect(), None);
        };
        let (places, needs) = needs.part(&places.collect::<Vec<_>>(), excluded, &self.checks);
        Suite::with(places.iter().map(|&place| self.checks[place].clone()).collect(), needs)
    }

    fn with(checks: Arc<[Arc<Check>]>, needs: Option<Needs>) -> Suite {
        let has_grace = checks.iter().any(|check| check.grace.is_some());
        let has_silences = checks.iter().any(|check| check.silence.is_some());
        let has_schedule = checks.iter().any(|check| check.schedule.is_some());
        Suite { checks, needs: needs.map(Arc::new), has_grace, has_silences, has_schedule }
    }

    /// What the checks need of each other; `None` if they need nothing.
    pub(crate) fn needs(&self) -> Option<&Needs> {
        self.needs.as_deref()
    }

    /// Whether the check at this place was not selected, but something that was needs it.
    pub(crate) fn is_as_needed(&self, place: usize) -> bool {
        self.needs.as_ref().is_some_and(|needs| needs.is_as_needed(place))
    }

    /// The first check that can never be run, because something is wrong with what it needs.
    pub(crate) fn fault(&self) -> Option<(&Check, &Fault)> {
        let needs = self.needs.as_ref()?;
        self.checks.iter().enumerate().find_map(|(place, check)| Some((&**check, needs.fault(place)?)))
    }

    /// The same checks, of which a warning makes a report fail.
    pub(crate) fn strict(self) -> Suite {
        let strict = |check: &Arc<Check>| Arc::new(Check { strict: true, ..Check::clone(check) });
        Suite { checks: self.checks.iter().map(strict).collect(), ..self }
    }

    /// The ids, joined for a message.
    pub fn known(&self) -> String {
        id::listed(self.checks.iter().map(|check| check.id.clone()))
    }
}

impl FromIterator<Arc<Check>> for Suite {
    /// Of several checks with the same id, the first stays.
    fn from_iter<I: IntoIterator<Item = Arc<Check>>>(checks: I) -> Suite {
        let mut seen = HashSet::new();
        let checks: Arc<[_]> = checks.into_iter().filter(|check| seen.insert(check.id.clone())).collect();
        Suite::with(checks.clone(), Needs::of(&checks))
    }
}

/// Whether a check is at or under a path.
fn is_at(path: &str) -> impl Fn(&Check) -> bool {
    let dotted = id::dotted(path);
    // An address may contain `::`, and means it literally.
    move |check| id::is_at(&check.id, &dotted) || id::is_at(&check.id, path)
}
