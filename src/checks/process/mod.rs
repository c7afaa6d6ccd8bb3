//! `process:nginx#min=1&max=4`, `process:python3#args=worker`, `process:#pidfile=/run/x.pid`: a program runs.

mod script;

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::support::pattern::Pattern;
use super::support::thresholds::{self, Good};
use super::{Action, Kind, Opt, Options, Runs, Value, default_deadline};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::perfdata::Perfdata;
use crate::os::filesystem;
use crate::os::procfs::{self, Stat};
use crate::os::walk;

pub(super) const KIND: Kind = Kind {
    scheme: "process",
    options: &[
        Opt::new("min", Value::Number, "So many have to run").or("1"),
        Opt::new("warn_min", Value::Number, "If fewer run than this, it warns"),
        Opt::new("warn_max", Value::Number, "If more run than this, it warns"),
        Opt::new("max", Value::Number, "At most so many may run; 0 means that it must not run"),
        Opt::new("args", Value::Pattern, "What its arguments have to match"),
        Opt::new("cgroup", Value::Path, "The control group that it is in, as in /system.slice/nginx.service"),
        Opt::new("pidfile", Value::Path, "The file that has the pid of the one process that is meant"),
    ],
    // The arguments of a process lie in its own memory, for which the kernel may have to wait.
    runs: Runs::OnThread,
    title: "{target} runs",
    passes: "a program runs",
    examples: &["process:nginx#max=20", "process:#pidfile=/run/x.pid"],
    build,
};

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let name = target.to_owned();
    let max = options.parse("max", number)?;
    let (warn_min, warn_max) = (options.parse("warn_min", number)?, options.parse("warn_max", number)?);
    let args: Option<Pattern> = options.parse("args", str::parse)?;
    let cgroup = options.parse("cgroup", |text| match text.starts_with('/') && text.len() > 1 {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err("write the path of a control group, as in /system.slice/nginx.service"),
    })?;
    if let Some(pidfile) = options.parse("pidfile", absolute)? {
        let is_one = max.or(warn_min).or(warn_max).is_none() && args.is_none() && cgroup.is_none();
        if !is_one || options.names().any(|name| name == "min") {
            return Err("pidfile names one process: it goes without min, max, args and cgroup".to_owned());
        }
        let name = Some(name).filter(|name| !name.is_empty());
        return Ok(Box::new(move |_| assert_pidfile(&pidfile, name.as_deref()).into()));
    }
    // Whoever asks for certain arguments has them among its own.
    if name.is_empty() && args.is_some() {
        return Err("name the program too whose arguments are meant, as in process:python3#args=worker".to_owned());
    }
    if name.is_empty() && cgroup.is_none() {
        return Err("name a program or a pidfile, as in process:nginx or process:#pidfile=/run/nginx.pid".to_owned());
    }
    // max=0 alone means that it must not run.
    let min = options.parse_or("min", if max == Some(0) { "0" } else { "1" }, number)?;
    if let Some(max) = max.filter(|max| min > *max) {
        return Err(format!("no number is at least {min} and at most {max}"));
    }
    thresholds::verify(Good::Above, "min", Some((&min, min.to_string())), warn_min.as_ref())?;
    thresholds::verify(Good::Below, "max", max.as_ref().map(|max| (max, max.to_string())), warn_max.as_ref())?;
    let wanted = Wanted { name: Some(name).filter(|name| !name.is_empty()), args, cgroup };
    Ok(Box::new(move |deadline| match count(&wanted, deadline) {
        Ok(count) => {
            let finding = Finding {
                perfdata: count.exact().map(|found| Perfdata::new("processes", found as f64, "")).into_iter().collect(),
                ..Finding::from(count.verdict(&wanted, min, max))
            };
            thresholds::judged(finding, || match (warn_min, warn_max) {
                (None, None) => Ok(()),
                _ => count.verdict(&wanted, warn_min.unwrap_or(min), warn_max.or(max)),
            })
        }
        Err(reason) => Finding::from(Err(reason)),
    }))
}

/// Asserts that at least `min` and at most `max` processes run this program, given by the name or the whole path of its
/// file or script, or by what it calls itself.
///
/// # Errors
///
/// `Fail` when there are fewer or more, `Error` when they cannot be counted, or those that we may not see would decide.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_process(name: &str, min: usize, max: Option<usize>) -> Result {
    let wanted = Wanted { name: Some(name.to_owned()), args: None, cgroup: None };
    count(&wanted, default_deadline())?.verdict(&wanted, min, max)
}

