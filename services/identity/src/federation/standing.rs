//! Whether what the token of a federated user stands on is still there.
use virga_identity_api::payload::Federation;
use virga_state::Reader;

use crate::app::App;
use crate::auth::AuthError;
use crate::model::{federation, group};

impl App {
    /// Refuses a token whose identity provider is gone or disabled, or whose
    /// protocol, mapping or any of its groups is gone.
    pub(crate) async fn live_federation(&self, q: &mut Reader, by: &Federation) -> Result<(), AuthError> {
        let provider = federation::get_provider(q, &by.identity_provider).await?;
        if !provider.is_some_and(|p| p.enabled) {
            return Err(AuthError::Refused("the identity provider is gone or disabled"));
        }
        let protocol = federation::get_protocol(q, &by.identity_provider, &by.protocol).await?;
        let protocol = protocol.ok_or(AuthError::Refused("the protocol is gone"))?;
        if federation::get_mapping(q, &protocol.mapping_id).await?.is_none() {
            return Err(AuthError::Refused("the mapping is gone"));
        }
        for id in &by.groups {
            if group::get(q, id).await?.is_none() {
                return Err(AuthError::Refused("a group is gone"));
            }
        }
        Ok(())
    }
}
