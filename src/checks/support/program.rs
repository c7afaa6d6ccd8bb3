//! A program that a check runs: what it is started with, and what it said by its end.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use super::environment::is_ours_alone;
use super::noted;
use super::ownership::{self, Distrust};
use super::secrets::Secrets;
use crate::checks::{Opt, Options, Value};
use crate::model::check::{self, CONTEXT_LIMIT, Deadline, Finding, Reason};
use crate::model::transcript::{Field, note};
use crate::os::child::{self, Bounds, End, Run};
use crate::os::{filesystem, signals};

/// The options that say how it is started.
pub(in crate::checks) const ARGS: Opt =
    Opt::new("args", Value::List, "The arguments, with commas between them, or one each").repeatable();
pub(in crate::checks) const ENV: Opt =
    Opt::new("env", Value::Variable, "A variable of its environment, as in NAME=VALUE").repeatable();
pub(in crate::checks) const CWD: Opt = Opt::new("cwd", Value::Path, "The folder that it starts in");

/// How much a program may print before it is killed.
const MOST_PRINTED: usize = 1 << 20;

/// What to run, and how. It is never shown whole: its arguments may hold secrets.
pub(in crate::checks) struct Program {
    path: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    cwd: Option<PathBuf>,
    hidden: Secrets,
}

/// How it ended, and what it said.
pub(in crate::checks) struct Ran {
    /// The error says why it was killed.
    pub(in crate::checks) end: Result<ExitStatus, String>,
    pub(in crate::checks) stdout: String,
    pub(in crate::checks) stderr: String,
    /// Whether that is all of its standard output.
    pub(in crate::checks) is_whole: bool,
}

impl Program {
    /// The program at a path, if we may run it.
    pub(in crate::checks) fn take(path: &str, options: &mut Options) -> Result<Program, String> {
        let program = Program::at(Path::new(path))?;
        let args = options.take_all(ARGS.name());
        let args = arguments(&args);
        if args.iter().any(|argument| is_flag_with_value(argument)) {
            options.note("args: a flag and its value are one argument: two have a comma between them, as in -w,5");
        }
        Ok(Program {
            args,
            env: options.take_all(ENV.name()).iter().map(|text| variable(text)).collect::<Result<_, _>>()?,
            cwd: options.parse(CWD.name(), folder)?,
            hidden: options.hidden(),
            ..program
        })
    }

    /// The same without options.
    pub(in crate::checks) fn at(path: &Path) -> Result<Program, String> {
        let path = executable(path)?;
        Ok(Program { path, args: Vec::new(), env: Vec::new(), cwd: None, hidden: Secrets::default() })
    }

    pub(in crate::checks) fn with(self, args: &[&str]) -> Program {
        Program { args: args.iter().map(|&arg| arg.to_owned()).collect(), ..self }
    }

    /// Runs it; `found` tells what its end means.
    pub(in crate::checks) fn run(&self, deadline: Deadline, found: impl FnOnce(&Ran) -> Finding) -> Finding {
        // Checked each time: the program may have changed since it was collected.
        match ownership::open(&self.path) {
            Ok(place) => {
                let found = &place.metadata;
                note(
                    Field::Program,
                    format_args!("inode {}, {} bytes, changed at {}", found.ino(), found.len(), noted::moment(found)),
                );
            }
            Err(Distrust::Unsafe(why)) => {
                return Finding::error(format!("{} is not run, because {why}", self.path.display()));
            }
            Err(Distrust::Unseen(error)) => return self.not_run(&error),
        }
        let mut command = Command::new(&self.path);
        std::env::vars_os().filter(|(name, _)| is_ours_alone(name)).for_each(|(name, _)| {
            command.env_remove(name);
        });
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        let limit = deadline.remaining(Instant::now());
        let bounds =
            Bounds { deadline: deadline.instant() - time_to_kill(limit), kept: CONTEXT_LIMIT, printed: MOST_PRINTED };
        let run = match child::run(&mut command, bounds) {
            Ok(run) => run,
            Err(error) => return self.not_run(&error),
        };
        let mut finding = found(&self.ran(&run, limit));
        if let (Some(context), false) = (&mut finding.context, run.spared.is_empty()) {
            context.push_str(&format!(" (its processes {:?} may not be killed by this user)", run.spared));
        }
        finding
    }

    fn not_run(&self, error: &io::Error) -> Finding {
        noted::error(error);
        Finding::error(format!("cannot run {}: {error}", self.path.display()))
    }

    fn ran(&self, run: &Run, limit: Duration) -> Ran {
        let (stdout, stderr) = (self.said(&run.stdout), self.said(&run.stderr));
        let begins = [&stdout, &stderr].into_iter().find_map(|text| text.trim_start().lines().next());
        let killed = |did: &str| Err(self.but(did, begins.unwrap_or_default().trim_end()));
        let end = match run.end {
            End::Exited(exit) => {
                exit.code().into_iter().for_each(|code| note(Field::Exit, code));
                exit.signal().into_iter().for_each(|signal| note(Field::Signal, signals::name(signal as u8)));
                Ok(exit)
            }
            End::TimedOut => killed(&format!("timed out after {} and was killed", spoken(limit))),
            End::TooLoud => killed("printed more than 1 MiB and was killed; it began with"),
        };
        let is_whole = end.is_ok() && run.stdout.len() < CONTEXT_LIMIT;
        Ran { end, stdout, stderr, is_whole }
    }

