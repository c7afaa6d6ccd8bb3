//! A hash table in shared memory: it only ever grows, and what is in it never moves.

use std::hash::{Hash, Hasher};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustc_hash::FxHasher;

/// Values by the hash of a name, with open addressing. All zeroes is an empty one.
#[repr(C)]
pub(super) struct Table<T, const ENTRIES: usize> {
    entries: [Entry<T>; ENTRIES],
}

#[repr(C)]
struct Entry<T> {
    /// The hash of the name, never 0; 0 where there is none yet.
    key: AtomicU64,
    value: T,
}

impl<T, const ENTRIES: usize> Table<T, ENTRIES> {
    /// The value of that key, if it has been claimed.
    pub(super) fn find(&self, key: u64) -> Option<&T> {
        let there = self.from(key).map(|entry| (entry, entry.key.load(Relaxed)));
        there.take_while(|&(_, there)| there != 0).find(|&(_, there)| there == key).map(|(entry, _)| &entry.value)
    }

    /// The value of that key, all zeroes if it is new; `None` when there is no room for another.
    pub(super) fn claim(&self, key: u64) -> Option<&T> {
        let is_ours = |entry: &&Entry<T>| match entry.key.load(Relaxed) {
            0 => entry.key.compare_exchange(0, key, Relaxed, Relaxed).map_or_else(|there| there == key, |_| true),
            there => there == key,
        };
        self.from(key).find(is_ours).map(|entry| &entry.value)
    }

    /// The values of all keys that there could be.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.value)
    }

    /// All entries, from where that key is looked for first.
    fn from(&self, key: u64) -> impl Iterator<Item = &Entry<T>> {
        let start = key as usize % ENTRIES;
        self.entries[start..].iter().chain(&self.entries[..start])
    }
}

/// What a name goes by in a table, never 0.
pub(crate) fn key(name: &str) -> u64 {
    // The quickest: three of these are in every run of a check. Nobody from outside can choose the names.
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
