//! Misuse of `#[healthcheck]` is a compile error at the right place, and says what is wanted.
//!
//! The expected output of the compiler is in a file beside each case, as the version that the test needs writes it: others
//! may word, or underline, the same error differently. `TRYBUILD=overwrite` records it again.

#[test]
#[ignore = "needs rustc 1.95"]
fn misuse_of_the_attribute_says_what_is_wanted() {
    let asynchronous = if cfg!(feature = "async") { "async_in_place" } else { "async_without_feature" };
    let cases = trybuild::TestCases::new();
    for case in ["associated", "options", "returns", "signature", asynchronous] {
        cases.compile_fail(format!("tests/library/compile_fail/{case}.rs"));
    }
}
