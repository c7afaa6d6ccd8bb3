//! `process:nginx#min=1&max=4`, `process:#pidfile=/run/x.pid`: a program runs.

mod script;

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{Action, Kind, Opt, Options, Runs};
use crate::model::check::{Finding, Reason, Result};
use crate::model::perfdata::Perfdata;
use crate::os::procfs::{self, Stat};

pub(super) const KIND: Kind = Kind {
    scheme: "process",
    options: &[Opt::Text("min"), Opt::Text("max"), Opt::Text("pidfile")],
    // The arguments of a process lie in its own memory, for which the kernel may have to wait.
    runs: Runs::OnThread,
    title: "{target} runs",
    build,
};

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let name = target.to_owned();
    let max = options.parse("max", number)?;
    if let Some(pidfile) = options.take("pidfile")? {
        if max.is_some() || options.names().any(|name| name == "min") {
            return Err("pidfile names one process: it goes without min and max".to_owned());
        }
        let name = Some(name).filter(|name| !name.is_empty());
        let pidfile = PathBuf::from(pidfile);
        return Ok(Box::new(move |_| assert_pidfile(&pidfile, name.as_deref()).into()));
    }
    if name.is_empty() {
        return Err("name a program or a pidfile, as in process:nginx or process:#pidfile=/run/nginx.pid".to_owned());
    }
    // max=0 alone means that it must not run.
    let min = options.parse_or("min", if max == Some(0) { "0" } else { "1" }, number)?;
    if let Some(max) = max.filter(|max| min > *max) {
        return Err(format!("no number is at least {min} and at most {max}"));
    }
    Ok(Box::new(move |_| match count(&name) {
        Ok(found) => Finding {
            perfdata: vec![Perfdata::new("processes", found as f64, "")],
            ..Finding::from(verdict(&name, found, min, max))
        },
        Err(reason) => Finding::from(Err(reason)),
    }))
}

/// Asserts that at least `min` and at most `max` processes run this program, given by the name or the whole path of its
/// file or script, or by what it calls itself.
///
/// # Errors
///
/// `Fail` when there are fewer or more, `Error` when they cannot be counted.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_process(name: &str, min: usize, max: Option<usize>) -> Result {
    verdict(name, count(name)?, min, max)
}

/// Asserts that the process whose pid is in a file runs. With a name, that it is this program: the pid of a dead
/// process may be reused.
///
/// # Errors
///
/// `Fail` when there is no such file, it has no pid, or the process is dead or another program; `Error` when the file
/// cannot be read.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_pidfile(pidfile: impl AsRef<Path>, name: Option<&str>) -> Result {
    let pidfile = pidfile.as_ref();
    let fail =
        |got: String| Err(Reason::Fail(format!("expected {} to name a running process{got}", pidfile.display())));
    let text = match fs::read_to_string(pidfile) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return fail(format!(": {error}")),
        Err(error) => return Err(Reason::Error(format!("cannot read {}: {error}", pidfile.display()))),
    };
    let first = text.lines().next().unwrap_or_default().trim();
    let Some(pid) = first.parse().ok().filter(|pid: &i32| *pid > 0) else {
        let shown: String = first.chars().take(40).collect();
        return fail(format!(", got {shown:?}, which is no pid"));
    };
    match Stat::of(pid) {
        None => fail(format!(", got {pid}, and there is none")),
        Some(stat) if stat.is_dead() => fail(format!(", got {pid} ({}), which is dead and not reaped", stat.name)),
        Some(stat) => match name {
            Some(name) if !is_called(&stat, name) => fail(format!(" of {name}, got {pid}, which is {}", stat.name)),
            Some(_) | None => Ok(()),
        },
    }
}

fn count(name: &str) -> Result<usize> {
    let all = procfs::all().map_err(|error| Reason::Error(format!("cannot list processes in /proc: {error}")))?;
    Ok(all.filter(|stat| !stat.is_dead() && is_called(stat, name)).count())
}

