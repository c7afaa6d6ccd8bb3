//! Programs that checks start, and whether any of them is left.

use super::{HOSPITAL, processes};

/// The number of processes that have this word among their arguments, except hospital itself.
pub(crate) fn with(word: &str) -> usize {
    let has = |pid: &i32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments);
        processes::is_alive(*pid) && arguments.contains(word) && !arguments.starts_with(HOSPITAL)
    };
    processes::all().filter(has).count()
}

/// A check that runs for a minute, also in a session of its own, marked with a word of this test.
pub(crate) fn endless(test: &str, options: &str) -> (String, String) {
    let word = format!("{test}-{}", std::process::id());
    let script = format!("setsid%20sh%20-c%20'sleep%2060;%20:%20{word}'%20%26%20sleep%2060;%20:%20{word}");
    (format!("endless=exec:/bin/sh#args=-c&args={script}&{options}"), word)
}
