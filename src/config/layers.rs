//! The sources of settings: default < the program's own code < environment < `--env-file` < `--env` < flag.
//!
//! A variable `HOSPITAL_FOO_BAR` *is* the flag `--foo-bar`: the variables of each layer become flags in front of the
//! command line, and one parser reads them all.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::ffi::OsString;
use std::io;
use std::num::{IntErrorKind, ParseIntError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, FromArgMatches};
use serde::Deserialize;

use super::settings::Settings;
use super::values::env_file;
use crate::checks::support::ownership::{self, Distrust};
use crate::checks::support::secrets::quotable;
use crate::collect::without_secrets;
use crate::error::Error;
use crate::functions::app::App;
use crate::model::duration;
use crate::python::Python;
use crate::state::StateDir;

const PREFIX: &str = "HOSPITAL_";

/// Where gunicorn takes flags from. Most of its flags are also ours, so people who migrate will try this.
const GUNICORN: &str = "GUNICORN_CMD_ARGS";

/// The variables with other names that are also read.
const OTHERS: [&str; 5] = ["HEALTHCHECKS", "WEB_CONCURRENCY", "PORT", "STATE_DIRECTORY", GUNICORN];

/// The variable that an active virtual environment of Python sets.
const VIRTUAL_ENV: &str = "VIRTUAL_ENV";

/// The variable that tells a new master what it takes over from the former one. It is not a setting.
pub(crate) const SUCCESSION: &str = "HOSPITAL_SUCCESSION";

/// What the process was started with; a reload resolves it again.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// The command line, with the name of the program and the verb, which a former name implies.
    pub(crate) argv: Vec<OsString>,
    /// The path of the program, its arguments, and the directory in which it was started.
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) directory: PathBuf,
    /// The environment.
    pub(crate) environment: Vec<(String, String)>,
    /// What the program adds.
    pub(crate) app: App,
    /// For a reload: a Python that has imported already.
    pub(crate) prepared: Option<Python>,
}

/// The result of all layers together.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub(crate) settings: Settings,
    /// The names of the checks, and where they were given.
    pub(crate) names: Vec<String>,
    pub(crate) origin: &'static str,
    /// Variables that the workers get in addition to the environment.
    pub(crate) environment: Vec<(String, String)>,
    /// The virtual environment of Python that these have, or the environment.
    pub(crate) virtual_env: Option<String>,
    /// For a reload: a Python that has imported already.
    pub(crate) prepared: Option<Python>,
    /// A sentence for each variable that is not obeyed, as it is another program's.
    pub(crate) unheeded: Vec<String>,
    /// A sentence for each variable that looks like a setting and is not one.
    pub(crate) unknown: Vec<String>,
    pub(crate) app: App,
}

/// The result of all layers together, with the source of each part.
pub(crate) struct Resolved<'a> {
    command: &'a Command,
    subcommand: &'a str,
    matches: ArgMatches,
    chosen: BTreeMap<String, SettingFlag>,
    names: Vec<String>,
    origin: &'static str,
    environment: Vec<(String, String)>,
    virtual_env: Option<String>,
    prepared: Option<Python>,
    unheeded: Vec<String>,
    unknown: Vec<String>,
    app: App,
}

/// The variables with a name of their own.
#[derive(Deserialize)]
struct Conventions {
    healthchecks: Option<String>,
    web_concurrency: Option<String>,
    port: Option<String>,
    /// As systemd sets it for `StateDirectory=`: several are separated by colons.
    state_directory: Option<String>,
}

/// The variables of one place, by the flags that they mean.
struct Layer {
    place: &'static str,
    healthchecks: Option<String>,
    flags: BTreeMap<String, SettingFlag>,
    unheeded: Vec<String>,
    unknown: Vec<String>,
}

struct SettingFlag {
    variable: String,
    value: String,
    /// The layer that it comes from.
    place: &'static str,
}

impl Given {
    /// This command line, and the process's own environment. Text in the latter that is not UTF-8 stays visibly wrong, so
    /// that a setting in it is refused rather than ignored.
    pub(crate) fn from_process(app: App, argv: Vec<OsString>) -> Given {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        let started = || (program(argv.first()), argv.iter().skip(1).cloned().collect());
        let (program, arguments) = app.command_line.clone().unwrap_or_else(started);
        Given {
            program,
            arguments,
            directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
            environment: variables.filter(|(name, _)| name != SUCCESSION).collect(),
            argv,
            app,
            prepared: None,
        }
    }

