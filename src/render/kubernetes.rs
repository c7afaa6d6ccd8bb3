//! The dialect of Kubernetes' own health endpoints: `[+]db ok`, `[-]db failed: reason withheld`.
//!
//! Source: `k8s.io/apiserver/pkg/server/healthz`.

use std::fmt::Write;

use crate::model::report::Report;

/// The answer of an endpoint such as `readyz`; it names each check when something is wrong or `verbose` is requested.
pub fn answer(endpoint: &str, report: &Report, verbose: bool) -> String {
    let passes = report.passes();
    let mut text = String::new();
    if verbose || !passes {
        for outcome in &report.outcomes {
            let id = &outcome.check.id;
            if outcome.is_bad() {
                writeln!(text, "[-]{id} failed: reason withheld")
            } else {
                writeln!(text, "[+]{id} ok")
            }
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
