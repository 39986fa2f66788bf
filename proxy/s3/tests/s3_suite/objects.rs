//! Objects: bytes, metadata, ranges, conditions, copies, checksums.
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::door::{ALICE, Door, SECRET};
use super::sign::{self, Request, chunks};

#[tokio::test]
async fn an_object_comes_back_with_its_bytes_metadata_and_etag() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let meta = [
        ("content-type", "text/x"),
        ("x-amz-meta-color", "red"),
        ("cache-control", "no-store"),
        ("content-md5", "CY9rzUYh03PK3k6DJie09g=="),
    ];
    let put = door.alice("PUT /bucket/a%20b/%C3%BC", &meta, b"test", 200).await;
    assert_eq!(put.header("etag"), Some("\"098f6bcd4621d373cade4e832627b4f6\""));
    for method in ["GET", "HEAD"] {
        let got = door
            .alice(&format!("{method} /bucket/a%20b/%C3%BC"), &[], b"", 200)
            .await;
        for (name, value) in [
            ("content-length", "4"),
            ("content-type", "text/x"),
            ("x-amz-meta-color", "red"),
            ("cache-control", "no-store"),
            ("accept-ranges", "bytes"),
            ("etag", "\"098f6bcd4621d373cade4e832627b4f6\""),
        ] {
            assert_eq!(got.header(name), Some(value), "{method} {name}");
        }
        assert!(got.header("last-modified").is_some() && got.header("x-amz-request-id").is_some());
    }
    let got = door
        .alice(
            "GET /bucket/a%20b/%C3%BC?response-content-type=a%2Fb",
            &[],
            b"",
            200,
        )
        .await;
    assert_eq!(
        (got.body.as_slice(), got.header("content-type")),
        (&b"test"[..], Some("a/b"))
    );
    let bad = [("content-md5", "CY9rzUYh03PK3k6DJie09w==")];
    assert_eq!(
        door.alice("PUT /bucket/k", &bad, b"test", 400).await.code(),
        "BadDigest"
    );
    let bad = [("content-md5", "x")];
    assert_eq!(
        door.alice("PUT /bucket/k", &bad, b"test", 400).await.code(),
        "InvalidDigest"
    );
    assert_eq!(
        door.alice("GET /bucket/k", &[], b"", 404).await.code(),
        "NoSuchKey"
    );
    assert_eq!(
        door.alice("PUT /nobody/k", &[], b"x", 404).await.code(),
        "NoSuchBucket"
    );
}

#[tokio::test]
async fn ranges_and_conditions_are_honoured() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket/k", &[], b"0123456789", 200).await;
    for (range, status, bytes) in [
        ("bytes=2-4", 206, &b"234"[..]),
        ("bytes=8-", 206, b"89"),
        ("bytes=-3", 206, b"789"),
        ("bytes=5-100", 206, b"56789"),
    ] {
        let got = door
            .alice("GET /bucket/k", &[("range", range)], b"", status)
            .await;
        assert_eq!(got.body, bytes, "{range}");
        assert!(got.header("content-range").unwrap().ends_with("/10"));
    }
    // Several ranges, or none at all: AWS sends everything.
    for odd in ["bytes=0-1,3-4", "bytes=a-b", "pages=1-2"] {
        let got = door.alice("GET /bucket/k", &[("range", odd)], b"", 200).await;
        assert_eq!(got.body, b"0123456789", "{odd}");
        assert_eq!(got.header("content-range"), None, "{odd}");
    }
    let beyond = door
        .alice("GET /bucket/k", &[("range", "bytes=10-")], b"", 416)
        .await;
    assert_eq!(beyond.code(), "InvalidRange");
    let etag = "\"781e5e245d69b566979b86e28d23f2c7\"";
    for (name, value, status) in [
        ("if-match", etag, 200),
        ("if-match", "\"x\"", 412),
        ("if-none-match", etag, 304),
        ("if-none-match", "\"x\"", 200),
        ("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT", 304),
        ("if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT", 412),
    ] {
        let got = door.alice("GET /bucket/k", &[(name, value)], b"", status).await;
        if status == 304 {
            assert!(got.body.is_empty() && got.header("etag") == Some(etag), "{name}");
        }
    }
}

