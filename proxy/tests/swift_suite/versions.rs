//! Versions of objects in all modes, and where they are seen and not seen.
use super::door::{Door, MALLORY, Reply};

const DELETED: &str = "application/x-deleted;swift_versions_deleted=1";

async fn versioned() -> Door {
    let door = Door::open().await;
    let on = [("X-Versions-Enabled", "true")];
    door.alice("PUT /v1/AUTH_p/c", &on, b"", 201).await;
    door
}

async fn put(door: &Door, body: &[u8]) -> String {
    let reply = door.alice("PUT /v1/AUTH_p/c/o", &[], body, 201).await;
    id_of(&reply)
}

fn id_of(reply: &Reply) -> String {
    reply.header("x-object-version-id").expect("an id").to_owned()
}

/// Name, id, size and whether it is the latest, line by line.
async fn listed(door: &Door, query: &str) -> Vec<(String, String, u64, bool)> {
    let line = format!("GET /v1/AUTH_p/c?versions&{query}");
    let reply = door.alice(&line, &[], b"", 200).await.json();
    let items = reply.as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    items
        .map(|item| {
            let (bytes, latest) = (
                item["bytes"].as_u64().unwrap(),
                item["is_latest"].as_bool().unwrap(),
            );
            (text(&item["name"]), text(&item["version_id"]), bytes, latest)
        })
        .collect()
}

fn line(id: &str, bytes: u64, latest: bool) -> (String, String, u64, bool) {
    ("o".to_owned(), id.to_owned(), bytes, latest)
}

#[tokio::test]
async fn every_write_is_a_version_and_the_last_one_is_read() {
    let door = versioned().await;
    let first = put(&door, b"one").await;
    let second = put(&door, b"second").await;
    assert!(first < second, "{first} {second}");
    let got = door.alice("GET /v1/AUTH_p/c/o", &[], b"", 200).await;
    assert_eq!((got.text().as_str(), id_of(&got)), ("second", second.clone()));
    let location = format!("/v1/AUTH_p/c/o?version-id={second}");
    assert_eq!(got.header("content-location"), Some(location.as_str()));
    for (id, body) in [(&first, "one"), (&second, "second")] {
        let got = door
            .alice(&format!("GET /v1/AUTH_p/c/o?version-id={id}"), &[], b"", 200)
            .await;
        assert_eq!((got.text().as_str(), id_of(&got)), (body, id.clone()));
    }
    let part = [("Range", "bytes=1-2")];
    let got = door.alice("GET /v1/AUTH_p/c/o", &part, b"", 206).await;
    assert_eq!(got.text(), "ec");
    assert_eq!(
        listed(&door, "").await,
        [line(&second, 6, true), line(&first, 3, false)]
    );
    assert_eq!(
        listed(&door, "reverse=on").await,
        [line(&first, 3, false), line(&second, 6, true)]
    );
    let own = door
        .alice("GET /v1/AUTH_p/c?format=json", &[], b"", 200)
        .await
        .json();
    assert_eq!(
        (own.as_array().unwrap().len(), own[0]["bytes"].as_u64()),
        (1, Some(6))
    );
    assert_eq!(own[0]["version_symlink"], true);
    let head = door.alice("HEAD /v1/AUTH_p/c", &[], b"", 204).await;
    assert_eq!(head.header("x-container-bytes-used"), Some("9"));
    assert_eq!(head.header("x-container-object-count"), Some("1"));
    assert_eq!(head.header("x-versions-enabled"), Some("True"));
    assert!(!head.headers.iter().any(|(name, _)| name.contains("sysmeta")));
}

