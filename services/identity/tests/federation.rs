//! Users from elsewhere: sign-in by the bearer token of an OpenID provider, what
//! is refused, and what ends such a token.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;
mod federation_provider;

use axum::body::Body;
use bench::{Answer, Bench, bench_with, by_token};
use federation_provider::{Issuer, PROVIDER};
use http::Request;
use serde_json::{Value, json};
use virga_identity::Config;

const SIGN_IN: &str = "/v3/OS-FEDERATION/identity_providers/corp/protocols/openid/auth";

/// A cloud whose identity provider `corp` is the issuer, with a mapping that
/// gives everybody the groups of the claim.
struct Federated {
    b: Bench,
    issuer: Issuer,
    admin: String,
    group: String,
}

fn rules() -> Value {
    json!([
        {
            "local": [{"user": {"name": "{0}", "email": "{1}"}}],
            "remote": [{"type": "OIDC-preferred_username"}, {"type": "HTTP_OIDC_EMAIL"}],
        },
        {
            "local": [{"groups": "{0}", "domain": {"id": "default"}}],
            "remote": [{"type": "OIDC-groups", "whitelist": ["staff", "guests"]}],
        },
    ])
}

impl Federated {
    async fn start() -> Self {
        let issuer = Issuer::start().await;
        let b = bench_with(Config {
            openid: vec![issuer.config()],
            ..Config::default()
        })
        .await;
        let admin = b.admin().await;
        let group = json!({"group": {"name": "staff"}});
        let group = b
            .call("POST", "/v3/groups", &admin, group)
            .await
            .expect(201)
            .id("group");
        let role = b.role_id("member").await;
        let grant = format!(
            "/v3/projects/{}/groups/{group}/roles/{role}",
            b.report.demo_project_id
        );
        b.call("PUT", &grant, &admin, Value::Null).await.expect(204);
        let this = Self {
            b,
            issuer,
            admin,
            group,
        };
        this.put("mappings/m", json!({"mapping": {"rules": rules()}}))
            .await
            .expect(201);
        let provider = json!({"identity_provider": {"enabled": true, "remote_ids": [this.issuer.url]}});
        this.put("identity_providers/corp", provider).await.expect(201);
        let protocol = json!({"protocol": {"mapping_id": "m"}});
        this.put("identity_providers/corp/protocols/openid", protocol)
            .await
            .expect(201);
        this
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let path = format!("/v3/OS-FEDERATION/{path}");
        self.b.call(method, &path, &self.admin, body).await
    }

    async fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", path, body).await
    }

    fn claims(&self) -> Value {
        let now = self.b.now().as_secs();
        json!({
            "iss": self.issuer.url, "aud": "cloud", "sub": "u-1", "exp": now + 300, "iat": now, "nbf": now,
            "preferred_username": "alice", "email": "alice@example.org", "groups": ["staff", "wheel"],
        })
    }

    fn claims_with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        claims
    }

    async fn show(&self, bearer: &str) -> Answer {
        let request = Request::post(SIGN_IN)
            .header("host", "cloud:5000")
            .header("authorization", format!("Bearer {bearer}"));
        self.b.send(request.body(Body::empty()).unwrap()).await
    }

    async fn sign_in(&self) -> Answer {
        self.show(&self.issuer.token(&self.claims())).await.expect(201)
    }

    async fn rescope(&self, token: &str) -> Answer {
        let scope = json!({"project": {"id": self.b.report.demo_project_id}});
        self.b.authenticate(by_token(token, scope)).await
    }
}

