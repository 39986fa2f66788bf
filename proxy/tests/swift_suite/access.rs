//! Who gets in: every route, every kind of caller.
use super::door::{ADMIN, ALICE, Door, MALLORY, READER};

/// Every method of every level: path, whether it only reads.
const ROUTES: &[(&str, &str, bool)] = &[
    ("GET", "/v1/AUTH_p", true),
    ("HEAD", "/v1/AUTH_p", true),
    ("POST", "/v1/AUTH_p", false),
    ("PUT", "/v1/AUTH_p", false),
    ("GET", "/v1/AUTH_p/c", true),
    ("HEAD", "/v1/AUTH_p/c", true),
    ("POST", "/v1/AUTH_p/c", false),
    ("PUT", "/v1/AUTH_p/c", false),
    ("GET", "/v1/AUTH_p/c/o", true),
    ("HEAD", "/v1/AUTH_p/c/o", true),
    ("POST", "/v1/AUTH_p/c/o", false),
    ("PUT", "/v1/AUTH_p/c/o", false),
    ("COPY", "/v1/AUTH_p/c/o", false),
    ("PUT", "/v1/AUTH_p/c/s?multipart-manifest=put", false),
    ("DELETE", "/v1/AUTH_p/c/o", false),
    ("DELETE", "/v1/AUTH_p/c", false),
];

async fn filled() -> Door {
    let door = Door::open().await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    door.alice("PUT /v1/AUTH_p/c/o", &[], b"x", 201).await;
    door
}

#[tokio::test]
async fn every_route_turns_strangers_away_and_lets_readers_read() {
    let door = filled().await;
    let destination = [("Destination", "c/copy")];
    for (method, path, reads) in ROUTES {
        let line = format!("{method} {path}");
        let anonymous = door.call("", &line, &destination, b"").await;
        assert_eq!(anonymous.status, 401, "{line}");
        assert_eq!(
            anonymous.header("www-authenticate"),
            Some("Swift realm=\"AUTH_p\""),
            "{line}"
        );
        assert_eq!(
            door.call("rubbish", &line, &destination, b"").await.status,
            401,
            "{line}"
        );
        assert_eq!(
            door.call(MALLORY, &line, &destination, b"").await.status,
            403,
            "{line}"
        );
        assert_eq!(
            door.call("down", &line, &destination, b"").await.status,
            503,
            "{line}"
        );
        let reader = door.call(READER, &line, &destination, b"").await.status;
        assert_eq!(reader == 403, !reads, "{line}: {reader}");
    }
    let listing = door.alice("GET /v1/AUTH_p/c", &[], b"", 200).await;
    assert_eq!(listing.text(), "o\n", "nothing that was refused left a trace");
}

#[tokio::test]
async fn a_token_with_access_rules_is_nobodys_beyond_them() {
    let door = filled().await;
    // Good for GET and PUT of what is right in the container c.
    let narrow = format!("{ALICE}/|v1|AUTH_p|c|*");
    for (line, status) in [
        ("GET /v1/AUTH_p/c/o", 200),
        ("PUT /v1/AUTH_p/c/new", 201),
        ("DELETE /v1/AUTH_p/c/o", 401),
        ("GET /v1/AUTH_p/c", 401),
        ("GET /v1/AUTH_p", 401),
        ("GET /v1/AUTH_p/c/deep%2Fo", 401),
    ] {
        assert_eq!(door.call(&narrow, line, &[], b"").await.status, status, "{line}");
    }
}

#[tokio::test]
async fn a_stranger_does_not_learn_what_exists() {
    let door = filled().await;
    for path in [
        "/v1/AUTH_p/none",
        "/v1/AUTH_p/c/none",
        "/v1/AUTH_p/none/none",
        "/v1/AUTH_none/c/o",
    ] {
        for (who, status) in [("", 401), (MALLORY, 403)] {
            for method in ["GET", "HEAD", "PUT", "DELETE", "POST"] {
                let reply = door.call(who, &format!("{method} {path}"), &[], b"").await;
                assert_eq!(reply.status, status, "{method} {path} {who}");
            }
        }
    }
}