    /// The same with more variables, which replace others of their names.
    pub(crate) fn with(&self, variables: &[(String, String)]) -> Given {
        let mut given = self.clone();
        given.environment.extend_from_slice(variables);
        given
    }

    /// The names in HEALTHCHECKS.
    pub(crate) fn healthchecks(&self) -> Vec<String> {
        let own = self.app.variables();
        split(last("HEALTHCHECKS", own.iter().chain(&self.environment)).unwrap_or_default())
    }

    /// The interpreter that the environment names, for commands that have no other settings, and the variable that does.
    pub(crate) fn python(&self) -> Option<(PathBuf, &'static str)> {
        let set = last("HOSPITAL_PYTHON", self.environment.iter()).map(|path| (path.into(), "HOSPITAL_PYTHON"));
        set.or_else(|| Some((in_virtual_env(last(VIRTUAL_ENV, self.environment.iter())?), VIRTUAL_ENV)))
    }

    /// How long a round of `serve` takes at most, for commands that have no other settings: HOSPITAL_REQUEST_TIMEOUT, or its
    /// default.
    pub(crate) fn request_timeout(&self) -> Duration {
        let set = last("HOSPITAL_REQUEST_TIMEOUT", self.environment.iter());
        set.and_then(|text| duration::parse_some(text).ok()).unwrap_or(Duration::from_secs(10))
    }

    /// The state dir that was given to a command that runs once, or that HOSPITAL_STATE_DIR names.
    ///
    /// # Errors
    ///
    /// Those of [`StateDir::open`].
    pub(crate) fn state_dir(&self, given: Option<&Path>) -> Result<Option<StateDir>, Error> {
        let own = self.app.variables();
        let mut all = own.iter().chain(&self.environment).rev();
        let named = all.find(|(name, _)| name == "HOSPITAL_STATE_DIR").map(|(_, value)| Path::new(value));
        given.or(named.filter(|path| !path.as_os_str().is_empty())).map(StateDir::open).transpose()
    }

    /// Resolves everything. `matches` is what the subcommand of `command` parsed from the command line alone.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`], naming the variable or the flag.
    pub(crate) fn resolve<'a>(
        &self,
        command: &'a Command,
        subcommand: &'a str,
        mut matches: ArgMatches,
    ) -> Result<Resolved<'a>, Error> {
        let program = Layer::read("the program", &self.app.variables(), command, subcommand)?;
        let environment = Layer::read("the environment", &self.environment, command, subcommand)?;
        let path = match matches.get_one::<PathBuf>("env_file") {
            Some(path) => Some(path.clone()),
            None => environment.flags.get("env_file").map(|flag| flag.value.clone().into()),
        };
        let from_file = path.as_deref().map_or_else(|| Ok(Vec::new()), |path| self.read_env_file(path))?;
        let file = Layer::read("--env-file", &from_file, command, subcommand)?;
        let from_flags: Vec<_> = matches.get_many::<(String, String)>("env").into_iter().flatten().cloned().collect();
        let flags = Layer::read("--env", &from_flags, command, subcommand)?;

        let mut healthchecks = None;
        let (mut unheeded, mut unknown) = (Vec::new(), Vec::new());
        let mut chosen = BTreeMap::new();
        for layer in [program, environment, file, flags] {
            healthchecks = layer.healthchecks.or(healthchecks);
            unheeded.extend(layer.unheeded);
            unknown.extend(layer.unknown);
            chosen.extend(layer.flags);
        }
        chosen.retain(|id, _| matches.value_source(id) != Some(ValueSource::CommandLine));
        let (names, origin) = match matches.get_many::<String>("names") {
            Some(names) => (names.cloned().collect(), "the command line"),
            None => (split(healthchecks.as_deref().unwrap_or_default()), "HEALTHCHECKS"),
        };
        if !chosen.is_empty() {
            matches = self.merge(command, subcommand, &chosen)?;
        }
        let environment: Vec<_> = from_file.into_iter().chain(from_flags).collect();
        let virtual_env = last(VIRTUAL_ENV, self.environment.iter().chain(&environment)).map(str::to_owned);
        Ok(Resolved {
            command,
            subcommand,
            matches,
            chosen,
            names,
            origin,
            environment,
            virtual_env,
            prepared: self.prepared.clone(),
            unheeded,
            unknown,
            app: self.app.clone(),
        })
    }
}

