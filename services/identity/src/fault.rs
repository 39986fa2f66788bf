//! The one place from errors to Keystone's status codes and bodies.
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use virga_http::body::BodyError;
use virga_http::edge::Refusal;
use virga_http::limits::retry_after;
use virga_identity_api::verify::TokenError;
use virga_state::{Conflicted, StateError};

use crate::auth::AuthError;
use crate::auth::factors::Receipt;

/// What a handler answers instead of success.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// 400 with the reason.
    #[error("{0}")]
    BadRequest(String),
    /// 401. Says nothing of why.
    #[error("The request you have made requires authentication.")]
    Unauthorized,
    /// 401 with the reason, where that gives nothing away.
    #[error("{0}")]
    Refused(String),
    /// 401 with a receipt: good so far, more proof is asked for.
    #[error("The request you have made requires authentication.")]
    MoreFactors(Box<Receipt>),
    /// 403: the policy rule of this name does not allow it.
    #[error("You are not authorized to perform the requested action: {0}.")]
    Denied(String),
    /// 403 with the reason.
    #[error("{0}")]
    Forbidden(String),
    /// 404 with the reason.
    #[error("{0}")]
    NotFound(String),
    /// 404: no route of this path.
    #[error("The resource could not be found.")]
    NoRoute,
    /// 405.
    #[error("The method is not allowed for the requested URL.")]
    MethodNotAllowed,
    /// 409 with the reason.
    #[error("{0}")]
    Conflict(String),
    /// 410 with the reason: what Keystone had once.
    #[error("{0}")]
    Gone(String),
    /// 413.
    #[error("Request is too large.")]
    TooLarge,
    /// 429: come back in so many seconds.
    #[error("Too many requests: try again in {0} seconds.")]
    TooMany(u64),
    /// 501 with the reason.
    #[error("{0}")]
    NotImplemented(String),
    /// 503: come back in a moment.
    #[error("The service is busy, try again in a moment.")]
    Busy,
    /// 503: what a sign-in stands on was changed while it was made.
    #[error("What this stands on was changed at the same time, try again in a moment.")]
    Overtaken,
    /// The edge refused.
    #[error("{}", refusal_text(*.0))]
    Edge(Refusal),
    /// The records failed.
    #[error("{}", state_text(.0))]
    State(#[from] StateError),
    /// Something that must not happen; the text goes to the log only.
    #[error("An unexpected error prevented the server from fulfilling your request.")]
    Unexpected(String),
}

const UNEXPECTED: &str = "An unexpected error prevented the server from fulfilling your request.";

fn refusal_text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::TooLarge => "Request is too large.",
        Refusal::TooMany => "Too many requests from this address: try again later.",
        Refusal::BadPath => "The path of the request is not valid.",
        Refusal::Overloaded => "The service is busy, try again in a moment.",
        Refusal::Timeout => "The request took too long.",
        Refusal::Panicked => UNEXPECTED,
    }
}

fn state_text(error: &StateError) -> &'static str {
    match error {
        StateError::Duplicate => "Conflict occurred attempting to store the resource.",
        StateError::Reference => "The resource is in use, or refers to one that does not exist.",
        StateError::Contended | StateError::Busy => "The service is busy, try again in a moment.",
        StateError::Column(_) | StateError::Failed(_) => UNEXPECTED,
    }
}

impl Fault {
    /// 404 in Keystone's words.
    pub fn not_found(kind: &str, id: &str) -> Self {
        Self::NotFound(format!("Could not find {kind}: {id}."))
    }

    /// 400 in Keystone's words for a missing part.
    pub fn expecting(attribute: &str, target: &str) -> Self {
        Self::BadRequest(format!(
            "Expecting to find {attribute} in {target}. The server could not comply with the request since it is \
             either malformed or otherwise incorrect. The client is assumed to be in error."
        ))
    }

