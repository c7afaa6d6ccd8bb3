//! Healthchecks that are functions: what they may answer, how they register, what a program
//! adds to them, and how cargo runs them as tests.

pub(crate) mod answer;
pub(crate) mod app;
pub(crate) mod as_test;
pub(crate) mod registry;
#[cfg(feature = "async")]
pub(crate) mod wait;
