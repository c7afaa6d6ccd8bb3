//! File systems: how much room they have, and what files we may run.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, User, eaccess};

/// The room of one file system: bytes, and inodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Room {
    pub(crate) bytes: Share,
    pub(crate) inodes: Share,
}

/// What there is of something for users without privileges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    pub(crate) free: u64,
    pub(crate) total: u64,
}

/// Measures the file system that holds `path`. May wait for a server that does not answer.
pub(crate) fn room(path: &Path) -> io::Result<Room> {
    let found = statvfs(path)?;
    // What root keeps for itself is not there for anybody else, neither free nor in all: so does df.
    let share =
        |free_for_root: u64, free: u64, total: u64| Share { free, total: total - free_for_root.min(total) + free };
    let bytes = share(found.blocks_free(), found.blocks_available(), found.blocks());
    let size = found.fragment_size();
    Ok(Room {
        bytes: Share { free: bytes.free.saturating_mul(size), total: bytes.total.saturating_mul(size) },
        inodes: share(found.files_free(), found.files_available(), found.files()),
    })
}

/// Whether this process may run the file, given who it is now.
pub(crate) fn may_execute(path: &Path) -> io::Result<()> {
    Ok(eaccess(path, AccessFlags::X_OK)?)
}

/// Looks up the number of a user. `None`: there is no such user.
pub(crate) fn user_id(name: &str) -> io::Result<Option<u32>> {
    Ok(User::from_name(name)?.map(|user| user.uid.as_raw()))
}
