//! Misuse of `#[healthcheck]` is a compile error where it is written, and says what is wanted.
//!
//! What the compiler is expected to say stands beside each case, in the words of one version of it: another may
//! word, or underline, the same error in another way. `TRYBUILD=overwrite` writes it anew.

use std::io::Write;
use std::process::Command;

/// The compiler whose words they are.
const RECORDED_WITH: &str = "rustc 1.95.";

#[test]
fn misuse_of_the_attribute_says_what_is_wanted() {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output().expect("whoever runs this test has rustc").stdout;
    let version = String::from_utf8_lossy(&version);
    if !version.starts_with(RECORDED_WITH) {
        // Past the test harness, which would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "left out: what {} says of tests/compile_fail was recorded with {RECORDED_WITH}x",
            version.trim_end()
        );
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
