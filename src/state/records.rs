//! What is remembered of checks over time, one file each, and of the service itself.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{PATIENCE, StateDir};
use crate::model::episode::{CheckRecord, Happening, WINDOWS};
use crate::model::record_file;
use crate::os::folder::Lock;

/// The folder of the files.
const HISTORY: &str = "history";

/// What is locked while one of them is replaced.
const HISTORY_LOCK: &str = "lock";

/// The file of what has happened to the service.
const HAPPENINGS: &str = "service";

/// The file that says where the server serves.
const SERVER: &str = "server";

/// For the user of the service and its group: what checks have found is not for everybody on the host.
const MODE: u32 = 0o640;

/// How long the name of the file of a check is.
const NAME: usize = 32;

/// The longest time that is remembered of a check.
const LONGEST_WINDOW: Duration = WINDOWS[WINDOWS.len() - 1].1;

/// Where a server serves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerPlace {
    /// What stands before each path.
    pub(crate) prefix: String,
    /// Its sockets, as `http://HOST:PORT` or `unix:PATH`.
    pub(crate) urls: Vec<String>,
}

impl StateDir {
    /// What is remembered of the check with this id; `None` if nothing is.
    ///
    /// # Errors
    ///
    /// Why that cannot be told.
    pub(crate) fn record(&self, id: &str) -> Result<Option<CheckRecord>, String> {
        let name = name(id);
        let Some(bytes) = self.read_history(&name)? else { return Ok(None) };
        let decoded = record_file::decode_at(&bytes, Some(id), &super::now());
        decoded.map(|(_, record)| Some(record)).map_err(|why| self.disbelieved(&name, why))
    }

    /// All that is remembered, by the ids of the checks, and why what cannot be read cannot.
    pub(crate) fn records(&self) -> (Vec<(String, CheckRecord)>, Vec<String>) {
        let names = fs::read_dir(self.path.join(HISTORY)).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let (mut all, mut unreadable, now) = (Vec::new(), Vec::new(), super::now());
        for name in names.filter(|name| is_of_a_check(name)) {
            let decoded = |bytes: Vec<u8>| record_file::decode_at(&bytes, None, &now);
            match self.read_history(&name).map(|bytes| bytes.map(decoded)) {
                Ok(Some(Ok(known))) => all.push(known),
                Ok(Some(Err(why))) => unreadable.push(self.disbelieved(&name, why)),
                Err(why) => unreadable.push(why),
                // It has just been removed.
                Ok(None) => {}
            }
        }
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        (all, unreadable)
    }

    /// Keeps what is remembered of a check, in place of what was before.
    ///
    /// # Errors
    ///
    /// When it cannot be kept; then what was before is still there.
    pub(crate) fn keep_record(&self, id: &str, record: &CheckRecord) -> io::Result<()> {
        self.keep_history(&name(id), &record_file::encode_at(id, super::now(), record))
    }

