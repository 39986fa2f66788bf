//! Reads of objects while their container has no quorum.
use super::door::{ADMIN, ALICE, Door, MALLORY, READER};

#[tokio::test]
async fn without_the_containers_quorum_those_read_whose_token_alone_lets_them_and_nobody_else_is_judged() {
    let door = Door::open().await;
    let public = [("X-Container-Read", ".r:*,q:mallory,q")];
    door.alice("PUT /v1/AUTH_p/c", &public, b"", 201).await;
    let lines: Vec<String> = (0..8).map(|n| format!("/v1/AUTH_p/c/o{n}")).collect();
    for line in &lines {
        door.alice(&format!("PUT {line}"), &[], b"bytes", 201).await;
    }
    let nodes: Vec<_> = door.nodes.all().cloned().collect();
    let mut pairs_without_quorum = 0;
    for (first, second) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        // Whoever changes a container forgets what was known of it.
        door.alice("POST /v1/AUTH_p/c", &[("X-Container-Meta-A", "b")], b"", 204)
            .await;
        for down in [first, second] {
            nodes[down].set_down(true);
        }
        if door.call(ALICE, "HEAD /v1/AUTH_p/c", &[], b"").await.status == 503 {
            pairs_without_quorum += 1;
            let mut read = 0;
            for line in &lines {
                let line = format!("GET {line}");
                let mine = door.call(ALICE, &line, &[], b"").await;
                assert!([200, 503].contains(&mine.status), "{line}: {}", mine.status);
                read += u32::from(mine.status == 200);
                for who in [READER, ADMIN] {
                    assert_eq!(
                        door.call(who, &line, &[], b"").await.status,
                        mine.status,
                        "{who}: {line}"
                    );
                }
                for who in [MALLORY, ""] {
                    assert_eq!(door.call(who, &line, &[], b"").await.status, 503, "{who}: {line}");
                }
            }
            assert!(read > 0, "some objects have a quorum");
            for line in [
                "HEAD /v1/AUTH_p/c/none",
                "PUT /v1/AUTH_p/c/o0",
                "DELETE /v1/AUTH_p/c/o0",
            ] {
                assert_eq!(door.call(ALICE, line, &[], b"").await.status, 503, "{line}");
            }
        }
        for down in [first, second] {
            nodes[down].set_down(false);
        }
    }
    assert_eq!(pairs_without_quorum, 3, "of six pairs of four nodes");
    let public = door.call("", "GET /v1/AUTH_p/c/o0", &[], b"").await;
    assert_eq!(public.text(), "bytes");
}
