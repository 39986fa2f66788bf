//! Buckets: made, listed, described, configured, removed.
use super::door::{ALICE, Door, MALLORY, RITA};

#[tokio::test]
async fn a_bucket_is_made_once_listed_and_removed_when_it_is_empty() {
    let door = Door::open().await;
    let made = door.alice("PUT /bucket", &[], b"", 200).await;
    assert_eq!(made.header("location"), Some("/bucket"));
    let again = door.alice("PUT /bucket", &[], b"", 409).await;
    assert_eq!(again.code(), "BucketAlreadyOwnedByYou");
    let listed = door.alice("GET /", &[], b"", 200).await;
    assert_eq!(listed.elements("Name"), ["bucket"]);
    assert_eq!(listed.element("ID").as_deref(), Some("p"));
    door.alice("HEAD /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket/key", &[], b"x", 200).await;
    assert_eq!(
        door.alice("DELETE /bucket", &[], b"", 409).await.code(),
        "BucketNotEmpty"
    );
    door.alice("DELETE /bucket/key", &[], b"", 204).await;
    door.alice("DELETE /bucket", &[], b"", 204).await;
    assert_eq!(
        door.alice("DELETE /bucket", &[], b"", 404).await.code(),
        "NoSuchBucket"
    );
    assert!(door.alice("HEAD /bucket", &[], b"", 404).await.body.is_empty());
    assert!(
        door.call(MALLORY, "GET /", &[], b"")
            .await
            .elements("Name")
            .is_empty()
    );
}

#[tokio::test]
async fn listings_are_cut_at_prefix_delimiter_and_number_in_both_versions() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    for key in ["a", "b/1", "b/2", "c", "d/1", "e%20f"] {
        door.alice(&format!("PUT /bucket/{key}"), &[], b"x", 200).await;
    }
    let all = door.alice("GET /bucket?delimiter=%2F", &[], b"", 200).await;
    assert_eq!(all.elements("Key"), ["a", "c", "e f"]);
    assert_eq!(all.element("IsTruncated").as_deref(), Some("false"));
    let page = door
        .alice("GET /bucket?delimiter=%2F&max-keys=2", &[], b"", 200)
        .await;
    assert_eq!(page.element("NextMarker").as_deref(), Some("b/"));
    let next = door
        .alice("GET /bucket?delimiter=%2F&marker=b%2F&max-keys=2", &[], b"", 200)
        .await;
    assert_eq!(next.elements("Key"), ["c"]);
    assert!(next.text().contains("<Prefix>d/</Prefix>"));
    let (mut keys, mut token) = (Vec::new(), String::new());
    loop {
        let line = format!("GET /bucket?list-type=2&max-keys=2&encoding-type=url{token}");
        let page = door.alice(&line, &[], b"", 200).await;
        keys.extend(page.elements("Key"));
        match page.element("NextContinuationToken") {
            Some(next) => token = format!("&continuation-token={next}"),
            None => break,
        }
    }
    assert_eq!(keys, ["a", "b/1", "b/2", "c", "d/1", "e+f"]);
    let after = door
        .alice(
            "GET /bucket?list-type=2&start-after=c&fetch-owner=true",
            &[],
            b"",
            200,
        )
        .await;
    assert_eq!(after.elements("Key"), ["d/1", "e f"]);
    assert_eq!(after.element("KeyCount").as_deref(), Some("2"));
    assert_eq!(after.element("ID").as_deref(), Some("p"));
    let none = door.alice("GET /bucket?max-keys=0", &[], b"", 200).await;
    assert!(none.elements("Key").is_empty() && none.text().contains("<IsTruncated>false<"));
    let bad = door
        .alice("GET /bucket?list-type=2&continuation-token=%21", &[], b"", 400)
        .await;
    assert_eq!(bad.code(), "InvalidArgument");
}

