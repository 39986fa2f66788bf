//! Answers for the rest of the house: names of ids, owners of EC2 keys.
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use virga_identity_api::caller::Scope;
use virga_identity_api::verify::{Directory, Named};
use virga_state::{State, StateError};
use zeroize::Zeroizing;

use crate::Identity;
use crate::fault::Fault;
use crate::model::{credential, project, user};
use crate::secrets;

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
    /// The EC2 key with this access key, if its user and project may be used
    /// now and the user has a role there.
    pub async fn ec2_secret(&self, access: &str) -> Result<Option<Ec2Secret>, StateError> {
        let app = &self.app;
        let mut q = app.state.reader();
        let Some(found) = credential::get(&mut q, &ec2_id(access)).await? else {
            return Ok(None);
        };
        let Some(project_id) = found.project_id.filter(|_| found.kind == "ec2") else {
            return Ok(None);
        };
        let (Some(user), Some(place)) = (
            user::get(&mut q, &found.user_id).await?,
            project::get(&mut q, &project_id).await?,
        ) else {
            return Ok(None);
        };
        let domains = [Some(&user.domain_id), place.domain_id.as_ref()];
        for id in domains.into_iter().flatten() {
            if project::get(&mut q, id).await?.is_none_or(|d| !d.enabled) {
                return Ok(None);
            }
        }
        let roles = app
            .roles
            .effective(&user.id, &Scope::Project(project_id.clone()))
            .await?;
        if !user.enabled || !place.enabled || roles.is_empty() {
            return Ok(None);
        }
        let Ok(secret) = secrets::open(&app.credential_keys, &found.sealed_blob).and_then(|b| secret_of(&b))
        else {
            tracing::error!(id = found.id, "an EC2 credential cannot be opened");
            return Ok(None);
        };
        let roles = roles.into_iter().map(|r| r.name).collect();
        Ok(Some(Ec2Secret {
            user_id: user.id,
            project_id,
            secret,
            roles,
        }))
    }
}

fn secret_of(blob: &str) -> Result<Zeroizing<String>, Fault> {
    let blob: serde_json::Value =
        serde_json::from_str(blob).map_err(|_| Fault::Unexpected("an EC2 blob is not JSON".into()))?;
    match blob.get("secret").and_then(serde_json::Value::as_str) {
        Some(secret) => Ok(Zeroizing::new(secret.to_owned())),
        None => Err(Fault::Unexpected("an EC2 blob has no secret".into())),
    }
}
