//! Beats: what jobs have last said of themselves, one file each.
//!
//! A file has two slots of a block each, and a beat is written into the one that is older or damaged. So a crash in the
//! middle leaves the beat before, and a full disk is no obstacle once the file is there: a file system that does not copy
//! what it overwrites needs no more room.
//!
//! Whoever may write to the file may beat: its owner, by whom and for whom it was made, and root.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{PATIENCE, StateDir};
use crate::error::Error;
use crate::model::clocks::Clocks;
use crate::os::folder::{self, Lock};
use crate::os::identity;

/// The folder of beats.
const BEATS: &str = "beats";

/// The size of a slot.
const SLOT: usize = 4096;

/// The longest reason that is kept, in bytes.
const LONGEST: usize = 1024;

/// What a job has said of itself.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Beat {
    pub(crate) when: Clocks,
    /// Who beat.
    pub(crate) by: String,
    /// Why it is not well, unless it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fail: Option<String>,
    /// How the program ended that was run for it, and how long that took, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<f64>,
}

/// A beat with its number.
#[derive(Debug, Deserialize, Serialize)]
struct Numbered {
    number: u64,
    beat: Beat,
}

/// Whether a beat can have this name.
pub(crate) fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=100).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_plain)
}

impl StateDir {
    /// The last beat of this name; `None` if there never was one.
    ///
    /// # Errors
    ///
    /// Why that cannot be told.
    pub(crate) fn beat(&self, name: &str) -> Result<Option<Beat>, String> {
        let path = self.path.join(BEATS).join(name);
        let unreadable = |error: io::Error| format!("{} cannot be read: {error}", path.display());
        if !self.folder.stands_at(&self.path) {
            return Err(format!("{} is not the folder any more that it was at the start: reload", self.path.display()));
        }
        let opened = self.folder.folder(BEATS).and_then(|beats| beats.open_file(name));
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(unreadable)?,
        };
        let mode = file.metadata().map_err(unreadable)?.mode();
        if mode & 0o002 != 0 {
            let mode = mode & 0o7777;
            return Err(format!("everybody may write to {} (its mode is {mode:o}): `chmod o-w` it", path.display()));
        }
        // Whoever writes holds the lock; the other slot is whole meanwhile.
        match slots(&file).map_err(unreadable)? {
            Slots::Empty => Ok(None),
            Slots::Damaged => Err(format!("{} is damaged: the next beat mends it", path.display())),
            Slots::Last { numbered, .. } => Ok(Some(numbered.beat)),
        }
    }

    /// Keeps a beat, in place of the one before.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] when it cannot be kept; then the one before is still there.
    pub(crate) fn keep_beat(&self, name: &str, beat: &Beat) -> Result<(), Error> {
        let place = format!("{BEATS}/{name}");
        let refuse = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => Error::Write(format!(
                "cannot write {0}: {error}: do it as the user who may, or let root give it to you, as in `install -o {1} \
                 -m 644 /dev/null {0}`",
                self.path.join(&place).display(),
                identity::own_name()
            )),
            _ => self.unwritable(&place, &error),
        };
        let file = self.folder.make(BEATS, 0o755).and_then(|beats| beats.open_or_make(name, 0o644)).map_err(refuse)?;
        // Where there are no locks, two at once may lose one of their beats, but not the one before.
        let lock = folder::lock(file.try_clone().map_err(refuse)?, Instant::now() + PATIENCE);
        if matches!(lock, Lock::Taken) {
            return Err(refuse(io::Error::other("another process does not finish writing it")));
        }
        write(&file, beat).map_err(refuse)
    }
}

/// What is in a file of beats.
enum Slots {
    Empty,
    Damaged,
    Last { slot: usize, numbered: Numbered },
}

fn slots(file: &File) -> io::Result<Slots> {
    let read = |slot: usize| -> io::Result<Option<Numbered>> {
        let mut bytes = [0; SLOT];
        let length = file.read_at(&mut bytes, (slot * SLOT) as u64)?;
        Ok(parse(&bytes[..length]))
    };
    let found: Vec<_> = [(0, read(0)?), (1, read(1)?)].into_iter().filter_map(|(slot, it)| Some((slot, it?))).collect();
    let last = found.into_iter().max_by_key(|(_, numbered)| numbered.number);
    Ok(match last {
        Some((slot, numbered)) => Slots::Last { slot, numbered },
        None if file.metadata()?.len() == 0 => Slots::Empty,
        None => Slots::Damaged,
    })
}

