//! `file:/path#max_age=1h`: a file exists and is as expected, or does not exist.

use std::fmt::Write;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::support::pattern::Pattern;
use super::{Action, Kind, Opt, Options, Runs, default_deadline};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::perfdata::Perfdata;
use crate::model::{amount, duration};
use crate::os::{filesystem, identity};

pub(super) const KIND: Kind = Kind {
    scheme: "file",
    options: &[
        Opt::Text("max_age"),
        Opt::Text("min_size"),
        Opt::Text("max_size"),
        Opt::Text("match"),
        Opt::Text("owner"),
        Opt::Text("mode"),
        Opt::Text("absent"),
    ],
    // A network file system whose server is down only answers when that comes back.
    runs: Runs::OnThread,
    title: "{target} is as it should be",
    build,
};

/// How far the clocks of this host and of a file server may differ.
const AHEAD: Duration = Duration::from_secs(10);

/// What a file must be like; fields that are not set do not matter.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// It was changed at most this long ago.
    pub max_age: Option<Duration>,
    /// It has at least this many bytes.
    pub min_size: Option<u64>,
    /// It has at most this many bytes.
    pub max_size: Option<u64>,
    /// It has a match.
    pub content: Option<Pattern>,
    /// It belongs to the user with this number.
    pub owner: Option<u32>,
    /// It has exactly these permissions, as in `0o640`.
    pub mode: Option<u32>,
}

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    if !target.starts_with('/') {
        return Err("the target is not an absolute path, as in file:/run/shop.lock".to_owned());
    }
    if target.contains(['*', '?', '[']) {
        return Err("the target looks like a pattern, and file is for one path: name each, or use exec".to_owned());
    }
    let path = PathBuf::from(target);
    let absent = options.flag("absent")?;
    let expected = Expected {
        max_age: options.parse("max_age", duration::parse)?,
        min_size: options.parse("min_size", amount::size)?,
        max_size: options.parse("max_size", amount::size)?,
        content: options.parse("match", str::parse)?,
        owner: options.parse("owner", owner)?,
        mode: options.parse("mode", mode)?,
    };
    if absent && !expected.accepts_all() {
        return Err("absent=true goes with no other option: there is no file to look at".to_owned());
    }
    if let (Some(min), Some(max)) = (expected.min_size, expected.max_size)
        && min > max
    {
        return Err(format!("no size is at least {min} and at most {max} bytes"));
    }
    Ok(Box::new(move |deadline| match absent {
        true => assert_no_file(&path).into(),
        false => expected.find(&path, SystemTime::now(), Some(deadline)),
    }))
}

/// Asserts that there is a file at `path`, of any type, that is as expected. Symbolic links are followed.
///
/// # Errors
///
/// `Fail` when there is none, or with everything that is wrong with it; `Error` when we may not look.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_file(path: impl AsRef<Path>, expected: &Expected) -> Result {
    let finding = expected.find(path.as_ref(), SystemTime::now(), None);
    super::result(finding)
}

/// Asserts that there is nothing at `path`, not even a dangling link.
///
/// # Errors
///
/// `Fail` when there is something, `Error` when we may not look.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_no_file(path: impl AsRef<Path>) -> Result {
    let path = path.as_ref();
    match fs::symlink_metadata(path) {
        Ok(found) => Err(Reason::Fail(format!(
            "expected nothing at {}, got {} of {}",
            path.display(),
            type_of(&found),
            amount::spoken(found.len())
        ))),
        Err(error) if is_missing(&error) => Ok(()),
        Err(error) => Err(cannot("look at", path, &error)),
    }
}

impl Expected {
    fn accepts_all(&self) -> bool {
        let Expected { max_age, min_size, max_size, content, owner, mode } = self;
        max_age.is_none() && min_size.or(*max_size).is_none() && content.is_none() && owner.is_none() && mode.is_none()
    }

    fn find(&self, path: &Path, now: SystemTime, deadline: Option<Deadline>) -> Finding {
        match fs::metadata(path) {
            Ok(found) => {
                let mut perfdata = vec![Perfdata::new("size", found.len() as f64, "B")];
                let age = age(&found, now);
                perfdata.extend(age.as_ref().ok().map(|age| Perfdata::new("age", age.as_secs_f64(), "s")));
                Finding { perfdata, ..Finding::from(self.verdict(path, &found, age, deadline)) }
            }
            Err(error) if is_missing(&error) => {
                Finding::from(Err(Reason::Fail(format!("expected a file at {}: {error}", path.display()))))
            }
            Err(error) => Finding::from(Err(cannot("look at", path, &error))),
        }
    }

