//! Healthchecks that are functions: what they may answer, how they register, and how cargo runs them as tests.

pub(crate) mod answer;
pub(crate) mod as_test;
pub(crate) mod registry;
