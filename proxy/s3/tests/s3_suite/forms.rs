//! Uploads by a browser's form.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::door::{ALICE, Door, Reply, SECRET};
use super::sign::{self, REGION};

const BOUNDARY: &str = "----aBoundary";

fn form(fields: &[(&str, &str)], file: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend_from_slice(
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                .as_bytes(),
        );
    }
    body.extend_from_slice(
        format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\a b.txt\"\r\nContent-Type: text/x\r\n\r\n"
        )
        .as_bytes(),
    );
    body.extend_from_slice(file);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    body
}

async fn post(door: &Door, path: &str, body: &[u8]) -> Reply {
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let page = ("origin".to_owned(), "https://a.example".to_owned());
    let headers = [("content-type".to_owned(), kind), page];
    door.send(&format!("POST {path}"), &headers, body).await
}

/// The fields of a form that Alice signed, with conditions beside those of the
/// signature.
fn signed(conditions: &str, ends: u64, secret: &str) -> Vec<(&'static str, String)> {
    let stamp = sign::stamp(sign::now());
    let date = stamp[..8].to_owned();
    let credential = format!("{ALICE}/{date}/{REGION}/s3/aws4_request");
    let end = sign::stamp(ends);
    let end = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &end[..4],
        &end[4..6],
        &end[6..8],
        &end[9..11],
        &end[11..13],
        &end[13..15]
    );
    let policy = format!(
        r#"{{"expiration": "{end}", "conditions": [{{"bucket": "bucket"}}, ["starts-with", "$key", "in/"], {{"x-amz-credential": "{credential}"}},
            {{"x-amz-algorithm": "AWS4-HMAC-SHA256"}}, {{"x-amz-date": "{stamp}"}}{conditions}]}}"#
    );
    let policy = STANDARD.encode(policy);
    let signature = hex::encode(sign::hmac(&sign::signing_key(secret, &date), &policy));
    vec![
        ("key", "in/${filename}".to_owned()),
        ("x-amz-credential", credential),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
        ("x-amz-date", stamp),
        ("policy", policy),
        ("x-amz-signature", signature),
    ]
}

fn fields<'a>(all: &'a [(&'static str, String)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let own = all.iter().map(|(name, value)| (*name, value.as_str()));
    own.chain(more.iter().copied()).collect()
}

#[tokio::test]
async fn a_signed_form_uploads_its_file_with_what_it_says_of_it() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let rules = b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>POST</AllowedMethod></CORSRule></CORSConfiguration>";
    door.alice("PUT /bucket?cors", &[], rules, 200).await;
    let conditions = r#", {"acl": "public-read"}, ["starts-with", "$x-amz-meta-a", ""], ["starts-with", "$success_action_status", ""],
        ["starts-with", "$success_action_redirect", ""], ["starts-with", "$tagging", ""], ["content-length-range", 1, 10]"#;
    let own = signed(conditions, sign::now() + 600, SECRET);
    let more = [("acl", "public-read"), ("x-amz-meta-a", "1")];
    let done = post(&door, "/bucket", &form(&fields(&own, &more), b"the file")).await;
    assert_eq!(done.status, 204, "{}", done.text());
    assert_eq!(done.header("location"), Some("/bucket/in/a%20b.txt"));
    assert_eq!(done.header("access-control-allow-origin"), Some("*"));
    let got = door.alice("GET /bucket/in/a%20b.txt", &[], b"", 200).await;
    assert_eq!(
        (got.text().as_str(), got.header("etag")),
        ("the file", done.header("etag"))
    );
    assert_eq!(
        (got.header("x-amz-meta-a"), got.header("content-type")),
        (Some("1"), Some("text/x"))
    );
    assert_eq!(
        door.send("GET /p:bucket/in/a%20b.txt", &[], b"").await.status,
        200
    );
    let tags = "<Tagging><TagSet><Tag><Key>t</Key><Value>1 2</Value></Tag></TagSet></Tagging>";
    let told = [
        ("success_action_status", "201"),
        ("tagging", tags),
        ("acl", "public-read"),
    ];
    let done = post(&door, "/bucket/", &form(&fields(&own, &told), b"x")).await;
    assert_eq!(
        (done.status, done.element("Key").as_deref()),
        (201, Some("in/a b.txt"))
    );
    let shown = door
        .alice("GET /bucket/in/a%20b.txt?tagging", &[], b"", 200)
        .await;
    assert_eq!(shown.elements("Value"), ["1 2"]);
    let sent = [
        ("success_action_redirect", "http://a.example/done?x=1"),
        ("acl", "public-read"),
    ];
    let done = post(&door, "/bucket", &form(&fields(&own, &sent), b"x")).await;
    let to = done.header("location").unwrap();
    assert!(
        to.starts_with("http://a.example/done?x=1&bucket=bucket&key=in/a%20b.txt&etag=%22"),
        "{to}"
    );
    assert_eq!(done.status, 303);
}

