//! Walks to where a path leads, one step at a time, so that whatever can lead it elsewhere is judged on the way.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, fstatvfs};

/// A folder, link or file that is held: it stays the same one, whatever its path comes to mean.
#[derive(Debug)]
pub(crate) struct Place {
    /// Opened with `O_PATH`, which asks for no right on the thing itself and waits for nothing.
    pub(super) file: File,
    /// Where it was found, without links.
    pub(crate) path: PathBuf,
    pub(crate) metadata: Metadata,
}

/// The folders that lead to a thing, and the thing itself.
pub(crate) struct Walk {
    /// From `/` on, without links.
    pub(crate) places: Vec<Place>,
    /// Whether the last of them is all that there is of the path.
    pub(crate) is_cut_off: bool,
}

/// Goes where a path leads. `pass` is asked about each folder before something is looked up in it, and about each link
/// before it is followed. A `..` leads to the folder that we came from, even if that has been moved since.
pub(crate) fn walk<E: From<io::Error>>(path: &Path, pass: impl Fn(&Place) -> Result<(), E>) -> Result<Walk, E> {
    const MOST_LINKS: usize = 40; // as the kernel: path_resolution(7)
    let mut places = vec![Place::open(AT_FDCWD, PathBuf::from("/"), Path::new("/"))?];
    let (mut rest, mut links) = (std::path::absolute(path)?, 0);
    loop {
        let mut components = rest.components();
        let Some(first) = components.next() else { return Ok(Walk { places, is_cut_off: false }) };
        let remaining = components.as_path().to_owned();
        rest = match first {
            Component::Normal(name) => {
                let folder = places.last().expect("the root stays");
                pass(folder)?;
                let next = match Place::open(&folder.file, folder.path.join(name), Path::new(name)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Ok(Walk { places, is_cut_off: true });
                    }
                    next => next?,
                };
                if next.metadata.is_symlink() {
                    pass(&next)?;
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(io::Error::from(Errno::ELOOP).into());
                    }
                    next.target()?.join(remaining)
                } else {
                    places.push(next);
                    remaining
                }
            }
            Component::RootDir => {
                places.truncate(1);
                remaining
            }
            Component::ParentDir => {
                pass(places.last().expect("the root stays"))?;
                places.truncate((places.len() - 1).max(1));
                remaining
            }
            Component::CurDir | Component::Prefix(_) => remaining,
        };
    }
}

/// Whether this is the error of a path at whose end is nothing, whoever looks: missing, a circle of links, or below a
/// file as if that were a folder.
pub(crate) fn leads_nowhere(error: &io::Error) -> bool {
    [Errno::ENOENT, Errno::ELOOP, Errno::ENOTDIR].iter().any(|&nowhere| error.raw_os_error() == Some(nowhere as i32))
}

impl Walk {
    /// What the path leads to.
    pub(crate) fn end(self) -> io::Result<Place> {
        match self {
            Walk { is_cut_off: true, .. } => Err(Errno::ENOENT.into()),
            Walk { mut places, .. } => Ok(places.pop().expect("the root stays")),
        }
    }
}

impl Place {
    fn open(folder: impl AsFd, path: PathBuf, name: &Path) -> io::Result<Place> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // First as a folder, which mounts what an automounter holds ready.
        let file = match openat(&folder, name, flags | OFlag::O_DIRECTORY, Mode::empty()) {
            Err(Errno::ENOTDIR) => openat(&folder, name, flags, Mode::empty()),
            opened => opened,
        };
        let file = File::from(file?);
        Ok(Place { metadata: file.metadata()?, file, path })
    }

    fn target(&self) -> io::Result<PathBuf> {
        Ok(readlinkat(&self.file, "")?.into())
    }

    /// Whether it lies on a volume that is mounted read-only: a file system other than that of `/`, since the sandbox of
    /// a service shows the whole host as read-only. What cannot be found out is not.
    pub(crate) fn is_on_read_only_volume(&self) -> bool {
        fstatvfs(&self.file).is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY))
            && fs::metadata("/").is_ok_and(|root| root.dev() != self.metadata.dev())
    }

    /// The names of what a folder holds, in their order.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let entries = fs::read_dir(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?;
        let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn end(path: &Path) -> io::Result<(PathBuf, bool)> {
        let walk = walk(path, |_| Ok::<_, io::Error>(()))?;
        Ok((walk.places.last().expect("there is a root").path.clone(), walk.is_cut_off))
    }

    #[test]
    fn it_ends_where_the_kernel_would() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let root = folder.path().canonicalize().expect("it is there");
        fs::create_dir_all(root.join("a/b")).expect("it is ours");
        fs::write(root.join("a/b/file"), "text").expect("it is ours");
        for (link, target) in [("up", "a/b/.."), ("a/abs", root.join("a/b").to_str().expect("a plain path"))] {
            symlink(target, root.join(link)).expect("it is ours");
        }
        symlink("../up/./b/file", root.join("a/far")).expect("it is ours");
        for path in ["", ".", "a", "up", "up/b", "a/abs/file", "a/far", "up/../a/abs/../far", "../../../../../../usr"] {
            let path = root.join(path);
            assert_eq!(end(&path).expect("it is there"), (path.canonicalize().expect("it is there"), false));
        }
        assert_eq!(end(&root.join("up/none/more")).expect("a part is there"), (root.join("a"), true));
        assert!(end(&root.join("a/b/file/more")).is_err(), "a file is not a folder");
        symlink("loop", root.join("loop")).expect("it is ours");
        assert_eq!(end(&root.join("loop")).expect_err("it has no end").raw_os_error(), Some(Errno::ELOOP as i32));
    }

    #[test]
    fn each_folder_and_each_link_is_asked_about_before_it_is_passed() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let root = folder.path().canonicalize().expect("it is there");
        fs::create_dir(root.join("a")).expect("it is ours");
        symlink("a", root.join("link")).expect("it is ours");
        let asked = std::cell::RefCell::new(Vec::new());
        let seen = |place: &Place| {
            asked.borrow_mut().push(place.path.clone());
            if place.metadata.is_symlink() { Err(io::Error::other("no")) } else { Ok(()) }
        };
        assert!(walk(&root.join("link/none"), seen).is_err());
        let mut asked = asked.into_inner();
        assert_eq!(
            [asked.pop(), asked.pop(), asked.first().cloned()],
            [Some(root.join("link")), Some(root.clone()), Some(PathBuf::from("/"))]
        );
    }
}
