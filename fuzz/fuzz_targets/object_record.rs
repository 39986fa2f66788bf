//! The metadata decoders against any bytes. Run by cargo-fuzz; the body also runs as a property test of
//! `virga-object-store`.
#![no_main]

#[path = "../bodies/object_record.rs"]
mod object_record;

libfuzzer_sys::fuzz_target!(|data: &[u8]| object_record::chew(data));
