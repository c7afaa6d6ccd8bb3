//! A request target, see `src/fuzzing/route.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hospital_fuzz::fuzzing::route::find(data));