    /// Names everything that is wrong, so that it can be repaired at once.
    fn verdict(&self, path: &Path, found: &Metadata, age: io::Result<Duration>, deadline: Option<Deadline>) -> Result {
        let mut wrong = String::new();
        let mut differs = |expected: String, got: String| {
            let and = if wrong.is_empty() { "" } else { ", and " };
            write!(wrong, "{and}expected {expected}, got {got}").expect("a string takes all");
        };
        if let Some(max) = self.max_age
            && let age = age.map_err(|error| cannot("tell the age of", path, &error))?
            && age > max
        {
            differs(format!("a change in the last {}", spoken(max)), format!("one {} ago", spoken(age)));
        }
        if let Some(min) = self.min_size.filter(|min| found.len() < *min) {
            differs(format!("at least {}", amount::spoken(min)), amount::spoken(found.len()));
        }
        if let Some(max) = self.max_size.filter(|max| found.len() > *max) {
            differs(format!("at most {}", amount::spoken(max)), amount::spoken(found.len()));
        }
        if let Some(owner) = self.owner.filter(|owner| found.uid() != *owner) {
            differs(format!("user {owner} to own it"), format!("user {}", found.uid()));
        }
        if let Some(mode) = self.mode.filter(|mode| found.mode() & 0o7777 != *mode) {
            differs(format!("the mode {mode:04o}"), format!("{:04o}", found.mode() & 0o7777));
        }
        if let Some(pattern) = &self.content {
            let file = filesystem::open_regular(path).map_err(|error| cannot("read", path, &error))?;
            let found_in = pattern.is_in_all_of(file, deadline.unwrap_or_else(default_deadline));
            if !found_in.map_err(|error| cannot("search", path, &error))? {
                differs(
                    format!("a match of {:?}", pattern.as_str()),
                    format!("none in {}", amount::spoken(found.len())),
                );
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(Reason::Fail(format!("{wrong}: {}", path.display()))) }
    }
}

/// How long ago it was changed. One that was changed in the future would be new for ever.
fn age(found: &Metadata, now: SystemTime) -> io::Result<Duration> {
    let changed = found.modified()?;
    match changed.duration_since(now) {
        Ok(ahead) if ahead > AHEAD => {
            Err(io::Error::other(format!("by this host's clock it will be changed in {}", spoken(ahead))))
        }
        Ok(_) => Ok(Duration::ZERO),
        Err(past) => Ok(past.duration()),
    }
}

fn type_of(found: &Metadata) -> &'static str {
    match found.file_type() {
        kind if kind.is_file() => "a file",
        kind if kind.is_dir() => "a folder",
        kind if kind.is_symlink() => "a link",
        _ => "a special file",
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn cannot(act: &str, path: &Path, error: &io::Error) -> Reason {
    Reason::Error(format!("cannot {act} {}: {error}", path.display()))
}

fn spoken(duration: Duration) -> humantime::FormattedDuration {
    let whole = Duration::from_secs(duration.as_secs());
    humantime::format_duration(if whole.is_zero() { duration } else { whole })
}

/// Reads a user's name or number.
fn owner(text: &str) -> std::result::Result<u32, String> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => identity::user_id(text),
    }
}

