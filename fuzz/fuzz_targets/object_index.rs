//! The index decoders against any bytes. Run by cargo-fuzz; the body also runs as a property test of
//! `virga-object-store`.
#![no_main]

#[path = "../bodies/object_index.rs"]
mod object_index;

libfuzzer_sys::fuzz_target!(|data: &[u8]| object_index::chew(data));
