//! The door for suites from outside, such as Swift's own functional tests.
use super::door::Door;

/// Serves at `VIRGA_DOOR` ("127.0.0.1:18080") until it is killed. Tokens are
/// "project/user/role"; an auth v1 endpoint in front may hand them out.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "serves until it is killed"]
async fn serve_until_killed() {
    let address = std::env::var("VIRGA_DOOR").expect("VIRGA_DOOR says where to listen");
    let door = Door::at(&address, |_| {}).await;
    door.running.await.unwrap().unwrap();
}
