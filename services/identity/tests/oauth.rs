//! OAuth 1.0a from the consumer to the token, and what must not pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test should panic"
)]
mod bench;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bench::*;
use hmac::{Hmac, KeyInit, Mac};
use http::Request;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use sha1::Sha1;

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// A consumer, and what it holds.
#[derive(Clone, Default)]
struct Consumer {
    key: String,
    secret: String,
    token: String,
    token_secret: String,
    verifier: String,
}

impl Consumer {
    async fn new(b: &Bench, admin: &str) -> Self {
        let made = b
            .call("POST", "/v3/OS-OAUTH1/consumers", admin, json!({"consumer": {}}))
            .await
            .expect(201)
            .json();
        let text = |name: &str| made["consumer"][name].as_str().unwrap().to_owned();
        Self {
            key: text("id"),
            secret: text("secret"),
            ..Self::default()
        }
    }

    /// The header of a signed request.
    fn header(&self, path: &str, nonce: &str, timestamp: u64) -> String {
        let timestamp = timestamp.to_string();
        let mut parameters = vec![
            ("oauth_consumer_key", self.key.as_str()),
            ("oauth_nonce", nonce),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", &timestamp),
            ("oauth_version", "1.0"),
        ];
        if !self.token.is_empty() {
            parameters.push(("oauth_token", &self.token));
        }
        if !self.verifier.is_empty() {
            parameters.push(("oauth_verifier", &self.verifier));
        }
        parameters.sort_unstable();
        let pairs: Vec<String> = parameters
            .iter()
            .map(|(n, v)| format!("{n}={}", encoded(v)))
            .collect();
        let url = format!("http://cloud:5000{path}");
        let base = format!("POST&{}&{}", encoded(&url), encoded(&pairs.join("&")));
        let key = format!("{}&{}", encoded(&self.secret), encoded(&self.token_secret));
        let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(base.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        parameters.push(("oauth_signature", &signature));
        let shown: Vec<String> = parameters
            .iter()
            .map(|(n, v)| format!("{n}=\"{}\"", encoded(v)))
            .collect();
        format!("OAuth {}", shown.join(", "))
    }

    async fn post(&self, b: &Bench, path: &str, nonce: &str, body: Value) -> Answer {
        let header = self.header(path, nonce, b.now().as_secs());
        send(b, path, &header, body).await
    }

    /// Takes the token that an answer tells.
    fn holds(mut self, answer: &Answer) -> Self {
        for pair in answer.text.split('&') {
            match pair.split_once('=').unwrap() {
                ("oauth_token", id) => self.token = id.to_owned(),
                ("oauth_token_secret", secret) => self.token_secret = secret.to_owned(),
                ("oauth_expires_at", _) => {}
                other => panic!("{other:?}"),
            }
        }
        self
    }
}

async fn send(b: &Bench, path: &str, header: &str, body: Value) -> Answer {
    let request = Request::post(path)
        .header("host", "cloud:5000")
        .header("authorization", header)
        .header("requested-project-id", &b.report.demo_project_id);
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    b.send(request.body(body.into()).unwrap()).await
}

fn oauth1() -> Value {
    json!({"auth": {"identity": {"methods": ["oauth1"], "oauth1": {}}}})
}

/// A consumer with an access token that the administrator authorized for the
/// role `reader` on the project demo.
async fn authorized(b: &Bench) -> (Consumer, String) {
    let admin = b.admin().await;
    b.grant(
        &format!("projects/{}", b.report.demo_project_id),
        &b.report.admin_user_id,
        "member",
    )
    .await;
    let consumer = Consumer::new(b, &admin).await;
    let answer = consumer
        .post(b, "/v3/OS-OAUTH1/request_token", "r", Value::Null)
        .await
        .expect(201);
    assert_eq!(
        answer.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    let mut consumer = consumer.holds(&answer);
    let path = format!("/v3/OS-OAUTH1/authorize/{}", consumer.token);
    let yes = json!({"roles": [{"name": "reader"}]});
    let answer = b.call("PUT", &path, &admin, yes).await.expect(200).json();
    consumer.verifier = answer["token"]["oauth_verifier"].as_str().unwrap().to_owned();
    let answer = consumer
        .post(b, "/v3/OS-OAUTH1/access_token", "a", Value::Null)
        .await
        .expect(201);
    let mut consumer = consumer.holds(&answer);
    consumer.verifier.clear();
    (consumer, admin)
}

#[tokio::test]
async fn a_consumer_acts_with_what_the_user_authorized_and_no_more() {
    let b = bench().await;
    let (consumer, admin) = authorized(&b).await;
    let answer = consumer
        .post(&b, "/v3/auth/tokens", "t", oauth1())
        .await
        .expect(201);
    let token = answer.headers["x-subject-token"].to_str().unwrap().to_owned();
    let shown = &answer.json()["token"];
    assert_eq!(shown["methods"], json!(["oauth1"]));
    assert_eq!(shown["user"]["id"], json!(b.report.admin_user_id));
    assert_eq!(shown["project"]["id"], json!(b.report.demo_project_id));
    let roles: Vec<&str> = shown["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["reader"]);
    assert_eq!(
        shown["OS-OAUTH1"],
        json!({"access_token_id": consumer.token, "consumer_id": consumer.key})
    );
    let again = b.about("GET", "", &admin, &token).await.expect(200).json();
    assert_eq!(again["token"]["roles"], shown["roles"]);
    // It reaches no further: not by another token, nor by another yes.
    b.authenticate(by_token(&token, Value::Null)).await.expect(403);
    b.get("/v3/users", &token).await.expect(403);
    // Nor by handing on what the user has, who has more.
    let trust = json!({"trust": {"trustor_user_id": b.report.admin_user_id, "impersonation": true,
        "trustee_user_id": b.report.demo_user_id, "project_id": b.report.admin_project_id,
        "roles": [{"name": "admin"}]}});
    let refused = b
        .call("POST", "/v3/OS-TRUST/trusts", &token, trust)
        .await
        .expect(403);
    assert!(
        refused.text.contains("Delegated tokens cannot manage trusts"),
        "{}",
        refused.text
    );
    let keys = format!("/v3/users/{}/credentials/OS-EC2", b.report.admin_user_id);
    for project in [&b.report.admin_project_id, &b.report.demo_project_id] {
        let tenant = json!({"tenant_id": project});
        b.call("POST", &keys, &token, tenant).await.expect(403);
    }

    let path = format!("/v3/users/{}/OS-OAUTH1/access_tokens", b.report.admin_user_id);
    let listed = b.get(&path, &admin).await.expect(200).json();
    assert_eq!(listed["access_tokens"][0]["id"], json!(consumer.token));
    let one = format!("{path}/{}", consumer.token);
    let one_shown = b.get(&one, &admin).await.expect(200).json();
    assert_eq!(one_shown["access_token"]["consumer_id"], json!(consumer.key));
    let roles = b.get(&format!("{one}/roles"), &admin).await.expect(200).json();
    let role = roles["roles"][0]["id"].as_str().unwrap();
    b.get(&format!("{one}/roles/{role}"), &admin).await.expect(200);
    b.get(&format!("{one}/roles/none"), &admin).await.expect(404);
    let other = format!(
        "/v3/users/{}/OS-OAUTH1/access_tokens/{}",
        b.report.demo_user_id, consumer.token
    );
    b.get(&other, &admin).await.expect(404);

    b.call("DELETE", &one, &admin, Value::Null).await.expect(204);
    b.about("GET", "", &admin, &token).await.expect(404);
    consumer
        .post(&b, "/v3/auth/tokens", "u", oauth1())
        .await
        .expect(401);
}

#[tokio::test]
async fn without_the_consumer_its_tokens_are_nothing() {
    let b = bench().await;
    let (consumer, admin) = authorized(&b).await;
    let answer = consumer
        .post(&b, "/v3/auth/tokens", "t", oauth1())
        .await
        .expect(201);
    let token = answer.headers["x-subject-token"].to_str().unwrap().to_owned();
    let path = format!("/v3/OS-OAUTH1/consumers/{}", consumer.key);
    b.call("DELETE", &path, &admin, Value::Null).await.expect(204);
    b.get("/v3/auth/projects", &token).await.expect(401);
    consumer
        .post(&b, "/v3/auth/tokens", "u", oauth1())
        .await
        .expect(401);
}

#[tokio::test]
async fn a_request_is_good_once_in_time_and_as_it_was_signed() {
    let b = bench().await;
    let (consumer, _) = authorized(&b).await;
    let (path, now) = ("/v3/auth/tokens", b.now().as_secs());
    let header = consumer.header(path, "once", now);
    send(&b, path, &header, oauth1()).await.expect(201);
    send(&b, path, &header, oauth1()).await.expect(401);
    for (nonce, timestamp) in [("late", now - 3600), ("early", now + 3600)] {
        let header = consumer.header(path, nonce, timestamp);
        send(&b, path, &header, oauth1()).await.expect(401);
    }
    let forged = consumer
        .header(path, "forged", now)
        .replace("oauth_nonce=\"forged\"", "oauth_nonce=\"f\"");
    send(&b, path, &forged, oauth1()).await.expect(401);
    let mut stranger = consumer.clone();
    stranger.token_secret = "another".into();
    stranger.post(&b, path, "s", oauth1()).await.expect(401);
    let mut nobody = consumer.clone();
    nobody.key = "nobody".into();
    nobody.post(&b, path, "n", oauth1()).await.expect(401);
    send(&b, path, "Basic x", oauth1()).await.expect(400);
    consumer.post(&b, path, "fine", oauth1()).await.expect(201);
    b.advance(25 * 3600);
    consumer.post(&b, path, "over", oauth1()).await.expect(401);
}

#[tokio::test]
async fn a_request_token_is_authorized_within_the_users_roles_and_exchanged_once() {
    let b = bench().await;
    let admin = b.admin().await;
    let consumer = Consumer::new(&b, &admin).await;
    let ask = "/v3/OS-OAUTH1/request_token";
    let answer = consumer.post(&b, ask, "1", Value::Null).await.expect(201);
    let mut consumer = consumer.holds(&answer);
    let path = format!("/v3/OS-OAUTH1/authorize/{}", consumer.token);
    let yes = |role: &str| json!({"roles": [{"name": role}]});
    // Nobody has said yes yet.
    consumer.verifier = "guess".into();
    let exchange = "/v3/OS-OAUTH1/access_token";
    consumer.post(&b, exchange, "2", Value::Null).await.expect(401);
    // The administrator has no role on that project, and demo may not say yes.
    b.call("PUT", &path, &admin, yes("member")).await.expect(401);
    b.call("PUT", &path, &b.demo().await, yes("member"))
        .await
        .expect(403);
    b.call("PUT", &path, &admin, json!({})).await.expect(400);
    b.call("PUT", &path, &admin, json!({"roles": []}))
        .await
        .expect(400);
    b.call("PUT", &path, &admin, yes("pony")).await.expect(404);
    let project = format!("projects/{}", b.report.demo_project_id);
    b.grant(&project, &b.report.admin_user_id, "member").await;
    let said = b
        .call("PUT", &path, &admin, yes("member"))
        .await
        .expect(200)
        .json();
    consumer.post(&b, exchange, "3", Value::Null).await.expect(401);
    consumer.verifier = said["token"]["oauth_verifier"].as_str().unwrap().to_owned();
    consumer.post(&b, exchange, "4", Value::Null).await.expect(201);
    consumer.post(&b, exchange, "5", Value::Null).await.expect(401);
    let bare = Consumer {
        token: String::new(),
        token_secret: String::new(),
        verifier: String::new(),
        ..consumer
    };
    bare.post(&b, exchange, "6", Value::Null).await.expect(400);
}
