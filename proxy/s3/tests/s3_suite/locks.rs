//! Object lock: what must stay, stays, whichever dialect asks.
use super::door::{ALICE, Door, RITA};

const LATER: &str = "2099-01-01T00:00:00Z";

async fn lockable() -> Door {
    let door = Door::open().await;
    let on = [("x-amz-bucket-object-lock-enabled", "true")];
    door.alice("PUT /bucket", &on, b"", 200).await;
    door
}

async fn put(door: &Door, headers: &[(&str, &str)]) -> String {
    let mut all = vec![("content-md5", "SzpiGLs+OnMD6KFxpg/Pkg==")];
    all.extend(headers);
    let put = door.alice("PUT /bucket/k", &all, b"bytes", 200).await;
    put.header("x-amz-version-id").expect("an id").to_owned()
}

fn retention(mode: &str, until: &str) -> Vec<u8> {
    format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>")
        .into_bytes()
}

async fn refused(door: &Door, line: &str, headers: &[(&str, &str)], body: &[u8]) {
    let reply = door.alice(line, headers, body, 403).await;
    assert_eq!(reply.code(), "AccessDenied", "{line}: {}", reply.text());
}

#[tokio::test]
async fn a_bucket_says_whether_its_versions_can_be_locked_and_for_how_long() {
    let door = lockable().await;
    let config = door.alice("GET /bucket?object-lock", &[], b"", 200).await;
    assert_eq!(config.element("ObjectLockEnabled").as_deref(), Some("Enabled"));
    assert_eq!(config.element("Mode"), None);
    let versioning = door.alice("GET /bucket?versioning", &[], b"", 200).await;
    assert_eq!(versioning.element("Status").as_deref(), Some("Enabled"));
    let off = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    let kept = door.alice("PUT /bucket?versioning", &[], off, 409).await;
    assert_eq!(kept.code(), "InvalidBucketState");
    door.swift(
        "POST /v1/AUTH_p/bucket",
        &[("X-Versions-Enabled", "false")],
        b"",
        409,
    )
    .await;
    let rule =
        b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
        <Mode>GOVERNANCE</Mode><Days>2</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
    door.alice("PUT /bucket?object-lock", &[], rule, 200).await;
    let config = door.alice("GET /bucket?object-lock", &[], b"", 200).await;
    assert_eq!(
        (
            config.element("Mode").as_deref(),
            config.element("Days").as_deref()
        ),
        (Some("GOVERNANCE"), Some("2"))
    );
    put(&door, &[]).await;
    let head = door.alice("HEAD /bucket/k", &[], b"", 200).await;
    assert_eq!(head.header("x-amz-object-lock-mode"), Some("GOVERNANCE"));
    assert!(head.header("x-amz-object-lock-retain-until-date").is_some());
    let bad =
        b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
        <Mode>GOVERNANCE</Mode></DefaultRetention></Rule></ObjectLockConfiguration>";
    assert_eq!(
        door.alice("PUT /bucket?object-lock", &[], bad, 400).await.code(),
        "MalformedXML"
    );
    // A bucket without it.
    door.alice("PUT /plain", &[], b"", 200).await;
    let none = door.alice("GET /plain?object-lock", &[], b"", 404).await;
    assert_eq!(none.code(), "ObjectLockConfigurationNotFoundError");
    let without = door.alice("PUT /plain?object-lock", &[], rule, 409).await;
    assert_eq!(without.code(), "InvalidBucketState");
    let hold = [
        ("x-amz-object-lock-legal-hold", "ON"),
        ("content-md5", "SzpiGLs+OnMD6KFxpg/Pkg=="),
    ];
    let missing = door.alice("PUT /plain/k", &hold, b"bytes", 400).await;
    assert_eq!(missing.code(), "InvalidRequest");
    door.alice("PUT /plain/k", &[], b"bytes", 200).await;
    let missing = door.alice("GET /plain/k?retention", &[], b"", 400).await;
    assert_eq!(missing.code(), "InvalidRequest");
}

