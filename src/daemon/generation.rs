//! What a generation of workers is made of.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checks::support::ownership;
use crate::collect::{Sources, Surroundings};
use crate::config::identity::identity;
use crate::config::{Configuration, Details, Settings};
use crate::daemon::shared::evidence::EvidenceTable;
use crate::daemon::shared::kept::Kept;
use crate::endpoint::{Disclosure, EndpointSettings};
use crate::error::Error;
use crate::model::speaker::Speaker;
use crate::os::filesystem::{enter, open_directory};
use crate::os::identity::{Identity, host_name};
use crate::python::Python;
use crate::round;
use crate::state::StateDir;

/// A configuration that was checked for everything that can be wrong with it, before it is used.
#[derive(Clone, Debug)]
pub(crate) struct GenerationConfig {
    pub(crate) configuration: Configuration,
    pub(crate) sources: Sources,
    pub(crate) identity: Identity,
    pub(crate) disclosure: Disclosure,
    /// How many checks a worker runs at once.
    pub(crate) jobs: usize,
    pub(crate) state: Option<StateDir>,
    /// Keeps other daemons out of it, while one generation that uses it is left.
    pub(crate) state_lock: Option<Arc<File>>,
    directory: Directory,
}

/// Where relative paths begin.
#[derive(Clone, Debug)]
enum Directory {
    /// Where the process was started.
    Start(PathBuf),
    /// The one that `--chdir` names, or its link led to when this generation was made.
    Chosen(Arc<File>),
}

impl GenerationConfig {
    /// Changes the directory, looks up the user, collects the checks and reads the token. `start` is the directory in
    /// which the process was started.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub(crate) fn make(mut configuration: Configuration, start: &Path) -> Result<GenerationConfig, Error> {
        let (user, group) = (&configuration.settings.process.user, &configuration.settings.process.group);
        let identity = identity(user.as_deref(), group.as_deref())?;
        // First, so that whoever sets them for the workers has the last word.
        configuration.environment.splice(0..0, identity.variables());
        let settings = &configuration.settings;
        let directory = match &settings.process.chdir {
            None => {
                let directory = Directory::Start(start.to_owned());
                // We are there already, unless a former generation had another one.
                let _ = directory.enter();
                directory
            }
            Some(path) => open_directory(&start.join(path))
                .map(|directory| Directory::Chosen(Arc::new(directory)))
                .and_then(|directory| directory.enter().map(|()| directory))
                .map_err(|error| Error::Usage(format!("--chdir {}: {error}", path.display())))?,
        };
        let flags = [("--user", &settings.process.user), ("--group", &settings.process.group)];
        let flags: Vec<_> =
            flags.iter().filter_map(|(flag, name)| Some(format!("{flag} {}", name.as_deref()?))).collect();
        let flags = flags.join(" ");
        let own = configuration.app.checks.clone();
        let python = configuration.python().map(|(path, origin)| {
            let environment = configuration.environment.clone();
            Python::found(&path, origin, environment, identity.clone(), &settings.process.name)
        });
        let python = python.unwrap_or_default().or_prepared(configuration.prepared.as_ref());
        // With the rights of those who will run them and read them again: what only root can read would be good here
        // and an error there.
        let (state, sources) = identity
            .act(|| {
                settings.answers.maintenance_file.as_deref().map_or(Ok(()), verify_maintenance_file)?;
                let state = settings.process.state_dir.as_deref().map(StateDir::open_own).transpose()?;
                let environment = configuration.environment.clone();
                let surroundings = Surroundings { own, environment, state: state.clone(), python: python.clone() };
                let sources = Sources::read_in(surroundings, configuration.names.clone(), configuration.origin)?;
                Ok((state, sources))
            })
            .map_err(|error| Error::Boot(format!("{flags}: {error}")))?
            .map_err(|error| match error {
                Error::Usage(text) if !flags.is_empty() => Error::Usage(format!("{text} (read as {flags})")),
                error => error,
            })?;
        let disclosure = disclosure(settings)?;
        let sources = as_strict(settings, sources)?;
        let jobs = round::affordable(settings.fleet.jobs.into(), settings.fleet.workers.into());
        let state_lock = None;
        Ok(GenerationConfig { configuration, sources, identity, disclosure, jobs, state, state_lock, directory })
    }

    /// Takes over what its state dir remembers of its checks, unless the memory knows more. What cannot be read is said, and
    /// is begun anew.
    pub(crate) fn remember(&self, kept: Kept) {
        let keys: HashSet<u64> =
            self.sources.suite().checks().iter().map(|check| EvidenceTable::key(&check.id)).collect();
        kept.evidence().make_room(|key| keys.contains(&key));
        let Some(state) = &self.state else { return };
        let read = || {
            let warn = |why: String| tracing::warn!("{why}: what it remembered is begun anew");
            match state.happenings() {
                Ok(all) => {
                    kept.events().fill(&all.into_iter().map(|it| it.moved(-kept.ahead())).collect::<Vec<_>>());
                }
                Err(why) => warn(why),
            }
            for check in self.sources.suite().checks() {
                let key = EvidenceTable::key(&check.id);
                if !kept.evidence().has(key) {
                    let record = state.record(&check.id).unwrap_or_else(|why| {
                        warn(why);
                        None
                    });
                    kept.evidence().fill(key, &record.unwrap_or_default().moved(-kept.ahead()));
                }
            }
        };
        if let Err(error) = self.identity.act(read) {
            tracing::warn!("what the state dir remembers cannot be read: {error}");
        }
    }

    /// Locks the state dir, if there is one, or shares the lock of one of these generations.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] when another daemon holds it.
    pub(crate) fn lock_state<'a>(&mut self, others: impl Iterator<Item = &'a GenerationConfig>) -> Result<(), Error> {
        let Some(state) = &self.state else { return Ok(()) };
        let shares = |other: &&GenerationConfig| other.state.as_ref().is_some_and(|other| other.is(state));
        let mut others = others.filter(shares);
        self.state_lock = match others.next() {
            Some(other) => other.state_lock.clone(),
            None => {
                // With the rights of the workers, so that the next daemon can lock it too.
                let locked = self.identity.act(|| state.lock());
                locked.map_err(|error| Error::Boot(format!("cannot lock the state dir: {error}")))??.map(Arc::new)
            }
        };
        Ok(())
    }

    /// Goes where the paths of this generation begin: a later one may have taken the process elsewhere.
    pub(crate) fn enter(&self) -> io::Result<()> {
        self.directory.enter()
    }

    /// Logs what is good and yet looks like a mistake.
    pub(crate) fn warn(&self) {
        self.configuration.warn_of_unheeded();
        if self.jobs < usize::from(self.configuration.settings.fleet.jobs) {
            let jobs = self.jobs;
            tracing::warn!("a worker runs at most {jobs} checks at once: pids.max of the control group allows no more");
        }
        for note in self.sources.notes() {
            tracing::warn!("{note}");
        }
        if let Some(why) = self.sources.suite().cut_short(self.configuration.settings.times.request_timeout) {
            tracing::warn!("{why}");
        }
    }
}

