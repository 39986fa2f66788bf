//! Forms of browsers: any bytes. Run by cargo-fuzz; the body also runs as a property test of `virga-s3`.
#![no_main]

use virga_s3::fuzzed;

#[path = "../bodies/s3_form.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::chew(data));
