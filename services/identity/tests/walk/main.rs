//! Walks every route: without a token, with another cloud's, as a reader, a
//! member and an administrator, and compares with the table of rules.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
#[path = "../bench/mod.rs"]
mod bench;
mod rehearsals;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use bench::{Answer, Bench, bench, bench_with, project_scope};
use http::Request;
use rows::ROWS;
use serde_json::{Value, json};
use virga_identity::{Config, Identity};

/// A body that is good enough to be refused for its sender only.
fn body(owner: &str) -> Value {
    json!({
        "user": {"name": "x", "domain_id": "default"}, "group": {"name": "x", "domain_id": "default"},
        "project": {"name": "x", "domain_id": "default"}, "domain": {"name": "x"}, "role": {"name": "x"},
        "region": {}, "service": {"type": "x"}, "credential": {"type": "x", "blob": "x", "user_id": owner},
        "endpoint": {"service_id": "x", "interface": "public", "url": "http://x"}, "tags": ["x"],
        "tenant_id": "x", "trust": {"trustor_user_id": owner, "trustee_user_id": "x", "impersonation": false},
        "application_credential": {"name": "x", "roles": [{"name": "none"}]}, "policy": {"type": "x", "blob": "x"},
        "limits": [], "registered_limits": [], "limit": {}, "registered_limit": {}, "consumer": {},
        "endpoint_group": {"name": "x", "filters": {"service_id": "x"}}, "config": {"ldap": {"url": "x"}},
        "credentials": {"access": "x"}, "identity_provider": {"enabled": true}, "protocol": {"mapping_id": "m"},
        "mapping": {"rules": [{"local": [], "remote": [{"type": "x"}]}]},
        "service_provider": {"auth_url": "http://x", "sp_url": "http://x"},
    })
}

