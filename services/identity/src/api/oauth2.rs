//! `POST /v3/OS-OAUTH2/token`: the client credentials grant of OAuth 2.0
//! (RFC 6749, section 4.4). The client is an application credential; what it
//! gets is a token as any other. Errors have the RFC's body, as in Keystone.
//! Clients that show a certificate (RFC 8705) are not known here.
use axum::Json;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::json;
use zeroize::Zeroizing;

use super::ask::Ask;
use super::reply::Reply;
use crate::audit::sign_in;
use crate::auth::AuthError;
use crate::auth::request::{AuthRequest, CredentialRef, ScopeWish};
use crate::fault::Fault;

/// 400 or 401 with the words of the RFC.
fn refused(status: StatusCode, error: &str, description: String) -> Response {
    let body = json!({"error": error, "error_description": description});
    (status, Json(body)).into_response()
}

/// The client of the header `Authorization: Basic`: id and secret, which are
/// encoded as in a form.
fn client(ask: &Ask) -> Option<(String, Zeroizing<String>)> {
    let shown = ask.header("authorization").ok().flatten()?;
    let (kind, encoded) = shown.split_once(' ')?;
    if !kind.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let text = Zeroizing::new(String::from_utf8(decoded.to_vec()).ok()?);
    let (id, secret) = text.split_once(':')?;
    let plain = |text: &str| percent_decode_str(text).decode_utf8().ok().map(String::from);
    Some((plain(id)?, Zeroizing::new(plain(secret)?)))
}

/// The token for a client.
pub(crate) async fn token(ask: Ask) -> Reply {
    let form = ask.form()?;
    let grant = form.iter().find(|(name, _)| name == "grant_type");
    match grant.map(|(_, value)| value.as_str()) {
        Some("client_credentials") => {}
        Some(other) => {
            let why = format!("The parameter grant_type {other} is not supported.");
            return Ok(refused(StatusCode::BAD_REQUEST, "unsupported_grant_type", why));
        }
        None => {
            let why = "The parameter grant_type is required.".to_owned();
            return Ok(refused(StatusCode::BAD_REQUEST, "invalid_request", why));
        }
    }
    let unknown = || {
        let why = "Client authentication failed.".to_owned();
        refused(StatusCode::UNAUTHORIZED, "invalid_client", why)
    };
    let Some((id, secret)) = client(&ask) else {
        return Ok(unknown());
    };
    let request = AuthRequest {
        password: None,
        totp: None,
        application_credential: Some((CredentialRef::Id(id), secret)),
        token: None,
        scope: ScopeWish::Default,
    };
    let attempt = ask.app.attempt(ask.source, request.accounts())?;
    let outcome = ask.app.authenticate(&request, None).await;
    let outcome = attempt.settle(outcome);
    let wrong = matches!(outcome, Err(AuthError::Refused(_)));
    let (token, standing) = match sign_in::note_request(&ask, &request, outcome).await {
        Err(Fault::Unauthorized) if wrong => return Ok(unknown()),
        outcome => outcome?,
    };
    let left = standing.payload.expires_at.since(ask.app.clock.now()).as_secs();
    let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": left});
    let mut response = Json(body).into_response();
    for (name, value) in [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}
