//! One object, two dialects.
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::door::{ALICE, Door, RESELLER, SECRET, TOKEN};
use super::sign::{self, Request};

/// Sends the head of a HEAD, and reads that of the answer as it comes.
async fn head(stream: &mut TcpStream, target: &str, headers: &[(String, String)]) -> String {
    let mut asks = format!("HEAD {target} HTTP/1.1\r\n");
    for (name, value) in headers {
        asks.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{asks}\r\n").as_bytes()).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        said.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn each_dialect_writes_names_of_headers_in_its_own_letters_on_one_connection_too() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice(
        "PUT /bucket/key",
        &[("x-amz-meta-two-words", "x-y")],
        b"four",
        200,
    )
    .await;
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    for _ in 0..2 {
        let swift = [("Host", door.host()), ("X-Auth-Token", TOKEN.to_owned())];
        let swift = swift.map(|(name, value)| (name.to_owned(), value));
        let said = head(&mut stream, "/v1/AUTH_p/bucket/key", &swift).await;
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
        for line in [
            "X-Object-Meta-Two-Words: x-y\r\n",
            "Content-Length: 4\r\n",
            "\r\nX-Trans-Id: tx",
        ] {
            assert!(said.contains(line), "{line:?} in {said}");
        }
        let mut request = Request {
            method: "HEAD",
            target: "/bucket/key",
            headers: Vec::new(),
            payload: sign::sha256(b""),
            at: sign::now(),
        };
        request.sign(ALICE, SECRET, &door.host());
        let mut signed = vec![("host".to_owned(), door.host())];
        signed.extend(request.headers);
        let said = head(&mut stream, "/bucket/key", &signed).await;
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
        assert!(said.contains("\r\nx-amz-meta-two-words: x-y\r\n"), "{said}");
    }
}

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

