//! A request target, see `fuzz/src/route.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hospital_fuzz::route::find(data));
