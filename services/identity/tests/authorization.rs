//! Every route refuses a request without a token with 401, and one of the
//! wrong role with 403; and a policy file changes who may.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use bench::{Bench, bench, bench_with, project_scope};
use serde_json::{Value, json};
use virga_identity::Config;

/// Method and path of every route that asks for a permission that the member
/// of a project does not have. `U`, `P`, `R`, `S`, `E`, `G`, `C` and `O` stand
/// for ids of another's user, project, role, service, endpoint, group,
/// credential and role to imply.
const ROUTES: &[&str] = &[
    "GET /v3/users",
    "POST /v3/users",
    "GET /v3/users/U",
    "PATCH /v3/users/U",
    "DELETE /v3/users/U",
    "GET /v3/users/U/groups",
    "GET /v3/users/U/projects",
    "GET /v3/users/U/credentials/OS-EC2",
    "POST /v3/users/U/credentials/OS-EC2",
    "GET /v3/users/U/credentials/OS-EC2/x",
    "DELETE /v3/users/U/credentials/OS-EC2/x",
    "GET /v3/credentials/C",
    "PATCH /v3/credentials/C",
    "DELETE /v3/credentials/C",
    "GET /v3/groups",
    "POST /v3/groups",
    "GET /v3/groups/G",
    "PATCH /v3/groups/G",
    "DELETE /v3/groups/G",
    "GET /v3/groups/G/users",
    "GET /v3/groups/G/users/U",
    "HEAD /v3/groups/G/users/U",
    "PUT /v3/groups/G/users/U",
    "DELETE /v3/groups/G/users/U",
    "GET /v3/projects",
    "POST /v3/projects",
    "GET /v3/projects/P",
    "PATCH /v3/projects/P",
    "DELETE /v3/projects/P",
    "GET /v3/projects/P/tags",
    "PUT /v3/projects/P/tags",
    "DELETE /v3/projects/P/tags",
    "GET /v3/projects/P/tags/t",
    "PUT /v3/projects/P/tags/t",
    "DELETE /v3/projects/P/tags/t",
    "GET /v3/domains",
    "POST /v3/domains",
    "PATCH /v3/domains/default",
    "DELETE /v3/domains/default",
    "GET /v3/roles",
    "POST /v3/roles",
    "GET /v3/roles/R",
    "PATCH /v3/roles/R",
    "DELETE /v3/roles/R",
    "GET /v3/roles?domain_id=default",
    "GET /v3/roles/R/implies",
    "GET /v3/roles/R/implies/O",
    "HEAD /v3/roles/R/implies/O",
    "PUT /v3/roles/R/implies/O",
    "DELETE /v3/roles/R/implies/O",
    "GET /v3/role_inferences",
    "GET /v3/role_assignments",
    "GET /v3/role_assignments?include_subtree&scope.project.id=P",
    "GET /v3/projects/P/users/U/roles",
    "GET /v3/projects/P/users/U/roles/R",
    "HEAD /v3/projects/P/users/U/roles/R",
    "PUT /v3/projects/P/users/U/roles/R",
    "DELETE /v3/projects/P/users/U/roles/R",
    "PUT /v3/projects/P/groups/G/roles/R",
    "DELETE /v3/projects/P/groups/G/roles/R",
    "GET /v3/domains/default/users/U/roles",
    "PUT /v3/domains/default/users/U/roles/R",
    "DELETE /v3/domains/default/groups/G/roles/R",
    "GET /v3/system/users/U/roles",
    "HEAD /v3/system/users/U/roles/R",
    "PUT /v3/system/users/U/roles/R",
    "DELETE /v3/system/users/U/roles/R",
    "GET /v3/system/groups/G/roles",
    "HEAD /v3/system/groups/G/roles/R",
    "PUT /v3/system/groups/G/roles/R",
    "DELETE /v3/system/groups/G/roles/R",
    "PUT /v3/OS-INHERIT/projects/P/users/U/roles/R/inherited_to_projects",
    "DELETE /v3/OS-INHERIT/domains/default/groups/G/roles/R/inherited_to_projects",
    "POST /v3/regions",
    "PUT /v3/regions/new",
    "PATCH /v3/regions/RegionOne",
    "DELETE /v3/regions/RegionOne",
    "GET /v3/services",
    "POST /v3/services",
    "GET /v3/services/S",
    "PATCH /v3/services/S",
    "DELETE /v3/services/S",
    "GET /v3/endpoints",
    "POST /v3/endpoints",
    "GET /v3/endpoints/E",
    "PATCH /v3/endpoints/E",
    "DELETE /v3/endpoints/E",
];

