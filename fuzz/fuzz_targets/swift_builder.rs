//! Builder files of Swift: any bytes as a pickle. Run by cargo-fuzz; the body also runs as a property test.
#![no_main]

#[path = "../bodies/ring_builder.rs"]
#[allow(dead_code, reason = "each target calls one of them")]
mod ring_builder;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ring_builder::swift(data));