    /// Removes what is remembered of checks that are not known any more, once all of it is older than what is remembered of any, and what
    /// nobody can read and nobody has written for so long.
    pub(crate) fn forget_records(&self, is_known: impl Fn(&str) -> bool) {
        let now = super::now();
        let is_old = |at: SystemTime| now.at.duration_since(at).is_ok_and(|age| age > LONGEST_WINDOW);
        let Ok(folder) = self.folder.folder(HISTORY) else { return };
        for entry in fs::read_dir(self.path.join(HISTORY)).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let changed = entry.metadata().and_then(|found| found.modified());
            // A file that was written lately need not be read.
            if !is_of_a_check(&name) || !changed.is_ok_and(is_old) {
                continue;
            }
            let Ok(Some(bytes)) = folder.read(&name) else { continue };
            let is_over = match record_file::decode_at(&bytes, None, &now) {
                Ok((id, record)) => !is_known(&id) && record.end().is_none_or(is_old),
                Err(_) => true,
            };
            if is_over && let Err(error) = folder.remove(&name) {
                tracing::warn!("{} cannot be removed: {error}", self.history().join(&name).display());
            }
        }
    }

    /// What has happened to the service.
    ///
    /// # Errors
    ///
    /// Why that cannot be told.
    pub(crate) fn happenings(&self) -> Result<Vec<Happening>, String> {
        let Some(bytes) = self.read_history(HAPPENINGS)? else { return Ok(Vec::new()) };
        record_file::decode_happenings(&bytes, &super::now()).map_err(|why| self.disbelieved(HAPPENINGS, why))
    }

    /// Keeps what has happened to the service.
    ///
    /// # Errors
    ///
    /// When it cannot be kept.
    pub(crate) fn keep_happenings(&self, all: &[Happening]) -> io::Result<()> {
        self.keep_history(HAPPENINGS, &record_file::encode_happenings(all, super::now()))
    }

    /// Where the server of this state dir serves, or has served last; `None` if that is not known.
    ///
    /// # Errors
    ///
    /// Why that cannot be read.
    pub(crate) fn server_place(&self) -> Result<Option<ServerPlace>, String> {
        Ok(self.read_history(SERVER)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Says where the server serves.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn keep_server_place(&self, place: &ServerPlace) -> io::Result<()> {
        self.keep_history(SERVER, &serde_json::to_vec(place).map_err(io::Error::other)?)
    }

    /// The folder of what is remembered, for messages.
    pub(crate) fn history(&self) -> PathBuf {
        self.path.join(HISTORY)
    }

    fn read_history(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        match self.folder.folder(HISTORY).and_then(|folder| folder.read(name)) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{} cannot be read: {error}", self.history().join(name).display())),
        }
    }

    fn keep_history(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let folder = self.folder.make(HISTORY, 0o750)?;
        // Other workers write here, too. Where there are no locks, one of two at once may fail, and is written again later.
        let lock = folder.lock(HISTORY_LOCK, Instant::now() + PATIENCE);
        if matches!(lock, Lock::Taken) {
            return Err(io::Error::other("another process does not finish writing there"));
        }
        folder.replace(name, bytes, MODE)
    }

    fn disbelieved(&self, name: &str, why: &str) -> String {
        format!("{} {why}", self.history().join(name).display())
    }
}

/// Whether a file of this name is that of a check.
fn is_of_a_check(name: &str) -> bool {
    name.len() == NAME && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The name of the file of a check: its id may be anything.
fn name(id: &str) -> String {
    Sha256::digest(id.as_bytes())[..NAME / 2].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_by_its_id_and_what_is_damaged_is_said() {
        let folder = tempfile::tempdir().expect("there is room");
        let state = StateDir::open(folder.path()).expect("it is ours");
        assert_eq!((state.record("db"), state.records()), (Ok(None), (Vec::new(), Vec::new())));
        let record = CheckRecord { bad_runs: 3, ..CheckRecord::default() };
        for id in ["db", "../../etc/passwd", "disk:/"] {
            state.keep_record(id, &record).expect("there is room");
            assert_eq!(state.record(id), Ok(Some(record.clone())));
        }
        assert_eq!(state.records().0.len(), 3);
        let path = folder.path().join(HISTORY).join(name("db"));
        fs::write(&path, "x").expect("it is ours");
        let why = state.record("db").expect_err("it is damaged");
        assert!(why.ends_with(" is damaged") && why.starts_with('/'), "{why}");
        let (left, unreadable) = state.records();
        assert_eq!((left.len(), unreadable), (2, vec![why]));
        let old = SystemTime::now() - LONGEST_WINDOW - Duration::from_secs(60);
        let age = |id: &str| {
            let file = fs::File::open(folder.path().join(HISTORY).join(self::name(id))).expect("it is there");
            file.set_modified(old).expect("it is ours");
        };
        state.keep_record("lately gone", &record).expect("there is room");
        ["db", "../../etc/passwd", "disk:/"].iter().for_each(|id| age(id));
        state.forget_records(|id| id == "disk:/");
        let left: Vec<_> = state.records().0.into_iter().map(|(id, _)| id).collect();
        assert_eq!((left, path.exists()), (vec!["disk:/".to_owned(), "lately gone".to_owned()], false));
        let happened = [Happening { at: std::time::UNIX_EPOCH, what: "started".to_owned() }];
        state.keep_happenings(&happened).expect("there is room");
        assert_eq!(state.happenings().as_deref(), Ok(&happened[..]));
    }
}
