//! What a generation of workers is made of.

use std::path::Path;

use crate::collect::Sources;
use crate::config::{Configuration, Details, Settings};
use crate::endpoint::Disclosure;
use crate::error::Error;
use crate::os::filesystem::read_file;
use crate::os::identity::Identity;
use crate::round;

/// A configuration that was checked for everything that can be wrong with it, before it is used.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) configuration: Configuration,
    pub(crate) sources: Sources,
    pub(crate) identity: Identity,
    pub(crate) disclosure: Disclosure,
    /// How many checks a worker runs at once.
    pub(crate) jobs: usize,
}

impl Plan {
    /// Looks up the user, collects the checks and reads the token.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub(crate) fn make(configuration: Configuration) -> Result<Plan, Error> {
        let settings = &configuration.settings;
        let identity = Identity::resolve(settings.process.user.as_deref(), settings.process.group.as_deref())
            .map_err(Error::Usage)?;
        let sources = Sources::read(&configuration.names, configuration.origin)?;
        let disclosure = disclosure(settings)?;
        let jobs = round::affordable(settings.fleet.jobs.into(), settings.fleet.workers.into());
        Ok(Plan { configuration, sources, identity, disclosure, jobs })
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
    }
}

/// Who may see what; the token is read from its file.
///
/// # Errors
///
/// [`Error::Usage`] when a token is asked for and there is none.
fn disclosure(settings: &Settings) -> Result<Disclosure, Error> {
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

fn token(path: &Path) -> Result<String, Error> {
    let refuse = |why: &str| Error::Usage(format!("--token-file {}: {why}", path.display()));
    let text = read_file(path).map_err(|error| refuse(&format!("it cannot be read: {error}")))?;
    match text.trim() {
        "" => Err(refuse("it is empty: write the token into it")),
        token => Ok(token.to_owned()),
    }
}
