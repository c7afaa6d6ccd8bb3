//! The pidfile: held under a lock, so that a pid left by a dead master is never taken for a live one.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// A pidfile that this process holds. The lock goes with the process, however that ends.
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
        let mut file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path)
            .map_err(|error| refuse(format!("it cannot be written: {error}")))?;
        if file.try_lock().is_err() {
            let mut holder = String::new();
            // Only for the message: it says "another process" if the file is empty.
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
            return Err(refuse(format!("a running server holds it ({holder}): stop that one, or choose another file")));
        }
        let written =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(|error| refuse(format!("it cannot be written: {error}")))?;
        Ok(PidFile { path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()), file })
    }

    /// Deletes the file, if it is still the one that we hold. For the master, at its end.
    pub(super) fn remove(&self) {
        let same =
            |ours: std::fs::Metadata, there: std::fs::Metadata| (ours.dev(), ours.ino()) == (there.dev(), there.ino());
        let is_ours =
            self.file.metadata().ok().zip(std::fs::metadata(&self.path).ok()).is_some_and(|(a, b)| same(a, b));
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!("--pid {} cannot be removed: {error}", self.path.display());
        }
    }
}
