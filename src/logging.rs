//! The log: lines of text or JSON, to standard error or to a file that can be opened anew.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::error::Error;
use crate::settings::{LogFormat, LogLevel};
use crate::sys::descriptors::{own_pipe, write_if_ready};
use crate::sys::filesystem::open_log;
use crate::sys::sockets::FileOwner;
use crate::sys::systemd;

static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    /// Absolute, so that it is the same file whatever the directory is later.
    path: Option<PathBuf>,
    owner: FileOwner,
    state: Mutex<State>,
}

struct State {
    /// `None`: standard error.
    file: Option<File>,
    /// Lines that could not be written since the last one that could.
    lost: usize,
}

/// Begins to log. To be called once, before the first fork: the workers inherit it. The file is given to
/// `owner`, so that workers of another user can open it anew.
///
/// # Errors
///
/// [`Error::Usage`] when the file cannot be opened.
pub(crate) fn init(path: Option<&Path>, level: LogLevel, format: LogFormat, owner: FileOwner) -> Result<(), Error> {
    let path = path.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let file = path.as_deref().map(|path| open(path, owner)).transpose().map_err(|error| {
        let path = path.as_deref().unwrap_or(Path::new("")).display();
        Error::Usage(format!("--error-logfile {path} cannot be opened: {error}"))
    })?;
    let file = file.or_else(|| own_pipe(&io::stderr()));
    let log = Log { path, owner, state: Mutex::new(State { file, lost: 0 }) };
    if LOG.set(log).is_err() {
        return Ok(());
    }
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let lines = Lines { to_journal: LOG.get().is_some_and(|log| log.path.is_none()) && systemd::has_stderr() };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(lines);
    match format {
        LogFormat::Text if lines.to_journal => builder.without_time().init(),
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).init(),
    }
    Ok(())
}

/// Opens the file anew, after it was rotated away. A failure keeps the old one.
pub(crate) fn reopen() {
    let Some(Log { path: Some(path), owner, state }) = LOG.get() else { return };
    match open(path, *owner) {
        Ok(file) => state.lock().unwrap_or_else(PoisonError::into_inner).file = Some(file),
        Err(error) => tracing::error!("--error-logfile {} cannot be opened anew: {error}", path.display()),
    }
}

fn open(path: &Path, (user, group): FileOwner) -> io::Result<File> {
    let file = open_log(path)?;
    // A worker may not, and need not, give away what the master has given it.
    let _ = std::os::unix::fs::fchown(&file, user, group);
    Ok(file)
}

/// Where lines go to.
#[derive(Clone, Copy)]
struct Lines {
    /// The journal, which notes the time itself and wants to know how important each line is.
    to_journal: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { priority: "" }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line {
        let priority = match *meta.level() {
            _ if !self.to_journal => "",
            Level::ERROR => systemd::ERROR,
            Level::WARN => systemd::WARNING,
            Level::INFO => systemd::INFO,
            Level::DEBUG | Level::TRACE => systemd::DEBUG,
        };
        Line { priority }
    }
}

/// One line on its way. A log that cannot be written never stops or fails what is logged.
struct Line {
    /// What stands in front of it.
    priority: &'static str,
}

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Some(log) = LOG.get() {
            // In one piece, for others write there too.
            let line = if self.priority.is_empty() {
                Cow::Borrowed(text)
            } else {
                [self.priority.as_bytes(), text].concat().into()
            };
            let mut state = log.state.lock().unwrap_or_else(PoisonError::into_inner);
            let lost = std::mem::take(&mut state.lost);
            let note = (lost > 0).then(|| format!("({lost} lines of this log were lost: it could not be written)\n"));
            let written = note.map_or(Ok(()), |note| state.put(note.as_bytes())).and_then(|()| state.put(&line));
            if written.is_err() {
                state.lost = lost + 1;
            }
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => write_if_ready(&io::stderr(), bytes),
        }
    }
}
