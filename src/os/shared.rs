//! Memory that the master maps before the first fork and shares with all processes forked since.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous};
use zerocopy::FromBytes;

/// Maps a value of all zeroes, and never unmaps it. Pages that are never touched cost nothing.
///
/// Any bytes are a `T`: whatever another process writes there, nothing that is read from it is undefined. Its fields
/// are to be atomics, since others write at any time.
pub(crate) fn map<T: FromBytes + Sync>() -> io::Result<&'static T> {
    let size = NonZeroUsize::new(size_of::<T>()).expect("what is shared has fields");
    let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping overlaps nothing, is aligned to pages, and is never unmapped, hence 'static; any
    // bytes in it are a valid T, and processes that share it write through its atomics.
    Ok(unsafe { mmap_anonymous(None, size, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags)?.cast::<T>().as_ref() })
}

/// A file in memory that holds a value of all zeroes, and can be handed to another program.
pub(crate) fn file<T: FromBytes + Sync>() -> io::Result<File> {
    let file = File::from(memfd_create(c"hospital", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    file.set_len(size_of::<T>() as u64)?;
    // Were it cut short, whoever reads it would die of that.
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL))?;
    Ok(file)
}

/// An empty file in memory, for what a forked child tells its parent.
pub(crate) fn scratch_file() -> io::Result<File> {
    Ok(File::from(memfd_create(c"hospital", MFdFlags::MFD_CLOEXEC)?))
}

/// Maps the value that such a file holds, and never unmaps it.
pub(crate) fn map_file<T: FromBytes + Sync>(file: &File) -> io::Result<&'static T> {
    let seals = SealFlag::from_bits_retain(fcntl(file, FcntlArg::F_GET_SEALS)?);
    if file.metadata()?.len() != size_of::<T>() as u64 || !seals.contains(SealFlag::F_SEAL_SHRINK) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let size = NonZeroUsize::new(size_of::<T>()).expect("what is shared has fields");
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping of a file that is as large and cannot shrink; it overlaps nothing, is aligned to pages, and is
    // never unmapped, hence 'static; any bytes in it are a valid T, and processes that share it write through its atomics.
    Ok(unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, file, 0)?.cast::<T>().as_ref() })
}

/// Replaces words of shared memory, as another process could: each by what `change` makes of it.
#[cfg(test)]
pub(crate) fn scribble<T: FromBytes + Sync>(memory: &'static T, mut change: impl FnMut(u64) -> u64) {
    use std::sync::atomic::{AtomicU64, Ordering};
    let (words, count) = (std::ptr::from_ref(memory).cast::<AtomicU64>(), size_of::<T>() / 8);
    // SAFETY: it is mapped, aligned to pages, and as large; any bytes are a valid T, which consists of atomics.
    for word in unsafe { std::slice::from_raw_parts(words, count) } {
        word.store(change(word.load(Ordering::Relaxed)), Ordering::Relaxed);
    }
}
