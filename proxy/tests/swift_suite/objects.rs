//! Objects in and out.
use super::door::Door;

async fn with_container() -> Door {
    let door = Door::open().await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    door
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

#[tokio::test]
async fn an_object_comes_back_as_it_was_put() {
    let door = with_container().await;
    let headers = [
        ("Content-Type", "text/plain; charset=x"),
        ("X-Object-Meta-Color", "bl\u{e5}"),
        ("Content-Encoding", "gzip"),
        ("Content-Disposition", "attachment"),
        ("Cache-Control", "no-store"),
        ("X-Object-Sysmeta-Evil", "1"),
        ("X-Timestamp", "1.0"),
    ];
    let put = door
        .alice("PUT /v1/AUTH_p/c/a%20b/%C3%BC", &headers, b"hello", 201)
        .await;
    assert_eq!(put.header("etag"), Some("5d41402abc4b2a76b9719d911017c592"));
    for method in ["GET", "HEAD"] {
        let got = door
            .alice(&format!("{method} /v1/AUTH_p/c/a%20b/%C3%BC"), &[], b"", 200)
            .await;
        assert_eq!(got.body, if method == "GET" { &b"hello"[..] } else { b"" });
        for (name, value) in headers[..5]
            .iter()
            .chain(&[("Content-Length", "5"), ("Accept-Ranges", "bytes")])
        {
            assert_eq!(got.header(&name.to_lowercase()), Some(*value), "{name}");
        }
        assert_eq!(got.header("etag"), put.header("etag"));
        assert_eq!(got.header("last-modified"), put.header("last-modified"));
        assert!(got.header("x-timestamp").unwrap() > "1000000000");
        assert_eq!(got.header("x-object-sysmeta-evil"), None);
    }
}

#[tokio::test]
async fn a_large_body_streams_in_chunks_and_out_whole_and_in_parts() {
    let door = with_container().await;
    let body = bytes(3_500_000);
    let mut chunked = Vec::new();
    for piece in body.chunks(100_003) {
        chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    door.alice(
        "PUT /v1/AUTH_p/c/o",
        &[("Transfer-Encoding", "chunked")],
        &chunked,
        201,
    )
    .await;
    assert!(door.alice("GET /v1/AUTH_p/c/o", &[], b"", 200).await.body == body);
    for (range, span) in [
        ("bytes=0-9", 0..10),
        ("bytes=1048570-2097160", 1_048_570..2_097_161),
        ("bytes=-7", 3_499_993..3_500_000),
        ("bytes=3499999-", 3_499_999..3_500_000),
    ] {
        let got = door
            .alice("GET /v1/AUTH_p/c/o", &[("Range", range)], b"", 206)
            .await;
        assert!(got.body == body[span.clone()], "{range}");
        let expected = format!("bytes {}-{}/3500000", span.start, span.end - 1);
        assert_eq!(got.header("content-range"), Some(expected.as_str()));
    }
    let got = door
        .alice("GET /v1/AUTH_p/c/o", &[("Range", "bytes=3500000-")], b"", 416)
        .await;
    assert_eq!(got.header("content-range"), Some("bytes */3500000"));
    assert!(
        door.alice("GET /v1/AUTH_p/c/o", &[("Range", "lines=1-2")], b"", 200)
            .await
            .body
            == body
    );
}

#[tokio::test]
async fn several_ranges_come_as_one_multipart_body_of_the_promised_length() {
    let door = with_container().await;
    let body = bytes(300_000);
    door.alice("PUT /v1/AUTH_p/c/o", &[("Content-Type", "a/b; c=d")], &body, 201)
        .await;
    let range = [("Range", "bytes=0-4,200000-200002,-2")];
    let got = door.alice("GET /v1/AUTH_p/c/o", &range, b"", 206).await;
    let kind = got.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges;boundary=").unwrap();
    let mut expected = Vec::new();
    for (start, end) in [(0, 5), (200_000, 200_003), (299_998, 300_000)] {
        let head = format!(
            "--{boundary}\r\nContent-Type: a/b; c=d\r\nContent-Range: bytes {start}-{}/300000\r\n\r\n",
            end - 1
        );
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(&body[start..end]);
        expected.extend_from_slice(b"\r\n");
    }
    expected.extend_from_slice(format!("--{boundary}--").as_bytes());
    assert!(got.body == expected);
    assert_eq!(
        got.header("content-length"),
        Some(expected.len().to_string().as_str())
    );
    assert_eq!(got.header("content-range"), None);
}

#[tokio::test]
async fn conditions_are_judged_on_reading_and_writing() {
    let door = with_container().await;
    door.alice("PUT /v1/AUTH_p/c/o", &[("If-None-Match", "*")], b"hello", 201)
        .await;
    door.alice("PUT /v1/AUTH_p/c/o", &[("If-None-Match", "*")], b"again", 412)
        .await;
    door.alice("PUT /v1/AUTH_p/c/o", &[("If-None-Match", "abc")], b"again", 400)
        .await;
    let etag = "\"5d41402abc4b2a76b9719d911017c592\"";
    for (name, value, status) in [
        ("If-Match", etag, 200),
        ("If-Match", "\"other\"", 412),
        ("If-None-Match", etag, 304),
        ("If-None-Match", "\"other\"", 200),
        ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT", 200),
        ("If-Modified-Since", "Fri, 06 Nov 2099 08:49:37 GMT", 304),
        ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT", 412),
    ] {
        for method in ["GET", "HEAD"] {
            let got = door
                .alice(&format!("{method} /v1/AUTH_p/c/o"), &[(name, value)], b"", status)
                .await;
            assert_eq!(
                got.header("etag"),
                Some(etag.trim_matches('"')),
                "{name}: {value}"
            );
        }
    }
    door.alice("GET /v1/AUTH_p/c/none", &[("If-Match", "*")], b"", 412)
        .await;
    assert_eq!(
        door.alice("GET /v1/AUTH_p/c/o", &[], b"", 200).await.body,
        b"hello"
    );
}

#[tokio::test]
async fn a_post_replaces_metadata_and_keeps_what_it_does_not_own() {
    let door = with_container().await;
    let headers = [
        ("Content-Type", "a/b"),
        ("X-Object-Meta-A", "1"),
        ("Content-Encoding", "gzip"),
    ];
    door.alice("PUT /v1/AUTH_p/c/o", &headers, b"x", 201).await;
    door.alice("POST /v1/AUTH_p/c/o", &[("X-Object-Meta-B", "2")], b"", 202)
        .await;
    let got = door.alice("HEAD /v1/AUTH_p/c/o", &[], b"", 200).await;
    assert_eq!(got.header("content-type"), Some("a/b"));
    assert_eq!(got.header("x-object-meta-b"), Some("2"));
    assert_eq!(
        (got.header("x-object-meta-a"), got.header("content-encoding")),
        (None, None)
    );
    door.alice("POST /v1/AUTH_p/c/o", &[("Content-Type", "c/d")], b"", 202)
        .await;
    let listed = door
        .alice("GET /v1/AUTH_p/c?format=json", &[], b"", 200)
        .await
        .json();
    assert_eq!(listed[0]["content_type"], "c/d");
    door.alice("POST /v1/AUTH_p/c/none", &[], b"", 404).await;
}

#[tokio::test]
async fn types_are_guessed_when_none_is_given_or_it_is_asked_for() {
    let door = with_container().await;
    for (name, headers, expected) in [
        ("a.wav", vec![], "audio/x-wav"),
        ("b", vec![], "application/octet-stream"),
        (
            "c.txt",
            vec![("Content-Type", "x/y"), ("X-Detect-Content-Type", "true")],
            "text/plain",
        ),
    ] {
        door.alice(&format!("PUT /v1/AUTH_p/c/{name}"), &headers, b"x", 201)
            .await;
        let got = door
            .alice(&format!("HEAD /v1/AUTH_p/c/{name}"), &[], b"", 200)
            .await;
        assert_eq!(got.header("content-type"), Some(expected), "{name}");
    }
}

#[tokio::test]
async fn an_object_is_gone_when_its_time_is_over() {
    let door = with_container().await;
    let at = (Door::now() + 1).to_string();
    door.alice("PUT /v1/AUTH_p/c/o", &[("X-Delete-At", &at)], b"x", 201)
        .await;
    let begun = std::time::Instant::now();
    let mut seen = 0;
    loop {
        let got = door
            .call(super::door::ALICE, "GET /v1/AUTH_p/c/o", &[], b"")
            .await;
        match got.status {
            200 => assert_eq!(got.header("x-delete-at"), Some(at.as_str())),
            404 => break,
            other => panic!("{other}"),
        }
        seen += 1;
        assert!(begun.elapsed().as_secs() < 10, "still there after {seen} looks");
        tokio::task::yield_now().await;
    }
    door.alice("POST /v1/AUTH_p/c/o", &[], b"", 404).await;
    door.alice("PUT /v1/AUTH_p/c/o", &[("X-Delete-After", "-1")], b"x", 400)
        .await;
    door.alice("PUT /v1/AUTH_p/c/o", &[("X-Delete-At", "1")], b"x", 400)
        .await;
}

#[tokio::test]
async fn copies_take_bytes_and_metadata_along() {
    let door = with_container().await;
    door.alice("PUT /v1/AUTH_p/d", &[], b"", 201).await;
    let headers = [
        ("Content-Type", "a/b"),
        ("X-Object-Meta-A", "1"),
        ("Content-Encoding", "gzip"),
    ];
    door.alice("PUT /v1/AUTH_p/c/s%20o", &headers, b"0123456789", 201)
        .await;
    let copy = [("Destination", "/d/o1"), ("X-Object-Meta-B", "2")];
    let made = door.alice("COPY /v1/AUTH_p/c/s%20o", &copy, b"", 201).await;
    assert_eq!(made.header("x-copied-from"), Some("c/s%20o"));
    assert_eq!(made.header("x-copied-from-account"), Some("AUTH_p"));
    let got = door.alice("GET /v1/AUTH_p/d/o1", &[], b"", 200).await;
    assert_eq!(got.body, b"0123456789");
    for (name, value) in [
        ("content-type", "a/b"),
        ("x-object-meta-a", "1"),
        ("x-object-meta-b", "2"),
        ("content-encoding", "gzip"),
    ] {
        assert_eq!(got.header(name), Some(value), "{name}");
    }
    let fresh = [
        ("X-Copy-From", "c/s%20o"),
        ("X-Fresh-Metadata", "true"),
        ("Range", "bytes=2-4"),
    ];
    door.alice("PUT /v1/AUTH_p/d/o2", &fresh, b"", 201).await;
    let got = door.alice("GET /v1/AUTH_p/d/o2", &[], b"", 200).await;
    assert_eq!(
        (got.body.as_slice(), got.header("x-object-meta-a")),
        (&b"234"[..], None)
    );
    for (line, headers, status) in [
        ("COPY /v1/AUTH_p/c/s%20o", vec![], 412),
        ("COPY /v1/AUTH_p/c/s%20o", vec![("Destination", "nowhere")], 412),
        ("COPY /v1/AUTH_p/c/s%20o", vec![("Destination", "none/o")], 404),
        ("COPY /v1/AUTH_p/c/none", vec![("Destination", "d/o")], 404),
        ("PUT /v1/AUTH_p/d/o", vec![("X-Copy-From", "c")], 412),
        ("PUT /v1/AUTH_p/d/o", vec![("X-Copy-From", "c/none")], 404),
        (
            "COPY /v1/AUTH_p/c/s%20o",
            vec![("Destination", "d/o"), ("If-Match", "x")],
            412,
        ),
    ] {
        door.alice(line, &headers, b"", status).await;
    }
    door.alice("PUT /v1/AUTH_p/d/o", &[("X-Copy-From", "c/s%20o")], b"body", 400)
        .await;
}

#[tokio::test]
async fn a_copy_between_accounts_wants_both_doors_open() {
    let door = with_container().await;
    let mallory = super::door::MALLORY;
    door.alice("PUT /v1/AUTH_p/c/o", &[], b"x", 201).await;
    door.call(mallory, "PUT /v1/AUTH_q/m", &[], b"").await;
    let from = [("X-Copy-From-Account", "AUTH_p"), ("X-Copy-From", "c/o")];
    assert_eq!(
        door.call(mallory, "PUT /v1/AUTH_q/m/o", &from, b"").await.status,
        403
    );
    door.alice("POST /v1/AUTH_p/c", &[("X-Container-Read", "q:*")], b"", 204)
        .await;
    assert_eq!(
        door.call(mallory, "PUT /v1/AUTH_q/m/o", &from, b"").await.status,
        201
    );
    let to = [("Destination-Account", "AUTH_q"), ("Destination", "m/p")];
    door.alice("COPY /v1/AUTH_p/c/o", &to, b"", 403).await;
}

#[tokio::test]
async fn etags_are_in_quotes_where_container_or_account_wants_them_so() {
    let door = Door::open().await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    let bare = door.alice("PUT /v1/AUTH_p/c/o", &[], b"x", 201).await;
    let bare = bare.header("etag").unwrap().to_owned();
    let quoted = format!("\"{bare}\"");
    for (path, header, value, expected) in [
        ("c", "X-Container-Rfc-Compliant-Etags", "t", &quoted),
        ("", "X-Account-Rfc-Compliant-Etags", "on", &quoted),
        ("c", "X-Container-Rfc-Compliant-Etags", "", &quoted),
        ("c", "X-Container-Rfc-Compliant-Etags", "f", &bare),
        ("c", "X-Container-Rfc-Compliant-Etags", "", &quoted),
        ("", "X-Account-Rfc-Compliant-Etags", "", &bare),
    ] {
        let line = format!("POST /v1/AUTH_p/{path}");
        door.alice(&line, &[(header, value)], b"", 204).await;
        let head = door.alice("HEAD /v1/AUTH_p/c/o", &[], b"", 200).await;
        assert_eq!(head.header("etag"), Some(expected.as_str()), "{header}: {value}");
    }
}

#[tokio::test]
async fn many_are_deleted_by_a_request_to_any_path() {
    let door = Door::open().await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    for name in ["a", "b"] {
        door.alice(&format!("PUT /v1/AUTH_p/c/{name}"), &[], b"x", 201)
            .await;
    }
    let headers = [("Content-Type", "text/plain"), ("Accept", "application/json")];
    let report = door
        .alice("DELETE /v1/AUTH_p/c/b?bulk-delete", &headers, b"/c/a", 200)
        .await
        .json();
    assert_eq!(report["Number Deleted"], 1, "{report}");
    assert_eq!(door.alice("GET /v1/AUTH_p/c", &[], b"", 200).await.text(), "b\n");
}