impl Given {
    /// A path after a `-` need not exist, as in systemd units.
    pub(crate) fn read_env_file(&self, given: &Path) -> Result<Vec<(String, String)>, Error> {
        let optional = given.to_str().and_then(|text| text.strip_prefix('-')).map(Path::new);
        // --chdir may have taken effect since: the path is relative to the directory at the start.
        let path = self.directory.join(optional.unwrap_or(given));
        let name = format!("--env-file {}", path.display());
        match ownership::read(&path) {
            Err(Distrust::Unseen(error)) if optional.is_some() && error.kind() == io::ErrorKind::NotFound => {
                Ok(Vec::new())
            }
            Err(distrust) => {
                Err(distrust.error(&name, |error| Error::Usage(format!("{name} cannot be read: {error}"))))
            }
            Ok(text) => env_file(&text).map_err(|error| Error::Usage(format!("{name}: {error}"))),
        }
    }

    /// Parses the command line again, with the variables' flags in front of its own.
    fn merge(
        &self,
        command: &Command,
        subcommand: &str,
        chosen: &BTreeMap<String, SettingFlag>,
    ) -> Result<ArgMatches, Error> {
        let mut argv = vec![self.argv.first().cloned().unwrap_or_default(), subcommand.into()];
        argv.extend(chosen.iter().map(|(id, flag)| as_argument(command, subcommand, id, &flag.value)));
        argv.extend(after_subcommand(&self.argv, subcommand));
        parse(command, subcommand, argv).map_err(|error| Error::Usage(one_line(&error)))
    }
}

/// The last value of a variable, unless that is empty.
fn last<'a>(name: &str, variables: impl DoubleEndedIterator<Item = &'a (String, String)>) -> Option<&'a str> {
    variables.rev().find(|(other, _)| other == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

fn in_virtual_env(folder: &str) -> PathBuf {
    Path::new(folder).join("bin/python")
}

impl Configuration {
    /// The interpreter for checks in Python, and the setting that names it.
    pub(crate) fn python(&self) -> Option<(PathBuf, &'static str)> {
        let set = self.settings.process.python.clone().map(|path| (path, "--python"));
        set.or_else(|| Some((in_virtual_env(self.virtual_env.as_deref()?), VIRTUAL_ENV)))
    }

    /// Logs the variables that are another program's, and those that look like settings and are not.
    pub(crate) fn warn_of_unheeded(&self) {
        self.unheeded.iter().for_each(|sentence| warn(sentence));
        self.warn_of_unknown();
    }

    /// Logs the variables that look like settings and are not.
    pub(crate) fn warn_of_unknown(&self) {
        self.unknown.iter().for_each(|sentence| warn(sentence));
    }
}

fn warn(sentence: &str) {
    tracing::warn!("{sentence}: see `hospital serve --print-config`");
}

impl Resolved<'_> {
    /// The configuration. This drops what the parser has read: it is large, and every worker would carry it along.
    pub(crate) fn into_configuration(mut self) -> Result<Configuration, Error> {
        let settings = Settings::from_arg_matches_mut(&mut self.matches);
        Ok(Configuration {
            settings: settings.map_err(|error| Error::Usage(one_line(&error)))?,
            names: self.names,
            origin: self.origin,
            environment: self.environment,
            virtual_env: self.virtual_env,
            prepared: self.prepared,
            unheeded: self.unheeded,
            unknown: self.unknown,
            app: self.app,
        })
    }

    /// Each setting as a line of an env-file, with a comment above it that names its source. Passwords in names are
    /// hidden, and so are the values of --env.
    pub(crate) fn print(&self) -> String {
        let names: Vec<_> = self.names.iter().map(|name| without_secrets(name)).collect();
        let head = format!("# from {}\nHEALTHCHECKS={}\n", self.origin, quoted(&names.join(" ")));
        let rows = settable(self.command, self.subcommand).filter_map(|arg| self.row(arg));
        [head].into_iter().chain(rows).collect()
    }

    fn row(&self, arg: &clap::Arg) -> Option<String> {
        let id = arg.get_id().as_str();
        let values = self.matches.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy());
        let source = match (self.chosen.get(id), self.matches.value_source(id)) {
            (Some(flag), _) => format!("{} in {}", flag.variable, flag.place),
            (None, Some(ValueSource::CommandLine)) => format!("--{}", arg.get_long().unwrap_or(id)),
            (None, Some(_)) => "default".to_owned(),
            (None, None) => return None,
        };
        let value = quoted(&values.collect::<Vec<_>>().join(","));
        Some(format!("# from {source}\n{PREFIX}{}={value}\n", id.to_uppercase()))
    }
}

