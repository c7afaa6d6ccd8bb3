//! Memory that the master maps before the first fork, and that all its processes have from then on.

use std::io;
use std::num::NonZeroUsize;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

/// What can be shared so.
///
/// # Safety
///
/// All zeroes are a valid value, and all its fields are atomics: others write to it at any time.
pub(super) unsafe trait Shared: Sync + 'static {}

/// Maps a value that is all zeroes, and never unmaps it. Pages that nobody touches cost nothing.
pub(super) fn map<T: Shared>() -> io::Result<&'static T> {
    let size = NonZeroUsize::new(size_of::<T>()).expect("what is shared has fields");
    let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping overlaps nothing, is aligned to pages, and holds zeroes, which are a valid T; it
    // is never unmapped, hence 'static; T is made of atomics, so other processes that write to it break no rule of
    // this one's references.
    Ok(unsafe { mmap_anonymous(None, size, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags)?.cast::<T>().as_ref() })
}
