//! What names collect, and the files that it came from, which are reread when they have changed.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::{Collected, Collector, Suite};
use crate::error::Error;
use crate::model::check::{Check, Finding};
use crate::model::drills::Drills;
use crate::os::stamp::Stamp;
use crate::python::Python;
use crate::state::{self, KnownDrills, Silences, StateDir};

/// The check that is an error while some silences cannot be read.
const SILENCES: &str = "hospital.silences";

/// What checks are collected in, besides the names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// The checks that the program adds to those that are registered.
    pub(crate) own: Vec<Check>,
    /// Variables that programs will get besides those of this process.
    pub(crate) environment: Vec<(String, String)>,
    /// Where beats are found, and silences.
    pub(crate) state: Option<StateDir>,
    /// What runs tests in Python.
    pub(crate) python: Python,
}

/// Names, what they collect, and the state of the files that were read.
#[derive(Clone, Debug)]
pub struct Sources {
    surroundings: Surroundings,
    names: Vec<String>,
    origin: String,
    /// Without silences.
    collected: Suite,
    silences: Option<Silences>,
    drills: KnownDrills,
    suite: Suite,
    stamps: Vec<Stamp>,
    notes: Vec<String>,
    /// Whether a warning of any check makes its report fail.
    is_strict: bool,
}

impl Sources {
    /// Collects what the names select, as [`super::collect`] does.
    ///
    /// # Errors
    ///
    /// Those of [`super::collect`].
    pub fn read<S: AsRef<str>>(names: &[S], origin: &str) -> Result<Sources, Error> {
        let names = names.iter().map(|name| name.as_ref().to_owned()).collect();
        Sources::read_in(Surroundings::default(), names, origin)
    }

    /// The same in these surroundings.
    pub(crate) fn read_in(surroundings: Surroundings, names: Vec<String>, origin: &str) -> Result<Sources, Error> {
        let Collected { suite, stamps, notes } = Collector::read(&surroundings, &names, origin);
        let (collected, silences) = (suite?, surroundings.state.clone().map(Silences::of));
        let (suite, origin, is_strict) = (collected.clone(), origin.to_owned(), false);
        let drills = KnownDrills::default();
        let mut sources =
            Sources { surroundings, names, origin, collected, silences, drills, suite, stamps, notes, is_strict };
        sources.look_at_silences(false);
        sources.look_at_drills();
        Ok(sources)
    }

    /// The same checks, of which a warning makes a report fail.
    pub fn strict(self) -> Sources {
        Sources { collected: self.collected.strict(), suite: self.suite.strict(), is_strict: true, ..self }
    }

    /// The collected suite.
    pub fn suite(&self) -> &Suite {
        &self.suite
    }

    /// The Python whose tests are among them.
    pub(crate) fn python(&self) -> &Python {
        &self.surroundings.python
    }

    /// A line for each file of a folder that was left out, and for each thing that looks like a mistake.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether there are checks that start programs, or can be once their files have changed.
    pub(crate) fn may_start_programs(&self) -> bool {
        !self.stamps.is_empty() || self.suite.checks().iter().any(|check| check.code.may_start_programs())
    }

