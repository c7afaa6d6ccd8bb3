//! Text in shared memory that is valid only if a single writer has written all of it.
//!
//! A writer may be killed halfway, or two may write at once: there are no locks and no waiting. The text has a seal,
//! the hash of its words. Text that is unfinished, or mixed from two writers, does not fit its seal, and counts as none
//! until the next write.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// The longest text, in bytes.
pub(super) const ROOM: usize = 1016;

/// How often to try to write or read while others write.
const TRIES: usize = 8;

/// All zeroes are a value without text.
#[repr(C)]
pub(super) struct Sealed {
    seal: AtomicU64,
    /// The number of bytes, then the bytes.
    words: [AtomicU64; 1 + ROOM / 8],
}

impl Sealed {
    /// Replaces the text, by at most [`ROOM`] bytes. A shorter text is written faster.
    pub(super) fn write(&self, text: &str) {
        let words: Vec<u64> = [text.len() as u64].into_iter().chain(text.as_bytes().chunks(8).map(word)).collect();
        for _ in 0..TRIES {
            self.words.iter().zip(&words).for_each(|(place, word)| place.store(*word, Relaxed));
            self.seal.store(seal(&words), Relaxed);
            // The last of several writers finds their words mixed with its own, and writes again.
            if self.words().is_some_and(|there| there == words) {
                return;
            }
        }
    }

    /// The text, if there is one.
    pub(super) fn read(&self) -> Option<String> {
        let words = (0..TRIES).find_map(|_| self.words())?;
        let (length, words) = words.split_first()?;
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.truncate(usize::try_from(*length).ok()?);
        String::from_utf8(bytes).ok()
    }

    /// The words, if they fit the seal.
    fn words(&self) -> Option<Vec<u64>> {
        let length = usize::try_from(self.words[0].load(Relaxed)).ok()?;
        let words = self.words.get(..=length.div_ceil(8))?;
        let words: Vec<u64> = words.iter().map(|word| word.load(Relaxed)).collect();
        (self.seal.load(Relaxed) == seal(&words)).then_some(words)
    }
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}

/// Never 0, the seal of fresh memory.
fn seal(words: &[u64]) -> u64 {
    let mut hasher = DefaultHasher::new();
    words.hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    fn fresh() -> Sealed {
        Sealed { seal: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; 1 + ROOM / 8] }
    }

    #[test]
    fn fresh_memory_bears_no_text() {
        assert_eq!(fresh().read(), None);
    }

    #[test]
    fn what_was_begun_and_not_finished_is_not_believed() {
        let text = |byte: &str| byte.repeat(100);
        // A writer that is killed before it reaches the seal has stored this many words.
        for stored in 1..=13 {
            let sealed = fresh();
            sealed.write(&text("a"));
            let killed = text("b");
            let words = [100].into_iter().chain(killed.as_bytes().chunks(8).map(word));
            sealed.words.iter().zip(words).take(stored + 1).for_each(|(place, word)| place.store(word, Relaxed));
            assert_eq!(sealed.read(), None, "{stored} words");
            sealed.write("the next one");
            assert_eq!(sealed.read().as_deref(), Some("the next one"));
        }
    }

    #[test]
    fn texts_that_are_written_at_once_are_never_mixed() {
        let (sealed, done) = (Arc::new(fresh()), Arc::new(AtomicBool::new(false)));
        let is_whole = |text: &str| text.len() > 100 && text.bytes().all(|byte| byte == text.as_bytes()[0]);
        let writers: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|letter| {
                let (sealed, text) =
                    (sealed.clone(), letter.repeat(101 + 200 * usize::from(letter.as_bytes()[0] - b'a')));
                thread::spawn(move || (0..20_000).for_each(|_| sealed.write(&text)))
            })
            .collect();
        let reader = {
            let (sealed, done) = (sealed.clone(), done.clone());
            thread::spawn(move || {
                let mut seen = 0;
                while !done.load(Relaxed) {
                    if let Some(text) = sealed.read() {
                        assert!(is_whole(&text), "{text}");
                        seen += 1;
                    }
                }
                seen
            })
        };
        writers.into_iter().for_each(|writer| writer.join().expect("it only writes"));
        done.store(true, Relaxed);
        assert!(reader.join().expect("nothing was mixed") > 0);
        let text = sealed.read().expect("the last writer leaves a text");
        assert!(is_whole(&text), "{text}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(first in ".{0,300}", second in ".{0,300}") {
            let sealed = fresh();
            for text in [&first[..first.floor_char_boundary(ROOM)], &second[..second.floor_char_boundary(ROOM)]] {
                sealed.write(text);
                prop_assert_eq!(sealed.read(), Some(text.to_owned()));
            }
        }
    }
}
