//! `exec:/path/to/program#args=-w,5`: a program reports that all is well, as Nagios plugins do.
//!
//! | exit code | finding |
//! |---|---|
//! | 0 | pass |
//! | 1 | a warning: pass, or fail with `warning=fail` |
//! | 2 | fail |
//! | 3, any other, death by a signal | error |
//!
//! The first line of its output is the context; without output, the first line of its standard error. What follows a
//! `|` is read as [`Perfdata`](crate::model::perfdata::Perfdata).

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use super::Action;
use super::Kind;
use super::Options;
use super::support::ownership;
use super::support::secrets::Secrets;
use crate::model::check::{CONTEXT_LIMIT, Deadline, Finding, Reason, Result, Status};
use crate::model::perfdata;
use crate::os::child::{self, Bounds, End, Run};
use crate::os::filesystem;

pub(super) const KIND: Kind = Kind {
    scheme: "exec",
    options: &["args", "env", "cwd", "warning"],
    blocking: true,
    title: "{target} reports no problem",
    build,
};

/// How much a program may print before it is killed.
const MOST_PRINTED: usize = 1 << 20;

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let program = Program {
        path: executable(Path::new(target))?,
        args: arguments(options.take_all("args")),
        env: options.take_all("env").iter().map(|text| variable(text)).collect::<std::result::Result<_, _>>()?,
        cwd: options.parse("cwd", folder)?,
        warning: options.parse("warning", warning)?.unwrap_or(Status::Pass),
        hidden: options.hidden(),
    };
    Ok(Box::new(move |deadline| program.run(deadline)))
}

/// Asserts that a program, given by its path, ends within 5 s with exit code 0, or with 1, a warning.
///
/// # Errors
///
/// `Fail` when its exit code is 2; `Error` when it is any other, or the program cannot be run, is killed, prints more
/// than 1 MiB, or takes longer. It is killed with every process that it started.
pub fn assert_exec(program: impl AsRef<Path>, args: &[&str]) -> Result {
    let program = Program {
        path: executable(program.as_ref()).map_err(Reason::Error)?,
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: Vec::new(),
        cwd: None,
        warning: Status::Pass,
        hidden: Secrets::default(),
    };
    super::result(program.run(super::default_deadline()))
}

/// What to run, and how. It is never shown whole: its arguments may hold secrets.
struct Program {
    path: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    cwd: Option<PathBuf>,
    /// What a warning counts as.
    warning: Status,
    hidden: Secrets,
}

impl Program {
    fn run(&self, deadline: Deadline) -> Finding {
        // Checked each time: the program may have changed since it was collected.
        if let Some(why) = ownership::objection_to(&self.path) {
            return Finding::error(format!("{} is not run, because {why}", self.path.display()));
        }
        let mut command = Command::new(&self.path);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        let limit = deadline.remaining(Instant::now());
        let bounds =
            Bounds { deadline: deadline.instant() - time_to_kill(limit), kept: CONTEXT_LIMIT, printed: MOST_PRINTED };
        match child::run(&mut command, bounds) {
            Ok(run) => self.interpret(&run, limit),
            Err(error) => Finding::error(format!("cannot run {}: {error}", self.path.display())),
        }
    }

    fn interpret(&self, run: &Run, limit: Duration) -> Finding {
        let (stdout, stderr) = (self.said(&run.stdout), self.said(&run.stderr));
        let (line, mut perfdata) = perfdata::split(&stdout);
        if !matches!(run.end, End::Exited(_)) || run.stdout.len() >= CONTEXT_LIMIT {
            // The last word may be cut off: the rest of a figure would be another figure.
            let whole = stdout.rfind(|c: char| c.is_whitespace() || c == '|').map_or("", |end| &stdout[..end]);
            perfdata = perfdata::split(whole).1;
        }
        let line =
            if line.is_empty() { stderr.trim_start().lines().next().unwrap_or_default().trim_end() } else { line };
        let (status, mut context) = match run.end {
            End::Exited(exit) => self.verdict(exit, line),
            End::TimedOut => {
                (Status::Error, Some(self.but(&format!("timed out after {} and was killed", spoken(limit)), line)))
            }
            End::TooLoud => {
                (Status::Error, Some(self.but("printed more than 1 MiB and was killed; it began with", line)))
            }
        };
        if let (Some(context), false) = (&mut context, run.spared.is_empty()) {
            context.push_str(&format!(" (its processes {:?} may not be killed by this user)", run.spared));
        }
        Finding { status, context, perfdata }
    }