#[tokio::test]
async fn lists_of_a_container_let_others_read_and_write_by_id_and_name() {
    let door = filled().await;
    for list in ["q:mallory", "*:mallory", "q:*", "q-name:mallory-name"] {
        let lists = [("X-Container-Read", list), ("X-Container-Write", list)];
        door.alice("POST /v1/AUTH_p/c", &lists, b"", 204).await;
        for (line, status) in [
            ("GET /v1/AUTH_p/c/o", 200),
            ("GET /v1/AUTH_p/c", 200),
            ("PUT /v1/AUTH_p/c/m", 201),
            ("POST /v1/AUTH_p/c/m", 202),
            ("DELETE /v1/AUTH_p/c/m", 204),
            ("POST /v1/AUTH_p/c", 403),
            ("DELETE /v1/AUTH_p/c", 403),
            ("GET /v1/AUTH_p", 403),
        ] {
            assert_eq!(
                door.call(MALLORY, line, &[], b"").await.status,
                status,
                "{list}: {line}"
            );
        }
    }
    door.alice("POST /v1/AUTH_p/c", &[("X-Remove-Container-Read", "x")], b"", 204)
        .await;
    assert_eq!(
        door.call(MALLORY, "GET /v1/AUTH_p/c/o", &[], b"").await.status,
        403
    );
}

#[tokio::test]
async fn public_containers_are_read_without_a_token_and_listed_only_if_they_say_so() {
    let door = filled().await;
    door.alice(
        "POST /v1/AUTH_p/c",
        &[("X-Container-Read", ".r:*,.r:-.evil.com")],
        b"",
        204,
    )
    .await;
    let evil = [("Referer", "http://www.evil.com/page")];
    for who in ["", "rubbish"] {
        assert_eq!(door.call(who, "GET /v1/AUTH_p/c/o", &[], b"").await.status, 200);
        assert_eq!(door.call(who, "GET /v1/AUTH_p/c/o", &evil, b"").await.status, 401);
        assert_eq!(door.call(who, "GET /v1/AUTH_p/c", &[], b"").await.status, 401);
        assert_eq!(door.call(who, "PUT /v1/AUTH_p/c/o", &[], b"").await.status, 401);
    }
    door.alice(
        "POST /v1/AUTH_p/c",
        &[("X-Container-Read", ".r:*,.rlistings")],
        b"",
        204,
    )
    .await;
    assert_eq!(door.call("", "GET /v1/AUTH_p/c", &[], b"").await.status, 200);
    door.alice("POST /v1/AUTH_p/c", &[("X-Container-Write", ".r:*")], b"", 400)
        .await;
    door.alice("POST /v1/AUTH_p/c", &[("X-Container-Read", ".q:*")], b"", 400)
        .await;
}

#[tokio::test]
async fn keys_and_lists_are_for_the_owners_eyes() {
    let door = filled().await;
    let secret = [
        ("X-Container-Read", "q:*"),
        ("X-Container-Meta-Temp-URL-Key", "k"),
        ("X-Container-Meta-Color", "red"),
    ];
    door.alice("POST /v1/AUTH_p/c", &secret, b"", 204).await;
    for (who, sees) in [(ALICE, true), (ADMIN, true), (READER, false), (MALLORY, false)] {
        let reply = door.call(who, "HEAD /v1/AUTH_p/c", &[], b"").await;
        assert_eq!(reply.status, 204, "{who}");
        assert_eq!(reply.header("x-container-read").is_some(), sees, "{who}");
        assert_eq!(
            reply.header("x-container-meta-temp-url-key").is_some(),
            sees,
            "{who}"
        );
        assert_eq!(reply.header("x-container-meta-color"), Some("red"), "{who}");
    }
}

#[tokio::test]
async fn a_service_account_wants_the_users_token_and_the_services() {
    let door = Door::open().await;
    for (token, status) in [
        ("s/glance/service", 201),
        ("s/glance/member", 403),
        ("rubbish", 403),
    ] {
        let reply = door
            .call(ALICE, "PUT /v1/SERVICE_p/c", &[("X-Service-Token", token)], b"")
            .await;
        assert_eq!(reply.status, status, "{token}");
    }
    assert_eq!(
        door.call(ALICE, "GET /v1/SERVICE_p/c", &[], b"").await.status,
        403
    );
}