#[tokio::test]
async fn a_governed_version_goes_only_if_the_owner_says_so() {
    let door = lockable().await;
    let lock = [
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-object-lock-retain-until-date", LATER),
    ];
    let id = put(&door, &lock).await;
    let line = format!("DELETE /bucket/k?versionId={id}");
    refused(&door, &line, &[], b"").await;
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    assert_eq!(door.call(RITA, &line, &bypass, b"").await.status, 403);
    let several = format!("<Delete><Object><Key>k</Key><VersionId>{id}</VersionId></Object></Delete>");
    let done = door
        .alice("POST /bucket?delete", &[], several.as_bytes(), 200)
        .await;
    assert_eq!(done.element("Code").as_deref(), Some("AccessDenied"));
    // A marker hides it, and the version stays.
    door.alice("DELETE /bucket/k", &[], b"", 204).await;
    let versioned = format!("/bucket/k?versionId={id}");
    assert_eq!(
        door.alice(&format!("GET {versioned}"), &[], b"", 200)
            .await
            .text(),
        "bytes"
    );
    let set = format!("PUT /bucket/k?retention&versionId={id}");
    refused(&door, &set, &[], &retention("GOVERNANCE", "2098-01-01T00:00:00Z")).await;
    door.alice(
        &set,
        &bypass,
        &retention("GOVERNANCE", "2098-01-01T00:00:00Z"),
        200,
    )
    .await;
    let got = door
        .alice(&format!("GET /bucket/k?retention&versionId={id}"), &[], b"", 200)
        .await;
    assert!(
        got.element("RetainUntilDate").unwrap().starts_with("2098-01-01"),
        "{}",
        got.text()
    );
    door.alice(&line, &bypass, b"", 204).await;
    door.alice(&format!("GET {versioned}"), &[], b"", 404).await;
}

#[tokio::test]
async fn a_compliance_version_goes_for_nobody_and_its_time_only_grows() {
    let door = lockable().await;
    let lock = [
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", LATER),
    ];
    let id = put(&door, &lock).await;
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    refused(&door, &format!("DELETE /bucket/k?versionId={id}"), &bypass, b"").await;
    let set = format!("PUT /bucket/k?retention&versionId={id}");
    for (mode, until) in [
        ("COMPLIANCE", "2098-01-01T00:00:00Z"),
        ("GOVERNANCE", "2100-01-01T00:00:00Z"),
    ] {
        refused(&door, &set, &bypass, &retention(mode, until)).await;
    }
    door.alice(&set, &[], &retention("COMPLIANCE", "2100-01-01T00:00:00Z"), 200)
        .await;
    let head = door.alice("HEAD /bucket/k", &[], b"", 200).await;
    let until = head.header("x-amz-object-lock-retain-until-date").unwrap();
    assert!(until.starts_with("2100-01-01T00:00:00"), "{until}");
    let past = door
        .alice(&set, &[], &retention("COMPLIANCE", "2001-01-01T00:00:00Z"), 400)
        .await;
    assert_eq!(past.code(), "InvalidArgument");
    assert_eq!(
        door.alice("DELETE /bucket", &[], b"", 409).await.code(),
        "BucketNotEmpty"
    );
}

#[tokio::test]
async fn a_legal_hold_keeps_a_version_until_it_is_taken_off() {
    let door = lockable().await;
    let id = put(&door, &[]).await;
    let line = "GET /bucket/k?legal-hold";
    assert_eq!(
        door.alice(line, &[], b"", 404).await.code(),
        "NoSuchObjectLockConfiguration"
    );
    let (on, off) = (
        &b"<LegalHold><Status>ON</Status></LegalHold>"[..],
        &b"<LegalHold><Status>OFF</Status></LegalHold>"[..],
    );
    door.alice("PUT /bucket/k?legal-hold", &[], on, 200).await;
    assert_eq!(
        door.alice(line, &[], b"", 200).await.element("Status").as_deref(),
        Some("ON")
    );
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    let delete = format!("DELETE /bucket/k?versionId={id}");
    refused(&door, &delete, &bypass, b"").await;
    assert_eq!(
        door.call(RITA, "PUT /bucket/k?legal-hold", &[], off).await.status,
        403
    );
    // Tags are no part of what is held.
    let tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    door.alice("PUT /bucket/k?tagging", &[], tags, 200).await;
    refused(&door, &delete, &[], b"").await;
    // A copy is not held.
    let copy = [("x-amz-copy-source", "/bucket/k")];
    door.alice("PUT /bucket/copy", &copy, b"", 200).await;
    let head = door.alice("HEAD /bucket/copy", &[], b"", 200).await;
    assert_eq!(head.header("x-amz-object-lock-legal-hold"), None);
    door.alice("PUT /bucket/k?legal-hold", &[], off, 200).await;
    door.alice(&delete, &[], b"", 204).await;
}