fn token_of(answer: &Answer) -> String {
    answer.headers["x-subject-token"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_bearer_token_gives_an_unscoped_token_that_opens_the_groups_projects() {
    let f = Federated::start().await;
    let answer = f.sign_in().await;
    let unscoped = token_of(&answer);
    let body = answer.json()["token"].clone();
    assert_eq!(body["methods"], json!(["openid"]));
    assert_eq!(body["user"]["name"], "alice");
    assert_eq!(body["user"]["id"].as_str().unwrap().len(), 64);
    let federation = &body["user"]["OS-FEDERATION"];
    assert_eq!(federation["groups"], json!([{"id": f.group}]));
    assert_eq!(federation["identity_provider"], json!({"id": "corp"}));
    assert_eq!(federation["protocol"], json!({"id": "openid"}));
    assert!(body.get("project").is_none() && body.get("roles").is_none());
    for path in ["/v3/auth/projects", "/v3/OS-FEDERATION/projects"] {
        let projects = f.b.get(path, &unscoped).await.expect(200).json();
        assert_eq!(projects["projects"][0]["name"], "demo", "{path}");
    }
    let scoped = f.rescope(&unscoped).await.expect(201);
    let (token, body) = (token_of(&scoped), scoped.json()["token"].clone());
    assert_eq!(body["methods"], json!(["openid", "token"]));
    assert_eq!(body["roles"][0]["name"], "member");
    assert_eq!(body["user"]["OS-FEDERATION"], *federation);
    assert_eq!(body["expires_at"], answer.json()["token"]["expires_at"]);
    let caller = f.b.identity.verifier().verify(&token).await.unwrap();
    assert!(caller.has_role("member") && !caller.has_role("admin"));
    assert_eq!(
        f.b.about("GET", "", &f.admin, &token).await.expect(200).json()["token"],
        body
    );
    // The user has a record, which says from where.
    let user = format!("/v3/users/{}", caller.user_id);
    let user = f.b.get(&user, &f.admin).await.expect(200).json()["user"].clone();
    assert_eq!(user["email"], "alice@example.org");
    assert_eq!(user["federated"][0]["idp_id"], "corp");
    assert_eq!(user["federated"][0]["protocols"][0]["unique_id"], "alice");
    // Coming again is the same user.
    assert_eq!(
        f.sign_in().await.json()["token"]["user"]["id"],
        json!(caller.user_id)
    );
}

#[tokio::test]
async fn tokens_of_other_issuers_audiences_times_keys_and_algorithms_are_refused() {
    let f = Federated::start().await;
    let now = f.b.now().as_secs();
    let unauthorized = async |bearer: &str, what: &str| {
        let answer = f.show(bearer).await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text);
        assert!(
            answer.headers["www-authenticate"]
                .to_str()
                .unwrap()
                .starts_with("Keystone")
        );
    };
    for (name, value) in [
        ("iss", json!("https://evil.example.org")),
        ("iss", json!(format!("{}/", f.issuer.url))),
        ("iss", Value::Null),
        ("aud", json!("other")),
        ("aud", json!(["other", "another"])),
        ("aud", Value::Null),
        ("exp", json!(now - 61)),
        ("exp", Value::Null),
        ("exp", json!("soon")),
        ("nbf", json!(now + 61)),
        ("iat", json!(now + 3600)),
        ("sub", Value::Null),
    ] {
        unauthorized(&f.issuer.token(&f.claims_with(name, value)), name).await;
    }
    for audience in [json!(["other", "cloud"]), json!("cloud")] {
        let token = f.issuer.token(&f.claims_with("aud", audience));
        f.show(&token).await.expect(201);
    }
    let good = f.claims();
    unauthorized(&f.issuer.unsigned(&good), "alg none").await;
    unauthorized(&f.issuer.by_hmac(&good), "HS256 with the public key").await;
    unauthorized(&f.issuer.by_unknown_key(&good), "unknown kid").await;
    unauthorized(&f.issuer.by_stranger(&good), "known kid, strange key").await;
    unauthorized("opaque", "opaque without a client secret").await;
    unauthorized("..", "three empty parts").await;
    for header in ["", "Bearer", "Bearer ", "Basic eDp5", "bearer"] {
        let request = Request::post(SIGN_IN).header("authorization", header);
        f.b.send(request.body(Body::empty()).unwrap()).await.expect(401);
    }
}

#[tokio::test]
async fn published_keys_are_asked_for_again_when_one_is_unknown_but_not_too_often() {
    let f = Federated::start().await;
    f.sign_in().await;
    f.sign_in().await;
    assert_eq!(f.issuer.asked(), 1);
    // Within the rest nobody makes us ask.
    for _ in 0..5 {
        f.show(&f.issuer.by_unknown_key(&f.claims())).await.expect(401);
    }
    assert_eq!(f.issuer.asked(), 1);
    f.b.advance(11);
    f.issuer.new_key();
    f.sign_in().await;
    assert_eq!(f.issuer.asked(), 2);
    // A provider that is down is no obstacle while its keys are known.
    f.b.advance(3601);
    f.issuer.down(true);
    let admin = f.b.admin().await;
    f.sign_in().await;
    f.b.advance(24 * 3600);
    let answer = f.show(&f.issuer.token(&f.claims())).await.expect(503);
    assert!(answer.headers.contains_key("retry-after"), "{admin:.0}");
}

#[tokio::test]
async fn who_is_unknown_disabled_or_not_mapped_is_told_in_keystones_codes() {
    let f = Federated::start().await;
    let bearer = f.issuer.token(&f.claims());
    let at = async |path: &str| {
        let request = Request::get(format!("/v3/OS-FEDERATION/identity_providers/{path}/auth"))
            .header("authorization", format!("Bearer {bearer}"));
        f.b.send(request.body(Body::empty()).unwrap()).await
    };
    let said = at("nowhere/protocols/openid").await.expect(404);
    assert!(
        said.text.contains("Could not find Identity Provider: nowhere."),
        "{}",
        said.text
    );
    let said = at("corp/protocols/saml2").await.expect(404);
    assert!(
        said.text
            .contains("Could not find federated protocol saml2 for Identity Provider: corp.")
    );
    at("corp/protocols/openid").await.expect(201);
    f.put(
        "identity_providers/other",
        json!({"identity_provider": {"enabled": true}}),
    )
    .await
    .expect(201);
    f.put(
        "identity_providers/other/protocols/openid",
        json!({"protocol": {"mapping_id": "m"}}),
    )
    .await
    .expect(201);
    let said = at("other/protocols/openid").await.expect(401);
    assert!(said.text.contains("names no OpenID issuer"), "{}", said.text);
    // A registered name that is not the issuer's.
    let elsewhere = json!({"identity_provider": {"remote_ids": ["https://elsewhere"]}});
    f.call("PATCH", "identity_providers/corp", elsewhere)
        .await
        .expect(200);
    at("corp/protocols/openid").await.expect(403);
    let none = json!({"identity_provider": {"remote_ids": []}});
    f.call("PATCH", "identity_providers/corp", none).await.expect(200);
    // Nothing of the claims fits.
    let rules = json!([{"local": [{"user": {"name": "x"}}], "remote": [{"type": "OIDC-nothing"}]}]);
    f.call("PATCH", "mappings/m", json!({"mapping": {"rules": rules}}))
        .await
        .expect(200);
    let said = at("corp/protocols/openid").await.expect(401);
    assert!(
        said.text.contains("Could not map any federated user properties"),
        "{}",
        said.text
    );
    f.call("DELETE", "mappings/m", Value::Null).await.expect(204);
    at("corp/protocols/openid").await.expect(404);
    let off = json!({"identity_provider": {"enabled": false}});
    f.call("PATCH", "identity_providers/corp", off).await.expect(200);
    let said = at("corp/protocols/openid").await.expect(403);
    assert!(
        said.text.contains("Identity Provider corp is disabled"),
        "{}",
        said.text
    );
}

#[tokio::test]
async fn a_token_dies_with_its_provider_protocol_mapping_and_group() {
    let other_rules = json!([{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "OIDC-sub"}]}]);
    let endings = [
        (
            "PATCH",
            "identity_providers/corp",
            json!({"identity_provider": {"enabled": false}}),
        ),
        ("DELETE", "identity_providers/corp", Value::Null),
        ("DELETE", "identity_providers/corp/protocols/openid", Value::Null),
        ("DELETE", "mappings/m", Value::Null),
        ("PATCH", "mappings/m", json!({"mapping": {"rules": other_rules}})),
        ("DELETE", "group", Value::Null),
    ];
    for (method, path, body) in endings {
        let f = Federated::start().await;
        let unscoped = token_of(&f.sign_in().await);
        let scoped = token_of(&f.rescope(&unscoped).await.expect(201));
        let verifier = f.b.identity.verifier();
        verifier.verify(&scoped).await.unwrap();
        f.b.advance(1);
        let answer = match path {
            "group" => {
                let path = format!("/v3/groups/{}", f.group);
                f.b.call(method, &path, &f.admin, body).await
            }
            path => f.call(method, path, body).await,
        };
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.text);
        for token in [&unscoped, &scoped] {
            assert!(verifier.verify(token).await.is_err(), "{method} {path}");
            f.b.about("GET", "", &f.admin, token).await.expect(404);
            f.rescope(token).await.expect(404);
        }
        // Others go on, also after a restart.
        verifier.verify(&f.admin).await.unwrap();
        let again = f.b.restarted(&bench::plan()).await;
        assert!(
            again.identity.verifier().verify(&scoped).await.is_err(),
            "{method} {path}"
        );
        again.identity.verifier().verify(&f.admin).await.unwrap();
    }
}

