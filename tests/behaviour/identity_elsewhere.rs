//! A proxy on a host without identity: what it must ask, and how soon it hears
//! of what was revoked.
use std::process::Command;

use serde_json::{Value, json};
use virga_tests::cluster::Cluster;
use virga_tests::keystone::{Keystone, Said, project};
use virga_tests::process::{credential, wait_until};

/// Signs in with the credentials of an openrc file.
fn sign_in(cluster: &Cluster, openrc: &str) -> Said {
    let of = |name| credential(&cluster.controller_data().join(openrc), name);
    let scope = project(&of("OS_PROJECT_NAME"));
    let keystone = Keystone::of(cluster.controller_data());
    keystone
        .sign_in(&of("OS_USERNAME"), &of("OS_PASSWORD"), &scope)
        .expect(201)
}

#[test]
fn a_token_that_is_revoked_soon_ends_at_the_proxy_and_what_was_revoked_before_is_known_after_a_restart() {
    let mut cluster = Cluster::start();
    let swift = cluster.demo();
    let (mine, other) = (sign_in(&cluster, "openrc-demo"), sign_in(&cluster, "openrc-demo"));
    let (mine, other) = (swift.with_token(&mine.token()), swift.with_token(&other.token()));
    mine.put("box", b"");
    assert_eq!(other.get("box").status, 204);
    let headers = [
        ("x-auth-token", swift.token.as_str()),
        ("x-subject-token", mine.token.as_str()),
    ];
    let keystone = Keystone::of(cluster.controller_data());
    keystone
        .ask("DELETE", "/auth/tokens", &headers, &Value::Null)
        .expect(204);
    wait_until("the revoked token ends at the proxy", || {
        mine.get("box").status == 401
    });
    assert_eq!(other.get("box").status, 204);
    cluster.restart_proxy(0);
    wait_until("it is known again after a restart", || {
        mine.get("box").status == 401
    });
    assert_eq!(other.get("box").status, 204);
    let status = cluster.proxy_status(0);
    assert_eq!(
        status["parts"]["identity elsewhere"]["state"], "ready",
        "{status}"
    );
}

#[test]
fn the_proxy_asks_identity_for_access_rules_names_and_keys_of_s3() {
    let cluster = Cluster::start();
    let swift = cluster.demo();
    swift.put("box", b"");
    swift.put("box/o", b"x");

    let demo = sign_in(&cluster, "openrc-demo");
    let user = demo.json()["token"]["user"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let rules = json!([{"service": "object-store", "method": "GET", "path": "/v1/*/box/**"}]);
    let credential_of =
        json!({"application_credential": {"name": "c", "secret": "s", "access_rules": rules}});
    let path = format!("/users/{user}/application_credentials");
    let keystone = Keystone::of(cluster.controller_data());
    let made = keystone
        .call("POST", &path, &demo.token(), &credential_of)
        .expect(201);
    let shown = json!({"id": made.id("application_credential"), "secret": "s"});
    let identity = json!({"methods": ["application_credential"], "application_credential": shown});
    let ruled = keystone.ask(
        "POST",
        "/auth/tokens",
        &[],
        &json!({"auth": {"identity": identity}}),
    );
    let ruled = swift.with_token(&ruled.token());
    assert_eq!(ruled.get("box/o").status, 200, "what its rules name");
    assert_eq!(ruled.get("").status, 401, "what they do not name");

    let admin = sign_in(&cluster, "openrc");
    let admin = swift.with_token(&admin.token());
    assert_eq!(admin.get("box/o").status, 403);
    let acl = [("x-container-read", "admin:admin")];
    assert_eq!(swift.send("POST", "box", &acl, b"").status, 204);
    wait_until("the list that names a user counts", || {
        admin.get("box/o").status == 200
    });

    let env = cluster.controller_data().join("s3.env");
    let of = |name| credential(&env, name);
    let out = Command::new("curl")
        .args(["-sS", "-w", " %{http_code}", "--aws-sigv4"])
        .arg(format!("aws:amz:{}:s3", of("AWS_DEFAULT_REGION")))
        .arg("--user")
        .arg(format!(
            "{}:{}",
            of("AWS_ACCESS_KEY_ID"),
            of("AWS_SECRET_ACCESS_KEY")
        ))
        .args(["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
        .arg(format!("{}/box/o", of("AWS_ENDPOINT_URL")))
        .output()
        .expect("curl");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "x 200");
}
