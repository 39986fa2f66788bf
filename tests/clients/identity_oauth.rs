//! OAuth 1.0a with the libraries that OpenStack's clients use, inside TLS.
use virga_tests::cloud::{Cloud, Shape};

#[test]
fn keystoneauth_signs_in_with_an_access_token_inside_tls() {
    let cloud = Cloud::start_as(Shape {
        devices: 1,
        flags: vec!["--tls".into()],
    });
    let said = cloud.shell(
        "openrc",
        &format!(
            "python '{}/clients/identity_oauth.py' 2>&1\nopenstack token issue -f value -c project_id\n",
            env!("CARGO_MANIFEST_DIR")
        ),
    );
    assert!(said.contains("a consumer was let in"), "{said}");
}
