//! Files of composite rings: any bytes. Run by cargo-fuzz; the body also runs as a property test.
#![no_main]

#[path = "../bodies/ring_composite.rs"]
#[allow(dead_code, reason = "each target calls one of them")]
mod ring_composite;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ring_composite::chew(data));
