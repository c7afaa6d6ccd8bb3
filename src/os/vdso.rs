//! The kernel's code in each process that tells the time without a system call (vdso(7)). A tracer would never see who asks it:
//! [`ask_the_kernel`] has it make the call after all.

use std::io;

use super::registers;
use super::task::Task;

/// Where the auxiliary vector says that it is: AT_SYSINFO_EHDR of linux/auxvec.h.
const PLACE: u64 = 33;

/// What it exports, and the calls that these stand for.
const FUNCTIONS: [(&[u8], libc::c_long); 3] = [
    (b"__vdso_clock_gettime", libc::SYS_clock_gettime),
    (b"__vdso_gettimeofday", libc::SYS_gettimeofday),
    #[cfg(target_arch = "x86_64")]
    (b"__vdso_time", libc::SYS_time),
    #[cfg(not(target_arch = "x86_64"))]
    (b"", -1),
];

/// From now on, this process and those that it forks ask the kernel for the time. Another program needs it anew. The pages
/// are its own as soon as a tracer writes to them.
pub(crate) fn ask_the_kernel(task: &Task) -> io::Result<()> {
    let vector = std::fs::read(format!("/proc/{}/auxv", task.tid))?;
    let word = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).unwrap_or_default();
    let entry = vector.chunks_exact(16).find(|entry| word(&entry[..8]) == PLACE);
    // Without one, it asks the kernel already.
    let Some(base) = entry.map(|entry| word(&entry[8..])) else { return Ok(()) };
    for (at, number) in functions(task, base) {
        task.write(at, &registers::code_of_call(number))?;
    }
    Ok(())
}

/// Where its functions are: struct Elf64_Ehdr, Elf64_Shdr and Elf64_Sym of elf(5).
fn functions(task: &Task, base: u64) -> Vec<(u64, libc::c_long)> {
    const SYMBOLS: u32 = 11;
    let bytes = |at: u64, length: usize| task.read(base + at, length);
    let half = |at: u64| bytes(at, 2).try_into().map(u16::from_ne_bytes).unwrap_or_default();
    let word = |at: u64| bytes(at, 4).try_into().map(u32::from_ne_bytes).unwrap_or_default();
    let long = |at: u64| bytes(at, 8).try_into().map(u64::from_ne_bytes).unwrap_or_default();
    let (sections, size, count) = (long(0x28), u64::from(half(0x3a)), u64::from(half(0x3c)));
    let section = |index: u64| sections + index * size;
    let Some(table) = (0..count).map(section).find(|&at| word(at + 4) == SYMBOLS) else { return Vec::new() };
    let (symbols, length, names) = (long(table + 0x18), long(table + 0x20), section(word(table + 0x28).into()));
    let names = long(names + 0x18);
    let symbol = |index: u64| {
        let at = symbols + index * 24;
        let name = task.text(base + names + u64::from(word(at)));
        let (_, number) = FUNCTIONS.into_iter().find(|(function, _)| *function == name)?;
        Some((base + long(at + 8), number))
    };
    (0..(length / 24).min(64)).filter_map(symbol).collect()
}
