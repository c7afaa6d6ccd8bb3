//! `hospital serve`: from the settings to the master.

use std::process::ExitCode;

use clap::{ArgMatches, Args, Command};

use super::{advice, parse, print};
use crate::config::{Configuration, Given, Resolved, Settings, one_line};
use crate::daemon::generation::GenerationConfig;
use crate::daemon::master::{Ended, Master};
use crate::daemon::{logging, worker};
use crate::error::Error;
use crate::os::process;

#[derive(Debug, Args)]
#[command(after_help = "Each setting --foo-bar can also be given as the variable HOSPITAL_FOO_BAR; \
                        WEB_CONCURRENCY sets --workers and PORT sets --port.")]
pub(super) struct ServeFlags {
    /// The checks to serve, as dotted paths, scheme:target, or files; HEALTHCHECKS unless given
    names: Vec<String>,
    /// Show every setting with its source, then exit
    #[arg(long)]
    print_config: bool,
    /// Validate the configuration, then exit
    #[arg(long, conflicts_with = "print_config")]
    check_config: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Serves until the end, or only shows or validates the configuration.
pub(super) fn run(given: Given, command: Command, matches: ArgMatches, flags: &ServeFlags) -> Result<ExitCode, Error> {
    if let Some(advice) = advice::on_names(&flags.names) {
        return Err(Error::Usage(advice));
    }
    if flags.print_config {
        print(resolve(&given, &command, matches)?.print())?;
        return Ok(ExitCode::SUCCESS);
    }
    let configuration = resolve(&given, &command, matches)?.into_configuration()?;
    // It is as large as what it parsed.
    drop(command);
    let config = GenerationConfig::make(configuration, &given.directory)?;
    if flags.check_config {
        if let Some(sentence) = config.configuration.unknown.first() {
            return Err(Error::Usage(format!("{sentence}: see `hospital serve --print-config`")));
        }
        let doubts = config.configuration.unheeded.iter().chain(config.sources.notes()).map(|line| format!("{line}\n"));
        print(doubts.chain(["the configuration is good\n".to_owned()]).collect::<String>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings = &config.configuration.settings;
    process::set_umask(settings.process.umask);
    logging::init(settings.error_log(), settings.log.log_level, settings.log.log_format, config.identity.owner())?;
    logging::init_access(settings.log.access_logfile.as_deref(), config.identity.owner())?;
    config.warn();
    warn_of_threads(process::threads());
    match Master::start(config, given, reload)?.run() {
        Ok(Ended::Stopped(code)) => Ok(ExitCode::from(code)),
        Ok(Ended::Forked(context)) => worker::run(*context),
        Err(error) => Err(Error::Boot(format!("the master cannot wait: {error}"))),
    }
}

/// A fork takes along one thread. What the others were to do is never done in a worker, and whoever waits for that times out.
fn warn_of_threads(threads: usize) {
    if threads > 1 {
        tracing::warn!(
            "the program has {threads} threads before hospital::main() forks the workers, which have none of them: a check \
             that uses a runtime or a pool made in main times out, so make it in App::before_checks, or in the check, when it first runs"
        );
    }
}

/// Makes a configuration from the same command line, for a reload.
fn reload(given: &Given) -> Result<GenerationConfig, Error> {
    GenerationConfig::make(configuration(given)?, &given.directory)
}

/// What this command line and environment say.
pub(super) fn configuration(given: &Given) -> Result<Configuration, Error> {
    let (command, matches) = parse(given).map_err(|error| Error::Usage(one_line(&error)))?;
    resolve(given, &command, matches)?.into_configuration()
}

fn resolve<'a>(given: &Given, command: &'a Command, mut matches: ArgMatches) -> Result<Resolved<'a>, Error> {
    let own = matches.remove_subcommand().map_or_else(ArgMatches::default, |(_, own)| own);
    given.resolve(command, "serve", own)
}
