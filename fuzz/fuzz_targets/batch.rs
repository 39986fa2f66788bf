//! The batch decoder against any bytes. Run by cargo-fuzz; the body also runs as a property test of `virga-disk`.
#![no_main]

#[path = "../bodies/batch.rs"]
mod batch;

libfuzzer_sys::fuzz_target!(|data: &[u8]| batch::chew(data));
