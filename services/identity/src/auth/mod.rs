//! Authentication: from what a client shows to a token, and back.
//!
//! [`request`] reads the body of `POST /v3/auth/tokens`, [`password`] checks
//! passwords off the async threads, [`tokens`] decides on scope and roles.
pub(crate) mod password;
pub(crate) mod request;
pub(crate) mod roles;
pub(crate) mod tokens;

use virga_state::StateError;

/// Why nobody got a token.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Not who they say, or not allowed there. The reason is for the log.
    #[error("refused: {0}")]
    Refused(&'static str),
    /// The request cannot be understood.
    #[error("{0}")]
    Malformed(String),
    /// Too many passwords wait to be checked.
    #[error("too many authentications at once")]
    Overloaded,
    /// The records failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A password hash could not be computed or read.
    #[error("password hashing failed: {0}")]
    Hash(String),
    /// The system gave no randomness.
    #[error("no randomness: {0}")]
    Random(#[from] getrandom::Error),
}
