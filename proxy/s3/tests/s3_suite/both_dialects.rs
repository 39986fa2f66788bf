//! One object, two dialects.
use super::door::Door;

#[tokio::test]
async fn what_one_dialect_writes_the_other_reads_with_its_metadata() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let meta = [
        ("x-amz-meta-a", "1"),
        ("content-type", "text/x"),
        ("x-amz-tagging", "t=1"),
    ];
    door.alice("PUT /bucket/s3", &meta, b"from s3", 200).await;
    let got = door.swift("GET /v1/AUTH_p/bucket/s3", &[], b"", 200).await;
    assert_eq!(
        (got.body.as_slice(), got.header("x-object-meta-a")),
        (&b"from s3"[..], Some("1"))
    );
    assert!(
        !got.headers.iter().any(|(name, _)| name.contains("sysmeta")),
        "{:?}",
        got.headers
    );
    door.swift("POST /v1/AUTH_p/bucket/s3", &[("X-Object-Meta-B", "2")], b"", 202)
        .await;
    let got = door.alice("HEAD /bucket/s3", &[], b"", 200).await;
    assert_eq!(
        (got.header("x-amz-meta-a"), got.header("x-amz-meta-b")),
        (None, Some("2"))
    );
    assert_eq!(got.header("x-amz-tagging-count"), Some("1"));
    door.swift(
        "PUT /v1/AUTH_p/bucket/swift",
        &[("X-Object-Meta-C", "3")],
        b"from swift",
        201,
    )
    .await;
    let got = door.alice("GET /bucket/swift", &[], b"", 200).await;
    assert_eq!(
        (got.body.as_slice(), got.header("x-amz-meta-c")),
        (&b"from swift"[..], Some("3"))
    );
    assert_eq!(
        door.alice("GET /bucket", &[], b"", 200).await.elements("Key"),
        ["s3", "swift"]
    );
}

#[tokio::test]
async fn large_objects_of_the_other_dialect_are_read_as_one() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    for (name, body) in [("1", "one "), ("2", "two")] {
        door.swift(
            &format!("PUT /v1/AUTH_p/bucket/seg/{name}"),
            &[],
            body.as_bytes(),
            201,
        )
        .await;
    }
    let manifest = br#"[{"path": "/bucket/seg/1"}, {"path": "/bucket/seg/2"}]"#;
    door.swift(
        "PUT /v1/AUTH_p/bucket/slo?multipart-manifest=put",
        &[],
        manifest,
        201,
    )
    .await;
    door.swift(
        "PUT /v1/AUTH_p/bucket/dlo",
        &[("X-Object-Manifest", "bucket/seg/")],
        b"",
        201,
    )
    .await;
    for key in ["slo", "dlo"] {
        let got = door.alice(&format!("GET /bucket/{key}"), &[], b"", 200).await;
        assert_eq!(
            (got.text().as_str(), got.header("content-length")),
            ("one two", Some("7")),
            "{key}"
        );
        let etag = got.header("etag").unwrap();
        assert!(etag.contains('-'), "{key}: {etag}");
        let part = door
            .alice(&format!("GET /bucket/{key}"), &[("range", "bytes=3-4")], b"", 206)
            .await;
        assert_eq!(part.text(), " t");
    }
    let row = door.alice("GET /bucket?prefix=slo", &[], b"", 200).await;
    assert_eq!(row.element("Size").as_deref(), Some("7"));
    // A copy is one object, whatever its source was made of.
    door.alice(
        "PUT /bucket/copy",
        &[("x-amz-copy-source", "/bucket/slo")],
        b"",
        200,
    )
    .await;
    door.alice("DELETE /bucket/seg/1", &[], b"", 204).await;
    assert_eq!(
        door.alice("GET /bucket/copy", &[], b"", 200).await.text(),
        "one two"
    );
}

#[tokio::test]
async fn requests_of_each_dialect_find_their_way() {
    let door = Door::open().await;
    for (line, status) in [
        ("GET /healthcheck", 200),
        ("GET /info", 200),
        ("GET /v1/AUTH_p", 401),
        ("GET /bucket/key", 403),
        ("PUT /bucket", 403),
    ] {
        let reply = door.send(line, &[], b"").await;
        assert_eq!(reply.status, status, "{line}");
        if status == 403 {
            assert_eq!(reply.code(), "AccessDenied", "{line}");
        }
    }
}
