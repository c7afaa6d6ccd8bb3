//! File systems: how much room they have, and which files we may run.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, eaccess};

use super::identity::effective_user;
use super::walk::{Place, walk};

/// The user and group that a file is given to; `None` leaves it as it is.
pub(crate) type FileOwner = (Option<u32>, Option<u32>);

/// The room on a file system: bytes and inodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Room {
    pub(crate) bytes: Share,
    pub(crate) inodes: Share,
}

/// How much there is of something for unprivileged users.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    pub(crate) free: u64,
    pub(crate) total: u64,
}

/// Measures the file system that holds `path`. May block on a network file system whose server does not answer.
pub(crate) fn room(path: &Path) -> io::Result<Room> {
    let found = statvfs(path)?;
    // What is reserved for root counts neither as free nor in the total, as in df.
    let share =
        |free_for_root: u64, free: u64, total: u64| Share { free, total: total - free_for_root.min(total) + free };
    let bytes = share(found.blocks_free(), found.blocks_available(), found.blocks());
    let size = found.fragment_size();
    Ok(Room {
        bytes: Share { free: bytes.free.saturating_mul(size), total: bytes.total.saturating_mul(size) },
        inodes: share(found.files_free(), found.files_available(), found.files()),
    })
}

/// Whether a path is on a file system that can be full: those of the kernel have no blocks.
pub(crate) fn has_room_of_its_own(path: &Path) -> bool {
    statvfs(path).is_ok_and(|found| found.blocks() > 0)
}

/// Whether a program runs with other rights than who starts it: as its owner or group, or with capabilities of its own.
pub(crate) fn changes_rights(path: &Path) -> bool {
    let is_set = std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o6000 != 0);
    is_set || has_capabilities(path)
}

/// Whether a file has the attribute that capabilities(7) stand in.
fn has_capabilities(path: &Path) -> bool {
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: both texts are live and end with a NUL; no value is asked for, only its length.
    let length = unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) };
    length > 0
}

/// A path from the root on, which stays the same if the directory changes.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Holds a directory, whatever its path comes to mean.
pub(crate) fn open_directory(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path)
}

/// Makes it the directory where relative paths begin.
pub(crate) fn enter(directory: &File) -> io::Result<()> {
    Ok(nix::unistd::fchdir(directory)?)
}

/// The mount that a path lies on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mount {
    /// Where it is mounted.
    pub(crate) point: PathBuf,
    /// Whether that is this very path, or what it links to.
    pub(crate) is_here: bool,
    /// The type of its file system, such as `ext4`.
    pub(crate) kind: String,
    /// What is mounted, such as `/dev/sda1`.
    pub(crate) source: String,
    /// Its options, of this mount and of its file system.
    pub(crate) options: Vec<String>,
    /// Whether this mount of it can only be read.
    pub(crate) is_read_only_here: bool,
    /// Whether its file system can only be read, in whichever mount. That this mount can only be read may be for us alone.
    pub(crate) is_read_only: bool,
}

impl Mount {
    /// Finds the mount of what stands at a path.
    pub(crate) fn of(path: &Path) -> io::Result<Mount> {
        // The descriptor tells, whatever was mounted over what.
        let found = File::options().read(true).custom_flags(libc::O_PATH).open(path)?;
        let ours = |name: &str| PathBuf::from(format!("/proc/self/{name}/{}", found.as_raw_fd()));
        let info = fs::read_to_string(ours("fdinfo")).map_err(name_proc)?;
        let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).unwrap_or_default().trim();
        let path = fs::read_link(ours("fd")).map_err(name_proc)?;
        let table = fs::read("/proc/self/mountinfo").map_err(name_proc)?;
        Mount::in_table(&table, id, &path)
            .ok_or_else(|| io::Error::other("/proc/self/mountinfo does not show its mount"))
    }

    /// Source of the fields: proc_pid_mountinfo(5).
    fn in_table(table: &[u8], id: &str, path: &Path) -> Option<Mount> {
        let mut lines = table.split(|&byte| byte == b'\n').map(|line| line.split(|&byte| byte == b' '));
        let mut fields = lines.find_map(|mut fields| (fields.next()? == id.as_bytes()).then_some(fields))?;
        let (point, own) = (fields.nth(3)?, fields.next()?);
        let mut fields = fields.skip_while(|&field| field != b"-").skip(1);
        let (kind, source, options) = (fields.next()?, fields.next()?, fields.next()?);
        let text = |field: &[u8]| String::from_utf8_lossy(&unescaped(field)).into_owned();
        Some(Mount {
            // autofs only waits for somebody to mount something.
            is_here: point == escaped(path) && kind != b"autofs",
            point: PathBuf::from(std::ffi::OsString::from_vec(unescaped(point))),
            kind: text(kind),
            source: text(source),
            options: [own, options].into_iter().flat_map(listed).map(text).collect(),
            is_read_only_here: listed(own).any(|option| option == b"ro"),
            is_read_only: listed(options).any(|option| option == b"ro"),
        })
    }

    /// Whether what process 1 has mounted at the same place can only be read; `None` if it has nothing mounted there. Only
    /// root may look.
    pub(crate) fn is_read_only_for_others(&self) -> io::Result<Option<bool>> {
        Ok(Mount::is_read_only_in(&fs::read("/proc/1/mountinfo").map_err(name_proc)?, &self.point))
    }

    fn is_read_only_in(table: &[u8], point: &Path) -> Option<bool> {
        let point = escaped(point);
        let lines = table.split(|&byte| byte == b'\n').map(|line| line.split(|&byte| byte == b' ').skip(4));
        // The last one covers those before.
        let mut own = lines.filter_map(|mut fields| (fields.next()? == point).then(|| fields.next())?);
        own.next_back().map(|own| listed(own).any(|option| option == b"ro"))
    }
}

