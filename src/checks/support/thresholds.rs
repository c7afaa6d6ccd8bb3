//! Thresholds in pairs: what is beyond one of them is a `fail`, what is beyond the milder one, `warn_…`, a `warn`.

use std::cmp::Ordering;

use crate::checks::Options;
use crate::model::check::{Finding, Reason, Result, Status};

/// Which side of a threshold is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checks) enum Good {
    /// That much, or more.
    Above,
    /// That much, or less.
    Below,
}

/// Refuses a milder threshold that would never warn, as what is beyond it fails already. `name`: of the hard one, whose
/// value comes with a text for people. Amounts in different units cannot be compared before anything is measured.
pub(in crate::checks) fn verify<T: PartialOrd>(
    good: Good,
    name: &str,
    hard: Option<(&T, String)>,
    milder: Option<&T>,
) -> std::result::Result<(), String> {
    let (Some((hard, shown)), Some(milder)) = (hard, milder) else { return Ok(()) };
    let (wrong, wanted) = match good {
        Good::Above => (Ordering::Less, "more"),
        Good::Below => (Ordering::Greater, "less"),
    };
    match milder.partial_cmp(hard) {
        Some(order) if order == wrong || order == Ordering::Equal => {
            Err(format!("option warn_{name}: it has to be {wanted} than {name}={shown}, or it would never warn"))
        }
        Some(_) | None => Ok(()),
    }
}

/// From where to where a number is good: hard limits, and milder ones within them.
#[derive(Debug)]
pub(in crate::checks) struct Range<T> {
    min: Option<T>,
    max: Option<T>,
    warn_min: Option<T>,
    warn_max: Option<T>,
}

impl<T: PartialOrd + Copy + std::fmt::Display> Range<T> {
    /// Reads `min`, `max`, `warn_min` and `warn_max`.
    pub(in crate::checks) fn take<E: std::fmt::Display>(
        options: &mut Options,
        number: impl Fn(&str) -> std::result::Result<T, E>,
    ) -> std::result::Result<Range<T>, String> {
        let mut read = |name| options.parse(name, &number);
        let (min, max, warn_min, warn_max) = (read("min")?, read("max")?, read("warn_min")?, read("warn_max")?);
        let told = |limit: &T| limit.to_string();
        verify(Good::Above, "min", min.as_ref().map(|it| (it, told(it))), warn_min.as_ref())?;
        verify(Good::Below, "max", max.as_ref().map(|it| (it, told(it))), warn_max.as_ref())?;
        match (warn_min.or(min), warn_max.or(max)) {
            (Some(min), Some(max)) if min > max => Err(format!("no number is at least {min} and at most {max}")),
            _ => Ok(Range { min, max, warn_min, warn_max }),
        }
    }

    /// One with a hard limit alone.
    #[cfg(feature = "ldap")]
    pub(in crate::checks) fn at_least(min: T) -> Range<T> {
        Range { min: Some(min), max: None, warn_min: None, warn_max: None }
    }

    /// Whether any number is good.
    pub(in crate::checks) fn is_open(&self) -> bool {
        let Range { min, max, warn_min, warn_max } = self;
        min.or(*max).or(*warn_min).or(*warn_max).is_none()
    }

    /// The hard limit that a number exceeds, as what it should be.
    pub(in crate::checks) fn exceeded(&self, number: T) -> Option<String> {
        exceeded(self.min, self.max, number)
    }

    /// The same for the milder limits.
    pub(in crate::checks) fn mildly_exceeded(&self, number: T) -> Option<String> {
        exceeded(self.warn_min, self.warn_max, number)
    }
}

#[cfg(feature = "ldap")]
impl Range<u32> {
    /// How far it has to be counted to know whether a number is good.
    pub(in crate::checks) fn enough(&self) -> u32 {
        let most = self.max.max(self.warn_max).map(|max| max.saturating_add(1));
        most.max(self.min).max(self.warn_min).unwrap_or_default()
    }
}

fn exceeded<T: PartialOrd + std::fmt::Display>(min: Option<T>, max: Option<T>, number: T) -> Option<String> {
    let below = min.filter(|min| number < *min).map(|min| format!("at least {min}"));
    below.or(max.filter(|max| number > *max).map(|max| format!("at most {max}")))
}

/// The finding by the hard thresholds, unless only the `milder` ones are exceeded.
pub(in crate::checks) fn judged(finding: Finding, milder: impl FnOnce() -> Result) -> Finding {
    if finding.status != Status::Pass {
        return finding;
    }
    match milder() {
        Ok(()) => finding,
        Err(Reason::Fail(why)) => Finding { perfdata: finding.perfdata, ..Finding::warn(why) },
        Err(reason) => Finding { perfdata: finding.perfdata, ..Finding::from(Err(reason)) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_milder_threshold_lies_on_the_good_side_of_the_other() {
        let refused = |good, milder: u32| verify(good, "free", Some((&10, "10%".to_owned())), Some(&milder)).is_err();
        assert_eq!([9, 10, 11].map(|milder| refused(Good::Above, milder)), [true, true, false]);
        assert_eq!([9, 10, 11].map(|milder| refused(Good::Below, milder)), [false, true, true]);
        assert_eq!(
            verify(Good::Above, "free", Some((&10, "10%".to_owned())), Some(&9)),
            Err("option warn_free: it has to be more than free=10%, or it would never warn".to_owned())
        );
        assert_eq!(verify(Good::Above, "free", None, Some(&9)), Ok(()));
    }

    #[test]
    fn only_what_passes_can_warn() {
        let milder = || Err(Reason::Fail("nearly full".to_owned()));
        assert_eq!(judged(Finding::PASS, milder), Finding::warn("nearly full"));
        assert_eq!(judged(Finding::fail("full"), milder), Finding::fail("full"));
        assert_eq!(judged(Finding::PASS, || Ok(())), Finding::PASS);
        let cannot = || Err(Reason::Error("no".to_owned()));
        assert_eq!(judged(Finding::PASS, cannot), Finding::error("no"));
    }
}
