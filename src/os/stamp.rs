//! What a file looked like before it was read, so that a change is noticed.

use std::fs::{self, Metadata};
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Two changes within the granularity of a file's time may look like one; this far apart they do not.
const GRANULARITY: Duration = Duration::from_millis(50);

/// The state of a file or folder before it was read.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    path: PathBuf,
    look: Option<Look>,
    taken: SystemTime,
}

/// What distinguishes one state of a file from another. A change of content, mode or owner changes ctime, and another
/// file in its place has another inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Look {
    device: u64,
    number: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// Looks at a path before it is read: a change during the reading is noticed afterwards.
    pub(crate) fn take(path: &Path) -> (Stamp, io::Result<Metadata>) {
        let taken = SystemTime::now();
        let metadata = fs::metadata(path);
        let look = metadata.as_ref().ok().map(Look::of);
        (Stamp { path: path.to_owned(), look, taken }, metadata)
    }

    /// Whether it looks different from when it was read, or may.
    pub(crate) fn is_stale(&self) -> bool {
        self.differs() || self.is_too_fresh()
    }

    /// Whether it looks different from when it was read.
    pub(crate) fn differs(&self) -> bool {
        match fs::metadata(&self.path) {
            Ok(metadata) => self.look != Some(Look::of(&metadata)),
            Err(_) => self.look.is_some(),
        }
    }

    /// Whether it had changed so recently that a second change would look the same.
    pub(crate) fn is_too_fresh(&self) -> bool {
        let Some(Look { changed: (seconds, nanos), .. }) = self.look else { return false };
        let changed = Duration::new(seconds.max(0) as u64, nanos as u32);
        let taken = self.taken.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        taken.checked_sub(changed).is_some_and(|age| age < GRANULARITY)
    }
}

impl Hash for Stamp {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (&self.path, self.look).hash(hasher);
    }
}

impl Look {
    fn of(metadata: &Metadata) -> Look {
        Look {
            device: metadata.dev(),
            number: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
