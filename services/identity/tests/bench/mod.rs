//! A small cloud's identity service, asked through its router.
#![allow(dead_code, reason = "each test file uses its part")]
pub mod chance;
#[path = "../../../state/tests/engine/mod.rs"]
mod engine;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use virga_identity::{BootstrapPlan, BootstrapReport, Config, Identity, PasswordConfig};
use virga_node::clock::{Clock, ManualClock, Micros};
use virga_state::State;

pub const START: Micros = Micros(1_766_400_000_000_000);
pub const ADMIN_PASSWORD: &str = "admin-secret";
pub const DEMO_PASSWORD: &str = "demo-secret";

pub struct Bench {
    pub clock: Arc<ManualClock>,
    pub identity: Identity,
    pub report: BootstrapReport,
    pub router: Router,
    dir: Arc<tempfile::TempDir>,
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// The id of the object under `key`.
    pub fn id(&self, key: &str) -> String {
        let id = self.json()[key]["id"].as_str().map(str::to_owned);
        id.unwrap_or_else(|| panic!("no {key} in {} {}", self.status, self.text))
    }

    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.status.is_client_error() && !self.text.is_empty() {
            let error = &self.json()["error"];
            assert_eq!(error["code"], json!(status), "{}", self.text);
            assert!(
                error["message"].is_string() && error["title"].is_string(),
                "{}",
                self.text
            );
        }
        self
    }
}

pub fn plan() -> BootstrapPlan {
    BootstrapPlan {
        admin_password: ADMIN_PASSWORD.into(),
        demo_password: DEMO_PASSWORD.into(),
        region: "RegionOne".into(),
        front_url: "http://cloud:5000".into(),
        object_url: "http://cloud:8080".into(),
    }
}

async fn open(dir: &tempfile::TempDir, clock: Arc<ManualClock>, config: Config) -> Identity {
    let state = engine::config(dir.path()).await;
    let state = State::open(&state, clock.clone()).await.unwrap();
    let config = Config {
        token_keys: dir.path().join("token-keys"),
        credential_keys: dir.path().join("credential-keys"),
        password: PasswordConfig {
            memory_kib: 8,
            passes: 1,
            ..config.password.clone()
        },
        ..config
    };
    Identity::open(config, state, clock).await.unwrap()
}

pub async fn bench_with(config: Config) -> Bench {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let clock = Arc::new(ManualClock::new(START));
    let identity = open(&dir, clock.clone(), config).await;
    let report = identity.bootstrap(&plan()).await.unwrap();
    let router = identity.router();
    Bench {
        clock,
        identity,
        report,
        router,
        dir,
    }
}

pub async fn bench() -> Bench {
    bench_with(Config::default()).await
}

impl Bench {
    /// The same records and keys in a new process.
    pub async fn restarted(&self, plan: &BootstrapPlan) -> Self {
        let identity = open(&self.dir, self.clock.clone(), Config::default()).await;
        let report = identity.bootstrap(plan).await.unwrap();
        let router = identity.router();
        Self {
            clock: self.clock.clone(),
            identity,
            report,
            router,
            dir: self.dir.clone(),
        }
    }

    /// Where the records are.
    pub async fn records(&self) -> virga_state::Config {
        engine::config(self.dir.path()).await
    }

    /// Where the keys are, and on SQLite the records.
    pub fn folder(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// A request with a token ("" for none) and a JSON body (null for none).
    pub async fn call(&self, method: &str, path: &str, token: &str, body: Value) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "cloud:5000");
        if !token.is_empty() {
            request = request.header("x-auth-token", token);
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        self.send(
            request
                .header("content-type", "application/json")
                .body(body)
                .unwrap(),
        )
        .await
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.call("GET", path, token, Value::Null).await
    }

    /// Asks about `subject` with `token`.
    pub async fn about(&self, method: &str, query: &str, token: &str, subject: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("/v3/auth/tokens{query}"))
            .header("host", "cloud:5000")
            .header("x-auth-token", token)
            .header("x-subject-token", subject);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub async fn authenticate(&self, body: Value) -> Answer {
        self.call("POST", "/v3/auth/tokens", "", body).await
    }

    pub async fn token(&self, user: &str, password: &str, scope: Value) -> String {
        let answer = self
            .authenticate(by_password(user, password, scope))
            .await
            .expect(201);
        answer.headers["x-subject-token"].to_str().unwrap().to_owned()
    }

    /// A token of the admin, scoped to the project admin.
    pub async fn admin(&self) -> String {
        self.token("admin", ADMIN_PASSWORD, project_scope("admin")).await
    }

    /// A token of the demo user, scoped to the project demo.
    pub async fn demo(&self) -> String {
        self.token("demo", DEMO_PASSWORD, project_scope("demo")).await
    }

    /// As [`Bench::demo`], after the password was changed.
    pub async fn demo_with(&self, password: &str) -> String {
        self.advance(1);
        self.token("demo", password, project_scope("demo")).await
    }

    pub async fn role_id(&self, name: &str) -> String {
        let admin = self.admin().await;
        let roles = self
            .get(&format!("/v3/roles?name={name}"), &admin)
            .await
            .expect(200)
            .json();
        roles["roles"][0]["id"].as_str().unwrap().to_owned()
    }

    /// A new user with this password and name in the default domain.
    pub async fn new_user(&self, name: &str) -> String {
        let admin = self.admin().await;
        let body = json!({"user": {"name": name, "password": "pw", "domain_id": "default"}});
        self.call("POST", "/v3/users", &admin, body)
            .await
            .expect(201)
            .id("user")
    }

    pub async fn new_project(&self, name: &str) -> String {
        let admin = self.admin().await;
        let body = json!({"project": {"name": name, "domain_id": "default"}});
        self.call("POST", "/v3/projects", &admin, body)
            .await
            .expect(201)
            .id("project")
    }

    pub async fn grant(&self, target: &str, user: &str, role: &str) {
        let admin = self.admin().await;
        let role = self.role_id(role).await;
        let path = format!("/v3/{target}/users/{user}/roles/{role}");
        self.call("PUT", &path, &admin, Value::Null).await.expect(204);
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn now(&self) -> Micros {
        self.clock.now()
    }
}

pub fn by_password(user: &str, password: &str, scope: Value) -> Value {
    let user = json!({"name": user, "domain": {"id": "default"}, "password": password});
    let mut auth = json!({"identity": {"methods": ["password"], "password": {"user": user}}});
    if !scope.is_null() {
        auth["scope"] = scope;
    }
    json!({"auth": auth})
}

pub fn by_token(token: &str, scope: Value) -> Value {
    let mut auth = json!({"identity": {"methods": ["token"], "token": {"id": token}}});
    if !scope.is_null() {
        auth["scope"] = scope;
    }
    json!({"auth": auth})
}

pub fn project_scope(name: &str) -> Value {
    json!({"project": {"name": name, "domain": {"id": "default"}}})
}
