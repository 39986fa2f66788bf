//! Accounts, containers, `/info` and what every answer carries.
use super::door::{ADMIN, ALICE, Door};
use http::StatusCode;

#[tokio::test]
async fn every_answer_carries_its_transaction_id_and_a_date() {
    let door = Door::open().await;
    for line in [
        "GET /healthcheck",
        "GET /info",
        "GET /v1/AUTH_p",
        "GET /nowhere",
        "LICK /v1/AUTH_p",
    ] {
        let reply = door.call(ALICE, line, &[], b"").await;
        let id = reply.header("x-trans-id").expect(line);
        assert!(id.starts_with("tx") && id.len() >= 34, "{line}: {id}");
        assert_eq!(reply.header("x-openstack-request-id"), Some(id), "{line}");
        assert!(reply.header("date").is_some(), "{line}");
    }
    let reply = door
        .call(ALICE, "GET /info", &[("X-Trans-Id-Extra", "mine")], b"")
        .await;
    assert!(reply.header("x-trans-id").unwrap().ends_with("-mine"));
}

#[tokio::test]
async fn info_names_limits_policies_and_only_what_works() {
    let door = Door::open().await;
    let info = door.alice("GET /info", &[], b"", 200).await.json();
    assert_eq!(info["swift"]["max_file_size"], 5_368_709_122_u64);
    assert_eq!(info["swift"]["policies"][1]["aliases"], "silver, ag");
    assert_eq!(
        info["tempurl"]["allowed_digests"],
        serde_json::json!(["sha1", "sha256", "sha512"])
    );
    let mut parts: Vec<&str> = info.as_object().unwrap().keys().map(String::as_str).collect();
    parts.sort_unstable();
    assert_eq!(
        parts,
        [
            "account_quotas",
            "bulk_delete",
            "bulk_upload",
            "container_quotas",
            "crossdomain",
            "dlo",
            "domain_remap",
            "etag_quoter",
            "formpost",
            "object_versioning",
            "slo",
            "staticweb",
            "swift",
            "symlink",
            "tempauth",
            "tempurl",
            "versioned_writes"
        ]
    );
}

#[tokio::test]
async fn paths_outside_the_api_get_honest_answers() {
    let door = Door::open().await;
    for (line, status) in [
        ("GET /healthcheck", 200),
        ("GET /metrics", 200),
        ("PUT /info", 405),
        ("GET /v1", 412),
        ("GET /v1//c/o", 404),
        ("GET /v3/AUTH_p", 400),
        ("GET /", 404),
        ("LICK /v1/AUTH_p/c", 405),
        ("GET /object/v1/AUTH_p", 204),
        ("GET /v1.0/AUTH_p", 204),
    ] {
        assert_eq!(door.call(ALICE, line, &[], b"").await.status, status, "{line}");
    }
    let s3 = [("Authorization", "AWS4-HMAC-SHA256 Credential=x")];
    let reply = door.call("", "GET /bucket", &s3, b"").await;
    assert_eq!(reply.status, 501);
    assert!(reply.text().contains("<Code>NotImplemented</Code>"));
}

