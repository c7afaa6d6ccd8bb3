//! Environment, env-file and flags → one validated, immutable configuration.

pub(crate) mod address;
pub(crate) mod identity;
mod layers;
mod settings;
mod values;

pub(crate) use layers::{Configuration, Given, Resolved, SUCCESSION, one_line};
pub(crate) use settings::{MOST_WORKERS, Settings};
pub(crate) use values::{AccessFormat, Details, LogFormat, LogLevel};
