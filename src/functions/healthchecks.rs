//! The healthchecks that the crate ships, under its own dotted path.

/// Checks with known answers: they show that collecting, running and reporting work.
pub mod predictable {
    use crate::healthcheck;

    /// Health checks are collected.
    #[healthcheck(blocking = false)]
    pub fn collected() {}

    /// Health checks can be skipped.
    #[healthcheck(blocking = false)]
    pub fn skipped() -> crate::Result {
        crate::skip!("This healthcheck is always skipped, just to make sure healthchecks can be skipped.")
    }
}
