//! What a worker notes about its checks for its successors, and what its predecessors noted for it.

use std::time::{Duration, Instant};

use crate::daemon::shared::casebook::{self, Casebook};
use crate::model::check::Check;
use crate::model::duration;
use crate::os::signals;
use crate::round::isolation::{Case, Cause, Standing};
use crate::round::{Verdict, Witness};

/// The notes of the worker in a slot.
pub(super) struct Notes {
    pub(super) slot: usize,
    pub(super) casebook: Casebook,
}

impl Witness for Notes {
    fn judge(&self, check: &Check, now: Instant) -> Verdict {
        let Some(case) = Case::from_bits(self.casebook.case(&check.id)) else { return Verdict::Run };
        match Standing::of(case, self.casebook.time(now)) {
            Standing::Suspect => Verdict::RunAlone,
            Standing::Quarantined { deaths, cause, left } => Verdict::Withhold(format!(
                "killed its worker {deaths} times ({}), next try in {}",
                spoken(cause),
                duration::spoken(Duration::from_secs(left.as_millis().div_ceil(1000) as u64))
            )),
        }
    }

    fn begins(&self, check: &Check, now: Instant) {
        let mut case = self.casebook.case(&check.id);
        if let Some(known) = Case::from_bits(case) {
            let time = self.casebook.time(now);
            match Standing::of(known, time) {
                Standing::Suspect => {
                    let tried = known.tried(time).to_bits();
                    if self.casebook.change(casebook::key(&check.id), case, tried) {
                        case = tried;
                    }
                }
                // It was judged before that death was known. If this run kills us too, both count as one.
                Standing::Quarantined { .. } => case = 0,
            }
        }
        self.casebook.begin(self.slot, &check.id, case, !check.blocking, now);
    }

    fn ends(&self, check: &Check) {
        if let Some(case) = self.casebook.end(self.slot, &check.id).filter(|&case| case != 0) {
            // If it has changed since, another run of the check knows better.
            self.casebook.change(casebook::key(&check.id), case, 0);
        }
    }
}

impl Drop for Notes {
    /// The worker leaves in an orderly way: no check that still runs in its threads caused that.
    fn drop(&mut self) {
        self.casebook.forget(self.slot);
    }
}

fn spoken(cause: Cause) -> String {
    match cause {
        Cause::Signal(number) => signals::name(number),
        Cause::OutOfMemory => "out of memory".to_owned(),
        Cause::Hang => "it hung".to_owned(),
        Cause::Exit(code) => format!("exit code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Finding;

    #[test]
    fn a_run_that_was_judged_before_the_last_death_was_known_counts_as_one_with_it() {
        let now = Instant::now();
        let notes = Notes { slot: 0, casebook: Casebook::new(now).expect("memory can be mapped") };
        let check = Check::new("db", |_| Finding::PASS);
        let mut before = None;
        for deaths in 1..=3 {
            let after = Case::after_death(before, Cause::OutOfMemory, Duration::ZERO);
            let bits = before.map_or(0, Case::to_bits);
            assert!(notes.casebook.change(casebook::key(&check.id), bits, after.to_bits()), "{deaths}");
            before = Some(after);
        }
        assert!(matches!(notes.judge(&check, now), Verdict::Withhold(_)));
        notes.begins(&check, now);
        assert_eq!(notes.casebook.in_progress(0)[0].case, 0, "not the case that the next death would add to");
        notes.ends(&check);
        assert_ne!(notes.casebook.case(&check.id), 0, "nor one that it ends by coming back");
    }
}