#[tokio::test]
async fn a_group_that_loses_its_role_or_its_member_takes_the_tokens_with_it() {
    let f = Federated::start().await;
    let scoped = token_of(&f.rescope(&token_of(&f.sign_in().await)).await.expect(201));
    f.b.advance(1);
    // The provider says that the user left the group.
    let mut gone = f.claims_with("groups", json!(["wheel"]));
    gone["exp"] = json!(f.b.now().as_secs() + 300);
    f.show(&f.issuer.token(&gone)).await.expect(201);
    assert!(f.b.identity.verifier().verify(&scoped).await.is_err());
    f.b.advance(1);
    let scoped = token_of(&f.rescope(&token_of(&f.sign_in().await)).await.expect(201));
    f.b.advance(1);
    let role = f.b.role_id("member").await;
    let grant = format!(
        "/v3/projects/{}/groups/{}/roles/{role}",
        f.b.report.demo_project_id, f.group
    );
    f.b.call("DELETE", &grant, &f.admin, Value::Null)
        .await
        .expect(204);
    assert!(f.b.identity.verifier().verify(&scoped).await.is_err());
    f.b.advance(1);
    f.rescope(&token_of(&f.sign_in().await)).await.expect(401);
}

#[tokio::test]
async fn application_credentials_of_such_users_last_as_long_as_the_provider_allows() {
    let f = Federated::start().await;
    let scoped = f.rescope(&token_of(&f.sign_in().await)).await.expect(201);
    let user = scoped.json()["token"]["user"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v3/users/{user}/application_credentials");
    let body = json!({"application_credential": {"name": "c", "secret": "s"}});
    // Without a time to live the records know nothing of the group.
    let refused = f.b.call("POST", &path, &token_of(&scoped), body.clone()).await;
    assert!(refused.status.is_client_error(), "{}", refused.text);
    let ttl = json!({"identity_provider": {"authorization_ttl": 30}});
    f.call("PATCH", "identity_providers/corp", ttl).await.expect(200);
    let scoped = token_of(&f.rescope(&token_of(&f.sign_in().await)).await.expect(201));
    let made = f.b.call("POST", &path, &scoped, body).await.expect(201);
    let by = json!({"auth": {"identity": {"methods": ["application_credential"], "application_credential": {
        "id": made.id("application_credential"), "secret": "s"}}}});
    let good = f.b.authenticate(by.clone()).await.expect(201);
    let token = token_of(&good);
    // The token ends with the membership, though others live for an hour.
    f.b.advance(29 * 60);
    f.b.identity.verifier().verify(&token).await.unwrap();
    f.b.advance(60);
    assert!(f.b.identity.verifier().verify(&token).await.is_err());
    f.b.authenticate(by.clone()).await.expect(401);
    f.sign_in().await;
    f.b.authenticate(by).await.expect(201);
}

#[tokio::test]
async fn projects_are_made_and_assignments_follow_the_provider_in_version_three() {
    let f = Federated::start().await;
    let rules = json!([{
        "local": [{"user": {"name": "{0}"}, "projects_json": "{1}", "domain": {"id": "default"}}],
        "remote": [{"type": "OIDC-preferred_username"}, {"type": "OIDC-projects"}],
    }]);
    let mapping = json!({"mapping": {"rules": rules, "schema_version": "3.0"}});
    f.call("PATCH", "mappings/m", mapping).await.expect(200);
    f.b.advance(1);
    let come = async |projects: Value| {
        let claims = f.claims_with("projects", json!(projects.to_string()));
        f.show(&f.issuer.token(&claims)).await
    };
    let one = |name: &str, role: &str| json!({"name": name, "roles": [{"name": role}]});
    come(json!([one("red", "nobody")])).await.expect(404);
    come(json!([{"name": "red"}])).await.expect(401);
    let first = come(json!([one("red", "member"), one("blue", "reader")]))
        .await
        .expect(201);
    let names = async |token: &str| -> Vec<String> {
        let projects = f.b.get("/v3/auth/projects", token).await.expect(200).json();
        let mut names: Vec<String> = projects["projects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&token_of(&first)).await, ["blue", "red"]);
    assert_eq!(first.json()["token"]["user"]["domain"]["id"], "default");
    f.b.advance(1);
    let second = come(json!([one("blue", "reader")])).await.expect(201);
    assert_eq!(names(&token_of(&second)).await, ["blue"]);
}

#[tokio::test]
async fn a_local_user_is_one_of_the_clouds_own() {
    let f = Federated::start().await;
    let user = json!({"name": "{0}", "type": "local", "domain": {"name": "Default"}});
    let rules = json!([{"local": [{"user": user}], "remote": [{"type": "OIDC-preferred_username"}]}]);
    f.call("PATCH", "mappings/m", json!({"mapping": {"rules": rules}}))
        .await
        .expect(200);
    f.show(&f.issuer.token(&f.claims())).await.expect(401);
    let demo = f
        .issuer
        .token(&f.claims_with("preferred_username", json!("demo")));
    let answer = f.show(&demo).await.expect(201);
    let body = &answer.json()["token"];
    assert_eq!(body["user"]["id"], json!(f.b.report.demo_user_id));
    assert!(body["user"].get("OS-FEDERATION").is_none());
    let off = json!({"user": {"enabled": false}});
    let path = format!("/v3/users/{}", f.b.report.demo_user_id);
    f.b.call("PATCH", &path, &f.admin, off).await.expect(200);
    f.show(&demo).await.expect(401);
}

#[tokio::test]
async fn opaque_tokens_are_shown_to_the_provider() {
    let issuer = Issuer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "client-secret\n").unwrap();
    let mut config = issuer.config();
    config.client_secret_file = Some(file);
    let b = bench_with(Config {
        openid: vec![config],
        ..Config::default()
    })
    .await;
    let f = Federated {
        admin: b.admin().await,
        b,
        issuer,
        group: String::new(),
    };
    f.put("mappings/m", json!({"mapping": {"rules": rules()}}))
        .await
        .expect(201);
    f.put(
        "identity_providers/corp",
        json!({"identity_provider": {"enabled": true}}),
    )
    .await
    .expect(201);
    let protocol = json!({"protocol": {"mapping_id": "m"}});
    f.put("identity_providers/corp/protocols/openid", protocol)
        .await
        .expect(201);
    f.issuer.knows("opaque-1", f.claims());
    assert_eq!(
        f.show("opaque-1").await.expect(201).json()["token"]["user"]["name"],
        "alice"
    );
    f.show("opaque-2").await.expect(401);
    f.issuer.knows("other", f.claims_with("aud", json!("other")));
    f.show("other").await.expect(401);
    f.issuer
        .knows("late", f.claims_with("exp", json!(f.b.now().as_secs() - 61)));
    f.show("late").await.expect(401);
    assert_eq!(PROVIDER, "corp");
}
