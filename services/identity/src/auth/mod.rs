//! Authentication: from what a client shows to a token, and back.
//!
//! [`request`] reads the body of `POST /v3/auth/tokens`, [`recognise`] finds
//! out who it is ([`password`] checks hashes off the async threads, [`totp`]
//! passcodes, [`rules`] what is asked of passwords), [`factors`] whether that
//! is proof enough, [`keys`] and [`signature`] what a request signed with EC2
//! keys stands for, [`roles`] what the user may do, [`tokens`] puts a token
//! together and says later what one stands for.
pub(crate) mod factors;
pub(crate) mod keys;
pub(crate) mod password;
pub(crate) mod recognise;
pub(crate) mod request;
pub(crate) mod roles;
pub(crate) mod rules;
pub(crate) mod signature;
pub(crate) mod tokens;
pub(crate) mod totp;

use virga_identity_api::keys::KeyError;
use virga_state::{Conflicted, StateError};

/// Why nobody got a token.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Not who they say, or not allowed there. The reason is for the log.
    #[error("refused: {0}")]
    Refused(&'static str),
    /// Known, but not allowed this; the reason is told.
    #[error("{0}")]
    Forbidden(String),
    /// What the scope names is not there.
    #[error("{0}")]
    NotFound(String),
    /// The token that is to be exchanged is none, or counts no more.
    #[error("Failed to validate token")]
    BadToken,
    /// The password was good, but its time is over. Holds the user's id.
    #[error("The password is expired and needs to be changed for user: {0}.")]
    PasswordExpired(String),
    /// Good so far, but more proof is asked for.
    #[error("more proof is asked for")]
    MoreFactors(Box<factors::Receipt>),
    /// The request cannot be understood.
    #[error("{0}")]
    Malformed(String),
    /// The records hold something else of that name; the reason is told.
    #[error("{0}")]
    Conflict(String),
    /// Refused, and why is told: it gives nothing away.
    #[error("{0}")]
    Told(String),
    /// An identity provider does not answer. The reason is for the log.
    #[error("an identity provider cannot be asked: {0}")]
    Unreachable(String),
    /// Too many failures from there or for that account; how long to wait.
    #[error("too many failed attempts")]
    TooMany(std::time::Duration),
    /// Too many passwords wait to be checked.
    #[error("too many authentications at once")]
    Overloaded,
    /// The records failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A password hash could not be computed or read.
    #[error("password hashing failed: {0}")]
    Hash(String),
    /// A sealed secret could not be opened.
    #[error("a secret cannot be opened: {0}")]
    Sealed(String),
    /// The system gave no randomness.
    #[error("no randomness: {0}")]
    Random(#[from] getrandom::Error),
}

impl AuthError {
    /// Whether it tells the client no, by what the records say.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::Forbidden(_)
                | Self::NotFound(_)
                | Self::PasswordExpired(_)
                | Self::MoreFactors(_)
        )
    }
}

impl From<KeyError> for AuthError {
    fn from(error: KeyError) -> Self {
        Self::Sealed(error.to_string())
    }
}

impl Conflicted for AuthError {
    fn is_contended(&self) -> bool {
        matches!(self, Self::State(error) if error.is_contended())
    }
}