#[tokio::test]
async fn a_conditional_write_happens_only_if_it_may_and_one_of_many_wins() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let absent = [("if-none-match", "*")];
    let one = |n: usize| {
        let door = &door;
        async move {
            door.call(ALICE, "PUT /bucket/k", &absent, format!("{n}").as_bytes())
                .await
                .status
        }
    };
    let mut all = futures_util::future::join_all((0..8).map(one)).await;
    all.sort_unstable();
    assert_eq!(all, [200, 412, 412, 412, 412, 412, 412, 412]);
    let got = door.alice("GET /bucket/k", &[], b"", 200).await;
    let etag = got.header("etag").unwrap().to_owned();
    door.alice("PUT /bucket/k", &[("if-match", "\"x\"")], b"new", 412)
        .await;
    door.alice("PUT /bucket/k", &[("if-match", &etag)], b"new", 200)
        .await;
    let gone = door
        .alice("PUT /bucket/l", &[("if-match", &etag)], b"new", 404)
        .await;
    assert_eq!(gone.code(), "NoSuchKey");
    door.alice("DELETE /bucket/k", &[("if-match", &etag)], b"", 412)
        .await;
    assert_eq!(door.alice("GET /bucket/k", &[], b"", 200).await.body, b"new");
}

#[tokio::test]
async fn copies_take_metadata_along_or_replace_it() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let meta = [
        ("x-amz-meta-a", "1"),
        ("content-type", "text/x"),
        ("x-amz-tagging", "t=1"),
    ];
    door.alice("PUT /bucket/from", &meta, b"bytes", 200).await;
    let source = ("x-amz-copy-source", "/bucket/from");
    let copied = door.alice("PUT /bucket/to", &[source], b"", 200).await;
    assert!(copied.element("ETag").is_some() && copied.element("LastModified").is_some());
    let got = door.alice("GET /bucket/to", &[], b"", 200).await;
    assert_eq!(
        (got.body.as_slice(), got.header("x-amz-meta-a")),
        (&b"bytes"[..], Some("1"))
    );
    assert_eq!(got.header("x-amz-tagging-count"), Some("1"));
    let replace = [
        source,
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-meta-b", "2"),
    ];
    door.alice("PUT /bucket/to", &replace, b"", 200).await;
    let got = door.alice("HEAD /bucket/to", &[], b"", 200).await;
    assert_eq!(
        (got.header("x-amz-meta-a"), got.header("x-amz-meta-b")),
        (None, Some("2"))
    );
    assert_eq!(
        door.alice("PUT /bucket/from", &[source], b"", 400).await.code(),
        "InvalidRequest"
    );
    let failing = [source, ("x-amz-copy-source-if-match", "\"x\"")];
    assert_eq!(
        door.alice("PUT /bucket/to", &failing, b"", 412).await.code(),
        "PreconditionFailed"
    );
    let missing = [("x-amz-copy-source", "/bucket/nothing")];
    assert_eq!(
        door.alice("PUT /bucket/to", &missing, b"", 404).await.code(),
        "NoSuchKey"
    );
}

#[tokio::test]
async fn a_copy_may_expect_what_it_takes_the_place_of() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket/from", &[], b"new", 200).await;
    let source = ("x-amz-copy-source", "/bucket/from");
    let absent = [source, ("if-none-match", "*")];
    door.alice("PUT /bucket/to", &absent, b"", 200).await;
    let there = door.alice("PUT /bucket/to", &absent, b"", 412).await;
    assert_eq!(there.code(), "PreconditionFailed");
    let old = door.alice("PUT /bucket/to", &[], b"old", 200).await;
    let this = [source, ("if-match", old.header("etag").unwrap())];
    door.alice("PUT /bucket/to", &this, b"", 200).await;
    let other = door.alice("PUT /bucket/to", &this, b"", 412).await;
    assert_eq!(other.code(), "PreconditionFailed");
    let gone = door.alice("PUT /bucket/nothing", &this, b"", 404).await;
    assert_eq!(gone.code(), "NoSuchKey");
    assert_eq!(door.alice("GET /bucket/to", &[], b"", 200).await.body, b"new");
}

#[tokio::test]
async fn metadata_that_is_not_ascii_is_an_encoded_word_here_and_text_for_swift() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let meta = [("x-amz-meta-greeting", "\u{4f60}\u{597d}")];
    door.alice("PUT /bucket/k", &meta, b"x", 200).await;
    for line in ["GET /bucket/k", "HEAD /bucket/k"] {
        let got = door.alice(line, &[], b"", 200).await;
        assert_eq!(got.header("x-amz-meta-greeting"), Some("=?UTF-8?B?5L2g5aW9?="));
    }
    let swift = door.swift("HEAD /v1/AUTH_p/bucket/k", &[], b"", 200).await;
    assert_eq!(swift.header("x-object-meta-greeting"), Some("\u{4f60}\u{597d}"));
}

