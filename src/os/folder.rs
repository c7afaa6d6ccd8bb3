//! A folder that is held: files in it are read, replaced and locked by their names, whatever its path comes to mean.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::identity::{effective_user, is_root};
use super::walk::Place;

/// The longest file that is read.
const MOST: u64 = 1 << 20;

/// How soon a lock that another process holds is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// A folder, opened as a place to open files in. Links in it are not followed.
#[derive(Debug)]
pub(crate) struct Folder {
    file: File,
    owner: (u32, u32),
}

/// What became of the wish to lock a file.
#[derive(Debug)]
pub(crate) enum Lock {
    /// It is ours, until this is dropped.
    Held(File),
    /// Another process holds it.
    Taken,
    /// There can be none, for this reason: the file system has no locks, or the file cannot be made.
    Impossible(io::Error),
}

impl Folder {
    /// The folder that was found there.
    pub(crate) fn at(place: Place) -> io::Result<Folder> {
        if !place.metadata.is_dir() {
            return Err(Errno::ENOTDIR.into());
        }
        let owner = (place.metadata.uid(), place.metadata.gid());
        Ok(Folder { file: place.file, owner })
    }

    /// The user that it belongs to.
    pub(crate) fn owner(&self) -> u32 {
        self.owner.0
    }

    /// Whether it is still what stands at this path.
    pub(crate) fn stands_at(&self, path: &Path) -> bool {
        let identity = |it: fs::Metadata| (it.dev(), it.ino());
        let (held, there) = (self.file.metadata().map(identity), fs::metadata(path).map(identity));
        held.is_ok_and(|held| there.is_ok_and(|there| held == there))
    }

    /// Whether both are the same one.
    pub(crate) fn is(&self, other: &Folder) -> bool {
        let identity = |it: fs::Metadata| (it.dev(), it.ino());
        let (ours, theirs) = (self.file.metadata().map(identity), other.file.metadata().map(identity));
        ours.is_ok_and(|ours| theirs.is_ok_and(|theirs| ours == theirs))
    }

    /// Whether this open file is the one of that name in it.
    pub(crate) fn holds(&self, name: &str, file: &File) -> bool {
        let there = fstatat(&self.file, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        there.is_ok_and(|there| file.metadata().is_ok_and(|it| (it.dev(), it.ino()) == (there.st_dev, there.st_ino)))
    }

    /// A folder in it, which is made with this mode if it is missing.
    pub(crate) fn make(&self, name: &str, mode: u32) -> io::Result<Folder> {
        match mkdirat(&self.file, name, Mode::from_bits_truncate(mode)) {
            Ok(()) => {
                let made = self.folder(name)?;
                self.give(&made.readable()?);
                Ok(Folder { owner: self.owner, ..made })
            }
            Err(Errno::EEXIST) => self.folder(name),
            Err(errno) => Err(errno.into()),
        }
    }

    /// A folder in it.
    pub(crate) fn folder(&self, name: &str) -> io::Result<Folder> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.file, name, flags, Mode::empty())?);
        let found = file.metadata()?;
        Ok(Folder { file, owner: (found.uid(), found.gid()) })
    }

    /// A regular file in it, opened with these flags besides those that keep us from following, waiting and leaking. One
    /// that this makes is given to the folder's owner, and has this mode, whatever the umask is.
    fn open(&self, name: &str, flags: OFlag, mode: u32) -> io::Result<File> {
        let always = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let open = |flags| -> io::Result<OwnedFd> {
            Ok(openat(&self.file, name, always | flags, Mode::from_bits_truncate(mode))?)
        };
        let file = match open(flags - OFlag::O_CREAT) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && flags.contains(OFlag::O_CREAT) => {
                match open(flags | OFlag::O_EXCL) {
                    Ok(made) => {
                        let made = File::from(made);
                        made.set_permissions(fs::Permissions::from_mode(mode))?;
                        self.give(&made);
                        made
                    }
                    // Another was quicker.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open(flags - OFlag::O_CREAT)?.into(),
                    Err(error) => return Err(error),
                }
            }
            opened => File::from(opened?),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(file)
    }

    /// What root makes belongs to the folder's owner, who could make it as well.
    fn give(&self, file: &File) {
        if is_root() {
            // Some file systems have no owners.
            let _ = fchown(file, Some(self.owner.0), Some(self.owner.1));
        }
    }

    fn readable(&self) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&self.file, ".", flags, Mode::empty())?))
    }

    /// A regular file in it, for reading.
    pub(crate) fn open_file(&self, name: &str) -> io::Result<File> {
        self.open(name, OFlag::O_RDONLY, 0)
    }

    /// A regular file in it, for reading and writing, which is made if it is missing.
    pub(crate) fn open_or_make(&self, name: &str, mode: u32) -> io::Result<File> {
        self.open(name, OFlag::O_RDWR | OFlag::O_CREAT, mode)
    }

    /// Reads a small regular file, unless everybody may write to it; `None` if it is missing.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open_file(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mode = file.metadata()?.mode() & 0o7777;
        if mode & 0o002 != 0 {
            return Err(io::Error::other(format!("everybody may write to it (its mode is {mode:o}): `chmod o-w` it")));
        }
        let mut bytes = Vec::new();
        if file.take(MOST + 1).read_to_end(&mut bytes)? as u64 > MOST {
            return Err(io::Error::other("it is larger than 1 MiB"));
        }
        Ok(Some(bytes))
    }

    /// Replaces a file, or makes it: whoever reads it, after whatever crash, finds the old or the new content, whole.
    ///
    /// Of two that do this at once, one may fail: lock something before.
    pub(crate) fn replace(&self, name: &str, content: &[u8], mode: u32) -> io::Result<()> {
        let new = format!(".{name}.new");
        let remove = || unlinkat(&self.file, new.as_str(), UnlinkatFlags::NoRemoveDir);
        // Somebody was killed while writing it.
        let _ = remove();
        let write = || -> io::Result<()> {
            let mut file = self.open(&new, OFlag::O_WRONLY | OFlag::O_CREAT, mode)?;
            file.write_all(content)?;
            file.sync_all()?;
            Ok(renameat(&self.file, new.as_str(), &self.file, name)?)
        };
        write().inspect_err(|_| _ = remove())?;
        // The file system decides when it becomes lasting, where it cannot be told.
        let _ = self.readable().and_then(|folder| folder.sync_all());
        Ok(())
    }

    /// Removes a file.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.file, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Locks a file, which is made if it is missing, and waits until this moment for a process that holds it. Only its
    /// owner can open it, for who can open a file can lock it.
    pub(crate) fn lock(&self, name: &str, until: Instant) -> Lock {
        // On a file system that can only be read, a lock that is there already can be had.
        let opened = self.open_or_make(name, 0o600).or_else(|error| match self.open_file(name) {
            Ok(file) => Ok(file),
            Err(_) => Err(error),
        });
        match opened {
            Ok(file) => lock(file, until),
            Err(error) => Lock::Impossible(error),
        }
    }
}

