//! Tokens against Keystone's own libraries, both ways.
use virga_tests::cloud::{Cloud, Shape};

/// A cloud whose tokens are of this kind, and what the check says of it.
fn check(provider: &str, kind: &str) {
    let mut cloud = Cloud::start_as(Shape {
        devices: 1,
        ..Shape::default()
    });
    cloud.reconfigure(|text| {
        let start = text.find("token_provider = ").expect("the setting");
        let end = start + text[start..].find('\n').expect("a line");
        text.replace_range(start..end, &format!("token_provider = \"{provider}\""));
    });
    let said = cloud.shell(
        "openrc",
        &format!(
            "python '{}/clients/keystone_tokens.py' '{}' {kind} 2>&1\n\
             openstack token issue -f value -c id | grep -q .\n",
            env!("CARGO_MANIFEST_DIR"),
            cloud.data().join("secrets").display()
        ),
    );
    assert!(said.contains("all equal"), "{said}");
}

#[test]
fn keystone_reads_our_fernet_tokens_and_we_read_its() {
    check("fernet-keystone", "fernet");
}

#[test]
fn keystone_reads_our_signed_tokens_and_we_read_its() {
    check("jws", "jws");
}
