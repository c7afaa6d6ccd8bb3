//! What processes share: memory that is mapped before the first fork.
//!
//! It is written by workers, which run other people's code: whatever stands there is input. Any bytes are a value of
//! each type here, which [`crate::os::shared::map`] demands, and each reader makes the best of any value.

pub(crate) mod events;
pub(crate) mod evidence;
pub(crate) mod in_flight;
pub(crate) mod kept;
pub(crate) mod schedule;
pub(crate) mod scoreboard;
mod sealed;
pub(crate) mod snapshot;
mod table;
mod word;

use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::SeqCst;

use zerocopy::FromBytes;

/// A boolean; any number but 0 is true. All accesses of all flags have one order that all processes agree on.
#[derive(FromBytes)]
#[repr(transparent)]
struct Flag(AtomicU8);

impl Flag {
    fn get(&self) -> bool {
        self.0.load(SeqCst) != 0
    }

    fn set(&self, value: bool) {
        self.0.store(value.into(), SeqCst);
    }

    /// Sets it; true if that is a change.
    fn change(&self, value: bool) -> bool {
        // Read first: as long as nobody writes, every process can keep it in its cache.
        self.get() != value && (self.0.swap(value.into(), SeqCst) != 0) != value
    }
}

#[cfg(test)]
mod tests;
