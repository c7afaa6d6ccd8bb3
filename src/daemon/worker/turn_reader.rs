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
