//! A hash table in shared memory: it only grows, and its entries never move.

use std::hash::{Hash, Hasher};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustc_hash::FxHasher;

/// Values under the hash of a name, with open addressing. All zeroes are an empty table.
#[repr(C)]
pub(super) struct Table<T, const ENTRIES: usize> {
    entries: [Entry<T>; ENTRIES],
}

#[repr(C)]
struct Entry<T> {
    /// The hash of the name, never 0; 0 while the entry is free.
    key: AtomicU64,
    value: T,
}

impl<T, const ENTRIES: usize> Table<T, ENTRIES> {
    /// The value under this key, if it was claimed.
    pub(super) fn find(&self, key: u64) -> Option<&T> {
        let there = self.from(key).map(|entry| (entry, entry.key.load(Relaxed)));
        there.take_while(|&(_, there)| there != 0).find(|&(_, there)| there == key).map(|(entry, _)| &entry.value)
    }

    /// The value under this key, all zeroes if it is new; `None` when the table is full.
    pub(super) fn claim(&self, key: u64) -> Option<&T> {
        let is_ours = |entry: &&Entry<T>| match entry.key.load(Relaxed) {
            0 => entry.key.compare_exchange(0, key, Relaxed, Relaxed).map_or_else(|there| there == key, |_| true),
            there => there == key,
        };
        self.from(key).find(is_ours).map(|entry| &entry.value)
    }

    /// All values, including those without a key.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.value)
    }

    /// All entries, starting where this key is searched for first.
    fn from(&self, key: u64) -> impl Iterator<Item = &Entry<T>> {
        let start = key as usize % ENTRIES;
        self.entries[start..].iter().chain(&self.entries[..start])
    }
}

/// The key of a name, never 0.
pub(crate) fn key(name: &str) -> u64 {
    // The fastest hash: each run of a check computes three. No outsider chooses the names, so collisions cannot be
    // forced.
    let mut hasher = FxHasher::default();
    name.hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_is_found_until_there_is_no_room() {
        let entries = [const { Entry { key: AtomicU64::new(0), value: AtomicU64::new(0) } }; 8];
        let table = Table { entries };
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
}
