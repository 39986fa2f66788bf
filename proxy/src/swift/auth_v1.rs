//! `GET /auth/v1.0`: a token for a name and a password, as old clients ask for
//! it (`ST_AUTH`, `ST_USER`, `ST_KEY`).
//!
//! "project:user" are names in Keystone's default domain; the token is
//! Keystone's, and where it leads is the project's account.
use async_trait::async_trait;
use http::header::{HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use virga_node::clock::Micros;

use super::body::{Answer, empty};
use super::fault::Fault;
use super::{Swift, headers, not_allowed};

/// Paths that are asked for a token.
const PATHS: [&str; 3] = ["/auth/v1.0", "/auth/v1", "/v1.0"];

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
    /// Identity cannot be asked.
    #[error("identity cannot be asked: {0}")]
    Unavailable(String),
}

/// Gives tokens for passwords.
#[async_trait]
pub trait PasswordLogin: Send + Sync + 'static {
    /// A token for a user in a project, both by their names in the default domain.
    async fn login(&self, project: &str, user: &str, password: &str) -> Result<Login, LoginError>;
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
    Fault::page(StatusCode::UNAUTHORIZED).with(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Swift realm=\"unknown\""),
    )
}

/// Answers with a token and where it leads.
///
/// # Errors
/// 401 for a wrong name or password, 404 where no passwords are taken.
pub async fn answer(swift: &Swift, method: &Method, asked: &HeaderMap, now: Micros) -> Result<Answer, Fault> {
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
    let given = login
        .login(project, user, password)
        .await
        .map_err(|error| match error {
            LoginError::Refused => refused(),
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
