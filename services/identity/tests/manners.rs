//! Small manners that clients of Keystone know: methods, media types, what a
//! body may hold, filters. Each was compared with a running Keystone.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use std::collections::BTreeSet;

use axum::body::Body;
use bench::{Bench, DEMO_PASSWORD, bench, bench_with, by_password, by_token};
use http::Request;
use serde_json::{Value, json};
use virga_identity::Config;

/// What the header `Allow` names.
fn allowed(answer: &bench::Answer) -> BTreeSet<String> {
    let text = answer.headers["allow"].to_str().unwrap();
    text.split(", ").map(str::to_owned).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

async fn made(b: &Bench, path: &str, key: &str, body: Value) -> Value {
    let admin = b.admin().await;
    let made = b.call("POST", path, &admin, json!({key: body})).await;
    made.expect(201).json()[key].clone()
}

/// Names of what a list holds.
async fn names(b: &Bench, path: &str, key: &str) -> BTreeSet<String> {
    let listed = b.get(path, &b.admin().await).await.expect(200).json();
    let all = listed[key].as_array().unwrap().iter();
    all.map(|item| item["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn every_path_tells_its_methods() {
    let b = bench().await;
    let admin = b.admin().await;
    for (path, methods) in [
        ("/v3/users", &["GET", "HEAD", "OPTIONS", "POST"][..]),
        ("/v3/users/x", &["DELETE", "GET", "HEAD", "OPTIONS", "PATCH"]),
        ("/v3/auth/tokens", &["DELETE", "GET", "HEAD", "OPTIONS", "POST"]),
        ("/v3", &["GET", "HEAD", "OPTIONS"]),
        ("/v3/OS-OAUTH2/token", &["OPTIONS", "POST"]),
    ] {
        // Nobody needs a token to ask for them.
        let told = b.call("OPTIONS", path, "", Value::Null).await;
        assert_eq!((told.status.as_u16(), told.text.as_str()), (200, ""), "{path}");
        assert_eq!(allowed(&told), set(methods), "{path}");
        let refused = b.call("TRACE", path, &admin, Value::Null).await.expect(405);
        assert_eq!(allowed(&refused), set(methods), "{path}");
    }
    b.call("OPTIONS", "/v3/nothing", "", Value::Null)
        .await
        .expect(404);
    b.get("/v3/OS-SIMPLE-CERT/ca", "").await.expect(410);
}

#[tokio::test]
async fn a_body_that_is_said_to_be_something_else_is_refused() {
    let b = bench().await;
    let admin = b.admin().await;
    let send = async |kind: &str, name: &str| {
        let request = Request::post("/v3/groups").header("x-auth-token", &admin);
        let request = match kind {
            "" => request,
            kind => request.header("content-type", kind),
        };
        let body = json!({"group": {"name": name}}).to_string();
        b.send(request.body(Body::from(body)).unwrap()).await
    };
    for kind in [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
    ] {
        send(kind, "g").await.expect(400);
    }
    for (n, kind) in ["", "application/json", "Application/JSON; charset=utf-8"]
        .iter()
        .enumerate()
    {
        send(kind, &format!("g{n}")).await.expect(201);
    }
}

#[tokio::test]
async fn names_lose_the_space_around_them() {
    let b = bench().await;
    let admin = b.admin().await;
    for (path, key) in [
        ("/v3/users", "user"),
        ("/v3/projects", "project"),
        ("/v3/groups", "group"),
        ("/v3/domains", "domain"),
    ] {
        let new = made(&b, path, key, json!({"name": "  ann "})).await;
        assert_eq!(new["name"], "ann", "{key}");
        let one = format!("{path}/{}", new["id"].as_str().unwrap());
        let renamed = b
            .call("PATCH", &one, &admin, json!({key: {"name": "\tbob  "}}))
            .await;
        assert_eq!(renamed.expect(200).json()[key]["name"], "bob", "{key}");
        assert_eq!(b.get(&one, &admin).await.json()[key]["name"], "bob", "{key}");
    }
    let role = made(&b, "/v3/roles", "role", json!({"name": " r "})).await;
    assert_eq!(role["name"], " r ", "roles keep it, as in Keystone");
}

#[tokio::test]
async fn what_is_null_empty_or_too_long_is_refused_where_keystone_refuses_it() {
    let b = bench().await;
    let admin = b.admin().await;
    let long = "d".repeat(256);
    for (path, key, body) in [
        ("users", "user", json!({"name": "x", "domain_id": null})),
        ("users", "user", json!({"name": "x", "domain_id": ""})),
        ("users", "user", json!({"name": "x", "options": null})),
        ("users", "user", json!({"name": "x", "description": 5})),
        (
            "users",
            "user",
            json!({"name": "x", "default_project_id": "default"}),
        ),
        (
            "users",
            "user",
            json!({"name": "x", "default_project_id": "p".repeat(65)}),
        ),
        (
            "users",
            "user",
            json!({"name": "x", "federated": [{"idp_id": "i", "protocols": []}]}),
        ),
        (
            "users",
            "user",
            json!({"name": "x", "options": {"multi_factor_auth_rules": [["totp", "totp"]]}}),
        ),
        (
            "users",
            "user",
            json!({"name": "x", "options": {"multi_factor_auth_rules": [["totp"], ["totp"]]}}),
        ),
        ("groups", "group", json!({"name": "x", "domain_id": null})),
        ("projects", "project", json!({"name": "x", "tags": null})),
        ("projects", "project", json!({"name": "x", "options": null})),
        ("projects", "project", json!({"name": "x", "parent_id": ""})),
        ("projects", "project", json!({"name": "x", "parent_id": "none"})),
        ("projects", "project", json!({"name": "x", "domain_id": "none"})),
        ("domains", "domain", json!({"name": "x", "description": long})),
        ("domains", "domain", json!({"name": "x", "tags": "a"})),
        (
            "domains",
            "domain",
            json!({"name": "x", "explicit_domain_id": null}),
        ),
        ("roles", "role", json!({"name": "x", "description": long})),
        ("regions", "region", json!({"description": long})),
        ("regions", "region", json!({"parent_region_id": ""})),
        ("services", "service", json!({"type": "x", "name": null})),
        ("services", "service", json!({"type": "x", "name": ""})),
        ("policies", "policy", json!({"type": "x", "blob": {"a": 1}})),
        (
            "credentials",
            "credential",
            json!({"type": "x", "blob": {"a": 1}}),
        ),
        (
            "credentials",
            "credential",
            json!({"type": "t".repeat(256), "blob": "x"}),
        ),
    ] {
        let answer = b
            .call("POST", &format!("/v3/{path}"), &admin, json!({key: body}))
            .await;
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text);
    }
    let user = made(
        &b,
        "/v3/users",
        "user",
        json!({"name": "x", "federated": [], "description": null}),
    )
    .await;
    assert!(user.get("federated").is_none(), "{user}");
    let service = made(&b, "/v3/services", "service", json!({"type": "x"})).await;
    assert_eq!(service["name"], "");
}

#[tokio::test]
async fn a_change_of_nothing_is_refused_but_of_projects() {
    let b = bench().await;
    let admin = b.admin().await;
    let service = made(&b, "/v3/services", "service", json!({"type": "x"})).await;
    let service = service["id"].as_str().unwrap();
    let endpoint = json!({"service_id": service, "interface": "public", "url": "http://x"});
    for (path, key, body, status) in [
        ("users", "user", json!({"name": "x"}), 400),
        ("groups", "group", json!({"name": "x"}), 400),
        ("domains", "domain", json!({"name": "x"}), 400),
        ("roles", "role", json!({"name": "x"}), 400),
        ("regions", "region", json!({}), 400),
        ("services", "service", json!({"type": "x"}), 400),
        ("endpoints", "endpoint", endpoint, 400),
        ("policies", "policy", json!({"type": "x", "blob": "x"}), 400),
        (
            "credentials",
            "credential",
            json!({"type": "x", "blob": "x"}),
            400,
        ),
        ("projects", "project", json!({"name": "x"}), 200),
    ] {
        let new = made(&b, &format!("/v3/{path}"), key, body).await;
        let one = format!("/v3/{path}/{}", new["id"].as_str().unwrap());
        b.call("PATCH", &one, &admin, json!({key: {}}))
            .await
            .expect(status);
    }
}

#[tokio::test]
async fn an_endpoint_has_a_url_that_the_catalog_can_fill_in() {
    let b = bench().await;
    let admin = b.admin().await;
    let service = made(&b, "/v3/services", "service", json!({"type": "x"})).await;
    let with = |field: &str, value: Value| {
        let mut body = json!({"service_id": service["id"], "interface": "public", "url": "http://x"});
        body[field] = value;
        json!({"endpoint": body})
    };
    for bad in [
        json!("x"),
        json!(":x"),
        json!(""),
        json!(null),
        json!("http://x/$(nope)s"),
        json!("http://x/%(tenant_id)d"),
        json!("http://x/$(tenant_id)"),
        json!("http://x/50%"),
        json!("http://x/%20"),
        json!(format!("http://{}", "x".repeat(219))),
    ] {
        let answer = b
            .call("POST", "/v3/endpoints", &admin, with("url", bad.clone()))
            .await;
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text);
    }
    for good in [
        "http://x/%(tenant_id)s",
        "http://x/$(project_id)s/$(user_id)s",
        "unix:/x",
        "http://x/%%20",
    ] {
        let answer = b
            .call("POST", "/v3/endpoints", &admin, with("url", json!(good)))
            .await;
        assert_eq!(answer.status, 201, "{good}: {}", answer.text);
    }
    for (field, bad) in [
        ("interface", json!("publicURL")),
        ("name", Value::Null),
        ("service_id", Value::Null),
    ] {
        b.call("POST", "/v3/endpoints", &admin, with(field, bad))
            .await
            .expect(400);
    }
    let new = b
        .call("POST", "/v3/endpoints", &admin, with("region", json!("east")))
        .await;
    let one = format!("/v3/endpoints/{}", new.expect(201).id("endpoint"));
    let kept = b
        .call("PATCH", &one, &admin, json!({"endpoint": {"region": null}}))
        .await;
    assert_eq!(kept.expect(200).json()["endpoint"]["region_id"], "east");
}

#[tokio::test]
async fn users_are_found_by_when_their_password_ends_and_by_who_vouches_for_them() {
    let mut config = Config::default();
    config.security.password_expires_days = Some(30);
    let b = bench_with(config).await;
    made(&b, "/v3/users", "user", json!({"name": "new", "password": "pw"})).await;
    made(&b, "/v3/users", "user", json!({"name": "none"})).await;
    let listed = async |filter: &str| names(&b, &format!("/v3/users?{filter}"), "users").await;
    let end = b.get("/v3/users?name=new", &b.admin().await).await.json();
    let end = end["users"][0]["password_expires_at"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        listed("password_expires_at=lt:2199-01-01T00:00:00Z").await,
        set(&["new"])
    );
    assert_eq!(
        listed("password_expires_at=gt:2199-01-01T00:00:00Z").await,
        set(&[])
    );
    assert!(
        listed(&format!("password_expires_at=eq:{end}"))
            .await
            .contains("new")
    );
    assert!(
        !listed(&format!("password_expires_at=neq:{end}"))
            .await
            .contains("new")
    );
    assert!(
        listed(&format!("password_expires_at=gte:{end}&name=new"))
            .await
            .contains("new")
    );
    assert!(
        !listed(&format!("password_expires_at=lt:{end}"))
            .await
            .contains("new")
    );
    for bad in [
        "x",
        "2199-01-01T00:00:00Z",
        "lt:",
        "lt:soon",
        "around:2199-01-01T00:00:00Z",
    ] {
        let path = format!("/v3/users?password_expires_at={bad}");
        b.get(&path, &b.admin().await).await.expect(400);
    }
    for of_nobody in ["idp_id=x", "protocol_id=x", "unique_id=x", "idp_id="] {
        assert_eq!(listed(of_nobody).await, set(&[]), "{of_nobody}");
    }
}

#[tokio::test]
async fn the_tree_around_a_project_is_shown_in_one_way() {
    let b = bench().await;
    let admin = b.admin().await;
    let (top, demo) = (b.new_project("top").await, b.report.demo_user_id.clone());
    let below = json!({"name": "below", "parent_id": top, "tags": ["t"]});
    let below = made(&b, "/v3/projects", "project", below).await;
    let below = below["id"].as_str().unwrap().to_owned();
    let shown = async |id: &str, query: &str| {
        let path = format!("/v3/projects/{id}?{query}");
        b.get(&path, &b.admin().await).await.expect(200).json()["project"].clone()
    };
    let parents = shown(&below, "parents_as_ids").await["parents"].clone();
    assert_eq!(parents, json!({&*top: {"default": null}}), "the domain, too");
    assert_eq!(
        shown(&top, "subtree_as_ids").await["subtree"],
        json!({&*below: null})
    );
    for both in ["parents_as_list&parents_as_ids", "subtree_as_list&subtree_as_ids"] {
        b.get(&format!("/v3/projects/{top}?{both}"), &admin)
            .await
            .expect(400);
    }
    // Whole projects are shown to who has a role there.
    assert_eq!(shown(&top, "subtree_as_list").await["subtree"], json!([]));
    let me = b.report.admin_user_id.clone();
    b.grant(&format!("projects/{below}"), &me, "reader").await;
    let list = shown(&top, "subtree_as_list").await["subtree"].clone();
    assert_eq!(
        (list[0]["project"]["id"].as_str(), &list[0]["project"]["tags"][0]),
        (Some(&*below), &json!("t"))
    );
    // What a user may open is shown with its tags.
    b.grant(&format!("projects/{below}"), &demo, "member").await;
    b.advance(1);
    let token = b.token("demo", DEMO_PASSWORD, Value::Null).await;
    for path in [
        "/v3/auth/projects".to_owned(),
        format!("/v3/users/{demo}/projects"),
    ] {
        let mine = b.get(&path, &token).await.expect(200).json();
        let mine = mine["projects"]
            .as_array()
            .unwrap()
            .iter()
            .find(|p| p["id"] == *below);
        assert_eq!(mine.unwrap()["tags"], json!(["t"]), "{path}");
    }
}

#[tokio::test]
async fn domains_have_tags() {
    let b = bench().await;
    let admin = b.admin().await;
    let body = json!({"name": "d", "tags": ["a"], "is_domain": false, "parent_id": "x"});
    let new = made(&b, "/v3/domains", "domain", body).await;
    assert_eq!(new["tags"], json!(["a"]));
    assert!(
        new.get("is_domain").is_none() && new.get("parent_id").is_none(),
        "{new}"
    );
    let one = format!("/v3/domains/{}", new["id"].as_str().unwrap());
    let change = |tags: Value| json!({"domain": {"tags": tags}});
    let changed = b.call("PATCH", &one, &admin, change(json!(["b", "c"]))).await;
    assert_eq!(changed.expect(200).json()["domain"]["tags"], json!(["b", "c"]));
    b.call("PATCH", &one, &admin, change(json!(["b", "b"])))
        .await
        .expect(400);
    b.call("PATCH", &one, &admin, json!({"domain": {"enabled": true}}))
        .await
        .expect(200);
    assert_eq!(
        b.get(&one, &admin).await.json()["domain"]["tags"],
        json!(["b", "c"])
    );
    let listed = b.get("/v3/domains?name=d", &admin).await.json();
    assert_eq!(listed["domains"][0]["tags"], json!(["b", "c"]));
}

#[tokio::test]
async fn a_role_implies_another_once_and_a_membership_says_when_it_ends() {
    let b = bench().await;
    let admin = b.admin().await;
    let [x, y] = ["x", "y"].map(|name| json!({"name": name}));
    let (x, y) = (
        made(&b, "/v3/roles", "role", x).await,
        made(&b, "/v3/roles", "role", y).await,
    );
    let path = format!(
        "/v3/roles/{}/implies/{}",
        x["id"].as_str().unwrap(),
        y["id"].as_str().unwrap()
    );
    b.call("PUT", &path, &admin, Value::Null).await.expect(201);
    b.call("PUT", &path, &admin, Value::Null).await.expect(409);
    let group = made(&b, "/v3/groups", "group", json!({"name": "g"})).await;
    let demo = &b.report.demo_user_id;
    let path = format!("/v3/groups/{}/users/{demo}", group["id"].as_str().unwrap());
    b.call("PUT", &path, &admin, Value::Null).await.expect(204);
    let groups = b
        .get(&format!("/v3/users/{demo}/groups"), &admin)
        .await
        .expect(200)
        .json();
    assert_eq!(groups["groups"][0]["membership_expires_at"], Value::Null);
    assert!(groups["groups"][0].get("membership_expires_at").is_some());
}

#[tokio::test]
async fn who_asks_for_a_json_home_gets_the_relations() {
    let b = bench().await;
    let asked = async |path: &str, accept: &str| {
        let request = Request::get(path).header("accept", accept).body(Body::empty());
        b.send(request.unwrap()).await
    };
    const USERS: &str = "https://docs.openstack.org/api/openstack-identity/3/rel/users";
    for (path, href) in [("/v3", "/users"), ("/", "/v3/users")] {
        let home = asked(path, "application/json-home").await.expect(200);
        assert_eq!(home.headers["content-type"], "application/json-home");
        assert_eq!(home.json()["resources"][USERS]["href"], href);
    }
    assert_eq!(
        asked("/v3", "application/json").await.expect(200).json()["version"]["id"],
        "v3.14"
    );
    assert_eq!(asked("/", "*/*").await.status, 300);
}

#[tokio::test]
async fn a_sign_in_names_a_scope_or_none_and_a_check_names_a_token() {
    let b = bench().await;
    let admin = b.admin().await;
    let mut nothing = by_password("demo", DEMO_PASSWORD, Value::Null);
    nothing["auth"]["scope"] = Value::Null;
    b.authenticate(nothing).await.expect(400);
    for scope in [json!({}), json!({"nope": 1})] {
        b.authenticate(by_password("demo", DEMO_PASSWORD, scope))
            .await
            .expect(400);
    }
    for scope in [json!("unscoped"), json!({"unscoped": {}})] {
        b.authenticate(by_password("demo", DEMO_PASSWORD, scope))
            .await
            .expect(201);
    }
    // A token that is none, or none any more, is not exchanged.
    let demo = b.demo().await;
    b.about("DELETE", "", &admin, &demo).await.expect(204);
    for token in [demo.as_str(), "nope", ""] {
        let answer = b
            .authenticate(by_token(token, json!("unscoped")))
            .await
            .expect(404);
        assert_eq!(answer.json()["error"]["message"], "Failed to validate token");
    }
    for method in ["GET", "DELETE"] {
        b.call(method, "/v3/auth/tokens", &admin, Value::Null)
            .await
            .expect(404);
    }
}
