//! Who may do what: access lists of buckets and objects, requests without a
//! key, and buckets of other projects.
use super::door::{ALICE, Door, MALLORY, RITA, Reply, SECRET};
use super::sign::{self, Request};

/// Somebody without a key.
async fn nobody(door: &Door, line: &str, body: &[u8]) -> Reply {
    door.send(line, &[], body).await
}

fn grants(list: &str, to: &str, permission: &str) -> String {
    format!(
        r#"<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>{list}</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>{to}</ID></Grantee><Permission>{permission}</Permission></Grant></AccessControlList></AccessControlPolicy>"#
    )
}

#[tokio::test]
async fn without_a_key_only_what_is_public_is_open_and_the_project_must_be_named() {
    let door = Door::open().await;
    door.alice("PUT /open", &[("x-amz-acl", "public-read")], b"", 200)
        .await;
    door.alice("PUT /open/k", &[], b"bytes", 200).await;
    door.alice("PUT /closed", &[], b"", 200).await;
    door.alice("PUT /closed/k", &[], b"hidden", 200).await;
    let shown = [("x-amz-acl", "public-read")];
    door.alice("PUT /closed/shown", &shown, b"shown", 200).await;
    for (line, status) in [
        ("GET /p:open/k", 200),
        ("GET /p%3Aopen/k", 200),
        ("HEAD /p:open/k", 200),
        ("GET /p:open", 200),
        ("GET /p:open/none", 404),
        ("PUT /p:open/k", 403),
        ("DELETE /p:open/k", 403),
        ("GET /p:open?acl", 403),
        ("GET /p:open/k?acl", 403),
        ("GET /p:open?policy", 403),
        ("PUT /p:open?acl", 403),
        ("GET /p:closed/shown", 200),
        ("HEAD /p:closed/shown", 200),
        ("GET /p:closed/k", 403),
        ("GET /p:closed/none", 403),
        ("GET /p:closed", 403),
        ("DELETE /p:closed/shown", 403),
        ("GET /p:nowhere", 403),
        ("GET /q:open/k", 403),
        ("GET /open/k", 403),
        ("PUT /p:new", 403),
    ] {
        assert_eq!(nobody(&door, line, b"").await.status, status, "{line}");
    }
    assert_eq!(nobody(&door, "GET /p:open/k", b"").await.body, b"bytes");
    let told = nobody(&door, "GET /open/k", b"").await;
    assert!(told.text().contains("/PROJECT:BUCKET"), "{}", told.text());
    let batch = b"<Delete><Object><Key>k</Key></Object></Delete>";
    let digest = [("content-md5".to_owned(), sign::content_md5(batch))];
    let refused = door.send("POST /p:open?delete", &digest, batch).await;
    assert_eq!(refused.elements("Code"), ["AccessDenied"], "{}", refused.text());
    assert_eq!(door.alice("GET /open/k", &[], b"", 200).await.body, b"bytes");
}

