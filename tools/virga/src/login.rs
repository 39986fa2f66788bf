//! Tokens for passwords at the object store's door: asked of the identity
//! service in this process, as a client of its API would ask.
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use virga_proxy::swift::auth_v1::{Login, LoginError, PasswordLogin};

/// Bytes of an answer: a token's body with a large catalog.
const LONGEST: usize = 1 << 20;

/// Identity's routes.
struct Through(Router);

/// Gives tokens by the routes of the identity service.
pub fn through(identity: Router) -> Arc<dyn PasswordLogin> {
    Arc::new(Through(identity))
}

#[async_trait]
impl PasswordLogin for Through {
    async fn login(&self, project: &str, user: &str, password: &str) -> Result<Login, LoginError> {
        let default = json!({ "id": "default" });
        let asked = json!({ "auth": {
            "identity": {
                "methods": ["password"],
                "password": { "user": { "name": user, "domain": default, "password": password } },
            },
            "scope": { "project": { "name": project, "domain": default } },
        }});
        let unavailable = |why: &dyn std::fmt::Display| LoginError::Unavailable(why.to_string());
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v3/auth/tokens")
            .header("content-type", "application/json")
            .body(Body::from(asked.to_string()))
            .map_err(|error| unavailable(&error))?;
        let Ok(answer) = self.0.clone().oneshot(request).await;
        let (head, body) = answer.into_parts();
        match head.status {
            StatusCode::CREATED => {}
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(unavailable(&status));
            }
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
