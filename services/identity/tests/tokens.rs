//! Authentication and tokens, through the router.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use bench::{ADMIN_PASSWORD, DEMO_PASSWORD, bench, by_password, by_token, project_scope};
use serde_json::{Value, json};
use virga_identity_api::verify::TokenError;

#[tokio::test]
async fn a_password_gives_a_token_with_catalog_that_everyone_can_verify() {
    let b = bench().await;
    let answer = b
        .authenticate(by_password("demo", DEMO_PASSWORD, project_scope("demo")))
        .await
        .expect(201);
    let token = answer.headers["x-subject-token"].to_str().unwrap().to_owned();
    assert!(token.len() <= 255);
    assert_eq!(answer.headers["vary"], "X-Auth-Token");
    let body = answer.json();
    assert_eq!(body["token"]["project"]["name"], "demo");
    assert_eq!(body["token"]["roles"][0]["name"], "member");
    assert_eq!(body["token"]["roles"][1]["name"], "reader");
    let catalog = b.get("/v3/auth/catalog", &token).await.expect(200).json();
    assert_eq!(catalog["catalog"], body["token"]["catalog"]);
    let swift = catalog["catalog"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["type"] == "object-store")
        .unwrap();
    let url = format!("http://cloud:8080/v1/AUTH_{}", b.report.demo_project_id);
    assert_eq!(swift["endpoints"].as_array().unwrap().len(), 3);
    assert_eq!(swift["endpoints"][0]["url"], json!(url));
    assert_eq!(swift["endpoints"][0]["region"], "RegionOne");

    let shown = b.about("GET", "", &token, &token).await.expect(200);
    assert_eq!(shown.json(), body);
    assert_eq!(shown.headers["x-subject-token"], *token);
    let head = b.about("HEAD", "", &token, &token).await.expect(200);
    assert_eq!(head.text, "");

    let caller = b.identity.verifier().verify(&token).await.unwrap();
    assert_eq!(caller.project_id(), Some(b.report.demo_project_id.as_str()));
    assert_eq!(caller.roles, ["member", "reader"]);
    let directory = b.identity.directory();
    assert_eq!(directory.user(&caller.user_id).await.unwrap().name, "demo");
    assert_eq!(
        directory
            .project(&b.report.demo_project_id)
            .await
            .unwrap()
            .domain_id,
        "default"
    );
}

#[tokio::test]
async fn every_failure_of_a_password_looks_the_same() {
    let b = bench().await;
    let admin = b.admin().await;
    let off = json!({"user": {"name": "off", "password": "pw", "enabled": false}});
    b.call("POST", "/v3/users", &admin, off).await.expect(201);
    let bare = json!({"user": {"name": "bare"}});
    b.call("POST", "/v3/users", &admin, bare).await.expect(201);
    let expected = b
        .authenticate(by_password("demo", "wrong", Value::Null))
        .await
        .expect(401);
    assert_eq!(
        expected.headers["www-authenticate"],
        "Keystone uri=\"http://cloud:5000/v3\""
    );
    for (user, password, scope) in [
        ("nobody", DEMO_PASSWORD, Value::Null),
        ("off", "pw", Value::Null),
        ("bare", "", Value::Null),
        ("demo", DEMO_PASSWORD, project_scope("admin")),
        ("demo", DEMO_PASSWORD, project_scope("nowhere")),
        ("demo", DEMO_PASSWORD, json!({"system": {"all": true}})),
        ("demo", DEMO_PASSWORD, json!({"domain": {"id": "default"}})),
    ] {
        let refused = b
            .authenticate(by_password(user, password, scope))
            .await
            .expect(401);
        assert_eq!(refused.text, expected.text, "{user}");
    }
}

#[tokio::test]
async fn the_scope_is_what_was_asked_for_or_the_default_project() {
    let b = bench().await;
    let scope = async |wish: Value| {
        b.authenticate(by_password("admin", ADMIN_PASSWORD, wish))
            .await
            .expect(201)
            .json()["token"]
            .clone()
    };
    assert_eq!(scope(Value::Null).await["project"]["name"], "admin");
    let unscoped = scope(json!("unscoped")).await;
    assert!(unscoped.get("project").is_none() && unscoped.get("catalog").is_none());
    assert!(unscoped.get("roles").is_none());
    let system = scope(json!({"system": {"all": true}})).await;
    assert_eq!(system["system"], json!({"all": true}));
    // No project, so the object store cannot be named.
    let swift = system["catalog"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["type"] == "object-store")
        .unwrap();
    assert_eq!(swift["endpoints"], json!([]));
    let by_name = json!({"project": {"name": "admin", "domain": {"name": "Default"}}});
    assert_eq!(
        scope(by_name).await["project"]["id"],
        json!(b.report.admin_project_id)
    );
    b.grant("domains/default", &b.report.admin_user_id, "manager")
        .await;
    assert_eq!(
        scope(json!({"domain": {"name": "Default"}})).await["domain"]["id"],
        "default"
    );
}

