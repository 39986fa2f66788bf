//! Files named `swift.conf`, through the verb that reads them. Run by cargo-fuzz; the body also runs as a property test.
#![no_main]

#[path = "../bodies/ring_tool.rs"]
#[allow(dead_code, reason = "each target calls one of them")]
mod ring_tool;

use std::path::PathBuf;
use std::sync::LazyLock;

/// In memory where there is such a folder: a file is written for every input.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    let folder = base.join(format!("virga-fuzz-swift_conf-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder to write in");
    folder
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| ring_tool::swift_conf(&FOLDER, data));
