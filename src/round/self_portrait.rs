//! What a transcript says of ourselves at that moment.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::model::check::{Finding, Status};
use crate::model::transcript::Field;
use crate::os::{cgroup, ourselves};

/// How old a look at ourselves may be, beside a finding that is well and beside one that is not. That of one that was well tells nothing
/// of why the next one is not.
const FOR_GOOD: Duration = Duration::from_secs(30);
const FOR_BAD: Duration = Duration::from_millis(100);

/// The number of the configuration, once it is known.
static GENERATION: OnceLock<u32> = OnceLock::new();

/// This process has the configuration of this number.
pub(crate) fn is_of_generation(number: u32) {
    // A worker has one for life.
    let _ = GENERATION.set(number);
}

/// A look at ourselves.
struct Look {
    at: Instant,
    is_for_good: bool,
    shown: Vec<(Field, String)>,
    /// The periods of our control groups up to then, and those in which they were out of CPU time.
    periods: Option<(u64, u64)>,
}

fn look(at: Instant, is_for_good: bool, before: Option<&Look>) -> Look {
    let periods = cgroup::throttled();
    let before = before.and_then(|before| before.periods);
    let shown = [
        (Field::OurDescriptorsFree, ourselves::free_descriptors().map(|free| free.to_string())),
        (Field::OurPressureCpu, ourselves::pressure().map(|share| share.to_string())),
        (Field::OurThrottled, periods.map(|periods| throttled(before.unwrap_or_default(), periods).to_string())),
        (Field::OurLoad, ourselves::load().map(|load| format!("{load:.2}"))),
        (Field::OurGeneration, GENERATION.get().map(u32::to_string)),
    ];
    let shown = shown.into_iter().filter_map(|(field, value)| Some((field, value?))).collect();
    Look { at, is_for_good, shown, periods }
}

/// The share of these periods, in per cent, in which more CPU time was wanted than there was.
fn throttled(before: (u64, u64), now: (u64, u64)) -> u64 {
    // In another group, nothing is known of before.
    let between = now.0.checked_sub(before.0).zip(now.1.checked_sub(before.1));
    let (periods, throttled) = between.unwrap_or(now);
    throttled.saturating_mul(100).checked_div(periods).unwrap_or_default().min(100)
}

/// Adds it to what is known of a run; not where a run that is well has noted nothing.
pub(super) fn note(found: &mut Finding) {
    let is_good = match found.status {
        Status::Pass | Status::Skip | Status::Warn | Status::ExpectedFailure => true,
        Status::Fail | Status::Error | Status::UnexpectedSuccess => false,
    };
    if is_good && found.transcript.is_none() {
        return;
    }
    let transcript = found.transcript.get_or_insert_default();
    with_recent(is_good, |shown| {
        shown.iter().for_each(|(field, value)| transcript.add(*field, value));
    });
    // The time goes on, and this costs nothing.
    transcript.add(Field::OurClock, ourselves::clock_step());
}

/// Tells the last look, or another if that is too old.
fn with_recent(is_good: bool, tell: impl FnOnce(&[(Field, String)])) {
    static LAST: Mutex<Option<Look>> = Mutex::new(None);
    let now = Instant::now();
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let is_recent = |look: &&mut Look| {
        let most = if is_good { FOR_GOOD } else { FOR_BAD };
        now.duration_since(look.at) < most && (is_good || !look.is_for_good)
    };
    match last.as_mut().filter(is_recent) {
        Some(look) => tell(&look.shown),
        None => {
            let look = look(now, is_good, last.as_ref());
            tell(&last.insert(look).shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_often_a_group_was_out_of_time_is_told_of_what_has_passed_since() {
        for (before, now, share) in [
            ((0, 0), (0, 0), 0),
            ((0, 0), (100, 7), 7),
            ((100, 7), (110, 17), 100),
            ((100, 7), (100, 7), 0),
            ((100, 90), (50, 5), 10),
            ((0, 0), (1, u64::MAX), 100),
        ] {
            assert_eq!(throttled(before, now), share, "{before:?} {now:?}");
        }
    }
}