impl Layer {
    fn read(
        place: &'static str,
        variables: &[(String, String)],
        command: &Command,
        subcommand: &str,
    ) -> Result<Layer, Error> {
        // envy does not distinguish `port` from `PORT`, but the environment does. If a file has a name twice, the last
        // one counts.
        let is_read = |name: &str| name.starts_with(PREFIX) || OTHERS.contains(&name);
        let exact: BTreeMap<_, _> =
            variables.iter().filter(|(name, _)| is_read(name) && *name == name.to_uppercase()).cloned().collect();
        let foreign = exact.get(GUNICORN).is_some_and(|flags| !flags.is_empty());
        let unheeded = foreign.then(|| format!("{GUNICORN} is not obeyed, give its flags to `hospital serve`"));
        let read = |error: envy::Error| Error::Usage(error.to_string());
        let conventions: Conventions = envy::from_iter(exact.clone()).map_err(read)?;
        let ours: BTreeMap<String, String> = envy::prefixed(PREFIX).from_iter(exact).map_err(read)?;
        let mut layer = Layer {
            place,
            healthchecks: conventions.healthchecks,
            flags: BTreeMap::new(),
            unheeded: unheeded.into_iter().collect(),
            unknown: Vec::new(),
        };
        // A path may hold a colon, as those of units with addresses in their names do.
        let first = |folders: String| folders.split(":/").next().unwrap_or_default().to_owned();
        let conventional = [
            ("WEB_CONCURRENCY", "workers", conventions.web_concurrency),
            ("PORT", "port", conventions.port),
            ("STATE_DIRECTORY", "state_dir", conventions.state_directory.map(first)),
        ];
        for (variable, id, value) in conventional {
            if let Some(value) = value {
                layer.set(command, subcommand, id, variable.to_owned(), value)?;
            }
        }
        for (key, value) in ours {
            let variable = format!("{PREFIX}{}", key.to_uppercase());
            if is_service_link(&key, &value) {
                continue;
            }
            if settable(command, subcommand).any(|arg| arg.get_id() == key.as_str()) {
                layer.set(command, subcommand, &key, variable, value)?;
            } else {
                layer.unknown.push(unknown(command, subcommand, &key, &variable));
            }
        }
        Ok(layer)
    }

    /// Parses this one value, so that an error can name its variable.
    fn set(
        &mut self,
        command: &Command,
        subcommand: &str,
        id: &str,
        variable: String,
        value: String,
    ) -> Result<(), Error> {
        let argument = as_argument(command, subcommand, id, &value);
        if let Err(error) = parse(command, subcommand, vec!["hospital".into(), subcommand.into(), argument]) {
            let cause = StdError::source(&error).map_or_else(|| one_line(&error), cause);
            return Err(Error::Usage(format!("{variable}: {cause}")));
        }
        self.flags.insert(id.to_owned(), SettingFlag { variable, value, place: self.place });
        Ok(())
    }
}

/// A sentence about a variable that is not a setting, with the setting that may be meant.
fn unknown(command: &Command, subcommand: &str, key: &str, variable: &str) -> String {
    let argv = vec!["hospital".into(), subcommand.into(), format!("--{}=", key.replace('_', "-")).into()];
    let error = parse(command, subcommand, argv).err();
    let meant = match error.as_ref().and_then(|error| error.get(ContextKind::SuggestedArg)) {
        Some(ContextValue::String(flag)) => {
            format!(" ({PREFIX}{} is)", flag.trim_start_matches('-').replace('-', "_").to_uppercase())
        }
        Some(_) | None => String::new(),
    };
    format!("{variable} is not a setting{meant}")
}

/// Whether this is a variable that Kubernetes sets for each Service in the namespace: ours is named "hospital".
fn is_service_link(key: &str, value: &str) -> bool {
    key.starts_with("service_") || key.starts_with("port_") || key == "port" && value.starts_with("tcp://")
}

/// In the kind of quotes that the value does not contain.
fn quoted(value: &str) -> String {
    let quote = if value.contains('"') { '\'' } else { '"' };
    format!("{quote}{value}{quote}")
}