impl Directory {
    fn enter(&self) -> io::Result<()> {
        match self {
            Directory::Start(path) => std::env::set_current_dir(path),
            Directory::Chosen(directory) => enter(directory),
        }
    }
}

/// The checks, of which a warning makes a report fail if that is wished.
///
/// # Errors
///
/// [`Error::Usage`] when a warning is to have a status code, too.
pub(crate) fn as_strict(settings: &Settings, sources: Sources) -> Result<Sources, Error> {
    match (settings.answers.strict, settings.answers.warn_status) {
        (false, _) => Ok(sources),
        (true, 200) => Ok(sources.strict()),
        (true, _) => Err(Error::Usage(
            "--strict lets a report with a warning fail, so --warn-status means nothing: leave one of them out"
                .to_owned(),
        )),
    }
}

/// Who may see what; the token is read from its file.
///
/// # Errors
///
/// [`Error::Usage`] when a token is asked for and there is none.
pub(crate) fn disclosure(settings: &Settings) -> Result<Disclosure, Error> {
    match (settings.answers.details, &settings.answers.token_file) {
        (Details::Always | Details::Never, Some(_)) => {
            Err(Error::Usage("--token-file protects nothing without --details token: set that too".to_owned()))
        }
        (Details::Always, None) => Ok(Disclosure::Always),
        (Details::Never, None) => Ok(Disclosure::Never),
        (Details::Token, Some(path)) => token(path).map(Disclosure::Token),
        (Details::Token, None) => Err(Error::Usage("--details token needs --token-file FILE".to_owned())),
    }
}

/// How a generation with these settings answers.
pub(crate) fn endpoint_settings(settings: Settings, disclosure: Disclosure, generation: u32) -> EndpointSettings {
    EndpointSettings {
        prefix: settings.answers.prefix,
        disclosure,
        fail_status: settings.answers.fail_status,
        warn_status: settings.answers.warn_status,
        lifetime: settings.answers.cache,
        generation,
        speaker: Speaker { host: host_name(), instance: settings.process.name },
    }
}

/// Only who may take the service out of use may be able to create the file that does so.
pub(crate) fn verify_maintenance_file(path: &Path) -> Result<(), Error> {
    let name = format!("--maintenance-file {}", path.display());
    ownership::verify_creation(path).map_err(|distrust| {
        distrust.error(&name, |error| Error::Usage(format!("{name} cannot be looked for: {error}")))
    })
}

fn token(path: &Path) -> Result<String, Error> {
    let name = format!("--token-file {}", path.display());
    let refuse = |why: &str| Error::Usage(format!("{name}: {why}"));
    let text = ownership::read(path)
        .map_err(|distrust| distrust.error(&name, |error| refuse(&format!("it cannot be read: {error}"))))?;
    match text.trim() {
        "" => Err(refuse("it is empty: write the token into it")),
        token => Ok(token.to_owned()),
    }
}
