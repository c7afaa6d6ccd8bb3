//! Bytes from a client, see `fuzz/src/connection.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hospital_fuzz::connection::talk(data));