/// The path with its variables replaced.
fn filled(path: &str, value: &impl Fn(&str) -> String) -> String {
    let parts = path.split('/').map(|part| {
        let name = part.strip_prefix('{').and_then(|p| p.strip_suffix('}'));
        name.map_or_else(|| part.to_owned(), value)
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Asks `route` with `token`, about the token `subject`.
async fn ask(b: &Bench, route: (&str, &str), token: &str, subject: &str, owner: &str) -> Answer {
    let mut request = Request::builder().method(route.0).uri(route.1);
    if !token.is_empty() {
        request = request.header("x-auth-token", token);
    }
    let request = request.header("x-subject-token", subject);
    b.send(request.body(Body::from(body(owner).to_string())).unwrap())
        .await
}

async fn post(b: &Bench, token: &str, path: &str, key: &str, body: Value) -> String {
    b.call("POST", path, token, json!({key: body}))
        .await
        .expect(201)
        .id(key)
}

/// Things of the administrator's, by the name of the variable in paths.
async fn things(b: &Bench, admin: &str) -> BTreeMap<&'static str, String> {
    let (user, project) = (b.report.admin_user_id.clone(), b.report.admin_project_id.clone());
    let service = post(b, admin, "/v3/services", "service", json!({"type": "x"})).await;
    let endpoint = json!({"service_id": service, "interface": "public", "url": "http://x"});
    let endpoint = post(b, admin, "/v3/endpoints", "endpoint", endpoint).await;
    let group = post(b, admin, "/v3/groups", "group", json!({"name": "g"})).await;
    let credential = json!({"type": "cert", "blob": "x"});
    let credential = post(b, admin, "/v3/credentials", "credential", credential).await;
    let policy = post(
        b,
        admin,
        "/v3/policies",
        "policy",
        json!({"type": "x", "blob": "x"}),
    )
    .await;
    let key = json!({"tenant_id": project});
    let key = b
        .call(
            "POST",
            &format!("/v3/users/{user}/credentials/OS-EC2"),
            admin,
            key,
        )
        .await;
    let consumer = post(b, admin, "/v3/OS-OAUTH1/consumers", "consumer", json!({})).await;
    let filter = json!({"name": "f", "filters": {"service_id": service}});
    let filter = post(
        b,
        admin,
        "/v3/OS-EP-FILTER/endpoint_groups",
        "endpoint_group",
        filter,
    )
    .await;
    let rules = json!([{"service": "x", "method": "GET", "path": "/x"}]);
    let app = json!({"name": "c", "access_rules": rules});
    let path = format!("/v3/users/{user}/application_credentials");
    let app = b
        .call("POST", &path, admin, json!({"application_credential": app}))
        .await
        .expect(201);
    let rule = app.json()["application_credential"]["access_rules"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let trustee = b.new_user("trustee").await;
    let trust = json!({"trustor_user_id": user, "trustee_user_id": trustee, "impersonation": false});
    let trust = post(b, admin, "/v3/OS-TRUST/trusts", "trust", trust).await;
    let first = |answer: Answer, key: &str| {
        answer.expect(201).json()[key][0]["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let registered = json!({"service_id": service, "resource_name": "r", "default_limit": 5});
    let registered = json!({"registered_limits": [registered]});
    let registered = b.call("POST", "/v3/registered_limits", admin, registered).await;
    for (path, body) in [
        ("mappings/m", json!({"mapping": body("")["mapping"]})),
        ("identity_providers/i", json!({"identity_provider": {}})),
        (
            "identity_providers/i/protocols/p",
            json!({"protocol": {"mapping_id": "m"}}),
        ),
        (
            "service_providers/s",
            json!({"service_provider": body("")["service_provider"]}),
        ),
    ] {
        let path = format!("/v3/OS-FEDERATION/{path}");
        b.call("PUT", &path, admin, body).await.expect(201);
    }
    let limit =
        json!({"service_id": service, "resource_name": "r", "resource_limit": 5, "project_id": project});
    let limit = b
        .call("POST", "/v3/limits", admin, json!({"limits": [limit]}))
        .await;
    BTreeMap::from([
        (
            "access",
            key.expect(201).json()["credential"]["access"]
                .as_str()
                .unwrap()
                .to_owned(),
        ),
        ("access_rule_id", rule),
        ("access_token_id", "none".into()),
        ("application_credential_id", app.id("application_credential")),
        ("consumer_id", consumer),
        ("credential_id", credential),
        ("domain_id", "default".into()),
        ("endpoint_group_id", filter),
        ("endpoint_id", endpoint),
        ("group", "ldap".into()),
        ("group_id", group),
        ("idp_id", "i".into()),
        ("implied_id", b.role_id("service").await),
        ("limit_id", first(limit, "limits")),
        ("mapping_id", "m".into()),
        ("option", "url".into()),
        ("policy_id", policy),
        ("project_id", project),
        ("protocol_id", "p".into()),
        ("region_id", "RegionOne".into()),
        ("registered_limit_id", first(registered, "registered_limits")),
        ("request_token_id", "none".into()),
        ("role_id", b.role_id("reader").await),
        ("service_id", service),
        ("service_provider_id", "s".into()),
        ("tag", "t".into()),
        ("trust_id", trust),
        ("user_id", user),
    ])
}

fn split(row: &str) -> (&str, &str) {
    row.split_once(' ').unwrap()
}

#[test]
fn every_route_has_a_row_and_every_row_a_route() {
    let routes: BTreeSet<String> = Identity::routes()
        .iter()
        .map(|(m, p)| format!("{m} {p}"))
        .collect();
    let rows: BTreeSet<String> = ROWS.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(routes.len(), Identity::routes().len(), "a route is listed twice");
    let (missing, stale): (Vec<_>, Vec<_>) = (
        routes.difference(&rows).collect(),
        rows.difference(&routes).collect(),
    );
    assert!(
        missing.is_empty() && stale.is_empty(),
        "no row: {missing:#?}; no route: {stale:#?}"
    );
}

#[tokio::test]
async fn nobody_gets_past_a_rule_that_is_not_for_them() {
    let (b, elsewhere) = (bench().await, bench().await);
    let admin = b.admin().await;
    let reader = b.new_user("reader").await;
    b.grant(
        &format!("projects/{}", b.report.demo_project_id),
        &reader,
        "reader",
    )
    .await;
    let personas = [
        b.token("reader", "pw", project_scope("demo")).await,
        b.demo().await,
    ];
    let foreign = elsewhere.admin().await;
    let things = things(&b, &admin).await;
    let owner = b.report.admin_user_id.as_str();
    for (row, rule, who) in ROWS.iter() {
        let (method, path) = split(row);
        let path = filled(path, &|name| things[name].clone());
        let route = (method, path.as_str());
        if *who == "public" {
            let status = ask(&b, route, "", &admin, owner).await.status.as_u16();
            assert!(status != 403 && status != 404, "{row}: {status}");
            continue;
        }
        for token in ["", "rubbish", foreign.as_str()] {
            let answer = ask(&b, route, token, &admin, owner).await;
            assert_eq!(answer.status, 401, "{row} with {token:.9}: {}", answer.text);
        }
        for token in &personas {
            let answer = ask(&b, route, token, &admin, owner).await;
            let (status, refused) = (answer.status, answer.status == 403);
            assert_eq!(refused, *who != "any", "{row}: {status}");
            // An answer to HEAD has no body to name anything in.
            if refused && method != "HEAD" {
                let said = format!("You are not authorized to perform the requested action: {rule}.");
                assert_eq!(answer.json()["error"]["message"], json!(said), "{row}");
            }
            assert_ne!(status, 401, "{row}");
        }
    }
    // What was refused left no trace: everything can still be seen.
    for (row, _, who) in ROWS
        .iter()
        .filter(|(row, _, who)| row.starts_with("GET") && *who == "admin")
    {
        let (method, path) = split(row);
        let path = filled(path, &|name| things[name].clone());
        let status = ask(&b, (method, &path), &admin, &admin, owner)
            .await
            .status
            .as_u16();
        assert!([200, 204, 404].contains(&status), "{row} {who}: {status}");
    }
    let user = format!("/v3/users/{owner}");
    b.get(&user, &admin).await.expect(200);
}

/// A new trust or EC2 key of the administrator's, a group or a role, whichever
/// the path names.
async fn own(b: &Bench, admin: &str, path: &str) -> Option<String> {
    let user = &b.report.admin_user_id;
    let (path, body, at) = if path.contains("{trust_id}") {
        let trust = json!({"trustor_user_id": user, "trustee_user_id": b.report.demo_user_id, "impersonation": false});
        (
            "/v3/OS-TRUST/trusts".to_owned(),
            json!({"trust": trust}),
            "/trust/id",
        )
    } else if path.contains("{group_id}") || path.starts_with("/v3/roles") {
        let name = virga_identity_api::payload::new_audit_id().ok()?;
        if path.contains("{group_id}") {
            let body = json!({"group": {"name": name}});
            ("/v3/groups".to_owned(), body, "/group/id")
        } else {
            let body = json!({"role": {"name": name}});
            ("/v3/roles".to_owned(), body, "/role/id")
        }
    } else {
        let path = format!("/v3/users/{user}/credentials/OS-EC2");
        (
            path,
            json!({"tenant_id": b.report.admin_project_id}),
            "/credential/access",
        )
    };
    let made = b.call("POST", &path, admin, body).await;
    if made.status != 201 {
        return None;
    }
    Some(made.json().pointer(at)?.as_str()?.to_owned())
}

/// Which rules guard a route is found out by asking: with half of all rules
/// set to "never", a route is refused if its rule is among them. As many
/// halvings as a rule's number has bits tell every rule apart.
#[tokio::test]
async fn each_route_is_guarded_by_the_rule_of_its_row() {
    let rules: Vec<&str> = {
        let all: BTreeSet<&str> = ROWS.iter().map(|row| row.1).filter(|r| !r.is_empty()).collect();
        all.into_iter().collect()
    };
    let number = |rule: &str| rules.iter().position(|r| *r == rule).unwrap() + 1;
    for bit in 0..8 {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.yaml");
        let never = rules.iter().filter(|rule| number(rule) >> bit & 1 == 1);
        let text: String = never.map(|rule| format!("\"{rule}\": \"!\"\n")).collect();
        std::fs::write(&file, text).unwrap();
        let config = Config {
            policy_file: Some(file),
            ..Config::default()
        };
        let b = bench_with(config).await;
        let (admin, demo) = (b.admin().await, b.demo().await);
        // Nothing of this exists, so that nothing is changed where it is
        // allowed; but the user is the administrator, for what is the owner's.
        let owner = b.report.admin_user_id.as_str();
        for (row, rule, who) in ROWS.iter().filter(|row| row.2 != "public") {
            let (method, path) = split(row);
            // These are looked up before the rule is asked, so they must be
            // there; they cannot be made where the rule for that is "never".
            let mut real = String::new();
            let group = *row == "DELETE /v3/groups/{group_id}";
            let role = path.starts_with("/v3/roles/{role_id}");
            if path.contains("{trust_id}") || path.ends_with("{access}") || group || role {
                match own(&b, &admin, path).await {
                    Some(id) => real = id,
                    None => continue,
                }
            }
            let path = filled(path, &|name| match (name, *who) {
                ("trust_id" | "access", _) => real.clone(),
                ("user_id", "self") => owner.to_owned(),
                ("user_id", _) if !real.is_empty() => owner.to_owned(),
                ("group", _) => "ldap".into(),
                ("option", _) => "url".into(),
                // Looked up before the rule, too.
                ("domain_id", _) if *row == "PATCH /v3/domains/{domain_id}" => "default".into(),
                ("role_id", _) if role => real.clone(),
                ("group_id", _) if !real.is_empty() => real.clone(),
                _ => "none".into(),
            });
            let answer = ask(&b, (method, &path), &admin, &demo, owner).await;
            let refused = answer.status == 403;
            assert_eq!(
                refused,
                number(rule) >> bit & 1 == 1,
                "{row} by {rule}: {}",
                answer.text
            );
        }
    }
}
