//! The pidfile: locked, so that a pid left by a dead master is never taken for that of a live one.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::os::filesystem::{absolute, open_locked, read_file, remove_held};

/// How many bytes a pid takes at most, with its end of line.
const LONGEST: usize = 16;

/// A pidfile that this process holds. The lock ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Creates or takes over the file and writes our pid into it.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] when a live process holds it or it cannot be written.
    pub(super) fn create(path: &Path) -> Result<PidFile, Error> {
        let refuse = |why: String| Error::Usage(format!("--pid {}: {why}", path.display()));
        let unwritable = |error: io::Error| refuse(format!("it cannot be written: {error}"));
        let file = open_locked(path).map_err(|error| {
            if error.kind() != io::ErrorKind::WouldBlock {
                return unwritable(error);
            }
            // Only for the message.
            let holder = read_file(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
            let holder = holder.map_or_else(|| "another process".to_owned(), |pid| pid.to_string());
            refuse(format!("a running server holds it ({holder}): stop that one, or choose another file"))
        })?;
        let mut held = PidFile::held(path, file);
        held.write().map_err(unwritable)?;
        Ok(held)
    }

    /// The file that the former master holds together with us, for [`PidFile::write`] when we take over.
    pub(super) fn held(path: &Path, file: File) -> PidFile {
        PidFile { path: absolute(path), file }
    }

    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it contains our pid. The descriptor is asked: anything may stand at the path by now.
    pub(super) fn is_mine(&self) -> bool {
        let mut text = [0; LONGEST];
        let read = self.file.read_at(&mut text, 0);
        read.is_ok_and(|length| text[..length].trim_ascii() == std::process::id().to_string().as_bytes())
    }

    /// Writes our pid into it.
    pub(super) fn write(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", std::process::id())
    }

    /// Deletes the file, if it is still the one that we hold. The master does this at its end.
    pub(super) fn remove(&self) {
        if let Err(error) = remove_held(&self.file, &self.path) {
            tracing::warn!("--pid {} cannot be removed: {error}", self.path.display());
        }
    }
}

impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::filesystem::stands_at;

    #[test]
    fn a_pidfile_that_was_removed_while_it_was_being_locked_is_made_anew() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("pid");
        // Each thread creates and removes it again and again, while the others are about to lock it.
        let compete = || {
            let mut held = 0;
            while held < 300 {
                if let Ok(file) = PidFile::create(&path) {
                    assert!(stands_at(&file.file, &file.path), "it is held, and nobody can find it");
                    file.remove();
                    held += 1;
                }
            }
        };
        std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(compete))));
    }
}
