//! What AWS asks of every request before any operation: that what it says of
//! its body can be and is so, in AWS's order and words.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Digest as _;

use super::door::{ALICE, Door, Reply, SECRET};
use super::sign::{self, Request};

const BODY: &[u8] = b"a body";
const UNSIGNED: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";

fn md5(bytes: &[u8]) -> String {
    STANDARD.encode(md5::Md5::digest(bytes))
}

fn crc32(bytes: &[u8]) -> String {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes);
    STANDARD.encode(&sum.to_be_bytes()[4..])
}

fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(n, v)| (n.to_string(), v.to_string()))
        .collect()
}

/// A request that a header signs, and that says this of its body.
async fn said(door: &Door, line: &str, payload: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let (method, target) = line.split_once(' ').unwrap();
    let mut request = Request {
        method,
        target,
        headers: owned(headers),
        payload: payload.to_owned(),
        at: sign::now(),
    };
    request.sign(ALICE, SECRET, &door.host());
    door.send(line, &request.headers, body).await
}

/// A request that its link signs.
async fn linked(door: &Door, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let (method, target) = line.split_once(' ').unwrap();
    let mut request = Request {
        method,
        target,
        headers: Vec::new(),
        payload: String::new(),
        at: sign::now(),
    };
    let link = request.presign(ALICE, SECRET, &door.host(), 60);
    door.send(&format!("{method} {link}"), &owned(headers), body)
        .await
}

fn is(reply: &Reply, status: u16, code: &str) {
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (status, code),
        "{}",
        reply.text()
    );
}

async fn door() -> Door {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door
}

