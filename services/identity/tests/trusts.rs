//! Trusts, through the router.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use bench::{Answer, Bench, bench, by_password, by_token, project_scope};
use serde_json::{Value, json};
use virga_identity_api::verify::TokenError;

const TRUSTS: &str = "/v3/OS-TRUST/trusts";

fn scope(id: &str) -> Value {
    json!({"OS-TRUST:trust": {"id": id}})
}

fn token_of(answer: &Answer) -> String {
    answer.headers["x-subject-token"].to_str().unwrap().to_owned()
}

/// What demo gives to `trustee`, with `more` on top.
fn wish(b: &Bench, trustee: &str, more: Value) -> Value {
    let mut trust = json!({
        "trustor_user_id": b.report.demo_user_id, "trustee_user_id": trustee, "impersonation": false,
        "project_id": b.report.demo_project_id, "roles": [{"name": "member"}],
    });
    for (key, value) in more.as_object().unwrap() {
        trust[key] = value.clone();
    }
    json!({"trust": trust})
}

async fn given(b: &Bench, trustee: &str, more: Value) -> String {
    let demo = b.demo().await;
    b.call("POST", TRUSTS, &demo, wish(b, trustee, more))
        .await
        .expect(201)
        .id("trust")
}

async fn verify(b: &Bench, token: &str) -> Result<String, TokenError> {
    b.identity
        .verifier()
        .verify(token)
        .await
        .map(|c| c.user_id.clone())
}

#[tokio::test]
async fn the_trustee_acts_with_the_trustors_roles_as_either_of_them() {
    let b = bench().await;
    let ann = b.new_user("ann").await;
    for impersonation in [false, true] {
        let id = given(&b, &ann, json!({"impersonation": impersonation})).await;
        let answer = b
            .authenticate(by_password("ann", "pw", scope(&id)))
            .await
            .expect(201);
        let token = &answer.json()["token"];
        let user = if impersonation {
            &b.report.demo_user_id
        } else {
            &ann
        };
        assert_eq!(token["user"]["id"], json!(user));
        assert_eq!(token["project"]["id"], json!(b.report.demo_project_id));
        assert_eq!(
            token["OS-TRUST:trust"],
            json!({"id": id, "impersonation": impersonation, "trustor_user": {"id": b.report.demo_user_id},
                "trustee_user": {"id": ann}})
        );
        let names: Vec<_> = token["roles"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["name"].clone())
            .collect();
        assert_eq!(names, ["member", "reader"]);
        assert_eq!(verify(&b, &token_of(&answer)).await.unwrap(), *user);
        let again = b
            .authenticate(by_token(&token_of(&answer), project_scope("demo")))
            .await;
        again.expect(403);
        let admin = b.admin().await;
        b.about("GET", "", &admin, &token_of(&answer)).await.expect(200);
    }
    let id = given(&b, &ann, json!({})).await;
    b.authenticate(by_password("demo", bench::DEMO_PASSWORD, scope(&id)))
        .await
        .expect(403);
    b.authenticate(by_password("ann", "pw", scope("none")))
        .await
        .expect(401);
}

#[tokio::test]
async fn only_the_trustor_gives_and_only_what_they_have() {
    let b = bench().await;
    let ann = b.new_user("ann").await;
    let (demo, admin) = (b.demo().await, b.admin().await);
    b.call("POST", TRUSTS, &admin, wish(&b, &ann, json!({})))
        .await
        .expect(403);
    for (more, status) in [
        (json!({"roles": [{"name": "admin"}]}), 404),
        (json!({"roles": []}), 403),
        (json!({"trustee_user_id": "none"}), 404),
        (json!({"expires_at": "2020-01-01T00:00:00Z"}), 400),
        (json!({"remaining_uses": 0}), 400),
        (json!({"impersonation": "yes"}), 400),
        (json!({"remaining_uses": 2, "allow_redelegation": true}), 400),
        (json!({"redelegation_count": 9, "allow_redelegation": true}), 403),
    ] {
        b.call("POST", TRUSTS, &demo, wish(&b, &ann, more))
            .await
            .expect(status);
    }
    let id = given(&b, &ann, json!({})).await;
    let ann_token = b.token("ann", "pw", json!("unscoped")).await;
    let path = format!("{TRUSTS}/{id}");
    b.get(&path, &ann_token).await.expect(200);
    b.get(&format!("{path}/roles"), &demo).await.expect(200);
    let member = b.role_id("member").await;
    b.get(&format!("{path}/roles/{member}"), &demo).await.expect(200);
    b.get(&format!("{path}/roles/none"), &demo).await.expect(404);
    b.get(TRUSTS, &demo).await.expect(403);
    let listed = b
        .get(&format!("{TRUSTS}?trustee_user_id={ann}"), &ann_token)
        .await;
    assert_eq!(listed.expect(200).json()["trusts"][0]["id"], json!(id));
    b.get(&format!("{TRUSTS}?trustor_user_id={ann}"), &demo)
        .await
        .expect(403);
    b.call("DELETE", &path, &ann_token, Value::Null).await.expect(403);
    b.call("DELETE", &path, &demo, Value::Null).await.expect(204);
    b.get(&path, &demo).await.expect(404);
}

