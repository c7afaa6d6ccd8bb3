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
    let check = Check::from(registered);
    let limit = check.timeout;
    let report = Runner::run([check.into()].into_iter().collect(), limit);
    for Outcome { check, finding, .. } in report.outcomes {
        let context = finding.context.unwrap_or_default();
        if finding.status.is_bad() {
            panic!("{}: {} {context}", finding.status.word(), check.title);
        }
        if finding.status == Status::Skip {
            println!("skip: {} {context}", check.title);
        }
    }
}
