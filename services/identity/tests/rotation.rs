//! Keys of secrets are rotated under a running service, and no secret is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test should panic"
)]
mod bench;

use bench::*;
use serde_json::json;
use virga_identity_api::keys::KeyRepository;
use virga_state::State;

#[tokio::test]
async fn secrets_outlive_every_key_that_sealed_them() {
    let b = bench().await;
    let admin = b.admin().await;
    let (access, secret) = b.report.demo_ec2.clone().unwrap();
    let consumer = b
        .call("POST", "/v3/OS-OAUTH1/consumers", &admin, json!({"consumer": {}}))
        .await
        .expect(201);
    assert!(consumer.json()["consumer"]["secret"].is_string());
    let option = json!({"config": {"ldap": {"url": "ldap://secret"}}});
    let path = "/v3/domains/default/config";
    b.call("PUT", path, &admin, option.clone()).await.expect(201);

    let repository = KeyRepository::new(b.folder().join("credential-keys"), 3);
    let first: Vec<u64> = repository.states().unwrap().iter().map(|s| s.number).collect();
    let state = State::open(&b.records().await, b.clock.clone()).await.unwrap();
    for _ in 0..4 {
        let sealed = virga_identity::rotate_credential_keys(&repository, &state, &*b.clock).await;
        assert_eq!(sealed.unwrap(), 3);
        // The service has not read the new keys yet, and opens by its staged one.
        let found = b.identity.ec2_secret(&access).await.unwrap().unwrap();
        assert_eq!(*found.secret, *secret);
        b.identity.reload_keys().unwrap();
    }
    let last: Vec<u64> = repository.states().unwrap().iter().map(|s| s.number).collect();
    assert_eq!((first, last), (vec![0, 1], vec![0, 5, 4]));
    assert_eq!(b.get(path, &admin).await.expect(200).json(), option);
}
