//! Objects encrypted with the cloud's keys and with keys that clients show, in
//! both dialects.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use virga_proxy::core::{GetOptions, ObjectName};

use super::door::{Door, RITA, Reply};

const SSE: (&str, &str) = ("x-amz-server-side-encryption", "AES256");
const ON: &[u8] = b"<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>\
    <SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>\
    </ServerSideEncryptionConfiguration>";
const MIB: usize = 1024 * 1024;

fn md5(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

/// The headers that show a key made of one byte.
struct Key([(String, String); 3]);

impl Key {
    fn named(prefix: &str, byte: u8) -> Self {
        let bits = [byte; 32];
        let name = |end: &str| format!("x-amz-{prefix}server-side-encryption-customer-{end}");
        Self([
            (name("algorithm"), "AES256".into()),
            (name("key"), STANDARD.encode(bits)),
            (name("key-md5"), STANDARD.encode(Md5::digest(bits))),
        ])
    }

    fn of(byte: u8) -> Self {
        Self::named("", byte)
    }

    fn of_source(byte: u8) -> Self {
        Self::named("copy-source-", byte)
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let pairs = self.0.iter();
        pairs
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }
}

async fn ready() -> Door {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door
}

/// The bytes that nodes hold.
async fn stored(door: &Door, key: &str) -> Vec<u8> {
    let name = ObjectName::new("AUTH_p", "bucket", key).unwrap();
    let core = door.core.as_stored();
    let got = core.get_object(&name, GetOptions::default()).await.unwrap();
    got.body.collect(usize::MAX).await.unwrap().to_vec()
}

fn said(reply: &Reply) -> Option<&str> {
    reply.header("x-amz-server-side-encryption")
}

#[tokio::test]
async fn the_clouds_keys_change_nothing_that_a_client_of_either_dialect_sees() {
    let door = ready().await;
    let body: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    let put = door.alice("PUT /bucket/k", &[SSE], &body, 200).await;
    assert_eq!(said(&put), Some("AES256"));
    assert_eq!(put.header("etag"), Some(format!("\"{}\"", md5(&body)).as_str()));
    assert_ne!(stored(&door, "k").await, body);
    let got = door.alice("GET /bucket/k", &[], b"", 200).await;
    assert_eq!((said(&got), &got.body), (Some("AES256"), &body));
    let part = [("range", "bytes=70000-80000")];
    let part = door.alice("GET /bucket/k", &part, b"", 206).await;
    assert_eq!(part.body, body[70_000..=80_000]);
    let head = door.alice("HEAD /bucket/k", &[], b"", 200).await;
    assert_eq!(
        (said(&head), head.header("content-length")),
        (Some("AES256"), Some("200000"))
    );
    let swift = door.swift("GET /v1/AUTH_p/bucket/k", &[], b"", 200).await;
    assert_eq!(swift.body, body);
    assert_eq!(swift.header("etag"), Some(md5(&body).as_str()));
    assert_eq!(
        swift.header("x-object-blake3"),
        None,
        "the root is that of other bytes"
    );
    let several = [("range", "bytes=0-1,5-6")];
    let several = door.swift("GET /v1/AUTH_p/bucket/k", &several, b"", 206).await;
    assert!(several.body.windows(2).any(|w| w == &body[5..7]));
    let listed = door.alice("GET /bucket", &[], b"", 200).await;
    assert!(listed.text().contains(&md5(&body)));
}

#[tokio::test]
async fn an_object_under_a_clients_key_is_shown_to_who_shows_it_alone() {
    let door = ready().await;
    let (key, body) = (Key::of(1), vec![7u8; 100_000]);
    let put = door.alice("PUT /bucket/k", &key.headers(), &body, 200).await;
    let (algorithm, of_key) = (
        "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-server-side-encryption-customer-key-md5",
    );
    assert_eq!(put.header(algorithm), Some("AES256"));
    assert_eq!(put.header(of_key), Some(key.0[2].1.as_str()));
    assert!(!put.header("etag").unwrap().contains(&md5(&body)));
    assert_ne!(stored(&door, "k").await, body);
    let got = door.alice("GET /bucket/k", &key.headers(), b"", 200).await;
    assert_eq!(
        (got.header(of_key), &got.body),
        (Some(key.0[2].1.as_str()), &body)
    );
    let mut ranged = key.headers();
    ranged.push(("range", "bytes=99990-"));
    let part = door.alice("GET /bucket/k", &ranged, b"", 206).await;
    assert_eq!(part.body, body[99_990..]);
    door.alice("HEAD /bucket/k", &key.headers(), b"", 200).await;
    let other = Key::of(2);
    for (headers, status) in [(vec![], 400), (other.headers(), 403)] {
        let refused = door.alice("GET /bucket/k", &headers, b"", status).await;
        let code = if status == 400 {
            "InvalidRequest"
        } else {
            "AccessDenied"
        };
        assert_eq!(refused.code(), code);
        door.alice("HEAD /bucket/k", &headers, b"", status).await;
        let ask = [headers, vec![("x-amz-object-attributes", "ETag")]].concat();
        door.alice("GET /bucket/k?attributes", &ask, b"", status).await;
    }
    let swift = door.swift("GET /v1/AUTH_p/bucket/k", &[], b"", 403).await;
    assert!(swift.text().contains("sealed"), "{}", swift.text());
    door.alice("PUT /bucket/plain", &[], b"x", 200).await;
    let needless = door.alice("GET /bucket/plain", &key.headers(), b"", 400).await;
    assert_eq!(needless.code(), "InvalidRequest");
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_and_nothing_is_stored() {
    let door = ready().await;
    let key = Key::of(1);
    let mut mixed = key.headers();
    mixed.push(SSE);
    let mut wrong = key.headers();
    wrong[2].1 = "AAAA";
    let kms = [("x-amz-server-side-encryption", "aws:kms")];
    let odd = [("x-amz-server-side-encryption", "ROT13")];
    let digest = [SSE, ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")];
    for (headers, status, code) in [
        (&mixed[..], 400, "InvalidArgument"),
        (&wrong[..], 400, "InvalidArgument"),
        (&key.headers()[..2], 400, "InvalidArgument"),
        (&kms[..], 501, "NotImplemented"),
        (&odd[..], 400, "InvalidEncryptionAlgorithmError"),
        (&digest[..], 400, "BadDigest"),
    ] {
        let reply = door.alice("PUT /bucket/k", headers, b"x", status).await;
        assert_eq!(reply.code(), code, "{headers:?}");
    }
    door.alice("HEAD /bucket/k", &[], b"", 404).await;
}

#[tokio::test]
async fn a_bucket_asks_for_it_in_both_dialects() {
    let door = ready().await;
    let unset = door.alice("GET /bucket?encryption", &[], b"", 404).await;
    assert_eq!(unset.code(), "ServerSideEncryptionConfigurationNotFoundError");
    let kms = String::from_utf8_lossy(ON).replace("AES256", "aws:kms");
    let refused = door
        .alice("PUT /bucket?encryption", &[], kms.as_bytes(), 501)
        .await;
    assert_eq!(refused.code(), "NotImplemented");
    assert_eq!(
        door.call(RITA, "PUT /bucket?encryption", &[], ON).await.status,
        403
    );
    door.alice("PUT /bucket?encryption", &[], ON, 200).await;
    let set = door.alice("GET /bucket?encryption", &[], b"", 200).await;
    assert_eq!(set.element("SSEAlgorithm").as_deref(), Some("AES256"));
    let put = door.alice("PUT /bucket/s3", &[], b"plain", 200).await;
    assert_eq!(said(&put), Some("AES256"));
    door.swift("PUT /v1/AUTH_p/bucket/swift", &[], b"plain", 201)
        .await;
    for key in ["s3", "swift"] {
        assert_ne!(stored(&door, key).await, b"plain", "{key}");
        let got = door.alice(&format!("GET /bucket/{key}"), &[], b"", 200).await;
        assert_eq!((said(&got), got.body.as_slice()), (Some("AES256"), &b"plain"[..]));
    }
    door.alice("DELETE /bucket?encryption", &[], b"", 204).await;
    door.alice("GET /bucket?encryption", &[], b"", 404).await;
    door.alice("PUT /bucket/after", &[], b"plain", 200).await;
    assert_eq!(stored(&door, "after").await, b"plain");
    assert_eq!(door.alice("GET /bucket/s3", &[], b"", 200).await.body, b"plain");
}

#[tokio::test]
async fn versions_are_sealed_as_their_bucket_asks() {
    let door = ready().await;
    let on = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let before = Key::of(5);
    door.alice("PUT /bucket/k", &before.headers(), b"before", 200)
        .await;
    door.alice("PUT /bucket?versioning", &[], on, 200).await;
    door.alice("PUT /bucket?encryption", &[], ON, 200).await;
    let put = door.alice("PUT /bucket/k", &[], b"one", 200).await;
    assert_eq!(said(&put), Some("AES256"));
    let one = put.header("x-amz-version-id").unwrap().to_owned();
    door.swift("PUT /v1/AUTH_p/bucket/k", &[], b"two", 201).await;
    let got = door.alice("GET /bucket/k", &[], b"", 200).await;
    assert_eq!((said(&got), got.body.as_slice()), (Some("AES256"), &b"two"[..]));
    let got = door
        .alice(&format!("GET /bucket/k?versionId={one}"), &[], b"", 200)
        .await;
    assert_eq!((said(&got), got.body.as_slice()), (Some("AES256"), &b"one"[..]));
    // What was there before became a version, and its key still opens it.
    let line = "GET /bucket/k?versionId=null";
    assert_eq!(
        door.alice(line, &before.headers(), b"", 200).await.body,
        b"before"
    );
    door.alice(line, &[], b"", 400).await;
}

#[tokio::test]
async fn copies_are_sealed_as_they_are_asked_to_be() {
    let door = ready().await;
    let (one, two) = (Key::of(1), Key::of(2));
    door.alice("PUT /bucket/from", &one.headers(), b"bytes", 200)
        .await;
    let source = ("x-amz-copy-source", "/bucket/from");
    let blind = door.alice("PUT /bucket/to", &[source], b"", 400).await;
    assert_eq!(blind.code(), "InvalidRequest");
    let (shown, wrong) = (Key::of_source(1), Key::of_source(9));
    let headers = [vec![source], wrong.headers()].concat();
    door.alice("PUT /bucket/to", &headers, b"", 403).await;
    // To another key, to the cloud's, to none.
    let headers = [vec![source], shown.headers(), two.headers()].concat();
    door.alice("PUT /bucket/two", &headers, b"", 200).await;
    assert_eq!(
        door.alice("GET /bucket/two", &two.headers(), b"", 200).await.body,
        b"bytes"
    );
    let headers = [vec![source, SSE], shown.headers()].concat();
    let copied = door.alice("PUT /bucket/cloud", &headers, b"", 200).await;
    assert_eq!(said(&copied), Some("AES256"));
    assert_eq!(
        door.alice("GET /bucket/cloud", &[], b"", 200).await.body,
        b"bytes"
    );
    let headers = [vec![source], shown.headers()].concat();
    door.alice("PUT /bucket/plain", &headers, b"", 200).await;
    assert_eq!(stored(&door, "plain").await, b"bytes");
    // An object may be copied to itself to be sealed otherwise.
    let itself = [("x-amz-copy-source", "/bucket/plain"), SSE];
    door.alice("PUT /bucket/plain", &itself, b"", 200).await;
    assert_ne!(stored(&door, "plain").await, b"bytes");
    assert_eq!(
        door.alice("GET /bucket/plain", &[], b"", 200).await.body,
        b"bytes"
    );
    door.swift(
        "COPY /v1/AUTH_p/bucket/cloud",
        &[("destination", "bucket/swift")],
        b"",
        201,
    )
    .await;
    assert_eq!(
        stored(&door, "swift").await,
        b"bytes",
        "as its bucket asks, which does not"
    );
    assert_eq!(
        door.alice("GET /bucket/swift", &[], b"", 200).await.body,
        b"bytes"
    );
}

async fn upload(door: &Door, key: &str, begin: &[(&str, &str)], part: &[(&str, &str)]) -> Vec<u8> {
    let begun = door
        .alice(&format!("POST /bucket/{key}?uploads"), begin, b"", 200)
        .await;
    let id = begun.element("UploadId").unwrap();
    let bodies = [vec![1u8; 5 * MIB], b"the end".to_vec()];
    let mut parts = String::new();
    for (number, body) in (1..).zip(&bodies) {
        let line = format!("PUT /bucket/{key}?partNumber={number}&uploadId={id}");
        let put = door.alice(&line, part, body, 200).await;
        let etag = put.header("etag").unwrap();
        parts += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    let parts = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    let line = format!("POST /bucket/{key}?uploadId={id}");
    door.alice(&line, &[], parts.as_bytes(), 200).await;
    bodies.concat()
}

#[tokio::test]
async fn parts_are_sealed_as_their_upload_was_begun() {
    let door = ready().await;
    let body = upload(&door, "cloud", &[SSE], &[]).await;
    let got = door.alice("GET /bucket/cloud", &[], b"", 200).await;
    assert_eq!((said(&got), got.body == body), (Some("AES256"), true));
    let swift = door.swift("GET /v1/AUTH_p/bucket/cloud", &[], b"", 200).await;
    assert!(swift.body == body);
    let key = Key::of(3);
    let body = upload(&door, "own", &key.headers(), &key.headers()).await;
    let got = door.alice("GET /bucket/own", &key.headers(), b"", 200).await;
    assert!(got.body == body);
    let across = [key.headers(), vec![("range", "bytes=5242878-5242883")]].concat();
    let part = door.alice("GET /bucket/own", &across, b"", 206).await;
    assert_eq!(part.body, b"\x01\x01the ");
    door.alice("GET /bucket/own?partNumber=2", &key.headers(), b"", 206)
        .await;
    for line in ["GET /bucket/own", "HEAD /bucket/own"] {
        door.alice(line, &[], b"", 400).await;
        door.alice(line, &Key::of(4).headers(), b"", 403).await;
    }
    let swift = door.swift("GET /v1/AUTH_p/bucket/own", &[], b"", 409).await;
    assert!(!swift.body.windows(7).any(|bytes| bytes == b"the end"));
}

#[tokio::test]
async fn a_part_needs_the_key_that_its_upload_was_begun_with() {
    let door = ready().await;
    let (key, other) = (Key::of(1), Key::of(2));
    let begun = door
        .alice("POST /bucket/k?uploads", &key.headers(), b"", 200)
        .await;
    let line = format!(
        "PUT /bucket/k?partNumber=1&uploadId={}",
        begun.element("UploadId").unwrap()
    );
    for headers in [vec![], other.headers()] {
        let refused = door.alice(&line, &headers, b"x", 400).await;
        assert_eq!(refused.code(), "InvalidRequest");
    }
    door.alice(&line, &key.headers(), b"x", 200).await;
    let begun = door.alice("POST /bucket/plain?uploads", &[], b"", 200).await;
    let line = format!(
        "PUT /bucket/plain?partNumber=1&uploadId={}",
        begun.element("UploadId").unwrap()
    );
    door.alice(&line, &key.headers(), b"x", 400).await;
}

#[tokio::test]
async fn without_keys_of_its_own_a_proxy_refuses_to_encrypt_before_anything_is_sent() {
    let door = Door::keyless().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    for line in ["PUT /bucket/k", "POST /bucket/k?uploads"] {
        let refused = door.alice(line, &[SSE], b"", 503).await;
        assert_eq!(refused.code(), "ServiceUnavailable", "{line}");
        assert!(
            refused.text().contains("object-keys"),
            "{line}: {}",
            refused.text()
        );
    }
    door.alice("PUT /bucket?encryption", &[], ON, 503).await;
    let begun = door.alice("GET /bucket?uploads", &[], b"", 200).await;
    assert!(begun.elements("UploadId").is_empty(), "{}", begun.text());
    // Keys that clients show are theirs.
    let key = Key::of(7);
    door.alice("PUT /bucket/k", &key.headers(), b"x", 200).await;
    door.alice("POST /bucket/k?uploads", &key.headers(), b"", 200)
        .await;
}
