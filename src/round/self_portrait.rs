//! What a transcript says of ourselves at that moment.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::model::check::{Finding, Status};
use crate::model::transcript::{Field, Transcript};
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

/// A look at ourselves.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    descriptors_free: Option<usize>,
    pressure: Option<f64>,
    load: Option<f64>,
    clock: i64,
}

impl Look {
    fn now(at: Instant) -> Look {
        Look {
            at,
            descriptors_free: ourselves::free_descriptors(),
            pressure: ourselves::pressure(),
            load: ourselves::load(),
            clock: ourselves::clock_step(),
        }
    }
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
    let look = recent(if is_good { FOR_GOOD } else { FOR_BAD });
    let transcript: &mut Transcript = found.transcript.get_or_insert_default();
    look.descriptors_free.into_iter().for_each(|free| transcript.add(Field::OurDescriptorsFree, free));
    look.pressure.into_iter().for_each(|share| transcript.add(Field::OurPressureCpu, share));
    look.load.into_iter().for_each(|load| transcript.add(Field::OurLoad, format_args!("{load:.2}")));
    transcript.add(Field::OurClock, look.clock);
    GENERATION.get().into_iter().for_each(|number| transcript.add(Field::OurGeneration, number));
}

/// The last look, or another if that is too old.
fn recent(most: Duration) -> Look {
    static LAST: Mutex<Option<Look>> = Mutex::new(None);
    let now = Instant::now();
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    match *last {
        Some(look) if now.duration_since(look.at) < most => look,
        _ => *last.insert(Look::now(now)),
    }
}
