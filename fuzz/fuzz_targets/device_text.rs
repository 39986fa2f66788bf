//! The text forms of devices: any text. Run by cargo-fuzz; the body also runs as a property test.
#![no_main]

// The parser is private to the tool: its source is compiled in here.
#[path = "../bodies/device_text.rs"]
mod body;
#[path = "../../tools/ring-builder/src/device_text.rs"]
#[allow(dead_code, reason = "the tool uses more of it")]
mod device_text;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::chew(data));
