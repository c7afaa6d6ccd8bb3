//! Silences, in a file of lines that `hospital silence` writes and the daemon watches.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use super::{PATIENCE, StateDir};
use crate::error::Error;
use crate::model::clocks::Clocks;
use crate::model::silence::Silence;
use crate::os::folder::Lock;

const FILE: &str = "silences";

/// What is locked while the file is replaced.
const FILE_LOCK: &str = "silences.lock";

/// The silences of a state dir, as they were when they were looked at.
#[derive(Clone, Debug)]
pub(crate) struct Silences {
    state: StateDir,
    content: Option<Vec<u8>>,
    all: Vec<Arc<Silence>>,
    in_force: Vec<Arc<Silence>>,
    problem: Option<String>,
}

impl Silences {
    /// Those of this state dir, of which none was looked at yet.
    pub(crate) fn of(state: StateDir) -> Silences {
        Silences { state, content: None, all: Vec::new(), in_force: Vec::new(), problem: None }
    }

    /// Looks at the file and the clocks. True if something is not as it was.
    pub(crate) fn look(&mut self, now: &Clocks) -> bool {
        let problem = match self.state.silences() {
            Ok(content) if self.content.as_ref() == Some(&content) => self.problem.clone(),
            Ok(content) => {
                let (all, problem) = parse(&content);
                self.all = all.into_iter().map(Arc::new).collect();
                self.content = Some(content);
                problem
            }
            Err(why) => {
                // What cannot be read silences nothing.
                (self.content, self.all) = (None, Vec::new());
                Some(why)
            }
        };
        let in_force: Vec<_> = self.all.iter().filter(|silence| silence.is_in_force(now)).cloned().collect();
        let is_same = in_force == self.in_force && problem == self.problem;
        (self.in_force, self.problem) = (in_force, problem);
        !is_same
    }

    /// Those that are in force.
    pub(crate) fn in_force(&self) -> &[Arc<Silence>] {
        &self.in_force
    }

    /// Tells one state of them from another: in every process alike.
    pub(crate) fn hash(&self, hasher: &mut impl Hasher) {
        (&self.content, self.in_force.len(), &self.problem).hash(hasher);
        self.in_force.iter().for_each(|silence| (silence.from.at, silence.until).hash(hasher));
    }

    /// Why some are not known.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}

/// The silences in a file, and what is wrong with its other lines.
fn parse(content: &[u8]) -> (Vec<Silence>, Option<String>) {
    let (mut silences, mut wrong) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(lines(content)) {
        match Silence::parse(&line) {
            Ok(silence) => silences.push(silence),
            Err(why) => wrong.push(format!("line {number}: {why}")),
        }
    }
    let first = wrong.first().map(|first| match wrong.len() {
        1 => first.clone(),
        number => format!("{first} (and {} more lines)", number - 1),
    });
    (silences, first)
}

fn lines(content: &[u8]) -> impl Iterator<Item = String> {
    String::from_utf8_lossy(content).lines().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

impl StateDir {
    /// What is in the file of silences; nothing if there is none.
    fn silences(&self) -> Result<Vec<u8>, String> {
        if !self.folder.stands_at(&self.path) {
            return Err(format!("{} is not the folder any more that it was at the start: reload", self.path.display()));
        }
        let unreadable = |error| format!("{} cannot be read: {error}", self.path.join(FILE).display());
        Ok(self.folder.read(FILE).map_err(unreadable)?.unwrap_or_default())
    }

    /// Changes the silences, and returns what `change` does. Those that have ended are forgotten; lines that cannot be read
    /// stay.
    ///
    /// # Errors
    ///
    /// Those of `change`, after which everything is as it was, and [`Error::Write`] when nothing can be written.
    pub(crate) fn change_silences<T>(
        &self,
        now: &Clocks,
        change: impl FnOnce(&mut Vec<Silence>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let lock = self.folder.lock(FILE_LOCK, Instant::now() + PATIENCE);
        match &lock {
            Lock::Held(_) => {}
            Lock::Taken => {
                return Err(Error::Write(format!(
                    "another process has held {} for {PATIENCE:?}: try again",
                    self.path.join(FILE_LOCK).display()
                )));
            }
            Lock::Impossible(error) if is_of_the_lock_alone(error) => {}
            Lock::Impossible(error) => return Err(self.unwritable(FILE, error)),
        }
        let content = self.silences().map_err(Error::Write)?;
        let (mut silences, _) = parse(&content);
        silences.retain(|silence| silence.is_in_force(now));
        let result = change(&mut silences)?;
        let bad = lines(&content).filter(|line| Silence::parse(line).is_err());
        let good = silences.iter().map(|silence| serde_json::to_string(silence).expect("it is plain"));
        let text: String = good.chain(bad).map(|line| line + "\n").collect();
        self.folder.replace(FILE, text.as_bytes(), 0o644).map_err(|error| self.unwritable(FILE, &error))?;
        Ok(result)
    }
}

/// Whether a file system has no locks, but can be written: two changes at once may then lose one of them.
fn is_of_the_lock_alone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, StorageFull};
    !matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | StorageFull)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::silence::Covered;
    use crate::model::silence::tests::silence;
    use std::fs;
    use std::time::Duration;

