//! Answers for the rest of the house: names of ids, owners of EC2 keys.
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use virga_identity_api::verify::{Directory, Named};
use virga_state::{Reader, State, StateError};
use zeroize::Zeroizing;

use crate::Identity;
use crate::auth::AuthError;
use crate::model::{project, user};

/// Looks names up in the records.
pub(crate) struct Names {
    state: State,
}

impl Names {
    pub(crate) fn new(state: State) -> Self {
        Self { state }
    }
}

fn told<T>(found: Result<Option<T>, StateError>) -> Option<T> {
    found.unwrap_or_else(|error| {
        tracing::warn!(%error, "a name cannot be looked up");
        None
    })
}

#[async_trait]
impl Directory for Names {
    async fn user(&self, id: &str) -> Option<Named> {
        let found = told(user::get(&mut self.state.reader(), id).await)?;
        Some(Named {
            id: found.id,
            name: found.name,
            domain_id: found.domain_id,
        })
    }

    async fn project(&self, id: &str) -> Option<Named> {
        let found = told(project::get(&mut self.state.reader(), id).await)?;
        let domain_id = found.domain_id.unwrap_or_else(|| found.id.clone());
        Some(Named {
            id: found.id,
            name: found.name,
            domain_id,
        })
    }
}

/// An EC2 key as a gateway needs it to check a signature.
#[derive(Clone)]
pub struct Ec2Secret {
    /// The user who signs with it.
    pub user_id: String,
    /// The project it is for.
    pub project_id: String,
    /// The key of the signature.
    pub secret: Zeroizing<String>,
    /// Names of the user's roles on the project, implied ones included.
    pub roles: Vec<String>,
}

impl std::fmt::Debug for Ec2Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ec2Secret")
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}

/// The id of an EC2 credential: SHA-256 of its access key.
pub(crate) fn ec2_id(access: &str) -> String {
    hex::encode(Sha256::digest(access.as_bytes()))
}

impl Identity {
    /// The EC2 key with this access key, if what it stands on (user, project,
    /// trust, application credential) may be used now and leaves a role.
    pub async fn ec2_secret(&self, access: &str) -> Result<Option<Ec2Secret>, StateError> {
        let mut q = self.app.state.recalling();
        loop {
            match self.ec2_secret_by(&mut q, access).await? {
                // Nobody is refused by what is remembered.
                None if q.renew() => {}
                found => return Ok(found),
            }
        }
    }

    async fn ec2_secret_by(&self, q: &mut Reader, access: &str) -> Result<Option<Ec2Secret>, StateError> {
        let key = match self.app.ec2_key(q, access).await {
            Ok(Some(key)) => key,
            Ok(None) => return Ok(None),
            Err(AuthError::State(error)) => return Err(error),
            Err(error) => {
                tracing::error!(%error, "an EC2 credential cannot be opened");
                return Ok(None);
            }
        };
        match self.app.grant_by_key(q, &key, false).await {
            Ok(grant) => Ok(Some(Ec2Secret {
                user_id: grant.user.id,
                project_id: key.project_id,
                secret: key.secret,
                roles: grant.roles.into_iter().map(|r| r.name).collect(),
            })),
            Err(AuthError::State(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }
}
