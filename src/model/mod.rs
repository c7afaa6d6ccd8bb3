//! The domain: what a check is, what it found, and what a report says. No operating system, no clock.

pub mod amount;
pub(crate) mod attribution;
pub mod blame;
pub mod check;
pub(crate) mod clocks;
pub mod control;
pub(crate) mod drills;
pub(crate) mod duration;
pub mod episode;
pub(crate) mod host;
pub(crate) mod id;
pub mod judgement;
pub(crate) mod needs;
pub(crate) mod panics;
pub mod patience;
pub mod perfdata;
pub mod record_file;
pub mod report;
pub(crate) mod sabotage;
pub mod schedule;
pub(crate) mod silence;
pub mod startup;
pub mod suite;
pub(crate) mod text;
pub mod transcript;