    /// Whether a file or folder looks different from when it was read, or may do so unseen. Costs one system call for each, and nothing if
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
            stamp.hash(&mut hasher);
        }
        if let Some(silences) = &self.silences {
            silences.hash(&mut hasher);
        }
        Some(hasher.finish())
    }

    /// Whether something in it is for sure not what was read.
    fn differs(&self) -> bool {
        self.stamps.iter().any(Stamp::differs)
    }

    /// Whether there is a file or folder to look at.
    pub(super) fn names_files(&self) -> bool {
        !self.stamps.is_empty() || self.silences.is_some()
    }

    /// Looks at the files, and reads everything again if one has changed.
    pub(crate) fn refresh_if_changed(&mut self) {
        self.look_at_drills();
        if self.changed() {
            // What is read again only because it was so new at the start has not changed.
            if self.differs() {
                tracing::info!("the files of healthchecks have changed: reading them again");
            }
            self.refresh();
        } else {
            self.look_at_silences(false);
        }
    }

    /// Reads everything again. If something in it is wrong now, the last good suite stays, with one more check that is
    /// an error and reports what is wrong.
    pub fn refresh(&mut self) {
        let Collected { suite, stamps, notes } = Collector::read(&self.surroundings, &self.names, &self.origin);
        self.stamps = stamps;
        let before = std::mem::replace(&mut self.notes, notes);
        for note in self.notes.iter().filter(|note| !before.contains(note)) {
            tracing::warn!("{note}");
        }
        self.collected = match suite {
            Ok(suite) if self.is_strict => suite.strict(),
            Ok(suite) => suite,
            Err(error) => {
                tracing::error!("the last change of the healthchecks is not in use: {error}");
                with_error(&self.collected, format!("the last change is not in use: {error}"))
            }
        };
        self.suite = self.collected.clone();
        self.look_at_silences(true);
    }

    /// Looks which silences are in force.
    fn look_at_silences(&mut self, is_new: bool) {
        let Some(silences) = &mut self.silences else { return };
        if silences.look(&state::now()) || is_new {
            let suite = self.collected.silenced(silences.in_force());
            self.suite = match silences.problem() {
                None => suite,
                Some(why) => with_check(&suite, SILENCES, "All silences are known", why.to_owned()),
            };
        }
    }

    fn look_at_drills(&mut self) {
        if let Some(state) = &self.surroundings.state {
            self.drills.look(state);
        }
    }

    /// Where beats are found, silences, and drills.
    pub(crate) fn state(&self) -> Option<&StateDir> {
        self.surroundings.state.as_ref()
    }

    /// What is known of drills.
    pub(crate) fn drills(&self) -> Arc<Drills> {
        self.drills.drills()
    }

    /// A line for each silence that is in force.
    pub(crate) fn silences(&self) -> Arc<[String]> {
        let in_force = self.silences.as_ref().map_or(&[][..], Silences::in_force);
        in_force.iter().map(|silence| format!("{}: {silence}", silence.covered)).collect()
    }
}

impl From<Suite> for Sources {
    /// Checks that no file can change.
    fn from(suite: Suite) -> Sources {
        Sources {
            surroundings: Surroundings::default(),
            names: Vec::new(),
            origin: String::new(),
            collected: suite.clone(),
            silences: None,
            drills: KnownDrills::default(),
            suite,
            stamps: Vec::new(),
            notes: Vec::new(),
            is_strict: false,
        }
    }
}

/// The same checks and one that is an error: what is wrong with their files.
pub(super) fn with_error(suite: &Suite, why: String) -> Suite {
    with_check(suite, "hospital.sources", "The files of healthchecks can be used", why)
}

fn with_check(suite: &Suite, id: &str, title: &str, why: String) -> Suite {
    let check = Check::new(id, move |_| Finding::error(why.clone()));
    // Whatever is asked for by a tag might be in what we cannot see.
    let tags = suite.checks().iter().flat_map(|check| &check.tags).cloned().collect::<BTreeSet<_>>();
    let check = Arc::new(check.title(title).tags(tags).in_place());
    let good = suite.checks().iter().filter(|good| good.id != check.id).cloned();
    good.chain([check.clone()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, Instant};

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
    fn a_file_of_a_folder_that_a_full_disk_has_emptied_keeps_its_checks_and_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("b.toml");
        write(&folder.path().join("a.toml"), "one");
        write(&path, "two");
        let mut sources = settled(folder.path());
        for (text, there) in [
            ("", &["one", "two", "hospital.sources"][..]),
            (" \n", &["one", "two", "hospital.sources"]),
            ("[[check]]\nname = 'two'\nuse = 'tcp:", &["one", "two", "hospital.sources"]),
            ("# There is nothing to check.\n", &["one"]),
        ] {
            fs::write(&path, text).expect("the folder is ours");
            sources.refresh();
            assert_eq!(ids(&sources), there, "{text:?}");
        }
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
