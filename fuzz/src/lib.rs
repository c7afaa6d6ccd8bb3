//! The parts of the endpoint that read what strangers send, through links to their sources. They are pure, so they can
//! be built without the rest, in seconds.

#![allow(dead_code, unused_imports)]

pub mod fuzzing;
mod tally;
mod worker;

mod settings {
    /// Copied from `src/settings`, of which nothing else is needed.
    pub(crate) const MOST_FIELDS: usize = 1000;
}
