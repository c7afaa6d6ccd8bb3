//! What a transcript says of ourselves at that moment.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::model::check::{Finding, Status};
use crate::model::transcript::Field;
use crate::os::ourselves;

/// How old a look at ourselves may be, beside a finding that is well and beside one that is not.
const FOR_GOOD: Duration = Duration::from_secs(30);
const FOR_BAD: Duration = Duration::from_millis(100);

/// The number of the configuration, once it is known.
static GENERATION: OnceLock<u32> = OnceLock::new();

/// This process has the configuration of this number.
pub(crate) fn is_of_generation(number: u32) {
    // A worker has one for life.
    let _ = GENERATION.set(number);
}

/// A look at ourselves: when it was, and what it has shown.
type Look = (Instant, Vec<(Field, String)>);

fn look(at: Instant) -> Look {
    let shown = [
        (Field::OurDescriptorsFree, ourselves::free_descriptors().map(|free| free.to_string())),
        (Field::OurPressureCpu, ourselves::pressure().map(|share| share.to_string())),
        (Field::OurLoad, ourselves::load().map(|load| format!("{load:.2}"))),
        (Field::OurGeneration, GENERATION.get().map(u32::to_string)),
    ];
    (at, shown.into_iter().filter_map(|(field, value)| Some((field, value?))).collect())
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
    with_recent(if is_good { FOR_GOOD } else { FOR_BAD }, |shown| {
        shown.iter().for_each(|(field, value)| transcript.add(*field, value));
    });
    // The time goes on, and this costs nothing.
    transcript.add(Field::OurClock, ourselves::clock_step());
}

/// Tells the last look, or another if that is too old.
fn with_recent(most: Duration, tell: impl FnOnce(&[(Field, String)])) {
    static LAST: Mutex<Option<Look>> = Mutex::new(None);
    let now = Instant::now();
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let is_recent = |(at, _): &&mut Look| now.duration_since(*at) < most;
    match last.as_mut().filter(is_recent) {
        Some((_, shown)) => tell(shown),
        None => tell(&last.insert(look(now)).1),
    }
}