#[tokio::test]
async fn a_container_is_made_described_changed_and_removed() {
    let door = Door::open().await;
    let meta = [
        ("X-Container-Meta-Color", "gr\u{fc}n"),
        ("X-Storage-Policy", "AG"),
    ];
    door.alice("PUT /v1/AUTH_p/c", &meta, b"", 201).await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 202).await;
    door.alice("PUT /v1/AUTH_p/c", &[("X-Storage-Policy", "Policy-0")], b"", 409)
        .await;
    door.alice("PUT /v1/AUTH_p/d", &[("X-Storage-Policy", "gold")], b"", 400)
        .await;
    let reply = door.alice("HEAD /v1/AUTH_p/c", &[], b"", 204).await;
    for (name, value) in [
        ("x-container-meta-color", "gr\u{fc}n"),
        ("x-storage-policy", "silver"),
        ("x-container-object-count", "0"),
        ("x-container-bytes-used", "0"),
        ("accept-ranges", "bytes"),
        ("content-length", "0"),
        ("content-type", "text/plain; charset=utf-8"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    assert!(reply.header("last-modified").is_some() && reply.header("x-put-timestamp").is_some());
    door.alice(
        "POST /v1/AUTH_p/c",
        &[("X-Remove-Container-Meta-Color", "x")],
        b"",
        204,
    )
    .await;
    let reply = door.alice("HEAD /v1/AUTH_p/c", &[], b"", 204).await;
    assert_eq!(reply.header("x-container-meta-color"), None);
    door.alice("PUT /v1/AUTH_p/c/o", &[], b"x", 201).await;
    door.alice("DELETE /v1/AUTH_p/c", &[], b"", 409).await;
    door.alice("DELETE /v1/AUTH_p/c/o", &[], b"", 204).await;
    door.alice("DELETE /v1/AUTH_p/c", &[], b"", 204).await;
    for line in ["DELETE", "HEAD", "GET", "POST"] {
        door.alice(&format!("{line} /v1/AUTH_p/c"), &[], b"", 404).await;
    }
}

#[tokio::test]
async fn an_account_comes_to_be_by_its_first_use_and_keeps_metadata() {
    let door = Door::open().await;
    let reply = door.alice("HEAD /v1/AUTH_p", &[], b"", 204).await;
    assert_eq!(reply.header("x-account-container-count"), Some("0"));
    door.alice("POST /v1/AUTH_p", &[("X-Account-Meta-Tier", "gold")], b"", 204)
        .await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    let reply = door.alice("GET /v1/AUTH_p?format=json", &[], b"", 200).await;
    assert_eq!(reply.header("x-account-meta-tier"), Some("gold"));
    assert_eq!(reply.header("x-account-container-count"), Some("1"));
    assert_eq!(reply.json()[0]["name"], "c");
    assert_eq!(reply.json()[0]["storage_policy"], "Policy-0");
    door.alice("POST /v1/AUTH_p", &[("X-Account-Meta-Tier", "")], b"", 204)
        .await;
    assert_eq!(
        door.alice("HEAD /v1/AUTH_p", &[], b"", 204)
            .await
            .header("x-account-meta-tier"),
        None
    );
}

#[tokio::test]
async fn only_the_reseller_admin_deletes_accounts_and_only_where_it_is_allowed() {
    let door = Door::open().await;
    assert_eq!(door.call(ADMIN, "PUT /v1/AUTH_z", &[], b"").await.status, 201);
    assert_eq!(door.call(ALICE, "DELETE /v1/AUTH_p", &[], b"").await.status, 403);
    assert_eq!(
        door.call(ADMIN, "DELETE /v1/AUTH_z?oops", &[], b"").await.status,
        400
    );
    assert_eq!(door.call(ADMIN, "DELETE /v1/AUTH_z", &[], b"").await.status, 204);
    let door = Door::with(|config| config.swift.allow_account_management = false).await;
    for method in ["PUT", "DELETE"] {
        let reply = door.call(ADMIN, &format!("{method} /v1/AUTH_z"), &[], b"").await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_and_others_may_not() {
    let door = Door::open().await;
    let rules = [
        (
            "X-Container-Meta-Access-Control-Allow-Origin",
            "https://a.example https://b.example",
        ),
        ("X-Container-Meta-Access-Control-Max-Age", "5"),
        ("X-Container-Meta-Access-Control-Expose-Headers", "X-Mine"),
    ];
    door.alice("PUT /v1/AUTH_p/c", &rules, b"", 201).await;
    door.alice("PUT /v1/AUTH_p/c/o", &[("X-Object-Meta-Color", "red")], b"x", 201)
        .await;
    let ask = [
        ("Origin", "https://a.example"),
        ("Access-Control-Request-Method", "PUT"),
        ("Access-Control-Request-Headers", "x-a, x-b"),
    ];
    let reply = door.call("", "OPTIONS /v1/AUTH_p/c/o", &ask, b"").await;
    assert_eq!(reply.status, 200);
    for (name, value) in [
        ("access-control-allow-origin", "https://a.example"),
        ("access-control-max-age", "5"),
        ("access-control-allow-headers", "x-a, x-b"),
        ("vary", "Origin, Access-Control-Request-Headers"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    let stranger = [
        ("Origin", "https://c.example"),
        ("Access-Control-Request-Method", "PUT"),
    ];
    assert_eq!(
        door.call("", "OPTIONS /v1/AUTH_p/c/o", &stranger, b"")
            .await
            .status,
        401
    );
    assert_eq!(door.call("", "OPTIONS /v1/AUTH_p/c", &[], b"").await.status, 200);
    let reply = door.alice("GET /v1/AUTH_p/c/o", &ask[..1], b"", 200).await;
    let exposed = reply.header("access-control-expose-headers").unwrap();
    assert!(
        exposed.contains("x-object-meta-color") && exposed.contains("x-mine") && exposed.contains("etag")
    );
    let reply = door.alice("GET /v1/AUTH_p/c/o", &stranger[..1], b"", 200).await;
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_stop_drains_and_lets_nobody_new_in() {
    let door = Door::open().await;
    door.alice("GET /healthcheck", &[], b"", 200).await;
    let idle = door.connect().await;
    door.tasks.stopping().cancel();
    assert!(door.running.await.unwrap().is_ok());
    assert!(tokio::net::TcpStream::connect(door.address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn a_container_takes_no_more_than_its_quota() {
    let door = Door::open().await;
    let quota = [
        ("X-Container-Meta-Quota-Bytes", "10"),
        ("X-Container-Meta-Quota-Count", "2"),
    ];
    door.alice("PUT /v1/AUTH_p/c", &quota, b"", 201).await;
    door.alice("PUT /v1/AUTH_p/c/a", &[], b"01234567890", 413).await;
    door.alice("PUT /v1/AUTH_p/c/a", &[], b"0123456789", 201).await;
    door.alice("PUT /v1/AUTH_p/c/b", &[], b"0", 413).await;
    door.alice("PUT /v1/AUTH_p/c/b", &[], b"", 201).await;
    door.alice("PUT /v1/AUTH_p/c/c", &[], b"", 413).await;
    for kind in ["Bytes", "Count"] {
        let bad = [(format!("X-Container-Meta-Quota-{kind}"), "x")];
        door.alice("POST /v1/AUTH_p/c", &[(&bad[0].0, bad[0].1)], b"", 400)
            .await;
    }
}

#[tokio::test]
async fn only_the_reseller_admin_sets_the_quota_of_an_account() {
    let door = Door::open().await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    for name in [
        "X-Account-Quota-Bytes",
        "X-Account-Meta-Quota-Bytes",
        "X-Remove-Account-Quota-Count",
        "X-Account-Quota-Count-Policy-silver",
    ] {
        door.alice("POST /v1/AUTH_p", &[(name, "5")], b"", 403).await;
    }
    for (name, value, status) in [
        ("X-Account-Quota-Bytes", "x", 400),
        ("X-Account-Meta-Quota-Bytes", "3", 204),
        ("X-Account-Quota-Count-Policy-silver", "7", 204),
    ] {
        assert_eq!(
            door.call(ADMIN, "POST /v1/AUTH_p", &[(name, value)], b"")
                .await
                .status,
            status,
            "{name}"
        );
    }
    let seen = door.alice("HEAD /v1/AUTH_p", &[], b"", 204).await;
    assert_eq!(seen.header("x-account-quota-bytes"), Some("3"));
    assert_eq!(seen.header("x-account-quota-count-policy-silver"), Some("7"));
    assert_eq!(seen.header("x-account-sysmeta-quota-bytes"), None);
    door.alice("PUT /v1/AUTH_p/c/o", &[], b"1234", 413).await;
    assert_eq!(
        door.call(ADMIN, "PUT /v1/AUTH_p/c/o", &[], b"1234").await.status,
        201
    );
    let gone = [("X-Remove-Account-Quota-Bytes", "x")];
    assert_eq!(door.call(ADMIN, "POST /v1/AUTH_p", &gone, b"").await.status, 204);
    door.alice("HEAD /v1/AUTH_p/c/o", &[], b"", 200).await;
}

#[tokio::test]
async fn containers_are_copied_nowhere_and_whoever_asks_for_it_is_told_so() {
    let door = Door::open().await;
    door.alice("PUT /v1/AUTH_p/c", &[("X-Container-Sync-To", "/")], b"", 201)
        .await;
    for (to, says) in [
        ("//realm/cluster/AUTH_q/c", "No realm key for 'realm'"),
        (
            "http://127.0.0.1/v1/AUTH_q/c",
            "Invalid host '127.0.0.1' in X-Container-Sync-To",
        ),
    ] {
        let sync = [("X-Container-Sync-To", to)];
        for line in ["POST /v1/AUTH_p/c", "PUT /v1/AUTH_p/d", "POST /v1/AUTH_p/none"] {
            let refused = door.alice(line, &sync, b"", 400).await;
            assert_eq!(refused.text(), says, "{line}");
        }
        let stranger = door.call("", "POST /v1/AUTH_p/c", &sync, b"").await;
        assert_eq!(stranger.status, 401);
        // On an object it is a header like any other.
        door.alice("PUT /v1/AUTH_p/c/o", &sync, b"", 201).await;
    }
    door.alice("HEAD /v1/AUTH_p/d", &[], b"", 404).await;
    let gone = [("X-Remove-Container-Sync-To", "x")];
    door.alice("POST /v1/AUTH_p/c", &gone, b"", 204).await;
}

#[tokio::test]
async fn a_store_for_reading_only_takes_no_writes() {
    let door = Door::with(|config| config.swift.read_only = true).await;
    for line in [
        "PUT /v1/AUTH_p/c",
        "POST /v1/AUTH_p",
        "DELETE /v1/AUTH_p/c/o",
        "COPY /v1/AUTH_p/c/o",
    ] {
        door.alice(line, &[], b"", 405).await;
    }
    door.alice("GET /v1/AUTH_p", &[], b"", 204).await;
}

#[tokio::test]
async fn a_policy_for_other_origins_is_told_where_there_is_one() {
    let every = "<allow-access-from domain=\"*\" secure=\"false\" />";
    let some = "<allow-access-from domain=\"example.org\" />";
    for (policy, says) in [(None, every), (Some(some), some)] {
        let door = Door::with(|config| {
            if let Some(policy) = policy {
                config.swift.cross_domain_policy = policy.into();
            }
        });
        let told = door.await.call("", "GET /crossdomain.xml", &[], b"").await;
        assert_eq!(
            (told.status, told.header("content-type")),
            (200, Some("application/xml"))
        );
        assert!(told.text().contains(says), "{}", told.text());
    }
    let door = Door::with(|config| config.swift.cross_domain_policy = String::new()).await;
    door.alice("GET /crossdomain.xml", &[], b"", 412).await;
}