#[tokio::test]
async fn uses_and_time_run_out() {
    let b = bench().await;
    let ann = b.new_user("ann").await;
    let id = given(&b, &ann, json!({"remaining_uses": 2})).await;
    for status in [201, 201, 401] {
        b.authenticate(by_password("ann", "pw", scope(&id)))
            .await
            .expect(status);
    }
    let id = given(&b, &ann, json!({"expires_at": "2025-12-22T10:50:00Z"})).await;
    let answer = b
        .authenticate(by_password("ann", "pw", scope(&id)))
        .await
        .expect(201);
    assert_eq!(
        answer.json()["token"]["expires_at"],
        "2025-12-22T10:50:00.000000Z"
    );
    b.advance(600);
    b.authenticate(by_password("ann", "pw", scope(&id)))
        .await
        .expect(401);
    assert_eq!(verify(&b, &token_of(&answer)).await, Err(TokenError::Expired));
}

#[tokio::test]
async fn a_trust_falls_with_anything_it_stands_on() {
    for what in ["trust", "trustor", "trustee", "role", "project"] {
        for impersonation in [false, true] {
            let b = bench().await;
            let (admin, ann) = (b.admin().await, b.new_user("ann").await);
            let id = given(&b, &ann, json!({"impersonation": impersonation})).await;
            let answer = b
                .authenticate(by_password("ann", "pw", scope(&id)))
                .await
                .expect(201);
            let token = token_of(&answer);
            verify(&b, &token).await.unwrap();
            let (demo, project) = (&b.report.demo_user_id, &b.report.demo_project_id);
            let disable = |kind: &str| json!({kind: {"enabled": false}});
            let member = b.role_id("member").await;
            let (method, path, body) = match what {
                "trust" => ("DELETE", format!("{TRUSTS}/{id}"), Value::Null),
                "trustor" => ("PATCH", format!("/v3/users/{demo}"), disable("user")),
                "trustee" => ("DELETE", format!("/v3/users/{ann}"), Value::Null),
                "role" => (
                    "DELETE",
                    format!("/v3/projects/{project}/users/{demo}/roles/{member}"),
                    Value::Null,
                ),
                _ => ("PATCH", format!("/v3/projects/{project}"), disable("project")),
            };
            let done = b.call(method, &path, &admin, body).await;
            assert!(done.status.is_success(), "{what}: {}", done.text);
            assert_eq!(verify(&b, &token).await, Err(TokenError::Revoked), "{what}");
            let again = b
                .authenticate(by_password("ann", "pw", scope(&id)))
                .await
                .status
                .as_u16();
            assert!([401, 403, 404].contains(&again), "{what}: {again}");
        }
    }
}

#[tokio::test]
async fn a_trust_is_handed_on_within_its_bounds_and_falls_with_the_first() {
    let b = bench().await;
    let (ann, bob) = (b.new_user("ann").await, b.new_user("bob").await);
    let first = given(
        &b,
        &ann,
        json!({"allow_redelegation": true, "redelegation_count": 1}),
    )
    .await;
    let ann_token = token_of(
        &b.authenticate(by_password("ann", "pw", scope(&first)))
            .await
            .expect(201),
    );
    let onward = |more: Value| {
        let mut w = wish(&b, &bob, more);
        w["trust"]["trustor_user_id"] = json!(ann);
        w
    };
    let wider = onward(json!({"roles": [{"name": "admin"}]}));
    b.call("POST", TRUSTS, &ann_token, wider).await.expect(404);
    let posing = onward(json!({"impersonation": true}));
    b.call("POST", TRUSTS, &ann_token, posing).await.expect(403);
    let second = b
        .call("POST", TRUSTS, &ann_token, onward(json!({})))
        .await
        .expect(201);
    assert_eq!(second.json()["trust"]["redelegated_trust_id"], json!(first));
    assert_eq!(second.json()["trust"]["redelegation_count"], 0);
    let second = second.id("trust");
    let bob_token = token_of(
        &b.authenticate(by_password("bob", "pw", scope(&second)))
            .await
            .expect(201),
    );
    let third = {
        let mut w = wish(&b, &ann, json!({}));
        w["trust"]["trustor_user_id"] = json!(bob);
        w
    };
    b.call("POST", TRUSTS, &bob_token, third).await.expect(403);
    let demo = b.demo().await;
    b.call("DELETE", &format!("{TRUSTS}/{first}"), &demo, Value::Null)
        .await
        .expect(204);
    for token in [&ann_token, &bob_token] {
        assert_eq!(verify(&b, token).await, Err(TokenError::Revoked));
    }
    b.authenticate(by_password("bob", "pw", scope(&second)))
        .await
        .expect(401);
}