#[tokio::test]
async fn a_list_of_an_object_is_kept_shown_and_goes_with_its_object() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket/k", &[], b"x", 200).await;
    let own = door.alice("GET /bucket/k?acl", &[], b"", 200).await;
    assert_eq!(own.elements("Permission"), ["FULL_CONTROL"]);
    assert_eq!(own.elements("ID"), ["p", "p"]);
    for (headers, permissions) in [
        (&[("x-amz-acl", "public-read")][..], &["FULL_CONTROL", "READ"][..]),
        (&[("x-amz-acl", "authenticated-read")], &["FULL_CONTROL", "READ"]),
        (&[("x-amz-acl", "bucket-owner-full-control")], &["FULL_CONTROL"]),
        (
            &[("x-amz-grant-read", "id=\"q\""), ("x-amz-grant-read-acp", "id=q")],
            &["READ", "READ_ACP"],
        ),
    ] {
        door.alice("PUT /bucket/new", headers, b"x", 200).await;
        let shown = door.alice("GET /bucket/new?acl", &[], b"", 200).await;
        assert_eq!(shown.elements("Permission"), permissions, "{headers:?}");
        door.alice("PUT /bucket/k?acl", headers, b"", 200).await;
        let shown = door.alice("GET /bucket/k?acl", &[], b"", 200).await;
        assert_eq!(shown.elements("Permission"), permissions, "{headers:?}");
    }
    let own = door.alice("HEAD /bucket/k", &[], b"", 200).await;
    assert!(
        !own.headers.iter().any(|(name, _)| name.contains("acl")),
        "{:?}",
        own.headers
    );
    assert_eq!(door.call(MALLORY, "GET /p:bucket/k", &[], b"").await.body, b"x");
    assert_eq!(
        door.call(MALLORY, "GET /p:bucket/k?acl", &[], b"").await.status,
        200
    );
    assert_eq!(
        door.call(MALLORY, "PUT /p:bucket/k?acl", &[], b"").await.status,
        403
    );
    assert_eq!(door.call(RITA, "GET /bucket/k", &[], b"").await.status, 403);
    // A copy is as private as any new object; a list survives the other dialect's POST.
    let copied = [("x-amz-copy-source", "/bucket/k")];
    door.alice("PUT /bucket/copy", &copied, b"", 200).await;
    assert_eq!(
        door.call(MALLORY, "GET /p:bucket/copy", &[], b"").await.status,
        403
    );
    door.swift("POST /v1/AUTH_p/bucket/k", &[("X-Object-Meta-A", "1")], b"", 202)
        .await;
    assert_eq!(door.call(MALLORY, "GET /p:bucket/k", &[], b"").await.status, 200);
    let full = grants("p", "q", "FULL_CONTROL");
    door.alice("PUT /bucket/k?acl", &[], full.as_bytes(), 200).await;
    assert_eq!(
        door.call(MALLORY, "GET /p:bucket/k?acl", &[], b"").await.status,
        200
    );
    let private = [("x-amz-acl", "private")];
    assert_eq!(
        door.call(MALLORY, "PUT /p:bucket/k?acl", &private, b"")
            .await
            .status,
        200
    );
    assert_eq!(door.call(MALLORY, "GET /p:bucket/k", &[], b"").await.status, 403);
}

#[tokio::test]
async fn an_upload_in_parts_gets_its_list_when_it_begins() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let public = [("x-amz-acl", "public-read")];
    let begun = door.alice("POST /bucket/large?uploads", &public, b"", 200).await;
    let id = begun.element("UploadId").unwrap();
    let line = format!("PUT /bucket/large?partNumber=1&uploadId={id}");
    let part = door.alice(&line, &[], b"only part", 200).await;
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.header("etag").unwrap()
    );
    let line = format!("POST /bucket/large?uploadId={id}");
    door.alice(&line, &[], document.as_bytes(), 200).await;
    assert_eq!(nobody(&door, "GET /p:bucket/large", b"").await.body, b"only part");
    assert_eq!(nobody(&door, "GET /p:bucket", b"").await.status, 403);
}

