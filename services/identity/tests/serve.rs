//! Identity alone on a port, for suites from outside, such as tempest.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test should panic"
)]
use std::sync::Arc;

use virga_identity::{BootstrapPlan, Config, Identity};
use virga_node::clock::SystemClock;
use virga_state::State;

/// Serves at `VIRGA_IDENTITY` ("127.0.0.1:15000") until it is killed, over new
/// records. The administrator is `admin` with the password `secretadmin`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "serves until it is killed"]
async fn serve_until_killed() {
    let address = std::env::var("VIRGA_IDENTITY").expect("VIRGA_IDENTITY says where to listen");
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock);
    let state = virga_state::Config::sqlite(&dir.path().join("identity.db"));
    let state = State::open(&state, clock.clone()).await.unwrap();
    let config = Config {
        token_keys: dir.path().join("token-keys"),
        credential_keys: dir.path().join("credential-keys"),
        ..Config::default()
    };
    let identity = Identity::open(config, state, clock).await.unwrap();
    let plan = BootstrapPlan {
        admin_password: "secretadmin".into(),
        demo_password: "secretdemo".into(),
        region: "RegionOne".into(),
        front_url: format!("http://{address}"),
        object_url: "http://127.0.0.1:8080".into(),
    };
    identity.bootstrap(&plan).await.unwrap();
    let listener = tokio::net::TcpListener::bind(&address).await.unwrap();
    axum::serve(listener, identity.router()).await.unwrap();
}
