//! A small Keystone client for tests: any request, and its answer whatever it is.
use std::path::Path;

use serde_json::{Value, json};
use ureq::http::{HeaderMap, Request};

use crate::process::credential;
use crate::swift::agent;

/// Identity of a cloud.
#[derive(Debug, Clone)]
pub struct Keystone {
    agent: ureq::Agent,
    /// Its URL, with the version.
    pub url: String,
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Said {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub text: String,
}

impl Said {
    /// The body; null if it is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// A header as text; empty when absent.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    /// The token that was given; empty when none was.
    pub fn token(&self) -> String {
        self.header("x-subject-token").to_owned()
    }

    /// The id of what stands under `key`.
    pub fn id(&self, key: &str) -> String {
        let id = self.json()[key]["id"].as_str().map(str::to_owned);
        id.unwrap_or_else(|| panic!("no {key} in {} {}", self.status, self.text))
    }

    /// Itself; panics unless it has this status.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }
}

impl Keystone {
    /// That of the cloud whose credential files are in `data`.
    pub fn of(data: &Path) -> Self {
        Self {
            agent: agent(),
            url: credential(&data.join("openrc-demo"), "OS_AUTH_URL"),
        }
    }

    /// The same client with paths that begin at `url`, of any service.
    pub fn under(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.clone()
        }
    }

    /// Sends a request, with a body unless that is null.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Said {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send(
            method,
            path,
            &[&[("content-type", "application/json")][..], headers].concat(),
            &text,
        )
    }

    /// Sends a request whose body is any text.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Said {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match body.is_empty() && !method.starts_with('P') {
            true => self.agent.run(request.body(()).expect("a request")),
            false => self.agent.run(request.body(body).expect("a request")),
        };
        let (head, mut body) = answer.expect("identity answers").into_parts();
        Said {
            status: head.status.as_u16(),
            headers: head.headers,
            text: body.read_to_string().expect("a body"),
        }
    }

    /// Sends a request with a token.
    pub fn call(&self, method: &str, path: &str, token: &str, body: &Value) -> Said {
        self.ask(method, path, &[("x-auth-token", token)], body)
    }

    /// Asks for a token by a password; names are those of the domain `default`.
    pub fn sign_in(&self, user: &str, password: &str, scope: &Value) -> Said {
        let body = by_password(user, password, scope);
        self.ask("POST", "/auth/tokens", &[], &body)
    }
}

/// The body of a sign-in by name and password; `scope` may be null.
pub fn by_password(user: &str, password: &str, scope: &Value) -> Value {
    let user = json!({"name": user, "password": password, "domain": {"id": "default"}});
    let mut auth = json!({"identity": {"methods": ["password"], "password": {"user": user}}});
    if !scope.is_null() {
        auth["scope"] = scope.clone();
    }
    json!({ "auth": auth })
}

/// The scope of a project of the domain `default`, by its name.
pub fn project(name: &str) -> Value {
    json!({"project": {"name": name, "domain": {"id": "default"}}})
}
