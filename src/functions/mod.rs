//! Healthchecks that are functions: what they may answer, how they register, and what a program adds to them.

pub(crate) mod answer;
pub(crate) mod app;
pub(crate) mod registry;
#[cfg(feature = "async")]
pub(crate) mod wait;
