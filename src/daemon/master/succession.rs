//! Succession: a master starts the program again, hands over what it holds, and leaves once the new one answers.
//!
//! What is handed over is in the variable [`SUCCESSION`], as JSON. Descriptors are given by number; the sockets are
//! contiguous from 3.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fleet::{Event, Generation, Pid};
use super::pidfile::PidFile;
use super::{GenerationConfig, Master, cannot, send};
use crate::config::{Given, SUCCESSION};
use crate::daemon::listen::{self, Handover, Listener};
use crate::error::Error;
use crate::model::duration;
use crate::os::filesystem::absolute;
use crate::os::signals::Signal;
use crate::os::{descriptors, process, systemd};

/// What a new master takes over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Inheritance {
    /// The number of its first generation.
    pub(super) generation: Generation,
    pub(super) sockets: Vec<Handover>,
    pidfile: Option<(PathBuf, RawFd)>,
    readiness: RawFd,
    /// The memory that is kept, which a master of another version may not hand over, or not know.
    #[serde(default)]
    kept: Option<RawFd>,
    /// The lock of the state dir, if there is one.
    #[serde(default)]
    state_lock: Option<RawFd>,
}

impl Inheritance {
    /// What the former master left us, if there was one.
    pub(crate) fn from_environment() -> Result<Option<Inheritance>, Error> {
        let Some(text) = std::env::var_os(SUCCESSION) else { return Ok(None) };
        Inheritance::parse(&text.to_string_lossy())
            .map(Some)
            .map_err(|why| Error::Usage(format!("{SUCCESSION} is set by hospital itself, not by hand: {why}")))
    }

    fn parse(text: &str) -> Result<Inheritance, String> {
        let inheritance: Inheritance = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let files = inheritance.pidfile.iter().map(|(_, fd)| *fd).chain([inheritance.readiness]);
        let files = files.chain(inheritance.kept).chain(inheritance.state_lock);
        let mut numbers: Vec<_> = inheritance.sockets.iter().flat_map(Handover::descriptors).chain(files).collect();
        numbers.sort_unstable();
        // Each is taken over, and later closed, once.
        if numbers.iter().zip(3..).any(|(&number, expected)| number != expected) {
            return Err(format!("descriptors are handed over once each, from 3 on, and not as {numbers:?}"));
        }
        Ok(inheritance)
    }

    /// The pidfile, under the lock that the former master and we both hold.
    fn pidfile(&self) -> io::Result<Option<PidFile>> {
        let held =
            |(path, fd): &(PathBuf, RawFd)| descriptors::adopt(*fd).map(|fd| PidFile::held(path, File::from(fd)));
        self.pidfile.as_ref().map(held).transpose()
    }

    /// The memory that the former master and its workers have.
    pub(super) fn kept(&self) -> io::Result<Option<File>> {
        self.kept.map(|fd| descriptors::adopt(fd).map(File::from)).transpose()
    }

    /// Where the former master waits for our status.
    pub(super) fn readiness(&self) -> io::Result<PipeWriter> {
        descriptors::adopt(self.readiness).map(PipeWriter::from)
    }
}

/// The most of a status that is passed on: what a pipe takes in one piece.
const MOST: usize = 4096;

impl Master {
    pub(super) fn upgrade(&mut self) -> Vec<Event> {
        if std::process::id() == 1 {
            tracing::error!("no upgrade: this is PID 1, whose end is the end of its container: start a new one");
            return vec![];
        }
        let state_lock = self.configs.get(&self.fleet.generation()).and_then(|config| config.state_lock.as_deref());
        match Succession::begin(
            &self.given,
            self.fleet.next_generation(),
            &self.listeners,
            self.pidfile.as_ref(),
            self.kept.file.as_ref(),
            state_lock,
        ) {
            Ok((pid, succession)) => {
                tracing::info!("upgrade: a new master (pid {pid}) boots");
                self.succession = Some(succession);
                vec![Event::Succeeding { pid }]
            }
            Err(error) => {
                tracing::error!("no upgrade: {} cannot be started: {error}", self.given.program.display());
                vec![]
            }
        }
    }

    /// The new master has told its status, or is gone.
    pub(super) fn succession_event(&mut self) -> Option<Event> {
        match self.succession.as_mut()?.state() {
            Progress::Waiting => None,
            Progress::Complete => Some(Event::Succeeded),
            // Its death is an event of its own.
            Progress::Lost => {
                self.succession = None;
                None
            }
        }
    }

    pub(super) fn give_up(&self, successor: Pid) {
        let limit = self
            .fleet
            .timeout()
            .map_or_else(String::new, |timeout| format!(" within {} (--timeout)", duration::spoken(timeout)));
        tracing::error!("upgrade: the new master (pid {successor}) does not answer{limit}: killing it");
        send(successor, Signal::SIGKILL);
    }

    pub(super) fn upgrade_failed(&mut self, successor: Pid, status: ExitStatus) {
        let stands = format!("generation {} goes on: {}", self.fleet.generation(), self.status());
        tracing::error!(
            "no upgrade: the new master (pid {successor}) ended before it could answer: {status}: everything is as it \
             was, {stands}"
        );
        self.came_to(&format!("upgrade failed: {status}"));
    }

