//! Temporary URLs and pages of directories: any bytes. Run by cargo-fuzz; the body also runs as a property test of `virga-proxy`.
#![no_main]

use virga_proxy::swift::fuzzed;

#[path = "../bodies/temp_url.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::chew(data));
