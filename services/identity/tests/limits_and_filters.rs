//! Limits, endpoint filters, stored policies, options of domains, revocation
//! events: through the router.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use bench::{ADMIN_PASSWORD, Bench, bench, bench_with, by_password, project_scope};
use serde_json::{Value, json};
use virga_identity::{Config, LimitModel};

async fn service(b: &Bench, admin: &str) -> String {
    let body = json!({"service": {"type": "image", "name": "glance"}});
    b.call("POST", "/v3/services", admin, body)
        .await
        .expect(201)
        .id("service")
}

async fn register(b: &Bench, admin: &str, service: &str, limit: i64) -> String {
    let body = json!({"service_id": service, "resource_name": "images", "default_limit": limit});
    let body = json!({"registered_limits": [body]});
    let made = b
        .call("POST", "/v3/registered_limits", admin, body)
        .await
        .expect(201);
    made.json()["registered_limits"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn limit(service: &str, owner: (&str, &str), amount: i64) -> Value {
    json!({"service_id": service, "resource_name": "images", "resource_limit": amount, owner.0: owner.1})
}

#[tokio::test]
async fn limits_override_registered_ones_and_their_owners_see_them() {
    let b = bench().await;
    let (admin, demo) = (b.admin().await, b.demo().await);
    let service = service(&b, &admin).await;
    let project = b.report.demo_project_id.clone();
    let wish = json!({"limits": [limit(&service, ("project_id", &project), 7)]});
    b.call("POST", "/v3/limits", &admin, wish.clone())
        .await
        .expect(403);
    let registered = register(&b, &admin, &service, 10).await;
    let again = json!({"registered_limits": [{"service_id": service, "resource_name": "images", "default_limit": 1}]});
    b.call("POST", "/v3/registered_limits", &admin, again)
        .await
        .expect(409);
    let made = b
        .call("POST", "/v3/limits", &admin, wish.clone())
        .await
        .expect(201)
        .json();
    let id = made["limits"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(made["limits"][0]["domain_id"], Value::Null);
    b.call("POST", "/v3/limits", &admin, wish).await.expect(409);
    let of_admin = json!({"limits": [limit(&service, ("project_id", &b.report.admin_project_id), 9)]});
    b.call("POST", "/v3/limits", &admin, of_admin).await.expect(201);
    let seen = b.get("/v3/limits", &demo).await.expect(200).json();
    assert_eq!(seen["limits"].as_array().unwrap().len(), 1, "{seen}");
    assert_eq!(
        b.get("/v3/limits", &admin).await.json()["limits"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let one = format!("/v3/limits/{id}");
    b.get(&one, &demo).await.expect(200);
    let change = json!({"limit": {"resource_limit": 3, "description": "d"}});
    let changed = b.call("PATCH", &one, &admin, change).await.expect(200).json();
    assert_eq!(changed["limit"]["resource_limit"], 3);
    for bad in [
        json!({"project_id": "x"}),
        json!({"resource_limit": "3"}),
        json!({"resource_limit": -2}),
    ] {
        b.call("PATCH", &one, &admin, json!({"limit": bad}))
            .await
            .expect(400);
    }
    let path = format!("/v3/registered_limits/{registered}");
    b.call("DELETE", &path, &admin, Value::Null).await.expect(403);
    let rename = json!({"registered_limit": {"resource_name": "x"}});
    b.call("PATCH", &path, &admin, rename).await.expect(403);
    let raise = json!({"registered_limit": {"default_limit": 20}});
    b.call("PATCH", &path, &admin, raise).await.expect(403);
    b.call("DELETE", &format!("/v3/services/{service}"), &admin, Value::Null)
        .await
        .expect(409);
    let model = b.get("/v3/limits/model", &demo).await.expect(200).json();
    assert_eq!(model["model"]["name"], "flat");
    for bad in [
        json!({"limits": []}),
        json!({"limits": {}}),
        json!({"limits": [limit(&service, ("project_id", "none"), 1)]}),
        json!({"limits": [limit("none", ("project_id", &project), 1)]}),
        json!({"limits": [limit(&service, ("name", "x"), 1)]}),
    ] {
        b.call("POST", "/v3/limits", &admin, bad).await.expect(400);
    }
    // A project takes its limits along.
    b.call("DELETE", &format!("/v3/projects/{project}"), &admin, Value::Null)
        .await
        .expect(204);
    b.get(&one, &admin).await.expect(404);
}

#[tokio::test]
async fn in_two_levels_no_project_has_more_than_its_domain() {
    let b = bench_with(Config {
        limit_model: LimitModel::StrictTwoLevel,
        ..Config::default()
    })
    .await;
    let admin = b.admin().await;
    let service = service(&b, &admin).await;
    register(&b, &admin, &service, 10).await;
    let project = b.report.demo_project_id.clone();
    let of = |owner: &str, id: &str, n: i64| json!({"limits": [limit(&service, (owner, id), n)]});
    b.call("POST", "/v3/limits", &admin, of("project_id", &project, 11))
        .await
        .expect(403);
    let both = json!({"limits": [limit(&service, ("project_id", &project), 15),
        limit(&service, ("domain_id", "default"), 20)]});
    let made = b
        .call("POST", "/v3/limits", &admin, both)
        .await
        .expect(201)
        .json();
    let id = |n: usize| format!("/v3/limits/{}", made["limits"][n]["id"].as_str().unwrap());
    let set = |n: i64| json!({"limit": {"resource_limit": n}});
    b.call("PATCH", &id(0), &admin, set(21)).await.expect(403);
    b.call("PATCH", &id(0), &admin, set(-1)).await.expect(403);
    b.call("PATCH", &id(1), &admin, set(14)).await.expect(403);
    b.call("PATCH", &id(1), &admin, set(-1)).await.expect(200);
    b.call("PATCH", &id(0), &admin, set(1000)).await.expect(200);
}

/// Types of the services in a new token's catalog that have endpoints.
async fn catalog(b: &Bench) -> Vec<String> {
    let answer = b
        .authenticate(by_password("admin", ADMIN_PASSWORD, project_scope("admin")))
        .await;
    let token = answer.expect(201).json();
    let mut types: Vec<String> = token["token"]["catalog"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|s| !s["endpoints"].as_array().unwrap().is_empty())
        .map(|s| s["type"].as_str().unwrap().to_owned())
        .collect();
    types.sort();
    types
}

#[tokio::test]
async fn a_projects_catalog_shows_what_is_associated_with_it() {
    let b = bench().await;
    let admin = b.admin().await;
    assert_eq!(catalog(&b).await, ["identity", "object-store"]);
    let services = b.get("/v3/services?type=identity", &admin).await.json();
    let identity = services["services"][0]["id"].as_str().unwrap().to_owned();
    let all = b.get("/v3/endpoints", &admin).await.json();
    let swift = all["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["service_id"] != json!(identity));
    let swift = swift.unwrap()["id"].as_str().unwrap().to_owned();
    let base = "/v3/OS-EP-FILTER";
    let project = &b.report.admin_project_id;
    let single = format!("{base}/projects/{project}/endpoints/{swift}");
    b.call("HEAD", &single, &admin, Value::Null).await.expect(404);
    b.call("PUT", &single, &admin, Value::Null).await.expect(204);
    b.call("HEAD", &single, &admin, Value::Null).await.expect(204);
    assert_eq!(catalog(&b).await, ["object-store"]);
    let bad = json!({"endpoint_group": {"name": "g", "filters": {"colour": "red"}}});
    b.call("POST", &format!("{base}/endpoint_groups"), &admin, bad)
        .await
        .expect(400);
    let group =
        json!({"endpoint_group": {"name": "g", "filters": {"service_id": identity, "interface": "public"}}});
    let group = b
        .call("POST", &format!("{base}/endpoint_groups"), &admin, group)
        .await
        .expect(201);
    let group = group.id("endpoint_group");
    let with = format!("{base}/endpoint_groups/{group}/projects/{project}");
    b.call("PUT", &with, &admin, Value::Null).await.expect(204);
    b.get(&with, &admin).await.expect(200);
    assert_eq!(catalog(&b).await, ["identity", "object-store"]);
    let count = async |path: String, key: &str| {
        b.get(&path, &admin).await.expect(200).json()[key]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(
        count(format!("{base}/projects/{project}/endpoints"), "endpoints").await,
        2
    );
    assert_eq!(
        count(
            format!("{base}/projects/{project}/endpoint_groups"),
            "endpoint_groups"
        )
        .await,
        1
    );
    assert_eq!(
        count(format!("{base}/endpoint_groups/{group}/endpoints"), "endpoints").await,
        1
    );
    assert_eq!(
        count(format!("{base}/endpoint_groups/{group}/projects"), "projects").await,
        1
    );
    assert_eq!(
        count(format!("{base}/endpoints/{swift}/projects"), "projects").await,
        1
    );
    b.call("DELETE", &single, &admin, Value::Null).await.expect(204);
    assert_eq!(catalog(&b).await, ["identity"]);
    b.call(
        "DELETE",
        &format!("{base}/endpoint_groups/{group}"),
        &admin,
        Value::Null,
    )
    .await
    .expect(204);
    assert_eq!(catalog(&b).await, ["identity", "object-store"]);
}

#[tokio::test]
async fn a_policy_counts_for_the_nearest_thing_it_belongs_to() {
    let b = bench().await;
    let admin = b.admin().await;
    let mut policies = Vec::new();
    for blob in [json!("text"), json!("{\"a\": 1}")] {
        let body = json!({"policy": {"type": "application/json", "blob": blob}});
        let made = b.call("POST", "/v3/policies", &admin, body).await.expect(201);
        assert_eq!(made.json()["policy"]["blob"], blob);
        policies.push(made.id("policy"));
    }
    let endpoint = b.get("/v3/endpoints?interface=public", &admin).await.json()["endpoints"][0].clone();
    let text = |key: &str| endpoint[key].as_str().unwrap().to_owned();
    let of_endpoint = format!("/v3/endpoints/{}/OS-ENDPOINT-POLICY/policy", text("id"));
    b.get(&of_endpoint, &admin).await.expect(404);
    let path = |policy: &str, subject: &str| format!("/v3/policies/{policy}/OS-ENDPOINT-POLICY/{subject}");
    let service = format!("services/{}", text("service_id"));
    let in_region = format!("{service}/regions/RegionOne");
    for (n, subject) in [(0, &service), (1, &in_region)] {
        b.call("PUT", &path(&policies[n], subject), &admin, Value::Null)
            .await
            .expect(204);
        b.call("HEAD", &path(&policies[n], subject), &admin, Value::Null)
            .await
            .expect(204);
        let counts = b.get(&of_endpoint, &admin).await.expect(200).id("policy");
        assert_eq!(counts, policies[n]);
    }
    let listed = b
        .get(&path(&policies[1], "endpoints"), &admin)
        .await
        .expect(200)
        .json();
    assert_eq!(listed["endpoints"].as_array().unwrap().len(), 3, "{listed}");
    // It is another's.
    b.call("DELETE", &path(&policies[0], &in_region), &admin, Value::Null)
        .await
        .expect(204);
    assert_eq!(b.get(&of_endpoint, &admin).await.id("policy"), policies[1]);
    b.call("DELETE", &path(&policies[1], &in_region), &admin, Value::Null)
        .await
        .expect(204);
    assert_eq!(b.get(&of_endpoint, &admin).await.id("policy"), policies[0]);
}

#[tokio::test]
async fn options_of_a_domain_are_kept_but_its_secrets_never_told() {
    let b = bench().await;
    let admin = b.admin().await;
    let path = "/v3/domains/default/config";
    b.get(path, &admin).await.expect(404);
    let config =
        json!({"config": {"ldap": {"url": "ldap://x", "password": "hush"}, "identity": {"driver": "ldap"}}});
    let made = b.call("PUT", path, &admin, config.clone()).await.expect(201);
    assert!(!made.text.contains("hush"), "{}", made.text);
    b.call("PUT", path, &admin, config).await.expect(200);
    let url = b
        .get(&format!("{path}/ldap/url"), &admin)
        .await
        .expect(200)
        .json();
    assert_eq!(url, json!({"config": {"url": "ldap://x"}}));
    let new = json!({"config": {"url": "ldap://y"}});
    b.call("PATCH", &format!("{path}/ldap/url"), &admin, new.clone())
        .await
        .expect(200);
    b.call(
        "PATCH",
        &format!("{path}/ldap/suffix"),
        &admin,
        json!({"config": {"suffix": "x"}}),
    )
    .await
    .expect(404);
    b.call("PATCH", &format!("{path}/ldap/suffix"), &admin, new)
        .await
        .expect(403);
    b.call("PATCH", path, &admin, json!({"config": {"cars": {"a": 1}}}))
        .await
        .expect(403);
    b.call("DELETE", &format!("{path}/ldap/url"), &admin, Value::Null)
        .await
        .expect(204);
    b.get(&format!("{path}/ldap/url"), &admin).await.expect(404);
    b.call("DELETE", path, &admin, Value::Null).await.expect(204);
    b.get(path, &admin).await.expect(404);
    let default = b
        .get("/v3/domains/config/identity/driver/default", &admin)
        .await
        .expect(200);
    assert_eq!(default.json()["config"]["driver"], "sql");
}

#[tokio::test]
async fn revocations_are_told_to_services() {
    let b = bench().await;
    let (admin, demo) = (b.admin().await, b.demo().await);
    b.about("DELETE", "", &demo, &demo).await.expect(204);
    b.advance(1);
    let told = b.get("/v3/OS-REVOKE/events", &admin).await.expect(200).json();
    assert_eq!(told["events"].as_array().unwrap().len(), 1, "{told}");
    assert!(told["events"][0]["audit_id"].is_string());
    let later = b
        .get("/v3/OS-REVOKE/events?since=2025-12-22T10:41:00Z", &admin)
        .await;
    assert_eq!(later.expect(200).json()["events"], json!([]));
    b.get("/v3/OS-REVOKE/events?since=x", &admin).await.expect(400);
}

#[tokio::test]
async fn a_consumers_secret_is_told_once() {
    let b = bench().await;
    let admin = b.admin().await;
    let made = b
        .call(
            "POST",
            "/v3/OS-OAUTH1/consumers",
            &admin,
            json!({"consumer": {"description": "d"}}),
        )
        .await;
    let made = made.expect(201);
    let secret = made.json()["consumer"]["secret"].as_str().unwrap().to_owned();
    let path = format!("/v3/OS-OAUTH1/consumers/{}", made.id("consumer"));
    assert!(!b.get(&path, &admin).await.expect(200).text.contains(&secret));
    let change = json!({"consumer": {"description": "e"}});
    b.call("PATCH", &path, &admin, change).await.expect(200);
    b.call("PATCH", &path, &admin, json!({"consumer": {"secret": "x"}}))
        .await
        .expect(400);
    b.call("DELETE", &path, &admin, Value::Null).await.expect(204);
    b.get(&path, &admin).await.expect(404);
}
