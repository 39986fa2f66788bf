//! The functions that the crate `object_store` tests its stores with, over our
//! S3. What its own tests of S3 look at beyond them (signed URLs, tags) is not
//! public, and is tested here by the crate's API.
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum, S3CopyIfNotExists};
use object_store::integration as suite;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::signer::{HeaderName, HeaderValue, Method, SignedUrlOptions, Signer};
use object_store::{Error, ObjectStore, ObjectStoreExt, PutOptions, TagSet};
use virga_tests::cloud::Cloud;
use virga_tests::swift::{Swift, agent};

const BUCKET: &str = "box";
/// How long signed URLs are good for.
const GOOD_FOR: Duration = Duration::from_secs(300);

/// A cloud with one bucket.
fn ready() -> Cloud {
    let cloud = Cloud::start();
    Swift::connect(&cloud).put(BUCKET, b"");
    cloud
}

/// What every store of these tests is built from.
fn builder(cloud: &Cloud) -> AmazonS3Builder {
    // The crate's HTTP client asks for it though nothing here is encrypted. That
    // it is set already is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let of = |name| cloud.credential("s3.env", name);
    AmazonS3Builder::new()
        .with_endpoint(of("AWS_ENDPOINT_URL"))
        .with_allow_http(true)
        .with_region(of("AWS_DEFAULT_REGION"))
        .with_access_key_id(of("AWS_ACCESS_KEY_ID"))
        .with_secret_access_key(of("AWS_SECRET_ACCESS_KEY"))
        .with_bucket_name(BUCKET)
        .with_copy_if_not_exists(S3CopyIfNotExists::Multipart)
}

fn store(cloud: &Cloud) -> AmazonS3 {
    builder(cloud).build().expect("a store")
}

#[tokio::test]
async fn objects_are_put_read_listed_copied_and_deleted() {
    let cloud = ready();
    let store = store(&cloud);
    suite::put_get_delete_list(&store).await;
    suite::list_with_offset_exclusivity(&store).await;
    suite::get_opts(&store).await;
    suite::list_uses_directories_correctly(&store).await;
    suite::list_with_delimiter(&store).await;
    suite::list_paginated(&store, &store).await;
    suite::rename_and_copy(&store).await;
    suite::copy_rename_nonexistent_object(&store).await;
    suite::put_get_attributes(&store).await;
    let absent = suite::get_nonexistent_object(&store, None).await;
    assert!(matches!(absent, Err(Error::NotFound { .. })), "{absent:?}");
}

#[tokio::test]
async fn uploads_in_parts_come_out_whole_in_whatever_order_they_went_in() {
    let cloud = ready();
    let store = store(&cloud);
    suite::stream_get(&store).await;
    suite::multipart(&store, &store).await;
    suite::multipart_with_opts(&store, &store).await;
    suite::multipart_put_part_out_of_order(&store, &store).await;
    suite::multipart_race_condition(&store, true).await;
    suite::multipart_out_of_order(&store).await;
}

#[tokio::test]
async fn of_conditional_writes_one_wins() {
    let cloud = ready();
    let in_parts = store(&cloud);
    suite::copy_if_not_exists(&in_parts).await;
    let header = S3CopyIfNotExists::Header("if-none-match".into(), "*".into());
    let in_one = builder(&cloud).with_copy_if_not_exists(header).build();
    suite::copy_if_not_exists(&in_one.expect("a store")).await;
    suite::put_opts(&in_parts, true).await;
}

#[tokio::test]
async fn bodies_may_be_unsigned_or_come_with_checksums() {
    let cloud = ready();
    for builder in [
        builder(&cloud).with_unsigned_payload(true),
        builder(&cloud).with_checksum_algorithm(Checksum::SHA256),
        builder(&cloud).with_checksum_algorithm(Checksum::CRC64NVME),
    ] {
        let store = builder.build().expect("a store");
        suite::put_get_delete_list(&store).await;
        suite::multipart_out_of_order(&store).await;
    }
}

#[tokio::test]
async fn a_bucket_with_versions_reads_them_by_id() {
    let cloud = ready();
    let on = [("X-Versions-Enabled", "true")];
    let answer = Swift::connect(&cloud).send("POST", BUCKET, &on, b"");
    assert_eq!(answer.status, 204);
    let store = store(&cloud);
    suite::get_opts(&store).await;
    let version = store
        .head(&Path::from("test"))
        .await
        .expect("it is there")
        .version;
    assert!(version.is_some(), "or nothing was read by a version's id");
    suite::put_get_delete_list(&store).await;
}

