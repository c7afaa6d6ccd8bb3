//! Who the workers run as, as `--user` and `--group` say it.

use std::io;

use crate::error::Error;
use crate::os::identity::{Identity, effective_group, effective_user, find_group, find_user, looked_up};

/// Looks up the user and the group.
///
/// # Errors
///
/// [`Error::Usage`], naming the flag: there is no such user or group, or only root can become it.
pub(crate) fn identity(user: Option<&str>, group: Option<&str>) -> Result<Identity, Error> {
    let uid = user.map(|name| found("user", name, "passwd", find_user(name))).transpose()?;
    let gid = group.map(|name| found("group", name, "group", find_group(name))).transpose()?;
    if effective_user() == 0 {
        return Ok(Identity::new(uid, gid));
    }
    let changed = uid
        .is_some_and(|user| user.uid.as_raw() != effective_user())
        .then_some(("user", user))
        .or(gid.is_some_and(|group| group.as_raw() != effective_group()).then_some(("group", group)));
    match changed {
        Some((flag, name)) => Err(Error::Usage(format!(
            "--{flag} {} needs root: start hospital as root, or as that {flag} without --{flag}",
            name.unwrap_or_default()
        ))),
        // Who we are already: nothing is to be given to anybody.
        None => Ok(Identity::default()),
    }
}

fn found<T>(flag: &str, name: &str, database: &str, found: io::Result<Option<T>>) -> Result<T, Error> {
    looked_up(found, flag, database).map_err(|why| Error::Usage(format!("--{flag} names {name:?}, but {why}")))
}