#[tokio::test]
async fn lists_of_buckets_are_the_containers_and_the_rest_is_kept_beside_them() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket/k", &[], b"x", 200).await;
    let given = [("x-amz-grant-full-control", "id=q"), ("x-amz-grant-read", "id=r")];
    door.alice("PUT /bucket?acl", &given, b"", 200).await;
    let head = door.swift("HEAD /v1/AUTH_p/bucket", &[], b"", 204).await;
    assert_eq!(head.header("x-container-read"), Some("q:*,r:*"));
    assert_eq!(head.header("x-container-write"), Some("q:*"));
    let shown = door.alice("GET /bucket?acl", &[], b"", 200).await;
    assert_eq!(shown.elements("ID"), ["p", "q", "r", "p"]);
    assert_eq!(
        shown.elements("Permission"),
        ["FULL_CONTROL", "FULL_CONTROL", "READ"]
    );
    for (line, status) in [
        ("GET /p:bucket", 200),
        ("GET /p:bucket/k", 200),
        ("PUT /p:bucket/m", 200),
        ("GET /p:bucket?acl", 200),
        ("GET /p:bucket?policy", 403),
        ("DELETE /p:bucket", 403),
    ] {
        assert_eq!(door.call(MALLORY, line, &[], b"").await.status, status, "{line}");
    }
    let open = [("X-Container-Read", ".r:*,.rlistings")];
    door.swift("POST /v1/AUTH_p/bucket", &open, b"", 204).await;
    assert_eq!(nobody(&door, "GET /p:bucket/k", b"").await.status, 200);
    let all = [("x-amz-acl", "authenticated-read")];
    door.alice("PUT /bucket?acl", &all, b"", 200).await;
    assert_eq!(nobody(&door, "GET /p:bucket/k", b"").await.status, 403);
    assert_eq!(door.call(MALLORY, "GET /p:bucket/k", &[], b"").await.status, 200);
    assert_eq!(
        door.call(MALLORY, "GET /p:bucket?acl", &[], b"").await.status,
        403
    );
    for (headers, status, code) in [
        (&[("x-amz-acl", "cake")][..], 400, "InvalidArgument"),
        (&[("x-amz-acl", "log-delivery-write")], 501, "NotImplemented"),
        (
            &[("x-amz-grant-read", "emailAddress=a@b")],
            400,
            "UnresolvableGrantByEmailAddress",
        ),
        (&[], 400, "MissingSecurityHeader"),
    ] {
        let reply = door.call(ALICE, "PUT /bucket?acl", headers, b"").await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (status, code),
            "{headers:?}"
        );
    }
    let other = grants("q", "q", "READ");
    let reply = door.call(ALICE, "PUT /bucket?acl", &[], other.as_bytes()).await;
    assert_eq!(reply.code(), "AccessDenied");
}

#[tokio::test]
async fn what_another_project_writes_is_its_own_unless_the_bucket_says_otherwise() {
    let door = Door::open().await;
    let open = [("x-amz-acl", "public-read-write")];
    door.alice("PUT /bucket", &open, b"", 200).await;
    assert_eq!(nobody(&door, "PUT /p:bucket/anonymous", b"x").await.status, 200);
    let theirs = [("x-amz-expected-bucket-owner", "p")];
    assert_eq!(
        door.call(MALLORY, "PUT /bucket/k", &theirs, b"x").await.status,
        200
    );
    let shown = door.alice("GET /bucket/k?acl", &[], b"", 200).await;
    assert_eq!(shown.elements("ID"), ["q", "q"]);
    assert_eq!(
        door.call(MALLORY, "GET /p:bucket/k?acl", &[], b"").await.status,
        200
    );
    let preferred = b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership></Rule></OwnershipControls>";
    door.alice("PUT /bucket?ownershipControls", &[], preferred, 200)
        .await;
    let given = [("x-amz-acl", "bucket-owner-full-control")];
    assert_eq!(
        door.call(MALLORY, "PUT /p:bucket/given", &given, b"x")
            .await
            .status,
        200
    );
    let shown = door.alice("GET /bucket/given?acl", &[], b"", 200).await;
    assert_eq!(shown.elements("ID"), ["p", "p"]);
    // The two ways to name a project agree, or nobody is let in.
    let other = [("x-amz-expected-bucket-owner", "q")];
    let refused = door.call(ALICE, "GET /p:bucket", &other, b"").await;
    assert_eq!(refused.code(), "AccessDenied");
    let enforced = b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>";
    let refused = door
        .alice("PUT /bucket?ownershipControls", &[], enforced, 400)
        .await;
    assert_eq!(refused.code(), "InvalidBucketAclWithObjectOwnership");
    door.alice("PUT /bucket?acl", &[("x-amz-acl", "private")], b"", 200)
        .await;
    door.alice("PUT /bucket?ownershipControls", &[], enforced, 200)
        .await;
    let shown = door.alice("GET /bucket?ownershipControls", &[], b"", 200).await;
    assert_eq!(shown.elements("ObjectOwnership"), ["BucketOwnerEnforced"]);
    let public = [("x-amz-acl", "public-read")];
    for line in ["PUT /bucket/k", "PUT /bucket/k?acl", "PUT /bucket?acl"] {
        let refused = door.call(ALICE, line, &public, b"").await;
        assert_eq!(refused.code(), "AccessControlListNotSupported", "{line}");
    }
    assert_eq!(door.call(ALICE, "PUT /bucket/k", &given, b"x").await.status, 200);
    door.alice("DELETE /bucket?ownershipControls", &[], b"", 204)
        .await;
    door.alice("GET /bucket?ownershipControls", &[], b"", 404).await;
}

