//! Users and groups: those that the workers run as, and our own.

use std::ffi::CString;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::unistd::{self, Gid, Group, Uid, User};

/// The user and group that the workers run as; by default those that we run as.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Identity {
    user: Option<User>,
    group: Option<Gid>,
}

impl Identity {
    /// This user with its group, unless another one is given; `None` leaves ours.
    pub(crate) fn new(user: Option<User>, group: Option<Gid>) -> Identity {
        Identity { group: group.or(user.as_ref().map(|user| user.gid)), user }
    }

    /// Switches to this user and group, for good.
    pub(crate) fn assume(&self) -> io::Result<()> {
        self.take_groups()?;
        if let Some(group) = self.group {
            unistd::setgid(group)?;
        }
        if let Some(user) = &self.user {
            unistd::setuid(user.uid)?;
        }
        Ok(())
    }

    /// The same in a fork of a process that only acts as this user and group.
    pub(super) fn assume_whole(&self) -> io::Result<()> {
        unistd::seteuid(Uid::current())?;
        unistd::setegid(Gid::current())?;
        self.assume()
    }

    /// Does something with the rights of this user and group, and takes our own back afterwards. Call this while there
    /// is one thread.
    pub(crate) fn act<T>(&self, act: impl FnOnce() -> T) -> io::Result<T> {
        if self.group.is_none() {
            return Ok(act());
        }
        let own = Own { groups: unistd::getgroups()?, group: Gid::effective(), user: Uid::effective() };
        if let Err(error) = self.take_groups() {
            // Nothing has changed, and without the right to change groups nothing could be restored.
            std::mem::forget(own);
            return Err(error);
        }
        if let Some(group) = self.group {
            unistd::setegid(group)?;
        }
        if let Some(user) = &self.user {
            unistd::seteuid(user.uid)?;
        }
        Ok(act())
    }

    /// The supplementary groups of the user. Where only a group is given, there are none: those of root stay with root.
    fn take_groups(&self) -> io::Result<()> {
        match (&self.user, self.group) {
            (Some(user), Some(group)) => {
                let name = CString::new(user.name.as_str()).map_err(io::Error::other)?;
                unistd::initgroups(&name, group)?;
            }
            (None, Some(_)) => unistd::setgroups(&[])?,
            (_, None) => {}
        }
        Ok(())
    }

    /// What its programs expect of their environment, as systemd sets it for `User=`.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let variables = |user: &User| {
            let (home, shell) = (user.dir.display().to_string(), user.shell.display().to_string());
            let name = &user.name;
            [("HOME", &home), ("LOGNAME", name), ("SHELL", &shell), ("USER", name)]
                .map(|(name, value)| (name.to_owned(), value.clone()))
        };
        self.user.iter().flat_map(variables).collect()
    }

    /// The user and group that own the files which the workers must be able to use.
    pub(crate) fn owner(&self) -> (Option<u32>, Option<u32>) {
        (self.user.as_ref().map(|user| user.uid.as_raw()), self.group.map(Gid::as_raw))
    }
}

/// What we were before we acted as another.
struct Own {
    groups: Vec<Gid>,
    group: Gid,
    user: Uid,
}

impl Drop for Own {
    fn drop(&mut self) {
        // The user first: only root may change groups.
        let restored = unistd::seteuid(self.user)
            .and_then(|()| unistd::setegid(self.group))
            .and_then(|()| unistd::setgroups(&self.groups));
        // With half of the rights of another nothing may go on.
        restored.expect("the real user is still ours");
    }
}

/// The number that means "no change" to the kernel, so nobody can have it.
const NOBODYS: u32 = u32::MAX;

/// Looks up a user by name or number. A number needs no entry in the user database, nor that there is one: containers often
/// have none.
pub(crate) fn find_user(user: &str) -> io::Result<Option<User>> {
    match user.parse() {
        Ok(uid) if uid != NOBODYS => match User::from_uid(Uid::from_raw(uid)) {
            Ok(None) | Err(Errno::ENOENT) => Ok(Some(nameless(uid))),
            found => Ok(found?),
        },
        _ => Ok(User::from_name(user)?),
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

/// Looks up a group by name or number.
pub(crate) fn find_group(group: &str) -> io::Result<Option<Gid>> {
    match group.parse() {
        Ok(gid) if gid != NOBODYS => Ok(Some(Gid::from_raw(gid))),
        _ => Ok(Group::from_name(group)?.map(|group| group.gid)),
    }
}

/// Looks up the number of a user. The error says why there is none.
pub(crate) fn user_id(name: &str) -> Result<u32, String> {
    let found = User::from_name(name).map_err(io::Error::from);
    looked_up(found, "user", "passwd").map(|user| user.uid.as_raw())
}

/// What was found of a name in a database, or why nothing was.
pub(crate) fn looked_up<T>(found: io::Result<Option<T>>, what: &str, database: &str) -> Result<T, String> {
    let is_there = || Path::new("/etc").join(database).exists();
    match found {
        Ok(Some(found)) => Ok(found),
        Ok(None) if is_there() => Err(format!("there is no such {what}: see `getent {database}`")),
        // The C library reports that there is no database as if nothing else were missing.
        Err(error) if error.kind() != io::ErrorKind::NotFound || is_there() => {
            Err(format!("it cannot be looked up: {error}"))
        }
        Ok(None) | Err(_) => Err(format!("there is no /etc/{database} to look the {what} up in: write its number")),
    }
}

/// The effective user id of this process.
pub(crate) fn effective_user() -> u32 {
    Uid::effective().as_raw()
}

/// Whether we may do what only root may.
pub(crate) fn is_root() -> bool {
    effective_user() == 0
}

/// The name of this host; empty where it cannot be read.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// What tells this machine from all others, if it has been given that; only those on it know it.
pub(crate) fn machine() -> &'static str {
    static MACHINE: OnceLock<String> = OnceLock::new();
    MACHINE.get_or_init(|| std::fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned())
}

/// What the user who has started this process is called: the name, or the number where there is none.
pub(crate) fn own_name() -> String {
    user_name(Uid::current().as_raw())
}

/// What a user is called: the name, or the number where there is none.
pub(crate) fn user_name(user: u32) -> String {
    match User::from_uid(Uid::from_raw(user)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => user.to_string(),
    }
}

/// The effective group id of this process.
pub(crate) fn effective_group() -> u32 {
    Gid::effective().as_raw()
}
