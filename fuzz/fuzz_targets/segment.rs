#![no_main]
//! Recovery against any segment content.

#[path = "../bodies/segment.rs"]
mod segment;

libfuzzer_sys::fuzz_target!(|data: &[u8]| segment::chew(data));
