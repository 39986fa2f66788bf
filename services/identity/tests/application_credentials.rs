//! Application credentials and access rules, through the router.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use base64::Engine as _;
use bench::{Answer, Bench, bench, by_token, project_scope};
use http::Request;
use serde_json::{Value, json};
use virga_identity_api::verify::TokenError;

fn by_id(id: &str, secret: &str) -> Value {
    let credential = json!({"id": id, "secret": secret});
    json!({"auth": {"identity": {"methods": ["application_credential"], "application_credential": credential}}})
}

fn token_of(answer: &Answer) -> String {
    answer.headers["x-subject-token"].to_str().unwrap().to_owned()
}

/// Makes one for the user demo; returns its id.
async fn made(b: &Bench, credential: Value) -> String {
    let demo = b.demo().await;
    let path = format!("/v3/users/{}/application_credentials", b.report.demo_user_id);
    let body = json!({"application_credential": credential});
    b.call("POST", &path, &demo, body)
        .await
        .expect(201)
        .id("application_credential")
}

fn path(b: &Bench, id: &str) -> String {
    format!("/v3/users/{}/application_credentials/{id}", b.report.demo_user_id)
}

#[tokio::test]
async fn a_credential_is_made_used_shown_without_its_secret_and_deleted() {
    let b = bench().await;
    let demo = b.demo().await;
    let list = format!("/v3/users/{}/application_credentials", b.report.demo_user_id);
    let body = json!({"application_credential": {"name": "ci", "roles": [{"name": "reader"}],
        "access_rules": [], "expires_at": null, "description": null}});
    let new = b.call("POST", &list, &demo, body.clone()).await.expect(201);
    let shown = &new.json()["application_credential"];
    let (id, secret) = (shown["id"].as_str().unwrap(), shown["secret"].as_str().unwrap());
    assert_eq!(shown["project_id"], json!(b.report.demo_project_id));
    assert_eq!(shown["roles"][0]["name"], "reader");
    assert_eq!(shown["unrestricted"], false);
    b.call("POST", &list, &demo, body).await.expect(409);
    let again = b.get(&path(&b, id), &demo).await.expect(200);
    assert!(!again.text.contains(secret), "{}", again.text);
    let listed = b.get(&format!("{list}?name=ci"), &demo).await.expect(200).json();
    assert_eq!(listed["application_credentials"][0]["id"], id);
    let token = b.authenticate(by_id(id, secret)).await.expect(201);
    let body = &token.json()["token"];
    assert_eq!(
        body["application_credential"],
        json!({"id": id, "name": "ci", "restricted": true})
    );
    let names: Vec<_> = body["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["name"])
        .collect();
    assert_eq!(names, ["reader"]);
    let named =
        json!({"name": "ci", "secret": secret, "user": {"name": "demo", "domain": {"name": "Default"}}});
    let named = json!({"auth": {"identity": {"methods": ["application_credential"], "application_credential": named}}});
    b.authenticate(named).await.expect(201);
    b.authenticate(by_id(id, "wrong")).await.expect(401);
    b.authenticate(by_id("none", secret)).await.expect(401);
    let mut scoped = by_id(id, secret);
    scoped["auth"]["scope"] = project_scope("demo");
    b.authenticate(scoped).await.expect(401);
    let token = token_of(&token);
    b.authenticate(by_token(&token, project_scope("demo")))
        .await
        .expect(403);
    b.call("DELETE", &path(&b, id), &demo, Value::Null)
        .await
        .expect(204);
    assert_eq!(
        b.identity.verifier().verify(&token).await,
        Err(TokenError::Revoked)
    );
    b.authenticate(by_id(id, secret)).await.expect(401);
    b.get(&path(&b, id), &demo).await.expect(404);
}

#[tokio::test]
async fn a_restricted_credential_makes_no_others_and_nobody_makes_them_for_others() {
    let b = bench().await;
    let list = format!("/v3/users/{}/application_credentials", b.report.demo_user_id);
    for (unrestricted, status) in [(false, 403), (true, 201)] {
        let name = format!("c-{unrestricted}");
        let wish = json!({"name": name, "secret": "s3cret", "unrestricted": unrestricted});
        let id = made(&b, wish).await;
        let token = token_of(&b.authenticate(by_id(&id, "s3cret")).await.expect(201));
        let body = json!({"application_credential": {"name": format!("{name}-child")}});
        b.call("POST", &list, &token, body).await.expect(status);
        let trust = json!({"trust": {"trustor_user_id": b.report.demo_user_id, "impersonation": false,
            "trustee_user_id": b.report.admin_user_id}});
        b.call("POST", "/v3/OS-TRUST/trusts", &token, trust)
            .await
            .expect(403);
    }
    let admin = b.admin().await;
    let body = json!({"application_credential": {"name": "x"}});
    b.call("POST", &list, &admin, body).await.expect(403);
    b.get(&list, &admin).await.expect(200);
    let unscoped = b.token("demo", bench::DEMO_PASSWORD, json!("unscoped")).await;
    let body = json!({"application_credential": {"name": "x"}});
    b.call("POST", &list, &unscoped, body).await.expect(403);
}

#[tokio::test]
async fn roles_come_from_the_token_and_credentials_die_with_them() {
    let b = bench().await;
    let demo = b.demo().await;
    let list = format!("/v3/users/{}/application_credentials", b.report.demo_user_id);
    let greedy = json!({"application_credential": {"name": "x", "roles": [{"name": "admin"}]}});
    b.call("POST", &list, &demo, greedy).await.expect(400);
    let unknown = json!({"application_credential": {"name": "x", "roles": [{"name": "none"}]}});
    b.call("POST", &list, &demo, unknown).await.expect(404);
    let id = made(&b, json!({"name": "ci", "secret": "s"})).await;
    let token = token_of(&b.authenticate(by_id(&id, "s")).await.expect(201));
    let (admin, member) = (b.admin().await, b.role_id("member").await);
    let grant = format!(
        "/v3/projects/{}/users/{}/roles/{member}",
        b.report.demo_project_id, b.report.demo_user_id
    );
    b.call("DELETE", &grant, &admin, Value::Null).await.expect(204);
    assert_eq!(
        b.identity.verifier().verify(&token).await,
        Err(TokenError::Revoked)
    );
    b.call("PUT", &grant, &admin, Value::Null).await.expect(204);
    b.authenticate(by_id(&id, "s")).await.expect(401);
}

#[tokio::test]
async fn a_credential_ends_in_time_and_its_tokens_with_it() {
    let b = bench().await;
    let demo = b.demo().await;
    let list = format!("/v3/users/{}/application_credentials", b.report.demo_user_id);
    for (end, status) in [
        ("2020-01-01T00:00:00Z", 400),
        ("tomorrow", 400),
        ("2025-12-22T10:50:00.000000Z", 201),
    ] {
        let body = json!({"application_credential": {"name": "c", "secret": "s", "expires_at": end}});
        b.call("POST", &list, &demo, body).await.expect(status);
    }
    let listed = b.get(&list, &demo).await.json();
    let id = listed["application_credentials"][0]["id"].as_str().unwrap();
    let token = b.authenticate(by_id(id, "s")).await.expect(201);
    assert_eq!(token.json()["token"]["expires_at"], "2025-12-22T10:50:00.000000Z");
    b.advance(600);
    b.authenticate(by_id(id, "s")).await.expect(401);
    let token = token_of(&token);
    assert_eq!(
        b.identity.verifier().verify(&token).await,
        Err(TokenError::Expired)
    );
}

#[tokio::test]
async fn access_rules_bind_their_tokens_and_are_shared() {
    let b = bench().await;
    let user = b.report.demo_user_id.clone();
    let rules = json!([
        {"service": "identity", "method": "GET", "path": "/v3/users/*"},
        {"service": "identity", "method": "GET", "path": "/v3/auth/tokens"},
        {"service": "object-store", "method": "GET", "path": "/v1/**"},
    ]);
    let id = made(&b, json!({"name": "c", "secret": "s", "access_rules": rules})).await;
    let answer = b.authenticate(by_id(&id, "s")).await.expect(201);
    let told = answer.json()["token"]["application_credential"]["access_rules"].clone();
    assert_eq!(told.as_array().unwrap().len(), 3, "{told}");
    let token = token_of(&answer);
    b.get(&format!("/v3/users/{user}"), &token).await.expect(200);
    b.get(&format!("/identity/v3/users/{user}"), &token)
        .await
        .expect(200);
    b.get(&format!("/v3/users/{user}/projects"), &token)
        .await
        .expect(401);
    b.get("/v3/auth/projects", &token).await.expect(401);
    let caller = b.identity.verifier().verify(&token).await.unwrap();
    assert!(caller.may_call("object-store", "GET", "/v1/AUTH_x/c/o"));
    assert!(!caller.may_call("object-store", "PUT", "/v1/AUTH_x/c/o"));
    // The same rule again is the same record, and stays while it is in use.
    let (demo, base) = (b.demo().await, format!("/v3/users/{user}/access_rules"));
    let same = json!([{"service": "identity", "method": "GET", "path": "/v3/users/*"}]);
    let other = made(&b, json!({"name": "d", "access_rules": same})).await;
    let listed = b.get(&base, &demo).await.expect(200).json();
    assert_eq!(listed["access_rules"].as_array().unwrap().len(), 3);
    let rule = listed["access_rules"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["path"] == "/v3/users/*")
        .unwrap();
    let one = format!("{base}/{}", rule["id"].as_str().unwrap());
    b.get(&one, &demo).await.expect(200);
    b.call("DELETE", &one, &demo, Value::Null).await.expect(403);
    for credential in [&id, &other] {
        b.call("DELETE", &path(&b, credential), &demo, Value::Null)
            .await
            .expect(204);
    }
    b.call("DELETE", &one, &demo, Value::Null).await.expect(204);
    b.get(&one, &demo).await.expect(404);
    let bad = json!({"application_credential": {"name": "x", "access_rules": [{"service": "s", "method": "EAT", "path": "/"}]}});
    let list = format!("/v3/users/{user}/application_credentials");
    b.call("POST", &list, &demo, bad).await.expect(400);
}

#[tokio::test]
async fn an_ec2_key_made_with_a_credential_is_good_for_no_more() {
    let b = bench().await;
    let roles = json!([{"name": "member"}]);
    let id = made(&b, json!({"name": "c", "secret": "s", "roles": roles})).await;
    let token = token_of(&b.authenticate(by_id(&id, "s")).await.expect(201));
    let body = json!({"tenant_id": b.report.demo_project_id});
    let keys = format!("/v3/users/{}/credentials/OS-EC2", b.report.demo_user_id);
    let key = b.call("POST", &keys, &token, body).await.expect(201).json();
    let access = key["credential"]["access"].as_str().unwrap();
    let found = b.identity.ec2_secret(access).await.unwrap().unwrap();
    assert_eq!(found.roles, ["member", "reader"]);
    let demo = b.demo().await;
    b.call("DELETE", &path(&b, &id), &demo, Value::Null)
        .await
        .expect(204);
    assert!(b.identity.ec2_secret(access).await.unwrap().is_none());
}

#[tokio::test]
async fn no_delegation_opens_the_credentials_of_its_user() {
    let b = bench().await;
    let (demo, user) = (b.demo().await, b.report.demo_user_id.clone());
    let ann = b.new_user("ann").await;
    let credential = json!({"credential": {"type": "cert", "blob": "private", "user_id": user}});
    let kept = b.call("POST", "/v3/credentials", &demo, credential.clone()).await;
    let one = format!("/v3/credentials/{}", kept.expect(201).id("credential"));
    let keys = format!("/v3/users/{user}/credentials/OS-EC2");
    let tenant = json!({"tenant_id": b.report.demo_project_id});
    let key = b
        .call("POST", &keys, &demo, tenant.clone())
        .await
        .expect(201)
        .json();
    let key = format!("{keys}/{}", key["credential"]["access"].as_str().unwrap());
    // The longest reaching: a credential that may make others, and acting as the trustor.
    let id = made(&b, json!({"name": "c", "secret": "s", "unrestricted": true})).await;
    let by_credential = token_of(&b.authenticate(by_id(&id, "s")).await.expect(201));
    let trust = json!({"trust": {"trustor_user_id": user, "trustee_user_id": ann, "impersonation": true,
        "project_id": b.report.demo_project_id, "roles": [{"name": "member"}]}});
    let trust = b
        .call("POST", "/v3/OS-TRUST/trusts", &demo, trust)
        .await
        .expect(201);
    let scope = json!({"OS-TRUST:trust": {"id": trust.id("trust")}});
    let by_trust = b.token("ann", "pw", scope).await;
    for token in [by_credential, by_trust] {
        for (method, path, body) in [
            ("POST", "/v3/credentials", credential.clone()),
            ("GET", &one, Value::Null),
            ("PATCH", &one, json!({"credential": {"blob": "mine"}})),
            ("DELETE", &one, Value::Null),
            ("GET", &keys, Value::Null),
            ("GET", &key, Value::Null),
            ("DELETE", &key, Value::Null),
        ] {
            let refused = b.call(method, path, &token, body).await;
            assert_eq!(refused.status, 403, "{method} {path}: {}", refused.text);
            let why = "Delegated tokens cannot access credentials directly";
            assert!(refused.text.contains(why), "{method} {path}: {}", refused.text);
        }
        let listed = b.get("/v3/credentials", &token).await.expect(200).json();
        assert_eq!(listed["credentials"], json!([]));
        b.call("POST", &keys, &token, tenant.clone()).await.expect(201);
    }
    b.get(&one, &demo).await.expect(200);
}

#[tokio::test]
async fn who_does_not_obey_access_rules_is_told_that_such_a_token_is_none() {
    let b = bench().await;
    let (admin, rule) = (
        b.admin().await,
        json!({"service": "image", "method": "GET", "path": "/v2/images"}),
    );
    let bound = made(
        &b,
        json!({"name": "bound", "secret": "s", "access_rules": [rule]}),
    )
    .await;
    let free = made(&b, json!({"name": "free", "secret": "s"})).await;
    let bound = token_of(&b.authenticate(by_id(&bound, "s")).await.expect(201));
    let free = token_of(&b.authenticate(by_id(&free, "s")).await.expect(201));
    let ask = async |method: &str, version: &str, token: &str| {
        let request = Request::builder()
            .method(method)
            .uri("/v3/auth/tokens")
            .header("host", "cloud:5000")
            .header("x-auth-token", &admin)
            .header("x-subject-token", token);
        let request = match version {
            "" => request,
            version => request.header("openstack-identity-access-rules", version),
        };
        b.send(request.body(axum::body::Body::empty()).unwrap())
            .await
            .status
            .as_u16()
    };
    // Twice: what one may see is not remembered for the other.
    for _ in 0..2 {
        for (version, status) in [("1.0", 200), ("1", 200), ("", 404), ("0.9", 404), ("x", 404)] {
            for method in ["GET", "HEAD"] {
                assert_eq!(ask(method, version, &bound).await, status, "{method} {version:?}");
                assert_eq!(ask(method, version, &free).await, 200, "{method} {version:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_credential_does_not_have_is_refused() {
    let b = bench().await;
    let demo = b.demo().await;
    let list = format!("/v3/users/{}/application_credentials", b.report.demo_user_id);
    let make = async |more: Value| {
        let mut wish = json!({"name": "c", "secret": "s"});
        wish.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        b.call("POST", &list, &demo, json!({"application_credential": wish}))
            .await
    };
    for bad in [
        json!({"shoe": 1}),
        json!({"user_id": b.report.admin_user_id}),
        json!({"roles": null}),
        json!({"access_rules": null}),
    ] {
        make(bad).await.expect(400);
    }
    // Clients send what they were told.
    make(json!({"unrestricted": null, "project_id": b.report.demo_project_id}))
        .await
        .expect(201);
}

/// Asks for a token as OAuth 2.0 clients do.
async fn client_credentials(b: &Bench, client: &str, form: &'static str) -> Answer {
    let basic = base64::engine::general_purpose::STANDARD.encode(client);
    let request = Request::post("/v3/OS-OAUTH2/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", format!("Basic {basic}"));
    b.send(request.body(form.into()).unwrap()).await
}

#[tokio::test]
async fn an_oauth2_client_gets_a_token_for_its_application_credential() {
    let b = bench().await;
    let id = made(&b, json!({"name": "c", "secret": "s%:t"})).await;
    const GRANT: &str = "grant_type=client_credentials";
    // Id and secret are encoded as in a form.
    let good = client_credentials(&b, &format!("{id}:s%25%3At"), GRANT).await;
    assert_eq!(good.status, 200, "{}", good.text);
    assert_eq!(good.headers["cache-control"], "no-store");
    let said = good.json();
    assert_eq!(
        (&said["token_type"], &said["expires_in"]),
        (&json!("Bearer"), &json!(3600))
    );
    let token = said["access_token"].as_str().unwrap();
    let shown = b.about("GET", "", token, token).await.expect(200).json();
    assert_eq!(shown["token"]["methods"], json!(["application_credential"]));
    assert_eq!(shown["token"]["project"]["name"], "demo");
    let who = format!("{id}:s%25%3At");
    for (client, form, status, error) in [
        (format!("{id}:wrong"), GRANT, 401, "invalid_client"),
        ("nobody:s".to_owned(), GRANT, 401, "invalid_client"),
        ("no colon".to_owned(), GRANT, 401, "invalid_client"),
        (who.clone(), "grant_type=password", 400, "unsupported_grant_type"),
        (who, "scope=x", 400, "invalid_request"),
    ] {
        let answer = client_credentials(&b, &client, form).await;
        assert_eq!(answer.status, status, "{client} {form}: {}", answer.text);
        assert_eq!(answer.json()["error"], error);
    }
    b.get("/v3/OS-OAUTH2/token", &b.demo().await).await.expect(405);
}

/// `GET` with the header `Authorization`.
async fn authorized(b: &Bench, path: &str, shown: &str) -> Answer {
    let request = Request::get(path)
        .header("host", "cloud:5000")
        .header("authorization", shown);
    b.send(request.body(axum::body::Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_token_may_be_shown_as_a_bearer_token() {
    let b = bench().await;
    let demo = b.demo().await;
    for (path, good) in [
        ("/v3/auth/catalog", true),
        ("/v3/auth/projects", true),
        ("/v3/users", false),
    ] {
        let shown = authorized(&b, path, &format!("Bearer {demo}")).await;
        let usual = b.get(path, &demo).await;
        assert_eq!(
            (shown.status, good),
            (usual.status, usual.status == 200),
            "{path}"
        );
    }
    for wrong in ["Bearer x", "Bearer ", "Bearer", "Basic eDp5", &demo] {
        authorized(&b, "/v3/auth/catalog", wrong).await.expect(401);
        // A gateway's is nothing to what everybody may ask.
        authorized(&b, "/v3", wrong).await.expect(200);
    }
    let admin = b.admin().await;
    b.about("DELETE", "", &admin, &demo).await.expect(204);
    authorized(&b, "/v3/auth/catalog", &format!("Bearer {demo}"))
        .await
        .expect(401);
}
