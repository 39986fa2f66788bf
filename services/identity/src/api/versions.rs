//! Which versions there are. Nobody needs a token for this.
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::ask::Ask;
use super::reply::{self, Reply};

fn v3(ask: &Ask) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": ask.url("/v3/")}],
        "media-types": [{
            "base": "application/json",
            "type": "application/vnd.openstack.identity-v3+json",
        }],
    })
}

/// `GET /`: all versions, as multiple choices.
pub(crate) async fn list(ask: Ask) -> Response {
    let body = Json(json!({"versions": {"values": [v3(&ask)]}}));
    let mut response = (StatusCode::MULTIPLE_CHOICES, body).into_response();
    if let Ok(location) = HeaderValue::from_str(&ask.url("/v3/")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// `GET /v3`.
pub(crate) async fn show(ask: Ask) -> Reply {
    let version = v3(&ask);
    reply::one("version", version)
}
