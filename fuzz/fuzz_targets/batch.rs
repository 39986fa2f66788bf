#![no_main]
//! The batch decoder against any bytes.

#[path = "../bodies/batch.rs"]
mod batch;

libfuzzer_sys::fuzz_target!(|data: &[u8]| batch::chew(data));
