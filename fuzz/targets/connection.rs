//! Bytes from a client, see `src/fuzzing/connection.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hospital_fuzz::fuzzing::connection::talk(data));
