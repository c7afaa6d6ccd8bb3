//! A healthcheck as a test of `cargo test` or nextest.

use super::Runner;
use crate::functions::registry::registered;
use crate::model::check::{Check, Status};
use crate::model::report::Outcome;

/// Runs one registered healthcheck, under its timeout, and panics if its outcome is bad.
#[track_caller]
pub fn run_as_test(module: &str, name: &str) {
    let registered = registered()
        .find(|registered| (registered.module, registered.name) == (module, name))
        .expect("the attribute that made the test registered the healthcheck");
    // What it needs is tested by tests of its own.
    let check = Check::from(registered).needs::<String>([]);
    let limit = check.timeout;
    let report = Runner::run([check.into()].into_iter().collect(), limit);
    for outcome in report.outcomes {
        let (is_bad, Outcome { check, finding, .. }) = (outcome.is_bad(), outcome);
        let context = finding.context.unwrap_or_default();
        if is_bad {
            panic!("{}: {} {context}", finding.status.word(), check.title);
        }
        if matches!(finding.status, Status::Skip | Status::Warn) {
            println!("{}: {} {context}", finding.status.word(), check.title);
        }
    }
}
