//! `virga keys` on a running cloud.
use std::process::{Command, Output};

use virga_tests::cloud::{Cloud, Shape, binary};
use virga_tests::process::wait_until;
use virga_tests::swift::Swift;

fn keys(cloud: &Cloud, args: &[&str]) -> Output {
    Command::new(binary())
        .arg("keys")
        .args(args)
        .arg("--data")
        .arg(cloud.data())
        .output()
        .expect("virga keys")
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

#[test]
fn token_keys_are_rotated_while_tokens_are_in_use() {
    let cloud = Cloud::start_as(Shape {
        devices: 1,
        ..Shape::default()
    });
    let before = Swift::connect(&cloud);
    before.put("box", b"");
    let shown = keys(&cloud, &["status"]);
    let text = said(&shown);
    assert!(shown.status.success(), "{text}");
    for word in ["staged", "primary", "token keys may be rotated now"] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    let rotated = keys(&cloud, &["rotate", "token"]);
    assert!(rotated.status.success(), "{}", said(&rotated));
    before.put("box/old-token", b"x");
    // Another so soon would end tokens that are good; the operator may insist.
    let refused = keys(&cloud, &["rotate", "token"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("--force"), "{}", said(&refused));
    let status = keys(&cloud, &["status", "--json"]);
    assert!(
        said(&status).contains("\"role\": \"secondary\""),
        "{}",
        said(&status)
    );
    Swift::connect(&cloud).put("box/new-token", b"x");
    for _ in 0..2 {
        let forced = keys(&cloud, &["rotate", "token", "--force"]);
        assert!(forced.status.success(), "{}", said(&forced));
    }
    // The key of the first token is gone: that is what force means.
    let hangup = Command::new("kill")
        .args(["-HUP", &cloud.pid().expect("a process").to_string()])
        .status();
    assert!(hangup.expect("kill").success());
    wait_until("the token has ended", || before.get("box").status == 401);
}

#[test]
fn secrets_survive_the_rotation_of_their_keys() {
    let cloud = Cloud::start_as(Shape {
        devices: 1,
        ..Shape::default()
    });
    for _ in 0..3 {
        let rotated = keys(&cloud, &["rotate", "credential", "--force"]);
        assert!(rotated.status.success(), "{}", said(&rotated));
        assert!(said(&rotated).contains("1 secret(s)"), "{}", said(&rotated));
    }
    let mut cloud = cloud;
    cloud.stop();
    cloud.resume();
    let rotated = keys(&cloud, &["rotate", "credential", "--force"]);
    assert!(said(&rotated).contains("1 secret(s)"), "{}", said(&rotated));
}
