//! Memory that the master maps before the first fork and shares with all processes forked since.

use std::io;
use std::num::NonZeroUsize;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

/// A type that can be shared like this.
///
/// # Safety
///
/// All zeroes are a valid value, and all fields are atomics: other processes write to it at any time.
pub(crate) unsafe trait Shared: Sync + 'static {}

/// Maps a value of all zeroes, and never unmaps it. Pages that are never touched cost nothing.
pub(crate) fn map<T: Shared>() -> io::Result<&'static T> {
    let size = NonZeroUsize::new(size_of::<T>()).expect("what is shared has fields");
    let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping overlaps nothing, is aligned to pages, and holds zeroes, which are a valid T; it
    // is never unmapped, hence 'static; T consists of atomics, so other processes may write to it while this one holds
    // references.
    Ok(unsafe { mmap_anonymous(None, size, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags)?.cast::<T>().as_ref() })
}
