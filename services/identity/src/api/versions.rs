//! Which versions there are. Nobody needs a token for this.
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::ask::Ask;
use super::json_home;
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

/// The JSON Home document, with paths behind `prefix`, for who asks for it.
fn home(ask: &Ask, prefix: &str) -> Option<Response> {
    let accept = ask.headers.get(header::ACCEPT)?.to_str().ok()?;
    json_home::is_wanted(accept).then(|| {
        let kind = HeaderValue::from_static(json_home::MEDIA_TYPE);
        let body = json_home::document(prefix).to_string();
        ([(header::CONTENT_TYPE, kind)], body).into_response()
    })
}

/// `GET /`: all versions, as multiple choices.
pub(crate) async fn list(ask: Ask) -> Response {
    if let Some(home) = home(&ask, "/v3") {
        return home;
    }
    let body = Json(json!({"versions": {"values": [v3(&ask)]}}));
    let mut response = (StatusCode::MULTIPLE_CHOICES, body).into_response();
    if let Ok(location) = HeaderValue::from_str(&ask.url("/v3/")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// `GET /v3`.
pub(crate) async fn show(ask: Ask) -> Reply {
    if let Some(home) = home(&ask, "") {
        return Ok(home);
    }
    let version = v3(&ask);
    reply::one("version", version)
}
