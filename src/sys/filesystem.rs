//! File systems: how much room they have, and which files we may run.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, User, eaccess};

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
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    if file.take(MOST + 1).read_to_string(&mut text)? as u64 > MOST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

/// Opens a file for appending, without waiting for a fifo's reader.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Whether this process may run the file with its present user and groups.
pub(crate) fn may_execute(path: &Path) -> io::Result<()> {
    Ok(eaccess(path, AccessFlags::X_OK)?)
}

/// Looks up the uid of a user. `None`: there is no such user.
pub(crate) fn user_id(name: &str) -> io::Result<Option<u32>> {
    Ok(User::from_name(name)?.map(|user| user.uid.as_raw()))
}
