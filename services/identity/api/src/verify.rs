//! From the text of a token to a [`Caller`], and from ids to names.
//!
//! The data plane holds these as trait objects: on one machine they are the
//! identity service's own, on many they work from shared keys.
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;

/// Why a token was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum TokenError {
    /// Not a token of ours, damaged, or sealed with a key that is gone.
    #[error("the token is not valid")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It, its user, project or role assignment was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// The verifier could not reach what it needs to decide.
    #[error("tokens cannot be verified now: {0}")]
    Unavailable(String),
}

/// Turns tokens into callers by shared keys, without a call on the usual path.
#[async_trait]
pub trait TokenVerifier: Send + Sync + 'static {
    /// The caller behind `token`, if it is valid now.
    async fn verify(&self, token: &str) -> Result<Arc<Caller>, TokenError>;
}

/// A user or project as access lists name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its id.
    pub id: String,
    /// Its name, unique within the domain.
    pub name: String,
    /// Id of its domain.
    pub domain_id: String,
}

/// Looks names up for ids (access lists may hold either).
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// The user with this id; `None` if there is none or it cannot be told.
    async fn user(&self, id: &str) -> Option<Named>;
    /// The project with this id; `None` if there is none or it cannot be told.
    async fn project(&self, id: &str) -> Option<Named>;
}