#[tokio::test]
async fn a_deletion_is_a_version_and_older_ones_come_back() {
    let door = versioned().await;
    let first = put(&door, b"one").await;
    let gone = door.alice("DELETE /v1/AUTH_p/c/o", &[], b"", 204).await;
    let gone = id_of(&gone);
    door.alice("GET /v1/AUTH_p/c/o", &[], b"", 404).await;
    let again = door.alice("DELETE /v1/AUTH_p/c/o", &[], b"", 404).await;
    let again = id_of(&again);
    assert_eq!(
        listed(&door, "").await,
        [
            line(&again, 0, true),
            line(&gone, 0, false),
            line(&first, 3, false)
        ]
    );
    let marker = door
        .alice(&format!("HEAD /v1/AUTH_p/c/o?version-id={gone}"), &[], b"", 404)
        .await;
    assert_eq!(
        (id_of(&marker), marker.header("content-type")),
        (gone.clone(), Some(DELETED))
    );
    door.alice(&format!("PUT /v1/AUTH_p/c/o?version-id={gone}"), &[], b"", 404)
        .await;
    door.alice(&format!("PUT /v1/AUTH_p/c/o?version-id={first}"), &[], b"x", 400)
        .await;
    let back = door
        .alice(&format!("PUT /v1/AUTH_p/c/o?version-id={first}"), &[], b"", 201)
        .await;
    assert_eq!(id_of(&back), first);
    assert_eq!(
        door.alice("GET /v1/AUTH_p/c/o", &[], b"", 200).await.text(),
        "one"
    );
    for id in [&gone, &again] {
        door.alice(&format!("DELETE /v1/AUTH_p/c/o?version-id={id}"), &[], b"", 204)
            .await;
    }
    assert_eq!(listed(&door, "").await, [line(&first, 3, true)]);
    let last = door
        .alice(
            &format!("DELETE /v1/AUTH_p/c/o?version-id={first}"),
            &[],
            b"",
            204,
        )
        .await;
    assert_eq!(last.header("x-object-current-version-id"), Some("null"));
    door.alice("GET /v1/AUTH_p/c/o", &[], b"", 404).await;
    assert_eq!(listed(&door, "").await, []);
    door.alice(
        &format!("DELETE /v1/AUTH_p/c/o?version-id={first}"),
        &[],
        b"",
        404,
    )
    .await;
}

#[tokio::test]
async fn what_was_stored_without_versions_becomes_one_when_it_is_overwritten() {
    let door = Door::open().await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    let meta = [("X-Object-Meta-Color", "red")];
    door.alice("PUT /v1/AUTH_p/c/o", &meta, b"before", 201).await;
    door.alice("GET /v1/AUTH_p/c/o?version-id=1234567890.12345", &[], b"", 400)
        .await;
    door.alice("POST /v1/AUTH_p/c", &[("X-Versions-Enabled", "true")], b"", 204)
        .await;
    let got = door
        .alice("GET /v1/AUTH_p/c/o?version-id=null", &[], b"", 200)
        .await;
    assert_eq!(id_of(&got), "null");
    let second = put(&door, b"after").await;
    door.alice("GET /v1/AUTH_p/c/o?version-id=null", &[], b"", 404)
        .await;
    let versions = listed(&door, "").await;
    assert_eq!(versions[0], line(&second, 5, true));
    let got = door
        .alice(
            &format!("GET /v1/AUTH_p/c/o?version-id={}", versions[1].1),
            &[],
            b"",
            200,
        )
        .await;
    assert_eq!(
        (got.text().as_str(), got.header("x-object-meta-color")),
        ("before", Some("red"))
    );
    // Switched off again: the object is replaced, its versions stay.
    door.alice("POST /v1/AUTH_p/c", &[("X-Versions-Enabled", "false")], b"", 204)
        .await;
    let plain = door.alice("PUT /v1/AUTH_p/c/o", &[], b"plain!!", 201).await;
    assert_eq!(plain.header("x-object-version-id"), None);
    let versions = listed(&door, "").await;
    assert_eq!(versions[..2], [line("null", 7, true), line(&second, 5, false)]);
    assert_eq!(versions.len(), 3);
}

#[tokio::test]
async fn no_listing_and_no_path_leads_to_where_versions_lie() {
    let door = versioned().await;
    put(&door, b"one").await;
    put(&door, b"second").await;
    for query in [
        "",
        "?reverse=on",
        "?prefix=%00versions",
        "?marker=%00",
        "?limit=1",
    ] {
        let reply = door.alice(&format!("GET /v1/AUTH_p{query}"), &[], b"", 0).await;
        assert!(
            ["c\n", ""].contains(&reply.text().as_str()),
            "{query}: {}",
            reply.text()
        );
    }
    let json = door
        .alice("GET /v1/AUTH_p?format=json", &[], b"", 200)
        .await
        .json();
    assert_eq!(json.as_array().unwrap().len(), 1, "{json}");
    door.alice("GET /v1/AUTH_p/%00versions%00c", &[], b"", 412).await;
    // A container goes only with its versions.
    door.alice("DELETE /v1/AUTH_p/c/o", &[], b"", 204).await;
    door.alice("DELETE /v1/AUTH_p/c", &[], b"", 409).await;
    for (_, id, ..) in listed(&door, "").await {
        door.alice(&format!("DELETE /v1/AUTH_p/c/o?version-id={id}"), &[], b"", 204)
            .await;
    }
    door.alice("DELETE /v1/AUTH_p/c", &[], b"", 204).await;
    door.alice("GET /v1/AUTH_p?format=json", &[], b"", 200).await;
}

