//! What runit or s6 says of a service, in the folder in which it supervises it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Restarts, Seen};
use crate::model::check::{Reason, Result};
use crate::os::filesystem;

/// Where the folders of services are, by name.
pub(super) const FOLDERS: [&str; 5] =
    ["/run/service", "/etc/service", "/var/service", "/service", "/run/s6/legacy-services"];

pub(super) fn see(name: &str) -> Result<Seen> {
    let folder = folder(name)?;
    see_in(&folder, SystemTime::now())
        .unwrap_or_else(|error| Err(Reason::Error(format!("cannot look into {}: {error}", folder.display()))))
}

fn folder(name: &str) -> Result<PathBuf> {
    if name.starts_with('/') {
        return Ok(PathBuf::from(name));
    }
    let mut paths = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    let missing = || {
        let folders = FOLDERS.join(", ");
        match FOLDERS.iter().any(|folder| supervises(Path::new(folder))) {
            true => Reason::Fail(format!("expected a service {name}, and there is none in {folders}")),
            // An empty folder, which a package has made, tells nothing.
            false => {
                Reason::Error(format!("cannot look at the service {name}: nobody supervises anything in {folders}"))
            }
        }
    };
    match paths.find_map(|path| match path.symlink_metadata() {
        Ok(_) => Some(Ok(path)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
        Err(error) => Some(Err(Reason::Error(format!("cannot look at {}: {error}", path.display())))),
    }) {
        Some(found) => found,
        None => Err(missing()),
    }
}

/// Whether somebody has supervised a service in this folder.
fn supervises(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().join("supervise")).any(|folder| folder.is_dir())
}

fn see_in(folder: &Path, now: SystemTime) -> io::Result<Result<Seen>> {
    let at = |name: &str| folder.join("supervise").join(name);
    let fail = |why: &str| Ok(Err(Reason::Fail(format!("expected {} to be supervised, and {why}", folder.display()))));
    let status = match filesystem::read_bytes(&at("status")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return fail("nobody does"),
        status => status?,
    };
    // Each holds the end from which it reads a fifo as long as it lives; what it has written may be old.
    let fifo = at(if status.len() == RUNIT { "ok" } else { "control" });
    match filesystem::has_reader(&fifo) {
        Ok(true) => {}
        Ok(false) => return fail("nobody does any more"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return fail("nobody does any more"),
        Err(error) => return Err(error),
    }
    let mut seen = match status.len() {
        RUNIT => runit(&status, now),
        _ => s6(&status, now),
    }
    .ok_or_else(|| io::Error::other("its status is of neither runit nor s6"))?;
    if status.len() != RUNIT {
        seen.restarts = deaths(folder, &at("death_tally"), now)?;
    }
    seen.enabled = Some(match fs::symlink_metadata(folder.join("down")) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error.to_string()),
    });
    Ok(Ok(seen))
}

/// The length of runit's status.
const RUNIT: usize = 20;

/// Source of the bytes: `sv.c` of runit 2.1.
fn runit(status: &[u8], now: SystemTime) -> Option<Seen> {
    const DOWN: u8 = 0;
    const RUNS: u8 = 1;
    let (is_paused, wanted, state) = (status[16] != 0, status[17], status[19]);
    let (told, is_active) = match state {
        RUNS if is_paused => ("one that is paused", false),
        RUNS => ("one that runs", true),
        DOWN => ("one that is down", false),
        _ => ("one that has ended, and is cleaned up after", false),
    };
    Some(Seen {
        told: told.to_owned(),
        is_active,
        // Whoever wants it to be down has not failed.
        has_failed: !is_active && wanted == b'u',
        age: Some(ago(status, now)?),
        ..Seen::default()
    })
}

/// Source of the bytes: `s6_svstatus_unpack.c` of s6 2.11.
fn s6(status: &[u8], now: SystemTime) -> Option<Seen> {
    const PAUSED: u8 = 1;
    const FINISHING: u8 = 2;
    const WANTED: u8 = 4;
    // Since 2.11.2 there is a group of processes before the last fields.
    let flags = match status.len() {
        35 | 43 => *status.last()?,
        _ => return None,
    };
    let runs = status[24..32] != [0; 8] && flags & FINISHING == 0;
    let (told, is_active) = match (runs, flags & PAUSED != 0, flags & FINISHING != 0) {
        (true, true, _) => ("one that is paused", false),
        (true, false, _) => ("one that runs", true),
        (false, _, true) => ("one that has ended, and is cleaned up after", false),
        (false, _, false) => ("one that is down", false),
    };
    Some(Seen {
        told: told.to_owned(),
        is_active,
        has_failed: !is_active && flags & WANTED != 0,
        age: Some(ago(status, now)?),
        ..Seen::default()
    })
}

