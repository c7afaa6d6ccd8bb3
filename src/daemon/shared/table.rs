//! A hash table in shared memory whose entries never move. What was released is free for others.

use std::hash::{Hash, Hasher};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustc_hash::FxHasher;
use zerocopy::FromBytes;

/// The key of an entry that never had a value: nothing is searched for beyond it.
const FRESH: u64 = 0;

/// The key of an entry whose value was released.
const RELEASED: u64 = 1;

/// How often to try to claim an entry while others claim the same one.
const TRIES: usize = 8;

/// Values under the hash of a name, with open addressing. All zeroes are an empty table.
#[derive(FromBytes)]
#[repr(C)]
pub(super) struct Table<T, const ENTRIES: usize> {
    entries: [Entry<T>; ENTRIES],
}

#[derive(FromBytes)]
#[repr(C)]
struct Entry<T> {
    key: AtomicU64,
    value: T,
}

/// What can be a value in a table.
pub(super) trait Clear {
    /// Makes it as good as new. Others may be writing to it.
    fn clear(&self);
}

impl Clear for AtomicU64 {
    fn clear(&self) {
        self.store(0, Relaxed);
    }
}

impl<T: Clear, const ENTRIES: usize> Table<T, ENTRIES> {
    /// The value under this key, if it was claimed.
    pub(super) fn find(&self, key: u64) -> Option<&T> {
        let there = self.from(key).map(|entry| (entry, entry.key.load(Relaxed)));
        there.take_while(|&(_, there)| there != FRESH).find(|&(_, there)| there == key).map(|(entry, _)| &entry.value)
    }

    /// The value under this key, empty if it is new; `None` when the table is full.
    pub(super) fn claim(&self, key: u64) -> Option<&T> {
        for _ in 0..TRIES {
            if let Some(value) = self.find(key) {
                return Some(value);
            }
            let is_free = |entry: &&Entry<T>| matches!(entry.key.load(Relaxed), FRESH | RELEASED);
            let Entry { key: place, value } = self.from(key).find(is_free)?;
            let before = place.load(Relaxed);
            if before <= RELEASED && place.compare_exchange(before, key, Relaxed, Relaxed).is_ok() {
                // Whoever had it before may have written to it since it was released. A fresh one is clear, and takes no memory
                // yet.
                if before == RELEASED {
                    value.clear();
                }
                return Some(value);
            }
        }
        None
    }

    /// All values that were claimed.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter(|entry| entry.key.load(Relaxed) > RELEASED).map(|entry| &entry.value)
    }

    /// Releases the values that need not be kept.
    pub(super) fn retain(&self, keep: impl Fn(u64, &T) -> bool) {
        for Entry { key: place, value } in &self.entries {
            let key = place.load(Relaxed);
            if key > RELEASED && !keep(key, value) {
                value.clear();
                // Unless another has released it, and a third has claimed it since.
                let _ = place.compare_exchange(key, RELEASED, Relaxed, Relaxed);
            }
        }
    }

    /// All entries, starting where this key is searched for first.
    fn from(&self, key: u64) -> impl Iterator<Item = &Entry<T>> {
        let start = key as usize % ENTRIES;
        self.entries[start..].iter().chain(&self.entries[..start])
    }
}

/// The key of a name, never one of the two that mean a free entry.
pub(super) fn key(name: impl Hash) -> u64 {
    // The fastest hash: each run of a check computes three. No outsider chooses the names, so collisions cannot be
    // forced.
    let mut hasher = FxHasher::default();
    name.hash(&mut hasher);
    hasher.finish().max(RELEASED + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    type Eight = Table<AtomicU64, 8>;

    #[test]
    fn what_is_claimed_is_found_until_there_is_no_room() {
        let table = Eight::new_zeroed();
        let names: Vec<_> = (0..8).map(|n| format!("check-{n}")).collect();
        for (name, n) in names.iter().zip(1..) {
            assert!(table.find(key(name)).is_none());
            table.claim(key(name)).expect("there is room").store(n, Relaxed);
        }
        for (name, n) in names.iter().zip(1..) {
            assert_eq!(table.find(key(name)).map(|value| value.load(Relaxed)), Some(n));
            assert_eq!(table.claim(key(name)).map(|value| value.load(Relaxed)), Some(n));
        }
        assert!(table.claim(key("one more")).is_none() && table.find(key("one more")).is_none());
    }

    #[test]
    fn what_is_released_makes_room_and_hides_nothing() {
        let table = Eight::new_zeroed();
        let claim = |key: u64| table.claim(key).expect("there is room").store(key, Relaxed);
        let there = |key: u64| table.find(key).map(|value| value.load(Relaxed));
        // All of them are searched for at the same entry first.
        let keys: Vec<u64> = (1..=8).map(|n| n * 8).collect();
        keys.iter().copied().for_each(claim);
        table.retain(|key, _| key % 16 == 0);
        for &key in &keys {
            assert_eq!(there(key), Some(key).filter(|key| key % 16 == 0));
        }
        for key in (9..=12).map(|n| n * 8) {
            assert_eq!(table.claim(key).map(|value| value.load(Relaxed)), Some(0), "as good as new");
        }
        assert!(table.claim(104).is_none());
        assert_eq!(there(64), Some(64));
    }
}