#[tokio::test]
async fn a_copy_wants_its_source_to_be_readable_wherever_it_is() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket/closed", &[], b"x", 200).await;
    let public = [("x-amz-acl", "public-read")];
    door.alice("PUT /bucket/open", &public, b"open", 200).await;
    assert_eq!(door.call(MALLORY, "PUT /mine", &[], b"").await.status, 200);
    for (source, status) in [
        ("/bucket/open", 200),
        ("/bucket/closed", 403),
        ("/bucket/none", 403),
    ] {
        let headers = [
            ("x-amz-copy-source", source),
            ("x-amz-source-expected-bucket-owner", "p"),
        ];
        let reply = door.call(MALLORY, "PUT /mine/copy", &headers, b"").await;
        assert_eq!(reply.status, status, "{source}: {}", reply.text());
    }
    assert_eq!(door.call(MALLORY, "GET /mine/copy", &[], b"").await.body, b"open");
    let own = [("x-amz-copy-source", "/bucket/open")];
    assert_eq!(door.call(MALLORY, "PUT /mine/copy", &own, b"").await.status, 404);
}

#[tokio::test]
async fn nobody_turns_a_link_that_another_signed_to_another_bucket() {
    let door = Door::open().await;
    for who in [ALICE, MALLORY] {
        assert_eq!(door.call(who, "PUT /bucket", &[], b"").await.status, 200);
        let body = format!("of {who}");
        assert_eq!(
            door.call(who, "PUT /bucket/k", &[], body.as_bytes()).await.status,
            200
        );
    }
    let given = [("x-amz-acl", "public-read")];
    assert_eq!(
        door.call(MALLORY, "PUT /bucket?acl", &given, b"").await.status,
        200
    );
    let mut link = Request {
        method: "GET",
        target: "/bucket/k",
        headers: Vec::new(),
        payload: String::new(),
        at: sign::now(),
    };
    let line = format!("GET {}", link.presign(ALICE, SECRET, &door.host(), 60));
    assert_eq!(door.send(&line, &[], b"").await.text(), "of alice");
    let other = [("x-amz-expected-bucket-owner".to_owned(), "q".to_owned())];
    let turned = door.send(&line, &other, b"").await;
    assert_eq!((turned.status, turned.code().as_str()), (403, "AccessDenied"));
    let signed = [("x-amz-expected-bucket-owner", "q")];
    assert_eq!(
        door.call(ALICE, "GET /bucket/k", &signed, b"").await.text(),
        "of mallory"
    );
}

#[tokio::test]
async fn a_page_may_ask_about_a_bucket_that_names_its_project() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[("x-amz-acl", "public-read")], b"", 200)
        .await;
    door.alice("PUT /bucket/k", &[], b"x", 200).await;
    let rules = b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";
    door.alice("PUT /bucket?cors", &[], rules, 200).await;
    let page = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "GET"),
    ];
    let page = page.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let told = door.send("OPTIONS /p:bucket/k", &page, b"").await;
    assert_eq!(
        (told.status, told.header("access-control-allow-origin")),
        (200, Some("*"))
    );
    let got = door.send("GET /p:bucket/k", &page[..1], b"").await;
    assert_eq!(got.header("access-control-allow-origin"), Some("*"));
}