    /// What it has printed. Only the beginning of a long text was kept.
    fn said(&self, output: &[u8]) -> String {
        let text = String::from_utf8_lossy(output);
        if output.len() < CONTEXT_LIMIT {
            return self.hidden.scrub(&text);
        }
        self.hidden.scrub_cut(text.trim_end_matches(char::REPLACEMENT_CHARACTER))
    }

    fn verdict(&self, exit: ExitStatus, line: &str) -> (Status, Option<String>) {
        let status = match exit.code() {
            Some(0) => Status::Pass,
            Some(1) => self.warning,
            Some(2) => Status::Fail,
            Some(_) | None => Status::Error,
        };
        let context = match (exit.code(), line) {
            (Some(0), "") => None,
            (Some(0..=3), line) if !line.is_empty() => Some(line.to_owned()),
            (Some(1..=3), _) => Some(self.but(&format!("ended with {exit}"), "")),
            (Some(_) | None, line) => Some(self.but(&format!("ended with {exit}, where a plugin has 0 to 3"), line)),
        };
        (status, context)
    }

    /// What the program did instead of what was expected, and what it printed.
    fn but(&self, did: &str, line: &str) -> String {
        let path = self.path.display();
        if line.is_empty() { format!("{path} {did}, and printed nothing") } else { format!("{path} {did}: {line}") }
    }
}

/// How long before the round gives up on it the program is killed: by then it is gone, and the reason is known.
fn time_to_kill(limit: Duration) -> Duration {
    (limit / 20).min(Duration::from_millis(50))
}

/// A duration in steps of 50 ms, a short one in steps of 1 ms: what was lost before the start does not matter.
fn spoken(duration: Duration) -> humantime::FormattedDuration {
    let step = if duration < Duration::from_millis(100) { 1u32 } else { 50 };
    let steps = (duration.as_secs_f64() * 1000.0 / f64::from(step)).round() as u64;
    humantime::format_duration(Duration::from_millis(steps * u64::from(step)))
}

/// The absolute path, if there is a program that we may run.
fn executable(path: &Path) -> std::result::Result<PathBuf, String> {
    if path.components().count() < 2 {
        return Err(format!("{path:?} is no path of a program, as in exec:/usr/lib/nagios/plugins/check_load"));
    }
    let found = path.metadata().map_err(|error| format!("{path:?} cannot be run: {error}"))?;
    if !found.is_file() {
        return Err(format!("{path:?} cannot be run: it is no file"));
    }
    filesystem::may_execute(path)
        .map_err(|error| format!("{path:?} cannot be run: {error}: is it executable (chmod +x) for this user?"))?;
    std::path::absolute(path).map_err(|error| format!("{path:?} has no absolute path: {error}"))
}

/// A single value is a list with commas (`\,` for a comma in an argument); several values are one argument each.
fn arguments(mut values: Vec<String>) -> Vec<String> {
    if values.len() != 1 {
        return values;
    }
    let list = values.remove(0);
    if list.is_empty() {
        return values;
    }
    let mut arguments = vec![String::new()];
    let mut rest = list.as_str();
    while let Some(comma) = rest.find(',') {
        let last = arguments.last_mut().expect("there is one from the start");
        match rest[..comma].strip_suffix('\\') {
            Some(escaped) => last.extend([escaped, ","]),
            None => {
                last.push_str(&rest[..comma]);
                arguments.push(String::new());
            }
        }
        rest = &rest[comma + 1..];
    }
    arguments.last_mut().expect("there is one from the start").push_str(rest);
    arguments
}

/// Reads `NAME=VALUE`. The error does not show it, as it may be a secret.
fn variable(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => {
            Err("option env: write a variable as env=NAME=VALUE, each in an option of its own".to_owned())
        }
    }
}

fn folder(text: &str) -> std::result::Result<PathBuf, String> {
    match Path::new(text) {
        path if !path.is_absolute() => Err("write an absolute path".to_owned()),
        path if !path.is_dir() => Err("there is no such folder".to_owned()),
        path => Ok(path.to_owned()),
    }
}

fn warning(text: &str) -> std::result::Result<Status, String> {
    match text {
        "pass" => Ok(Status::Pass),
        "fail" => Ok(Status::Fail),
        _ => Err("write pass or fail".to_owned()),
    }
}

#[cfg(test)]
mod tests;
