//! No token outlives what it stood on: random clouds, something taken away,
//! and every token compared with what a new sign-in would give.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use bench::{Bench, bench};
use serde_json::{Value, json};

/// The ways in that are compared: each a body that asks for a token.
struct Ways {
    b: Bench,
    admin: String,
    domain: String,
    user: String,
    friend: String,
    group: String,
    project: String,
    child: String,
    roles: Vec<String>,
    trust: String,
    posing: String,
    credential: String,
    bodies: Vec<(&'static str, Value)>,
}

async fn post(b: &Bench, token: &str, path: &str, key: &str, body: Value) -> String {
    b.call("POST", path, token, json!({key: body}))
        .await
        .expect(201)
        .id(key)
}

fn by_password(user: &str, scope: Value) -> Value {
    let user = json!({"id": user, "password": "pw"});
    json!({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}})
}

async fn token(b: &Bench, body: &Value) -> String {
    let answer = b.authenticate(body.clone()).await.expect(201);
    answer.headers["x-subject-token"].to_str().unwrap().to_owned()
}

/// A domain of its own with everything in it that tokens can stand on.
async fn ways() -> Ways {
    let b = bench().await;
    let admin = b.admin().await;
    let domain = post(&b, &admin, "/v3/domains", "domain", json!({"name": "d"})).await;
    let mut ids = Vec::new();
    for name in ["user", "friend"] {
        let body = json!({"name": name, "password": "pw", "domain_id": domain});
        ids.push(post(&b, &admin, "/v3/users", "user", body).await);
    }
    let group = post(
        &b,
        &admin,
        "/v3/groups",
        "group",
        json!({"name": "g", "domain_id": domain}),
    )
    .await;
    let project = json!({"name": "p", "domain_id": domain});
    let project = post(&b, &admin, "/v3/projects", "project", project).await;
    let child = json!({"name": "c", "parent_id": project, "domain_id": domain});
    let child = post(&b, &admin, "/v3/projects", "project", child).await;
    let mut roles = Vec::new();
    for n in 0..3 {
        roles.push(post(&b, &admin, "/v3/roles", "role", json!({"name": format!("r{n}")})).await);
    }
    let (user, friend) = (ids[0].clone(), ids[1].clone());
    for path in [
        format!("/v3/roles/{}/implies/{}", roles[0], roles[1]),
        format!("/v3/groups/{group}/users/{user}"),
        format!("/v3/projects/{project}/users/{user}/roles/{}", roles[0]),
        format!("/v3/projects/{project}/groups/{group}/roles/{}", roles[2]),
        format!("/v3/domains/{domain}/users/{user}/roles/{}", roles[0]),
        format!("/v3/system/users/{user}/roles/{}", roles[2]),
        format!(
            "/v3/OS-INHERIT/domains/{domain}/groups/{group}/roles/{}/inherited_to_projects",
            roles[1]
        ),
    ] {
        let done = b.call("PUT", &path, &admin, Value::Null).await;
        assert!(done.status.is_success(), "{path}: {}", done.text);
    }
    let on_project = json!({"project": {"id": project}});
    let mine = token(&b, &by_password(&user, on_project.clone())).await;
    let mut trusts = Vec::new();
    for impersonation in [false, true] {
        let body = json!({"trustor_user_id": user, "trustee_user_id": friend, "project_id": project,
            "impersonation": impersonation, "roles": [{"id": roles[0]}]});
        trusts.push(post(&b, &mine, "/v3/OS-TRUST/trusts", "trust", body).await);
    }
    let path = format!("/v3/users/{user}/application_credentials");
    let body = json!({"name": "c", "secret": "s"});
    let credential = post(&b, &mine, &path, "application_credential", body).await;
    let trust_scope = |id: &str| json!({"OS-TRUST:trust": {"id": id}});
    let by_credential = json!({"auth": {"identity": {"methods": ["application_credential"],
        "application_credential": {"id": credential, "secret": "s"}}}});
    let bodies = vec![
        ("unscoped", by_password(&user, json!("unscoped"))),
        ("project", by_password(&user, on_project)),
        ("child", by_password(&user, json!({"project": {"id": child}}))),
        ("domain", by_password(&user, json!({"domain": {"id": domain}}))),
        ("system", by_password(&user, json!({"system": {"all": true}}))),
        ("trust", by_password(&friend, trust_scope(&trusts[0]))),
        ("posing", by_password(&friend, trust_scope(&trusts[1]))),
        ("credential", by_credential),
    ];
    Ways {
        admin,
        domain,
        user,
        friend,
        group,
        project,
        child,
        roles,
        trust: trusts[0].clone(),
        posing: trusts[1].clone(),
        credential,
        bodies,
        b,
    }
}

