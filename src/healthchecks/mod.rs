//! The healthchecks that the crate ships, under its own dotted path.

pub mod predictable;
