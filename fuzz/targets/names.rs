//! Names and files of checks, see `fuzz/src/names.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hospital_fuzz::names::tell(data));
