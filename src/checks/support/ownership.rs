//! Refuses to read or run what others could change, or could put another thing in the place of.
//!
//! As sshd's safe_path does, it judges what a path leads to, and each folder and link on the way from `/`, held while the
//! next step is looked up in it. Where all of that is in the hands of root and of us, a path leads to the same thing until
//! one of us changes that. So a program that was judged may be run by its path, from which scripts find their folder.

use std::fmt::Display;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::Error;
use crate::os::filesystem::read_place;
use crate::os::identity;
use crate::os::walk::{Place, Walk, walk};

/// Why something is neither read nor run.
#[derive(Debug)]
pub(crate) enum Distrust {
    /// It cannot be looked at.
    Unseen(io::Error),
    /// Others could change it; the text says how.
    Unsafe(String),
}

impl Distrust {
    /// The error of a setting or name; `unseen` makes the one for what cannot be looked at.
    pub(crate) fn error(self, name: impl Display, unseen: impl FnOnce(io::Error) -> Error) -> Error {
        match self {
            Distrust::Unseen(error) => unseen(error),
            Distrust::Unsafe(why) => refusal(name, &why),
        }
    }
}

impl From<io::Error> for Distrust {
    fn from(error: io::Error) -> Distrust {
        Distrust::Unseen(error)
    }
}

/// Holds what a path leads to, if others cannot make it lead elsewhere. What is there is not judged yet.
pub(crate) fn reach(path: &Path) -> Result<Place, Distrust> {
    Ok(walk(path, may_pass)?.end()?)
}

/// Refuses a folder, file or executable that others may write to: they could make us run what they like.
pub(crate) fn verify(path: &Path, place: &Place) -> Result<(), Error> {
    judge(place, place.metadata.mode(), &"it").map_err(|why| refusal(path.display(), &why))
}

/// Holds what a path leads to, if others can neither change nor exchange it.
pub(crate) fn open(path: &Path) -> Result<Place, Distrust> {
    let place = reach(path)?;
    judge(&place, place.metadata.mode(), &"it").map_err(Distrust::Unsafe)?;
    Ok(place)
}

/// Reads a small regular file of text that others can neither change nor exchange.
pub(crate) fn read(path: &Path) -> Result<String, Distrust> {
    Ok(read_place(&open(path)?)?)
}

/// Refuses a file that means something by being there if others could create it.
pub(crate) fn verify_creation(path: &Path) -> Result<(), Distrust> {
    let Walk { places, .. } = walk(path, may_pass)?;
    let folder = places.iter().rfind(|place| place.metadata.is_dir()).expect("the root is a folder");
    judge(folder, folder.metadata.mode(), &folder.path.display()).map_err(Distrust::Unsafe)
}

/// Refuses a folder or link on the way which others can make lead elsewhere.
fn may_pass(place: &Place) -> Result<(), Distrust> {
    const STICKY: u32 = 0o1000;
    let mode = match place.metadata.mode() {
        // A link has no mode of its own.
        _ if place.metadata.is_symlink() => 0,
        // Others may add to it, but not exchange what is ours or root's, and the owner of the next step is judged.
        mode if mode & STICKY != 0 => mode & !0o022,
        mode => mode,
    };
    judge(place, mode, &place.path.display()).map_err(Distrust::Unsafe)
}

fn judge(place: &Place, mode: u32, name: &dyn Display) -> Result<(), String> {
    match fault(place.metadata.uid(), mode, identity::effective_user()) {
        None => Ok(()),
        Some(Fault::Owner(owner)) => Err(format!("{name} belongs to the user {owner}")),
        // A volume of Kubernetes has the mode 0777, and nobody in the container can write to it.
        Some(Fault::Mode(_)) if place.is_on_read_only_volume() => Ok(()),
        Some(Fault::Mode(mode)) => Err(format!("others may write to {name} (its mode is {mode:o})")),
    }
}

/// The error of what is unsafe.
pub(crate) fn refusal(name: impl Display, why: &str) -> Error {
    Error::Unsafe(format!(
        "{name}: refused, because {why}: let only root or the user of hospital own it, and `chmod go-w` it"
    ))
}

#[derive(Debug, PartialEq)]
enum Fault {
    Owner(u32),
    Mode(u32),
}

/// What is wrong with the owner and the mode of a file or folder, for us. The sticky bit does not help: it prevents others
/// from removing files, but not from adding them.
fn fault(owner: u32, mode: u32, us: u32) -> Option<Fault> {
    const ROOT: u32 = 0;
    if owner != us && owner != ROOT {
        return Some(Fault::Owner(owner));
    }
    let watched = match us {
        ROOT => 0o022,
        // Developers may leave their own folders open: others gain nothing but what the owner gives away.
        _ if owner == us => 0,
        // Container images for clusters that choose any user, in group 0, make their files writable for that group.
        _ => 0o002,
    };
    (mode & watched != 0).then_some(Fault::Mode(mode & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_write_is_refused() {
        const ME: u32 = 1000;
        for (owner, mode, us, refused) in [
            (0, 0o755, 0, false),
            (0, 0o775, 0, true),
            (0, 0o1777, 0, true),
            (0, 0o757, 0, true),
            (ME, 0o755, 0, true),
            (ME, 0o777, ME, false),
            (0, 0o775, ME, false),
            (0, 0o1777, ME, true),
            (1001, 0o755, ME, true),
        ] {
            assert_eq!(fault(owner, mode, us).is_some(), refused, "{owner} {mode:o} for {us}");
        }
    }

    #[test]
    fn the_refusal_says_what_to_do_and_has_its_own_exit_code() {
        let error = refusal("/srv/checks", "others may write to it (its mode is 1777)");
        assert_eq!(error.code(), 5);
        assert_eq!(
            error.to_string(),
            "/srv/checks: refused, because others may write to it (its mode is 1777): \
             let only root or the user of hospital own it, and `chmod go-w` it"
        );
    }

    #[test]
    fn nothing_is_created_by_others_where_only_a_folder_of_theirs_or_a_sticky_one_is_left_to_go() {
        let ours = tempfile::tempdir().expect("a folder for the test");
        assert!(verify_creation(&ours.path().join("file")).is_ok());
        assert!(verify_creation(&ours.path().join("no/such/folder/file")).is_ok(), "only we can make it");
        std::os::unix::fs::symlink("/tmp/none-of-ours", ours.path().join("link")).expect("it is ours");
        for path in [Path::new("/tmp/file"), Path::new("/tmp/no/such/folder/file"), &ours.path().join("link")] {
            let refused = verify_creation(path).expect_err("anybody may write to /tmp");
            assert!(matches!(&refused, Distrust::Unsafe(why) if why.contains("write to /tmp ")), "{refused:?}");
        }
    }
}
