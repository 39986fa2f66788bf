//! Manners of extensions that clients of Keystone know: limits, endpoint groups,
//! stored policies, tags, trusts, levels of projects. Each was compared with a
//! running Keystone.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use bench::{Bench, DEMO_PASSWORD, bench, bench_with, by_password};
use serde_json::{Value, json};
use virga_identity::{Config, LimitModel};

/// Posts it as the administrator, who must succeed; returns its id.
async fn made(b: &Bench, path: &str, key: &str, body: Value) -> String {
    let admin = b.admin().await;
    let new = b.call("POST", path, &admin, json!({key: body})).await;
    new.expect(201).id(key)
}

async fn registered(b: &Bench, service: &str, name: &str) -> String {
    let wish = json!([{"service_id": service, "resource_name": name, "default_limit": 10}]);
    let wish = json!({"registered_limits": wish});
    let new = b
        .call("POST", "/v3/registered_limits", &b.admin().await, wish)
        .await
        .expect(201)
        .json();
    assert_eq!(new.get("links"), None, "what is made is no page of a list");
    new["registered_limits"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_service_reads_the_limits_of_every_project() {
    let b = bench().await;
    let service = made(&b, "/v3/services", "service", json!({"type": "image"})).await;
    registered(&b, &service, "images").await;
    let project = &b.report.demo_project_id;
    let wish =
        json!({"service_id": service, "project_id": project, "resource_name": "images", "resource_limit": 3});
    let wish = json!({"limits": [wish]});
    b.call("POST", "/v3/limits", &b.admin().await, wish)
        .await
        .expect(201);
    let glance = b.new_user("glance").await;
    let ann = b.new_user("ann").await;
    let own = b.new_project("services").await;
    b.grant(&format!("projects/{own}"), &glance, "service").await;
    b.grant(&format!("projects/{own}"), &ann, "member").await;
    for (user, seen) in [("glance", 1), ("ann", 0)] {
        let token = b.token(user, "pw", bench::project_scope("services")).await;
        let told = b.get(&format!("/v3/limits?project_id={project}"), &token).await;
        assert_eq!(
            told.expect(200).json()["limits"].as_array().unwrap().len(),
            seen,
            "{user}"
        );
    }
}

#[tokio::test]
async fn limits_and_their_defaults_are_read_strictly() {
    let b = bench().await;
    let admin = b.admin().await;
    let service = made(&b, "/v3/services", "service", json!({"type": "image"})).await;
    let id = registered(&b, &service, "images").await;
    let default = json!({"service_id": service, "resource_name": "other", "default_limit": 1});
    let with = |base: &Value, more: Value| {
        let mut all = base.clone();
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    for bad in [
        json!({"registered_limits": [with(&default, json!({"region_id": ""}))]}),
        json!({"registered_limits": [default], "shoe": 1}),
        json!([default]),
    ] {
        b.call("POST", "/v3/registered_limits", &admin, bad)
            .await
            .expect(400);
    }
    let project = json!({"project_id": b.report.demo_project_id});
    let limit = json!({"service_id": service, "resource_name": "images", "resource_limit": 1});
    for bad in [
        with(&project, json!({"domain_id": null})),
        with(&project, json!({"region_id": ""})),
        json!({"project_id": null}),
        json!({"project_id": ""}),
    ] {
        let wish = json!({"limits": [with(&limit, bad)]});
        b.call("POST", "/v3/limits", &admin, wish).await.expect(400);
    }
    // A default changes only while nothing hangs on it.
    let one = format!("/v3/registered_limits/{id}");
    let more = json!({"registered_limit": {"default_limit": 11}});
    b.call("PATCH", &one, &admin, more.clone()).await.expect(200);
    let wish = json!({"limits": [with(&limit, project)]});
    b.call("POST", "/v3/limits", &admin, wish).await.expect(201);
    for change in [more, json!({"registered_limit": {"description": "d"}})] {
        let refused = b.call("PATCH", &one, &admin, change).await.expect(403);
        assert!(refused.text.contains("limits associated"), "{}", refused.text);
    }
}

#[tokio::test]
async fn the_next_page_has_an_address_that_reads_as_the_first_did() {
    let b = bench().await;
    let service = made(&b, "/v3/services", "service", json!({"type": "image"})).await;
    for name in ["images", "sizes"] {
        registered(&b, &service, name).await;
    }
    let page = format!("/v3/registered_limits?service_id={service}&limit=1");
    let page = b.get(&page, &b.admin().await).await.expect(200).json();
    let next = page["links"]["next"].as_str().unwrap();
    assert!(next.contains(&format!("service_id={service}")), "{next}");
}

#[tokio::test]
async fn a_domain_has_as_many_levels_of_projects_as_the_model_of_limits_knows() {
    for (limit_model, levels) in [(LimitModel::Flat, 5), (LimitModel::StrictTwoLevel, 2)] {
        let b = bench_with(Config {
            limit_model,
            ..Config::default()
        })
        .await;
        let admin = b.admin().await;
        let mut above = "default".to_owned();
        for level in 1..=levels {
            let project = json!({"name": format!("level{level}"), "parent_id": above});
            above = made(&b, "/v3/projects", "project", project).await;
        }
        let deeper = json!({"project": {"name": "deeper", "parent_id": above}});
        let refused = b.call("POST", "/v3/projects", &admin, deeper).await.expect(403);
        assert!(
            refused.text.contains("Max hierarchy depth reached"),
            "{}",
            refused.text
        );
    }
}

#[tokio::test]
async fn an_endpoint_group_has_filters_and_nothing_unknown() {
    let b = bench().await;
    let admin = b.admin().await;
    let path = "/v3/OS-EP-FILTER/endpoint_groups";
    let wish = json!({"name": "g", "filters": {"interface": "public"}});
    let id = made(&b, path, "endpoint_group", wish.clone()).await;
    let none = json!({"endpoint_group": {"name": "h", "filters": {}}});
    b.call("POST", path, &admin, none).await.expect(400);
    for (field, value) in [("shoe", json!(1)), ("id", json!("x"))] {
        let mut bad = wish.clone();
        bad[field] = value.clone();
        let bad = json!({"endpoint_group": bad});
        b.call("POST", path, &admin, bad).await.expect(400);
        let change = json!({"endpoint_group": {field: value}});
        b.call("PATCH", &format!("{path}/{id}"), &admin, change)
            .await
            .expect(400);
    }
    let cleared = json!({"endpoint_group": {"filters": {}}});
    let cleared = b.call("PATCH", &format!("{path}/{id}"), &admin, cleared).await;
    assert_eq!(cleared.expect(200).json()["endpoint_group"]["filters"], json!({}));
    let nothing = json!({"endpoint_group": {}});
    b.call("PATCH", &format!("{path}/{id}"), &admin, nothing)
        .await
        .expect(400);
}

#[tokio::test]
async fn what_changes_nothing_of_a_provider_is_refused() {
    let b = bench().await;
    let admin = b.admin().await;
    let urls = json!({"auth_url": "http://a/", "sp_url": "http://b/"});
    for (kind, key, body) in [
        ("identity_providers", "identity_provider", json!({})),
        ("service_providers", "service_provider", urls),
    ] {
        let path = format!("/v3/OS-FEDERATION/{kind}/x");
        b.call("PUT", &path, &admin, json!({key: body})).await.expect(201);
        b.call("PATCH", &path, &admin, json!({key: {}})).await.expect(400);
        let change = json!({key: {"enabled": true}});
        b.call("PATCH", &path, &admin, change).await.expect(200);
    }
}

#[tokio::test]
async fn a_policy_is_taken_from_where_it_is_not_without_complaint() {
    let b = bench().await;
    let admin = b.admin().await;
    let service = made(&b, "/v3/services", "service", json!({"type": "image"})).await;
    let endpoint = json!({"service_id": service, "interface": "public", "url": "http://x"});
    let endpoint = made(&b, "/v3/endpoints", "endpoint", endpoint).await;
    let policy = made(&b, "/v3/policies", "policy", json!({"type": "t", "blob": "b"})).await;
    let path = format!("/v3/policies/{policy}/OS-ENDPOINT-POLICY/endpoints/{endpoint}");
    b.call("PUT", &path, &admin, Value::Null).await.expect(204);
    for _ in 0..2 {
        b.call("DELETE", &path, &admin, Value::Null).await.expect(204);
    }
    let of = format!("/v3/endpoints/{endpoint}/OS-ENDPOINT-POLICY/policy");
    let none = b.get(&of, &admin).await.expect(404);
    let why = format!("No policy is associated with endpoint {endpoint}.");
    assert_eq!(none.json()["error"]["message"], json!(why));
}

#[tokio::test]
async fn the_tags_of_an_immutable_project_stay() {
    let b = bench().await;
    let admin = b.admin().await;
    let project = json!({"name": "p", "tags": ["red"]});
    let id = made(&b, "/v3/projects", "project", project).await;
    let (one, tags) = (format!("/v3/projects/{id}"), format!("/v3/projects/{id}/tags"));
    let blue = format!("{tags}/blue");
    let added = b.call("PUT", &blue, &admin, Value::Null).await.expect(201);
    assert_eq!(added.headers["location"], format!("http://cloud:5000{blue}"));
    let unknown = json!({"tags": ["red"], "shoe": 1});
    b.call("PUT", &tags, &admin, unknown).await.expect(400);
    let set = async |immutable: Value| {
        let change = json!({"project": {"options": {"immutable": immutable}}});
        b.call("PATCH", &one, &admin, change).await.expect(200);
    };
    set(json!(true)).await;
    for (method, path, body) in [
        ("PUT", &tags, json!({"tags": ["green"]})),
        ("DELETE", &tags, Value::Null),
        ("PUT", &format!("{tags}/green"), Value::Null),
        ("DELETE", &blue, Value::Null),
    ] {
        let refused = b.call(method, path, &admin, body).await;
        assert_eq!(refused.status, 403, "{method} {path}: {}", refused.text);
    }
    let told = b.get(&tags, &admin).await.expect(200).json();
    assert_eq!(told["tags"], json!(["blue", "red"]));
    set(json!(false)).await;
    b.call("DELETE", &blue, &admin, Value::Null).await.expect(204);
}

#[tokio::test]
async fn a_trust_that_is_not_there_lets_nobody_in() {
    let b = bench().await;
    for (id, status) in [("nope", 401), ("", 400)] {
        let scope = json!({"OS-TRUST:trust": {"id": id}});
        let refused = b.authenticate(by_password("demo", DEMO_PASSWORD, scope)).await;
        assert_eq!(refused.status, status, "{id:?}: {}", refused.text);
    }
}

#[tokio::test]
async fn a_trust_is_for_roles_that_its_trustor_has_somewhere() {
    let b = bench().await;
    let (demo, ann) = (b.demo().await, b.new_user("ann").await);
    let trust = |project: Value, roles: Value, redelegation: Value| {
        json!({"trust": {"trustor_user_id": b.report.demo_user_id, "trustee_user_id": ann, "impersonation": false,
            "project_id": project, "roles": roles, "allow_redelegation": redelegation}})
    };
    let (own, member) = (json!(b.report.demo_project_id), json!([{"name": "member"}]));
    for (body, status) in [
        (trust(Value::Null, member.clone(), json!(false)), 404),
        (trust(own.clone(), Value::Null, json!(false)), 400),
        (trust(own.clone(), json!([]), json!(false)), 403),
        (trust(own.clone(), member.clone(), Value::Null), 201),
        (trust(Value::Null, json!([]), json!(false)), 201),
    ] {
        let answer = b.call("POST", "/v3/OS-TRUST/trusts", &demo, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
    }
    // A filter that names nobody finds nobody's.
    let admin = b.admin().await;
    let told = b.get("/v3/OS-TRUST/trusts?trustor_user_id=", &admin).await;
    assert_eq!(told.expect(200).json()["trusts"], json!([]));
}

#[tokio::test]
async fn options_of_a_domain_that_are_none_are_refused() {
    let b = bench().await;
    let admin = b.admin().await;
    let domain = made(&b, "/v3/domains", "domain", json!({"name": "d"})).await;
    let path = format!("/v3/domains/{domain}/config");
    for body in [json!({}), json!({"config": null}), json!({"config": {}})] {
        for method in ["PUT", "PATCH"] {
            let refused = b.call(method, &path, &admin, body.clone()).await;
            assert_eq!(refused.status, 403, "{method} {body}: {}", refused.text);
            assert!(refused.text.contains("No options specified"), "{}", refused.text);
        }
    }
}