/// Reads permissions in octal, as chmod takes them.
fn mode(text: &str) -> std::result::Result<u32, String> {
    // TOML writes an octal number with this prefix.
    u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| "write a mode in octal, as in 0640".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Status;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    fn found(path: &Path, pairs: &[(&str, &str)]) -> Finding {
        let action = build(&path.display().to_string(), &mut Options::of(pairs)).expect("it is well formed");
        action(Deadline::at(Instant::now() + Duration::from_secs(60)))
    }

    fn says(finding: &Finding, status: Status, text: &str) {
        let context = finding.context.as_deref().unwrap_or_default();
        assert!(finding.status == status && context.contains(text), "{text:?} should be in {finding:?}");
    }

    fn sample() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("there is room");
        fs::write(&file, "state: green\n").expect("it can be written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("it is ours");
        file
    }

    #[test]
    fn a_file_that_fits_passes_with_its_figures() {
        let file = sample();
        let owner = file.as_file().metadata().expect("it is there").uid().to_string();
        let all = [
            ("max_age", "1h"),
            ("min_size", "13B"),
            ("max_size", "1kB"),
            ("match", "state: (green|blue)"),
            ("owner", &owner),
            ("mode", "0640"),
        ];
        let found = found(file.path(), &all);
        assert_eq!((found.status, found.context), (Status::Pass, None));
        assert_eq!(found.perfdata[0], Perfdata::new("size", 13.0, "B"));
        assert_eq!(found.perfdata[1].label, "age");
    }

    #[test]
    fn everything_that_does_not_fit_is_named_at_once() {
        let file = sample();
        let two_hours_ago = SystemTime::now() - Duration::from_secs(7200);
        file.as_file().set_modified(two_hours_ago).expect("it is ours");
        let all = [("max_age", "1h"), ("min_size", "1KiB"), ("match", "red"), ("owner", "4242"), ("mode", "600")];
        let found = found(file.path(), &all);
        for text in [
            "expected a change in the last 1h, got one 2h ago, and ",
            "expected at least 1 KiB, got 13 B",
            "expected user 4242 to own it, got user ",
            "expected the mode 0600, got 0640",
            "expected a match of \"red\", got none in 13 B: /",
        ] {
            says(&found, Status::Fail, text);
        }
        assert_eq!(found.perfdata[0].value, 13.0);
        says(&self::found(file.path(), &[("max_size", "5B")]), Status::Fail, "expected at most 5 B, got 13 B");
    }

    #[test]
    fn a_file_from_the_future_is_not_new_for_ever() {
        let file = sample();
        file.as_file().set_modified(SystemTime::now() + Duration::from_secs(3600)).expect("it is ours");
        says(&found(file.path(), &[("max_age", "1s")]), Status::Error, "it will be changed in 59m");
        assert_eq!(found(file.path(), &[]).status, Status::Pass);
        file.as_file().set_modified(SystemTime::now() + Duration::from_secs(5)).expect("it is ours");
        assert_eq!(found(file.path(), &[("max_age", "1h")]).status, Status::Pass);
    }

    #[test]
    fn a_match_is_found_beyond_the_first_mebibyte_and_at_the_ends_of_lines() {
        let file = sample();
        let searched = |text: &str, pattern: &str| {
            fs::write(&file, text).expect("there is room");
            found(file.path(), &[("match", pattern)])
        };
        let filler = "all is well\r\n".repeat(90_000);
        assert_eq!(searched(&format!("{filler}red\r\nend"), "^red$").status, Status::Pass);
        assert_eq!(searched(&format!("{filler}red\r\nend"), "^end$").status, Status::Pass);
        says(&searched(&filler, "^is"), Status::Fail, "got none in 1.1 MiB");
        assert_eq!(searched(&format!("{filler}red\r\nend"), "red\r\nend").status, Status::Pass);
        says(&searched(&"x".repeat(2 << 20), "y"), Status::Fail, "got none in 2 MiB");
        assert_eq!(searched("", "^$").status, Status::Pass);
    }

    #[test]
    fn a_pattern_of_names_is_not_taken_for_a_file_that_is_absent() {
        let error = build("/srv/x*", &mut Options::of(&[("absent", "true")])).err().unwrap_or_default();
        assert!(error.contains("looks like a pattern"), "{error}");
    }

    #[test]
    fn a_missing_file_fails_unless_it_shall_be_absent() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("lock");
        says(&found(&path, &[]), Status::Fail, "expected a file at /");
        assert_eq!(found(&path, &[("absent", "true")]), Finding::PASS);
        std::os::unix::fs::symlink("/no/where", &path).expect("it can be made");
        says(&found(&path, &[("absent", "true")]), Status::Fail, "got a link");
        let under_a_file = sample().path().join("x");
        says(&found(&under_a_file, &[]), Status::Fail, "expected a file");
    }

    #[test]
    fn a_pipe_is_not_read() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("coreutils are there").success());
        says(&found(&path, &[("match", "x")]), Status::Error, "it is not a regular file");
        assert_eq!(found(&path, &[]).status, Status::Pass);
    }

    #[test]
    fn what_is_no_text_can_be_searched() {
        let file = sample();
        fs::write(&file, b"\xff\xfe state: green").expect("it can be written");
        assert_eq!(found(file.path(), &[("match", "green")]).status, Status::Pass);
    }

    #[test]
    fn wrong_options_are_refused_with_their_names() {
        for (pair, text) in [
            (("match", "("), "option match: "),
            (("max_age", "old"), "option max_age: write a time as"),
            (("min_size", "5G"), "option min_size: write a size as"),
            (("owner", "no-such-user"), "option owner: there is no such user"),
            (("mode", "rw"), "option mode: write a mode in octal"),
            (("absent", "yes"), "option absent: "),
        ] {
            let error = build("/x", &mut Options::of(&[pair])).err().unwrap_or_default();
            assert!(error.starts_with(text) && !error.contains('\n'), "{error}");
        }
        assert!(build("x", &mut Options::of(&[])).is_err());
        assert!(build("/x", &mut Options::of(&[("absent", "true"), ("mode", "600")])).is_err());
        assert!(build("/x", &mut Options::of(&[("min_size", "2"), ("max_size", "1")])).is_err());
        assert_eq!(owner("root"), Ok(0));
    }
}
