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
pub(crate) struct Bequest {
    fd: RawFd,
    ours: bool,
    file: Option<FileBequest>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct FileBequest {
    path: PathBuf,
    inode: (u64, u64),
    lock: RawFd,
}

impl Bequest {
    /// The numbers of its descriptors.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        [self.fd].into_iter().chain(self.file.as_ref().map(|file| file.lock))
    }
}

/// Describes the listeners and appends their descriptors to `fds`, sockets first. The successor will find them from
/// `first` on.
pub(crate) fn bequeath<'a>(listeners: &'a [Listener], first: RawFd, fds: &mut Vec<BorrowedFd<'a>>) -> Vec<Bequest> {
    let mut numbers = first..;
    let mut number = || numbers.next().expect("there are more numbers than descriptors");
    let mut bequests: Vec<_> = listeners
        .iter()
        .map(|listener| {
            fds.push(listener.as_fd());
            Bequest { fd: number(), ours: listener.is_ours(), file: None }
        })
        .collect();
    for (listener, bequest) in listeners.iter().zip(&mut bequests) {
        if let Owner::Us(Some(SocketFile { path, inode, lock })) = &listener.owner {
            fds.push(lock.as_fd());
            bequest.file = Some(FileBequest { path: path.clone(), inode: *inode, lock: number() });
        }
    }
    bequests
}

/// Takes over bequeathed listeners. They are validated like sockets from any other parent.
pub(crate) fn inherit(bequests: &[Bequest], backlog: i32) -> Result<Vec<Listener>, Error> {
    let take = |Bequest { fd, ours, file }: &Bequest| {
        let listener = adopt::inherit(*fd, &format!("descriptor {fd} of the former master"), backlog)?;
        let lost = |error: std::io::Error| Error::Socket(format!("a lock of the former master is lost: {error}"));
        let file = file.clone().map(|FileBequest { path, inode, lock }| {
            descriptors::adopt(lock).map(|lock| SocketFile { path, inode, lock: File::from(lock) }).map_err(lost)
        });
        let owner = if *ours { Owner::Us(file.transpose()?) } else { Owner::Other };
        Ok(Listener { owner, ..listener })
    };
    bequests.iter().map(take).collect()
}
