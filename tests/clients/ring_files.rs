//! The ring's files and tools beside Swift's own: scripts that have both sides and compare them.
use std::process::{Command, Output};

use virga_tests::cloud::{binary, clients_venv};

/// All that a process said.
pub(crate) fn text(out: &Output) -> String {
    let (said, trouble) = (&out.stdout, &out.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(said),
        String::from_utf8_lossy(trouble)
    )
}

/// Runs one of the scripts beside this file with the binary, an empty folder and these words; gives what it said. It
/// ends with an error at the first difference.
pub(crate) fn compare(script: &str, words: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = Command::new(clients_venv().join("bin/python"))
        .arg(format!("{}/clients/{script}", env!("CARGO_MANIFEST_DIR")))
        .arg(binary())
        .arg(folder.path())
        .args(words)
        .output()
        .expect("python");
    assert!(out.status.success(), "{}", text(&out));
    text(&out)
}

/// Builders and composite rings made by each side, taken over by the other.
#[test]
fn swift_and_virga_go_on_with_each_others_builders_and_composite_rings() {
    let said = compare("ring_builders.py", &[]);
    assert!(said.contains("5 builders equal, composite rings equal"), "{said}");
}

/// Rings written by each side, read by the other: equal nodes for equal names.
#[test]
fn swift_and_virga_find_the_same_nodes_in_each_others_ring_files() {
    let said = compare("ring_interop.py", &[]);
    assert!(said.contains("20000 names equal"), "{said}");
}
