//! Two processes over the same records: what one changes the other goes by,
//! within a second.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::{Bench, DEMO_PASSWORD, bench, by_password, plan, project_scope};
use serde_json::{Value, json};
use virga_node::clock::Clock;
use virga_state::{Change, Queries, State, StateError, args};

/// Asks again until the status is `wanted`, at most for ten seconds.
async fn until(b: &Bench, path: &str, token: &str, wanted: u16) -> Value {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = b.get(path, token).await;
        if answer.status.as_u16() == wanted {
            return answer.json();
        }
        assert!(
            Instant::now() < deadline,
            "{path}: still {}: {}",
            answer.status,
            answer.text
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until so many connections wait for that of the backend `holder`, at most
/// for thirty seconds.
async fn until_waiting(state: &State, holder: i64, wanted: i64) {
    let sql = "WITH RECURSIVE behind (pid) AS (
               SELECT a.pid FROM pg_stat_activity a WHERE CAST($1 AS INTEGER) = ANY (pg_blocking_pids(a.pid))
               UNION SELECT a.pid FROM pg_stat_activity a JOIN behind b ON b.pid = ANY (pg_blocking_pids(a.pid)))
               SELECT COUNT(*) AS waiting FROM behind";
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let row = state
            .reader()
            .fetch_one(sql, args![holder])
            .await
            .unwrap()
            .unwrap();
        if row.int("waiting").unwrap() >= wanted {
            return;
        }
        assert!(Instant::now() < deadline, "fewer than {wanted} wait");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Needs PostgreSQL: only there do several hosts have the same records.
#[tokio::test]
async fn a_sign_in_that_an_open_change_elsewhere_overtakes_gives_no_token_that_lasts() {
    let here = bench().await;
    let records = here.records().await;
    if !records.url.starts_with("postgres") {
        return;
    }
    let there = here.restarted(&plan()).await;
    let admin = here.admin().await;
    // Whoever writes to the feed from now on waits for this transaction.
    let clock: Arc<dyn Clock> = here.clock.clone();
    let state = State::open(&records, clock).await.unwrap();
    let mut attempts = state.attempts();
    let mut tx = attempts.begin().await.unwrap();
    let change = Change {
        service: "test",
        kind: "test",
        id: "x",
        action: "made",
        actor: None,
        detail: "",
    };
    tx.record(change).await.unwrap();
    let holder = tx.fetch_one("SELECT CAST(pg_backend_pid() AS BIGINT) AS pid", args![]);
    let holder = holder.await.unwrap().unwrap().int("pid").unwrap();
    // So long that nothing remembered counts any more.
    let tick = || here.clock.advance(Duration::from_secs(2));
    let path = format!("/v3/users/{}", here.report.demo_user_id);
    let changed = here.call("PATCH", &path, &admin, json!({"user": {"password": "another"}}));
    let signed_in = async {
        until_waiting(&state, holder, 1).await;
        tick();
        let old = by_password("demo", DEMO_PASSWORD, project_scope("demo"));
        there.authenticate(old).await
    };
    let released = async {
        until_waiting(&state, holder, 2).await;
        tick();
        attempts.finish(tx, Err::<(), _>(StateError::Duplicate)).await
    };
    let (changed, old, _) = tokio::join!(changed, signed_in, released);
    changed.expect(200);
    if old.status == 201 {
        // The sign-in came first after all; then the change is the later one.
        let token = old.headers["x-subject-token"].to_str().unwrap();
        for b in [&here, &there] {
            until(b, "/v3/auth/projects", token, 401).await;
        }
    } else {
        old.expect(401);
    }
    tick();
    let new = there.token("demo", "another", project_scope("demo")).await;
    for b in [&here, &there] {
        b.get("/v3/auth/projects", &new).await.expect(200);
    }
}

#[tokio::test]
async fn a_token_revoked_in_one_process_soon_ends_in_the_other() {
    let here = bench().await;
    let there = here.restarted(&plan()).await;
    let (admin, demo) = (here.admin().await, here.demo().await);
    let path = "/v3/auth/projects";
    there.get(path, &demo).await.expect(200);
    there.about("GET", "", &admin, &demo).await.expect(200);
    here.about("DELETE", "", &admin, &demo).await.expect(204);
    here.get(path, &demo).await.expect(401);
    until(&there, path, &demo, 401).await;
    there.about("GET", "", &admin, &demo).await.expect(404);
    // The administrator's token is good in both.
    there.get(path, &admin).await.expect(200);
}

#[tokio::test]
async fn a_catalog_that_grew_in_one_process_is_soon_told_by_the_other() {
    let here = bench().await;
    let there = here.restarted(&plan()).await;
    let admin = here.admin().await;
    let services = async || {
        let catalog = there.get("/v3/auth/catalog", &admin).await.expect(200).json();
        catalog["catalog"].as_array().unwrap().len()
    };
    let before = services().await;
    let service = json!({"service": {"type": "image", "name": "glance"}});
    here.call("POST", "/v3/services", &admin, service)
        .await
        .expect(201);
    let deadline = Instant::now() + Duration::from_secs(10);
    while services().await == before {
        assert!(Instant::now() < deadline, "the catalog stays as it was");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_a_process_remembers_refuses_nobody_and_makes_no_token_that_lasts() {
    let here = bench().await;
    let there = here.restarted(&plan()).await;
    // Now both remember the user.
    let admin = here.admin().await;
    let before = there.demo().await;
    let tick = || here.clock.advance(Duration::from_millis(1));
    tick();
    let path = format!("/v3/users/{}", here.report.demo_user_id);
    let body = json!({"user": {"password": "another"}});
    here.call("PATCH", &path, &admin, body).await.expect(200);
    tick();
    // The other process may not have heard of it yet.
    let old = by_password("demo", DEMO_PASSWORD, project_scope("demo"));
    let old = there.authenticate(old).await;
    let new = there.token("demo", "another", project_scope("demo")).await;
    let mut gone = vec![before];
    if old.status == 201 {
        gone.push(old.headers["x-subject-token"].to_str().unwrap().to_owned());
    }
    for token in &gone {
        here.get("/v3/auth/projects", token).await.expect(401);
        until(&there, "/v3/auth/projects", token, 401).await;
    }
    for b in [&here, &there] {
        b.get("/v3/auth/projects", &new).await.expect(200);
        b.about("GET", "", &admin, &new).await.expect(200);
    }
}
