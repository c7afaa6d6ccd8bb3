//! Misuse of `#[healthcheck]` is a compile error at the right place, and says what is wanted.
//!
//! The expected output of the compiler is in a file beside each case, as the version that the test needs writes it: others
//! may word, or underline, the same error differently. `TRYBUILD=overwrite` records it again.

#[test]
#[ignore = "needs rustc 1.95"]
fn misuse_of_the_attribute_says_what_is_wanted() {
    trybuild::TestCases::new().compile_fail("tests/library/compile_fail/*.rs");
}