#[tokio::test]
async fn what_is_not_set_reads_so_and_cannot_be_set_quietly() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    for (what, code) in [
        ("policy", "NoSuchBucketPolicy"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("replication", "ReplicationConfigurationNotFoundError"),
        ("website", "NoSuchWebsiteConfiguration"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("ownershipControls", "OwnershipControlsNotFoundError"),
        ("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
        ("tagging", "NoSuchTagSet"),
        ("cors", "NoSuchCORSConfiguration"),
    ] {
        let reply = door.alice(&format!("GET /bucket?{what}"), &[], b"", 404).await;
        assert_eq!(reply.code(), code, "{what}");
        assert!(
            reply.element("Message").is_some_and(|says| !says.is_empty()),
            "{what}"
        );
    }
    for what in [
        "location",
        "logging",
        "notification",
        "requestPayment",
        "accelerate",
    ] {
        door.alice(&format!("GET /bucket?{what}"), &[], b"", 200).await;
    }
    let asked = [("x-amz-server-side-encryption", "aws:kms")];
    assert_eq!(
        door.alice("PUT /bucket/k", &asked, b"x", 501).await.code(),
        "NotImplemented"
    );
    door.alice("HEAD /bucket/k", &[], b"", 404).await;
}

#[tokio::test]
async fn access_lists_let_readers_of_the_project_in() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket/k", &[], b"x", 200).await;
    for line in [
        "GET /bucket",
        "GET /bucket/k",
        "PUT /bucket/l",
        "DELETE /bucket/k",
    ] {
        let reply = door.call(RITA, line, &[], b"").await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "AccessDenied"),
            "{line}"
        );
    }
    let listed = door.call(RITA, "GET /", &[], b"").await;
    assert_eq!(
        (listed.status, listed.elements("Name").len()),
        (200, 0),
        "no bucket is hers"
    );
    door.alice("PUT /bucket?acl", &[("x-amz-acl", "public-read")], b"", 200)
        .await;
    assert_eq!(door.call(RITA, "GET /bucket/k", &[], b"").await.body, b"x");
    assert_eq!(door.call(RITA, "GET /bucket", &[], b"").await.status, 200);
    assert_eq!(door.call(RITA, "PUT /bucket/l", &[], b"").await.status, 403);
    let shown = door.alice("GET /bucket?acl", &[], b"", 200).await;
    assert_eq!(shown.elements("Permission"), ["FULL_CONTROL", "READ"]);
    assert!(
        shown
            .text()
            .contains("http://acs.amazonaws.com/groups/global/AllUsers")
    );
    let document = br#"<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>p</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>p</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>"#;
    door.alice("PUT /bucket?acl", &[], document, 200).await;
    assert_eq!(door.call(RITA, "GET /bucket/k", &[], b"").await.status, 403);
}

#[tokio::test]
async fn tags_and_cors_rules_are_kept_and_enforced() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b c</Value></Tag></TagSet></Tagging>";
    door.alice("PUT /bucket?tagging", &[], tags, 200).await;
    let shown = door.alice("GET /bucket?tagging", &[], b"", 200).await;
    assert_eq!(shown.elements("Value"), ["b c"]);
    door.alice("DELETE /bucket?tagging", &[], b"", 204).await;
    door.alice("GET /bucket?tagging", &[], b"", 404).await;
    let rules = b"<CORSConfiguration><CORSRule><AllowedOrigin>https://*.example</AllowedOrigin><AllowedMethod>PUT</AllowedMethod><AllowedMethod>GET</AllowedMethod><AllowedHeader>x-amz-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>30</MaxAgeSeconds></CORSRule></CORSConfiguration>";
    door.alice("PUT /bucket?cors", &[], rules, 200).await;
    assert_eq!(
        door.alice("GET /bucket?cors", &[], b"", 200)
            .await
            .elements("AllowedMethod"),
        ["PUT", "GET"]
    );
    door.alice("PUT /bucket/k", &[], b"x", 200).await;
    let page = door
        .alice("GET /bucket/k", &[("origin", "https://a.example")], b"", 200)
        .await;
    assert_eq!(
        page.header("access-control-allow-origin"),
        Some("https://a.example")
    );
    assert_eq!(page.header("access-control-expose-headers"), Some("ETag"));
    let stranger = door
        .alice("GET /bucket/k", &[("origin", "https://a.test")], b"", 200)
        .await;
    assert_eq!(stranger.header("access-control-allow-origin"), None);
    // A browser asks before it uses a presigned URL, with the same query.
    let line = format!(
        "OPTIONS /bucket/k?X-Amz-Signature=x&X-Amz-Credential={ALICE}%2F2026%2Fr%2Fs3%2Faws4_request"
    );
    let ask = |origin: &str| {
        [
            ("origin", origin),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "x-amz-date"),
        ]
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
    };
    let told = door.send(&line, &ask("https://a.example"), b"").await;
    assert_eq!(
        (told.status, told.header("access-control-max-age")),
        (200, Some("30"))
    );
    assert_eq!(told.header("access-control-allow-headers"), Some("x-amz-date"));
    let told = door.send(&line, &ask("https://a.test"), b"").await;
    assert_eq!((told.status, told.code().as_str()), (403, "AccessForbidden"));
    door.alice("DELETE /bucket?cors", &[], b"", 204).await;
    assert_eq!(door.send(&line, &ask("https://a.example"), b"").await.status, 403);
}
