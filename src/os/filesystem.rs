//! File systems: how much room they have, and which files we may run.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, eaccess};

use super::identity::effective_user;
use super::walk::{Place, walk};

/// The user and group that a file is given to; `None` leaves it as it is.
pub(crate) type FileOwner = (Option<u32>, Option<u32>);

/// The room on a file system: bytes, and inodes, and whether it may be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Room {
    pub(crate) bytes: Share,
    pub(crate) inodes: Share,
    pub(crate) read_only: bool,
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
        read_only: found.flags().contains(FsFlags::ST_RDONLY),
    })
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

/// Whether a file system is mounted at this path, or at what it links to.
pub(crate) fn is_mount_point(path: &Path) -> io::Result<bool> {
    let path = fs::canonicalize(path)?;
    let mounts = fs::read("/proc/self/mountinfo")?;
    let mut points = mounts.split(|&byte| byte == b'\n').filter_map(|line| line.split(|&byte| byte == b' ').nth(4));
    Ok(points.any(|point| point == escaped(&path)))
}

/// As the kernel writes a path in a line of mountinfo.
fn escaped(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes().iter();
    bytes
        .flat_map(|&byte| if b" \t\n\\#".contains(&byte) { format!("\\{byte:03o}").into_bytes() } else { vec![byte] })
        .collect()
}

/// Opens a regular file for reading. Others may exchange it at any time, so what is opened is what was found to be
/// regular: a fifo would wait for a writer, and some devices act when they are opened, as a watchdog does.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    reopen(&File::options().read(true).custom_flags(libc::O_PATH).open(path)?)
}

/// Opens for reading what is held with `O_PATH`, if it is a regular file.
fn reopen(held: &File) -> io::Result<File> {
    if !held.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    // Who holds a lease on it would otherwise let us wait.
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(format!("/proc/self/fd/{}", held.as_raw_fd()))
}

/// Reads a small regular file, which others may control: see [`open_regular`].
pub(crate) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    read_all(open_regular(path)?)
}

/// The same for a file of text.
pub(crate) fn read_file(path: &Path) -> io::Result<String> {
    read_text(open_regular(path)?)
}

/// The same for what is held, whatever stands at its path by now.
pub(crate) fn read_place(place: &Place) -> io::Result<String> {
    read_text(reopen(&place.file)?)
}

fn read_text(file: File) -> io::Result<String> {
    String::from_utf8(read_all(file)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

fn read_all(file: File) -> io::Result<Vec<u8>> {
    const MOST: u64 = 1 << 20;
    let mut bytes = Vec::new();
    if file.take(MOST + 1).read_to_end(&mut bytes)? as u64 > MOST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(bytes)
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
    if !only_own_links {
        return Ok(open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?);
    }
    let walk = walk(path, |place| match place.metadata.is_symlink() && !is_ours(place.metadata.uid()) {
        true => Err(name_link(Errno::ELOOP.into())),
        false => Ok(()),
    })?;
    Ok(walk.end()?.file.into())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::walk::Walk;

    #[test]
    fn what_is_held_is_read_whatever_stands_at_its_path() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("file");
        fs::write(&path, "ours").expect("it is ours");
        let held = walk(&path, |_| Ok::<_, io::Error>(())).and_then(Walk::end).expect("it is there");
        fs::remove_file(&path).and_then(|()| fs::write(&path, "theirs")).expect("it is ours");
        assert_eq!(read_place(&held).expect("it is held"), "ours");
    }
}
