//! What names collect, and the files that it came from, which are reread when they have changed.

use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Collector, Suite};
use crate::error::Error;
use crate::model::check::{Check, Finding};

/// Two changes within the granularity of a file's time may look like one; this far apart they do not.
const GRANULARITY: Duration = Duration::from_millis(50);

/// Names, what they collect, and the state of the files that were read.
#[derive(Clone, Debug)]
pub struct Sources {
    names: Vec<String>,
    origin: String,
    suite: Suite,
    stamps: Vec<Stamp>,
}

impl Sources {
    /// Collects what the names select, as [`super::collect`] does.
    ///
    /// # Errors
    ///
    /// Those of [`super::collect`].
    pub fn read<S: AsRef<str>>(names: &[S], origin: &str) -> Result<Sources, Error> {
        let names: Vec<String> = names.iter().map(|name| name.as_ref().to_owned()).collect();
        let (stamps, suite) = Collector::read(&names, origin);
        Ok(Sources { names, origin: origin.to_owned(), suite: suite?, stamps })
    }

    /// The collected suite.
    pub fn suite(&self) -> &Suite {
        &self.suite
    }

    /// Whether there are checks that start programs, or can be once their files have changed.
    pub(crate) fn may_start_programs(&self) -> bool {
        !self.stamps.is_empty() || self.suite.checks().iter().any(|check| check.kind == "exec")
    }

    /// Whether a file or folder looks different from when it was read. Costs one system call for each, and nothing if
    /// no name is a path.
    pub fn changed(&self) -> bool {
        self.stamps.iter().any(Stamp::is_stale)
    }

    /// A number for the state of the files that were read, which is the same in every process that has read the same
    /// state. `None` while they have changed so recently that they may change again and look the same.
    pub fn edition(&self) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        for stamp in &self.stamps {
            if stamp.is_too_fresh() {
                return None;
            }
            (&stamp.path, stamp.look).hash(&mut hasher);
        }
        Some(hasher.finish())
    }

    /// Reads everything again. If something in it is wrong now, the last good suite stays, with one more check that is
    /// an error and reports what is wrong.
    pub fn refresh(&mut self) {
        let (stamps, suite) = Collector::read(&self.names, &self.origin);
        self.stamps = stamps;
        self.suite = match suite {
            Ok(suite) => suite,
            Err(error) => {
                tracing::error!("the last change of the healthchecks is not in use: {error}");
                let warning = Arc::new(complaint(&error));
                let good = self.suite.checks().iter().filter(|check| check.id != warning.id).cloned();
                good.chain([warning.clone()]).collect()
            }
        };
    }
}

/// The check that reports a change that cannot be used.
fn complaint(error: &Error) -> Check {
    let context = format!("the last change is not in use: {error}");
    Check {
        title: "The files of healthchecks can be used".to_owned(),
        blocking: false,
        ..Check::new("hospital.sources", move |_| Finding::error(context.clone()))
    }
}

/// The state of a file or folder before it was read.
#[derive(Clone, Debug)]
pub(super) struct Stamp {
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
    pub(super) fn take(path: &Path) -> (Stamp, io::Result<Metadata>) {
        let taken = SystemTime::now();
        let metadata = fs::metadata(path);
        let look = metadata.as_ref().ok().map(Look::of);
        (Stamp { path: path.to_owned(), look, taken }, metadata)
    }

    fn is_stale(&self) -> bool {
        match fs::metadata(&self.path) {
            Ok(metadata) => self.look != Some(Look::of(&metadata)) || self.is_too_fresh(),
            Err(_) => self.look.is_some(),
        }
    }

