//! What an EC2 key stands for: its user on its project, or less, if it was made
//! with an application credential or trust.
use std::time::Duration;

use serde_json::Value;
use virga_node::clock::Micros;
use virga_state::Reader;
use zeroize::Zeroizing;

use super::AuthError;
use super::tokens::Grant;
use crate::app::App;
use crate::directory::ec2_id;
use crate::model::credential::{self, Credential};
use crate::model::{application_credential, trust};
use crate::secrets;

/// An EC2 key, opened.
pub(crate) struct Ec2Key {
    pub(crate) user_id: String,
    pub(crate) project_id: String,
    pub(crate) secret: Zeroizing<String>,
    /// The trust it was made with.
    trust_id: Option<String>,
    /// The application credential it was made with.
    credential_id: Option<String>,
}

fn opened(found: Credential, blob: &str, access: &str) -> Option<Ec2Key> {
    let blob: Value = serde_json::from_str(blob).ok()?;
    let text = |key: &str| blob.get(key).and_then(Value::as_str);
    // The content may have been changed since the key got its id.
    if text("access") != Some(access) {
        return None;
    }
    Some(Ec2Key {
        user_id: found.user_id,
        project_id: found.project_id?,
        secret: Zeroizing::new(text("secret")?.to_owned()),
        trust_id: text("trust_id").map(str::to_owned),
        credential_id: text("app_cred_id").map(str::to_owned),
    })
}

impl App {
    /// The key with this access key.
    pub(crate) async fn ec2_key(&self, q: &mut Reader, access: &str) -> Result<Option<Ec2Key>, AuthError> {
        let found = credential::get(q, &ec2_id(access)).await?;
        let Some(found) = found.filter(|c| c.kind == "ec2") else {
            return Ok(None);
        };
        let blob = secrets::open(&self.credential_keys, &found.sealed_blob)
            .map_err(|e| AuthError::Sealed(e.to_string()))?;
        Ok(opened(found, &blob, access))
    }

    /// What the key is good for now. A token takes one of a trust's uses
    /// (`takes_use`), a look at a signature does not.
    pub(crate) async fn grant_by_key(
        &self,
        q: &mut Reader,
        key: &Ec2Key,
        takes_use: bool,
    ) -> Result<Grant, AuthError> {
        let life = Duration::from_secs(self.config.token_lifetime);
        let mut end = Micros(self.clock.now().plus(life).as_secs() * 1_000_000);
        let (user, domain) = self.live_user(q, &key.user_id).await?;
        if let Some(id) = &key.trust_id {
            let found = trust::get(q, id).await?;
            let found = found.filter(|t| t.project_id.as_ref() == Some(&key.project_id));
            let found = found.ok_or(AuthError::Refused(
                "the key's trust is gone or for another project",
            ))?;
            if found.expires_at.is_some_and(|at| at <= self.clock.now()) {
                return Err(AuthError::Refused("the key's trust has expired"));
            }
            if !takes_use {
                return self.judge_trust(q, found, end).await;
            }
            // With impersonation the key is the trustor's, but the trust is
            // used by the trustee.
            let (trustee, _) = self.live_user(q, &found.trustee_user_id).await?;
            return self.grant_by_trust(q, &trustee, id, end).await;
        }
        if let Some(id) = &key.credential_id {
            let found = application_credential::get(q, id).await?;
            let found = found.filter(|c| c.user_id == key.user_id && c.project_id == key.project_id);
            let found = found.ok_or(AuthError::Refused("the key's application credential is gone"))?;
            if let Some(at) = found.expires_at {
                if at <= self.clock.now() {
                    return Err(AuthError::Refused("the key's application credential has expired"));
                }
                end = end.min(Micros(at.as_secs() * 1_000_000));
            }
            return self.grant_by_credential(q, user, domain, found, end).await;
        }
        self.grant_on_project(q, user, domain, &key.project_id, end).await
    }
}
