//! Uploads in parts.
use super::door::Door;

const MIB: usize = 1024 * 1024;

async fn begin(door: &Door, key: &str, headers: &[(&str, &str)]) -> String {
    let begun = door
        .alice(&format!("POST /bucket/{key}?uploads"), headers, b"", 200)
        .await;
    begun.element("UploadId").unwrap()
}

async fn part(door: &Door, key: &str, id: &str, number: u32, body: &[u8]) -> String {
    let line = format!("PUT /bucket/{key}?partNumber={number}&uploadId={id}");
    let put = door.alice(&line, &[], body, 200).await;
    put.header("etag").unwrap().trim_matches('"').to_owned()
}

fn document(parts: &[(u32, &str)]) -> String {
    let parts: String = parts
        .iter()
        .map(|(number, etag)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>")
        })
        .collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
}

#[tokio::test]
async fn parts_become_one_object_that_both_dialects_read() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let id = begin(
        &door,
        "dir/k",
        &[("x-amz-meta-a", "1"), ("content-type", "text/x")],
    )
    .await;
    let (one, two) = (vec![1u8; 5 * MIB], b"the end".to_vec());
    let first = part(&door, "dir/k", &id, 1, &one).await;
    let last = part(&door, "dir/k", &id, 7, &two).await;
    part(&door, "dir/k", &id, 9, b"not used").await;
    let listed = door
        .alice(
            &format!("GET /bucket/dir/k?uploadId={id}&max-parts=2"),
            &[],
            b"",
            200,
        )
        .await;
    assert_eq!(listed.elements("PartNumber"), ["1", "7"]);
    assert_eq!(listed.element("NextPartNumberMarker").as_deref(), Some("7"));
    let under_way = door
        .alice("GET /bucket?uploads&delimiter=%2F", &[], b"", 200)
        .await;
    assert!(under_way.text().contains("<CommonPrefixes><Prefix>dir/</Prefix>"));
    let under_way = door.alice("GET /bucket?uploads", &[], b"", 200).await;
    assert_eq!(under_way.elements("UploadId"), [id.as_str()]);
    let line = format!("POST /bucket/dir/k?uploadId={id}");
    for (parts, code) in [
        (vec![(7, last.as_str()), (1, first.as_str())], "InvalidPartOrder"),
        (vec![(1, last.as_str())], "InvalidPart"),
        (vec![(2, first.as_str())], "InvalidPart"),
        (vec![(7, last.as_str()), (9, "x")], "EntityTooSmall"),
        (vec![], "MalformedXML"),
    ] {
        let reply = door.alice(&line, &[], document(&parts).as_bytes(), 400).await;
        assert_eq!(reply.code(), code, "{parts:?}");
    }
    let parts = document(&[(1, &first), (7, &last)]);
    let done = door.alice(&line, &[], parts.as_bytes(), 200).await;
    let etag = done.element("ETag").unwrap().replace("&quot;", "\"");
    assert!(etag.ends_with("-2\""), "{etag}");
    // The client did not hear the answer and asks again.
    assert_eq!(
        door.alice(&line, &[], parts.as_bytes(), 200)
            .await
            .elements("ETag")
            .len(),
        1
    );
    let got = door.alice("GET /bucket/dir/k", &[], b"", 200).await;
    assert_eq!(
        (got.body.len(), got.header("etag")),
        (5 * MIB + 7, Some(etag.as_str()))
    );
    assert_eq!(
        (got.header("x-amz-meta-a"), got.header("content-type")),
        (Some("1"), Some("text/x"))
    );
    let tail = door
        .alice(
            "GET /bucket/dir/k",
            &[("range", "bytes=5242879-5242881")],
            b"",
            206,
        )
        .await;
    assert_eq!(tail.body, [1, b't', b'h']);
    let second = door.alice("GET /bucket/dir/k?partNumber=2", &[], b"", 206).await;
    assert_eq!(
        (second.body.as_slice(), second.header("x-amz-mp-parts-count")),
        (&b"the end"[..], Some("2"))
    );
    assert_eq!(
        door.alice("GET /bucket/dir/k?partNumber=3", &[], b"", 416)
            .await
            .code(),
        "InvalidPartNumber"
    );
    let row = door.alice("GET /bucket", &[], b"", 200).await;
    assert_eq!(row.element("Size").as_deref(), Some("5242887"));
    assert!(
        row.text().contains("-2&quot;") || row.text().contains("-2\""),
        "{}",
        row.text()
    );
    let swift = door.swift("GET /v1/AUTH_p/bucket/dir/k", &[], b"", 200).await;
    assert!(swift.body == got.body && swift.header("x-object-meta-a") == Some("1"));
    assert_eq!(
        door.alice("GET /bucket?uploads", &[], b"", 200)
            .await
            .elements("UploadId")
            .len(),
        0
    );
    // Its parts go with it.
    door.alice("DELETE /bucket/dir/k", &[], b"", 204).await;
    let left = door.swift("GET /v1/AUTH_p/bucket+segments", &[], b"", 204).await;
    assert!(left.body.is_empty());
    door.alice("DELETE /bucket", &[], b"", 204).await;
    assert_eq!(door.swift("GET /v1/AUTH_p", &[], b"", 204).await.text(), "");
}