#[tokio::test]
async fn several_objects_go_at_once_and_what_is_wrong_is_said_of_each() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    for key in ["a", "b"] {
        door.alice(&format!("PUT /bucket/{key}"), &[], b"x", 200).await;
    }
    let long = "k".repeat(1025);
    let body = format!(
        "<Delete><Object><Key>a</Key></Object><Object><Key>nothing</Key></Object><Object><Key>{long}</Key></Object></Delete>"
    );
    let done = door.alice("POST /bucket?delete", &[], body.as_bytes(), 200).await;
    assert_eq!(done.elements("Deleted").len(), 2);
    assert_eq!(done.elements("Code"), ["KeyTooLongError"]);
    let quiet = b"<Delete><Quiet>true</Quiet><Object><Key>b</Key></Object></Delete>";
    let done = door.alice("POST /bucket?delete", &[], quiet, 200).await;
    assert!(done.elements("Deleted").is_empty());
    assert!(
        door.alice("GET /bucket", &[], b"", 200)
            .await
            .elements("Key")
            .is_empty()
    );
}

#[tokio::test]
async fn checksums_are_compared_kept_and_shown() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let good = [("x-amz-checksum-crc32", "y/Q5Jg==")];
    let put = door.alice("PUT /bucket/k", &good, b"123456789", 200).await;
    assert_eq!(put.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));
    let bad = [("x-amz-checksum-crc32", "AAAAAA==")];
    assert_eq!(
        door.alice("PUT /bucket/l", &bad, b"123456789", 400).await.code(),
        "BadDigest"
    );
    door.alice("HEAD /bucket/l", &[], b"", 404).await;
    let shown = door
        .alice("HEAD /bucket/k", &[("x-amz-checksum-mode", "ENABLED")], b"", 200)
        .await;
    assert_eq!(shown.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));
    assert_eq!(shown.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
    assert_eq!(
        door.alice("HEAD /bucket/k", &[], b"", 200)
            .await
            .header("x-amz-checksum-crc32"),
        None
    );
    let asked = [("x-amz-object-attributes", "ETag,Checksum,ObjectSize,StorageClass")];
    let attributes = door.alice("GET /bucket/k?attributes", &asked, b"", 200).await;
    assert_eq!(attributes.element("ChecksumCRC32").as_deref(), Some("y/Q5Jg=="));
    assert_eq!(attributes.element("ObjectSize").as_deref(), Some("9"));
}

/// A body in chunks, as SDKs send it over plain connections.
fn in_chunks<'a>(door: &Door, target: &'a str, body: &[u8]) -> (Request<'a>, Vec<u8>) {
    let mut request = Request {
        method: "PUT",
        target,
        headers: vec![
            ("content-encoding".into(), "aws-chunked".into()),
            ("x-amz-decoded-content-length".into(), body.len().to_string()),
        ],
        payload: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".into(),
        at: sign::now(),
    };
    let seed = request.sign(ALICE, SECRET, &door.host());
    let sent = chunks(body, 70_000, &seed, SECRET, request.at);
    (request, sent)
}

#[tokio::test]
async fn a_body_in_signed_chunks_is_stored_and_a_changed_one_is_not() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let body: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    let (request, mut sent) = in_chunks(&door, "/bucket/k", &body);
    let put = door.send("PUT /bucket/k", &request.headers, &sent).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let got = door.alice("GET /bucket/k", &[], b"", 200).await;
    assert!(got.body == body && got.header("content-encoding").is_none());
    let last = sent.len() / 2;
    sent[last] ^= 1;
    let put = door
        .send(
            "PUT /bucket/l",
            &in_chunks(&door, "/bucket/l", &body).0.headers,
            &sent,
        )
        .await;
    assert_eq!((put.status, put.code().as_str()), (403, "SignatureDoesNotMatch"));
    door.alice("HEAD /bucket/l", &[], b"", 404).await;
}

#[tokio::test]
async fn a_checksum_may_come_behind_the_body() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    for (sum, status) in [("y/Q5Jg==", 200), ("AAAAAA==", 400)] {
        let mut request = Request {
            method: "PUT",
            target: "/bucket/k",
            headers: vec![
                ("x-amz-decoded-content-length".into(), "9".into()),
                ("x-amz-trailer".into(), "x-amz-checksum-crc32".into()),
            ],
            payload: "STREAMING-UNSIGNED-PAYLOAD-TRAILER".into(),
            at: sign::now(),
        };
        request.sign(ALICE, SECRET, &door.host());
        let body = format!("9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:{sum}\r\n\r\n");
        let put = door
            .send("PUT /bucket/k", &request.headers, body.as_bytes())
            .await;
        assert_eq!(put.status, status, "{}", put.text());
        let shown = door
            .alice("HEAD /bucket/k", &[("x-amz-checksum-mode", "ENABLED")], b"", 200)
            .await;
        assert_eq!(shown.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));
    }
}

