//! What the fuzzer found worth keeping, for the property tests that run the bodies without a fuzzer.
#![allow(dead_code, reason = "each suite uses its part")]

use std::path::{Path, PathBuf};

use proptest::sample::Index;

/// The inputs kept for a target and those that once failed, in order of name.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut above = here.ancestors().map(|folder| folder.join("fuzz"));
    let fuzz = above.find(|folder| folder.join("bodies").is_dir());
    let fuzz = fuzz.expect("the folder of the fuzz targets above the crate");
    let folders = [fuzz.join("corpus"), fuzz.join("regressions")].map(|kind| kind.join(target));
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "nothing is kept for {target}");
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// A place in a file, what happens there, and a byte to do it with.
pub type Edit = (Index, u8, u8);

/// Puts bytes in, cuts them out or changes them.
pub fn edit(data: &mut Vec<u8>, edits: Vec<Edit>) {
    for (at, how, byte) in edits {
        if data.is_empty() {
            break;
        }
        let at = at.index(data.len());
        match how % 4 {
            0 => data.insert(at, byte),
            1 => drop(data.remove(at)),
            _ => data[at] = byte,
        }
    }
}
