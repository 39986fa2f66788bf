//! Objects whose time is over, opened all the same.
use super::door::{ALICE, Door, MALLORY};

async fn that_opens(allowed: bool) -> Door {
    let door = Door::with(|config| config.swift.allow_open_expired = allowed).await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    door
}

/// Waits until the time of what `path` names is over.
async fn expires(door: &Door, path: &str) {
    let begun = std::time::Instant::now();
    let line = format!("HEAD /v1/AUTH_p/c/{path}");
    while door.call(ALICE, &line, &[], b"").await.status != 404 {
        assert!(begun.elapsed().as_secs() < 30, "{path} is still there");
        tokio::task::yield_now().await;
    }
}

const OPEN: (&str, &str) = ("X-Open-Expired", "true");

#[tokio::test]
async fn an_object_whose_time_is_over_is_read_and_made_to_last_by_who_asks_for_it() {
    let door = that_opens(true).await;
    let body: Vec<u8> = (0..1_500_000).map(|n| (n % 251) as u8).collect();
    for (name, body) in [("o", &b"hello"[..]), ("large", &body)] {
        let at = (Door::now() + 1).to_string();
        let path = format!("/v1/AUTH_p/c/{name}");
        door.alice(&format!("PUT {path}"), &[("X-Delete-At", &at)], body, 201)
            .await;
        expires(&door, name).await;
        let got = door.alice(&format!("GET {path}"), &[OPEN], b"", 200).await;
        assert!(got.body == body, "{name}");
        assert_eq!(got.header("x-delete-at"), Some(at.as_str()));
        let ranges = [OPEN, ("Range", "bytes=0-0,2-3")];
        let got = door.alice(&format!("GET {path}"), &ranges, b"", 206).await;
        assert!(got.text().contains("Content-Range: bytes 2-3/"), "{}", got.text());
        let head = door.alice(&format!("HEAD {path}"), &[OPEN], b"", 200).await;
        assert_eq!(
            head.header("content-length"),
            Some(body.len().to_string().as_str())
        );
        for closed in [&[][..], &[("X-Open-Expired", "false")]] {
            for method in ["GET", "HEAD", "POST"] {
                door.alice(&format!("{method} {path}"), closed, b"", 404).await;
            }
        }
        // Whoever may not read it does not read it now.
        let stranger = door.call(MALLORY, &format!("GET {path}"), &[OPEN], b"").await;
        assert_eq!(stranger.status, 403);
        let later = (Door::now() + 1000).to_string();
        let lasts = [OPEN, ("X-Delete-At", &later), ("X-Object-Meta-Was", "gone")];
        door.alice(&format!("POST {path}"), &lasts, b"", 202).await;
        let got = door.alice(&format!("GET {path}"), &[], b"", 200).await;
        assert!(got.body == body, "{name}");
        assert_eq!(got.header("x-object-meta-was"), Some("gone"));
        assert_eq!(got.header("x-delete-at"), Some(later.as_str()));
    }
}

#[tokio::test]
async fn an_expired_manifest_is_opened_with_its_expired_segments() {
    let door = that_opens(true).await;
    let at = (Door::now() + 2).to_string();
    for (name, body) in [("s1", "one"), ("s2", "two")] {
        let line = format!("PUT /v1/AUTH_p/c/{name}");
        door.alice(&line, &[("X-Delete-At", &at)], body.as_bytes(), 201)
            .await;
    }
    let manifest = br#"[{"path": "/c/s1"}, {"path": "/c/s2"}]"#;
    let line = "PUT /v1/AUTH_p/c/m?multipart-manifest=put";
    door.alice(line, &[("X-Delete-At", &at)], manifest, 201).await;
    for name in ["s1", "s2", "m"] {
        expires(&door, name).await;
    }
    let got = door.alice("GET /v1/AUTH_p/c/m", &[OPEN], b"", 200).await;
    assert_eq!(got.text(), "onetwo");
    let line = "GET /v1/AUTH_p/c/m?part-number=2";
    assert_eq!(door.alice(line, &[OPEN], b"", 206).await.text(), "two");
    door.alice(line, &[], b"", 404).await;
}

#[tokio::test]
async fn what_has_expired_stays_closed_where_opening_is_not_allowed() {
    let door = that_opens(false).await;
    let at = (Door::now() + 1).to_string();
    door.alice("PUT /v1/AUTH_p/c/o", &[("X-Delete-At", &at)], b"x", 201)
        .await;
    expires(&door, "o").await;
    for method in ["GET", "HEAD", "POST"] {
        door.alice(&format!("{method} /v1/AUTH_p/c/o"), &[OPEN], b"", 404)
            .await;
    }
}