#[tokio::test]
async fn who_is_let_in_reads_the_current_version_and_no_other() {
    let door = versioned().await;
    let first = put(&door, b"one").await;
    put(&door, b"second").await;
    let read = [
        ("X-Container-Read", "q:mallory,.r:*"),
        ("X-Container-Write", "q:mallory"),
    ];
    door.alice("POST /v1/AUTH_p/c", &read, b"", 204).await;
    for who in [MALLORY, ""] {
        assert_eq!(
            door.call(who, "GET /v1/AUTH_p/c/o", &[], b"").await.text(),
            "second"
        );
    }
    for method in ["GET", "HEAD", "DELETE"] {
        let one = format!("{method} /v1/AUTH_p/c/o?version-id={first}");
        assert_eq!(door.call(MALLORY, &one, &[], b"").await.status, 403, "{method}");
        assert_eq!(door.call("", &one, &[], b"").await.status, 401, "{method}");
    }
    let put = door.call(MALLORY, "PUT /v1/AUTH_p/c/o", &[], b"hers").await;
    assert_eq!(put.status, 201);
    assert_eq!(listed(&door, "").await.len(), 3);
}

#[tokio::test]
async fn metadata_is_set_on_the_current_version_and_expiry_on_the_object_alone() {
    let door = versioned().await;
    let id = put(&door, b"one").await;
    let later = (Door::now() + 1000).to_string();
    let meta = [
        ("X-Object-Meta-Color", "red"),
        ("Content-Type", "a/b"),
        ("X-Delete-At", later.as_str()),
    ];
    door.alice("POST /v1/AUTH_p/c/o", &meta, b"", 202).await;
    door.alice(&format!("POST /v1/AUTH_p/c/o?version-id={id}"), &meta, b"", 400)
        .await;
    for query in [String::new(), format!("?version-id={id}")] {
        let got = door
            .alice(&format!("HEAD /v1/AUTH_p/c/o{query}"), &[], b"", 200)
            .await;
        assert_eq!(got.header("x-object-meta-color"), Some("red"), "{query}");
        assert_eq!(got.header("content-type"), Some("a/b"), "{query}");
        assert_eq!(id_of(&got), id);
    }
    let own = door
        .alice("GET /v1/AUTH_p/c?format=json", &[], b"", 200)
        .await
        .json();
    assert_eq!(own[0]["content_type"], "a/b");
    assert_eq!(listed(&door, "").await, [line(&id, 3, true)]);
}

#[tokio::test]
async fn large_objects_are_put_together_from_current_versions() {
    let door = versioned().await;
    for (name, body) in [("seg/1", "11"), ("seg/2", "22")] {
        door.alice(&format!("PUT /v1/AUTH_p/c/{name}"), &[], b"old", 201)
            .await;
        door.alice(&format!("PUT /v1/AUTH_p/c/{name}"), &[], body.as_bytes(), 201)
            .await;
    }
    let manifest = [("X-Object-Manifest", "c/seg/")];
    door.alice("PUT /v1/AUTH_p/c/o", &manifest, b"", 201).await;
    door.alice(
        "POST /v1/AUTH_p/c",
        &[("X-Container-Read", ".r:*,.rlistings")],
        b"",
        204,
    )
    .await;
    for who in [super::door::ALICE, ""] {
        assert_eq!(
            door.call(who, "GET /v1/AUTH_p/c/o", &[], b"").await.text(),
            "1122",
            "{who}"
        );
    }
    let entries = br#"[{"path":"/c/seg/1"},{"path":"/c/seg/2"}]"#;
    let put = door
        .alice("PUT /v1/AUTH_p/c/slo?multipart-manifest=put", &[], entries, 201)
        .await;
    let id = id_of(&put);
    assert_eq!(
        door.alice("GET /v1/AUTH_p/c/slo", &[], b"", 200).await.text(),
        "1122"
    );
    let own = door
        .alice("GET /v1/AUTH_p/c?format=json&prefix=slo", &[], b"", 200)
        .await
        .json();
    assert_eq!(own[0]["bytes"], 4);
    assert!(own[0]["slo_etag"].is_string());
    door.alice("PUT /v1/AUTH_p/c/slo", &[], b"plain", 201).await;
    let old = door
        .alice(&format!("GET /v1/AUTH_p/c/slo?version-id={id}"), &[], b"", 200)
        .await;
    assert_eq!(old.text(), "1122");
}