#[tokio::test]
async fn a_presigned_url_is_good_for_its_time_and_its_request() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let signed = |method, at: u64| {
        let mut request = Request {
            method,
            target: "/bucket/k",
            headers: Vec::new(),
            payload: String::new(),
            at,
        };
        request.presign(ALICE, SECRET, &door.host(), 60)
    };
    let put = door
        .send(&format!("PUT {}", signed("PUT", sign::now())), &[], b"bytes")
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    let get = signed("GET", sign::now());
    assert_eq!(door.send(&format!("GET {get}"), &[], b"").await.body, b"bytes");
    let other = door.send(&format!("DELETE {get}"), &[], b"").await;
    assert_eq!(
        (other.status, other.code().as_str()),
        (403, "SignatureDoesNotMatch")
    );
    let late = door
        .send(&format!("GET {}", signed("GET", sign::now() - 100)), &[], b"")
        .await;
    assert_eq!((late.status, late.code().as_str()), (403, "AccessDenied"));
    assert_eq!(late.element("Message").as_deref(), Some("Request has expired"));
}

#[tokio::test]
async fn tags_of_an_object_are_kept_beside_its_metadata() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice(
        "PUT /bucket/k",
        &[("x-amz-meta-a", "1"), ("x-amz-tagging", "a=b")],
        b"x",
        200,
    )
    .await;
    let tags = b"<Tagging><TagSet><Tag><Key>c</Key><Value>d</Value></Tag></TagSet></Tagging>";
    door.alice("PUT /bucket/k?tagging", &[], tags, 200).await;
    let shown = door.alice("GET /bucket/k?tagging", &[], b"", 200).await;
    assert_eq!(shown.elements("Key"), ["c"]);
    assert_eq!(
        door.alice("HEAD /bucket/k", &[], b"", 200)
            .await
            .header("x-amz-meta-a"),
        Some("1")
    );
    door.alice("DELETE /bucket/k?tagging", &[], b"", 204).await;
    assert!(
        door.alice("GET /bucket/k?tagging", &[], b"", 200)
            .await
            .elements("Key")
            .is_empty()
    );
}

#[tokio::test]
async fn names_of_user_metadata_come_back_in_small_letters() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket/k", &[("x-amz-meta-colour", "red")], b"", 200)
        .await;
    let mut request = Request {
        method: "GET",
        target: "/bucket/k",
        headers: Vec::new(),
        payload: String::new(),
        at: sign::now(),
    };
    let target = request.presign(ALICE, SECRET, &door.host(), 60);
    let mut stream = tokio::net::TcpStream::connect(door.address).await.unwrap();
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        door.host()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\r\nx-amz-meta-colour: red\r\n"), "{answer}");
}

#[tokio::test]
async fn what_a_client_asks_to_see_in_headers_is_shown_to_head_as_to_get() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let kept = [("cache-control", "no-store"), ("content-disposition", "inline")];
    door.alice("PUT /bucket/k", &kept, b"x", 200).await;
    for method in ["GET", "HEAD"] {
        let line = format!(
            "{method} /bucket/k?response-content-disposition=attachment%3B%20filename%3D%22a%20b%22\
             &response-content-type=text%2Fplain&response-x-amz-meta-a=1"
        );
        let shown = door.alice(&line, &[], b"", 200).await;
        for (name, value) in [
            ("content-disposition", Some("attachment; filename=\"a b\"")),
            ("content-type", Some("text/plain")),
            ("cache-control", Some("no-store")),
            ("x-amz-meta-a", None),
        ] {
            assert_eq!(shown.header(name), value, "{method} {name}");
        }
    }
}

#[tokio::test]
async fn attributes_are_those_of_aws_and_etags_among_them_are_bare() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let etag = door.alice("PUT /bucket/k", &[], b"x", 200).await;
    let etag = etag.header("etag").unwrap().trim_matches('"').to_owned();
    for (asked, status, code) in [
        ("ETag", 200, ""),
        ("ETag, ObjectSize", 200, ""),
        ("ETag,Colour", 400, "InvalidArgument"),
        (" , ", 400, "InvalidRequest"),
    ] {
        let asked = [("x-amz-object-attributes", asked)];
        let reply = door.alice("GET /bucket/k?attributes", &asked, b"", status).await;
        match status {
            200 => assert_eq!(reply.element("ETag").as_ref(), Some(&etag)),
            _ => assert_eq!(reply.code(), code, "{asked:?}"),
        }
    }
}

#[tokio::test]
async fn carriage_returns_in_keys_outlive_documents() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket/a%0D%0Ab", &[], b"x", 200).await;
    let listed = door.alice("GET /bucket?list-type=2", &[], b"", 200).await;
    assert_eq!(listed.elements("Key"), ["a&#13;\nb"]);
    let gone = b"<Delete><Object><Key>a&#13;&#10;b</Key></Object></Delete>";
    let gone = door.alice("POST /bucket?delete", &[], gone, 200).await;
    assert_eq!(gone.elements("Key"), ["a&#13;\nb"]);
    door.alice("HEAD /bucket/a%0D%0Ab", &[], b"", 404).await;
}
