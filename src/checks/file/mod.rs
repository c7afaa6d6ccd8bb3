//! `file:/path#max_age=1h`: a file exists and is as expected, or does not exist. Of a pattern, the newest file counts.

#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};

use super::support::noted::{self, hex};
use super::support::pattern::Pattern;
use super::support::thresholds::{self, Good};
use super::support::wildcard::Wildcard;
use super::{Action, Kind, Opt, Options, Runs, Value, default_deadline};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::perfdata::Perfdata;
use crate::model::transcript::{Field, note};
use crate::model::{amount, duration};
use crate::os::{filesystem, identity};

pub(super) const KIND: Kind = Kind {
    scheme: "file",
    port: None,
    options: &[
        Opt::new("max_age", Value::Time, "It was changed at most this long ago"),
        Opt::new("warn_max_age", Value::Time, "If it was changed longer ago than this, it warns"),
        Opt::new("warn_min_size", Value::Size, "If it is smaller than this, it warns"),
        Opt::new("warn_max_size", Value::Size, "If it is larger than this, it warns"),
        Opt::new("min_size", Value::Size, "It has at least this size"),
        Opt::new("max_size", Value::Size, "It has at most this size"),
        Opt::new("match", Value::Pattern, "What has to be in it"),
        Opt::new("owner", Value::Text, "The user that owns it, by name or number"),
        Opt::new("mode", Value::Text, "Its permissions in octal, as in 0640"),
        Opt::new("type", Value::Word(&["file", "folder", "link", "socket", "fifo", "device"]), "What it is"),
        Opt::new("target", Value::Text, "The text of the link that it is"),
        Opt::new("sha256", Value::Text, "The SHA-256 of what is in it, as sha256sum prints it"),
        Opt::new("absent", Value::Flag, "There must be nothing"),
    ],
    // A network file system whose server is down only answers when that comes back.
    runs: Runs::OnThread,
    controls: Control::FILES,
    title: "{target} is as it should be",
    passes: "a file exists and is as expected",
    notices: &[
        "gone: with match or min_size what is empty, with max_age what is old, with absent what is there",
        "starved",
    ],
    examples: &["file:/etc/passwd#match=^root:"],
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
    /// It is a `file`, `folder`, `link`, `socket`, `fifo` or `device`. Unless a link is expected, that is what it leads to.
    pub kind: Option<FileKind>,
    /// It is a symbolic link with this text, which need not lead anywhere.
    pub target: Option<PathBuf>,
    /// What is in it has this SHA-256.
    pub sha256: Option<[u8; 32]>,
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Folder,
    /// A symbolic link.
    Link,
    /// A unix socket.
    Socket,
    /// A pipe with a name.
    Fifo,
    /// A block or character device.
    Device,
}

impl FileKind {
    const ALL: [(&str, FileKind); 6] = [
        ("file", FileKind::File),
        ("folder", FileKind::Folder),
        ("link", FileKind::Link),
        ("socket", FileKind::Socket),
        ("fifo", FileKind::Fifo),
        ("device", FileKind::Device),
    ];

    fn parse(text: &str) -> std::result::Result<FileKind, String> {
        let found = FileKind::ALL.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, kind)| kind).ok_or_else(|| format!("write {}", FileKind::ALL.map(|(name, _)| name).join(", ")))
    }

    fn of(found: &Metadata) -> FileKind {
        match found.file_type() {
            kind if kind.is_dir() => FileKind::Folder,
            kind if kind.is_symlink() => FileKind::Link,
            kind if kind.is_socket() => FileKind::Socket,
            kind if kind.is_fifo() => FileKind::Fifo,
            kind if kind.is_block_device() || kind.is_char_device() => FileKind::Device,
            _ => FileKind::File,
        }
    }

    fn word(self) -> &'static str {
        FileKind::ALL.into_iter().find(|(_, kind)| *kind == self).map(|(name, _)| name).expect("all are in it")
    }
}

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    if !target.starts_with('/') {
        return Err("the target is not an absolute path, as in file:/run/shop.lock".to_owned());
    }
    let place = match Wildcard::of(target) {
        Some(wildcard) => Place::NewestOf(wildcard, target.to_owned()),
        None => Place::At(PathBuf::from(target)),
    };
    let absent = options.flag("absent")?;
    let expected = Expected {
        max_age: options.parse("max_age", duration::parse)?,
        min_size: options.parse("min_size", amount::size)?,
        max_size: options.parse("max_size", amount::size)?,
        content: options.parse("match", str::parse)?,
        owner: options.parse("owner", owner)?,
        mode: options.parse("mode", mode)?,
        kind: options.parse("type", FileKind::parse)?,
        target: options.take("target")?.map(PathBuf::from),
        sha256: options.parse("sha256", digest)?,
    };
    let milder = Expected {
        max_age: options.parse("warn_max_age", duration::parse)?,
        min_size: options.parse("warn_min_size", amount::size)?,
        max_size: options.parse("warn_max_size", amount::size)?,
        ..Expected::default()
    };
    let hard = expected.max_age.as_ref().map(|age| (age, spoken(*age).to_string()));
    thresholds::verify(Good::Below, "max_age", hard, milder.max_age.as_ref())?;
    let size = |size: &Option<u64>| size.map(amount::spoken);
    let hard = expected.min_size.as_ref().zip(size(&expected.min_size));
    thresholds::verify(Good::Above, "min_size", hard, milder.min_size.as_ref())?;
    let hard = expected.max_size.as_ref().zip(size(&expected.max_size));
    thresholds::verify(Good::Below, "max_size", hard, milder.max_size.as_ref())?;
    if absent && !(expected.accepts_all() && milder.accepts_all()) {
        return Err("absent=true goes with no other option: there is no file to look at".to_owned());
    }
    if let (Some(min), Some(max)) = (expected.min_size, expected.max_size)
        && min > max
    {
        return Err(format!("no size is at least {min} and at most {max} bytes"));
    }
    if expected.target.is_some() && expected.kind.is_some_and(|kind| kind != FileKind::Link) {
        return Err("only a link has a target".to_owned());
    }
    // Of a link, both look at the link itself.
    let milder =
        (!milder.accepts_all()).then(|| Expected { kind: expected.kind, target: expected.target.clone(), ..milder });
    let folders_count = expected.kind == Some(FileKind::Folder);
    let find = move |path: &Path, deadline| {
        let find = |expected: &Expected| expected.find(path, SystemTime::now(), Some(deadline));
        thresholds::judged(find(&expected), || milder.as_ref().map_or(Ok(()), |milder| super::result(find(milder))))
    };
    Ok(Box::new(move |deadline| match (absent, &place) {
        (true, Place::At(path)) => assert_no_file(path).into(),
        (true, Place::NewestOf(wildcard, written)) => match wildcard.paths() {
            Ok(paths) => match paths.first() {
                Some(path) => Finding::fail(format!("expected nothing at {written}, got {}", path.display())),
                None => Finding::PASS,
            },
            Err(error) => Finding::from(Err(cannot("look at", Path::new(written), &error))),
        },
        (false, Place::At(path)) => find(path, deadline),
        (false, Place::NewestOf(wildcard, written)) => match newest(wildcard, written, folders_count) {
            Ok(path) => find(&path, deadline),
            Err(reason) => Finding::from(Err(reason)),
        },
    }))
}

