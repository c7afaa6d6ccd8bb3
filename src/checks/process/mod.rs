//! `process:nginx#min=1&max=4`, `process:python3#args=worker`, `process:#pidfile=/run/x.pid`: a program runs.

mod script;
#[cfg(test)]
mod tests;

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::support::options::whole;
use super::support::pattern::Pattern;
use super::support::thresholds::{self, Good};
use super::{Action, Kind, Opt, Options, Runs, Value, default_deadline};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::perfdata::Perfdata;
use crate::os::filesystem;
use crate::os::procfs::{self, Stat};
use crate::os::walk;

pub(super) const KIND: Kind = Kind {
    scheme: "process",
    port: None,
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
    controls: Control::HOST,
    title: "{target} runs",
    passes: "a program runs",
    notices: &["gone", "starved"],
    examples: &["process:nginx#max=20", "process:#pidfile=/run/x.pid"],
    build,
};

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let name = target.to_owned();
    let max: Option<usize> = options.whole("max")?;
    let (warn_min, warn_max) = (options.whole("warn_min")?, options.whole("warn_max")?);
    let args: Option<Pattern> = options.parse("args", str::parse)?;
    let cgroup = options.parse("cgroup", |text| match text.starts_with('/') && text.len() > 1 {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err("write the path of a control group, as in /system.slice/nginx.service"),
    })?;
    if let Some(pidfile) = options.take("pidfile")?.map(PathBuf::from) {
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
    let min: usize = options.parse_or("min", if max == Some(0) { "0" } else { "1" }, whole)?;
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
