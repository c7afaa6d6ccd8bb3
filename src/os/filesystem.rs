//! File systems: how much room they have, and which files we may run.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, User, eaccess};

use super::identity::effective_user;

/// The user and group that a file is given to; `None` leaves it as it is.
pub(crate) type FileOwner = (Option<u32>, Option<u32>);

/// The room on a file system: bytes, and inodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Room {
    pub(crate) bytes: Share,
    pub(crate) inodes: Share,
}

/// How much there is of something for unprivileged users.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    pub(crate) free: u64,
    pub(crate) total: u64,
}

/// Measures the file system that holds `path`. May block on a network file system whose server does not answer.
pub(crate) fn room(path: &Path) -> io::Result<Room> {
    let found = statvfs(path)?;
    // What is reserved for root counts neither as free nor in the total, as in df.
    let share =
        |free_for_root: u64, free: u64, total: u64| Share { free, total: total - free_for_root.min(total) + free };
    let bytes = share(found.blocks_free(), found.blocks_available(), found.blocks());
    let size = found.fragment_size();
    Ok(Room {
        bytes: Share { free: bytes.free.saturating_mul(size), total: bytes.total.saturating_mul(size) },
        inodes: share(found.files_free(), found.files_available(), found.files()),
    })
}

/// Reads a small regular file. Anything else is refused: opening a fifo could block, and a pipe could not be read a
/// second time.
pub(crate) fn read_file(path: &Path) -> io::Result<String> {
    const MOST: u64 = 1 << 20;
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    if file.take(MOST + 1).read_to_string(&mut text)? as u64 > MOST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

/// Opens a file for appending, without waiting for a fifo's reader. A file that it creates is given to `owner`.
///
/// The folder may belong to that user, who can put a link to a file of root's there. So a file that exists already keeps its
/// owner, and root does not follow links of that user.
pub(crate) fn open_log(path: &Path, (user, group): FileOwner) -> io::Result<File> {
    let mut options = File::options();
    options.append(true).custom_flags(libc::O_NONBLOCK);
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            // Some file systems have no owners.
            let _ = fchown(&file, user, group);
            Ok(file)
        }
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Err(_) if user.is_none_or(|user| user == effective_user()) => options.create(true).open(path),
        Err(_) => {
            let may_follow = fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink() && Some(it.uid()) != user);
            let flags = if may_follow { libc::O_NONBLOCK } else { libc::O_NONBLOCK | libc::O_NOFOLLOW };
            options.custom_flags(flags).open(path).map_err(name_link)
        }
    }
}

/// Opens a file and locks it; creates it if it is missing. [`io::ErrorKind::WouldBlock`]: another process holds the lock.
/// A link is not followed, because its target may be somebody else's.
pub(crate) fn open_locked(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut options = File::options();
    options.create(true).read(true).write(true).truncate(false).custom_flags(flags);
    loop {
        let file = options.open(path).map_err(name_link)?;
        file.try_lock()?;
        // The former holder may have deleted it since we opened it. Then nobody would find the file that we have locked.
        if stands_at(&file, path) {
            return Ok(file);
        }
    }
}

/// Whether the path names this very file, and not a link or another file.
pub(crate) fn stands_at(file: &File, path: &Path) -> bool {
    let identity = |it: fs::Metadata| (it.dev(), it.ino());
    let (open, there) = (file.metadata().map(identity), fs::symlink_metadata(path).map(identity));
    open.is_ok_and(|open| there.is_ok_and(|there| open == there))
}

/// With `O_NOFOLLOW`, the kernel reports a link as "too many levels of symbolic links"; this says it plainly.
fn name_link(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ELOOP) => io::Error::other("it is a symbolic link, which is not followed here: name its target"),
        _ => error,
    }
}

/// Whether this process may run the file with its present user and groups.
pub(crate) fn may_execute(path: &Path) -> io::Result<()> {
    Ok(eaccess(path, AccessFlags::X_OK)?)
}

/// Looks up the uid of a user. `None`: there is no such user.
pub(crate) fn user_id(name: &str) -> io::Result<Option<u32>> {
    Ok(User::from_name(name)?.map(|user| user.uid.as_raw()))
}
