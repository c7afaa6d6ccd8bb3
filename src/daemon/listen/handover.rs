//! Sockets on their way from a master to its successor: they keep their owner, their file and its lock.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Listener, Owner, SocketFile, adopt};
use crate::error::Error;
use crate::os::descriptors;

/// The description of a listener for the successor; descriptors are numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Handover {
    fd: RawFd,
    ours: bool,
    file: Option<FileHandover>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct FileHandover {
    path: PathBuf,
    inode: (u64, u64),
    lock: RawFd,
}

impl Handover {
    /// The numbers of its descriptors.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        [self.fd].into_iter().chain(self.file.as_ref().map(|file| file.lock))
    }
}

/// Describes the listeners and appends their descriptors to `fds`, sockets first. The successor will find them from
/// `first` on.
pub(crate) fn hand_over<'a>(listeners: &'a [Listener], first: RawFd, fds: &mut Vec<BorrowedFd<'a>>) -> Vec<Handover> {
    let mut numbers = first..;
    let mut number = || numbers.next().expect("there are more numbers than descriptors");
    let mut handovers: Vec<_> = listeners
        .iter()
        .map(|listener| {
            fds.push(listener.as_fd());
            Handover { fd: number(), ours: listener.is_ours(), file: None }
        })
        .collect();
    for (listener, handover) in listeners.iter().zip(&mut handovers) {
        if let Owner::Us(Some(SocketFile { path, inode, lock })) = &listener.owner {
            fds.push(lock.as_fd());
            handover.file = Some(FileHandover { path: path.clone(), inode: *inode, lock: number() });
        }
    }
    handovers
}

/// Takes over listeners that were handed over. They are validated like sockets from any other parent.
pub(crate) fn take_over(handovers: &[Handover], backlog: i32) -> Result<Vec<Listener>, Error> {
    let take = |Handover { fd, ours, file }: &Handover| {
        let listener = adopt::take(*fd, &format!("descriptor {fd} of the former master"), backlog)?;
        let lost = |error: std::io::Error| Error::Socket(format!("a lock of the former master is lost: {error}"));
        let file = file.clone().map(|FileHandover { path, inode, lock }| {
            descriptors::adopt(lock).map(|lock| SocketFile { path, inode, lock: File::from(lock) }).map_err(lost)
        });
        let owner = if *ours { Owner::Us(file.transpose()?) } else { Owner::Other };
        Ok(Listener { owner, ..listener })
    };
    handovers.iter().map(take).collect()
}
