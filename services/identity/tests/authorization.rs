//! Who may do what, persona by persona; and a policy file changes who may.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use bench::{bench, bench_with, project_scope};
use serde_json::{Value, json};
use virga_identity::Config;

#[tokio::test]
async fn what_may_not_be_seen_is_not_told_apart_from_what_is_not_there() {
    let b = bench().await;
    let demo = b.demo().await;
    for path in [
        "/v3/users/none",
        "/v3/projects/none",
        "/v3/groups/none",
        "/v3/domains/none",
    ] {
        b.get(path, &demo).await.expect(403);
    }
    b.get(&format!("/v3/users/{}", b.report.demo_user_id), &demo)
        .await
        .expect(200);
    b.get(&format!("/v3/projects/{}", b.report.demo_project_id), &demo)
        .await
        .expect(200);
}

#[tokio::test]
async fn the_manager_of_a_domain_rules_there_and_nowhere_else() {
    let b = bench().await;
    let admin = b.admin().await;
    let domain = b
        .call("POST", "/v3/domains", &admin, json!({"domain": {"name": "d2"}}))
        .await
        .expect(201);
    let domain = domain.id("domain");
    let user = b.new_user("mia").await;
    b.grant(&format!("domains/{domain}"), &user, "manager").await;
    let mia = b.token("mia", "pw", json!({"domain": {"id": domain}})).await;
    let body = |domain: &str| json!({"user": {"name": "new", "domain_id": domain}});
    let made = b
        .call("POST", "/v3/users", &mia, body(&domain))
        .await
        .expect(201)
        .id("user");
    b.call("POST", "/v3/users", &mia, body("default"))
        .await
        .expect(403);
    let listed = b.get("/v3/users", &mia).await.expect(200).json();
    assert_eq!(listed["users"].as_array().unwrap().len(), 1, "{listed}");
    // As in Keystone the domain must be named, though the token tells it.
    let nowhere = json!({"project": {"name": "p"}, "user": {"name": "p"}, "group": {"name": "p"}});
    for path in ["/v3/projects", "/v3/users", "/v3/groups"] {
        b.call("POST", path, &mia, nowhere.clone()).await.expect(403);
    }
    let project = json!({"project": {"name": "p", "domain_id": domain}});
    let project = b.call("POST", "/v3/projects", &mia, project).await.expect(201);
    assert_eq!(project.json()["project"]["domain_id"], json!(domain));
    let project = project.id("project");
    let (member, admins) = (b.role_id("member").await, b.role_id("admin").await);
    let grant = |role: &str| format!("/v3/projects/{project}/users/{made}/roles/{role}");
    b.call("PUT", &grant(&member), &mia, Value::Null)
        .await
        .expect(204);
    b.call("PUT", &grant(&admins), &mia, Value::Null)
        .await
        .expect(403);
    b.call("POST", "/v3/services", &mia, json!({"service": {"type": "x"}}))
        .await
        .expect(403);
}

#[tokio::test]
async fn a_reader_of_the_system_sees_all_and_changes_nothing() {
    let b = bench().await;
    let user = b.new_user("eva").await;
    b.grant("system", &user, "reader").await;
    let eva = b.token("eva", "pw", json!({"system": {"all": true}})).await;
    for path in [
        "/v3/users",
        "/v3/projects",
        "/v3/roles",
        "/v3/services",
        "/v3/role_assignments",
    ] {
        b.get(path, &eva).await.expect(200);
    }
    b.call(
        "POST",
        "/v3/projects",
        &eva,
        json!({"project": {"name": "x", "domain_id": "default"}}),
    )
    .await
    .expect(403);
}

#[tokio::test]
async fn a_policy_file_changes_who_may() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.yaml");
    std::fs::write(&file, "identity:list_services: role:member\n").unwrap();
    let b = bench_with(Config {
        policy_file: Some(file),
        ..Config::default()
    })
    .await;
    let demo = b.token("demo", bench::DEMO_PASSWORD, project_scope("demo")).await;
    b.get("/v3/services", &demo).await.expect(200);
    b.get("/v3/endpoints", &demo).await.expect(403);
}