    /// What it has printed. Only the beginning of a long text was kept.
    fn said(&self, output: &[u8]) -> String {
        let text = String::from_utf8_lossy(output);
        if output.len() < CONTEXT_LIMIT {
            return self.hidden.scrub(&text);
        }
        self.hidden.scrub_cut(text.trim_end_matches(char::REPLACEMENT_CHARACTER))
    }

    /// What the program did instead of what was expected, and what it printed.
    pub(in crate::checks) fn but(&self, did: &str, text: &str) -> String {
        let path = self.path.display();
        if text.is_empty() { format!("{path} {did}, and printed nothing") } else { format!("{path} {did}: {text}") }
    }
}

/// What a program of this host said, with its exit code.
pub(in crate::checks) struct Said {
    pub(in crate::checks) code: i32,
    pub(in crate::checks) stdout: String,
    pub(in crate::checks) stderr: String,
}

/// Asks the first of these programs that there is.
pub(in crate::checks) fn ask(paths: &[&str], args: &[&str], deadline: Deadline) -> check::Result<Said> {
    let path = paths.iter().map(Path::new).find(|path| path.exists());
    let path = path.ok_or_else(|| Reason::Error(format!("there is no {} to ask", paths[0])))?;
    let program = Program::at(path).map_err(|why| Reason::Error(format!("{}: {why}", path.display())))?.with(args);
    let mut said = None;
    let finding = program.run(deadline, |ran| match &ran.end {
        Ok(end) => {
            let (stdout, stderr) = (ran.stdout.clone(), ran.stderr.clone());
            said = end.code().map(|code| Said { code, stdout, stderr });
            Finding::error(format!("{} was killed", path.display()))
        }
        Err(killed) => Finding::error(killed.clone()),
    });
    said.ok_or_else(|| Reason::Error(finding.context.unwrap_or_default()))
}

/// How long before the round gives up on it the program is killed: by then it is gone, and the reason is known.
pub(crate) fn time_to_kill(limit: Duration) -> Duration {
    (limit / 20).min(Duration::from_millis(50))
}

/// A duration in steps of 50 ms, a short one in steps of 1 ms: what was lost before the start does not matter.
pub(crate) fn spoken(duration: Duration) -> humantime::FormattedDuration {
    let step = if duration < Duration::from_millis(100) { 1u32 } else { 50 };
    let steps = (duration.as_secs_f64() * 1000.0 / f64::from(step)).round() as u64;
    humantime::format_duration(Duration::from_millis(steps * u64::from(step)))
}

/// The absolute path, if there is a program that we may run.
fn executable(path: &Path) -> Result<PathBuf, String> {
    if path.components().count() < 2 {
        return Err("the target is not the path of a program, as in exec:/usr/lib/nagios/plugins/check_load".to_owned());
    }
    let found = path.metadata().map_err(|error| format!("the program cannot be run: {error}"))?;
    if !found.is_file() {
        return Err("the program cannot be run: it is not a file".to_owned());
    }
    filesystem::may_execute(path)
        .map_err(|error| format!("the program cannot be run: {error}: is it executable (chmod +x) for this user?"))?;
    std::path::absolute(path).map_err(|error| format!("the program has no absolute path: {error}"))
}

/// A single value is a list with commas (`\,` for a comma in an argument); several values are one argument each.
fn arguments(values: &[String]) -> Vec<String> {
    let mut rest = match values {
        [list] if list.is_empty() => return Vec::new(),
        [list] => list.as_str(),
        _ => return values.to_vec(),
    };
    let mut arguments = vec![String::new()];
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
fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => {
            Err("option env: write a variable as env=NAME=VALUE, each in an option of its own".to_owned())
        }
    }
}

fn folder(text: &str) -> Result<PathBuf, String> {
    Some(PathBuf::from(text)).filter(|path| path.is_dir()).ok_or_else(|| "there is no such folder".to_owned())
}

/// Whether this looks like a flag and its value: `-w 5`.
fn is_flag_with_value(argument: &str) -> bool {
    argument.starts_with('-') && argument.contains(' ') && !argument.contains('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_a_list_with_commas_or_one_each() {
        let read = |values: &[&str]| arguments(&values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&[]), [""; 0]);
        assert_eq!(read(&[""]), [""; 0]);
        assert_eq!(read(&["-w,5,-c,9"]), ["-w", "5", "-c", "9"]);
        assert_eq!(read(&["-w,5\\,4\\,3,,a\\b"]), ["-w", "5,4,3", "", "a\\b"]);
        assert_eq!(read(&["-w", "5,4,3"]), ["-w", "5,4,3"]);
    }

    #[test]
    fn a_flag_and_its_value_in_one_argument_are_noted() {
        for (args, noted) in
            [("-w 5", true), ("-q,-w 5", true), ("-w,5", false), ("-c,echo 1 2", false), ("-e=a b", false)]
        {
            let mut options = Options::of(&[("args", args)]);
            Program::take("/bin/true", &mut options).expect("it is well formed");
            assert_eq!(!options.take_notes().is_empty(), noted, "{args}");
        }
    }
}