#[tokio::test]
async fn versions_are_the_same_in_both_dialects() {
    let door = Door::open().await;
    let on = [("X-Versions-Enabled", "true")];
    door.swift("PUT /v1/AUTH_p/bucket", &on, b"", 201).await;
    let status = door.alice("GET /bucket?versioning", &[], b"", 200).await;
    assert_eq!(status.element("Status").as_deref(), Some("Enabled"));
    let by_swift = door
        .swift(
            "PUT /v1/AUTH_p/bucket/k",
            &[("X-Object-Meta-A", "1")],
            b"swift",
            201,
        )
        .await;
    let by_swift = by_swift.header("x-object-version-id").unwrap().to_owned();
    let got = door.alice("GET /bucket/k", &[], b"", 200).await;
    assert_eq!(
        (got.text().as_str(), got.header("x-amz-meta-a")),
        ("swift", Some("1"))
    );
    assert_eq!(got.header("x-amz-version-id"), Some(by_swift.as_str()));
    let row = door.alice("GET /bucket", &[], b"", 200).await;
    assert_eq!(row.element("Size").as_deref(), Some("5"));
    let etag = row.element("ETag").unwrap();
    assert!(etag.contains("818056dbd7e201243206b9c7cd88481c"), "{etag}");
    let by_s3 = door.alice("PUT /bucket/k", &[], b"from s3", 200).await;
    let by_s3 = by_s3.header("x-amz-version-id").unwrap().to_owned();
    let marker = door.alice("DELETE /bucket/k", &[], b"", 204).await;
    let marker = marker.header("x-amz-version-id").unwrap().to_owned();
    let all = door
        .swift("GET /v1/AUTH_p/bucket?versions&format=json", &[], b"", 200)
        .await;
    let all: serde_json::Value = serde_json::from_slice(&all.body).unwrap();
    let ids: Vec<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["version_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [&marker, &by_s3, &by_swift]);
    let shown = door.alice("GET /bucket?versions", &[], b"", 200).await;
    let mut shown = shown.elements("VersionId");
    shown.sort_unstable();
    assert_eq!(shown, [&by_swift, &by_s3, &marker].map(String::clone));
    // What one dialect brings back, the other reads.
    let line = format!("PUT /v1/AUTH_p/bucket/k?version-id={by_swift}");
    door.swift(&line, &[], b"", 201).await;
    let got = door.alice("GET /bucket/k", &[], b"", 200).await;
    assert_eq!(got.header("x-amz-version-id"), Some(by_swift.as_str()));
    door.alice(&format!("DELETE /bucket/k?versionId={by_swift}"), &[], b"", 204)
        .await;
    door.alice(&format!("DELETE /bucket/k?versionId={marker}"), &[], b"", 204)
        .await;
    let got = door.swift("GET /v1/AUTH_p/bucket/k", &[], b"", 200).await;
    assert_eq!(
        (got.text().as_str(), got.header("x-object-version-id")),
        ("from s3", Some(by_s3.as_str()))
    );
    // Tags of a version outlive a change of its metadata by Swift.
    let tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    door.alice("PUT /bucket/k?tagging", &[], tags, 200).await;
    door.swift("POST /v1/AUTH_p/bucket/k", &[("X-Object-Meta-B", "2")], b"", 202)
        .await;
    let head = door.alice("HEAD /bucket/k", &[], b"", 200).await;
    assert_eq!(
        (head.header("x-amz-meta-b"), head.header("x-amz-tagging-count")),
        (Some("2"), Some("1"))
    );
    // Deleted by Swift without an id: both see that, and S3 shows the mark.
    door.swift("DELETE /v1/AUTH_p/bucket/k", &[], b"", 204).await;
    let gone = door.alice("GET /bucket/k", &[], b"", 404).await;
    assert_eq!(gone.header("x-amz-delete-marker"), Some("true"));
}

#[tokio::test]
async fn a_large_object_of_one_dialect_has_versions_in_both() {
    let door = Door::open().await;
    let on = [("X-Versions-Enabled", "true")];
    door.swift("PUT /v1/AUTH_p/bucket", &on, b"", 201).await;
    door.swift("PUT /v1/AUTH_p/parts", &[], b"", 201).await;
    door.swift("PUT /v1/AUTH_p/parts/1", &[], b"of parts", 201).await;
    let manifest = br#"[{"path": "/parts/1"}]"#;
    door.swift(
        "PUT /v1/AUTH_p/bucket/slo?multipart-manifest=put",
        &[],
        manifest,
        201,
    )
    .await;
    let got = door
        .alice("GET /bucket/slo", &[("range", "bytes=3-7")], b"", 206)
        .await;
    assert_eq!(
        (got.text().as_str(), got.header("content-range")),
        ("parts", Some("bytes 3-7/8"))
    );
    let id = got.header("x-amz-version-id").unwrap().to_owned();
    let row = door.alice("GET /bucket?versions", &[], b"", 200).await;
    assert_eq!(
        (row.element("Size").as_deref(), row.element("VersionId")),
        (Some("8"), Some(id))
    );
    let begun = door.alice("POST /bucket/mpu?uploads", &[], b"", 200).await;
    let upload = begun.element("UploadId").unwrap();
    let line = format!("PUT /bucket/mpu?partNumber=1&uploadId={upload}");
    let part = door.alice(&line, &[], b"by s3", 200).await;
    let document = format!(
        "<CompleteMultipartUpload><Part><ETag>{}</ETag><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
        part.header("etag").unwrap()
    );
    let line = format!("POST /bucket/mpu?uploadId={upload}");
    let done = door.alice(&line, &[], document.as_bytes(), 200).await;
    let id = done.header("x-amz-version-id").unwrap().to_owned();
    assert_eq!(
        done.element("Location"),
        Some(format!("http://{}/bucket/mpu", door.host()))
    );
    let line = format!("GET /v1/AUTH_p/bucket/mpu?version-id={id}");
    assert_eq!(door.swift(&line, &[], b"", 200).await.text(), "by s3");
}

#[tokio::test]
async fn symbolic_links_lead_where_the_reader_may_read() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /other", &[], b"", 200).await;
    let put = door
        .alice("PUT /other/target", &[("x-amz-meta-a", "1")], b"target", 200)
        .await;
    let etag = put.header("etag").unwrap().to_owned();
    let to = ("X-Symlink-Target", "other/target");
    door.swift("PUT /v1/AUTH_p/bucket/dynamic", &[to], b"", 201).await;
    let fixed = ("X-Symlink-Target-Etag", etag.trim_matches('"'));
    door.swift("PUT /v1/AUTH_p/bucket/static", &[to, fixed], b"", 201)
        .await;
    for key in ["dynamic", "static"] {
        for method in ["GET", "HEAD"] {
            let got = door
                .alice(&format!("{method} /bucket/{key}"), &[], b"", 200)
                .await;
            assert_eq!(
                (
                    got.header("content-length"),
                    got.header("etag"),
                    got.header("x-amz-meta-a")
                ),
                (Some("6"), Some(etag.as_str()), Some("1")),
                "{method} {key}"
            );
        }
        let from = format!("/bucket/{key}");
        door.alice("PUT /bucket/copy", &[("x-amz-copy-source", &from)], b"", 200)
            .await;
        assert_eq!(
            door.alice("GET /bucket/copy", &[], b"", 200).await.text(),
            "target"
        );
    }
    let row = door.alice("GET /bucket?prefix=static", &[], b"", 200).await;
    assert_eq!(row.element("Size").as_deref(), Some("6"));
    // A link to another state of its target, and one that leads nowhere.
    door.alice("PUT /other/target", &[], b"changed", 200).await;
    assert_eq!(
        door.alice("GET /bucket/static", &[], b"", 409).await.code(),
        "InvalidObjectState"
    );
    door.alice("DELETE /other/target", &[], b"", 204).await;
    assert_eq!(
        door.alice("GET /bucket/dynamic", &[], b"", 404).await.code(),
        "NoSuchKey"
    );
    // Deleting a link deletes the link.
    door.alice("PUT /other/target", &[], b"again", 200).await;
    door.alice("DELETE /bucket/dynamic", &[], b"", 204).await;
    assert_eq!(
        door.alice("GET /other/target", &[], b"", 200).await.text(),
        "again"
    );
}

