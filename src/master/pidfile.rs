//! The pidfile: locked, so that a pid left by a dead master is never taken for that of a live one.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::Error;

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
        if path.is_symlink() {
            return Err(refuse("it is a symbolic link, whose target would be overwritten: name the target".to_owned()));
        }
        let open = File::options().create(true).read(true).write(true).truncate(false).open(path);
        let mut file = open.map_err(unwritable)?;
        if file.try_lock().is_err() {
            let mut holder = String::new();
            // Only for the message: if the file is empty, it says "another process".
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
            return Err(refuse(format!("a running server holds it ({holder}): stop that one, or choose another file")));
        }
        let mut held = PidFile::held(path, file);
        held.write().map_err(unwritable)?;
        Ok(held)
    }

    /// The file that the former master holds together with us, for [`PidFile::write`] when we take over.
    pub(super) fn held(path: &Path, file: File) -> PidFile {
        PidFile { path: PidFile::absolute(path), file }
    }

    /// The absolute path, which stays the same if the directory changes.
    pub(super) fn absolute(path: &Path) -> PathBuf {
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
    }

    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it still contains our pid.
    pub(super) fn is_mine(&self) -> bool {
        std::fs::read_to_string(&self.path).is_ok_and(|text| text.trim() == std::process::id().to_string())
    }

    /// Writes our pid into it.
    pub(super) fn write(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", std::process::id())
    }

    /// Deletes the file, if it is still the one that we hold. The master does this at its end.
    pub(super) fn remove(&self) {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let (held, there) = (self.file.metadata().map(identity), std::fs::metadata(&self.path).map(identity));
        if held.is_ok_and(|held| there.is_ok_and(|there| held == there))
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!("--pid {} cannot be removed: {error}", self.path.display());
        }
    }
}

impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
