//! Memory that a long life does not need.

use std::ffi::{c_int, c_void};

use libc::{PF_W, PT_LOAD, dl_phdr_info, size_t};

/// Gives back what only the start has needed: freed heap, and the pages of programs and libraries, which were
/// mapped to parse the command line, set up the log and collect. What is needed again is mapped again, from the page
/// cache.
pub(crate) fn release() {
    // SAFETY: the callback keeps to what dl_iterate_phdr(3) hands it, and to the time that it hands it for.
    unsafe { libc::dl_iterate_phdr(Some(release_object), std::ptr::null_mut()) };
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) gives back what nobody holds.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Of one program or library: the segments that are never written to.
unsafe extern "C" fn release_object(object: *mut dl_phdr_info, _: size_t, _: *mut c_void) -> c_int {
    // SAFETY: the loader describes an object that stays loaded while we are called, its headers among it.
    let (base, headers) = unsafe {
        let object = &*object;
        (object.dlpi_addr, std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()))
    };
    // The first last, and none of the headers before it: they lie in it themselves, and to read on would map it again.
    let first = headers.iter().position(|header| header.p_type == PT_LOAD).unwrap_or(headers.len());
    for segment in headers[first..].iter().rev() {
        if segment.p_type != PT_LOAD || segment.p_flags & PF_W != 0 {
            continue;
        }
        // Both ends inwards; the kernel takes whole pages only.
        let page = segment.p_align.max(4096);
        let start = (base + segment.p_vaddr).next_multiple_of(page);
        let end = (base + segment.p_vaddr + segment.p_memsz) / page * page;
        if start < end {
            // SAFETY: mapped from a file, private and not writable, so it comes back as it was. A kernel that refuses
            // costs memory and nothing else.
            unsafe { libc::madvise(start as *mut c_void, (end - start) as usize, libc::MADV_DONTNEED) };
        }
    }
    0
}
