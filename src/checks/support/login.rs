//! Where a server is, and who we are there: `//USER:PASSWORD@HOST:PORT/PATH`, or the password in a file of its own.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::ownership::{self, Distrust};
use super::secrets;
use super::target::Target;
use crate::checks::{Opt, Options, Value};
use crate::model::check::{Reason, Result};
use crate::os::filesystem::read_place;

/// The option that names the file of a password.
pub(in crate::checks) const PASSWORD_FILE: Opt =
    Opt::new("password_file", Value::Path, "The file with the password, which others may not read");

/// A server and an account on it.
#[derive(Debug)]
pub(in crate::checks) struct Login {
    pub(in crate::checks) server: Target,
    pub(in crate::checks) user: Option<String>,
    password: Password,
    /// What follows the host, without its slash, such as a database.
    pub(in crate::checks) path: String,
}

#[derive(Debug)]
enum Password {
    None,
    Given(String),
    /// Read at each run, so that a new one is taken without a reload.
    In(PathBuf),
}

impl Login {
    /// Reads a target and the options of a login; `port` is assumed where none is given.
    pub(in crate::checks) fn take(
        target: &str,
        port: u16,
        options: &mut Options,
    ) -> std::result::Result<Login, String> {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (plain, account) = secrets::without_user(target);
        let plain = plain.strip_prefix("//").unwrap_or(&plain);
        let (host, path) = plain.split_once('/').unwrap_or((plain, ""));
        let server = Target::parse(host, Some(port)).ok_or("the target is not [USER:PASSWORD@]HOST[:PORT]")?;
        let (user, given) = match account {
            None => (None, None),
            Some(account) => match account.split_once(':') {
                Some((user, password)) => (Some(decoded(user)), Some(decoded(password))),
                None => (Some(decoded(account)), None),
            },
        };
        let password = match (given, options.take(PASSWORD_FILE.name())?) {
            (Some(_), Some(_)) => {
                return Err("there is a password, and a password_file too: give one of them".to_owned());
            }
            (Some(password), None) => Password::Given(password),
            (None, Some(file)) => Password::In(file.into()),
            (None, None) => Password::None,
        };
        // Redis has passwords without a user.
        let user = user.filter(|user| !user.is_empty());
        Ok(Login { server, user, password, path: decoded(path) })
    }

    /// Whether a password is given, or where it is.
    #[cfg(feature = "tls")]
    pub(in crate::checks) fn has_password(&self) -> bool {
        match self.password {
            Password::None => false,
            Password::Given(_) | Password::In(_) => true,
        }
    }

    /// The password, if there is one.
    ///
    /// # Errors
    ///
    /// `Error` when its file cannot be read, or others may read or change it.
    pub(in crate::checks) fn password(&self) -> Result<Option<String>> {
        let path = match &self.password {
            Password::None => return Ok(None),
            Password::Given(password) => {
                secrets::learn(password);
                return Ok(Some(password.clone()));
            }
            Password::In(path) => path,
        };
        let told = |why| Reason::Error(format!("cannot take the password: {why}"));
        secret("password_file", path).map(Some).map_err(told)
    }
}

/// What a file holds that others may neither read nor change, without the end of its last line. The error says of the option why it
/// is not read. Servers repeat what they were told, so it is kept out of every text about this run.
pub(in crate::checks) fn secret(option: &str, path: &Path) -> std::result::Result<String, String> {
    let read = || {
        let place = ownership::open(path).map_err(|distrust| match distrust {
            Distrust::Unseen(error) => error.to_string(),
            Distrust::Unsafe(why) => why,
        })?;
        if place.metadata.mode() & 0o004 != 0 {
            return Err("everybody may read it: `chmod o-r` it".to_owned());
        }
        read_place(&place).map_err(|error| error.to_string())
    };
    // Whoever has written a secret in place of its file does not see it shown.
    let told = |why| match path.exists() {
        true => format!("{option}: {}: {why}", path.display()),
        false => format!("{option}: {why}: write the path of a file that holds it"),
    };
    let secret = read().map(|text| text.trim_end_matches(['\r', '\n']).to_owned()).map_err(told)?;
    secrets::learn(&secret);
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn login(target: &str, pairs: &[(&str, &str)]) -> std::result::Result<Login, String> {
        Login::take(target, 5432, &mut Options::of(pairs))
    }

    #[test]
    fn a_target_tells_the_server_the_account_and_what_is_there() {
        for (target, server, user, password, path) in [
            ("//db", "db:5432", None, None, ""),
            ("//db:1/shop", "db:1", None, None, "shop"),
            ("//anna@[::1]/a%20b", "[::1]:5432", Some("anna"), None, "a b"),
            ("//anna:p%40ss:w@db/", "db:5432", Some("anna"), Some("p@ss:w"), ""),
            ("//:only@db", "db:5432", None, Some("only"), ""),
        ] {
            let login = login(target, &[]).expect(target);
            assert_eq!((login.server.to_string().as_str(), login.user.as_deref()), (server, user), "{target}");
            assert_eq!((login.password().expect("it is known").as_deref(), login.path.as_str()), (password, path));
        }
        assert!(login("//db:x", &[]).is_err() && login("//", &[]).is_err());
        assert!(login("//a:b@db", &[("password_file", "/f")]).is_err_and(|error| error.contains("give one of them")));
    }

    #[test]
    fn a_password_in_place_of_its_file_is_not_shown() {
        let login = login("//anna@db", &[("password_file", "hunter2")]).expect("well formed");
        assert!(matches!(login.password(), Err(Reason::Error(why)) if !why.contains("hunter2")));
    }

    #[test]
    fn a_password_that_everybody_may_read_is_not_used() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("password");
        fs::write(&path, "s3cret\n").expect("there is room");
        let login = login("//anna@db", &[("password_file", path.to_str().expect("it is text"))]).expect("well formed");
        let allow = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        allow(0o644);
        assert!(matches!(login.password(), Err(Reason::Error(why)) if why.contains("everybody may read it")));
        allow(0o600);
        // The temporary folder of this machine may be one that others can exchange things in.
        if let Ok(password) = login.password() {
            assert_eq!(password.as_deref(), Some("s3cret"));
        }
        fs::remove_file(&path).expect("it is ours");
        assert!(matches!(login.password(), Err(Reason::Error(why)) if why.contains("cannot take the password")));
    }
}