/// Asserts that the process whose pid is in a file runs. With a name, that it is this program: the pid of a dead
/// process may be reused.
///
/// # Errors
///
/// `Fail` when there is no such file, it has no pid of a process, or the process is dead or another program; `Error` when
/// we may not see the file or the process.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_pidfile(pidfile: impl AsRef<Path>, name: Option<&str>) -> Result {
    let pidfile = pidfile.as_ref();
    let fail =
        |got: String| Err(Reason::Fail(format!("expected {} to name a running process{got}", pidfile.display())));
    let text = match filesystem::read_file(pidfile) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return fail(format!(": {error}")),
        Err(error) => return Err(Reason::Error(format!("cannot read {}: {error}", pidfile.display()))),
    };
    let first = text.lines().next().unwrap_or_default().trim();
    let Some(pid) = first.parse().ok().filter(|pid: &i32| *pid > 0) else {
        let shown: String = first.chars().take(40).collect();
        return fail(format!(", got {shown:?}, which is not a pid"));
    };
    let unseen = |why: String| Err(Reason::Error(format!("{} names {pid}, {why}", pidfile.display())));
    let stat = match Stat::read(pid) {
        Ok(Some(stat)) => stat,
        Ok(None) if procfs::exists(pid) => return unseen("which exists, but /proc does not show it to us".to_owned()),
        Ok(None) => return fail(format!(", got {pid}, and there is none")),
        Err(error) => return unseen(format!("which /proc does not let us see: {error}")),
    };
    if stat.is_dead() {
        return fail(format!(", got {pid} ({}), which is dead and not reaped", stat.name));
    }
    match procfs::process_of(pid) {
        Ok(process) if process != pid => return fail(format!(", got {pid}, which is a thread of process {process}")),
        Ok(_) => {}
        Err(error) => return unseen(format!("whose status cannot be read: {error}")),
    }
    match name.map(|name| (name, is_called(&stat, name))) {
        None | Some((_, Some(true))) => Ok(()),
        Some((name, Some(false))) => fail(format!(" of {name}, got {pid}, which is {}", stat.name)),
        Some((name, None)) => {
            unseen(format!("which is {}, but it cannot be seen whether its file is {name}", stat.name))
        }
    }
}

/// Which processes count: what is not set does not matter.
struct Wanted {
    name: Option<String>,
    /// It is in the arguments, with spaces between them.
    args: Option<Pattern>,
    /// They are in this control group, or in one below it.
    cgroup: Option<String>,
}

impl Wanted {
    /// Whether a process is one; `None` where that cannot be seen.
    fn is(&self, stat: &Stat, deadline: Deadline) -> Result<Option<bool>> {
        let mut verdict = Some(true);
        let mut and = |seen: Option<bool>| {
            verdict = match (verdict, seen) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (None, _) | (_, None) => None,
                (Some(true), Some(true)) => Some(true),
            };
            verdict != Some(false)
        };
        if let Some(cgroup) = &self.cgroup {
            let groups = match procfs::control_groups(stat.pid) {
                Err(error) if procfs::is_gone(&error) => Some(Vec::new()),
                groups => groups.ok(),
            };
            let is_under = |group: &String| {
                group.strip_prefix(cgroup.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if !and(groups.map(|groups| groups.iter().any(is_under))) {
                return Ok(Some(false));
            }
        }
        if let Some(name) = &self.name
            && !and(is_called(stat, name))
        {
            return Ok(Some(false));
        }
        if let Some(pattern) = &self.args {
            let seen = match procfs::arguments(stat.pid) {
                Ok(arguments) => Some(has_arguments(&arguments, pattern, deadline)?),
                Err(_) => None,
            };
            and(seen);
        }
        Ok(verdict)
    }

    fn described(&self) -> String {
        let mut text = String::new();
        if let Some(name) = &self.name {
            text.push_str(&format!(" called {name:?}"));
        }
        if let Some(args) = &self.args {
            text.push_str(&format!(" with arguments that match {:?}", args.as_str()));
        }
        if let Some(cgroup) = &self.cgroup {
            text.push_str(&format!(" in the control group {cgroup}"));
        }
        text
    }
}

fn has_arguments(arguments: &[String], pattern: &Pattern, deadline: Deadline) -> Result<bool> {
    let line = arguments.join(" ");
    // A command line with this very option is that of who asks, as of a shell around `hospital check`.
    if line.is_empty() || line.contains(&format!("args={}", pattern.as_str())) {
        return Ok(false);
    }
    Ok(pattern.is_in(line.as_bytes(), deadline)?)
}

/// How many processes run a program: those that do, and those of which we may not see whether they do.
#[derive(Debug, PartialEq)]
struct Counted {
    seen: usize,
    unseen: usize,
}

fn count(wanted: &Wanted, deadline: Deadline) -> Result<Counted> {
    let cannot = |error: io::Error| Reason::Error(format!("cannot list processes in /proc: {error}"));
    // Any number is left out.
    let mut count = Counted { seen: 0, unseen: if procfs::leaves_out().map_err(cannot)? { usize::MAX } else { 0 } };
    for stat in procfs::listed().map_err(cannot)? {
        match stat {
            Ok(stat) if stat.is_dead() => {}
            Ok(stat) => match wanted.is(&stat, deadline)? {
                Some(true) => count.seen += 1,
                Some(false) => {}
                None => count.unseen = count.unseen.saturating_add(1),
            },
            Err(_) => count.unseen = count.unseen.saturating_add(1),
        }
    }
    Ok(count)
}

impl Counted {
    fn exact(&self) -> Option<usize> {
        (self.unseen == 0).then_some(self.seen)
    }