fn listed(options: &[u8]) -> impl Iterator<Item = &[u8]> {
    options.split(|&byte| byte == b',')
}

/// What stands for a field of mountinfo.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let code = rest.get(1..4).filter(|_| byte == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                bytes.push(code);
                rest = &rest[4..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes
}

/// Whether an error says that a file system is broken: its program has died, its server knows it no more, or its device fails.
pub(crate) fn is_of_a_dead_one(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOTCONN | libc::ESTALE | libc::EIO | libc::ESHUTDOWN))
}

/// Whether a process reads from a fifo. Nothing is written.
pub(crate) fn has_reader(path: &Path) -> io::Result<bool> {
    let held = File::options().read(true).custom_flags(libc::O_PATH).open(path)?;
    if !held.metadata()?.file_type().is_fifo() {
        return Ok(false);
    }
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    match File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(name_proc) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(false),
        Err(error) => Err(error),
    }
}

/// As the kernel writes a path in a line of mountinfo.
fn escaped(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes().iter();
    bytes
        .flat_map(|&byte| if b" \t\n\\".contains(&byte) { format!("\\{byte:03o}").into_bytes() } else { vec![byte] })
        .collect()
}

/// Who asked for a file must not take it for missing where only /proc is.
fn name_proc(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::other("/proc is not mounted"),
        _ => error,
    }
}

/// Opens a regular file for reading. Others may exchange it at any time, so what is opened is what was found to be
/// regular: a fifo would wait for a writer, and some devices act when they are opened, as a watchdog does.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    reopen(&File::options().read(true).custom_flags(libc::O_PATH).open(path)?)
}

/// Opens for reading what is held with `O_PATH`, if it is a regular file.
fn reopen(held: &File) -> io::Result<File> {
    if !held.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    // Who holds a lease on it would otherwise let us wait.
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(name_proc)
}

/// Reads a small regular file, which others may control: see [`open_regular`].
pub(crate) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    read_all(open_regular(path)?)
}

/// The same for a file of text.
pub(crate) fn read_file(path: &Path) -> io::Result<String> {
    read_text(open_regular(path)?)
}

/// The same for what is held, whatever stands at its path by now.
pub(crate) fn read_place(place: &Place) -> io::Result<String> {
    read_text(reopen(&place.file)?)
}