impl Ways {
    /// Everything that may be taken away: method, path, body.
    fn losses(&self) -> Vec<(&'static str, String, Value)> {
        let Self {
            domain,
            user,
            friend,
            group,
            project,
            child,
            roles,
            ..
        } = self;
        let off = |kind: &str| json!({kind: {"enabled": false}});
        let null = Value::Null;
        let mut losses = vec![
            ("PATCH", format!("/v3/domains/{domain}"), off("domain")),
            ("PATCH", format!("/v3/projects/{child}"), off("project")),
            ("DELETE", format!("/v3/projects/{child}"), null.clone()),
            ("DELETE", format!("/v3/groups/{group}"), null.clone()),
            ("DELETE", format!("/v3/groups/{group}/users/{user}"), null.clone()),
            (
                "DELETE",
                format!("/v3/roles/{}/implies/{}", roles[0], roles[1]),
                null.clone(),
            ),
            (
                "PATCH",
                format!("/v3/roles/{}", roles[2]),
                json!({"role": {"name": "renamed"}}),
            ),
            (
                "DELETE",
                format!("/v3/projects/{project}/users/{user}/roles/{}", roles[0]),
                null.clone(),
            ),
            (
                "DELETE",
                format!("/v3/projects/{project}/groups/{group}/roles/{}", roles[2]),
                null.clone(),
            ),
            (
                "DELETE",
                format!("/v3/domains/{domain}/users/{user}/roles/{}", roles[0]),
                null.clone(),
            ),
            (
                "DELETE",
                format!("/v3/system/users/{user}/roles/{}", roles[2]),
                null.clone(),
            ),
            (
                "DELETE",
                format!(
                    "/v3/OS-INHERIT/domains/{domain}/groups/{group}/roles/{}/inherited_to_projects",
                    roles[1]
                ),
                null.clone(),
            ),
            (
                "DELETE",
                format!("/v3/OS-TRUST/trusts/{}", self.trust),
                null.clone(),
            ),
            (
                "DELETE",
                format!("/v3/OS-TRUST/trusts/{}", self.posing),
                null.clone(),
            ),
            (
                "DELETE",
                format!("/v3/users/{user}/application_credentials/{}", self.credential),
                null.clone(),
            ),
        ];
        for id in [user, friend] {
            losses.push(("PATCH", format!("/v3/users/{id}"), off("user")));
            losses.push((
                "PATCH",
                format!("/v3/users/{id}"),
                json!({"user": {"password": "new"}}),
            ));
            losses.push(("DELETE", format!("/v3/users/{id}"), null.clone()));
        }
        for role in roles {
            losses.push(("DELETE", format!("/v3/roles/{role}"), null.clone()));
        }
        losses
    }

    /// Every token that is still good has no more than a new one would have.
    async fn check(&self, tokens: &[(&'static str, String)], lost: &str) {
        for ((kind, body), (_, token)) in self.bodies.iter().zip(tokens) {
            let Ok(caller) = self.b.identity.verifier().verify(token).await else {
                continue;
            };
            let fresh = self.b.authenticate(body.clone()).await;
            assert_eq!(
                fresh.status, 201,
                "after {lost} a {kind} token lives on: {}",
                fresh.text
            );
            let fresh = fresh.json();
            let roles: Vec<&str> = fresh["token"]["roles"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|r| r["name"].as_str())
                .collect();
            for role in &caller.roles {
                assert!(
                    roles.contains(&role.as_str()),
                    "after {lost} a {kind} token still has {role}"
                );
            }
        }
    }
}

#[tokio::test]
async fn no_token_outlives_what_it_stood_on() {
    let count = ways().await.losses().len();
    for n in 0..count {
        let w = ways().await;
        let mut tokens = Vec::new();
        for (kind, body) in &w.bodies {
            tokens.push((*kind, token(&w.b, body).await));
        }
        for (_, token) in &tokens {
            w.b.identity.verifier().verify(token).await.unwrap();
        }
        let (method, path, body) = w.losses().swap_remove(n);
        let done = w.b.call(method, &path, &w.admin, body).await;
        assert!(done.status.is_success(), "{method} {path}: {}", done.text);
        w.check(&tokens, &format!("{method} {path}")).await;
        // Nor after a restart, from what is stored.
        let again = w.b.restarted(&bench::plan()).await;
        for ((kind, _), (_, token)) in w.bodies.iter().zip(&tokens) {
            let before = w.b.identity.verifier().verify(token).await.is_ok();
            let after = again.identity.verifier().verify(token).await.is_ok();
            assert_eq!(before, after, "{kind} after {method} {path}");
        }
    }
}
