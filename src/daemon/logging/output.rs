//! Where log lines go: a standard stream, or a file that can be reopened. A line that cannot be written at once is
//! dropped, and never stops or fails the caller.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::os::descriptors::{own_pipe, retry, write_from_background, write_if_ready};
use crate::os::filesystem::{FileOwner, absolute, open_log};

/// A standard stream.
#[derive(Clone, Copy)]
pub(super) enum StandardStream {
    Out,
    Error,
}

pub(super) struct LogOutput {
    stream: StandardStream,
    /// Absolute, so that it stays the same file if the directory changes.
    path: Option<PathBuf>,
    owner: FileOwner,
    state: Mutex<LogState>,
}

struct LogState {
    /// `None`: the standard stream.
    file: Option<File>,
    /// Whether that file is a terminal, such as `/dev/stderr`.
    on_terminal: bool,
    /// How many lines were lost since the last that was written.
    lost: usize,
    /// Whether the last line was only written in part.
    torn: bool,
}

impl LogOutput {
    /// The file at this path, or the stream if there is none. A file that it creates is given to `owner`, so that
    /// workers that run as another user can reopen it.
    pub(super) fn open(path: Option<&Path>, stream: StandardStream, owner: FileOwner) -> io::Result<LogOutput> {
        let path = path.map(absolute);
        let file = match (&path, stream) {
            (Some(path), _) => Some(open_log(path, owner)?),
            (None, StandardStream::Out) => own_pipe(&io::stdout()),
            (None, StandardStream::Error) => own_pipe(&io::stderr()),
        };
        let on_terminal = file.as_ref().is_some_and(File::is_terminal);
        Ok(LogOutput { stream, path, owner, state: Mutex::new(LogState { file, on_terminal, lost: 0, torn: false }) })
    }

    /// Whether this is a standard stream and not a file.
    pub(super) fn is_a_stream(&self) -> bool {
        self.path.is_none()
    }

    /// Reopens the file after it was rotated away. If that fails, the old file stays in use, and the error is returned
    /// with the path.
    pub(super) fn reopen(&self) -> Result<(), (&Path, io::Error)> {
        let Some(path) = &self.path else { return Ok(()) };
        let file = open_log(path, self.owner).map_err(|error| (path.as_path(), error))?;
        let mut state = self.lock();
        state.on_terminal = file.is_terminal();
        state.file = Some(file);
        state.torn = false;
        Ok(())
    }

    /// Writes a line. If lines before it were lost, `note` turns their number into text that is written in front of it.
    /// Returns that number, unless this line was lost, too.
    pub(super) fn put(&self, line: &[u8], note: fn(usize) -> String) -> usize {
        let mut state = self.lock();
        let lost = state.lost;
        let written = if lost == 0 {
            state.write(self.stream, line)
        } else {
            let end = if state.torn { "\n" } else { "" };
            state.write(self.stream, &[end.as_bytes(), note(lost).as_bytes(), line].concat())
        };
        state.lost = if written { 0 } else { lost + 1 };
        if written { lost } else { 0 }
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogState {
    fn write(&mut self, stream: StandardStream, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = retry(|| match (&mut self.file, stream) {
                (Some(file), _) if self.on_terminal => write_from_background(|| file.write(rest)),
                (Some(file), _) => file.write(rest),
                (None, StandardStream::Out) => write_if_ready(&io::stdout(), rest),
                (None, StandardStream::Error) => write_if_ready(&io::stderr(), rest),
            });
            match written {
                Ok(count @ 1..) => rest = &rest[count..],
                Ok(0) | Err(_) => break,
            }
        }
        // If nothing was written, a torn line is still torn.
        self.torn = if rest.len() == bytes.len() { self.torn } else { !rest.is_empty() };
        rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::sys::stat::Mode;
    use std::io::Read;

    const NOTE: fn(usize) -> String = |lost| format!("({lost} lost)\n");

    #[test]
    fn lines_that_a_full_pipe_does_not_take_are_counted_in_the_next_one_that_it_takes() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("the folder is ours");
        let mut reader = File::from(
            nix::fcntl::open(&path, nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_NONBLOCK, Mode::empty())
                .expect("it is there"),
        );
        let output = LogOutput::open(Some(&path), StandardStream::Out, (None, None)).expect("somebody reads it");
        fcntl(&reader, FcntlArg::F_SETPIPE_SZ(8192)).expect("a pipe can be made smaller");
        let line = [b'x'; 1024];
        assert_eq!([0; 8].map(|_| output.put(&line, NOTE)), [0; 8]);
        let mut first = [0; 4096];
        reader.read_exact(&mut first).expect("so much is there");
        // Longer than a pipe takes at once, so there is room for a part of it.
        assert_eq!([0; 3].map(|_| output.put(&[b'y'; 5000], NOTE)), [0; 3]);
        let mut seen = vec![0; 64 * 1024];
        let count = reader.read(&mut seen).expect("there is more");
        assert!(seen[..count].ends_with(b"y"), "it is torn");
        assert_eq!(output.put(b"z\n", NOTE), 3);
        let count = reader.read(&mut seen).expect("there is more");
        assert_eq!(&seen[..count], b"\n(3 lost)\nz\n");
        assert_eq!(output.put(b"z\n", NOTE), 0);
    }

    #[test]
    fn a_device_that_is_full_loses_all() {
        let output =
            LogOutput::open(Some(Path::new("/dev/full")), StandardStream::Out, (None, None)).expect("it is there");
        assert_eq!([0; 3].map(|_| output.put(b"line\n", NOTE)), [0; 3]);
        assert_eq!(output.lock().lost, 3);
    }
}