#[tokio::test]
async fn the_older_modes_copy_what_is_overwritten() {
    for (header, back) in [("X-Versions-Location", true), ("X-History-Location", false)] {
        let door = Door::open().await;
        door.alice("PUT /v1/AUTH_p/old%20ones", &[], b"", 201).await;
        let location = [(header, "old%20ones")];
        door.alice("PUT /v1/AUTH_p/c", &location, b"", 201).await;
        let head = door.alice("HEAD /v1/AUTH_p/c", &[], b"", 204).await;
        assert_eq!(head.header(&header.to_ascii_lowercase()), Some("old%20ones"));
        door.alice("PUT /v1/AUTH_p/c/o", &[("Content-Type", "a/1")], b"one", 201)
            .await;
        door.alice("PUT /v1/AUTH_p/c/o", &[("Content-Type", "a/2")], b"two", 201)
            .await;
        let kept = door
            .alice("GET /v1/AUTH_p/old%20ones", &[], b"", 200)
            .await
            .text();
        assert!(kept.starts_with("001o/") && kept.lines().count() == 1, "{kept}");
        door.alice("DELETE /v1/AUTH_p/c/o", &[], b"", 204).await;
        let after = door
            .alice("GET /v1/AUTH_p/c/o", &[], b"", if back { 200 } else { 404 })
            .await;
        let kept = door.alice("HEAD /v1/AUTH_p/old%20ones", &[], b"", 204).await;
        let kept = kept.header("x-container-object-count");
        if back {
            assert_eq!(
                (after.text().as_str(), after.header("content-type")),
                ("one", Some("a/1"))
            );
            assert_eq!(kept, Some("0"));
            door.alice("DELETE /v1/AUTH_p/c/o", &[], b"", 204).await;
            door.alice("DELETE /v1/AUTH_p/c/o", &[], b"", 404).await;
        } else {
            assert_eq!(kept, Some("3"), "two copies and a note of the deletion");
        }
        door.alice("POST /v1/AUTH_p/c", &[("X-Versions-Enabled", "true")], b"", 400)
            .await;
        door.alice("POST /v1/AUTH_p/c", &[(header, "")], b"", 204).await;
        door.alice("POST /v1/AUTH_p/c", &[("X-Versions-Enabled", "true")], b"", 204)
            .await;
    }
}

#[tokio::test]
async fn bad_questions_about_versions_are_refused() {
    let door = versioned().await;
    put(&door, b"one").await;
    for (line, status) in [
        ("GET /v1/AUTH_p/c/o?version-id=bad", 400),
        ("PUT /v1/AUTH_p/c/o?version-id=null", 400),
        ("PUT /v1/AUTH_p/c/o?version-id=1234567890.12345", 404),
        ("GET /v1/AUTH_p/c/o?version-id=1234567890.12345", 404),
        ("DELETE /v1/AUTH_p/c/o?version-id=1234567890.12345", 404),
        ("GET /v1/AUTH_p/c?versions&version_marker=1", 400),
        ("GET /v1/AUTH_p/c?versions&marker=a&version_marker=x", 400),
        ("GET /v1/AUTH_p/c?versions&delimiter=1", 400),
        ("GET /v1/AUTH_p/c?versions&format=xml", 406),
        ("GET /v1/AUTH_p/none?versions", 404),
    ] {
        door.alice(line, &[], b"", status).await;
    }
    let both = [("X-Versions-Location", "a"), ("X-History-Location", "b")];
    door.alice("POST /v1/AUTH_p/c", &both, b"", 400).await;
    door.alice("POST /v1/AUTH_p/c", &[("X-Versions-Location", "a")], b"", 400)
        .await;
    door.alice("PUT /v1/AUTH_p/d", &[("X-Versions-Location", "a/b")], b"", 412)
        .await;
}