#[tokio::test]
async fn encrypted_objects_read_as_others_do() {
    let cloud = ready();
    let sse = "aws_server_side_encryption"
        .parse()
        .expect("a key of the crate's");
    let by_cloud = builder(&cloud).with_config(sse, "AES256");
    // The crate shows a client's key with reads, writes, parts and copies, and
    // encodes what it is given as it is.
    let by_client = builder(&cloud).with_ssec_encryption("MTIzNDU2Nzg5MGFiY2RlZjEyMzQ1Njc4OTBhYmNkZWY=");
    for builder in [by_cloud, by_client] {
        let store = builder.build().expect("a store");
        suite::put_get_delete_list(&store).await;
        suite::rename_and_copy(&store).await;
        suite::multipart_out_of_order(&store).await;
    }
}

/// Sends what a signed URL allows; the status and the body of the answer.
fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = match method {
        "GET" => agent().run(request.body(()).expect("a request")),
        _ => agent().run(request.body(body).expect("a request")),
    };
    let mut answer = answer.expect("an answer");
    let text = answer.body_mut().read_to_string().expect("a body");
    (answer.status().as_u16(), text)
}

#[tokio::test]
async fn a_signed_url_is_good_for_what_was_signed_and_nothing_else() {
    let cloud = ready();
    let (store, path) = (store(&cloud), Path::from("signed object"));
    let sign = async |method: Method, options: SignedUrlOptions| {
        let url = store.signed_url_opts(method, &path, GOOD_FOR, &options).await;
        url.expect("a URL").to_string()
    };
    let typed = SignedUrlOptions::new().with_signed_header(
        HeaderName::from_static("content-type"),
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    let url = sign(Method::PUT, typed).await;
    let html = [("content-type", "text/html")];
    assert_eq!(send("PUT", &url, &html, b"no").0, 403);
    let text = [("content-type", "text/plain; charset=utf-8")];
    assert_eq!(send("PUT", &url, &text, b"hello world").0, 200);
    assert_eq!(send("GET", &url, &text, b"").0, 403, "signed for PUT");
    // SHA-256 of "hello world".
    let sum = "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=";
    let checked = SignedUrlOptions::new().with_signed_header(
        HeaderName::from_static("x-amz-checksum-sha256"),
        HeaderValue::from_static(sum),
    );
    let url = sign(Method::PUT, checked).await;
    let with = [("x-amz-checksum-sha256", sum)];
    assert_eq!(send("PUT", &url, &with, b"hello worlds").0, 400);
    assert_eq!(send("PUT", &url, &[], b"hello world").0, 403);
    assert_eq!(send("PUT", &url, &with, b"hello world").0, 200);
    let named = [("response-content-disposition", "attachment; filename=\"a b.txt\"")];
    let url = sign(Method::GET, SignedUrlOptions::new().with_query(named)).await;
    assert_eq!(send("GET", &url, &[], b""), (200, "hello world".to_owned()));
    assert_eq!(send("GET", &url.replace("a%20b", "c"), &[], b"").0, 403);
}

#[tokio::test]
async fn parts_are_uploaded_by_signed_urls() {
    let cloud = ready();
    let (store, path) = (store(&cloud), Path::from("parts"));
    let id = store.create_multipart(&path).await.expect("an upload");
    let mut parts = Vec::new();
    for number in ["1", "2"] {
        let query = [("uploadId", id.as_str()), ("partNumber", number)];
        let options = SignedUrlOptions::new().with_query(query);
        let url = store
            .signed_url_opts(Method::PUT, &path, GOOD_FOR, &options)
            .await;
        let body = vec![number.as_bytes()[0]; if number == "1" { 5 << 20 } else { 9 }];
        let answer = agent().put(url.expect("a URL").as_str()).send(body.as_slice());
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 200);
        let etag = answer.headers()["etag"].to_str().expect("text");
        parts.push(PartId {
            content_id: etag.to_owned(),
        });
    }
    store
        .complete_multipart(&path, &id, parts)
        .await
        .expect("the object");
    let got = store.get(&path).await.expect("the object").bytes().await;
    let got = got.expect("its bytes");
    assert_eq!(
        (got.len(), &got[got.len() - 10..]),
        ((5 << 20) + 9, &b"1222222222"[..])
    );
}

#[tokio::test]
async fn tags_that_an_object_is_put_with_are_its_tags() {
    let cloud = ready();
    let (store, path) = (store(&cloud), Path::from("tagged"));
    let mut tags = TagSet::default();
    tags.push("colour", "light blue");
    tags.push("kind/of", "a+b=c");
    let with = PutOptions {
        tags,
        ..PutOptions::default()
    };
    store.put_opts(&path, "x".into(), with).await.expect("put");
    let options = SignedUrlOptions::new().with_query([("tagging", "")]);
    let url = store
        .signed_url_opts(Method::GET, &path, GOOD_FOR, &options)
        .await;
    let (status, document) = send("GET", url.expect("a URL").as_str(), &[], b"");
    assert_eq!(status, 200, "{document}");
    for (key, value) in [("colour", "light blue"), ("kind/of", "a+b=c")] {
        let tag = format!("<Key>{key}</Key><Value>{value}</Value>");
        assert!(document.contains(&tag), "{document}");
    }
}
