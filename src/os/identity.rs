//! Users and groups: those that the workers run as, and our own.

use std::ffi::CString;
use std::io;
use std::path::Path;

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

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// Why there is no user of some name.
pub(crate) fn no_such_user() -> String {
    no_such("user", USERS)
}

/// Without that file, which minimal containers lack, no name is known.
fn no_such(what: &str, file: &str) -> String {
    let database = file.trim_start_matches("/etc/");
    match Path::new(file).exists() {
        true => format!("there is no such {what}: see `getent {database}`"),
        false => format!("there is no {file} to look the {what} up in: write its number"),
    }
}

/// The number that means "no change" to the kernel, so nobody can have it.
const NOBODYS: u32 = u32::MAX;

fn find_user(user: &str) -> Result<User, String> {
    let found = match user.parse() {
        // A number needs no entry in the user database: containers often have none.
        Ok(uid) if uid != NOBODYS => {
            User::from_uid(Uid::from_raw(uid)).map(|found| found.or_else(|| Some(nameless(uid))))
        }
        _ => User::from_name(user),
    };
    match found {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(format!("--user names {user:?}, but {}", no_such("user", USERS))),
        Err(errno) => Err(format!("--user names {user:?}, which cannot be looked up: {errno}")),
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
    match Group::from_name(group) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(format!("--group names {group:?}, but {}", no_such("group", GROUPS))),
        Err(errno) => Err(format!("--group names {group:?}, which cannot be looked up: {errno}")),
    }
}

/// The effective user id of this process.
pub(crate) fn effective_user() -> u32 {
    Uid::effective().as_raw()
}
