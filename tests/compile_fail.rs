//! Misuse of `#[healthcheck]` is a compile error where it is written, and says what is wanted.
//!
//! What the compiler is expected to say stands beside each case; `TRYBUILD=overwrite` writes it anew.

#[test]
fn misuse_of_the_attribute_says_what_is_wanted() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
