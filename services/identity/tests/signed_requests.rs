//! `/v3/ec2tokens` and `/v3/s3tokens`: who signed a request, told to gateways.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bench::{Bench, bench, project_scope};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::Sha1;

/// A key of the user demo: access and secret.
async fn key(b: &Bench) -> (String, String) {
    let demo = b.demo().await;
    let path = format!("/v3/users/{}/credentials/OS-EC2", b.report.demo_user_id);
    let body = json!({"tenant_id": b.report.demo_project_id});
    let key = b.call("POST", &path, &demo, body).await.expect(201).json();
    let text = |name: &str| key["credential"][name].as_str().unwrap().to_owned();
    (text("access"), text("secret"))
}

fn sha1(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// A token of a service user.
async fn gateway(b: &Bench) -> String {
    let user = b.new_user("gateway").await;
    b.grant(
        &format!("projects/{}", b.report.demo_project_id),
        &user,
        "service",
    )
    .await;
    b.token("gateway", "pw", project_scope("demo")).await
}

#[tokio::test]
async fn a_gateway_learns_who_signed_an_s3_request() {
    let b = bench().await;
    let ((access, secret), gateway) = (key(&b).await, gateway(&b).await);
    let to_sign = "GET\n\n\nTue, 27 Mar 2007 19:36:42 +0000\n/bucket/key";
    let body = |signature: &str| json!({"credentials": {"access": access, "signature": signature, "token": URL_SAFE.encode(to_sign)}});
    let right = sha1(&secret, to_sign);
    for (token, status) in [("", 401), (b.demo().await.as_str(), 403), (gateway.as_str(), 200)] {
        b.call("POST", "/v3/s3tokens", token, body(&right))
            .await
            .expect(status);
    }
    let answer = b.call("POST", "/v3/s3tokens", &gateway, body(&right)).await;
    assert!(!answer.headers.contains_key("x-subject-token"));
    let token = &answer.json()["token"];
    assert_eq!(token["methods"], json!(["ec2credential"]));
    assert_eq!(token["user"]["id"], json!(b.report.demo_user_id));
    assert_eq!(token["project"]["id"], json!(b.report.demo_project_id));
    let wrong = body(&sha1("other", to_sign));
    b.call("POST", "/v3/s3tokens", &gateway, wrong).await.expect(401);
    for bad in [json!({}), json!({"credentials": 5}), json!({"credentials": {}})] {
        b.call("POST", "/v3/s3tokens", &gateway, bad).await.expect(401);
    }
    let unknown = json!({"credentials": {"access": "none", "signature": "x", "token": "eA=="}});
    b.call("POST", "/v3/s3tokens", &gateway, unknown)
        .await
        .expect(404);
    let rubbish = json!({"credentials": {"access": access, "signature": "x", "token": "*"}});
    b.call("POST", "/v3/s3tokens", &gateway, rubbish)
        .await
        .expect(400);
    b.get("/v3/s3tokens", &gateway).await.expect(405);
}

#[tokio::test]
async fn an_ec2_request_gives_a_token_while_it_is_fresh() {
    let b = bench().await;
    let ((access, secret), gateway) = (key(&b).await, gateway(&b).await);
    let body = |stamp: &str| {
        let signature = sha1(&secret, &format!("ListThings{stamp}"));
        let params = json!({"SignatureVersion": "0", "Action": "ListThings", "Timestamp": stamp});
        json!({"ec2Credentials": {"access": access, "signature": signature, "host": "h:80", "verb": "GET",
            "path": "/", "params": params}})
    };
    let ask = async |stamp: &str| b.call("POST", "/v3/ec2tokens", &gateway, body(stamp)).await;
    let fresh = ask("2025-12-22T10:39:00Z").await.expect(200);
    let token = fresh.headers["x-subject-token"].to_str().unwrap().to_owned();
    assert_eq!(
        b.identity.verifier().verify(&token).await.unwrap().user_id,
        b.report.demo_user_id
    );
    // It is not exchanged for another, and manages no other ways in.
    b.authenticate(bench::by_token(&token, Value::Null))
        .await
        .expect(403);
    let credentials = format!("/v3/users/{}/application_credentials", b.report.demo_user_id);
    b.get(&credentials, &token).await.expect(403);
    let keys = format!("/v3/users/{}/credentials/OS-EC2", b.report.demo_user_id);
    for project in [&b.report.demo_project_id, &b.report.admin_project_id] {
        let tenant = json!({"tenant_id": project});
        b.call("POST", &keys, &token, tenant).await.expect(403);
    }
    b.get(&keys, &token).await.expect(403);
    for stale in ["2025-12-22T10:00:00Z", "2025-12-22T12:00:00Z", "yesterday"] {
        ask(stale).await.expect(401);
    }
    let mut wrong = body("2025-12-22T10:39:00Z");
    wrong["ec2Credentials"]["signature"] = json!("x");
    b.call("POST", "/v3/ec2tokens", &gateway, wrong).await.expect(401);
    let admin = b.admin().await;
    let disable = json!({"user": {"enabled": false}});
    b.call(
        "PATCH",
        &format!("/v3/users/{}", b.report.demo_user_id),
        &admin,
        disable,
    )
    .await
    .expect(200);
    ask("2025-12-22T10:39:00Z").await.expect(401);
    assert!(b.identity.verifier().verify(&token).await.is_err());
}
