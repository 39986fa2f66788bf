//! What stands between a password and a token: several factors, lockout, and
//! the rules for passwords.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use bench::{Answer, Bench, DEMO_PASSWORD, bench, bench_with, by_password, by_token};
use hmac::{Hmac, KeyInit, Mac};
use http::Request;
use serde_json::{Value, json};
use sha1::Sha1;
use virga_identity::{Config, SecurityConfig};

const DAY: u64 = 24 * 3600;
/// Base32 of b"12345678901234567890".
const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// RFC 6238 over again, so that the service is not its own witness.
fn passcode(b: &Bench) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(b"12345678901234567890").unwrap();
    mac.update(&(b.now().as_secs() / 30).to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let at = usize::from(digest[19] & 15);
    let word = u32::from_be_bytes(digest[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", word % 1_000_000)
}

fn by_passcode(passcode: &str) -> Value {
    let user = json!({"name": "demo", "domain": {"id": "default"}, "passcode": passcode});
    json!({"auth": {"identity": {"methods": ["totp"], "totp": {"user": user}}}})
}

async fn with_receipt(b: &Bench, receipt: &str, body: Value) -> Answer {
    let request = Request::builder()
        .method("POST")
        .uri("/v3/auth/tokens")
        .header("openstack-auth-receipt", receipt)
        .body(axum::body::Body::from(body.to_string()));
    b.send(request.unwrap()).await
}

async fn with_passcodes(b: &Bench) {
    let demo = b.demo().await;
    let totp = json!({"credential": {"type": "totp", "blob": SECRET, "user_id": b.report.demo_user_id}});
    b.call("POST", "/v3/credentials", &demo, totp).await.expect(201);
}

async fn options(b: &Bench, options: Value) -> Answer {
    let admin = b.admin().await;
    let path = format!("/v3/users/{}", b.report.demo_user_id);
    b.call("PATCH", &path, &admin, json!({"user": {"options": options}}))
        .await
}

fn good(b: &str) -> Value {
    by_password("demo", b, Value::Null)
}

#[tokio::test]
async fn a_passcode_is_a_proof_and_counts_once() {
    let b = bench().await;
    with_passcodes(&b).await;
    let code = passcode(&b);
    let answer = b.authenticate(by_passcode(&code)).await.expect(201);
    assert_eq!(answer.json()["token"]["methods"], json!(["totp"]));
    b.authenticate(by_passcode(&code)).await.expect(401);
    b.authenticate(by_passcode("000000")).await.expect(401);
    b.advance(30);
    b.authenticate(by_passcode(&passcode(&b))).await.expect(201);
}

#[tokio::test]
async fn a_user_with_rules_gets_a_receipt_and_then_a_token() {
    let b = bench().await;
    with_passcodes(&b).await;
    options(&b, json!({"multi_factor_auth_rules": ["password"]}))
        .await
        .expect(400);
    let rules =
        json!({"multi_factor_auth_enabled": true, "multi_factor_auth_rules": [["password", "totp"], ["x"]]});
    options(&b, rules).await.expect(200);
    let half = b.authenticate(good(DEMO_PASSWORD)).await;
    assert_eq!(half.status, 401);
    assert!(!half.headers.contains_key("x-subject-token"));
    let body = half.json();
    assert_eq!(body["required_auth_methods"], json!([["password", "totp"]]));
    assert_eq!(body["receipt"]["methods"], json!(["password"]));
    assert_eq!(body["receipt"]["user"]["name"], "demo");
    let receipt = half.headers["openstack-auth-receipt"]
        .to_str()
        .unwrap()
        .to_owned();
    // A receipt is no token.
    b.get("/v3/auth/projects", &receipt).await.expect(401);
    with_receipt(&b, &receipt, by_passcode("000000"))
        .await
        .expect(401);
    let whole = with_receipt(&b, &receipt, by_passcode(&passcode(&b)))
        .await
        .expect(201);
    let mut methods: Vec<String> = serde_json::from_value(whole.json()["token"]["methods"].clone()).unwrap();
    methods.sort();
    assert_eq!(methods, ["password", "totp"]);
    let token = whole.headers["x-subject-token"].to_str().unwrap();
    b.authenticate(by_token(token, json!("unscoped")))
        .await
        .expect(201);
    // Both at once need no receipt; an old one is worth nothing.
    b.advance(301);
    with_receipt(&b, &receipt, by_passcode(&passcode(&b)))
        .await
        .expect(401);
    b.advance(30);
    let mut both = good(DEMO_PASSWORD);
    both["auth"]["identity"]["methods"] = json!(["password", "totp"]);
    both["auth"]["identity"]["totp"] = by_passcode(&passcode(&b))["auth"]["identity"]["totp"].clone();
    b.authenticate(both).await.expect(201);
    with_receipt(&b, "rubbish", good(DEMO_PASSWORD)).await.expect(401);
    options(&b, json!({"multi_factor_auth_enabled": false}))
        .await
        .expect(200);
    b.authenticate(good(DEMO_PASSWORD)).await.expect(201);
}

async fn with_rules(security: SecurityConfig) -> Bench {
    bench_with(Config {
        security,
        ..Config::default()
    })
    .await
}

#[tokio::test]
async fn wrong_passwords_lock_out_for_a_while_and_nobody_can_tell() {
    let b = with_rules(SecurityConfig {
        lockout_failure_attempts: Some(3),
        lockout_duration: 60,
        ..SecurityConfig::default()
    })
    .await;
    for _ in 0..2 {
        b.authenticate(good("wrong")).await.expect(401);
    }
    b.authenticate(good(DEMO_PASSWORD)).await.expect(201);
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(b.authenticate(good("wrong")).await.expect(401).text);
    }
    answers.push(b.authenticate(good(DEMO_PASSWORD)).await.expect(401).text);
    answers.push(
        b.authenticate(by_password("nobody", "x", Value::Null))
            .await
            .expect(401)
            .text,
    );
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let change = json!({"user": {"password": "new", "original_password": DEMO_PASSWORD}});
    let path = format!("/v3/users/{}/password", b.report.demo_user_id);
    b.call("POST", &path, "", change).await.expect(401);
    b.advance(60);
    b.authenticate(good(DEMO_PASSWORD)).await.expect(201);
    options(&b, json!({"ignore_lockout_failure_attempts": true}))
        .await
        .expect(200);
    for _ in 0..5 {
        b.authenticate(good("wrong")).await.expect(401);
    }
    b.authenticate(good(DEMO_PASSWORD)).await.expect(201);
}

async fn change(b: &Bench, from: &str, to: &str) -> Answer {
    let path = format!("/v3/users/{}/password", b.report.demo_user_id);
    let body = json!({"user": {"password": to, "original_password": from}});
    b.call("POST", &path, "", body).await
}

async fn reset(b: &Bench, to: &str) -> Answer {
    let path = format!("/v3/users/{}", b.report.demo_user_id);
    let admin = b.admin().await;
    b.call("PATCH", &path, &admin, json!({"user": {"password": to}}))
        .await
}

#[tokio::test]
async fn a_password_ends_and_is_changed_by_the_user() {
    let b = with_rules(SecurityConfig {
        password_expires_days: Some(90),
        ..SecurityConfig::default()
    })
    .await;
    let shown = reset(&b, "one").await.expect(200).json();
    assert_eq!(
        shown["user"]["password_expires_at"],
        "2026-03-22T10:40:00.000000Z"
    );
    let token = b.authenticate(good("one")).await.expect(201).json();
    assert_eq!(
        token["token"]["user"]["password_expires_at"],
        "2026-03-22T10:40:00.000000Z"
    );
    b.advance(90 * DAY);
    let answer = b.authenticate(good("one")).await.expect(401).json();
    let wanted = format!(
        "The password is expired and needs to be changed for user: {}.",
        b.report.demo_user_id
    );
    assert_eq!(answer["error"]["message"], json!(wanted));
    change(&b, "one", "two").await.expect(204);
    b.advance(1);
    b.authenticate(good("two")).await.expect(201);
    b.advance(90 * DAY);
    options(&b, json!({"ignore_password_expiry": true}))
        .await
        .expect(200);
    b.authenticate(good("two")).await.expect(201);
}

#[tokio::test]
async fn a_password_of_an_administrator_is_changed_at_once_if_that_is_asked() {
    let b = with_rules(SecurityConfig {
        change_password_upon_first_use: true,
        minimum_password_age: 1,
        ..SecurityConfig::default()
    })
    .await;
    reset(&b, "given").await.expect(200);
    b.authenticate(good("given")).await.expect(401);
    change(&b, "given", "own").await.expect(204);
    b.advance(1);
    b.authenticate(good("own")).await.expect(201);
    change(&b, "own", "another").await.expect(400);
    b.advance(DAY);
    change(&b, "own", "another").await.expect(204);
    options(&b, json!({"ignore_change_password_upon_first_use": true}))
        .await
        .expect(200);
    reset(&b, "given").await.expect(200);
    b.advance(1);
    b.authenticate(good("given")).await.expect(201);
}

#[tokio::test]
async fn passwords_have_a_shape_and_do_not_come_back_too_soon() {
    let b = with_rules(SecurityConfig {
        unique_last_password_count: 3,
        password_regex: Some("[a-z]+[0-9]$".into()),
        password_regex_description: Some("letters and one digit".into()),
        ..SecurityConfig::default()
    })
    .await;
    let answer = reset(&b, "nodigit").await.expect(400);
    assert!(answer.text.contains("letters and one digit"), "{}", answer.text);
    reset(&b, "first1").await.expect(200);
    change(&b, "first1", "BAD").await.expect(400);
    change(&b, "first1", "second2").await.expect(204);
    change(&b, "second2", "third3").await.expect(204);
    change(&b, "third3", "first1").await.expect(400);
    change(&b, "third3", "fourth4").await.expect(204);
    change(&b, "fourth4", "first1").await.expect(204);
    // An administrator is not held to the history.
    reset(&b, "fourth4").await.expect(200);
    let demo = b.demo_with("fourth4").await;
    let known = b
        .get("/v3/domains/default/config/security_compliance", &demo)
        .await;
    assert_eq!(
        known.expect(200).json()["config"]["security_compliance"]["password_regex"],
        "[a-z]+[0-9]$"
    );
    options(&b, json!({"lock_password": true})).await.expect(200);
    change(&b, "fourth4", "fifth5").await.expect(400);
}

#[tokio::test]
async fn an_account_that_nobody_uses_closes() {
    let b = with_rules(SecurityConfig {
        disable_user_account_days_inactive: Some(30),
        ..SecurityConfig::default()
    })
    .await;
    b.authenticate(good(DEMO_PASSWORD)).await.expect(201);
    b.advance(29 * DAY);
    b.authenticate(good(DEMO_PASSWORD)).await.expect(201);
    b.advance(30 * DAY);
    b.authenticate(good(DEMO_PASSWORD)).await.expect(401);
}
