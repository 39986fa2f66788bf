//! The reader of proofs against any bytes. Run by cargo-fuzz; the body also runs as a property test of `virga-proxy`.
#![no_main]

#[path = "../bodies/proof.rs"]
mod proof;

libfuzzer_sys::fuzz_target!(|data: &[u8]| proof::chew(data));
