//! Bytes in shared memory that are valid only if a single writer has written all of them.
//!
//! A writer may be killed halfway, or two may write at once: there are no locks and no waiting. The bytes have a seal,
//! their hash. Bytes that are unfinished, or mixed from two writers, do not fit it, and count as none until the next
//! write.

use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use zerocopy::FromBytes;

use super::table::Clear;

/// How often to try to write or read while others write.
const TRIES: usize = 8;

/// Room for eight bytes a word. All zeroes hold nothing.
#[derive(Debug, FromBytes)]
#[repr(C)]
pub(super) struct Sealed<const WORDS: usize> {
    /// 0 while the bytes are being written.
    seal: AtomicU64,
    length: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Sealed<WORDS> {
    /// The most bytes.
    pub(super) const ROOM: usize = WORDS * 8;

    /// The seal; `None` while there are no bytes. Other bytes have another seal.
    pub(super) fn seal(&self) -> Option<u64> {
        Some(self.seal.load(Acquire)).filter(|&seal| seal != 0)
    }

    /// The bytes, if they fit their seal.
    pub(super) fn read(&self) -> Option<Vec<u8>> {
        let seal = self.seal()?;
        let length = usize::try_from(self.length.load(Relaxed)).ok().filter(|&length| length <= Self::ROOM)?;
        let words = &self.words[..length.div_ceil(8)];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
        bytes.truncate(length);
        (hash(&bytes) == seal).then_some(bytes)
    }

    /// Replaces the bytes, by at most [`Sealed::ROOM`], for a writer that nobody disturbs. Returns the seal.
    pub(super) fn write(&self, bytes: &[u8]) -> u64 {
        self.clear();
        self.fill(bytes);
        let seal = hash(bytes);
        self.seal.store(seal, SeqCst);
        seal
    }

    /// The same while others may write too: the last of them finds their words mixed with its own, and writes again.
    pub(super) fn write_among_others(&self, bytes: &[u8]) {
        for _ in 0..TRIES {
            self.write(bytes);
            if self.read().is_some_and(|there| there == bytes) {
                return;
            }
        }
    }

    /// The bytes, if others that are writing now let us see any.
    pub(super) fn read_among_others(&self) -> Option<Vec<u8>> {
        (0..TRIES).find_map(|_| self.read())
    }

    fn fill(&self, bytes: &[u8]) {
        self.length.store(bytes.len() as u64, Relaxed);
        for (word, bytes) in self.words.iter().zip(bytes.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(padded), Relaxed);
        }
    }
}

impl<const WORDS: usize> Clear for Sealed<WORDS> {
    fn clear(&self) {
        self.seal.store(0, SeqCst);
    }
}

/// Never 0, the seal of nothing.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use zerocopy::FromZeros;

    type Small = Sealed<64>;

    fn fresh() -> Small {
        Small::new_zeroed()
    }

    #[test]
    fn fresh_memory_holds_nothing() {
        assert_eq!((fresh().seal(), fresh().read()), (None, None));
    }

    #[test]
    fn who_writes_is_killed_or_stopped_anywhere_and_no_mixture_is_believed() {
        let (ours, theirs) = (vec![b'a'; 100], vec![b'b'; 80]);
        let sealed = fresh();
        for reached in 0..=ours.len() {
            sealed.clear();
            sealed.fill(&ours[..reached]);
            assert_eq!(sealed.read(), None, "killed after {reached} bytes");
            // Another one writes, and then the stopped one goes on.
            sealed.write(&theirs);
            for (word, bytes) in sealed.words.iter().zip(ours.chunks_exact(8)).skip(reached / 8) {
                word.store(u64::from_ne_bytes(bytes.try_into().expect("eight bytes")), Relaxed);
            }
            let untouched = reached / 8 * 8 >= theirs.len();
            assert_eq!(sealed.read(), untouched.then(|| theirs.clone()), "gone on after {reached} bytes");
            sealed.seal.store(hash(&ours), SeqCst);
            assert_eq!(sealed.read(), None, "sealed by the wrong one after {reached} bytes");
        }
    }

    #[test]
    fn what_is_written_at_once_is_never_mixed() {
        let (sealed, done) = (Arc::new(fresh()), Arc::new(AtomicBool::new(false)));
        let is_whole = |bytes: &[u8]| bytes.len() > 100 && bytes.iter().all(|&byte| byte == bytes[0]);
        let write = |letter: u8| {
            let (sealed, bytes) = (sealed.clone(), vec![letter; 101 + 100 * usize::from(letter)]);
            thread::spawn(move || (0..20_000).for_each(|_| sealed.write_among_others(&bytes)))
        };
        let writers: Vec<_> = (0..3).map(write).collect();
        let reader = {
            let (sealed, done) = (sealed.clone(), done.clone());
            thread::spawn(move || {
                let mut seen = 0;
                while !done.load(Relaxed) {
                    if let Some(bytes) = sealed.read_among_others() {
                        assert!(is_whole(&bytes), "{bytes:?}");
                        seen += 1;
                    }
                }
                seen
            })
        };
        writers.into_iter().for_each(|writer| writer.join().expect("it only writes"));
        done.store(true, Relaxed);
        assert!(reader.join().expect("nothing was mixed") > 0);
        let bytes = sealed.read().expect("the last writer leaves its bytes");
        assert!(is_whole(&bytes), "{bytes:?}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            first in proptest::collection::vec(any::<u8>(), 0..=Small::ROOM),
            second in proptest::collection::vec(any::<u8>(), 0..=Small::ROOM),
        ) {
            let sealed = fresh();
            for bytes in [first, second] {
                prop_assert_eq!(Some(sealed.write(&bytes)), sealed.seal());
                prop_assert_eq!(sealed.read(), Some(bytes));
            }
        }

        #[test]
        fn one_wrong_bit_is_noticed(
            bytes in proptest::collection::vec(any::<u8>(), 8..100),
            bit in 0..64u32,
            at: proptest::sample::Index,
        ) {
            let sealed = fresh();
            sealed.write(&bytes);
            sealed.words[at.index(bytes.len() / 8)].fetch_xor(1 << bit, Relaxed);
            prop_assert_eq!(sealed.read(), None);
        }
    }
}
