//! `GET /auth/v1.0`: a token for a name and a password, as old clients ask for
//! it (`ST_AUTH`, `ST_USER`, `ST_KEY`).
//!
//! "project:user" are names in Keystone's default domain; the token is
//! Keystone's, and where it leads is the project's account.
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};
use virga_node::clock::Micros;

use super::body::{Answer, empty};
use super::fault::Fault;
use super::{Swift, headers, not_allowed};

/// Paths that are asked for a token.
pub(super) const PATHS: [&str; 3] = ["/auth/v1.0", "/auth/v1", "/v1.0"];

/// A token for a project.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The token.
    pub token: String,
    /// The project it is for.
    pub project_id: String,
    /// When it ends, in seconds since the epoch.
    pub expires: u64,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// No such user in such a project, or another password.
    #[error("the name or the password is wrong")]
    Refused,
    /// Too many guesses from there, or at that account.
    #[error("too many failed attempts: come back in {0:?}")]
    TooMany(Duration),
    /// Identity cannot be asked.
    #[error("identity cannot be asked: {0}")]
    Unavailable(String),
}

/// Who asks for a token, for limits on guessing and for the audit.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// Whether the connection is inside TLS.
    pub secure: bool,
    /// Headers of the request: what proxies before this one say of the client.
    pub headers: &'a HeaderMap,
}

/// Gives tokens for passwords.
#[async_trait]
pub trait PasswordLogin: Send + Sync + 'static {
    /// A token for a user in a project, both by their names in the default domain.
    async fn login(
        &self,
        project: &str,
        user: &str,
        password: &str,
        client: Client<'_>,
    ) -> Result<Login, LoginError>;
}

/// Whether a request asks for a token.
pub fn is_one(path: &str, asked: &HeaderMap) -> bool {
    let bare = path.strip_suffix('/').unwrap_or(path);
    PATHS.contains(&bare) && name_of(asked).is_some()
}

fn name_of(asked: &HeaderMap) -> Option<&str> {
    ["x-auth-user", "x-storage-user"]
        .iter()
        .find_map(|name| headers::text(asked, name))
}

fn refused() -> Fault {
    Fault::page(StatusCode::UNAUTHORIZED).challenged("unknown")
}

fn too_many(wait: Duration) -> Fault {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let fault = Fault::plain(StatusCode::TOO_MANY_REQUESTS, "Too many failed attempts.\n");
    fault.with(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}

/// Answers a client at `peer` with a token and where it leads.
///
/// # Errors
/// 401 for a wrong name or password, 404 where no passwords are taken, 429 after
/// too many guesses.
pub async fn answer(
    swift: &Swift,
    method: &Method,
    asked: &HeaderMap,
    (peer, now): (IpAddr, Micros),
) -> Result<Answer, Fault> {
    if method != Method::GET && method != Method::HEAD {
        return Err(not_allowed(&["GET", "HEAD"]));
    }
    let login = swift.0.login.as_ref().ok_or_else(Fault::not_found)?;
    let password = ["x-auth-key", "x-storage-pass"]
        .iter()
        .find_map(|name| headers::text(asked, name));
    let named = name_of(asked).and_then(|name| name.split_once(':'));
    let (Some((project, user)), Some(password)) = (named, password) else {
        return Err(refused());
    };
    let client = Client {
        peer,
        secure: swift.0.secure,
        headers: asked,
    };
    let given = login.login(project, user, password, client).await;
    let given = given.map_err(|error| match error {
        LoginError::Refused => refused(),
        LoginError::TooMany(wait) => too_many(wait),
        LoginError::Unavailable(why) => {
            tracing::warn!(why, "no token can be given");
            Fault::page(StatusCode::SERVICE_UNAVAILABLE)
        }
    })?;
    let prefix = swift.0.config.resellers.first().map_or("", |r| r.prefix.as_str());
    let scheme = match headers::text(asked, "x-forwarded-proto").map(str::trim) {
        Some("https") => "https",
        _ if swift.0.secure => "https",
        _ => "http",
    };
    let host = headers::text(asked, "host").unwrap_or("localhost");
    let url = format!("{scheme}://{host}/v1/{prefix}{}", given.project_id);
    let mut answer = Answer::new(empty());
    let into = answer.headers_mut();
    into.insert("x-storage-url", headers::to_value(&url));
    for name in ["x-auth-token", "x-storage-token"] {
        let mut token = headers::to_value(&given.token);
        token.set_sensitive(true);
        into.insert(HeaderName::from_static(name), token);
    }
    let left = given.expires.saturating_sub(now.as_secs());
    into.insert("x-auth-token-expires", HeaderValue::from(left));
    Ok(answer)
}
