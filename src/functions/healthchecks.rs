//! The healthchecks that the crate ships, under its own dotted path.

/// A check with a known answer: it shows that collecting, running and reporting work.
pub mod predictable {
    use crate::healthcheck;

    /// Health checks are collected.
    #[healthcheck(blocking = false)]
    pub fn collected() {}
}
