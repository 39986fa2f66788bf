//! Ring maps, bare and behind their lengths and digest. Run by cargo-fuzz; the body also runs as a property test.
#![no_main]

#[path = "../bodies/ring_file.rs"]
#[allow(dead_code, reason = "each target calls one of them")]
mod ring_file;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ring_file::ring_map(data));