/// Its deaths, of which s6 keeps the last. Source of the bytes: `s6_dtally_unpack.c` of s6 2.11.
fn deaths(folder: &Path, tally: &Path, now: SystemTime) -> io::Result<Restarts> {
    let tally = match filesystem::read_bytes(tally) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Restarts::Uncounted),
        tally => tally?,
    };
    let most = match filesystem::read_file(&folder.join("max-death-tally")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => 100,
        most => most?.trim().parse().map_err(|_| io::Error::other("max-death-tally is not a number"))?,
    };
    let ago = tally.chunks_exact(14).map(|death| ago(death, now)).collect::<Option<_>>();
    Ok(Restarts::Each { ago: ago.ok_or_else(|| io::Error::other("its death_tally cannot be read"))?, most })
}

/// How long ago the moment was with which these bytes begin, in TAI64: seconds from 2^62, ten of which no clock of Unix counts.
fn ago(bytes: &[u8], now: SystemTime) -> Option<Duration> {
    let seconds = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?).checked_sub((1 << 62) + 10)?;
    let moment = UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    Some(now.duration_since(moment).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-29 06:50:00
    const NOW: u64 = 1_795_935_000;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn stamp(ago: u64) -> Vec<u8> {
        [&((1 << 62) + 10 + NOW - ago).to_be_bytes()[..], &[0; 4]].concat()
    }

    #[test]
    fn the_status_of_runit_is_read() {
        let of = |paused, wanted, state| {
            let status = [stamp(60), 4711u32.to_le_bytes().to_vec(), vec![paused, wanted, 0, state]].concat();
            let seen = runit(&status, now()).expect("it is well formed");
            assert_eq!(seen.age, Some(Duration::from_secs(60)));
            (seen.is_active, seen.has_failed)
        };
        assert_eq!(of(0, b'u', 1), (true, false));
        assert_eq!(of(1, b'u', 1), (false, true));
        assert_eq!(of(0, b'u', 0), (false, true));
        assert_eq!(of(0, b'd', 0), (false, false));
        assert_eq!(of(0, b'u', 2), (false, true));
    }

    #[test]
    fn the_status_of_s6_is_read_in_both_lengths() {
        for group in [&[][..], &[0; 8]] {
            let of = |pid: u64, flags| {
                let status =
                    [stamp(60), stamp(50), pid.to_be_bytes().to_vec(), group.to_vec(), vec![0, 0, flags]].concat();
                let seen = s6(&status, now()).expect("it is well formed");
                (seen.is_active, seen.has_failed)
            };
            assert_eq!(of(4711, 4), (true, false));
            assert_eq!(of(4711, 5), (false, true));
            assert_eq!(of(0, 4), (false, true));
            assert_eq!(of(0, 0), (false, false));
            assert_eq!(of(4711, 6), (false, true));
        }
        assert_eq!(s6(&[0; 36], now()), None);
    }

    #[test]
    fn only_as_many_deaths_are_known_as_s6_keeps() {
        let folder = tempfile::tempdir().expect("there is room");
        let tally = folder.path().join("death_tally");
        assert_eq!(deaths(folder.path(), &tally, now()).ok(), Some(Restarts::Uncounted));
        fs::write(&tally, [stamp(70), vec![0, 1], stamp(4000), vec![0, 1]].concat()).expect("it is ours");
        let ago = [70, 4000].map(Duration::from_secs).to_vec();
        let each = |most| Some(Restarts::Each { ago: ago.clone(), most });
        assert_eq!(deaths(folder.path(), &tally, now()).ok(), each(100));
        fs::write(folder.path().join("max-death-tally"), "2\n").expect("it is ours");
        assert_eq!(deaths(folder.path(), &tally, now()).ok(), each(2));
    }

    #[test]
    fn a_folder_that_nobody_supervises_fails() {
        let folder = tempfile::tempdir().expect("there is room");
        let seen = see_in(folder.path(), now()).expect("it can be seen");
        assert!(matches!(seen, Err(Reason::Fail(why)) if why.ends_with("nobody does")));
        fs::create_dir(folder.path().join("supervise")).expect("it is ours");
        fs::write(folder.path().join("supervise/status"), [0; RUNIT]).expect("it is ours");
        let seen = see_in(folder.path(), now()).expect("it can be seen");
        assert!(matches!(seen, Err(Reason::Fail(why)) if why.ends_with("nobody does any more")));
    }
}