#[tokio::test]
async fn a_form_that_its_policy_does_not_allow_stores_nothing() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let later = sign::now() + 600;
    let range = r#", ["content-length-range", 2, 4]"#;
    let mut other_key = signed("", later, SECRET);
    other_key[0].1 = "out/x".to_owned();
    let mut no_signature = signed("", later, SECRET);
    no_signature.retain(|(name, _)| *name != "x-amz-signature");
    let mut no_key = signed("", later, SECRET);
    no_key.retain(|(name, _)| *name != "key");
    let mut broken = signed("", later, SECRET);
    broken[4].1 = STANDARD.encode("{");
    broken[5].1 = {
        let key = sign::signing_key(SECRET, &sign::stamp(sign::now())[..8]);
        hex::encode(sign::hmac(&key, &broken[4].1))
    };
    let large = "x".repeat(20 * 1024);
    for (own, more, file, status, code) in [
        (
            signed(range, later, SECRET),
            &[][..],
            &b"x"[..],
            400,
            "EntityTooSmall",
        ),
        (signed(range, later, SECRET), &[], b"12345", 400, "EntityTooLarge"),
        (
            signed("", sign::now() - 1, SECRET),
            &[],
            b"x",
            403,
            "AccessDenied",
        ),
        (
            signed("", later, "wrong"),
            &[],
            b"x",
            403,
            "SignatureDoesNotMatch",
        ),
        (
            signed("", later, SECRET),
            &[("acl", "public-read")],
            b"x",
            403,
            "AccessDenied",
        ),
        (
            signed("", later, SECRET),
            &[("x-ignore-a", &large)],
            b"x",
            400,
            "MaxPostPreDataLengthExceeded",
        ),
        (other_key, &[], b"x", 403, "AccessDenied"),
        (no_signature, &[], b"x", 400, "InvalidArgument"),
        (no_key, &[], b"x", 400, "InvalidArgument"),
        (broken, &[], b"x", 400, "InvalidPolicyDocument"),
    ] {
        let reply = post(&door, "/bucket", &form(&fields(&own, more), file)).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (status, code),
            "{}",
            reply.text()
        );
        assert!(!reply.text().contains(SECRET));
    }
    let own = signed("", later, SECRET);
    let whole = form(&fields(&own, &[]), b"the file");
    let cut = post(&door, "/bucket", &whole[..whole.len() - 10]).await;
    assert_eq!(cut.status, 400, "{}", cut.text());
    let none = post(&door, "/bucket", format!("--{BOUNDARY}--\r\n").as_bytes()).await;
    assert_eq!(none.code(), "InvalidArgument");
    assert_eq!(post(&door, "/bucket/k", &whole).await.code(), "MethodNotAllowed");
    let listed = door.alice("GET /bucket", &[], b"", 200).await;
    assert!(listed.elements("Key").is_empty(), "{}", listed.text());
}

#[tokio::test]
async fn a_form_without_a_policy_needs_a_bucket_that_everyone_may_write_to() {
    let door = Door::open().await;
    door.alice("PUT /open", &[("x-amz-acl", "public-read-write")], b"", 200)
        .await;
    door.alice("PUT /closed", &[], b"", 200).await;
    let body = form(&[("key", "k")], b"bytes");
    assert_eq!(post(&door, "/p:open", &body).await.status, 204);
    assert_eq!(post(&door, "/p:closed", &body).await.code(), "AccessDenied");
    assert_eq!(post(&door, "/open", &body).await.code(), "AccessDenied");
    assert_eq!(door.alice("GET /open/k", &[], b"", 200).await.body, b"bytes");
}

#[tokio::test]
async fn version_two_signs_requests_and_forms_and_wrong_ones_are_refused() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket/k", &[], b"x", 200).await;
    let now = std::time::Duration::from_secs(sign::now());
    let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + now);
    let mac = |text: &str, secret: &str| STANDARD.encode(sign::hmac_sha1(secret.as_bytes(), text));
    let text = format!("GET\n\n\n{date}\n/bucket/k?acl");
    for (secret, status) in [(SECRET, 200), ("wrong", 403)] {
        let headers = [
            ("date".to_owned(), date.clone()),
            (
                "authorization".to_owned(),
                format!("AWS {ALICE}:{}", mac(&text, secret)),
            ),
        ];
        let reply = door.send("GET /bucket/k?acl", &headers, b"").await;
        assert_eq!(reply.status, status, "{}", reply.text());
        if status == 403 {
            assert_eq!(reply.code(), "SignatureDoesNotMatch");
        }
        let policy = STANDARD
            .encode(r#"{"expiration": "2100-01-01T00:00:00Z", "conditions": [["starts-with", "$key", ""]]}"#);
        let signature = mac(&policy, secret);
        let own = [
            ("key", "form"),
            ("AWSAccessKeyId", ALICE),
            ("policy", &policy),
            ("signature", &signature),
        ];
        let reply = post(&door, "/bucket", &form(&own, b"x")).await;
        assert_eq!(
            reply.status,
            if status == 200 { 204 } else { 403 },
            "{}",
            reply.text()
        );
    }
    // botocore signs a bucket with a slash, and sends it without.
    for (path, status) in [("/bucket", 200), ("/bucket/", 200), ("/bucket/k", 403)] {
        let signature = mac(&format!("GET\n\n\n{date}\n{path}"), SECRET);
        let headers = [
            ("date".to_owned(), date.clone()),
            ("authorization".to_owned(), format!("AWS {ALICE}:{signature}")),
        ];
        assert_eq!(
            door.send("GET /bucket", &headers, b"").await.status,
            status,
            "{path}"
        );
    }
    let ends = sign::now() + 60;
    for (ends, status) in [(ends, 200), (sign::now() - 60, 403)] {
        let signature = mac(&format!("GET\n\n\n{ends}\n/bucket/k"), SECRET);
        let signature = signature
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D");
        let line = format!("GET /bucket/k?AWSAccessKeyId={ALICE}&Expires={ends}&Signature={signature}");
        let reply = door.send(&line, &[], b"").await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
}