    /// Decides only what those that we may not see could not change.
    fn verdict(&self, wanted: &Wanted, min: usize, max: Option<usize>) -> Result {
        let expected = match max {
            Some(max) if max == min => format!("{min}"),
            Some(max) => format!("{min} to {max}"),
            None => format!("at least {min}"),
        };
        let Counted { seen, unseen } = *self;
        let most = seen.saturating_add(unseen);
        if seen >= min && max.is_none_or(|max| most <= max) {
            return Ok(());
        }
        let got = format!("expected {expected} running processes{}, got {seen} in /proc", wanted.described());
        if most < min || max.is_some_and(|max| seen > max) {
            return Err(Reason::Fail(got));
        }
        Err(Reason::Error(format!(
            "{got}, and there may be more: of other users, whom root may see, or scripts started by a relative path"
        )))
    }
}

/// Whether a process is this program; `None` when only its file or its arguments would tell, and they cannot be seen.
pub(super) fn is_called(stat: &Stat, name: &str) -> Option<bool> {
    // The cheap test first: the others read more of each process.
    if stat.name == name {
        return Some(true);
    }
    let (arguments, is_known) = match procfs::arguments(stat.pid) {
        Ok(arguments) => (arguments, true),
        Err(_) => (Vec::new(), false),
    };
    let program = procfs::program(stat.pid).ok();
    let title = arguments.first().map(String::as_str);
    let script = script::of(&stat.name, &arguments, program.as_deref());
    if [title, program.as_deref(), script].into_iter().flatten().any(|path| names(path, name)) {
        return Some(true);
    }
    if !name.starts_with('/') {
        return is_known.then_some(false);
    }
    match runs_file(stat.pid, name, title, script) {
        Ok(true) => Some(true),
        Ok(false) => is_known.then_some(false),
        Err(_) => {
            let target = fs::canonicalize(name).map_or_else(|_| name.to_owned(), |path| path.display().to_string());
            let is_alike = [name, target.as_str()].into_iter().any(|path| {
                script::is_called_by_kernel(&stat.name, path)
                    || [title, script].into_iter().flatten().any(|called| names(called, base(path)))
            });
            (is_known && !is_alike).then_some(false)
        }
    }
}

/// Whether the program or the script of a process is the file at this path, by whatever other path it was started.
fn runs_file(pid: i32, name: &str, title: Option<&str>, script: Option<&str>) -> io::Result<bool> {
    let Some(program) = identity(fs::metadata(procfs::executable(pid)))? else { return Ok(false) };
    let Some(file) = identity(fs::metadata(name))? else { return Ok(false) };
    // A process may have left the folder from which its relative path led to a file.
    let seen = |path: &str, look: fn(PathBuf) -> io::Result<Metadata>| match identity(look(procfs::seen_by(pid, path)))?
    {
        None if !path.starts_with('/') => Err(io::Error::from(io::ErrorKind::NotFound)),
        found => Ok(found),
    };
    if let Some(script) = script
        && seen(script, fs::metadata)? == Some(file)
    {
        return Ok(true);
    }
    if program != file {
        return Ok(false);
    }
    // One file may be many programs by the links to it, as with busybox and the `python` of each venv.
    if procfs::program(pid).is_ok_and(|program| base(&program) == base(name)) {
        return Ok(true);
    }
    match title {
        Some(path) if path.contains('/') => {
            Ok(seen(path, fs::symlink_metadata)? == identity(fs::symlink_metadata(name))?)
        }
        Some(title) => Ok(names(title, base(name))),
        None => Ok(false),
    }
}

/// What tells a file from all others, by whatever path it is reached; `None` if there is none.
fn identity(metadata: io::Result<Metadata>) -> io::Result<Option<(u64, u64)>> {
    match metadata {
        Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
        Err(error) if procfs::is_gone(&error) || walk::leads_nowhere(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a path, or what a process calls itself (`nginx: master process …`, `puma 5.6.4 (tcp://…) [app]`), names this
/// program.
fn names(path: &str, name: &str) -> bool {
    let program = path.split_once(": ").map_or(path, |(program, _)| program);
    // A path may have spaces.
    let program = program.split(' ').next().filter(|word| !word.contains('/')).unwrap_or(program);
    program == name || (!name.contains('/') && base(program) == name)
}

/// The name of the file that a path leads to.
fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn absolute(path: &str) -> std::result::Result<PathBuf, String> {
    Some(PathBuf::from(path)).filter(|path| path.is_absolute()).ok_or_else(|| "write an absolute path".to_owned())
}

fn number(text: &str) -> std::result::Result<usize, String> {
    text.parse().map_err(|_| "write a whole number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Status;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    fn found(target: &str, pairs: &[(&str, &str)]) -> Finding {
        let action = build(target, &mut Options::of(pairs)).expect("it is well formed");
        action(Deadline::at(Instant::now() + Duration::from_secs(60)))
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
            ("/opt/my shop/bin/shop", "shop"),
            ("puma 5.6.4 (tcp://0.0.0.0:3000) [app]", "puma"),
        ] {
            assert!(names(path, name), "{path} {name}");
        }
        for (path, name) in [
            ("nginx-debug", "nginx"),
            ("/opt/nginx", "/usr/sbin/nginx"),
            ("/nginx/x", "nginx"),
            ("puma 5.6.4 [app]", "[app]"),
        ] {
            assert!(!names(path, name), "{path} {name}");
        }
    }

    #[test]
    fn arguments_and_the_control_group_tell_processes_of_one_program_apart() {
        let sleeper = Sleeper::start();
        assert_eq!(found(&sleeper.name, &[("args", " 6[01]$")]).status, Status::Pass);
        says(
            &found(&sleeper.name, &[("args", "^worker")]),
            Status::Fail,
            "with arguments that match \"^worker\", got 0",
        );
        let pid = i32::try_from(sleeper.child.0.id()).expect("pids are small");
        let groups = procfs::control_groups(pid).expect("it is ours");
        if let Some(group) = groups.iter().find(|group| group.len() > 1) {
            assert_eq!(found(&sleeper.name, &[("cgroup", group)]).status, Status::Pass);
            assert_eq!(found("", &[("cgroup", group), ("min", "2")]).status, Status::Pass);
        }
        let other = found(&sleeper.name, &[("cgroup", "/no/such")]);
        says(&other, Status::Fail, "in the control group /no/such, got 0");
    }

    #[test]
    fn who_asks_for_arguments_is_not_found_by_them() {
        let pattern: Pattern = "worker".parse().expect("it is one");
        let deadline = Deadline::at(Instant::now() + Duration::from_secs(60));
        let has = |line: &[&str]| {
            let line: Vec<_> = line.iter().map(|&word| word.to_owned()).collect();
            has_arguments(&line, &pattern, deadline)
        };
        assert_eq!(has(&["python3", "worker.py"]), Ok(true));
        assert_eq!(has(&["sh", "-c", "hospital check 'process:sh#args=worker'"]), Ok(false));
        assert_eq!(has(&[]), Ok(false), "a thread of the kernel");
        let error = build("", &mut Options::of(&[("args", "worker")])).err().unwrap_or_default();
        assert!(error.starts_with("name the program too"), "{error}");
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
    fn a_program_that_was_started_by_another_path_is_found_by_its_own() {
        let sleeper = Sleeper::start();
        let path = |name: &str| sleeper.folder.path().join(name).display().to_string();
        symlink(".", path("link")).expect("the folder is ours");
        symlink(&sleeper.name, path("other")).expect("the folder is ours");
        says(&found(&path(&format!("link/{}", sleeper.name)), &[("max", "0")]), Status::Fail, "got 1 in /proc");
        // Like /bin/sleep of busybox: what was not started by the link is another program.
        assert_eq!(found(&path("other"), &[("max", "0")]).status, Status::Pass);
        let _other = Running::start(&[&path("link/other"), "60"]);
        says(&found(&path("other"), &[("max", "0")]), Status::Fail, "got 1 in /proc");
    }

    #[test]
    fn a_script_that_was_started_by_a_relative_path_is_found_by_its_whole_path() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("my.sh").display().to_string();
        fs::write(&path, "read line; :\n").expect("there is room");
        let shell = Command::new("sh").arg("./my.sh").current_dir(&folder).stdin(Stdio::piped()).spawn();
        let _running = Running(shell.expect("it can be run"));
        says(&found(&path, &[("max", "0")]), Status::Fail, "got 1 in /proc");
    }

    #[test]
    fn a_relative_script_that_has_left_its_folder_decides_nothing() {
        let folder = tempfile::tempdir().expect("there is room");
        let name = format!("leaver-of-process-{}.sh", folder.path().file_name().expect("it has one").display());
        let path = folder.path().join(&name).display().to_string();
        fs::write(&path, "cd /; read line; :\n").expect("there is room");
        let shell = Command::new("sh").arg(&name).current_dir(&folder).stdin(Stdio::piped()).spawn();
        let _running = Running(shell.expect("it can be run"));
        let began = Instant::now();
        while found(&path, &[("max", "0")]).status != Status::Error {
            assert!(began.elapsed() < Duration::from_secs(20));
        }
        assert_eq!(found("/no/such/program", &[("max", "0")]).status, Status::Pass);
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
            ("", "got \"\", which is not a pid"),
            ("-1", "got \"-1\", which is not a pid"),
            ("soon\n", "got \"soon\", which is not a pid"),
            ("2147483647", "got 2147483647, and there is none"),
        ] {
            says(&found("", &[("pidfile", &sleeper.pidfile(text))]), Status::Fail, message);
        }
        says(&found("", &[("pidfile", "/no/such.pid")]), Status::Fail, "No such file");
        says(&found("", &[("pidfile", "/proc")]), Status::Error, "cannot read /proc");
    }

    #[test]
    fn what_may_not_be_seen_decides_nothing() {
        let wanted = Wanted { name: Some("x".into()), args: None, cgroup: None };
        let verdict = |seen, unseen, min, max| match (Counted { seen, unseen }).verdict(&wanted, min, max) {
            Ok(()) => "pass",
            Err(Reason::Fail(_)) => "fail",
            Err(_) => "error",
        };
        for (seen, unseen, min, max, expected) in [
            (1, usize::MAX, 1, None, "pass"),
            (0, usize::MAX, 1, None, "error"),
            (0, 1, 0, Some(0), "error"),
            (1, 1, 0, Some(0), "fail"),
            (1, 1, 3, None, "fail"),
            (1, 1, 2, None, "error"),
            (1, 1, 1, Some(2), "pass"),
            (1, 2, 1, Some(2), "error"),
        ] {
            assert_eq!(verdict(seen, unseen, min, max), expected, "{seen} {unseen} {min} {max:?}");
        }
    }

    #[test]
    fn a_thread_in_a_pidfile_is_not_a_process() {
        let (tell, told) = std::sync::mpsc::channel();
        let (_hold, held) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            let link = fs::read_link("/proc/thread-self").expect("/proc is mounted");
            tell.send(link.file_name().expect("it has one").display().to_string()).expect("it is awaited");
            let _ = held.recv();
        });
        let folder = tempfile::tempdir().expect("there is room");
        let pidfile = folder.path().join("x.pid").display().to_string();
        fs::write(&pidfile, told.recv().expect("it is told")).expect("there is room");
        says(&found("", &[("pidfile", &pidfile)]), Status::Fail, "which is a thread of process ");
    }

