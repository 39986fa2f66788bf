//! Malformed requests get Keystone's own fault, and change nothing.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use axum::body::Body;
use bench::{bench, by_password};
use http::Request;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value, json};

#[tokio::test]
async fn bodies_that_are_not_what_they_should_be_are_400() {
    let b = bench().await;
    let admin = b.admin().await;
    for body in [
        "",
        "{",
        "[]",
        "7",
        "null",
        "\"x\"",
        "{\"user\": 7}",
        "{\"user\": []}",
        "{}",
        "\u{0}",
    ] {
        let request = Request::post("/v3/users")
            .header("x-auth-token", &admin)
            .body(Body::from(body))
            .unwrap();
        b.send(request).await.expect(400);
    }
    let request = Request::post("/v3/users")
        .header("x-auth-token", &admin)
        .body(Body::from(vec![0xff, 0xfe]));
    b.send(request.unwrap()).await.expect(400);
    for user in [
        json!({"name": 7}),
        json!({"name": ""}),
        json!({"name": "  "}),
        json!({"name": "x".repeat(256)}),
        json!({"name": "nul\u{0}"}),
        json!({"name": null}),
        json!({}),
        json!({"name": "x", "enabled": "yes"}),
        json!({"name": "x", "password": 7}),
        json!({"name": "x", "password": "p".repeat(5000)}),
        json!({"name": "x", "options": []}),
        json!({"name": "x", "domain_id": 7}),
        json!({"name": "x", "default_project_id": {}}),
    ] {
        b.call("POST", "/v3/users", &admin, json!({"user": user}))
            .await
            .expect(400);
    }
    b.call(
        "POST",
        "/v3/users",
        &admin,
        json!({"user": {"name": "x", "domain_id": "none"}}),
    )
    .await
    .expect(404);
    assert_eq!(
        b.get("/v3/users", &admin).await.json()["users"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn authentication_says_what_is_missing() {
    let b = bench().await;
    for body in [
        json!({}),
        json!({"auth": {}}),
        json!({"auth": {"identity": {}}}),
        json!({"auth": {"identity": {"methods": "password"}}}),
        json!({"auth": {"identity": {"methods": [7]}}}),
        json!({"auth": {"identity": {"methods": ["password"]}}}),
        json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {"password": "x"}}}}}),
        json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "x", "password": "x"}}}}}),
        json!({"auth": {"identity": {"methods": ["token"], "token": {"id": 7}}}}),
        by_password("demo", "x", json!({"project": {"name": "x"}})),
        by_password(
            "demo",
            "x",
            json!({"project": {"id": "x"}, "domain": {"id": "x"}}),
        ),
        by_password("demo", "x", json!(7)),
    ] {
        b.authenticate(body).await.expect(400);
    }
    for method in ["magic", "saml2"] {
        b.authenticate(json!({"auth": {"identity": {"methods": [method]}}}))
            .await
            .expect(401);
    }
}

#[tokio::test]
async fn sizes_paths_and_methods_have_limits() {
    let b = bench().await;
    let admin = b.admin().await;
    let big = json!({"user": {"name": "x", "note": "x".repeat(200_000)}});
    b.call("POST", "/v3/users", &admin, big.clone()).await.expect(413);
    // The router is asked without a length here, as with chunked uploads.
    let unannounced = Request::post("/v3/users")
        .header("x-auth-token", &admin)
        .body(Body::from(big.to_string()));
    let unannounced = unannounced.unwrap();
    b.send(unannounced).await.expect(413);
    b.get(&format!("/v3/users?name={}", "x".repeat(10_000)), &admin)
        .await
        .expect(400);
    b.get("/v3/users?name=%ff", &admin).await.expect(400);
    b.get("/v3/users/%ff", &admin).await.expect(400);
    b.get("/v3/users/%00", &admin).await.expect(400);
    b.get("/v3/nothing", &admin).await.expect(404);
    b.get("/v2.0/tokens", "").await.expect(404);
    b.call("PUT", "/v3/users", &admin, json!({})).await.expect(405);
    b.get("/v3/OS-OAUTH2/token", &admin).await.expect(405);
    b.get("/v3/auth/OS-FEDERATION/websso/openid", "")
        .await
        .expect(501);
    b.get("/v3//projects/", &admin).await.expect(200);
    b.get("/identity/v3/projects", &admin).await.expect(200);
}

#[tokio::test]
async fn no_json_under_any_key_makes_a_handler_fail() {
    let b = bench().await;
    let admin = b.admin().await;
    // The same bodies at every run.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,10}".prop_map(Value::from)
    ];
    let keys = prop_oneof![
        Just("name"),
        Just("domain_id"),
        Just("enabled"),
        Just("options"),
        Just("tags"),
        Just("parent_id"),
        Just("type"),
        Just("url"),
        Just("blob"),
        Just("description"),
        Just("x")
    ];
    let value = leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,4}", inner, 0..3).prop_map(|m| json!(m))
        ]
    });
    let object = prop::collection::hash_map(keys, value, 0..6).prop_map(|m| json!(m));
    for kind in [
        "user",
        "project",
        "group",
        "domain",
        "role",
        "region",
        "service",
        "endpoint",
        "credential",
    ] {
        let mut bodies = Vec::new();
        for _ in 0..20 {
            bodies.push(object.new_tree(&mut runner).unwrap().current());
        }
        for body in bodies {
            let path = if kind == "service" {
                "/v3/services".to_owned()
            } else {
                format!("/v3/{kind}s")
            };
            let answer = b.call("POST", &path, &admin, json!({kind: body})).await;
            let status = answer.status.as_u16();
            assert!(
                [201, 400, 403, 404, 409].contains(&status),
                "{kind} {body}: {status} {}",
                answer.text
            );
        }
    }
}