#[tokio::test]
async fn the_other_dialect_deletes_and_changes_nothing_that_is_locked() {
    let door = lockable().await;
    let id = put(&door, &[("x-amz-object-lock-legal-hold", "ON")]).await;
    let line = format!("DELETE /v1/AUTH_p/bucket/k?version-id={id}");
    let kept = door.swift(&line, &[], b"", 403).await;
    assert!(kept.text().contains("locked"), "{}", kept.text());
    door.swift("POST /v1/AUTH_p/bucket/k", &[("X-Object-Meta-A", "b")], b"", 403)
        .await;
    // Overwritten and deleted by Swift, the version stays.
    door.swift("PUT /v1/AUTH_p/bucket/k", &[], b"new", 201).await;
    door.swift("DELETE /v1/AUTH_p/bucket/k", &[], b"", 204).await;
    door.swift("DELETE /v1/AUTH_p/bucket", &[], b"", 409).await;
    let got = door
        .alice(&format!("GET /bucket/k?versionId={id}"), &[], b"", 200)
        .await;
    assert_eq!(got.text(), "bytes");
    // What was stored before, or by Swift, can be held too.
    door.swift("PUT /v1/AUTH_p/bucket/swift", &[], b"x", 201).await;
    let on = b"<LegalHold><Status>ON</Status></LegalHold>";
    door.alice("PUT /bucket/swift?legal-hold", &[], on, 200).await;
    let head = door.swift("HEAD /v1/AUTH_p/bucket/swift", &[], b"", 200).await;
    let id = head.header("x-object-version-id").unwrap().to_owned();
    door.swift(
        &format!("DELETE /v1/AUTH_p/bucket/swift?version-id={id}"),
        &[],
        b"",
        403,
    )
    .await;
}

#[tokio::test]
async fn the_parts_of_locked_objects_are_left_alone_by_the_other_dialect() {
    let door = lockable().await;
    let lock = [
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", LATER),
    ];
    let begun = door.alice("POST /bucket/k?uploads", &lock, b"", 200).await;
    let upload = begun.element("UploadId").unwrap();
    let line = format!("PUT /bucket/k?partNumber=1&uploadId={upload}");
    let part = door.alice(&line, &[], b"bytes", 200).await;
    let document = format!(
        "<CompleteMultipartUpload><Part><ETag>{}</ETag><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
        part.header("etag").unwrap()
    );
    let line = format!("POST /bucket/k?uploadId={upload}");
    let done = door.alice(&line, &[], document.as_bytes(), 200).await;
    let id = done.header("x-amz-version-id").unwrap().to_owned();
    let head = door.alice("HEAD /bucket/k", &[], b"", 200).await;
    assert_eq!(head.header("x-amz-object-lock-mode"), Some("COMPLIANCE"));
    refused(&door, &format!("DELETE /bucket/k?versionId={id}"), &[], b"").await;
    let row = door.swift("GET /v1/AUTH_p/bucket+segments", &[], b"", 200).await;
    let part = row.text().lines().next().unwrap().to_owned();
    for (method, body) in [("DELETE", &b""[..]), ("PUT", b"other")] {
        let line = format!("{method} /v1/AUTH_p/bucket+segments/{part}");
        door.swift(&line, &[], body, 403).await;
    }
    assert_eq!(door.alice("GET /bucket/k", &[], b"", 200).await.text(), "bytes");
    // A write that asks for a lock says what its bytes are.
    let unsure = door.call(ALICE, "PUT /bucket/u", &lock, b"bytes").await;
    assert_eq!((unsure.status, unsure.code().as_str()), (400, "InvalidRequest"));
}