fn verdict(name: &str, found: usize, min: usize, max: Option<usize>) -> Result {
    let expected = match max {
        Some(max) if max == min => format!("{min}"),
        Some(max) => format!("{min} to {max}"),
        None => format!("at least {min}"),
    };
    if found >= min && max.is_none_or(|max| found <= max) {
        return Ok(());
    }
    Err(Reason::Fail(format!("expected {expected} running processes called {name:?}, got {found} in /proc")))
}

fn is_called(stat: &Stat, name: &str) -> bool {
    // The cheap test first: the others read more of each process.
    if stat.name == name {
        return true;
    }
    let arguments = procfs::arguments(stat.pid);
    let program = procfs::program(stat.pid);
    let script = script::of(&stat.name, &arguments, program.as_deref());
    [arguments.first().map(String::as_str), program.as_deref(), script]
        .into_iter()
        .flatten()
        .any(|path| names(path, name))
}

/// Whether a path, or what a process calls itself (`nginx: master process …`), names this program.
fn names(path: &str, name: &str) -> bool {
    let program = path.split_once(": ").map_or(path, |(program, _)| program);
    program == name || (!name.contains('/') && base(program) == name)
}

/// The name of the file that a path leads to.
fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn number(text: &str) -> std::result::Result<usize, String> {
    text.parse().map_err(|_| "write a whole number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::{Deadline, Status};
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    fn found(target: &str, pairs: &[(&str, &str)]) -> Finding {
        build(target, &mut Options::of(pairs)).expect("it is well formed")(Deadline::at(Instant::now()))
    }

    fn says(finding: &Finding, status: Status, text: &str) {
        let context = finding.context.as_deref().unwrap_or_default();
        assert!(finding.status == status && context.contains(text), "{text:?} should be in {finding:?}");
    }

    /// A process that has no end of its own.
    struct Running(Child);

    impl Running {
        fn start(line: &[&str]) -> Running {
            let mut command = Command::new(line[0]);
            command.args(&line[1..]).stdin(Stdio::piped());
            // The file may still be open for writing in a child that another test is forking.
            loop {
                match command.spawn() {
                    Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                    spawned => break Running(spawned.expect("it can be run")),
                }
            }
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A process with a name that nothing else has: a copy of `sleep` under another name.
    struct Sleeper {
        child: Running,
        folder: tempfile::TempDir,
        name: String,
    }

    impl Sleeper {
        fn start() -> Sleeper {
            let folder = tempfile::tempdir().expect("there is room");
            let name = format!("sleeper-of-process-{}", folder.path().file_name().expect("it has one").display());
            let path = folder.path().join(&name);
            fs::copy("/bin/sleep", &path).expect("coreutils are there");
            let child = Running::start(&[&path.display().to_string(), "60"]);
            Sleeper { child, folder, name }
        }

        fn pidfile(&self, text: &str) -> String {
            let path = self.folder.path().join("x.pid");
            fs::write(&path, text).expect("there is room");
            path.display().to_string()
        }
    }

    #[test]
    fn a_program_is_known_by_its_name_its_path_and_what_it_calls_itself() {
        for (path, name) in [
            ("nginx", "nginx"),
            ("/usr/sbin/nginx", "nginx"),
            ("/usr/sbin/nginx", "/usr/sbin/nginx"),
            ("nginx: master process /usr/sbin/nginx", "nginx"),
        ] {
            assert!(names(path, name), "{path} {name}");
        }
        for (path, name) in [("nginx-debug", "nginx"), ("/opt/nginx", "/usr/sbin/nginx"), ("/nginx/x", "nginx")] {
            assert!(!names(path, name), "{path} {name}");
        }
    }

    #[test]
    fn running_processes_are_counted_within_bounds() {
        let sleeper = Sleeper::start();
        let found_one = found(&sleeper.name, &[]);
        assert_eq!((found_one.status, found_one.context), (Status::Pass, None));
        assert_eq!(found_one.perfdata, [Perfdata::new("processes", 1.0, "")]);
        let path = sleeper.folder.path().join(&sleeper.name).display().to_string();
        assert_eq!(found(&path, &[("max", "1")]).status, Status::Pass);
        says(&found(&sleeper.name, &[("min", "2")]), Status::Fail, "expected at least 2 running processes called");
        says(&found(&sleeper.name, &[("max", "0")]), Status::Fail, "expected 0 running processes");
        says(&found("no-such-program", &[("max", "4")]), Status::Fail, "expected 1 to 4 running processes");
        assert_eq!(found("no-such-program", &[("max", "0")]).status, Status::Pass);
    }

    #[test]
    fn a_script_is_found_by_its_name_whatever_runs_it() {
        let folder = tempfile::tempdir().expect("there is room");
        let name = format!("script-of-process-{}.sh", folder.path().file_name().expect("it has one").display());
        let path = folder.path().join(&name).display().to_string();
        let script = |text: &str| {
            fs::write(&path, text).expect("there is room");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        };
        // Each waits for a line that never comes.
        let waits = "read line; :";
        script(&format!("#!/bin/sh\n{waits}\n"));
        for line in [vec!["sh", &path], vec!["sh", "-e", &path], vec!["env", "sh", &path], vec![&path]] {
            let _running = Running::start(&line);
            let began = Instant::now();
            // What env runs is another program a moment later.
            while found(&name, &[]).status != Status::Pass {
                assert!(began.elapsed() < Duration::from_secs(20), "{line:?}");
            }
            assert_eq!(found(&path, &[("max", "1")]).status, Status::Pass, "{line:?}");
        }
        let code = format!("{waits} {path}");
        let _mentioned = Running::start(&["sh", "-c", &code, &path]);
        assert_eq!(found(&name, &[("max", "0")]).status, Status::Pass);
        script("#!/usr/bin/awk -f\nBEGIN { getline }\n");
        let _running = Running::start(&[&path]);
        assert_eq!(found(&name, &[]).status, Status::Pass);
    }

    #[test]
    fn a_pidfile_names_a_living_process() {
        let sleeper = Sleeper::start();
        let pidfile = sleeper.pidfile(&format!("{}\n", sleeper.child.0.id()));
        assert_eq!(found("", &[("pidfile", &pidfile)]).status, Status::Pass);
        assert_eq!(found(&sleeper.name, &[("pidfile", &pidfile)]).status, Status::Pass);
        says(&found("nginx", &[("pidfile", &pidfile)]), Status::Fail, "of nginx, got ");
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut sleeper = Sleeper::start();
        let pid = sleeper.child.0.id();
        let pidfile = sleeper.pidfile(&pid.to_string());
        sleeper.child.0.kill().expect("it is ours");
        let state = || Stat::of(i32::try_from(pid).expect("pids are small"));
        while !state().expect("nobody has reaped it").is_dead() {
            std::thread::yield_now();
        }
        says(&found("", &[("pidfile", &pidfile)]), Status::Fail, "which is dead and not reaped");
        says(&found(&sleeper.name, &[]), Status::Fail, "got 0 in /proc");
    }

    #[test]
    fn a_pidfile_of_nothing_is_a_failure_that_says_what_it_holds() {
        let sleeper = Sleeper::start();
        for (text, message) in [
            ("", "got \"\", which is no pid"),
            ("-1", "got \"-1\", which is no pid"),
            ("soon\n", "got \"soon\", which is no pid"),
            ("2147483647", "got 2147483647, and there is none"),
        ] {
            says(&found("", &[("pidfile", &sleeper.pidfile(text))]), Status::Fail, message);
        }
        says(&found("", &[("pidfile", "/no/such.pid")]), Status::Fail, "No such file");
        says(&found("", &[("pidfile", "/proc")]), Status::Error, "cannot read /proc");
    }

    #[test]
    fn wrong_options_are_refused() {
        assert!(build("", &mut Options::of(&[])).is_err());
        assert!(build("x", &mut Options::of(&[("min", "two")])).is_err());
        assert!(build("x", &mut Options::of(&[("min", "2"), ("max", "1")])).is_err());
        assert!(build("x", &mut Options::of(&[("pidfile", "/x"), ("min", "1")])).is_err());
    }
}