#[tokio::test]
async fn a_token_made_from_a_token_keeps_its_end_and_its_chain() {
    let b = bench().await;
    let first = b
        .authenticate(by_password("admin", ADMIN_PASSWORD, json!("unscoped")))
        .await
        .expect(201);
    let token = first.headers["x-subject-token"].to_str().unwrap().to_owned();
    b.advance(100);
    let second = b
        .authenticate(by_token(&token, project_scope("admin")))
        .await
        .expect(201);
    let (first, second) = (first.json(), second.json());
    assert_eq!(second["token"]["expires_at"], first["token"]["expires_at"]);
    assert_eq!(second["token"]["methods"], json!(["password", "token"]));
    assert_eq!(second["token"]["audit_ids"][1], first["token"]["audit_ids"][0]);
    let mine = b.get("/v3/auth/system", &token).await.expect(200).json();
    assert_eq!(mine["system"], json!([{"all": true}]));
    b.get("/v3/auth/catalog", &token).await.expect(403);
    b.advance(3500);
    b.authenticate(by_token(&token, project_scope("admin")))
        .await
        .expect(404);
    b.get("/v3/auth/projects", &token).await.expect(401);
}

#[tokio::test]
async fn a_revoked_token_is_refused_everywhere_and_after_a_restart() {
    let b = bench().await;
    let (admin, demo) = (b.admin().await, b.demo().await);
    b.about("DELETE", "", &demo, &admin).await.expect(403);
    b.about("DELETE", "", &demo, &demo).await.expect(204);
    b.get("/v3/auth/projects", &demo).await.expect(401);
    b.about("GET", "", &admin, &demo).await.expect(404);
    assert_eq!(
        b.identity.verifier().verify(&demo).await,
        Err(TokenError::Revoked)
    );
    let again = b.restarted(&bench::plan()).await;
    assert_eq!(
        again.identity.verifier().verify(&demo).await,
        Err(TokenError::Revoked)
    );
    again.identity.verifier().verify(&admin).await.unwrap();
    // The next token of the same moment is good.
    let next = b.demo().await;
    b.identity.verifier().verify(&next).await.unwrap();
}

#[tokio::test]
async fn only_services_admins_and_the_owner_may_look_into_a_token() {
    let b = bench().await;
    let (admin, demo) = (b.admin().await, b.demo().await);
    b.about("GET", "", &demo, &admin).await.expect(403);
    b.about("GET", "", &admin, &demo).await.expect(200);
    let nocatalog = b
        .about("GET", "?nocatalog", &admin, &demo)
        .await
        .expect(200)
        .json();
    assert!(nocatalog["token"].get("catalog").is_none());
    let user = b.new_user("nova").await;
    let service = b.get("/v3/projects?name=service", &admin).await.json()["projects"][0]["id"].clone();
    b.grant(
        &format!("projects/{}", service.as_str().unwrap()),
        &user,
        "service",
    )
    .await;
    let nova = b.token("nova", "pw", project_scope("service")).await;
    b.about("GET", "", &nova, &demo).await.expect(200);
    b.about("GET", "", &nova, "rubbish").await.expect(404);
    b.about("GET", "", &admin, &"A".repeat(5_000)).await.expect(404);
    b.about("GET", "", "rubbish", &demo).await.expect(401);
    b.get("/v3/auth/tokens", &admin).await.expect(404);
    b.advance(3600);
    let admin = b.admin().await;
    b.about("GET", "", &admin, &demo).await.expect(404);
    b.about("GET", "?allow_expired=1", &admin, &demo)
        .await
        .expect(200);
}

