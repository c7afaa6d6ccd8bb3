//! A mount with the settings of `hospital serve`.

use std::ffi::OsString;
use std::sync::Arc;

use super::serve;
use crate::collect::{Sources, Surroundings};
use crate::config::{Configuration, Given};
use crate::daemon::generation::{as_strict, disclosure, endpoint_settings, verify_maintenance_file};
use crate::endpoint::Disclosure;
use crate::error::Error;
use crate::functions::app::App;
use crate::mount::{Interpreter, Limits, Service};
use crate::python::Python;
use crate::round;
use crate::state::StateDir;

/// A mount whose settings are known to be good: see [`App::plan_service`].
#[derive(Clone, Debug)]
pub struct ServicePlan {
    configuration: Configuration,
    disclosure: Disclosure,
}

impl ServicePlan {
    /// The plan of a service that answers as the daemon would with this command line, whose verb is implied.
    pub(crate) fn make(app: App, mut argv: Vec<OsString>) -> Result<ServicePlan, Error> {
        argv.splice(..argv.len().min(1), ["hospital".into(), "serve".into()]);
        let configuration = serve::configuration(&Given::from_process(app, argv))?;
        configuration.settings.answers.maintenance_file.as_deref().map_or(Ok(()), verify_maintenance_file)?;
        let disclosure = disclosure(&configuration.settings)?;
        Ok(ServicePlan { configuration, disclosure })
    }

    /// Collects the checks, and starts the service, whose threads are in this process.
    ///
    /// # Errors
    ///
    /// Those of [`collect()`](crate::collect()), and [`Error::Boot`] when a thread cannot be started, or the program
    /// cannot run its checks.
    pub fn start(&self) -> Result<Service, Error> {
        self.begin(Python::default())
    }

    /// The same where names that are not registered may be those of tests that this interpreter runs.
    ///
    /// # Errors
    ///
    /// Those of [`ServicePlan::start`].
    pub fn start_in(&self, interpreter: Arc<dyn Interpreter>) -> Result<Service, Error> {
        self.begin(Python::here(interpreter))
    }

    fn begin(&self, python: Python) -> Result<Service, Error> {
        let Configuration { settings, names, origin, environment, app, .. } = &self.configuration;
        // Others, such as gunicorn's own, are obeyed by whom they are for.
        self.configuration.warn_of_unknown();
        let state = settings.process.state_dir.as_deref().map(StateDir::open).transpose()?;
        let surroundings = Surroundings { own: app.checks.clone(), environment: environment.clone(), state, python };
        let sources = as_strict(settings, Sources::read_in(surroundings, names.clone(), origin)?)?;
        for note in sources.notes() {
            tracing::warn!("{note}");
        }
        if let Some(why) = sources.suite().cut_short(settings.times.request_timeout) {
            tracing::warn!("{why}");
        }
        app.prepare().map_err(|why| Error::Boot(format!("the program cannot run its checks: {why}")))?;
        let limits = Limits {
            round: settings.times.request_timeout,
            at_once: round::affordable(settings.fleet.jobs.into(), 1),
            maintenance_file: settings.answers.maintenance_file.clone(),
        };
        Service::limited(limits, sources, endpoint_settings(settings.clone(), self.disclosure.clone(), 1))
    }
}
