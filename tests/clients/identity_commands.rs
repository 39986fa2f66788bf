//! Every identity command of `openstack`, and every way of keystoneauth to
//! sign in.
use virga_tests::cloud::{Cloud, Shape};

use crate::identity_federation::Provider;

#[test]
fn every_identity_command_of_openstack_works() {
    let cloud = Cloud::start_as(Shape {
        devices: 1,
        ..Shape::default()
    });
    let said = cloud.shell(
        "openrc",
        &format!(
            "python '{}/clients/identity_commands.py' 2>&1\n",
            env!("CARGO_MANIFEST_DIR")
        ),
    );
    assert!(said.contains("commands work"), "{said}");
}

#[test]
fn every_way_of_keystoneauth_to_sign_in_works() {
    let provider = Provider::start();
    let cloud = provider.cloud();
    let said = cloud.shell(
        "openrc",
        &format!(
            "python '{}/clients/identity_plugins.py' '{}' 2>&1\n",
            env!("CARGO_MANIFEST_DIR"),
            provider.issuer
        ),
    );
    assert!(said.contains("all plugins work"), "{said}");
}
