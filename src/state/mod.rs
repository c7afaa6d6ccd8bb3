//! The state dir: a folder that outlives the daemon, for what must not be forgotten over a restart.
//!
//! Whoever may write to the folder may change what is in it, and nobody else may make its path lead elsewhere. All that is
//! in it is reached from a descriptor, without following links.

mod beats;
mod drills;
mod records;
mod silences;

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::model::clocks::Clocks;
use crate::os::clock;
use crate::os::filesystem::absolute;
use crate::os::folder::{Folder, Lock, may_act_for};
use crate::os::identity::{self, effective_user};
use crate::os::walk::{Place, walk};
pub(crate) use beats::{Beat, is_name};
pub(crate) use drills::KnownDrills;
pub(crate) use records::ServerPlace;
pub(crate) use silences::Silences;

/// The file that a daemon locks, so that there is one for each state dir.
const LOCK: &str = "lock";

/// How long a command waits for another that writes the same file.
const PATIENCE: Duration = Duration::from_secs(5);

/// A state dir that is held.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    folder: Arc<Folder>,
    path: PathBuf,
}

/// What both clocks say now.
pub(crate) fn now() -> Clocks {
    Clocks { at: clock::wall(), boot: clock::boot().to_owned(), up: clock::up() }
}

impl StateDir {
    /// Opens the folder at a path, unless everybody may write to it, or others could put another one in its place.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] when there is none, [`Error::Unsafe`] when it cannot be trusted.
    pub(crate) fn open(path: &Path) -> Result<StateDir, Error> {
        let name = format!("--state-dir {}", path.display());
        let unseen = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Error::Usage(format!(
                "{name}: there is no such folder: make it for the user of hospital, as in `install -d -o USER {}`",
                path.display()
            )),
            io::ErrorKind::PermissionDenied => {
                Error::Usage(format!("{name}: it cannot be opened: {error}: do it as root or as the user of hospital"))
            }
            _ => Error::Usage(format!("{name}: it cannot be opened: {error}")),
        };
        let place = walk(path, |_| Ok::<_, io::Error>(())).and_then(|walk| {
            let way: Vec<_> = walk.places.iter().map(|place| (place.path.clone(), place.metadata.clone())).collect();
            Ok((way, walk.end()?))
        });
        let (way, place) = place.map_err(unseen)?;
        let owner = place.metadata.uid();
        let refusal = |why: String| {
            Error::Unsafe(format!(
                "{name}: refused, because {why}: let only root or the user of hospital own it, and `chmod o-w` it"
            ))
        };
        for (path, found) in &way[..way.len() - 1] {
            const STICKY: u32 = 0o1000;
            let mode = found.mode();
            if ![0, owner, effective_user()].contains(&found.uid()) {
                return Err(refusal(format!("{} belongs to {}", path.display(), identity::user_name(found.uid()))));
            }
            if mode & 0o002 != 0 && mode & STICKY == 0 {
                return Err(refusal(format!(
                    "others may write to {} (its mode is {:o})",
                    path.display(),
                    mode & 0o7777
                )));
            }
        }
        judge(&place).map_err(refusal)?;
        let folder = Folder::at(place).map_err(unseen)?;
        Ok(StateDir { folder: Arc::new(folder), path: absolute(path) })
    }

    /// The same for a daemon, which keeps its own state there: it must belong to root or to us.
    ///
    /// # Errors
    ///
    /// Those of [`StateDir::open`], and [`Error::Unsafe`] when it belongs to another user.
    pub(crate) fn open_own(path: &Path) -> Result<StateDir, Error> {
        let state = StateDir::open(path)?;
        match state.folder.owner() {
            0 => Ok(state),
            owner if owner == effective_user() => Ok(state),
            owner => Err(Error::Unsafe(format!(
                "--state-dir {}: refused, because it belongs to {}, and the workers run as {user}: `chown {user}` it",
                path.display(),
                identity::user_name(owner),
                user = identity::user_name(effective_user())
            ))),
        }
    }

    /// Whether both are the same folder.
    pub(crate) fn is(&self, other: &StateDir) -> bool {
        self.folder.is(&other.folder)
    }

    /// Locks it for a daemon, as long as the file lives. `None`: that cannot be done here, as the log says.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] when another daemon holds it.
    pub(crate) fn lock(&self) -> Result<Option<File>, Error> {
        let path = self.path.display();
        // A process that the last holder left may be about to end.
        match self.folder.lock(LOCK, Instant::now() + Duration::from_secs(1)) {
            Lock::Held(file) => {
                self.warn_if_it_cannot_be_written();
                Ok(Some(file))
            }
            Lock::Taken => Err(Error::Usage(format!(
                "--state-dir {path}: a running server keeps its state there: stop that one, or choose another folder"
            ))),
            Lock::Impossible(error) => {
                tracing::warn!(
                    "--state-dir {path}: {LOCK} cannot be locked: {error}: that no other server uses the folder is not \
                     ensured, and maybe nothing can be kept in it"
                );
                Ok(None)
            }
        }
    }

    /// Whether this is the file that its daemon locks.
    pub(crate) fn is_locked_by(&self, lock: &File) -> bool {
        self.folder.holds(LOCK, lock)
    }

    /// That a disk is full or read-only must not keep a service away.
    fn warn_if_it_cannot_be_written(&self) {
        const PROBE: &str = "probe";
        if let Err(error) = self.folder.replace(PROBE, &[b'\n'; 4096], 0o600) {
            tracing::warn!("--state-dir {}: nothing can be kept there: {error}", self.path.display());
        }
        let _ = self.folder.remove(PROBE);
    }

    /// The error of a file in it that cannot be written.
    fn unwritable(&self, name: &str, error: &io::Error) -> Error {
        let path = self.path.join(name);
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied if !may_act_for(self.folder.owner()) => match self.folder.owner() {
                0 => ": do it as root".to_owned(),
                owner => format!(": do it as root or as the user {}", identity::user_name(owner)),
            },
            _ => String::new(),
        };
        Error::Write(format!("cannot write {}: {error}{advice}", path.display()))
    }
}

/// Why nobody can rely on what is in a folder.
fn judge(place: &Place) -> Result<(), String> {
    match place.metadata.mode() {
        mode if mode & 0o002 != 0 && !place.is_on_read_only_volume() => {
            Err(format!("everybody may write to it (its mode is {:o})", mode & 0o7777))
        }
        _ => Ok(()),
    }
}
