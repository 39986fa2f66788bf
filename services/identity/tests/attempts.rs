//! Guessing is slow: limits by address and by account, and the lockout.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test should panic"
)]
mod bench;

use std::net::SocketAddr;

use bench::*;
use http::Request;
use serde_json::{Value, json};
use virga_http::limits::Rate;
use virga_http::peer::Peer;
use virga_identity::{AuditQuery, Config, RateLimits, SecurityConfig};

const FEW: Rate = Rate {
    per_minute: 6,
    burst: 3,
};

async fn limited(rate_limits: RateLimits) -> Bench {
    bench_with(Config {
        rate_limits,
        ..Config::default()
    })
    .await
}

/// A sign-in from an address.
async fn sign_in(b: &Bench, from: &str, user: &str, password: &str) -> Answer {
    let mut request = Request::post("/v3/auth/tokens")
        .header("host", "cloud:5000")
        .header("content-type", "application/json")
        .body(by_password(user, password, Value::Null).to_string().into())
        .unwrap();
    let address: SocketAddr = format!("{from}:4711").parse().unwrap();
    request.extensions_mut().insert(Peer {
        address,
        secure: false,
    });
    b.send(request).await
}

#[tokio::test]
async fn guesses_at_one_account_are_slowed_wherever_they_come_from_and_whether_it_is_there() {
    let b = limited(RateLimits {
        failures_per_account: FEW,
        ..RateLimits::default()
    })
    .await;
    for user in ["demo", "nobody"] {
        for n in 0..3 {
            sign_in(&b, &format!("10.0.0.{n}"), user, "guess")
                .await
                .expect(401);
        }
        let refused = sign_in(&b, "10.0.0.9", user, "guess").await.expect(429);
        assert_eq!(refused.headers["retry-after"], "10");
        assert_eq!(refused.json()["error"]["title"], json!("Too Many Requests"));
    }
    sign_in(&b, "10.0.0.9", "admin", ADMIN_PASSWORD).await.expect(201);
    b.advance(10);
    sign_in(&b, "10.0.0.9", "demo", DEMO_PASSWORD).await.expect(201);
    // What succeeds does not count.
    for _ in 0..20 {
        sign_in(&b, "10.0.0.9", "demo", DEMO_PASSWORD).await.expect(201);
    }
}

#[tokio::test]
async fn one_password_cannot_be_tried_on_all_accounts_from_one_address() {
    let b = limited(RateLimits {
        failures_per_source: FEW,
        ..RateLimits::default()
    })
    .await;
    for n in 0..3 {
        sign_in(&b, "10.0.0.1", &format!("user-{n}"), "guess")
            .await
            .expect(401);
    }
    sign_in(&b, "10.0.0.1", "user-9", "guess").await.expect(429);
    sign_in(&b, "10.0.0.2", "user-9", "guess").await.expect(401);
}

#[tokio::test]
async fn changing_a_password_is_no_way_around_the_limit() {
    let b = limited(RateLimits {
        failures_per_account: FEW,
        ..RateLimits::default()
    })
    .await;
    let path = format!("/v3/users/{}/password", b.report.demo_user_id);
    let body = |original: &str| json!({"user": {"original_password": original, "password": "new-secret"}});
    for _ in 0..3 {
        b.call("POST", &path, "", body("guess")).await.expect(401);
    }
    b.call("POST", &path, "", body("guess")).await.expect(429);
    b.advance(10);
    b.call("POST", &path, "", body(DEMO_PASSWORD)).await.expect(204);
}

#[tokio::test]
async fn requests_of_one_user_are_counted_by_the_token() {
    let b = limited(RateLimits {
        requests_per_account: FEW,
        ..RateLimits::default()
    })
    .await;
    let (demo, admin) = (b.demo().await, b.admin().await);
    for _ in 0..3 {
        b.get("/v3/auth/projects", &demo).await.expect(200);
    }
    let refused = b.get("/v3/auth/projects", &demo).await.expect(429);
    assert_eq!(refused.headers["retry-after"], "10");
    b.get("/v3/auth/projects", &admin).await.expect(200);
}

#[tokio::test]
async fn the_lockout_refuses_the_good_password_too_and_before_the_limit() {
    let b = bench_with(Config {
        security: SecurityConfig {
            lockout_failure_attempts: Some(2),
            lockout_duration: 60,
            ..SecurityConfig::default()
        },
        ..Config::default()
    })
    .await;
    for _ in 0..2 {
        sign_in(&b, "10.0.0.1", "demo", "guess").await.expect(401);
    }
    sign_in(&b, "10.0.0.1", "demo", DEMO_PASSWORD).await.expect(401);
    b.advance(61);
    sign_in(&b, "10.0.0.1", "demo", DEMO_PASSWORD).await.expect(201);
}

#[tokio::test]
async fn who_is_turned_away_is_counted_in_the_audit_and_cannot_fill_it() {
    let b = limited(RateLimits {
        failures_per_source: FEW,
        ..RateLimits::default()
    })
    .await;
    for _ in 0..3 {
        sign_in(&b, "10.0.0.7", "demo", "guess").await.expect(401);
    }
    for _ in 0..50 {
        sign_in(&b, "10.0.0.7", "demo", "guess").await.expect(429);
    }
    // What came before it is written when this one is.
    b.admin().await;
    let query = AuditQuery {
        action: Some("turned away".into()),
        ..AuditQuery::default()
    };
    let told = b.identity.audit(&query).await.unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["kind"], "sign-in");
    assert_eq!(told[0]["from"]["address"], "10.0.0.7");
    assert_eq!(told[0]["reason"], "too many failed attempts");
}

#[tokio::test]
async fn many_good_sign_ins_at_once_are_no_failures() {
    let b = limited(RateLimits {
        failures_per_account: FEW,
        failures_per_source: FEW,
        ..RateLimits::default()
    })
    .await;
    let all = (0..40).map(|_| sign_in(&b, "10.0.0.1", "demo", DEMO_PASSWORD));
    for answer in futures_util::future::join_all(all).await {
        answer.expect(201);
    }
}