fn read_text(file: File) -> io::Result<String> {
    String::from_utf8(read_all(file)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

fn read_all(file: File) -> io::Result<Vec<u8>> {
    const MOST: u64 = 1 << 20;
    let mut bytes = Vec::new();
    if file.take(MOST + 1).read_to_end(&mut bytes)? as u64 > MOST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(bytes)
}

/// Opens a file for appending, without waiting for a fifo's reader. A file that it creates is given to `owner`.
///
/// The folder may belong to that user, who can put a link to a file or a folder of root's there. So a file that exists
/// already keeps its owner, and root follows only links of its own.
pub(crate) fn open_log(path: &Path, (user, group): FileOwner) -> io::Result<File> {
    let is_given_away = user.is_some_and(|user| user != effective_user());
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let folder = open_folder(path.parent().unwrap_or(Path::new("/")), is_given_away)?;
    let open = |flags: OFlag| {
        let always = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = openat(&folder, name, always | flags, Mode::from_bits_truncate(0o666));
        opened.map(File::from).map_err(|errno| name_link(errno.into()))
    };
    match open(OFlag::O_CREAT | OFlag::O_EXCL) {
        Ok(file) => {
            // Some file systems have no owners.
            let _ = fchown(&file, user, group);
            Ok(file)
        }
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Err(_) if !is_given_away => open(OFlag::O_CREAT),
        Err(_) => {
            let there = fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW);
            open(if there.is_ok_and(|there| is_ours(there.st_uid)) { OFlag::empty() } else { OFlag::O_NOFOLLOW })
        }
    }
}

/// Opens a folder as a place to open files in. `only_own_links`: links of other users are not followed.
fn open_folder(path: &Path, only_own_links: bool) -> io::Result<OwnedFd> {
    if !only_own_links {
        return Ok(open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?);
    }
    let walk = walk(path, |place| match place.metadata.is_symlink() && !is_ours(place.metadata.uid()) {
        true => Err(name_link(Errno::ELOOP.into())),
        false => Ok(()),
    })?;
    Ok(walk.end()?.file.into())
}

fn is_ours(owner: u32) -> bool {
    owner == 0 || owner == effective_user()
}

/// Opens a file and locks it; creates it if it is missing. [`io::ErrorKind::WouldBlock`]: another process holds the lock.
/// A link is not followed, because its target may be somebody else's.
///
/// Only its owner can open it, whatever the umask: who can open a file can lock it.
pub(crate) fn open_locked(path: &Path) -> io::Result<File> {
    const MODE: u32 = 0o600;
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut options = File::options();
    options.create(true).read(true).write(true).truncate(false).mode(MODE).custom_flags(flags);
    loop {
        let file = options.open(path).map_err(name_link)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if found.mode() & 0o777 != MODE && found.uid() == effective_user() {
            file.set_permissions(fs::Permissions::from_mode(MODE))?;
        }
        file.try_lock()?;
        // The former holder may have deleted it since we opened it. Then nobody would find the file that we have locked.
        if stands_at(&file, path) {
            return Ok(file);
        }
    }
}

/// Removes a file that we hold, if it still stands there.
pub(crate) fn remove_held(file: &File, path: &Path) -> io::Result<()> {
    if stands_at(file, path) { fs::remove_file(path) } else { Ok(()) }
}

/// Whether the path names this very file, and not a link or another file.
pub(crate) fn stands_at(file: &File, path: &Path) -> bool {
    let identity = |it: fs::Metadata| (it.dev(), it.ino());
    let (open, there) = (file.metadata().map(identity), fs::symlink_metadata(path).map(identity));
    open.is_ok_and(|open| there.is_ok_and(|there| open == there))
}

/// With `O_NOFOLLOW`, the kernel reports a link as "too many levels of symbolic links"; this says it plainly.
fn name_link(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ELOOP) => io::Error::other("it is a symbolic link, which is not followed here: name its target"),
        _ => error,
    }
}

/// Whether this process may run the file with its present user and groups.
pub(crate) fn may_execute(path: &Path) -> io::Result<()> {
    Ok(eaccess(path, AccessFlags::X_OK)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::walk::Walk;

    #[test]
    fn what_is_held_is_read_whatever_stands_at_its_path() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("file");
        fs::write(&path, "ours").expect("it is ours");
        let held = walk(&path, |_| Ok::<_, io::Error>(())).and_then(Walk::end).expect("it is there");
        fs::remove_file(&path).and_then(|()| fs::write(&path, "theirs")).expect("it is ours");
        assert_eq!(read_place(&held).expect("it is held"), "ours");
    }

    #[test]
    fn a_mount_is_what_its_file_system_is_and_not_what_this_view_of_it_is() {
        const TABLE: &[u8] = b"21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
            22 21 8:2 / /srv ro,relatime shared:2 - ext4 /dev/sdb1 rw,errors=remount-ro\n\
            23 21 8:3 / /my\\040data#1 rw,relatime - ext4 /dev/sdc1 ro\n\
            24 21 0:9 / /net rw,relatime shared:3 master:4 - autofs systemd-1 rw,fd=5\n";
        let of = |id, path| {
            let found = Mount::in_table(TABLE, id, Path::new(path))?;
            Some((found.is_here, found.is_read_only))
        };
        let mount = |is_here, is_read_only| Some((is_here, is_read_only));
        assert_eq!(of("22", "/srv"), mount(true, false), "as with ProtectSystem=strict");
        assert_eq!(of("22", "/srv/www"), mount(false, false));
        assert_eq!(of("23", "/my data#1"), mount(true, true), "as after an error");
        assert_eq!(of("24", "/net"), mount(false, false), "nothing is mounted there yet");
        assert_eq!(of("25", "/x"), None);
        let data = Mount::in_table(TABLE, "23", Path::new("/my data#1/x")).expect("it is in the table");
        assert_eq!((data.point.as_path(), &*data.source, &*data.kind), (Path::new("/my data#1"), "/dev/sdc1", "ext4"));
        assert_eq!(data.options, ["rw", "relatime", "ro"]);
        assert_eq!(Mount::is_read_only_in(TABLE, Path::new("/srv")), Some(true));
        assert_eq!(Mount::is_read_only_in(TABLE, Path::new("/my data#1")), Some(false));
        assert_eq!(Mount::is_read_only_in(TABLE, Path::new("/none")), None);
    }

    #[test]
    fn the_root_of_all_files_is_mounted() {
        assert!(Mount::of(Path::new("/")).expect("/proc is mounted").is_here);
        assert_eq!(Mount::of(Path::new("/no/such")).expect_err("it is missing").kind(), io::ErrorKind::NotFound);
    }
}