#[tokio::test]
async fn copies_that_swift_keeps_of_what_is_overwritten_are_made_for_s3_too() {
    let door = Door::open().await;
    door.swift("PUT /v1/AUTH_p/old", &[], b"", 201).await;
    door.swift(
        "PUT /v1/AUTH_p/bucket",
        &[("X-Versions-Location", "old")],
        b"",
        201,
    )
    .await;
    door.alice("PUT /bucket/k", &[], b"one", 200).await;
    door.alice("PUT /bucket/k", &[], b"two", 200).await;
    let kept = door.swift("GET /v1/AUTH_p/old", &[], b"", 200).await;
    assert_eq!(kept.text().lines().count(), 1);
    door.alice("DELETE /bucket/k", &[], b"", 204).await;
    assert_eq!(door.alice("GET /bucket/k", &[], b"", 200).await.text(), "one");
    door.alice("DELETE /bucket/k", &[], b"", 204).await;
    door.alice("GET /bucket/k", &[], b"", 404).await;
}

#[tokio::test]
async fn quotas_count_in_both_dialects() {
    let door = Door::open().await;
    let quota = [
        ("X-Container-Meta-Quota-Bytes", "10"),
        ("X-Container-Meta-Quota-Count", "2"),
    ];
    door.swift("PUT /v1/AUTH_p/bucket", &quota, b"", 201).await;
    let refused = door.alice("PUT /bucket/a", &[], b"01234567890", 400).await;
    assert_eq!(refused.code(), "EntityTooLarge");
    door.alice("PUT /bucket/a", &[], b"0123456789", 200).await;
    door.alice("PUT /bucket/b", &[], b"", 200).await;
    let copy = [("x-amz-copy-source", "/bucket/b")];
    let refused = door.alice("PUT /bucket/c", &copy, b"", 400).await;
    assert_eq!(refused.code(), "EntityTooLarge", "one object too many");

    door.alice("PUT /other", &[], b"", 200).await;
    let begun = door.alice("POST /other/k?uploads", &[], b"", 200).await;
    let id = begun.element("UploadId").unwrap();
    let headers = [("X-Auth-Token", RESELLER), ("X-Account-Quota-Bytes", "15")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let set = door.send("POST /v1/AUTH_p", &headers, b"").await;
    assert_eq!(set.status, 204, "{}", set.text());
    let part = format!("PUT /other/k?partNumber=1&uploadId={id}");
    let refused = door.alice(&part, &[], &[0; 16], 400).await;
    assert_eq!(refused.code(), "EntityTooLarge");
    door.alice(&part, &[], b"0", 200).await;
    let reseller = "as-p-ResellerAdmin";
    for (line, status) in [
        (part.as_str(), 200),
        ("PUT /other/large", 200),
        ("PUT /bucket/c", 400),
    ] {
        let put = door.call(reseller, line, &[], &[0; 16]).await;
        assert_eq!(
            put.status, status,
            "an account's quota does not bind a reseller: {line}"
        );
    }
}
