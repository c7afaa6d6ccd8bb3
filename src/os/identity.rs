//! Users and groups: those that the workers run as, and our own.

use std::ffi::CString;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User};

/// The user and group that the workers run as.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    user: Option<User>,
    group: Option<Gid>,
}

impl Identity {
    /// Looks up a user and a group, each a name or a number. The error is one line.
    pub(crate) fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Identity, String> {
        let user = user.map(find_user).transpose()?;
        let group = group.map(find_group).transpose()?;
        let changes = user.as_ref().is_some_and(|user| user.uid != Uid::effective())
            || group.is_some_and(|group| group != Gid::effective());
        if changes && !Uid::effective().is_root() {
            return Err("--user and --group need root: start hospital as root, or as that user".to_owned());
        }
        Ok(Identity { user, group })
    }

    /// Switches to this user and group, for good.
    pub(crate) fn assume(&self) -> io::Result<()> {
        if !Uid::effective().is_root() {
            return Ok(());
        }
        let group = self.group.or(self.user.as_ref().map(|user| user.gid));
        if let (Some(user), Some(group)) = (&self.user, group) {
            let name = CString::new(user.name.as_str()).map_err(io::Error::other)?;
            nix::unistd::initgroups(&name, group)?;
        }
        if let Some(group) = group {
            nix::unistd::setgid(group)?;
        }
        if let Some(user) = &self.user {
            nix::unistd::setuid(user.uid)?;
        }
        Ok(())
    }

    /// The user and group that own the files which the workers must be able to use.
    pub(crate) fn owner(&self) -> (Option<u32>, Option<u32>) {
        let group = self.group.or(self.user.as_ref().map(|user| user.gid));
        (self.user.as_ref().map(|user| user.uid.as_raw()), group.map(Gid::as_raw))
    }
}

/// The number that means "no change" to the kernel, so nobody can have it.
const NOBODYS: u32 = u32::MAX;

fn find_user(user: &str) -> Result<User, String> {
    let found = match user.parse() {
        // A number needs no entry in the user database, nor that there is one: containers often have none.
        Ok(uid) if uid != NOBODYS => match User::from_uid(Uid::from_raw(uid)) {
            Ok(None) | Err(Errno::ENOENT) => Ok(Some(nameless(uid))),
            found => found,
        },
        _ => User::from_name(user),
    };
    looked_up(found, "user", "passwd").map_err(|why| format!("--user names {user:?}, but {why}"))
}

/// What was found of a name, or why nothing was.
fn looked_up<T>(found: nix::Result<Option<T>>, what: &str, database: &str) -> Result<T, String> {
    match found {
        Ok(Some(found)) => Ok(found),
        Ok(None) | Err(Errno::ENOENT) if !Path::new("/etc").join(database).exists() => {
            Err(format!("there is no /etc/{database} to look the {what} up in: write its number"))
        }
        Ok(None) => Err(format!("there is no such {what}: see `getent {database}`")),
        Err(errno) => Err(format!("it cannot be looked up: {errno}")),
    }
}

fn nameless(uid: u32) -> User {
    User {
        name: uid.to_string(),
        passwd: CString::default(),
        uid: Uid::from_raw(uid),
        gid: Gid::from_raw(uid),
        gecos: CString::default(),
        dir: "/".into(),
        shell: "/bin/false".into(),
    }
}

fn find_group(group: &str) -> Result<Gid, String> {
    if let Some(gid) = group.parse().ok().filter(|gid| *gid != NOBODYS) {
        return Ok(Gid::from_raw(gid));
    }
    let found = looked_up(Group::from_name(group), "group", "group");
    found.map(|group| group.gid).map_err(|why| format!("--group names {group:?}, but {why}"))
}

/// Looks up the number of a user. The error says why there is none.
pub(crate) fn user_id(name: &str) -> Result<u32, String> {
    looked_up(User::from_name(name), "user", "passwd").map(|user| user.uid.as_raw())
}

/// The effective user id of this process.
pub(crate) fn effective_user() -> u32 {
    Uid::effective().as_raw()
}
