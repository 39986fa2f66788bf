use std::process::Command;

use virga_tests::cloud::{binary, clients_venv};

/// Runs the interoperability check with Swift's own library: rings written
/// by each side, read by the other, equal nodes for equal names.
#[test]
fn swift_and_virga_find_the_same_nodes_in_each_others_ring_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = Command::new(clients_venv().join("bin/python"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/ring_interop.py"))
        .arg(binary())
        .arg(folder.path())
        .output()
        .expect("python");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(out.status.success(), "{said}");
    assert!(said.contains("20000 names equal"), "{said}");
}
