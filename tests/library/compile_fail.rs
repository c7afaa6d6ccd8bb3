//! Misuse of `#[healthcheck]` is a compile error at the right place, and says what is wanted.
//!
//! The expected output of the compiler is in a file beside each case, as one version of it writes it: others may word,
//! or underline, the same error differently. `TRYBUILD=overwrite` records it again.

use std::io::Write;
use std::process::Command;

/// The compiler that the output was recorded with.
const RECORDED_WITH: &str = "rustc 1.95.";

#[test]
fn misuse_of_the_attribute_says_what_is_wanted() {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output().expect("whoever runs this test has rustc").stdout;
    let version = String::from_utf8_lossy(&version);
    if !version.starts_with(RECORDED_WITH) {
        // Not with eprintln!, which the test harness captures.
        let _ = writeln!(
            std::io::stderr(),
            "left out: what {} says of tests/compile_fail was recorded with {RECORDED_WITH}x",
            version.trim_end()
        );
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/library/compile_fail/*.rs");
}
