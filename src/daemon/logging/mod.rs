//! The log and the access log: lines to a standard stream, or to a file that can be reopened.

mod output;

use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, LogLevel};
use crate::error::Error;
use crate::model::text;
use crate::os::filesystem::FileOwner;
use crate::os::systemd;
use output::{LogOutput, StandardStream};

static LOG: OnceLock<LogOutput> = OnceLock::new();
static ACCESS: OnceLock<LogOutput> = OnceLock::new();

/// The path that stands for standard output.
const STANDARD_OUTPUT: &str = "-";

/// Starts logging. Call it once, before the first fork: the workers inherit the log. A file that it creates is given to
/// `owner`, so that workers that run as another user can reopen it.
///
/// # Errors
///
/// [`Error::Usage`] when the file cannot be opened.
pub(crate) fn init(path: Option<&Path>, level: LogLevel, format: LogFormat, owner: FileOwner) -> Result<(), Error> {
    let log = LogOutput::open(path, StandardStream::Error, owner)
        .map_err(|error| cannot_open("--error-logfile", path, &error))?;
    if LOG.set(log).is_err() {
        return Ok(());
    }
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let lines = Lines { to_journal: LOG.get().is_some_and(|log| log.is_a_stream()) && systemd::has_stderr() };
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

/// Opens the access log, if one is wanted. Call it once, before the first fork.
///
/// # Errors
///
/// [`Error::Usage`] when the file cannot be opened.
pub(crate) fn init_access(path: Option<&Path>, owner: FileOwner) -> Result<(), Error> {
    let Some(path) = path else { return Ok(()) };
    let file = (path != Path::new(STANDARD_OUTPUT)).then_some(path);
    let output = LogOutput::open(file, StandardStream::Out, owner)
        .map_err(|error| cannot_open("--access-logfile", Some(path), &error))?;
    // In tests of the library it may have been opened already.
    let _ = ACCESS.set(output);
    Ok(())
}

fn cannot_open(flag: &str, path: Option<&Path>, error: &io::Error) -> Error {
    Error::Usage(format!("{flag} {} cannot be opened: {error}", path.unwrap_or(Path::new("")).display()))
}

/// Reopens the files after they were rotated away. If that fails, the old file stays in use.
pub(crate) fn reopen() {
    for (flag, output) in [("--error-logfile", LOG.get()), ("--access-logfile", ACCESS.get())] {
        if let Some(Err((path, error))) = output.map(LogOutput::reopen) {
            tracing::error!("{flag} {} cannot be opened anew: {error}", path.display());
        }
    }
}

/// Whether there is an access log.
pub(crate) fn has_access() -> bool {
    ACCESS.get().is_some()
}

/// Where lines go.
#[derive(Clone, Copy)]
struct Lines {
    /// To the journal, which notes the time itself and wants the priority of each line.
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

/// Writes a line of the access log. Its readers expect nothing else there, so losses are reported in the other log.
pub(crate) fn access(line: &[u8]) {
    let lost = ACCESS.get().map_or(0, |output| output.put(line, |_| String::new()));
    if lost > 0 {
        tracing::warn!("{lost} lines of the access log were lost: it could not be written");
    }
}

/// One line of the log, being written.
struct Line {
    /// The prefix with the priority, for the journal.
    priority: &'static str,
}

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Some(log) = LOG.get() {
            let line = String::from_utf8_lossy(text);
            // In one write: other processes write there too.
            let line = format!("{}{}\n", self.priority, text::line(line.trim_end_matches('\n')));
            log.put(line.as_bytes(), |lost| format!("({lost} lines of this log were lost: it could not be written)\n"));
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
