//! What `/metrics` answers. It only reads the scoreboard: at once, and with the same figures from every worker.

use crate::daemon::shared::scoreboard::Scoreboard;
use crate::endpoint::metrics::Figures;
use crate::model::check::Finding;
use crate::model::report::Outcome;
use crate::model::suite::Suite;

/// What the scoreboard knows about the checks in the suite and about the service. Strangers see a number instead of the
/// name of a check.
pub(super) fn figures(suite: &Suite, disclosed: bool, scoreboard: &Scoreboard) -> Figures {
    let mut figures = Figures { outcomes: Vec::new(), ran: Vec::new(), counters: scoreboard.counters() };
    for (number, check) in (1..).zip(suite.checks()) {
        let Some(last) = scoreboard.last(&check.id) else { continue };
        let finding = Finding { status: last.status, context: None, perfdata: last.figures };
        let age = last.at.elapsed().unwrap_or_default() + last.elapsed;
        let outcome = Outcome { check: check.clone(), finding, elapsed: last.elapsed, age };
        figures.outcomes.push(if disclosed { outcome } else { outcome.anonymous(number) });
        figures.ran.push(last.at);
    }
    figures
}
