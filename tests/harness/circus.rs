//! A real circusd, with the file that `deploy/` ships.

use std::path::Path;
use std::process::Command;

use super::At;
use super::family::{Family, PATIENCE, deployed, python_program};
use super::load::{Load, Shape};

pub(crate) const WATCHER: &str = "yourproject-healthchecks";
/// As in the file.
pub(crate) const WORKERS: usize = 2;

/// A circusd whose only watcher runs us.
pub(crate) struct Circus {
    pub(crate) family: Family,
    pub(crate) at: At,
}

impl Circus {
    #[track_caller]
    pub(crate) fn start() -> Circus {
        Circus::start_with(tempfile::tempdir().expect("there is room"), Path::new(super::HOSPITAL), "")
    }

    /// Makes circusd start this program, with further flags.
    #[track_caller]
    pub(crate) fn start_with(directory: tempfile::TempDir, program: &Path, flags: &str) -> Circus {
        let (path, config) = (directory.path().display(), directory.path().join("circus.ini"));
        let watcher = deployed(
            "circus/hospital.ini",
            &[
                ("cmd = hospital serve ", &format!("cmd = {} serve {flags} ", program.display())),
                ("/var/log/hospital/out.log", &format!("{path}/out.log")),
                ("/var/log/hospital/err.log", &format!("{path}/err.log")),
                // circus takes a free port.
                ("port = 2014", "port = 0"),
            ],
        );
        let own = format!(
            "[circus]\ncheck_delay = 1\nendpoint = ipc://{path}/endpoint\npubsub_endpoint = ipc://{path}/pubsub\n\n"
        );
        std::fs::write(&config, own + &watcher).expect("the directory is ours");
        let family = Family::start(directory, python_program("circusd"), |command| {
            command.arg(config);
        });
        family.within_patience("the master says that it serves", || family.text("out.log").contains("..."));
        let said = family.text("out.log");
        // After the time that circus puts before each line.
        let said = &said[said.find("Serving on ").expect("that is what it says")..];
        Circus { at: At::announced(said), family }
    }

    /// Makes circusd do something.
    #[track_caller]
    pub(crate) fn ctl(&self, args: &[&str]) {
        let endpoint = format!("ipc://{}", self.family.path("endpoint").display());
        let mut command = Command::new(python_program("circusctl"));
        let output = command.args(["--endpoint", &endpoint, "--timeout", "30"]).args(args).output();
        let output = output.expect("circusctl can be started");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("error"), "circusctl {args:?}: {said}");
    }

    /// Clients at work.
    #[track_caller]
    pub(crate) fn load(&self) -> Load {
        let load = Load::start(&self.at, Shape { patience: PATIENCE, ..Shape::default() });
        load.wait_for_answers(100);
        load
    }
}