/// A line, and its hash in another.
fn parse(slot: &[u8]) -> Option<Numbered> {
    let mut lines = str::from_utf8(slot).ok()?.lines();
    let (text, hash) = (lines.next()?, lines.next()?);
    (hash == hashed(text)).then(|| serde_json::from_str(text).ok()).flatten()
}

fn hashed(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write(file: &File, beat: &Beat) -> io::Result<()> {
    let (slot, number) = match slots(file)? {
        Slots::Empty | Slots::Damaged => (0, 1),
        Slots::Last { slot, numbered } => (1 - slot, numbered.number.saturating_add(1)),
    };
    let mut beat = beat.clone();
    if let Some(why) = &mut beat.fail {
        why.truncate(why.floor_char_boundary(LONGEST));
    }
    let text = serde_json::to_string(&Numbered { number, beat }).map_err(io::Error::other)?;
    let mut bytes = format!("{text}\n{}\n", hashed(&text)).into_bytes();
    if bytes.len() > SLOT {
        return Err(io::Error::other("it says too much"));
    }
    // Filled up, so that the block is there from the first time on.
    bytes.resize(SLOT, b'\n');
    let is_new = file.metadata()?.len() < 2 * SLOT as u64;
    let written = || {
        if is_new {
            file.write_all_at(&[b'\n'; SLOT], ((1 - slot) * SLOT) as u64)?;
        }
        file.write_all_at(&bytes, (slot * SLOT) as u64)?;
        file.sync_all()
    };
    written().inspect_err(|_| {
        if is_new {
            // What was begun is no beat.
            let _ = file.set_len(0);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn beat(second: u64) -> Beat {
        let when = Clocks { at: UNIX_EPOCH + Duration::from_secs(second), boot: "a".to_owned(), up: Duration::ZERO };
        Beat { when, by: "root".to_owned(), fail: None, code: Some(0), seconds: Some(1.5) }
    }

    fn last(file: &File) -> Option<Beat> {
        match slots(file).expect("it can be read") {
            Slots::Last { numbered, .. } => Some(numbered.beat),
            Slots::Empty | Slots::Damaged => None,
        }
    }

    #[test]
    fn a_crash_anywhere_in_a_write_leaves_this_beat_or_the_one_before() {
        let file = tempfile::tempfile().expect("there is room");
        assert_eq!(last(&file), None);
        write(&file, &beat(1)).expect("there is room");
        write(&file, &beat(2)).expect("there is room");
        write(&file, &beat(3)).expect("there is room");
        assert_eq!(last(&file), Some(beat(3)));
        let mut before = [0; 2 * SLOT];
        file.read_exact_at(&mut before, 0).expect("it is that long");
        write(&file, &beat(4)).expect("there is room");
        let mut after = [0; 2 * SLOT];
        file.read_exact_at(&mut after, 0).expect("it is that long");
        for length in 0..=SLOT {
            // So much of the second slot was written.
            let torn = [&before[..SLOT], &after[SLOT..SLOT + length], &before[SLOT + length..]].concat();
            file.write_all_at(&torn, 0).expect("there is room");
            let found = last(&file).expect("one of them is whole");
            assert!(found == beat(3) || found == beat(4), "{length}: {found:?}");
        }
    }

    #[test]
    fn what_is_damaged_is_neither_a_beat_nor_none_and_is_mended_by_the_next() {
        let file = tempfile::tempfile().expect("there is room");
        write(&file, &beat(1)).expect("there is room");
        file.write_all_at(b"x", 20).expect("there is room");
        assert!(matches!(slots(&file), Ok(Slots::Damaged)));
        write(&file, &beat(2)).expect("there is room");
        assert_eq!(last(&file), Some(beat(2)));
    }

    #[test]
    fn a_name_is_that_of_a_file_in_the_folder_and_of_no_other() {
        for name in ["backup", "a.b-c_D9"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", ".x", "a/b", "a b", "ä", "a\n", &"x".repeat(101)] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
