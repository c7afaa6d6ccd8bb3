//! A path whose parts may hold `*`, `?` and `[…]`, as a shell expands it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// More names than anybody means: they would take long, and much memory.
const MOST: usize = 100_000;

/// An absolute path with such parts.
#[derive(Clone, Debug)]
pub(in crate::checks) struct Wildcard {
    written: String,
}

impl Wildcard {
    /// The path, if it has such parts.
    pub(in crate::checks) fn of(path: &str) -> Option<Wildcard> {
        is_wild(path).then(|| Wildcard { written: path.to_owned() })
    }

    /// What there is now, by name. What we may not see is an error; what is not there, or has gone meanwhile, is not.
    pub(in crate::checks) fn paths(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = vec![PathBuf::from("/")];
        for part in self.written.split('/').filter(|part| !part.is_empty()) {
            let mut next = Vec::new();
            for folder in &found {
                match is_wild(part) {
                    true => list(folder, part, &mut next)?,
                    false => next.extend(there(folder.join(part))?),
                }
                if next.len() > MOST {
                    return Err(io::Error::other(format!("more than {MOST} paths match {}", self.written)));
                }
            }
            found = next;
        }
        found.sort();
        Ok(found)
    }
}

fn is_wild(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn list(folder: &Path, part: &str, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
    let entries = match fs::read_dir(folder) {
        Err(error) if is_missing(&error) => return Ok(()),
        entries => entries.map_err(named)?,
    };
    for entry in entries {
        let name = entry.map_err(named)?.file_name();
        if matches(part.as_bytes(), name.as_bytes()) && found.len() <= MOST {
            found.push(folder.join(name));
        }
    }
    Ok(())
}

fn there(path: PathBuf) -> io::Result<Option<PathBuf>> {
    match fs::symlink_metadata(&path) {
        Ok(_) => Ok(Some(path)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a name matches. As in a shell, its first `.` has to be written.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut at, mut read) = (0, 0);
    // Where the last `*` is, and to where it reaches: only the last one may have to reach further.
    let mut star = None;
    while read < name.len() {
        let (fits, length) = match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
                continue;
            }
            Some(b'?') => (true, 1),
            Some(b'[') => class(&pattern[at..], name[read]),
            Some(&byte) => (byte == name[read], 1),
            None => (false, 0),
        };
        if fits {
            at += length;
            read += 1;
        } else if let Some((from, reached)) = star {
            star = Some((from, reached + 1));
            (at, read) = (from + 1, reached + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// Whether a byte is in the class at the beginning of a pattern, and how long that is. Without its end it is a plain `[`.
fn class(pattern: &[u8], byte: u8) -> (bool, usize) {
    let is_not = matches!(pattern.get(1), Some(b'!' | b'^'));
    let begin = if is_not { 2 } else { 1 };
    // A `]` that comes first is in it.
    let Some(end) = pattern.iter().skip(begin + 1).position(|&byte| byte == b']').map(|at| at + begin + 1) else {
        return (byte == b'[', 1);
    };
    let mut inside = &pattern[begin..end];
    let mut found = false;
    while let Some((&first, rest)) = inside.split_first() {
        match rest {
            [b'-', last, rest @ ..] => {
                found |= (first..=*last).contains(&byte);
                inside = rest;
            }
            _ => {
                found |= first == byte;
                inside = rest;
            }
        }
    }
    (found != is_not, end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        for (pattern, name, fits) in [
            ("*", "a", true),
            ("*", ".a", false),
            (".*", ".a", true),
            ("*.tar.gz", "a.tar.gz", true),
            ("*.tar.gz", "a.tar.gz.tmp", false),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "axbxbx", false),
            ("??", "ab", true),
            ("??", "abc", false),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[!a-c]x", "dx", true),
            ("[]]", "]", true),
            ("[-a]", "-", true),
            ("[a", "[a", true),
            ("a**", "a", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
        // No pattern takes time that grows with a power of its stars.
        assert!(!matches("*a".repeat(50).as_bytes(), "a".repeat(49).as_bytes()));
    }

    #[test]
    fn each_part_of_a_path_may_be_wild_and_what_is_not_there_is_none() {
        let folder = tempfile::tempdir().expect("there is room");
        for path in ["b/x.pem", "a/x.pem", "a/y.pem", "c/y.pem"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("it is ours");
            fs::write(path, "").expect("it is ours");
        }
        fs::write(folder.path().join("file"), "").expect("it is ours");
        let root = folder.path().display();
        let of = |pattern: &str| {
            let found = Wildcard::of(&format!("{root}/{pattern}")).expect("it is wild").paths().expect("it is ours");
            let plain = |path: PathBuf| path.strip_prefix(folder.path()).expect("it is in it").display().to_string();
            found.into_iter().map(plain).collect::<Vec<_>>()
        };
        assert_eq!(of("*/x.pem"), ["a/x.pem", "b/x.pem"]);
        assert_eq!(of("a/[xy].*"), ["a/x.pem", "a/y.pem"]);
        assert_eq!(of("none/*"), [""; 0]);
        assert_eq!(of("file/*"), [""; 0]);
        assert!(Wildcard::of("/a/b").is_none());
    }
}