#[tokio::test]
async fn an_upload_that_is_given_up_leaves_nothing() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let id = begin(&door, "k", &[]).await;
    part(&door, "k", &id, 1, b"x").await;
    door.alice(&format!("DELETE /bucket/k?uploadId={id}"), &[], b"", 204)
        .await;
    for line in [
        format!("DELETE /bucket/k?uploadId={id}"),
        format!("GET /bucket/k?uploadId={id}"),
        format!("PUT /bucket/k?partNumber=1&uploadId={id}"),
        "DELETE /bucket/k?uploadId=nonsense".to_owned(),
    ] {
        assert_eq!(
            door.alice(&line, &[], b"", 404).await.code(),
            "NoSuchUpload",
            "{line}"
        );
    }
    let line = format!("PUT /bucket/k?partNumber=10001&uploadId={id}");
    assert_eq!(door.alice(&line, &[], b"x", 400).await.code(), "InvalidArgument");
    assert!(
        door.swift("GET /v1/AUTH_p/bucket+segments", &[], b"", 204)
            .await
            .body
            .is_empty()
    );
}

#[tokio::test]
async fn an_object_that_replaces_one_of_parts_lets_go_of_them() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    for round in 0..2 {
        let id = begin(&door, "k", &[]).await;
        let etag = part(&door, "k", &id, 1, format!("{round}").as_bytes()).await;
        let parts = document(&[(1, &etag)]);
        door.alice(
            &format!("POST /bucket/k?uploadId={id}"),
            &[],
            parts.as_bytes(),
            200,
        )
        .await;
    }
    assert_eq!(door.alice("GET /bucket/k", &[], b"", 200).await.body, b"1");
    let left = door.swift("GET /v1/AUTH_p/bucket+segments", &[], b"", 200).await;
    assert_eq!(left.text().lines().count(), 1);
    door.alice("PUT /bucket/k", &[], b"plain", 200).await;
    assert!(
        door.swift("GET /v1/AUTH_p/bucket+segments", &[], b"", 204)
            .await
            .body
            .is_empty()
    );
}

#[tokio::test]
async fn parts_may_be_copied_and_have_checksums() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket/from", &[], b"0123456789", 200).await;
    let id = begin(&door, "k", &[("x-amz-checksum-algorithm", "CRC32")]).await;
    let line = format!("PUT /bucket/k?partNumber=1&uploadId={id}");
    let source = [
        ("x-amz-copy-source", "/bucket/from"),
        ("x-amz-copy-source-range", "bytes=2-5"),
    ];
    let copied = door.alice(&line, &source, b"", 200).await;
    let (etag, sum) = (
        copied.element("ETag").unwrap().replace("&quot;", ""),
        copied.element("ChecksumCRC32").unwrap(),
    );
    let beyond = [source[0], ("x-amz-copy-source-range", "bytes=2-10")];
    assert_eq!(
        door.alice(&line, &beyond, b"", 400).await.code(),
        "InvalidArgument"
    );
    let etag = etag.trim_matches('"');
    let parts = |sum: &str| {
        format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag><ChecksumCRC32>{sum}</ChecksumCRC32></Part></CompleteMultipartUpload>"
        )
    };
    let line = format!("POST /bucket/k?uploadId={id}");
    assert_eq!(
        door.alice(&line, &[], parts("AAAAAA==").as_bytes(), 400)
            .await
            .code(),
        "InvalidPart"
    );
    let other = [("x-amz-checksum-type", "FULL_OBJECT")];
    let refused = door.alice(&line, &other, parts(&sum).as_bytes(), 400).await;
    assert_eq!(refused.code(), "InvalidRequest", "{}", refused.text());
    let done = door.alice(&line, &[], parts(&sum).as_bytes(), 200).await;
    assert!(done.element("ChecksumCRC32").unwrap().ends_with("-1"));
    assert_eq!(done.element("ChecksumType").as_deref(), Some("COMPOSITE"));
    assert_eq!(door.alice("GET /bucket/k", &[], b"", 200).await.body, b"2345");
    let asked = [("x-amz-object-attributes", "ObjectParts")];
    let told = door.alice("GET /bucket/k?attributes", &asked, b"", 200).await;
    assert_eq!(told.elements("ChecksumCRC32"), [sum], "{}", told.text());
}