    /// Whether it had changed so recently that a second change would look the same.
    fn is_too_fresh(&self) -> bool {
        let Some(Look { changed: (seconds, nanos), .. }) = self.look else { return false };
        let changed = Duration::new(seconds.max(0) as u64, nanos as u32);
        let taken = self.taken.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        taken.checked_sub(changed).is_some_and(|age| age < GRANULARITY)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn contexts(sources: &Sources) -> Vec<(String, Option<String>)> {
        let deadline = crate::model::check::Deadline::at(Instant::now());
        let inline = sources.suite().checks().iter().filter(|check| !check.blocking);
        inline.map(|check| (check.id.clone(), check.run(deadline).context)).collect()
    }

    fn ids(sources: &Sources) -> Vec<&str> {
        sources.suite().checks().iter().map(|check| check.id.as_str()).collect()
    }

    fn write(path: &Path, name: &str) {
        fs::write(path, format!("[[check]]\nname = '{name}'\nuse = 'tcp://db:1'\n")).expect("the folder is ours");
    }

    fn read(folder: &Path) -> Sources {
        Sources::read(&[folder.to_str().expect("a plain path")], "HEALTHCHECKS").expect("it is good")
    }

    /// Rereads until the files are old enough for any change to show in their times.
    fn settled(folder: &Path) -> Sources {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut sources = read(folder);
        while sources.changed() {
            assert!(Instant::now() < deadline, "nothing changes any more, and it never settles");
            sources.refresh();
        }
        sources
    }

    #[test]
    fn a_change_is_seen_and_taken_in() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        write(&folder.path().join("a.toml"), "one");
        let mut sources = settled(folder.path());

        let before = sources.edition();
        assert!(before.is_some() && before == settled(folder.path()).edition(), "others have the same");
        write(&folder.path().join("a.toml"), "two");
        assert!(sources.changed());
        sources.refresh();
        assert_eq!(ids(&sources), ["two"]);
        assert_ne!(sources.edition(), before);

        write(&folder.path().join("b.toml"), "new");
        assert!(sources.changed());
        sources.refresh();
        assert_eq!(ids(&sources), ["two", "new"]);

        fs::remove_file(folder.path().join("a.toml")).expect("the folder is ours");
        assert!(sources.changed());
        sources.refresh();
        assert_eq!(ids(&sources), ["new"]);
    }

    #[test]
    fn a_second_change_within_the_same_tick_is_seen() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        write(&folder.path().join("a.toml"), "one");
        let sources = read(folder.path());
        write(&folder.path().join("a.toml"), "two");
        assert!(sources.changed(), "it has the same size and maybe the same time");
        assert_eq!(sources.edition(), None);
    }

    #[test]
    fn a_broken_change_keeps_the_old_checks_and_is_an_error_until_it_is_mended() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("a.toml");
        write(&path, "one");
        let mut sources = settled(folder.path());
        for _ in 0..2 {
            fs::write(&path, "[[check]]\nuse = 'tpc://db:1'\n").expect("the folder is ours");
            sources.refresh();
            assert_eq!(ids(&sources), ["one", "hospital.sources"]);
        }
        let [(_, Some(context))] = &contexts(&sources)[..] else { panic!("the error says why") };
        let expected = format!("the last change is not in use: {}:2:7: there is no kind", path.display());
        assert!(context.starts_with(&expected), "{context}");

        write(&path, "mended");
        sources.refresh();
        assert_eq!(ids(&sources), ["mended"]);
    }

    #[test]
    fn a_file_that_goes_away_and_comes_back_is_followed() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("a.toml");
        write(&path, "one");
        let mut sources = settled(&path);
        fs::remove_file(&path).expect("the folder is ours");
        assert!(sources.changed());
        sources.refresh();
        assert_eq!(ids(&sources), ["one", "hospital.sources"]);
        assert!(!sources.changed());
        write(&path, "again");
        assert!(sources.changed());
        sources.refresh();
        assert_eq!(ids(&sources), ["again"]);
    }

    #[test]
    fn without_files_nothing_changes() {
        let sources = Sources::read(&["hospital"], "HEALTHCHECKS").expect("it is registered");
        assert!(!sources.changed());
    }
}
