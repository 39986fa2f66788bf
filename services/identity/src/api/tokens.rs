//! `/v3/auth/tokens`: make, check, show and revoke tokens.
use std::time::Duration;

use axum::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use virga_identity_api::payload::Payload;
use virga_identity_api::revocation::Revocation;
use virga_state::transact;

use super::ask::Ask;
use super::reply::{self, Reply};
use super::{oauth_tokens, token_body};
use crate::audit::sign_in;
use crate::auth::AuthError;
use crate::auth::request::AuthRequest;
use crate::auth::tokens::{Place, Standing};
use crate::fault::Fault;

const SUBJECT: &str = "x-subject-token";
/// By it a service says that it obeys the access rules of application
/// credentials, and from which version on.
const OBEYS_RULES: &str = "openstack-identity-access-rules";
/// How often a sign-in is judged that changes elsewhere overtake.
const TRIES: u32 = 3;

/// The body that shows a token.
async fn shown_body(ask: &Ask, standing: &Standing) -> Result<Bytes, Fault> {
    let records = match &standing.place {
        Place::Unscoped => None,
        _ if !wants_catalog(ask) => None,
        _ => Some(ask.app.catalog_records().await?),
    };
    let body = json!({"token": token_body::token(standing, records.as_deref())});
    Ok(Bytes::from(body.to_string()))
}

fn wants_catalog(ask: &Ask) -> bool {
    ask.query("nocatalog").is_none()
}

fn respond(status: StatusCode, token: &str, body: Bytes) -> Reply {
    let mut response = (status, body).into_response();
    let token = HeaderValue::from_str(token).map_err(|_| Fault::Unauthorized)?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(SUBJECT, token);
    Ok(response)
}

/// A new token with its body.
pub(crate) async fn made(ask: &Ask, status: StatusCode, token: &str, standing: &Standing) -> Reply {
    respond(status, token, shown_body(ask, standing).await?)
}

/// `POST`: authenticates.
pub(crate) async fn issue(ask: Ask) -> Reply {
    let body = ask.json()?;
    if oauth_tokens::is_method_of(&body) {
        return oauth_tokens::sign_in(ask).await;
    }
    let request = AuthRequest::parse(&body)?;
    let receipt = ask.header("openstack-auth-receipt")?;
    let mut tries = 1;
    let (token, standing) = loop {
        let attempt = ask.app.attempt(ask.source, request.accounts())?;
        let outcome = ask.app.authenticate(&request, receipt).await;
        let outcome = attempt.settle(outcome);
        match sign_in::note_request(&ask, &request, outcome).await {
            Err(Fault::Overtaken) if tries < TRIES && request.may_be_tried_again() => tries += 1,
            done => break done?,
        }
    };
    made(&ask, StatusCode::CREATED, &token, &standing).await
}

/// A token as policy rules see it.
fn subject_target(payload: &Payload) -> Value {
    json!({"token": {"user_id": payload.user_id}})
}

/// The token that the request is about; 404 if it is not one.
async fn subject(ask: &Ask, action: &str) -> Result<(String, Payload), Fault> {
    ask.caller()?;
    let Some(token) = ask.header(SUBJECT)? else {
        return Err(Fault::NotFound(
            "No token in the request: the header X-Subject-Token names it.".into(),
        ));
    };
    let expired = action != "identity:revoke_token" && ask.flag("allow_expired");
    let grace = if expired {
        ask.app.config.allow_expired_window
    } else {
        0
    };
    let payload = ask.app.verifier.inspect(token, Duration::from_secs(grace));
    let payload = payload.map_err(|_| invalid())?;
    ask.enforce(action, subject_target(&payload))?;
    Ok((token.to_owned(), payload))
}

async fn standing(ask: &Ask, payload: Payload) -> Result<Standing, Fault> {
    match ask.app.standing(payload).await {
        Err(AuthError::Refused(_) | AuthError::NotFound(_)) => Err(invalid()),
        other => Ok(other?),
    }
}

/// Shows the token that the request is about, if the caller may `action` it.
async fn show(ask: &Ask, action: &str) -> Reply {
    ask.caller()?;
    let catalog = wants_catalog(ask);
    if let Some(token) = ask.header(SUBJECT)?
        && let Some(shown) = ask.app.shown(token, catalog)
    {
        ask.enforce(action, subject_target(&shown.payload))?;
        return respond(StatusCode::OK, token, shown.body);
    }
    let showing = ask.header(SUBJECT)?.map(|token| ask.app.showing(token, catalog));
    let (token, payload) = subject(ask, action).await?;
    let standing = standing(ask, payload).await?;
    let bound = standing.has_access_rules();
    if bound && !obeys_rules(ask)? {
        return Err(invalid());
    }
    let body = shown_body(ask, &standing).await?;
    // Not those that some may see and others not.
    if let Some(showing) = showing.filter(|_| !bound) {
        showing.remember(&standing, &body).await?;
    }
    respond(StatusCode::OK, &token, body)
}

/// Whether who asks obeys access rules: to others a token that has some must
/// look invalid, or it would open to them what its rules do not name.
fn obeys_rules(ask: &Ask) -> Result<bool, Fault> {
    let version = ask
        .header(OBEYS_RULES)?
        .and_then(|v| v.trim().parse::<f32>().ok());
    Ok(version.is_some_and(|v| v >= 1.0))
}

fn invalid() -> Fault {
    Fault::NotFound("Failed to validate token".into())
}

/// `GET`: shows a token.
pub(crate) async fn validate(ask: Ask) -> Reply {
    show(&ask, "identity:validate_token").await
}

/// `HEAD`: says whether a token is good.
pub(crate) async fn check(ask: Ask) -> Reply {
    show(&ask, "identity:check_token").await
}

/// `DELETE`: revokes a token.
pub(crate) async fn revoke(ask: Ask) -> Reply {
    let (_, payload) = subject(&ask, "identity:revoke_token").await?;
    let app = &ask.app;
    let event = Revocation {
        audit_id: Some(payload.audit_id().to_owned()),
        ..app.revocation()
    };
    let events = vec![event];
    transact!(app.state, |tx| -> Result<(), Fault> {
        app.store_revocations(tx, &events).await?;
        Ok(ask.note(tx, "token", payload.audit_id(), "revoked").await?)
    })?;
    app.announce(events);
    reply::nothing()
}
