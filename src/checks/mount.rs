//! `mount:/var#type=ext4&rw`: a file system is mounted, answers, and is as expected.

use std::io;
use std::path::{Path, PathBuf};

use super::{Action, Kind, Opt, Options, Runs, Value};
use crate::model::check::{Finding, Reason, Result};
use crate::model::control::Control;
use crate::os::filesystem::{self, Mount};

pub(super) const KIND: Kind = Kind {
    scheme: "mount",
    port: None,
    options: &[
        Opt::new("type", Value::Text, "The type of the file system, or several with commas"),
        Opt::new("source", Value::Text, "What has to be mounted, as in /dev/sda1"),
        Opt::new("option", Value::Text, "An option that it has to be mounted with, as in noexec").repeatable(),
        Opt::new("rw", Value::Flag, "It must not be read-only"),
    ],
    // A network file system whose server is down only answers when that comes back.
    runs: Runs::OnThread,
    controls: Control::HOST,
    title: "A file system is mounted at {target}",
    passes: "a file system is mounted at the path, and answers",
    notices: &["gone", "starved"],
    examples: &["mount:/#option=rw", "mount:/srv#type=ext4,xfs&rw"],
    build,
};

/// What a mount must be like; what is not set does not matter.
struct Expected {
    kinds: Vec<String>,
    source: Option<String>,
    options: Vec<String>,
    rw: bool,
}

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    if !target.starts_with('/') {
        return Err("the target is not an absolute path, as in mount:/var".to_owned());
    }
    let path = PathBuf::from(target);
    let expected = Expected {
        kinds: options.parse("type", list)?.unwrap_or_default(),
        source: options.take("source")?,
        options: options.take_all("option"),
        rw: options.flag("rw")?,
    };
    if expected.rw && expected.options.iter().any(|option| option == "ro") {
        return Err("rw and option=ro exclude each other".to_owned());
    }
    Ok(Box::new(move |_| Finding::from(find(&path, &expected))))
}

fn list(text: &str) -> std::result::Result<Vec<String>, &'static str> {
    let names: Vec<_> = text.split(',').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) {
        Err("write a type, or several with commas, as in ext4,xfs")
    } else {
        Ok(names)
    }
}

fn find(path: &Path, expected: &Expected) -> Result {
    let shown = path.display();
    let mount = Mount::of(path).map_err(|error| because(path, &error))?;
    if !mount.is_here {
        return Err(Reason::Fail(format!("expected a file system to be mounted at {shown}, and none is")));
    }
    // The kernel knows of a mount by itself. Only the file system can tell how much room it has.
    filesystem::room(path).map_err(|error| because(path, &error))?;
    let mut wrong = expected.verdict(&mount);
    if expected.rw {
        wrong.extend(unwritable(&mount)?);
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Reason::Fail(format!("expected {}: {shown}", wrong.join(", and ")))),
    }
}

/// What an error says of the mount.
fn because(path: &Path, error: &io::Error) -> Reason {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Reason::Fail(format!("expected a file system to be mounted at {shown}: {error}"))
        }
        _ if filesystem::is_of_a_dead_one(error) => {
            Reason::Fail(format!("expected the file system at {shown} to answer: {error}"))
        }
        _ => Reason::Error(format!("cannot look at the file system at {shown}: {error}")),
    }
}

/// Why it cannot be written to, if so. A mount that is read-only for us alone, as with ProtectSystem=strict, is not.
fn unwritable(mount: &Mount) -> Result<Option<String>> {
    if mount.is_read_only {
        return Ok(Some("it to be writable, got a file system that is read-only".to_owned()));
    }
    if !mount.is_read_only_here {
        return Ok(None);
    }
    match mount.is_read_only_for_others() {
        Ok(Some(false)) => Ok(None),
        Ok(Some(true) | None) => Ok(Some("it to be writable, got a mount that is read-only".to_owned())),
        Err(error) => Err(Reason::Error(format!(
            "{} is mounted read-only for us, and whether it is for others too cannot be seen: {error}",
            mount.point.display()
        ))),
    }
}

impl Expected {
    fn verdict(&self, mount: &Mount) -> Vec<String> {
        let mut wrong = Vec::new();
        if !self.kinds.is_empty() && !self.kinds.contains(&mount.kind) {
            wrong.push(format!("the type {}, got {}", self.kinds.join(" or "), mount.kind));
        }
        if let Some(source) = self.source.as_ref().filter(|source| **source != mount.source) {
            wrong.push(format!("{source} to be mounted, got {}", mount.source));
        }
        let missing: Vec<_> = self.options.iter().filter(|option| !mount.options.contains(option)).collect();
        if !missing.is_empty() {
            let missing = missing.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            wrong.push(format!("the option {missing}, got {}", mount.options.join(", ")));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::{Deadline, Status};
    use std::time::Instant;

    fn found(target: &str, pairs: &[(&str, &str)]) -> Finding {
        build(target, &mut Options::of(pairs)).expect("it is well formed")(Deadline::at(Instant::now()))
    }

    #[test]
    fn the_root_is_mounted_and_a_folder_on_it_is_not() {
        assert_eq!(found("/", &[]), Finding::PASS);
        let folder = tempfile::tempdir().expect("there is room");
        let finding = found(&folder.path().display().to_string(), &[]);
        assert_eq!(finding.status, Status::Fail);
        assert!(finding.context.is_some_and(|context| context.ends_with(", and none is")));
        assert_eq!(found("/no/such/folder", &[]).status, Status::Fail);
    }

    #[test]
    fn everything_that_is_not_as_expected_is_named() {
        let finding = found("/proc", &[("type", "ext4,xfs"), ("source", "/dev/sda1"), ("option", "sync")]);
        let context = finding.context.unwrap_or_default();
        assert_eq!(finding.status, Status::Fail);
        assert!(context.starts_with("expected the type ext4 or xfs, got proc, and /dev/sda1 to be mounted, got "));
        assert!(context.contains(", and the option sync, got r") && context.ends_with(": /proc"), "{context}");
        assert_eq!(found("/proc", &[("type", "ext4,proc")]), Finding::PASS);
    }

    #[test]
    fn a_file_system_that_has_died_fails_and_one_that_we_may_not_see_is_an_error() {
        use nix::errno::Errno::*;
        for (errno, fails) in
            [(ENOENT, true), (ENOTCONN, true), (ESTALE, true), (EIO, true), (EACCES, false), (EMFILE, false)]
        {
            let reason = because(Path::new("/srv"), &errno.into());
            assert_eq!(matches!(reason, Reason::Fail(_)), fails, "{reason:?}");
        }
    }

    #[test]
    fn a_read_only_file_system_is_not_writable() {
        let mount = Mount { is_read_only: true, ..Mount::default() };
        assert!(unwritable(&mount).expect("it is known").is_some_and(|why| why.ends_with("read-only")));
        assert_eq!(unwritable(&Mount::default()), Ok(None));
    }

    #[test]
    fn wrong_options_are_refused() {
        for (target, pairs, text) in [
            ("var", &[][..], "the target is not an absolute path"),
            ("/", &[("type", "ext4,")][..], "option type: write a type"),
            ("/", &[("rw", "maybe")][..], "option rw: write true or false"),
            ("/", &[("rw", ""), ("option", "ro")][..], "rw and option=ro exclude each other"),
        ] {
            let error = build(target, &mut Options::of(pairs)).err().unwrap_or_default();
            assert!(error.starts_with(text), "{error}");
        }
    }
}
