//! Scenarios of `analyze`, through the verb that reads them. Run by cargo-fuzz; the body also runs as a property test.
#![no_main]

#[path = "../bodies/folder.rs"]
mod folder;
#[path = "../bodies/ring_tool.rs"]
#[allow(dead_code, reason = "each target calls one of them")]
mod ring_tool;

use std::path::PathBuf;
use std::sync::LazyLock;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| folder::scratch("ring_scenario"));

libfuzzer_sys::fuzz_target!(|data: &[u8]| ring_tool::scenario(&FOLDER, data));