    pub(super) fn hand_over(&mut self, successor: Pid) {
        tracing::info!("upgrade: the new master (pid {successor}) answers: draining");
        let status = self.succession.take().map(|succession| succession.status);
        self.fall_silent(successor, &status.unwrap_or_default());
        // Closed, not removed: the files belong to the successor now. Only a pidfile that the successor does not hold,
        // because its configuration names another, is still ours to remove.
        self.listeners.clear();
        self.pidfile = self.pidfile.take().filter(PidFile::is_mine);
    }
}

/// The pidfile of a configuration: the former master's, or one of our own.
pub(super) fn pidfile(config: &GenerationConfig, inheritance: Option<&Inheritance>) -> Result<Option<PidFile>, Error> {
    let path = config.configuration.settings.process.pid.as_deref().map(absolute);
    let inherited =
        inheritance.map(Inheritance::pidfile).transpose().map_err(cannot("cannot take over the pidfile"))?;
    match (path, inherited.flatten()) {
        (Some(path), Some(held)) if held.path() == path => Ok(Some(held)),
        // The other file still belongs to the former master, which removes it.
        (Some(path), _) => PidFile::create(&path).map(Some),
        (None, _) => Ok(None),
    }
}

/// The lock of the state dir that the former master and we both hold, if both have the same one.
pub(super) fn state_lock(
    config: &GenerationConfig,
    inheritance: Option<&Inheritance>,
) -> Result<Option<Arc<File>>, Error> {
    let inherited = inheritance.and_then(|inheritance| inheritance.state_lock).map(descriptors::adopt).transpose();
    let lock = inherited.map_err(cannot("cannot take over the state dir"))?.map(File::from);
    let is_of = |lock: &File| config.state.as_ref().is_some_and(|state| state.is_locked_by(lock));
    Ok(lock.filter(is_of).map(Arc::new))
}

/// How far a new master has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It boots.
    Waiting,
    /// It can answer.
    Complete,
    /// It is gone without a word.
    Lost,
}

/// A new master that is booting.
#[derive(Debug)]
pub(super) struct Succession {
    /// Where it tells its status once it can answer.
    readiness: PipeReader,
    /// That status.
    status: String,
}

impl Succession {
    /// Starts the program that is now at our program's path, with all that it takes over.
    pub(super) fn begin(
        given: &Given,
        generation: Generation,
        listeners: &[Listener],
        pidfile: Option<&PidFile>,
        kept: Option<&File>,
        state_lock: Option<&File>,
    ) -> io::Result<(Pid, Succession)> {
        let (reader, writer) = descriptors::pipe()?;
        let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
        let sockets = listen::hand_over(listeners, 3, &mut fds);
        let mut place = |fd| {
            fds.push(fd);
            2 + fds.len() as RawFd
        };
        let inheritance = Inheritance {
            generation,
            sockets,
            pidfile: pidfile.map(|file| (file.path().to_owned(), place(file.as_fd()))),
            readiness: place(writer.as_fd()),
            kept: kept.map(|file| place(file.as_fd())),
            state_lock: state_lock.map(|file| place(file.as_fd())),
        };
        let mut command = Command::new(&given.program);
        command.args(&given.arguments).current_dir(&given.directory);
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", systemd::WATCHDOG_PID] {
            command.env_remove(variable);
        }
        command.env(SUCCESSION, serde_json::to_string(&inheritance).map_err(io::Error::other)?);
        let pid = process::start_program(&mut command, &fds)?;
        Ok((pid, Succession { readiness: reader, status: String::new() }))
    }

    /// How far it has got.
    pub(super) fn state(&mut self) -> Progress {
        let mut said = [0; MOST];
        match self.readiness.read(&mut said) {
            Ok(length @ 1..) => {
                self.status = String::from_utf8_lossy(&said[..length]).into_owned();
                Progress::Complete
            }
            Ok(0) => Progress::Lost,
            Err(_) => Progress::Waiting,
        }
    }
}

impl AsFd for Succession {
    /// Readable when the new master is ready, or gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readiness.as_fd()
    }
}

/// Tells the former master that we can answer, and our status. It may be gone, in which case nobody waits.
pub(super) fn complete(mut readiness: PipeWriter, status: &str) {
    // Before it is told, for then it ends.
    process::outlive_parent();
    let _ = readiness.write(&status.as_bytes()[..status.len().min(MOST)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_that_no_master_hands_over_are_refused() {
        let text = |fd: i32, lock: i32, pidfile: i32, readiness: i32| {
            let file = format!(r#"{{"path": "/run/s", "inode": [1, 2], "lock": {lock}}}"#);
            let sockets = format!(r#"[{{"fd": {fd}, "ours": true, "file": {file}}}]"#);
            format!(
                r#"{{"generation": 1, "sockets": {sockets}, "pidfile": ["/run/p", {pidfile}], "readiness": {readiness}}}"#
            )
        };
        assert!(Inheritance::parse(&text(3, 4, 5, 6)).is_ok());
        let wrong = [(-1, 4, 5, 6), (3, -1, 5, 6), (3, 4, 5, -1), (3, 4, 4, 5), (0, 1, 2, 3), (3, 4, 5, i32::MAX)];
        for (fd, lock, pidfile, readiness) in wrong {
            let refused = Inheritance::parse(&text(fd, lock, pidfile, readiness)).expect_err("each is wrong");
            assert!(refused.contains("once each, from 3 on"), "{refused}");
        }
        assert!(Inheritance::parse("{}").is_err());
    }
}