    #[test]
    fn a_pidfile_of_somebody_elses_making_is_not_read_for_ever() {
        let folder = tempfile::tempdir().expect("there is room");
        let fifo = folder.path().join("fifo").display().to_string();
        assert!(Command::new("mkfifo").arg(&fifo).status().expect("coreutils are there").success());
        let sparse = folder.path().join("sparse").display().to_string();
        fs::File::create(&sparse).and_then(|file| file.set_len(6 << 30)).expect("it takes no room");
        says(&found("", &[("pidfile", &fifo)]), Status::Error, "it is not a regular file");
        says(&found("", &[("pidfile", "/dev/zero")]), Status::Error, "it is not a regular file");
        says(&found("", &[("pidfile", &sparse)]), Status::Error, "it is larger than 1 MiB");
    }

    #[test]
    fn wrong_options_are_refused() {
        assert!(build("", &mut Options::of(&[])).is_err());
        assert!(build("x", &mut Options::of(&[("min", "two")])).is_err());
        assert!(build("x", &mut Options::of(&[("min", "2"), ("max", "1")])).is_err());
        assert!(build("x", &mut Options::of(&[("pidfile", "/x"), ("min", "1")])).is_err());
        let refused = build("", &mut Options::of(&[("pidfile", "x.pid")])).err();
        assert_eq!(refused.as_deref(), Some("option pidfile: write an absolute path"));
    }
}