    fn keep(state: &StateDir, silence: &Silence) {
        let push = |all: &mut Vec<Silence>| {
            all.push(silence.clone());
            Ok(())
        };
        state.change_silences(&silence.from, push).expect("there is room");
    }

    #[test]
    fn what_is_written_is_seen_until_it_ends_and_bad_lines_are_told_and_kept() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let state = StateDir::open(folder.path()).expect("it is ours");
        let mut silences = Silences::of(state.clone());
        let made = silence(Covered::Check("db".to_owned()));
        let now = made.from.clone();
        assert!(!silences.look(&now));
        keep(&state, &made);
        assert!(silences.look(&now) && !silences.look(&now));
        assert_eq!(silences.in_force(), [Arc::new(made.clone())]);

        let file = folder.path().join(FILE);
        let text = fs::read_to_string(&file).expect("it is text");
        fs::write(&file, format!("rubbish\n{text}more\n")).expect("it is ours");
        assert!(silences.look(&now));
        assert!(
            silences.problem().is_some_and(|why| why.starts_with("line 1: ") && why.ends_with("(and 1 more lines)"))
        );
        assert_eq!(silences.in_force().len(), 1);
        assert!(!silences.look(&now), "a problem is the same until the file changes");

        let later = Clocks { at: made.until, up: now.up + Duration::from_secs(3600), ..now };
        assert!(silences.look(&later) && silences.in_force().is_empty());
        state.change_silences(&later, |_| Ok(())).expect("there is room");
        assert_eq!(fs::read_to_string(&file).expect("it is text"), "rubbish\nmore\n");
    }

    #[test]
    fn a_file_that_everybody_may_write_to_silences_nothing() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let state = StateDir::open(folder.path()).expect("it is ours");
        let made = silence(Covered::Check("db".to_owned()));
        keep(&state, &made);
        let mut silences = Silences::of(state);
        assert!(silences.look(&made.from) && silences.in_force().len() == 1);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(folder.path().join(FILE), open).expect("it is ours");
        assert!(silences.look(&made.from) && silences.in_force().is_empty());
        assert!(silences.problem().is_some_and(|why| why.contains("everybody may write to it (its mode is 666)")));
    }

    #[test]
    fn what_cannot_be_read_silences_nothing() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let state = StateDir::open(folder.path()).expect("it is ours");
        let made = silence(Covered::Check("db".to_owned()));
        keep(&state, &made);
        let mut silences = Silences::of(state);
        assert!(silences.look(&made.from));
        fs::remove_file(folder.path().join(FILE))
            .and_then(|()| fs::create_dir(folder.path().join(FILE)))
            .expect("ours");
        assert!(silences.look(&made.from) && silences.in_force().is_empty());
        assert!(silences.problem().is_some_and(|why| why.contains("cannot be read")));
    }
}
