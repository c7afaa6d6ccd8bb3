//! What a worker notes about its checks for its successors, and what its predecessors noted for it.

use std::time::{Duration, Instant};

use crate::check::Check;
use crate::duration;
use crate::round::quarantine::{Case, Cause, Standing};
use crate::round::{Verdict, Witness};
use crate::sys::casebook::{self, Casebook};
use crate::sys::signals;

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
        if let Some(tried) = Case::from_bits(case).map(|case| case.tried(self.casebook.time(now)).to_bits())
            && self.casebook.change(casebook::key(&check.id), case, tried)
        {
            case = tried;
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
