//! Tells how a check became bad, to whoever asks that in each round: what has not changed is not read again.
//!
//! To read it takes twice as long as all else in a round of checks that find a file gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::daemon::shared::evidence::{EvidenceTable, TurnVersion};
use crate::daemon::shared::kept::Kept;
use crate::model::episode::CheckRecord;

/// Of so many checks it is remembered. Where more are bad, each is read anew.
const MOST: usize = 256;

/// Two readings of the same clocks differ by so many milliseconds at most.
const SAME: u64 = 5;

pub(super) struct TurnReader {
    kept: Kept,
    known: Mutex<HashMap<u64, KnownTurn>>,
}

struct KnownTurn {
    version: TurnVersion,
    /// By how much the wall clock was set then.
    ahead: i64,
    turn: Arc<CheckRecord>,
}

impl TurnReader {
    pub(super) fn new(kept: Kept) -> TurnReader {
        TurnReader { kept, known: Mutex::default() }
    }

    /// The runs of a check that tell how it became bad, and whether it is, in times of the present wall clock.
    pub(super) fn turn(&self, id: &str) -> Option<Arc<CheckRecord>> {
        let (key, ahead, table) = (EvidenceTable::key(id), self.kept.ahead(), self.kept.evidence());
        // Before it is read: what is written meanwhile has another.
        let version = table.turn_version(key)?;
        let is_it = |known: &&KnownTurn| known.version == version && known.ahead.abs_diff(ahead) <= SAME;
        if let Some(known) = self.known().get(&key).filter(is_it) {
            return Some(known.turn.clone());
        }
        let turn = Arc::new(table.turn(key)?.moved(ahead));
        let mut all = self.known();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(key, KnownTurn { version, ahead, turn: turn.clone() });
        Some(turn)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, KnownTurn>> {
        // An entry is put in whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::shared::evidence::Look;
    use crate::daemon::shared::kept::KeptFile;
    use crate::model::check::Status;
    use crate::model::episode::RecordedRun;
    use crate::model::transcript::Transcript;
    use std::time::Duration;

    #[test]
    fn what_was_read_of_a_check_is_read_again_once_another_run_is_remembered() {
        let file = KeptFile::new(None).expect("there is memory");
        let reader = TurnReader::new(file.kept);
        let found = |status, seconds| {
            let at = file.kept.now() + Duration::from_secs(seconds);
            let run = || RecordedRun::new(at, status, None, Duration::ZERO, 0, Transcript::default());
            let look = Look { at, status, now: at, stands: Duration::from_secs(300) };
            file.kept.evidence().note(EvidenceTable::key("db"), look, run);
            reader.turn("db").expect("it has run")
        };
        assert_eq!(reader.turn("db").map(|_| ()), None);
        let good = found(Status::Pass, 0);
        assert_eq!((good.is_bad(), good.turn().1), (Some(false), None));
        let bad = found(Status::Fail, 10);
        assert_eq!(bad.is_bad(), Some(true));
        assert!(bad.turn().0 == good.good.as_ref() && bad.turn().1.is_some());
        assert!(Arc::ptr_eq(&bad, &found(Status::Fail, 20)), "nothing of it has changed");
        assert_eq!(found(Status::Pass, 30).is_bad(), Some(false));
        let again = found(Status::Fail, 40);
        assert!(again.turn().1.map(|run| run.at) > bad.turn().1.map(|run| run.at), "it is another episode");
    }
}
