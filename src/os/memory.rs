//! Returns memory that is not needed any more.

use std::ffi::{c_int, c_void};

use libc::{PF_W, PT_LOAD, dl_phdr_info, size_t};

/// Returns what only the start needed: freed heap, and the pages of programs and libraries that were mapped to parse
/// the command line, set up the log and collect the checks. Pages that are needed again come back from the page cache.
pub(crate) fn release() {
    // SAFETY: the callback only uses what dl_iterate_phdr(3) passes to it, and only during the call.
    unsafe { libc::dl_iterate_phdr(Some(release_object), std::ptr::null_mut()) };
    trim();
}

/// Returns freed heap of all threads.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) only returns memory that is not allocated.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// From now on, a large block goes back to the system whenever it is freed. Otherwise glibc keeps blocks of a size that was
/// freed once for the next of that size.
pub(crate) fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) only changes how later calls are served.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 256 * 1024)
    };
}

/// Drops the segments of one program or library that are never written to.
unsafe extern "C" fn release_object(object: *mut dl_phdr_info, _: size_t, _: *mut c_void) -> c_int {
    // SAFETY: the loader describes an object that stays loaded during this call, including its headers.
    let (base, headers) = unsafe {
        let object = &*object;
        (object.dlpi_addr, std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()))
    };
    // The first loadable segment goes last, and the headers before it are skipped: the headers lie in it, and reading
    // on would map it again.
    let first = headers.iter().position(|header| header.p_type == PT_LOAD).unwrap_or(headers.len());
    for segment in headers[first..].iter().rev() {
        if segment.p_type != PT_LOAD || segment.p_flags & PF_W != 0 {
            continue;
        }
        // Rounded inwards: the kernel takes whole pages only.
        let page = segment.p_align.max(4096);
        let start = (base + segment.p_vaddr).next_multiple_of(page);
        let end = (base + segment.p_vaddr + segment.p_memsz) / page * page;
        if start < end {
            // SAFETY: mapped from a file, private and not writable, so it comes back as it was. If the kernel refuses,
            // that only costs memory.
            unsafe { libc::madvise(start as *mut c_void, (end - start) as usize, libc::MADV_DONTNEED) };
        }
    }
    0
}