    /// 409 if a record is no longer what the request was checked against:
    /// somebody else changed it in between, and neither change may be lost.
    pub fn unless_same<T: PartialEq>(now: Option<&T>, before: &T) -> Result<(), Self> {
        if now == Some(before) {
            return Ok(());
        }
        Err(Self::Conflict(
            "The resource was changed by another request at the same time.".into(),
        ))
    }

    /// The status that goes with it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::Refused(_) | Self::MoreFactors(_) => StatusCode::UNAUTHORIZED,
            Self::Denied(_) | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Gone(_) => StatusCode::GONE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Busy | Self::Overtaken => StatusCode::SERVICE_UNAVAILABLE,
            Self::Edge(refusal) => refusal.status(),
            Self::State(StateError::Duplicate | StateError::Reference) => StatusCode::CONFLICT,
            Self::State(StateError::Contended | StateError::Busy) => StatusCode::SERVICE_UNAVAILABLE,
            Self::State(StateError::Column(_) | StateError::Failed(_)) | Self::Unexpected(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
}

/// Not an error's body: it says what was proven and what may follow.
fn with_receipt(receipt: Receipt) -> Response {
    let mut response = (StatusCode::UNAUTHORIZED, axum::Json(receipt.body)).into_response();
    if let Ok(text) = HeaderValue::from_str(&receipt.text) {
        response.headers_mut().insert("openstack-auth-receipt", text);
    }
    response
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = self.status();
        match &self {
            Self::State(error @ (StateError::Column(_) | StateError::Failed(_))) => {
                tracing::error!(%error, "the identity records failed");
            }
            Self::Unexpected(what) => tracing::error!(what, "unexpected"),
            _ => {}
        }
        let title = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
            other => other.canonical_reason().unwrap_or("Error"),
        };
        let wait = match &self {
            Self::TooMany(seconds) => Some(*seconds),
            _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        };
        if let Self::MoreFactors(receipt) = self {
            return with_receipt(*receipt);
        }
        let body = json!({"error": {"code": status.as_u16(), "message": self.to_string(), "title": title}});
        let mut response = (status, axum::Json(body)).into_response();
        if let Some(seconds) = wait {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl Conflicted for Fault {
    fn is_contended(&self) -> bool {
        matches!(self, Self::State(error) if error.is_contended())
    }
}

impl From<BodyError> for Fault {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(_) => Self::TooLarge,
            BodyError::Broken(_) => Self::BadRequest("The request body broke off.".into()),
            BodyError::NotJson(why) => Self::BadRequest(format!(
                "Expecting to find valid JSON in request body ({why}). The server could not comply with the \
                 request since it is either malformed or otherwise incorrect."
            )),
        }
    }
}

impl From<TokenError> for Fault {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid | TokenError::Expired | TokenError::Revoked => Self::Unauthorized,
            TokenError::Unavailable(why) => {
                tracing::warn!(why, "tokens cannot be verified");
                Self::Busy
            }
        }
    }
}

impl From<AuthError> for Fault {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Refused(why) => {
                tracing::info!(why, "authentication refused");
                Self::Unauthorized
            }
            AuthError::Forbidden(why) => Self::Forbidden(why),
            AuthError::NotFound(why) => Self::NotFound(why),
            // As Keystone, whatever is wrong with it.
            AuthError::BadToken => Self::NotFound(error.to_string()),
            AuthError::PasswordExpired(_) => Self::Refused(error.to_string()),
            AuthError::MoreFactors(receipt) => Self::MoreFactors(receipt),
            AuthError::Malformed(why) => Self::BadRequest(why),
            AuthError::Conflict(why) => Self::Conflict(why),
            AuthError::Told(why) => Self::Refused(why),
            AuthError::TooMany(wait) => Self::TooMany(retry_after(wait)),
            AuthError::Overloaded => Self::Busy,
            AuthError::Unreachable(why) => {
                tracing::warn!(why, "an identity provider cannot be asked");
                Self::Busy
            }
            AuthError::State(error) => Self::State(error),
            AuthError::Hash(what) | AuthError::Sealed(what) => Self::Unexpected(what),
            AuthError::Random(error) => Self::Unexpected(error.to_string()),
        }
    }
}
