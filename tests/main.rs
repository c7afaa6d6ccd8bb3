//! The binary and the library from outside, in one program with one harness:
//!
//! ```sh
//! cargo test --test integration                          # what needs no set-up
//! cargo test --test integration daemon::reload           # one subject
//! cargo test --test integration deploy::circus -- --ignored
//! ```
//!
//! A test that needs something that not every machine has is ignored and names it: `#[ignore = "needs root, nginx"]`.
//! `tests/run` runs those whose needs it finds and names what it does not find; its function `has` says what a name means.

/// Drives the binary.
mod harness;

/// The commands that run once, and the settings.
mod cli {
    mod beat;
    mod check;
    mod check_ends;
    mod list;
    mod needs;
    mod readers;
    mod settings;
    mod silence;
    mod wait;
}

/// The kinds of checks, against what is real.
mod checks {
    #[cfg(all(feature = "dns", feature = "tls"))]
    mod amqp;
    #[cfg(feature = "dns")]
    mod blame;
    mod drill;
    mod drill_corpus;
    mod exec;
    mod folders;
    #[cfg(all(feature = "dns", feature = "grpc", feature = "tls"))]
    mod grpc;
    mod hidden;
    mod host;
    #[cfg(all(feature = "dns", feature = "tls"))]
    mod hostile;
    #[cfg(all(feature = "dns", feature = "tls"))]
    mod kinds_net;
    #[cfg(all(feature = "dns", feature = "ldap", feature = "tls"))]
    mod ldap;
    #[cfg(all(feature = "dns", feature = "tls"))]
    mod mail;
    mod mounts;
    #[cfg(all(feature = "dns", feature = "mysql", feature = "tls"))]
    mod mysql;
    #[cfg(all(feature = "dns", feature = "tls"))]
    mod ntp;
    mod plugins;
    #[cfg(all(feature = "dns", feature = "postgres", feature = "tls"))]
    mod postgres;
    #[cfg(all(feature = "dns", feature = "tls"))]
    mod protocols;
    mod python;
    mod secrets;
    mod services;
    mod terminals;
    mod transcripts;
    mod trust;
    #[cfg(all(feature = "dns", feature = "tls"))]
    mod undecided;
}

/// The endpoint as its clients see it.
mod endpoint {
    mod bad_input;
    mod clients;
    mod figures;
    mod http;
    mod metrics;
    mod openapi;
    mod page;
    mod well_known_clients;
}

/// The master and its workers: signals, sockets, reloads, faults.
mod daemon {
    mod access_log;
    mod cache;
    mod deaths;
    mod endurance;
    mod evidence;
    mod mounts;
    mod notify;
    mod pid1;
    mod pressure;
    mod process;
    mod python;
    mod reload;
    mod schedules;
    mod signals;
    mod sockets;
    mod starting;
    mod state_dir;
    mod upgrade;
}

/// What `deploy/` and `packaging/` give to operators, with the programs that it is for.
mod deploy {
    mod circus;
    mod container;
    mod dashboard;
    mod debian;
    mod fronts;
    mod migrating;
    mod orchestrators;
    mod probers;
    mod reproducible;
    mod rules;
    mod scrapers;
    mod supervision;
    mod supervisors;
    mod systemd;
}

/// The library as other crates use it.
mod library {
    mod compile_fail;
    mod functions;
}

/// The tree itself: its documents and its dependencies.
mod project {
    mod contributing;
    mod dependencies;
    mod docs;
    mod fuzz_seeds;
    mod operations;
    mod schema;
}
/// The tree itself: where its code lies.
mod layout;
