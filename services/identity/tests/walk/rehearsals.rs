//! Every changing route with `OpenStack-Dry-Run: 1`: nothing may stay of it.
use http::Request;
use serde_json::{Value, json};
use virga_identity::Identity;
use virga_node::clock::Clock;
use virga_state::{Queries, State, args};

use crate::bench::{Answer, Bench, bench};
use crate::{body, filled, things};

/// Routes that refuse to be rehearsed.
fn never(method: &str, path: &str) -> bool {
    let sign_in = ["/v3/ec2tokens", "/v3/s3tokens", "/v3/users/{user_id}/password"];
    sign_in.contains(&path)
        || (method, path) == ("POST", "/v3/auth/tokens")
        || path.contains("/OS-FEDERATION/") && path.ends_with("/auth")
        || path.starts_with("/v3/auth/OS-FEDERATION/")
        || path.starts_with("/v3/OS-OAUTH") && (path.ends_with("_token") || path.ends_with("/token"))
}

/// Every row of every table, as text.
async fn records(b: &Bench) -> Vec<String> {
    let config = b.records().await;
    let clock: std::sync::Arc<dyn Clock> = b.clock.clone();
    let state = State::open(&config, clock).await.unwrap();
    let mut q = state.reader();
    let sql = match config.url.starts_with("sqlite:") {
        true => "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name",
        false => {
            "SELECT CAST(table_name AS TEXT) AS name FROM information_schema.tables
             WHERE table_schema = current_schema() ORDER BY 1"
        }
    };
    let mut all = Vec::new();
    for table in q.fetch(sql, args![]).await.unwrap() {
        let name = table.text("name").unwrap();
        let rows = q.fetch(format!("SELECT * FROM {name}"), args![]).await.unwrap();
        let mut rows: Vec<String> = rows
            .iter()
            .map(|r| format!("{name}: {:?}", r.to_json()))
            .collect();
        rows.sort();
        all.extend(rows);
    }
    state.close().await;
    all
}

async fn rehearse(b: &Bench, method: &str, path: &str, token: &str, body: &Value) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("x-auth-token", token)
        .header("x-subject-token", token)
        .header("openstack-dry-run", "1");
    b.send(request.body(axum::body::Body::from(body.to_string())).unwrap())
        .await
}

/// A body that is good where the usual one is not.
fn better(b: &Bench, path: &str, things: &std::collections::BTreeMap<&'static str, String>) -> Value {
    let mut all = body(&b.report.admin_user_id);
    all["endpoint"]["service_id"] = json!(things["service_id"]);
    all["endpoint_group"] = json!({"name": "y", "filters": {"service_id": things["service_id"]}});
    all["tenant_id"] = json!(b.report.admin_project_id);
    all["trust"]["trustee_user_id"] = json!(b.report.demo_user_id);
    all["application_credential"] = json!({"name": "y"});
    all["region"] = json!({"description": "y"});
    if path == "/v3/credentials" {
        all["credential"] = json!({"type": "x", "blob": "x"});
    }
    if path.starts_with("/v3/users/") || path.starts_with("/v3/projects/") {
        all["user"] = json!({"description": "y", "enabled": false});
        all["project"] = json!({"description": "y", "enabled": false});
    }
    let registered = json!({"service_id": things["service_id"], "resource_name": "z", "default_limit": 5});
    all["registered_limits"] = json!([registered]);
    all["registered_limit"] = json!({"default_limit": 6});
    all["limit"] = json!({"resource_limit": 4});
    all["config"] = json!({"ldap": {"url": "y"}, "url": "y"});
    all
}

#[tokio::test]
async fn a_rehearsal_of_any_route_leaves_everything_as_it_was() {
    let b = bench().await;
    let admin = b.admin().await;
    let demo = b.demo().await;
    let things = things(&b, &admin).await;
    let before = records(&b).await;
    let published = b.identity.revocations().generation();
    let (mut would, mut refused) = (Vec::new(), Vec::new());
    for (method, route) in Identity::routes() {
        if matches!(method, "GET" | "HEAD") {
            continue;
        }
        let path = filled(&route, &|name| {
            things.get(name).cloned().unwrap_or_else(|| "none".into())
        });
        let answer = rehearse(&b, method, &path, &admin, &better(&b, &route, &things)).await;
        let marked = answer.headers.contains_key("openstack-dry-run");
        if never(method, &route) {
            assert_eq!((answer.status.as_u16(), marked), (400, false), "{method} {route}");
            assert!(answer.text.contains("cannot be rehearsed"), "{}", answer.text);
            refused.push(route.clone());
        } else {
            assert!(marked, "{method} {route}: {}", answer.status);
            assert!(
                !answer.status.is_server_error() || answer.status == 501,
                "{}",
                answer.text
            );
        }
        if answer.status.is_success() {
            would.push(format!("{method} {route}"));
        }
        assert_eq!(records(&b).await, before, "{method} {route} left something");
    }
    // The walk shows something only if most of it would have been done.
    assert!(
        would.len() >= 60,
        "only {} would do anything: {would:#?}",
        would.len()
    );
    assert!(refused.len() >= 4, "{refused:?}");
    for token in [&admin, &demo] {
        b.get("/v3/auth/projects", token).await.expect(200);
    }
    assert_eq!(
        b.identity.revocations().generation(),
        published,
        "a revocation was published"
    );
}

#[tokio::test]
async fn a_rehearsal_answers_as_the_call_would() {
    let b = bench().await;
    let admin = b.admin().await;
    let new = json!({"user": {"name": "ann", "password": "pw", "domain_id": "default"}});
    let dry = rehearse(&b, "POST", "/v3/users", &admin, &new).await.expect(201);
    assert_eq!(dry.json()["user"]["name"], json!("ann"));
    let path = format!("/v3/users/{}", dry.id("user"));
    b.get(&path, &admin).await.expect(404);
    b.call("POST", "/v3/users", &admin, new.clone()).await.expect(201);
    let again = rehearse(&b, "POST", "/v3/users", &admin, &new).await.expect(409);
    assert_eq!(again.headers["openstack-dry-run"], "1");
    // A user who is rehearsed away is still there, and so are the tokens.
    let demo = b.demo().await;
    let path = format!("/v3/users/{}", b.report.demo_user_id);
    rehearse(&b, "DELETE", &path, &admin, &Value::Null)
        .await
        .expect(204);
    b.get("/v3/auth/projects", &demo).await.expect(200);
    let member = rehearse(&b, "POST", "/v3/users", &demo, &new).await.expect(403);
    assert!(member.text.contains("identity:create_user"));
    let wrong = Request::post("/v3/users")
        .header("x-auth-token", &admin)
        .header("openstack-dry-run", "perhaps");
    let wrong = b
        .send(wrong.body(axum::body::Body::from(new.to_string())).unwrap())
        .await
        .expect(400);
    assert!(wrong.text.contains("OpenStack-Dry-Run"));
    b.token("ann", "pw", Value::Null).await;
}
