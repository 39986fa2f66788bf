//! Where targets write that read files by name.
use std::path::PathBuf;

/// A folder of this process for a target; in memory where there is such a place: a file is written for every input.
pub fn scratch(target: &str) -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    let folder = base.join(format!("virga-fuzz-{target}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder to write in");
    folder
}
