//! Healthchecks that are functions: what they may answer, and how they register.

pub(crate) mod answer;
pub(crate) mod registry;