/// The arguments of a subcommand that are settings: those with a flag and a value. `--env` is not one: it sets
/// variables, and its values may be secrets.
fn settable<'a>(command: &'a Command, subcommand: &str) -> impl Iterator<Item = &'a clap::Arg> {
    let found = command.find_subcommand(subcommand).into_iter();
    found
        .flat_map(|command| command.get_arguments())
        .filter(|arg| arg.get_long().is_some() && arg.get_action().takes_values() && arg.get_id() != "env")
}

fn as_argument(command: &Command, subcommand: &str, id: &str, value: &str) -> OsString {
    let long = settable(command, subcommand).find(|arg| arg.get_id() == id).and_then(clap::Arg::get_long);
    format!("--{}={value}", long.unwrap_or(id)).into()
}

fn parse(command: &Command, subcommand: &str, argv: Vec<OsString>) -> Result<ArgMatches, clap::Error> {
    let mut matches = command.clone().try_get_matches_from(argv)?;
    Ok(matches
        .remove_subcommand()
        .filter(|(name, _)| name == subcommand)
        .map(|(_, matches)| matches)
        .unwrap_or_default())
}

/// The arguments after the name of the subcommand.
fn after_subcommand<'a>(argv: &'a [OsString], subcommand: &str) -> impl Iterator<Item = OsString> + 'a {
    let position = argv.iter().skip(1).position(|argument| argument == subcommand);
    argv.iter().skip(position.map_or(1, |position| position + 2)).cloned()
}

fn split(names: &str) -> Vec<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

/// What an upgrade starts: our program under the name by which we were called, which may be a link that will lead
/// elsewhere by then. Determined now, as the kernel calls a replaced file "(deleted)".
fn program(called: Option<&OsString>) -> PathBuf {
    let called = called.map_or(Path::new(""), Path::new);
    let Ok(running) = std::env::current_exe() else { return called.to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    // As execvp(3) finds it: only a name without a slash is searched for in PATH.
    let named = called.components().count() > 1;
    let folders = if named { vec![PathBuf::new()] } else { std::env::split_paths(&path).collect() };
    let mut places = folders.iter().filter_map(|folder| std::path::absolute(folder.join(called)).ok());
    places.find(|place| place.canonicalize().is_ok_and(|place| place == running)).unwrap_or(running)
}

/// The error without the usage and the hints that clap appends, and without the text that could not be understood,
/// which may be a secret in a wrong place.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let mut text = error.to_string();
    for (kind, value) in error.context() {
        match (kind, value) {
            (ContextKind::InvalidValue, ContextValue::String(value)) => {
                text = text.replacen(&format!(" '{value}'"), "", 1)
            }
            (ContextKind::InvalidArg | ContextKind::InvalidSubcommand, ContextValue::String(given)) => {
                let (key, _) = given.split_once('=').unwrap_or((given, ""));
                // As flags are named: `--env <NAME=VALUE>`.
                if !key.contains('<') {
                    text = text.replace(given.as_str(), quotable(key));
                }
            }
            _ => {}
        }
    }
    if let Some(source) = StdError::source(error) {
        text = text.replacen(&source.to_string(), &cause(source), 1);
    }
    if error.kind() == ErrorKind::TooManyValues
        && let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
    {
        return format!("'{flag}' takes no value: write it alone");
    }
    let lines =
        text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let text = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    text.strip_prefix("error: ").map(str::to_owned).unwrap_or(text)
}

/// Why a value was refused. What std says of a number is about its digits, not about what to write.
fn cause(source: &(dyn StdError + 'static)) -> String {
    match source.downcast_ref().map(ParseIntError::kind) {
        Some(IntErrorKind::InvalidDigit | IntErrorKind::Empty) => "write a whole number".to_owned(),
        Some(_) | None if source.to_string() == "value was not a boolean" => "write on or off".to_owned(),
        Some(_) | None => source.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_not_a_number_says_what_to_write() {
        let command = || Command::new("hospital").arg(clap::arg!(--workers <N>).value_parser(clap::value_parser!(u16)));
        let refused = |value: &str| {
            let error = command().try_get_matches_from(["hospital", &format!("--workers={value}")]).expect_err(value);
            (StdError::source(&error).map(cause).unwrap_or_default(), one_line(&error))
        };
        for value in ["x", "1.5", "two workers"] {
            let expected = "write a whole number";
            let line = format!("invalid value for '--workers <N>': {expected}");
            assert_eq!(refused(value), (expected.to_owned(), line), "{value}");
        }
        assert_eq!(refused("70000").0, "70000 is not in 0..=65535");
    }
}