/// Where the file is.
enum Place {
    At(PathBuf),
    /// The one of them that was changed last; with the pattern as it was written.
    NewestOf(Wildcard, String),
}

/// A folder changes with what is in it, and would stand for a file that is old.
fn newest(wildcard: &Wildcard, written: &str, folders_count: bool) -> Result<PathBuf> {
    let mut newest: Option<(SystemTime, PathBuf)> = None;
    for path in wildcard.paths().map_err(|error| cannot("look at", Path::new(written), &error))? {
        let found = fs::metadata(&path);
        if found.as_ref().is_ok_and(|found| found.is_dir() && !folders_count) {
            continue;
        }
        match found.and_then(|found| found.modified()) {
            Ok(changed) if newest.as_ref().is_none_or(|(latest, _)| changed > *latest) => {
                newest = Some((changed, path))
            }
            Ok(_) => {}
            // It has gone since it was listed, or leads nowhere.
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(cannot("look at", &path, &error)),
        }
    }
    let none = || Reason::Fail(format!("expected a file at {written}, and there is none"));
    newest.map(|(_, path)| path).ok_or_else(none)
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
        let Expected { max_age, min_size, max_size, content, owner, mode, kind, target, sha256 } = self;
        let sizes = min_size.or(*max_size);
        let of_file = max_age.is_none() && sizes.is_none() && owner.is_none() && mode.is_none() && kind.is_none();
        of_file && content.is_none() && target.is_none() && sha256.is_none()
    }

    fn find(&self, path: &Path, now: SystemTime, deadline: Option<Deadline>) -> Finding {
        let is_link = self.kind == Some(FileKind::Link) || self.target.is_some();
        match if is_link { fs::symlink_metadata(path) } else { fs::metadata(path) } {
            Ok(found) => {
                noted::file(&found);
                let mut perfdata = vec![Perfdata::new("size", found.len() as f64, "B")];
                let age = age(&found, now);
                perfdata.extend(age.as_ref().ok().map(|age| Perfdata::new("age", age.as_secs_f64(), "s")));
                Finding { perfdata, ..Finding::from(self.verdict(path, &found, age, deadline)) }
            }
            Err(error) if is_missing(&error) => {
                noted::error(&error);
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
            && let () = note(Field::AgeS, age.as_secs())
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
        let kind = FileKind::of(found);
        let is_link = self.target.is_some().then_some(FileKind::Link);
        if let Some(expected) = self.kind.or(is_link).filter(|expected| *expected != kind) {
            differs(format!("a {}", expected.word()), format!("a {}", kind.word()));
        } else if let Some(target) = &self.target {
            let got = fs::read_link(path).map_err(|error| cannot("read", path, &error))?;
            if got != *target {
                differs(format!("a link to {}", target.display()), format!("one to {}", got.display()));
            }
        }
        if let Some(expected) = &self.sha256 {
            let file = filesystem::open_regular(path).map_err(|error| cannot("read", path, &error))?;
            let got = sha256(file, deadline.unwrap_or_else(default_deadline));
            let got = got.map_err(|error| cannot("read", path, &error))?;
            if got != *expected {
                differs(format!("the SHA-256 {}", hex(expected)), hex(&got));
            }
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

/// The SHA-256 of all that a reader has, if there is time to read it.
fn sha256(mut reader: impl Read, deadline: Deadline) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if deadline.remaining(Instant::now()).is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it is too long to be read in time"));
        }
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads a SHA-256 as sha256sum prints it.
fn digest(text: &str) -> std::result::Result<[u8; 32], &'static str> {
    const WRONG: &str = "write 64 hexadecimal digits, as sha256sum prints them";
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(WRONG);
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| WRONG)?;
    }
    Ok(bytes)
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
    noted::error(error);
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