#[tokio::test]
async fn the_list_of_an_account_lets_others_in_as_far_as_it_says() {
    let door = filled().await;
    let status = async |line: &str| door.call(MALLORY, line, &[], b"").await.status;
    for (list, get, put, post) in [
        ("{\"admin\":[\"q:mallory\"]}", 200, 201, 204),
        ("{\"read-write\":[\"q-name:mallory-name\"]}", 200, 201, 403),
        ("{\"read-only\":[\"*:mallory\"]}", 200, 403, 403),
        ("{\"read-only\":[\"q:other\"]}", 403, 403, 403),
        ("{}", 403, 403, 403),
    ] {
        door.alice("POST /v1/AUTH_p", &[("X-Account-Access-Control", list)], b"", 204)
            .await;
        let seen = door.call(MALLORY, "GET /v1/AUTH_p", &[], b"").await;
        assert_eq!(seen.status, get, "{list}");
        let shown = seen.header("x-account-access-control");
        assert_eq!(shown, (post == 204).then_some(list), "only owners see it");
        assert_eq!(status("GET /v1/AUTH_p/c").await, get, "{list}");
        assert_eq!(status("GET /v1/AUTH_p/c/o").await, get, "{list}");
        assert_eq!(status("PUT /v1/AUTH_p/c/mine").await, put, "{list}");
        assert_eq!(status("POST /v1/AUTH_p").await, post, "{list}");
        assert_eq!(status("DELETE /v1/AUTH_p").await, 403, "{list}");
    }
    for bad in ["yuck", "[]", "{\"admin\":\"x\"}", "{\"others\":[]}"] {
        door.alice("POST /v1/AUTH_p", &[("X-Account-Access-Control", bad)], b"", 400)
            .await;
    }
}

#[tokio::test]
async fn a_name_and_a_password_give_a_token_and_the_account() {
    let door = filled().await;
    let asked = [("X-Auth-User", "p:alice"), ("X-Auth-Key", "member")];
    let given = door.call("", "GET /auth/v1.0", &asked, b"").await;
    assert_eq!(given.status, 200, "{}", given.text());
    assert_eq!(given.header("x-storage-url"), Some("http://test/v1/AUTH_p"));
    assert_eq!(given.header("x-auth-token"), Some(ALICE));
    assert_eq!(given.header("x-storage-token"), Some(ALICE));
    assert!(given.header("x-auth-token-expires").is_some());
    for (user, key, status) in [
        ("p:alice", "wrong", 401),
        ("alice", "member", 401),
        ("p:alice", "down", 503),
    ] {
        let asked = [("X-Storage-User", user), ("X-Storage-Pass", key)];
        let got = door.call("", "GET /auth/v1.0/", &asked, b"").await;
        assert_eq!(got.status, status, "{user} {key}");
        assert_eq!(got.header("x-auth-token"), None);
    }
    let put = door.call("", "PUT /auth/v1.0", &asked, b"").await;
    assert_eq!(put.status, 405);
}

#[tokio::test]
async fn a_bearer_token_counts_where_no_other_is_shown() {
    let door = filled().await;
    let status = async |token: &str, authorization: &str| {
        let shown = [("Authorization", authorization)];
        let got = door.call(token, "GET /v1/AUTH_p/c/o", &shown, b"").await;
        got.status
    };
    let bearer = |token: &str| format!("Bearer {token}");
    assert_eq!(status("", &bearer(ALICE)).await, 200);
    assert_eq!(status("", &format!("bearer  {ALICE} ")).await, 200);
    assert_eq!(status("", &bearer(MALLORY)).await, 403);
    assert_eq!(status("", &bearer("down")).await, 503);
    for strange in ["rubbish", ""] {
        assert_eq!(status("", &bearer(strange)).await, 401, "{strange:?}");
    }
    assert_eq!(status("", ALICE).await, 401, "of no kind");
    assert_eq!(status("", &format!("Basic {ALICE}")).await, 401);
    // The other header is the one that is meant for this service.
    assert_eq!(status(MALLORY, &bearer(ALICE)).await, 403);
    assert_eq!(status(ALICE, &bearer(MALLORY)).await, 200);
    // What anybody may read stays so, whatever a gateway on the way is shown.
    door.alice("POST /v1/AUTH_p/c", &[("X-Container-Read", ".r:*")], b"", 204)
        .await;
    assert_eq!(status("", &bearer("of-somebody-else")).await, 200);
    // Signed requests are the other dialect's.
    let signed = [("Authorization", "AWS4-HMAC-SHA256 Credential=x")];
    let got = door.call("", "GET /v1/AUTH_p/c/o", &signed, b"").await;
    assert_eq!(got.status, 501);
}
