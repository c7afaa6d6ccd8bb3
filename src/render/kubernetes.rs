//! The dialect of Kubernetes' own health endpoints: `[+]db ok`, `[-]db failed: reason withheld`.
//!
//! Source: `k8s.io/apiserver/pkg/server/healthz`.

use std::fmt::Write;

use crate::model::report::{Outcome, Report};

/// The answer of an endpoint such as `readyz`; it names each check when something is wrong or `verbose` is requested.
pub fn answer(endpoint: &str, report: &Report, verbose: bool) -> String {
    written(endpoint, verbose, &report.causes_first().map(|outcome| (outcome, outcome.is_bad())).collect::<Vec<_>>())
}

/// The answer of `startupz`, where `starting` says of each check whether its start is not over.
pub(crate) fn startup(report: &Report, verbose: bool, starting: &[bool]) -> String {
    let outcomes: Vec<_> = report.outcomes.iter().zip(starting.iter().copied()).collect();
    written("startupz", verbose, &outcomes)
}

/// `outcomes`: with each, whether the answer is no for it.
fn written(endpoint: &str, verbose: bool, outcomes: &[(&Outcome, bool)]) -> String {
    let passes = !outcomes.iter().any(|(_, is_bad)| *is_bad);
    let mut text = String::new();
    if verbose || !passes {
        for (outcome, is_bad) in outcomes {
            let id = &outcome.check.id;
            if *is_bad { writeln!(text, "[-]{id} failed: reason withheld") } else { writeln!(text, "[+]{id} ok") }
                .expect("a string takes all");
        }
    }
    text + endpoint + if passes { " check passed\n" } else { " check failed\n" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Status;
    use crate::model::report::tests::report;

    #[test]
    fn it_names_the_checks_when_one_fails() {
        let text = answer("readyz", &report(&[Status::Pass, Status::Error, Status::Skip]), false);
        assert_eq!(text, "[+]check.0 ok\n[-]check.1 failed: reason withheld\n[+]check.2 ok\nreadyz check failed\n");
    }

    #[test]
    fn it_is_brief_when_all_is_well_unless_asked() {
        let passing = report(&[Status::Pass]);
        assert_eq!(answer("livez", &passing, false), "livez check passed\n");
        assert_eq!(answer("livez", &passing, true), "[+]check.0 ok\nlivez check passed\n");
    }
}