#[tokio::test]
async fn a_digest_of_the_body_must_be_there_be_one_and_be_its_own() {
    let door = door().await;
    let (right, wrong) = (sign::sha256(BODY), sign::sha256(b"other"));
    let bare = sign_without_digest(&door).await;
    is(&bare, 400, "InvalidRequest");
    let message = bare.element("Message").unwrap();
    assert_eq!(
        message,
        "Missing required header for this request: x-amz-content-sha256"
    );
    let invalid = said(&door, "GET /bucket", "invalid", &[], b"").await;
    is(&invalid, 400, "InvalidArgument");
    assert_eq!(invalid.element("ArgumentValue").as_deref(), Some("invalid"));
    for (payload, headers) in [
        (&wrong, vec![]),
        (
            &wrong.to_uppercase(),
            vec![("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")],
        ),
    ] {
        let reply = said(&door, "PUT /bucket/k", payload, &headers, BODY).await;
        is(&reply, 400, "XAmzContentSHA256Mismatch");
        assert_eq!(
            reply.element("ClientComputedContentSHA256").as_ref(),
            Some(payload)
        );
        assert_eq!(reply.element("S3ComputedContentSHA256").as_ref(), Some(&right));
    }
    // In a link any word is a digest that no body has; what is not read is not compared.
    let reply = linked(
        &door,
        "PUT /bucket/k",
        &[("x-amz-content-sha256", "invalid")],
        BODY,
    )
    .await;
    is(&reply, 400, "XAmzContentSHA256Mismatch");
    let reply = linked(&door, "GET /bucket", &[("x-amz-content-sha256", "invalid")], b"").await;
    assert_eq!(reply.status, 200);
    door.alice("HEAD /bucket/k", &[], b"", 404).await;
    let reply = said(&door, "PUT /bucket/k", &right.to_uppercase(), &[], BODY).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// A request whose header signs it without saying what its body is.
async fn sign_without_digest(door: &Door) -> Reply {
    let value = "AWS4-HMAC-SHA256 Credential=alice/20261123/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    door.send("GET /bucket", &owned(&[("authorization", value)]), b"")
        .await
}

#[tokio::test]
async fn the_md5_of_objects_and_of_documents_is_compared() {
    let door = door().await;
    let payload = sign::sha256(BODY);
    let other = md5(b"other");
    let reply = said(
        &door,
        "PUT /bucket/k",
        &payload,
        &[("content-md5", "invalid")],
        BODY,
    )
    .await;
    is(&reply, 400, "InvalidDigest");
    let reply = said(&door, "PUT /bucket/k", &payload, &[("content-md5", &other)], BODY).await;
    is(&reply, 400, "BadDigest");
    let shown = hex::encode(STANDARD.decode(&other).unwrap());
    assert_eq!(reply.element("ExpectedDigest"), Some(shown));
    assert_eq!(reply.element("CalculatedDigest"), Some(md5(BODY)));
    door.alice("PUT /bucket/k", &[("content-md5", &md5(BODY))], BODY, 200)
        .await;
    let delete = b"<Delete><Object><Key>k</Key></Object></Delete>";
    let payload = sign::sha256(delete);
    for (headers, code) in [
        (vec![], "InvalidRequest"),
        (vec![("content-md5", other.as_str())], "BadDigest"),
        (vec![("x-amz-checksum-crc32", "AAAAAA==")], "BadDigest"),
    ] {
        let reply = said(&door, "POST /bucket?delete", &payload, &headers, delete).await;
        is(&reply, 400, code);
    }
    door.alice("HEAD /bucket/k", &[], b"", 200).await;
    let sum = crc32(delete);
    let reply = said(
        &door,
        "POST /bucket?delete",
        &payload,
        &[("x-amz-checksum-crc32", &sum)],
        delete,
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    door.alice("HEAD /bucket/k", &[], b"", 404).await;
}

#[tokio::test]
async fn checksums_that_contradict_each_other_are_refused() {
    let door = door().await;
    let sum = crc32(BODY);
    for headers in [
        vec![
            ("x-amz-checksum-crc32", sum.as_str()),
            ("x-amz-checksum-crc32c", sum.as_str()),
        ],
        vec![
            ("x-amz-checksum-crc32", sum.as_str()),
            ("x-amz-sdk-checksum-algorithm", "SHA256"),
        ],
        vec![("x-amz-checksum-crc99", sum.as_str())],
        vec![("x-amz-checksum-crc32", "AAAA")],
        vec![("x-amz-sdk-checksum-algorithm", "CRC32")],
    ] {
        let reply = said(&door, "PUT /bucket/k", &sign::sha256(BODY), &headers, BODY).await;
        is(&reply, 400, "InvalidRequest");
    }
    let trailer = [("x-amz-trailer", "x-amz-checksum-crc32")];
    let reply = said(&door, "PUT /bucket/k", &sign::sha256(BODY), &trailer, BODY).await;
    is(&reply, 400, "MalformedTrailerError");
    door.alice("HEAD /bucket/k", &[], b"", 404).await;
}

#[tokio::test]
async fn chunks_without_signatures_need_no_trailer_and_must_be_as_long_as_said() {
    let door = door().await;
    let length = BODY.len().to_string();
    let decoded = ("x-amz-decoded-content-length", length.as_str());
    let chunk = |data: &[u8]| [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat();
    let whole = [chunk(BODY), b"0\r\n\r\n".to_vec()].concat();
    let coding = ("content-encoding", "aws-chunked, gzip");
    let reply = said(&door, "PUT /bucket/k", UNSIGNED, &[decoded, coding], &whole).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let read = door.alice("GET /bucket/k", &[], b"", 200).await;
    assert_eq!(
        (read.body.as_slice(), read.header("content-encoding")),
        (BODY, Some("gzip"))
    );
    is(
        &said(&door, "PUT /bucket/l", UNSIGNED, &[], &whole).await,
        411,
        "MissingContentLength",
    );
    for body in [
        chunk(BODY),
        BODY.to_vec(),
        [whole[..whole.len() - 1].to_vec()].concat(),
    ] {
        let reply = said(&door, "PUT /bucket/l", UNSIGNED, &[decoded], &body).await;
        is(&reply, 400, "IncompleteBody");
        assert_eq!(reply.element("NumberBytesExpected"), None);
    }
    let short = [chunk(&BODY[..2]), b"0\r\n\r\n".to_vec()].concat();
    let reply = said(&door, "PUT /bucket/l", UNSIGNED, &[decoded], &short).await;
    is(&reply, 400, "IncompleteBody");
    assert_eq!(reply.element("NumberBytesProvided").as_deref(), Some("2"));
    assert_eq!(reply.element("NumberBytesExpected"), Some(length.clone()));
    // A link has no signature that chunks could go on from.
    let reply = linked(
        &door,
        "PUT /bucket/l",
        &[("x-amz-content-sha256", UNSIGNED), decoded],
        &whole,
    )
    .await;
    is(&reply, 400, "IncompleteBody");
    door.alice("HEAD /bucket/l", &[], b"", 404).await;
}

#[tokio::test]
async fn what_stands_behind_chunks_is_what_was_announced() {
    let door = door().await;
    let length = BODY.len().to_string();
    let announced = [
        ("x-amz-decoded-content-length", length.as_str()),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ];
    let (good, other) = (crc32(BODY), crc32(b"other"));
    for (behind, status, code) in [
        (String::new(), 400, "MalformedTrailerError"),
        (
            format!("x-amz-checksum-crc32c:{good}\r\n"),
            400,
            "MalformedTrailerError",
        ),
        (
            "x-amz-checksum-crc32:no base64\r\n".to_owned(),
            400,
            "InvalidRequest",
        ),
        (format!("x-amz-checksum-crc32:{other}\r\n"), 400, "BadDigest"),
        (
            format!("x-amz-checksum-crc32:{other}\r\nx-amz-checksum-crc32:{good}\r\n"),
            200,
            "",
        ),
    ] {
        let body = [
            format!("{:x}\r\n", BODY.len()).as_bytes(),
            BODY,
            b"\r\n0\r\n",
            behind.as_bytes(),
            b"\r\n",
        ]
        .concat();
        let reply = said(&door, "PUT /bucket/k", UNSIGNED, &announced, &body).await;
        is(&reply, status, code);
    }
    let head = door
        .alice("HEAD /bucket/k", &[("x-amz-checksum-mode", "ENABLED")], b"", 200)
        .await;
    assert_eq!(head.header("x-amz-checksum-crc32"), Some(good.as_str()));
}

#[tokio::test]
async fn a_wrong_signature_shows_what_it_should_have_been_made_over() {
    let door = door().await;
    let mut request = Request {
        method: "GET",
        target: "/bucket",
        headers: Vec::new(),
        payload: sign::sha256(b""),
        at: sign::now(),
    };
    request.sign(ALICE, "wrong", &door.host());
    let reply = door.send("GET /bucket", &request.headers, b"").await;
    is(&reply, 403, "SignatureDoesNotMatch");
    assert_eq!(reply.element("AWSAccessKeyId").as_deref(), Some(ALICE));
    assert!(
        reply
            .element("StringToSign")
            .unwrap()
            .starts_with("AWS4-HMAC-SHA256\n")
    );
    assert!(
        reply
            .element("CanonicalRequest")
            .unwrap()
            .starts_with("GET\n/bucket\n")
    );
    assert!(!reply.text().contains(SECRET));
    let large = vec![b'x'; 20_000];
    let length = large.len().to_string();
    let mut request = Request {
        method: "PUT",
        target: "/bucket/k",
        headers: owned(&[("x-amz-decoded-content-length", &length)]),
        payload: SIGNED.into(),
        at: sign::now(),
    };
    let seed = request.sign(ALICE, SECRET, &door.host());
    let mut body = sign::chunks(&large, 8192, &seed, SECRET, request.at);
    let small = sign::chunks(&large, 8000, &seed, SECRET, request.at);
    let reply = door.send("PUT /bucket/k", &request.headers, &small).await;
    is(&reply, 403, "InvalidChunkSizeError");
    assert_eq!(reply.element("BadChunkSize").as_deref(), Some("8000"));
    let good = body.clone();
    body[9000] = b'y';
    let reply = door.send("PUT /bucket/k", &request.headers, &body).await;
    is(&reply, 403, "SignatureDoesNotMatch");
    assert!(
        reply
            .element("StringToSign")
            .unwrap()
            .starts_with("AWS4-HMAC-SHA256-PAYLOAD\n")
    );
    door.alice("HEAD /bucket/k", &[], b"", 404).await;
    let reply = door.send("PUT /bucket/k", &request.headers, &good).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn headers_that_matter_cannot_be_added_to_what_another_signed() {
    let door = door().await;
    let reply = linked(&door, "PUT /bucket/k", &[("x-amz-acl", "public-read")], BODY).await;
    is(&reply, 403, "AccessDenied");
    assert_eq!(reply.element("HeadersNotSigned").as_deref(), Some("x-amz-acl"));
    assert_eq!(linked(&door, "PUT /bucket/k", &[], BODY).await.status, 200);
}

#[tokio::test]
async fn a_method_that_means_nothing_here_is_not_allowed() {
    let door = door().await;
    let reply = door.call(ALICE, "PUT /", &[], b"").await;
    is(&reply, 405, "MethodNotAllowed");
    assert_eq!(reply.element("ResourceType").as_deref(), Some("SERVICE"));
    assert_eq!(door.call(ALICE, "HEAD /", &[], b"").await.status, 405);
    let reply = door.call(ALICE, "POST /bucket/k", &[], b"").await;
    is(&reply, 405, "MethodNotAllowed");
    assert_eq!(reply.element("ResourceType").as_deref(), Some("OBJECT"));
}

#[tokio::test]
async fn the_other_dialect_tells_of_this_one_and_keeps_its_hosts() {
    let door = door().await;
    let info = door.send("GET /info", &[], b"").await;
    assert_eq!(info.status, 200);
    assert!(info.text().contains("\"s3api\":{"), "{}", info.text());
    assert!(
        info.text().contains("\"max_upload_part_num\":10000"),
        "{}",
        info.text()
    );
    door.swift("PUT /v1/AUTH_p/site", &[("X-Container-Read", ".r:*")], b"", 201)
        .await;
    door.swift("PUT /v1/AUTH_p/site/page", &[], BODY, 201).await;
    let asked = b"GET /page HTTP/1.1\r\nHost: site.AUTH_p.object.localhost\r\nConnection: close\r\n\r\n";
    let reply = door.raw(asked).await;
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (200, BODY),
        "{}",
        reply.text()
    );
}
