//! A mount with the settings of `hospital serve`.

use std::ffi::OsString;

use super::serve;
use crate::collect::{Sources, Surroundings};
use crate::config::Given;
use crate::daemon::generation::{as_strict, disclosure, endpoint_settings, verify_maintenance_file};
use crate::error::Error;
use crate::functions::app::App;
use crate::mount::{Limits, Service};
use crate::python::Python;
use crate::round;
use crate::state::StateDir;

/// The service that answers as the daemon would with this command line, whose verb is implied.
pub(crate) fn service(app: App, mut argv: Vec<OsString>) -> Result<Service, Error> {
    argv.splice(..argv.len().min(1), ["hospital".into(), "serve".into()]);
    let configuration = serve::configuration(&Given::from_process(app, argv))?;
    configuration.warn_of_unheeded();
    let settings = &configuration.settings;
    settings.answers.maintenance_file.as_deref().map_or(Ok(()), verify_maintenance_file)?;
    let own = configuration.app.checks.clone();
    let state = settings.process.state_dir.as_deref().map(StateDir::open).transpose()?;
    // What a program in Python mounts, it gives: no interpreter is started.
    let python = Python::default();
    let surroundings = Surroundings { own, environment: configuration.environment, state, python };
    let sources = Sources::read_in(surroundings, configuration.names, configuration.origin)?;
    let sources = as_strict(settings, sources)?;
    for note in sources.notes() {
        tracing::warn!("{note}");
    }
    configuration.app.prepare().map_err(|why| Error::Boot(format!("the program cannot run its checks: {why}")))?;
    let limits = Limits {
        round: settings.times.request_timeout,
        at_once: round::affordable(settings.fleet.jobs.into(), 1),
        maintenance_file: settings.answers.maintenance_file.clone(),
    };
    let disclosure = disclosure(settings)?;
    Service::limited(limits, sources, endpoint_settings(configuration.settings, disclosure, 1))
}
