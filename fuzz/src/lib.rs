//! The parts of the endpoint that read what strangers send, by links to their sources: they are pure, so they can be
//! built without the rest, and that in seconds.

#![allow(dead_code, unused_imports)]

pub mod fuzzing;
mod tally;
mod worker;

mod settings {
    /// As in `src/settings`, of which nothing else is needed.
    pub(crate) const MOST_FIELDS: usize = 1000;
}
