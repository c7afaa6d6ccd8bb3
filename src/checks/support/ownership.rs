//! Refuses to read or run what others could change.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::Error;
use crate::os::{filesystem, identity};

/// Refuses a folder, file or executable that others may write to: they could make us run what they like.
pub(crate) fn verify(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    objection_of(path, metadata).map_or(Ok(()), |why| Err(refusal(path, &why)))
}

/// What is wrong with a program that is about to be run, if it exists.
pub(in crate::checks) fn objection_to(program: &Path) -> Option<String> {
    objection_of(program, &program.metadata().ok()?)
}

fn objection_of(path: &Path, metadata: &Metadata) -> Option<String> {
    // A volume of Kubernetes has the mode 0777, and nobody in the container can write to it.
    let mode = if filesystem::is_read_only(path) { metadata.mode() & !0o222 } else { metadata.mode() };
    objection(metadata.uid(), mode, identity::effective_user())
}

fn refusal(path: &Path, why: &str) -> Error {
    Error::Unsafe(format!(
        "{}: refused, because {why}: let only root or the user of hospital own it, and `chmod go-w` it",
        path.display()
    ))
}

/// What is wrong with the owner and the mode of a file, for us. The sticky bit does not help: it prevents others from
/// removing files, but not from adding them.
fn objection(owner: u32, mode: u32, us: u32) -> Option<String> {
    const ROOT: u32 = 0;
    if owner != us && owner != ROOT {
        return Some(format!("it belongs to the user {owner}"));
    }
    let watched = match us {
        ROOT => 0o022,
        // Developers may leave their own folders open: others gain nothing but what the owner gives away.
        _ if owner == us => 0,
        // Container images for clusters that choose any user, in group 0, make their files writable for that group.
        _ => 0o002,
    };
    (mode & watched != 0).then(|| format!("others may write to it (its mode is {:o})", mode & 0o7777))
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
            assert_eq!(objection(owner, mode, us).is_some(), refused, "{owner} {mode:o} for {us}");
        }
    }

    #[test]
    fn the_refusal_says_what_to_do_and_has_its_own_exit_code() {
        let why = objection(0, 0o41777, 0).expect("anybody may write there");
        let error = refusal(Path::new("/srv/checks"), &why);
        assert_eq!(error.code(), 5);
        assert_eq!(
            error.to_string(),
            "/srv/checks: refused, because others may write to it (its mode is 1777): \
             let only root or the user of hospital own it, and `chmod go-w` it"
        );
    }
}
