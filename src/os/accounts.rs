//! The users and groups of this host, as its C library finds them (nsswitch.conf(5)).

use std::ffi::CString;
use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, User, getgrouplist};

/// A user.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
    pub(crate) shell: String,
}

/// The user of this name. May block on a directory that does not answer.
pub(crate) fn user(name: &str) -> io::Result<Option<Account>> {
    let found = known(User::from_name(name), "passwd")?;
    Ok(found.map(|found| Account {
        uid: found.uid.as_raw(),
        gid: found.gid.as_raw(),
        home: found.dir.display().to_string(),
        shell: found.shell.display().to_string(),
    }))
}

/// The number of the group of this name.
pub(crate) fn group(name: &str) -> io::Result<Option<u32>> {
    Ok(known(Group::from_name(name), "group")?.map(|found| found.gid.as_raw()))
}

/// The names of the groups that a user is in, whose own is `gid`; of one without a name, the number.
pub(crate) fn groups_of(name: &str, gid: u32) -> io::Result<Vec<String>> {
    let name = CString::new(name).map_err(io::Error::other)?;
    let named = |gid: Gid| {
        let found = Group::from_gid(gid)?;
        Ok(found.map_or_else(|| gid.to_string(), |group| group.name))
    };
    getgrouplist(&name, Gid::from_raw(gid))?.into_iter().map(named).collect()
}

/// What was found, unless nothing was where not everything could be searched.
fn known<T>(found: nix::Result<Option<T>>, database: &str) -> io::Result<Option<T>> {
    match found {
        // So the C library says that there is no such file.
        Err(Errno::ENOENT) => Err(io::Error::other(format!("there is no /etc/{database}"))),
        Ok(None) if cfg!(target_env = "musl") && has_directory(database) => Err(io::Error::other(
            "it is in no file, and this build of hospital asks no directory, as nsswitch.conf wants",
        )),
        // It says so of a file that it could not read, too, if a directory does not know the name.
        Ok(None) => File::open(format!("/etc/{database}")).map(|_| None),
        found => Ok(found?),
    }
}

/// Whether more than files is to be searched.
fn has_directory(database: &str) -> bool {
    let text = std::fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let sources =
        text.lines().find_map(|line| line.trim_start().strip_prefix(database)?.trim_start().strip_prefix(':'));
    let is_file = |source: &str| ["files", "compat", "altfiles"].contains(&source) || source.starts_with('[');
    sources.is_some_and(|sources| !sources.split_whitespace().all(is_file))
}
