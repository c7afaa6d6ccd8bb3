//! What a generation of workers is made of.

use crate::collect::Sources;
use crate::config::Configuration;
use crate::endpoint::disclosure::Disclosure;
use crate::error::Error;
use crate::os::identity::Identity;

/// A configuration that was checked for everything that can be wrong with it, before it is used.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) configuration: Configuration,
    pub(crate) sources: Sources,
    pub(crate) identity: Identity,
    pub(crate) disclosure: Disclosure,
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
        let disclosure = Disclosure::from_settings(settings)?;
        Ok(Plan { configuration, sources, identity, disclosure })
    }

    /// Logs what is good and yet looks like a mistake.
    pub(crate) fn warn(&self) {
        self.configuration.warn_of_unheeded();
        for note in self.sources.notes() {
            tracing::warn!("{note}");
        }
    }
}
