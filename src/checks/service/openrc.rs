//! What OpenRC says of a service, by `rc-service NAME status`.

use std::fs;
use std::path::Path;

use super::Seen;
use crate::checks::support::program::{Said, ask};
use crate::model::check::{Deadline, Reason, Result};

const RUNLEVELS: &str = "/etc/runlevels";

pub(super) fn see(name: &str, deadline: Deadline) -> Result<Seen> {
    let paths = ["/sbin/rc-service", "/usr/sbin/rc-service", "/usr/bin/rc-service", "/bin/rc-service"];
    let said = ask(&paths, &["--nocolor", name, "status"], deadline)?;
    let (told, is_active, has_failed) =
        understand(&said).map_err(|why| Reason::Error(format!("cannot ask OpenRC for the service {name}: {why}")))?;
    let enabled = enabled(Path::new(RUNLEVELS), name).map_err(|error| format!("{RUNLEVELS}: {error}"));
    Ok(Seen { told, is_active, has_failed, enabled: Some(enabled), ..Seen::default() })
}

/// What it is, whether it runs, and whether it has failed. Source of the exit codes: `_status` in its `openrc-run.sh`.
fn understand(said: &Said) -> std::result::Result<(String, bool, bool), String> {
    let text = format!("{}{}", said.stdout, said.stderr);
    let line = text.trim().trim_start_matches("* ").lines().next().unwrap_or_default().to_owned();
    match said.code {
        0 => Ok((line, true, false)),
        3 => Ok(("one that is stopped".to_owned(), false, false)),
        4 if text.contains("stopping") => Ok(("one that is stopping".to_owned(), false, false)),
        8 => Ok(("one that is starting".to_owned(), false, false)),
        16 => Ok(("one that is inactive".to_owned(), false, false)),
        32 => Ok(("one that has crashed".to_owned(), false, true)),
        1 if text.contains("does not exist") => Ok(("a name that OpenRC has no service for".to_owned(), false, true)),
        code => Err(format!("rc-service ended with {code}: {line}")),
    }
}

/// Whether any runlevel starts it.
fn enabled(runlevels: &Path, name: &str) -> std::io::Result<bool> {
    for level in fs::read_dir(runlevels)? {
        if level?.path().join(name).symlink_metadata().is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_exit_code_of_its_status_is_told() {
        let of = |code, stdout: &str, stderr: &str| {
            let said = Said { code, stdout: stdout.to_owned(), stderr: stderr.to_owned() };
            understand(&said).map(|(_, is_active, has_failed)| (is_active, has_failed))
        };
        assert_eq!(of(0, " * status: started\n", ""), Ok((true, false)));
        assert_eq!(of(3, " * status: stopped\n", ""), Ok((false, false)));
        assert_eq!(of(4, "", " * status: stopping\n"), Ok((false, false)));
        assert_eq!(of(32, "", " * status: crashed\n"), Ok((false, true)));
        assert_eq!(of(1, "", " * rc-service: service `x' does not exist\n"), Ok((false, true)));
        assert!(
            of(1, "", "You are attempting to run an openrc service on a system which openrc did not boot.").is_err()
        );
        assert!(of(4, "", "no rights to read the pidfile").is_err());
    }

    #[test]
    fn one_that_a_runlevel_names_is_enabled() {
        let folder = tempfile::tempdir().expect("there is room");
        assert!(enabled(&folder.path().join("none"), "x").is_err());
        fs::create_dir(folder.path().join("default")).expect("it is ours");
        assert_eq!(enabled(folder.path(), "x").ok(), Some(false));
        std::os::unix::fs::symlink("/etc/init.d/x", folder.path().join("default/x")).expect("it is ours");
        assert_eq!(enabled(folder.path(), "x").ok(), Some(true));
    }
}
