//! Shared memory of what has happened to the service itself: starts, reloads, deaths of workers, silences. The last ones
//! are remembered.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use zerocopy::FromBytes;

use super::sealed::Sealed;
use crate::model::episode::Happening;

/// How many are remembered.
const MOST: usize = 128;

/// Each is sealed: one that was written halfway is none.
#[derive(FromBytes)]
#[repr(C)]
pub(crate) struct EventRing {
    next: AtomicU64,
    /// How many there were when they were written to a file last.
    saved: AtomicU64,
    events: [Sealed<40>; MOST],
}

impl EventRing {
    /// Something has happened.
    pub(crate) fn note(&self, at: SystemTime, what: &str) {
        let mut event = Happening { at, what: what.to_owned() };
        let bytes = loop {
            let bytes = serde_json::to_vec(&event).expect("it is plain");
            if bytes.len() <= Sealed::<40>::ROOM {
                break bytes;
            }
            event.what.truncate(event.what.floor_char_boundary(event.what.len() / 2));
        };
        self.events[self.next.fetch_add(1, Relaxed) as usize % MOST].write_among_others(&bytes);
    }

    /// True for one process, if there are some that are not in a file.
    pub(crate) fn claim_saving(&self) -> bool {
        let (saved, all) = (self.saved.load(Relaxed), self.next.load(Relaxed));
        saved != all && self.saved.compare_exchange(saved, all, Relaxed, Relaxed).is_ok()
    }

    /// Takes over what had happened to a former service.
    pub(crate) fn fill(&self, all: &[Happening]) {
        if self.next.load(Relaxed) == 0 {
            all.iter().for_each(|event| self.note(event.at, &event.what));
        }
    }

    /// The last ones, in their order.
    pub(crate) fn all(&self) -> Vec<Happening> {
        let read = |event: &Sealed<40>| serde_json::from_slice(&event.read_among_others()?).ok();
        let mut all: Vec<Happening> = self.events.iter().filter_map(read).collect();
        all.sort_by_key(|event| event.at);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::shared;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn the_last_ones_are_remembered_in_their_order_and_bounded() {
        let ring: &EventRing = shared::map().expect("memory can be mapped");
        for n in 0..300 {
            ring.note(UNIX_EPOCH + Duration::from_secs(n), &format!("{n} {}", "é\"".repeat(n as usize)));
        }
        let all = ring.all();
        assert_eq!(all.len(), MOST);
        assert!(all[0].what.starts_with("172 ") && all[MOST - 1].what.starts_with("299 é"), "{:?}", all[0]);
    }
}
