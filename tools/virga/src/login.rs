//! Tokens for passwords at the object store's door: asked of the identity
//! service in this process, as the door's client would ask it. So guesses count
//! there, whichever door they come to.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use virga_http::peer::Peer;
use virga_proxy::swift::auth_v1::{Client, Login, LoginError, PasswordLogin};

/// Bytes of an answer: a token's body with a large catalog.
const LONGEST: usize = 1 << 20;

/// Where balancers say who their client is.
const FORWARDED: &str = "x-forwarded-for";

/// Identity's routes.
struct Through(Router);

/// How long an answer says to wait.
fn wait(headers: &HeaderMap) -> Duration {
    let said = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    Duration::from_secs(said.and_then(|text| text.parse().ok()).unwrap_or(1))
}

/// Gives tokens by the routes of the identity service.
pub fn through(identity: Router) -> Arc<dyn PasswordLogin> {
    Arc::new(Through(identity))
}

#[async_trait]
impl PasswordLogin for Through {
    async fn login(
        &self,
        project: &str,
        user: &str,
        password: &str,
        client: Client<'_>,
    ) -> Result<Login, LoginError> {
        let default = json!({ "id": "default" });
        let asked = json!({ "auth": {
            "identity": {
                "methods": ["password"],
                "password": { "user": { "name": user, "domain": default, "password": password } },
            },
            "scope": { "project": { "name": project, "domain": default } },
        }});
        let unavailable = |why: &dyn std::fmt::Display| LoginError::Unavailable(why.to_string());
        let mut request = Request::builder()
            .method(Method::POST)
            .uri("/v3/auth/tokens")
            .header("content-type", "application/json")
            .body(Body::from(asked.to_string()))
            .map_err(|error| unavailable(&error))?;
        for line in client.headers.get_all(FORWARDED) {
            request.headers_mut().append(FORWARDED, line.clone());
        }
        request.extensions_mut().insert(Peer {
            address: SocketAddr::new(client.peer, 0),
            secure: client.secure,
        });
        let Ok(answer) = self.0.clone().oneshot(request).await;
        let (head, body) = answer.into_parts();
        match head.status {
            StatusCode::CREATED => {}
            StatusCode::TOO_MANY_REQUESTS => return Err(LoginError::TooMany(wait(&head.headers))),
            status if status.is_server_error() => return Err(unavailable(&status)),
            _ => return Err(LoginError::Refused),
        }
        let body = http_body_util::Limited::new(body, LONGEST)
            .collect()
            .await
            .map_err(|error| unavailable(&error))?;
        let token = head.headers.get("x-subject-token");
        let said: Value = serde_json::from_slice(&body.to_bytes()).map_err(|error| unavailable(&error))?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let expires = text(&said["token"]["expires_at"])
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
            .and_then(|at| u64::try_from(at.as_second()).ok());
        match (
            token.and_then(|token| token.to_str().ok()),
            text(&said["token"]["project"]["id"]),
            expires,
        ) {
            (Some(token), Some(project_id), Some(expires)) => Ok(Login {
                token: token.to_owned(),
                project_id,
                expires,
            }),
            _ => Err(unavailable(&"identity's answer has no token")),
        }
    }
}
