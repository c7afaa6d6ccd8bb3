//! File systems: how much room they have, and which files we may run.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, fstatat};
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

/// The first bytes of a regular file; nothing of anything else.
pub(crate) fn beginning(path: &Path, most: u64) -> io::Result<String> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)?;
    let mut bytes = Vec::new();
    if file.metadata()?.is_file() {
        file.take(most).read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A path from the root on, which stays the same if the directory changes.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Holds a directory, whatever its path comes to mean.
pub(crate) fn open_directory(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path)
}

/// Makes it the directory where relative paths begin.
pub(crate) fn enter(directory: &File) -> io::Result<()> {
    Ok(nix::unistd::fchdir(directory)?)
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
/// The folder may belong to that user, who can put a link to a file or a folder of root's there. So a file that exists
/// already keeps its owner, and root follows only links of its own.
pub(crate) fn open_log(path: &Path, (user, group): FileOwner) -> io::Result<File> {
    let is_given_away = user.is_some_and(|user| user != effective_user());
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let folder = open_folder(path.parent().unwrap_or(Path::new("/")), is_given_away)?;
    let open = |flags: OFlag| {
        let always = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = openat(&folder, name, always | flags, Mode::from_bits_truncate(0o666));
        opened.map(File::from).map_err(|errno| name_link(errno.into()))
    };
    match open(OFlag::O_CREAT | OFlag::O_EXCL) {
        Ok(file) => {
            // Some file systems have no owners.
            let _ = fchown(&file, user, group);
            Ok(file)
        }
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Err(_) if !is_given_away => open(OFlag::O_CREAT),
        Err(_) => {
            let there = fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW);
            open(if there.is_ok_and(|there| is_ours(there.st_uid)) { OFlag::empty() } else { OFlag::O_NOFOLLOW })
        }
    }
}

/// Opens a folder as a place to open files in. `only_own_links`: links of other users are not followed.
fn open_folder(path: &Path, only_own_links: bool) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    if !only_own_links {
        return Ok(open(path, flags, Mode::empty())?);
    }
    let plain = without_links(path)?;
    // What became a link since we looked is not followed.
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(AT_FDCWD, &plain, how) {
        // Before Linux 5.6, or in a sandbox.
        Err(Errno::ENOSYS | Errno::EPERM) => Ok(open(&plain, flags | OFlag::O_NOFOLLOW, Mode::empty())?),
        opened => opened.map_err(|errno| name_link(errno.into())),
    }
}

/// An absolute path with its links replaced by their targets.
///
/// # Errors
///
/// When a link belongs neither to root nor to us.
fn without_links(path: &Path) -> io::Result<PathBuf> {
    const MOST: usize = 40; // as the kernel: path_resolution(7)
    let (mut plain, mut rest, mut links) = (PathBuf::from("/"), path.to_owned(), 0);
    while let Some(first) = rest.components().next() {
        let next = plain.join(first);
        let remaining = rest.strip_prefix(first).unwrap_or(Path::new("")).to_owned();
        let there = fs::symlink_metadata(&next)?;
        if there.is_symlink() {
            links += 1;
            if links > MOST || !is_ours(there.uid()) {
                return Err(name_link(Errno::ELOOP.into()));
            }
            rest = fs::read_link(&next)?.join(remaining);
        } else {
            if first == Component::ParentDir {
                plain.pop();
            } else {
                plain = next;
            }
            rest = remaining;
        }
    }
    Ok(plain)
}

fn is_ours(owner: u32) -> bool {
    owner == 0 || owner == effective_user()
}

/// Opens a file and locks it; creates it if it is missing. [`io::ErrorKind::WouldBlock`]: another process holds the lock.
/// A link is not followed, because its target may be somebody else's.
///
/// Only its owner can open it, whatever the umask: who can open a file can lock it.
pub(crate) fn open_locked(path: &Path) -> io::Result<File> {
    const MODE: u32 = 0o600;
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut options = File::options();
    options.create(true).read(true).write(true).truncate(false).mode(MODE).custom_flags(flags);
    loop {
        let file = options.open(path).map_err(name_link)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if found.mode() & 0o777 != MODE && found.uid() == effective_user() {
            file.set_permissions(fs::Permissions::from_mode(MODE))?;
        }
        file.try_lock()?;
        // The former holder may have deleted it since we opened it. Then nobody would find the file that we have locked.
        if stands_at(&file, path) {
            return Ok(file);
        }
    }
}

/// Removes a file that we hold, if it still stands there.
pub(crate) fn remove_held(file: &File, path: &Path) -> io::Result<()> {
    if stands_at(file, path) { fs::remove_file(path) } else { Ok(()) }
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
