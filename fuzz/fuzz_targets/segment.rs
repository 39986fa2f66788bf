//! Recovery against any segment content. Run by cargo-fuzz; the body also runs as a property test of `virga-disk`.
#![no_main]

#[path = "../bodies/segment.rs"]
mod segment;

libfuzzer_sys::fuzz_target!(|data: &[u8]| segment::chew(data));