#[tokio::test]
async fn the_catalog_follows_the_configured_urls_but_not_over_the_operator() {
    let b = bench().await;
    let admin = b.admin().await;
    let listed = b
        .get("/v3/endpoints?interface=admin", &admin)
        .await
        .expect(200)
        .json();
    let mine = listed["endpoints"][0]["id"].as_str().unwrap().to_owned();
    let change = json!({"endpoint": {"url": "http://mine"}});
    b.call("PATCH", &format!("/v3/endpoints/{mine}"), &admin, change)
        .await
        .expect(200);
    let moved = virga_identity::BootstrapPlan {
        front_url: "https://new".into(),
        ..bench::plan()
    };
    let again = b.restarted(&moved).await;
    assert!(!again.report.first && again.report.demo_ec2.is_none());
    assert_eq!(again.report.demo_user_id, b.report.demo_user_id);
    let listed = again.get("/v3/endpoints", &admin).await.expect(200).json();
    let urls: Vec<_> = listed["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["url"].as_str().unwrap())
        .collect();
    assert!(urls.contains(&"https://new/identity"), "{urls:?}");
    assert!(!urls.contains(&"http://cloud:5000/identity"), "{urls:?}");
    assert!(urls.contains(&"http://mine"));
}

#[tokio::test]
async fn rotation_keeps_tokens_that_are_out() {
    let b = bench().await;
    let demo = b.demo().await;
    b.identity.rotate_token_keys().unwrap();
    let next = b.demo().await;
    for token in [&demo, &next] {
        b.identity.verifier().verify(token).await.unwrap();
        b.get("/v3/auth/projects", token).await.expect(200);
    }
}

#[tokio::test]
async fn what_is_told_of_a_token_follows_every_change_though_it_was_told_before() {
    let b = bench().await;
    let admin = b.admin().await;
    let demo = b.demo().await;
    let told = async || b.about("GET", "", &admin, &demo).await.expect(200).json();
    let before = told().await;
    assert_eq!(told().await, before);
    let bare = b.about("GET", "?nocatalog", &admin, &demo).await.expect(200);
    assert!(bare.json()["token"].get("catalog").is_none());
    assert_eq!(told().await, before, "both kinds are remembered apart");

    let change = async |path: String, body: Value| {
        b.call("PATCH", &path, &admin, body).await.expect(200);
    };
    let (user, project) = (&b.report.demo_user_id, &b.report.demo_project_id);
    change(format!("/v3/users/{user}"), json!({"user": {"name": "renamed"}})).await;
    assert_eq!(told().await["token"]["user"]["name"], "renamed");
    change(
        format!("/v3/projects/{project}"),
        json!({"project": {"name": "moved"}}),
    )
    .await;
    assert_eq!(told().await["token"]["project"]["name"], "moved");
    let service = json!({"service": {"type": "image", "name": "glance"}});
    b.call("POST", "/v3/services", &admin, service).await.expect(201);
    let catalog = told().await["token"]["catalog"].as_array().unwrap().len();
    assert_eq!(catalog, before["token"]["catalog"].as_array().unwrap().len() + 1);
    b.grant(&format!("projects/{project}"), user, "service").await;
    let roles = told().await["token"]["roles"].as_array().unwrap().len();
    assert_eq!(roles, before["token"]["roles"].as_array().unwrap().len() + 1);
    change(format!("/v3/users/{user}"), json!({"user": {"enabled": false}})).await;
    b.about("GET", "", &admin, &demo).await.expect(404);
}

#[tokio::test]
async fn a_token_that_was_told_before_is_told_to_those_only_who_may_know_and_while_it_lasts() {
    let b = bench().await;
    let (admin, demo) = (b.admin().await, b.demo().await);
    for _ in 0..2 {
        b.about("GET", "", &admin, &admin).await.expect(200);
        b.about("GET", "", &demo, &admin).await.expect(403);
        b.about("GET", "", "", &admin).await.expect(401);
        b.about("HEAD", "", &admin, &demo).await.expect(200);
    }
    b.about("DELETE", "", &admin, &demo).await.expect(204);
    b.about("GET", "", &admin, &demo).await.expect(404);
    let old = b.demo_with(DEMO_PASSWORD).await;
    b.about("GET", "", &admin, &old).await.expect(200);
    b.advance(3601);
    let admin = b.admin().await;
    b.about("GET", "", &admin, &old).await.expect(404);
    b.about("GET", "?allow_expired=1", &admin, &old).await.expect(200);
    b.about("GET", "", &admin, &old).await.expect(404);
}
