//! No token outlives what it stood on: random sequences of changes against a
//! naive model, and changes that race with sign-ins.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
#[path = "../bench/mod.rs"]
mod bench;
mod cloud;
mod model;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bench::chance::seeds;
use bench::{Bench, bench, by_password, project_scope};
use cloud::Cloud;
use serde_json::Value;
use virga_identity_api::verify::TokenError;

#[tokio::test]
async fn no_token_outlives_what_it_stood_on_whatever_happens() {
    let (mut all, mut ended) = (0, 0);
    for seed in seeds("no_token_outlives_what_it_stood_on_whatever_happens", 8, 300) {
        println!("VIRGA_SEED={seed}");
        let mut cloud = Cloud::new(seed).await;
        for _ in 0..25 {
            cloud.step().await;
        }
        cloud.check_others().await;
        let tokens = &cloud.model.tokens;
        all += tokens.len();
        ended += tokens.iter().filter(|t| t.ended.is_some()).count();
    }
    // Without tokens, or if none ended or all, nothing would be shown.
    println!("{all} tokens, of which {ended} have ended");
    assert!(all > 10 && ended > 5 && ended < all);
}

/// Signs in over and over until told to stop; the tokens.
async fn sign_ins(b: Arc<Bench>, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut tokens = Vec::new();
    while !stop.load(Ordering::Acquire) {
        let body = by_password("ann", "pw", project_scope("p"));
        let answer = b.authenticate(body).await;
        if answer.status == 201 {
            tokens.push(answer.headers["x-subject-token"].to_str().unwrap().to_owned());
        }
    }
    tokens
}

#[allow(clippy::disallowed_methods, reason = "what runs besides ends with the test")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_that_races_with_a_change_does_not_outlive_it() {
    let b = Arc::new(bench().await);
    let admin = b.admin().await;
    let (user, project) = (b.new_user("ann").await, b.new_project("p").await);
    let role = b.role_id("member").await;
    let path = format!("/v3/projects/{project}/users/{user}/roles/{role}");
    let over = Arc::new(AtomicBool::new(false));
    // The clock goes on, as it does.
    let ticking = tokio::spawn({
        let (b, over) = (b.clone(), over.clone());
        async move {
            while !over.load(Ordering::Acquire) {
                b.clock.advance(Duration::from_micros(3));
                tokio::task::yield_now().await;
            }
        }
    });
    for round in 0..20 {
        b.call("PUT", &path, &admin, Value::Null).await.expect(204);
        let stop = Arc::new(AtomicBool::new(false));
        let racing: Vec<_> = (0..3)
            .map(|_| tokio::spawn(sign_ins(b.clone(), stop.clone())))
            .collect();
        // The first is in before anything is taken.
        let before = b.token("ann", "pw", project_scope("p")).await;
        b.call("DELETE", &path, &admin, Value::Null).await.expect(204);
        stop.store(true, Ordering::Release);
        let mut tokens = vec![before];
        for one in racing {
            tokens.extend(one.await.unwrap());
        }
        for token in &tokens {
            let judged = b.identity.verifier().verify(token).await;
            assert_eq!(
                judged.map(|c| c.roles.clone()),
                Err(TokenError::Revoked),
                "round {round}"
            );
        }
    }
    over.store(true, Ordering::Release);
    ticking.await.unwrap();
}
