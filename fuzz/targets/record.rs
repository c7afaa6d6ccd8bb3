//! What is remembered of a check, see `fuzz/src/record.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hospital_fuzz::record::read(data));