/// Locks a file that is open, and waits until this moment for a process that holds it.
pub(crate) fn lock(file: File, until: Instant) -> Lock {
    loop {
        match file.try_lock() {
            Ok(()) => return Lock::Held(file),
            Err(TryLockError::WouldBlock) if until <= Instant::now() => return Lock::Taken,
            Err(TryLockError::WouldBlock) => std::thread::sleep(AGAIN),
            Err(TryLockError::Error(error)) => return Lock::Impossible(error),
        }
    }
}

/// Whether we may write to what belongs to this user because we are that user or root.
pub(crate) fn may_act_for(owner: u32) -> bool {
    is_root() || effective_user() == owner
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::walk::{Walk, walk};
    use std::os::unix::fs::symlink;

    fn folder(path: &Path) -> Folder {
        let place = walk(path, |_| Ok::<_, io::Error>(())).and_then(Walk::end).expect("it is there");
        Folder::at(place).expect("it is a folder")
    }

    #[test]
    fn a_file_is_replaced_whole_and_what_a_crash_has_left_is_no_obstacle() {
        let room = tempfile::tempdir().expect("a folder for the test");
        let held = folder(room.path());
        assert_eq!(held.read("it").expect("it is missing"), None);
        fs::write(room.path().join(".it.new"), "half").expect("it is ours");
        held.replace("it", b"one", 0o644).expect("there is room");
        held.replace("it", b"two", 0o644).expect("there is room");
        assert_eq!(held.read("it").expect("it is there").as_deref(), Some(&b"two"[..]));
        assert_eq!(fs::read_dir(room.path()).expect("it is ours").count(), 1, "nothing is left over");
    }

    #[test]
    fn links_and_what_is_not_a_file_are_not_followed_or_read() {
        let room = tempfile::tempdir().expect("a folder for the test");
        let held = folder(room.path());
        symlink("/etc/passwd", room.path().join("link")).expect("it is ours");
        fs::create_dir(room.path().join("folder")).expect("it is ours");
        assert!(held.read("link").is_err() && held.read("folder").is_err());
        assert!(held.open_or_make("link", 0o600).is_err());
        held.replace("link", b"ours", 0o644).expect("the link is replaced, not its target");
        assert_eq!(held.read("link").expect("it is a file").as_deref(), Some(&b"ours"[..]));
        fs::write(room.path().join("large"), vec![b'x'; (1 << 20) + 1]).expect("it is ours");
        assert!(held.read("large").expect_err("it is too large").to_string().contains("1 MiB"));
    }

    #[test]
    fn a_lock_is_held_by_one_and_ends_with_its_holder() {
        let room = tempfile::tempdir().expect("a folder for the test");
        let held = folder(room.path());
        let Lock::Held(first) = held.lock("lock", Instant::now()) else { panic!("nobody holds it") };
        assert!(matches!(held.lock("lock", Instant::now()), Lock::Taken));
        drop(first);
        assert!(matches!(held.lock("lock", Instant::now()), Lock::Held(_)));
    }

    #[test]
    fn it_is_noticed_when_another_folder_stands_at_its_path() {
        let room = tempfile::tempdir().expect("a folder for the test");
        let path = room.path().join("state");
        fs::create_dir(&path).expect("it is ours");
        let held = folder(&path);
        assert!(held.stands_at(&path) && held.is(&folder(&path)));
        fs::rename(&path, room.path().join("old")).and_then(|()| fs::create_dir(&path)).expect("it is ours");
        assert!(!held.stands_at(&path) && !held.is(&folder(&path)));
    }
}
