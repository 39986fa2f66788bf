use std::process::Command;

use virga_tests::cloud::{binary, clients_venv};

/// Runs the interoperability check with Swift's own tool: builders and
/// composite rings made by each side, taken over by the other.
#[test]
fn swift_and_virga_go_on_with_each_others_builders_and_composite_rings() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = Command::new(clients_venv().join("bin/python"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/ring_builders.py"))
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
    assert!(said.contains("5 builders equal, composite rings equal"), "{said}");
}
