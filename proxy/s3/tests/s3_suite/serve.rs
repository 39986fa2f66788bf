//! The door for suites from outside.
use super::door::Door;

/// Serves at `VIRGA_DOOR` ("127.0.0.1:18080") until it is killed. The keys are
/// alice (member) and rita (reader) of one project, mallory of another, each
/// with the secret "secret".
#[tokio::test(flavor = "multi_thread")]
#[ignore = "serves until it is killed"]
async fn serve_until_killed() {
    let address = std::env::var("VIRGA_DOOR").expect("VIRGA_DOOR says where to listen");
    let door = Door::at(&address).await;
    door.running.await.unwrap().unwrap();
}
