//! Policies of buckets and what keeps the public out.
use super::door::{ALICE, Door, MALLORY, RITA};

async fn with_policy(statements: &str) -> Door {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket/k", &[], b"x", 200).await;
    put(&door, statements, 204).await;
    door
}

async fn put(door: &Door, statements: &str, status: u16) {
    let policy = format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#);
    door.alice("PUT /bucket?policy", &[], policy.as_bytes(), status)
        .await;
}

/// Who, what and the status it has.
async fn check(door: &Door, rows: &[(Option<&str>, &str, u16)]) {
    for (who, line, status) in rows {
        let reply = match who {
            Some(who) => door.call(who, line, &[], b"").await,
            None => door.send(line, &[], b"").await,
        };
        assert_eq!(reply.status, *status, "{who:?} {line}: {}", reply.text());
        if *status == 403 && !line.starts_with("HEAD") {
            assert_eq!(reply.code(), "AccessDenied", "{who:?} {line}");
        }
    }
}

#[tokio::test]
async fn a_policy_opens_what_it_allows_and_is_shown_as_it_was_put() {
    let statement = r#"{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"},
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::q:user/mallory"}, "Action": ["s3:ListBucket", "s3:PutObject"], "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/in/*"]}"#;
    let door = with_policy(statement).await;
    let shown = door.alice("GET /bucket?policy", &[], b"", 200).await;
    assert!(shown.text().contains(statement), "{}", shown.text());
    let status = door.alice("GET /bucket?policyStatus", &[], b"", 200).await;
    assert_eq!(status.elements("IsPublic"), ["true"]);
    check(
        &door,
        &[
            (None, "GET /p:bucket/k", 200),
            (None, "HEAD /p:bucket/k", 200),
            (None, "GET /p:bucket/none", 403),
            (None, "GET /p:bucket", 403),
            (None, "PUT /p:bucket/in/a", 403),
            (Some(RITA), "GET /bucket/k", 200),
            (Some(RITA), "GET /bucket", 403),
            (Some(MALLORY), "GET /p:bucket", 200),
            (Some(MALLORY), "GET /p:bucket/none", 404),
            (Some(MALLORY), "PUT /p:bucket/in/a", 200),
            (Some(MALLORY), "PUT /p:bucket/out", 403),
            (Some(MALLORY), "DELETE /p:bucket/in/a", 403),
            (Some(MALLORY), "GET /p:bucket?policy", 403),
        ],
    )
    .await;
    let tagged = [("x-amz-tagging", "a=1")];
    assert_eq!(
        door.call(MALLORY, "PUT /p:bucket/in/a", &tagged, b"")
            .await
            .status,
        403
    );
    door.alice("DELETE /bucket?policy", &[], b"", 204).await;
    let gone = door.alice("GET /bucket?policy", &[], b"", 404).await;
    assert_eq!(gone.code(), "NoSuchBucketPolicy");
    check(&door, &[(None, "GET /p:bucket/k", 403)]).await;
}

#[tokio::test]
async fn what_a_policy_denies_neither_lists_nor_roles_nor_the_other_dialect_allow() {
    let door = with_policy(
        r#"{"Effect": "Deny", "Principal": "*", "Action": ["s3:GetObject", "s3:DeleteObject"], "Resource": "arn:aws:s3:::bucket/secret/*"}"#,
    )
    .await;
    let open = [("x-amz-acl", "public-read")];
    door.alice("PUT /bucket?acl", &open, b"", 200).await;
    door.alice("PUT /bucket/secret/a", &open, b"secret", 200).await;
    check(
        &door,
        &[
            (None, "GET /p:bucket/k", 200),
            (None, "GET /p:bucket/secret/a", 403),
            (Some(ALICE), "GET /bucket/secret/a", 403),
            (Some(ALICE), "HEAD /bucket/secret/a", 403),
            (Some(ALICE), "DELETE /bucket/secret/a", 403),
        ],
    )
    .await;
    let copied = [("x-amz-copy-source", "/bucket/secret/a")];
    assert_eq!(
        door.call(ALICE, "PUT /bucket/copy", &copied, b"").await.status,
        403
    );
    let batch = b"<Delete><Object><Key>secret/a</Key></Object><Object><Key>k</Key></Object></Delete>";
    let done = door.alice("POST /bucket?delete", &[], batch, 200).await;
    assert_eq!(done.elements("Code"), ["AccessDenied"], "{}", done.text());
    assert!(done.text().contains("<Deleted><Key>k</Key>"), "{}", done.text());
    // The other dialect knows no policies: lists count there again once nothing is denied.
    let line = "GET /v1/AUTH_p/bucket/secret/a";
    assert_eq!(door.send(line, &[], b"").await.status, 401);
    let head = door.swift("HEAD /v1/AUTH_p/bucket", &[], b"", 204).await;
    assert_eq!(head.header("x-container-read"), None);
    let shown = door.alice("GET /bucket?acl", &[], b"", 200).await;
    assert_eq!(shown.elements("Permission"), ["FULL_CONTROL", "READ"]);
    door.alice("DELETE /bucket?policy", &[], b"", 204).await;
    assert_eq!(door.send(line, &[], b"").await.status, 200);
}

#[tokio::test]
async fn owners_can_always_mend_a_policy() {
    let door = with_policy(
        r#"{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"]}"#,
    )
    .await;
    check(
        &door,
        &[
            (Some(ALICE), "GET /bucket", 403),
            (Some(ALICE), "GET /bucket?acl", 403),
            (Some(ALICE), "DELETE /bucket", 403),
            (Some(RITA), "GET /bucket?policy", 403),
            (Some(ALICE), "GET /bucket?policy", 200),
            (Some(ALICE), "DELETE /bucket?policy", 204),
            (Some(ALICE), "GET /bucket", 200),
        ],
    )
    .await;
}

#[tokio::test]
async fn conditions_look_at_the_request_and_at_the_object() {
    let allow = |action: &str, resource: &str, condition: &str| {
        format!(
            r#"{{"Effect": "Allow", "Principal": "*", "Action": "s3:{action}", "Resource": "arn:aws:s3:::bucket{resource}", "Condition": {{{condition}}}}}"#
        )
    };
    let statements = [
        allow(
            "ListBucket",
            "",
            r#""StringLike": {"s3:prefix": "pub*"}, "NumericLessThanEquals": {"s3:max-keys": 10}"#,
        ),
        allow(
            "GetObject",
            "/tagged/*",
            r#""StringEquals": {"s3:ExistingObjectTag/shown": "yes"}"#,
        ),
        allow(
            "GetObject",
            "/here/*",
            r#""IpAddress": {"aws:SourceIp": "127.0.0.0/8"}, "Bool": {"aws:SecureTransport": "false"}"#,
        ),
        allow(
            "GetObject",
            "/there/*",
            r#""NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}"#,
        ),
        allow(
            "GetObject",
            "/later/*",
            r#""DateGreaterThan": {"aws:CurrentTime": "2100-01-01T00:00:00Z"}"#,
        ),
        allow("GetObject", "/known/*", r#""Null": {"aws:userid": "false"}"#),
        allow(
            "PutObject",
            "/in/*",
            r#""StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}"#,
        ),
        allow(
            "PutObjectAcl",
            "/in/*",
            r#""StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}"#,
        ),
    ];
    let door = with_policy(&statements.join(",")).await;
    let tagged = [("x-amz-tagging", "shown=yes")];
    for folder in ["here", "there", "later", "known", "tagged"] {
        door.alice(&format!("PUT /bucket/{folder}/a"), &[], b"x", 200)
            .await;
    }
    door.alice("PUT /bucket/tagged/b", &tagged, b"x", 200).await;
    check(
        &door,
        &[
            (None, "GET /p:bucket?prefix=public&max-keys=10", 200),
            (None, "GET /p:bucket?prefix=public&max-keys=11", 403),
            (None, "GET /p:bucket?prefix=x&max-keys=1", 403),
            (None, "GET /p:bucket?max-keys=1", 403),
            (None, "GET /p:bucket/tagged/a", 403),
            (None, "GET /p:bucket/tagged/b", 200),
            (None, "GET /p:bucket/here/a", 200),
            (None, "GET /p:bucket/there/a", 403),
            (None, "GET /p:bucket/later/a", 403),
            (None, "GET /p:bucket/known/a", 403),
            (Some(MALLORY), "GET /p:bucket/known/a", 200),
            (Some(MALLORY), "PUT /p:bucket/in/a", 403),
        ],
    )
    .await;
    let given = [("x-amz-acl", "bucket-owner-full-control")];
    assert_eq!(
        door.call(MALLORY, "PUT /p:bucket/in/a", &given, b"x")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_policy_that_is_none_is_refused_and_the_old_one_stays() {
    let good = r#"{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}"#;
    let door = with_policy(good).await;
    for (policy, says) in [
        ("{".to_owned(), "valid JSON"),
        (
            r#"{"Version": "2012-10-17", "Statement": []}"#.to_owned(),
            "no statement",
        ),
        (
            format!(r#"{{"Statement": [{}]}}"#, good.replace("bucket", "other")),
            "invalid resource",
        ),
        (
            format!(r#"{{"Statement": [{}]}}"#, good.replace("s3:GetObject", "s3:Eat")),
            "invalid action",
        ),
        (" ".repeat(20_481), "maximum allowed document size"),
    ] {
        let reply = door
            .alice("PUT /bucket?policy", &[], policy.as_bytes(), 400)
            .await;
        assert_eq!(reply.code(), "MalformedPolicy", "{policy}");
        let message = reply.element("Message").unwrap();
        assert!(message.contains(says), "{policy}: {message}");
    }
    check(&door, &[(None, "GET /p:bucket/k", 200)]).await;
    let long = format!(
        r#"{{"Statement": [{}]}}"#,
        good.replace("bucket/*", &format!("bucket/{}", "k".repeat(20_000)))
    );
    door.alice("PUT /bucket?policy", &[], long.as_bytes(), 204).await;
    let shown = door.alice("GET /bucket?policy", &[], b"", 200).await;
    assert_eq!(shown.text(), long);
}

#[tokio::test]
async fn each_switch_of_the_public_access_block_closes_what_it_names() {
    let public = r#"{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}"#;
    let door = with_policy(public).await;
    let missing = door.alice("GET /bucket?publicAccessBlock", &[], b"", 404).await;
    assert_eq!(missing.code(), "NoSuchPublicAccessBlockConfiguration");
    let block = |switch: &str| {
        format!("<PublicAccessBlockConfiguration><{switch}>true</{switch}></PublicAccessBlockConfiguration>")
    };
    let set = async |switch: &str| {
        door.alice(
            "PUT /bucket?publicAccessBlock",
            &[],
            block(switch).as_bytes(),
            200,
        )
        .await;
    };
    let acl = [("x-amz-acl", "public-read")];
    set("BlockPublicPolicy").await;
    let shown = door.alice("GET /bucket?publicAccessBlock", &[], b"", 200).await;
    assert_eq!(shown.elements("BlockPublicPolicy"), ["true"]);
    assert_eq!(shown.elements("BlockPublicAcls"), ["false"]);
    put(&door, public, 403).await;
    put(&door, &public.replace("\"*\"", r#"{"AWS": "q"}"#), 204).await;
    set("BlockPublicAcls").await;
    put(&door, public, 204).await;
    for line in ["PUT /bucket?acl", "PUT /bucket/k?acl", "PUT /bucket/k"] {
        let refused = door.call(ALICE, line, &acl, b"").await;
        assert_eq!(refused.code(), "AccessDenied", "{line}");
    }
    set("RestrictPublicBuckets").await;
    check(
        &door,
        &[
            (None, "GET /p:bucket/k", 403),
            (Some(MALLORY), "GET /p:bucket/k", 403),
            (Some(RITA), "GET /bucket/k", 200),
        ],
    )
    .await;
    door.alice("DELETE /bucket?policy", &[], b"", 204).await;
    door.alice("PUT /bucket?acl", &acl, b"", 200).await;
    door.alice("PUT /bucket/k?acl", &acl, b"", 200).await;
    let swift = "GET /v1/AUTH_p/bucket/k";
    assert_eq!(door.send(swift, &[], b"").await.status, 200);
    check(
        &door,
        &[(None, "GET /p:bucket/k", 200), (None, "GET /p:bucket", 200)],
    )
    .await;
    set("IgnorePublicAcls").await;
    assert_eq!(door.send(swift, &[], b"").await.status, 401);
    check(
        &door,
        &[
            (None, "GET /p:bucket/k", 403),
            (None, "GET /p:bucket", 403),
            (Some(MALLORY), "GET /p:bucket/k", 403),
            (Some(ALICE), "GET /bucket/k", 200),
            (Some(ALICE), "DELETE /bucket?publicAccessBlock", 204),
            (None, "GET /p:bucket/k", 200),
        ],
    )
    .await;
}

#[tokio::test]
async fn only_the_owner_can_be_said_to_pay() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    for (payer, status) in [("BucketOwner", 200), ("Requester", 501), ("Nobody", 400)] {
        let body =
            format!("<RequestPaymentConfiguration><Payer>{payer}</Payer></RequestPaymentConfiguration>");
        door.alice("PUT /bucket?requestPayment", &[], body.as_bytes(), status)
            .await;
    }
}

#[tokio::test]
async fn a_policy_gives_other_projects_everything_but_the_policy_itself() {
    let door = with_policy(
        r#"{"Effect": "Allow", "Principal": {"AWS": "q"}, "Action": "s3:*", "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"]}"#,
    )
    .await;
    check(
        &door,
        &[
            (Some(MALLORY), "GET /p:bucket?acl", 200),
            (Some(MALLORY), "GET /p:bucket/k?tagging", 200),
            (Some(MALLORY), "DELETE /p:bucket/k", 204),
            (Some(MALLORY), "GET /p:bucket?policy", 403),
            (Some(MALLORY), "DELETE /p:bucket?policy", 403),
            (Some(RITA), "GET /bucket", 403),
            (None, "GET /p:bucket", 403),
        ],
    )
    .await;
    let status = door.alice("GET /bucket?policyStatus", &[], b"", 200).await;
    assert_eq!(status.elements("IsPublic"), ["false"]);
}

#[tokio::test]
async fn a_link_of_the_other_dialect_leads_to_nothing_that_a_policy_denies() {
    let deny = r#"{"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/secret/*"}"#;
    let door = with_policy(deny).await;
    let open = [("x-amz-acl", "public-read")];
    door.alice("PUT /bucket/secret/a", &[], b"secret", 200).await;
    door.alice("PUT /bucket?acl", &open, b"", 200).await;
    door.alice("PUT /links", &open, b"", 200).await;
    let target = [("X-Symlink-Target", "bucket/secret/a")];
    door.swift("PUT /v1/AUTH_p/links/a", &target, b"", 201).await;
    check(&door, &[(None, "GET /p:links/a", 403)]).await;
    door.alice("DELETE /bucket?policy", &[], b"", 204).await;
    check(&door, &[(None, "GET /p:links/a", 200)]).await;
}