/// Routes that anyone with a token may ask.
const OPEN: &[&str] = &[
    "GET /v3/auth/catalog",
    "GET /v3/auth/projects",
    "GET /v3/auth/domains",
    "GET /v3/auth/system",
    "GET /v3/regions",
    "GET /v3/regions/RegionOne",
    "GET /v3/credentials",
    "GET /v3/domains/default",
];

/// A body that is good enough to be refused for its sender only.
fn body(path: &str) -> Value {
    json!({
        "user": {"name": "x", "domain_id": "default"},
        "group": {"name": "x", "domain_id": "default"},
        "project": {"name": "x", "domain_id": "default"},
        "domain": {"name": "x"}, "role": {"name": "x"}, "region": {}, "service": {"type": "x"},
        "endpoint": {"service_id": "x", "interface": "public", "url": "http://x"},
        "credential": {"type": "x", "blob": "x", "user_id": "x"},
        "tags": ["x"], "tenant_id": path,
    })
}

async fn first_id(b: &Bench, token: &str, path: &str, key: &str) -> String {
    let listed = b.get(path, token).await.expect(200).json();
    listed[key][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_route_wants_a_token_and_the_right_role() {
    let b = bench().await;
    let (admin, demo) = (b.admin().await, b.demo().await);
    let group = json!({"group": {"name": "g", "domain_id": "default"}});
    let credential = json!({"credential": {"type": "cert", "blob": "x"}});
    let ids = [
        ('U', b.report.admin_user_id.clone()),
        ('P', b.report.admin_project_id.clone()),
        ('R', b.role_id("reader").await),
        ('O', b.role_id("service").await),
        ('S', first_id(&b, &admin, "/v3/services", "services").await),
        ('E', first_id(&b, &admin, "/v3/endpoints", "endpoints").await),
        (
            'G',
            b.call("POST", "/v3/groups", &admin, group)
                .await
                .expect(201)
                .id("group"),
        ),
        (
            'C',
            b.call("POST", "/v3/credentials", &admin, credential)
                .await
                .expect(201)
                .id("credential"),
        ),
    ];
    let filled = |route: &str| {
        let (method, path) = route.split_once(' ').unwrap();
        let segments = path.split_inclusive(['/', '=']).map(|segment| {
            let bare = segment.trim_end_matches(['/', '=']);
            let id = ids
                .iter()
                .find(|(letter, _)| bare.len() == 1 && bare.starts_with(*letter));
            id.map_or_else(|| segment.to_owned(), |(_, id)| segment.replacen(bare, id, 1))
        });
        (method.to_owned(), segments.collect::<String>())
    };
    let unscoped = b.token("demo", bench::DEMO_PASSWORD, json!("unscoped")).await;
    for route in ROUTES {
        let (method, path) = filled(route);
        for (token, status) in [
            ("", 401),
            ("rubbish", 401),
            (demo.as_str(), 403),
            (unscoped.as_str(), 403),
        ] {
            let answer = b.call(&method, &path, token, body(&path)).await;
            assert_eq!(
                answer.status.as_u16(),
                status,
                "{route} with {token:.10}: {}",
                answer.text
            );
        }
    }
    for route in OPEN {
        let (method, path) = filled(route);
        b.call(&method, &path, "", Value::Null).await.expect(401);
        b.call(&method, &path, &demo, Value::Null).await.expect(200);
    }
    // Nothing of all that was done.
    b.get(&format!("/v3/users/{}", b.report.admin_user_id), &admin)
        .await
        .expect(200);
    b.get("/v3/regions/new", &admin).await.expect(404);
}

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
    let project = b
        .call("POST", "/v3/projects", &mia, json!({"project": {"name": "p"}}))
        .await
        .expect(201);
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
