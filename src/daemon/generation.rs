//! What a generation of workers is made of.

use crate::collect::Sources;
use crate::config::Configuration;
use crate::config::identity::identity;
use crate::endpoint::disclosure::Disclosure;
use crate::error::Error;
use crate::os::identity::Identity;

/// A configuration that was checked for everything that can be wrong with it, before it is used.
#[derive(Clone, Debug)]
pub(crate) struct GenerationConfig {
    pub(crate) configuration: Configuration,
    pub(crate) sources: Sources,
    pub(crate) identity: Identity,
    pub(crate) disclosure: Disclosure,
}

impl GenerationConfig {
    /// Looks up the user, collects the checks and reads the token.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub(crate) fn make(configuration: Configuration) -> Result<GenerationConfig, Error> {
        let settings = &configuration.settings;
        let (user, group) = (settings.process.user.as_deref(), settings.process.group.as_deref());
        let identity = identity(user, group)?;
        let flags = [("--user", user), ("--group", group)];
        let flags: Vec<_> = flags.iter().filter_map(|(flag, name)| Some(format!("{flag} {}", (*name)?))).collect();
        let flags = flags.join(" ");
        // With the rights of those who will run them and read them again: what only root can read would be good here
        // and an error there.
        let sources = identity
            .act(|| Sources::read(&configuration.names, configuration.origin))
            .map_err(|error| Error::Boot(format!("{flags}: {error}")))?
            .map_err(|error| match error {
                Error::Usage(text) if !flags.is_empty() => Error::Usage(format!("{text} (read as {flags})")),
                error => error,
            })?;
        let disclosure = Disclosure::from_settings(settings)?;
        Ok(GenerationConfig { configuration, sources, identity, disclosure })
    }
}
