//! Which tokens end with what users from elsewhere stand on.
use virga_identity_api::revocation::Revocation;
use virga_state::{Queries, StateError, Transaction};

use crate::app::App;
use crate::model::{federated_user, user};

impl App {
    /// Revocations of the tokens of users who came by this identity provider
    /// (by this protocol, if one is named). Their application credentials and
    /// trusts, which name no provider, lose the tokens made so far.
    pub(crate) async fn tokens_of_provider(
        &self,
        q: &mut impl Queries,
        provider: &str,
        protocol: Option<&str>,
    ) -> Result<Vec<Revocation>, StateError> {
        let mut events = vec![Revocation {
            identity_provider_id: Some(provider.to_owned()),
            protocol_id: protocol.map(str::to_owned),
            ..self.revocation()
        }];
        for user in federated_user::delegating(q, provider, protocol).await? {
            events.extend(self.tokens_of_user(q, &user).await?);
        }
        Ok(events)
    }

    /// Revocations of the tokens that stand on a group: those that carry it, and
    /// those of users whom a provider put into it.
    pub(crate) async fn tokens_of_given_group(
        &self,
        q: &mut impl Queries,
        group: &str,
    ) -> Result<Vec<Revocation>, StateError> {
        let mut events = vec![Revocation {
            group_id: Some(group.to_owned()),
            ..self.revocation()
        }];
        for user in federated_user::members(q, group).await? {
            events.extend(self.tokens_of_user(q, &user).await?);
        }
        Ok(events)
    }

    /// Deletes the users whom nobody but this provider (this protocol of it)
    /// vouches for. Returns the revocations of their tokens.
    pub(crate) async fn forget_users_of_provider(
        &self,
        tx: &mut Transaction,
        provider: &str,
        protocol: Option<&str>,
    ) -> Result<Vec<Revocation>, StateError> {
        let events = self.tokens_of_provider(tx, provider, protocol).await?;
        let users = federated_user::users_of(tx, provider, protocol).await?;
        federated_user::forget(tx, provider, protocol).await?;
        for id in users {
            let local = user::get(tx, &id)
                .await?
                .is_some_and(|u| u.password_hash.is_some());
            if !local && federated_user::links_of(tx, &id).await?.is_empty() {
                user::delete(tx, &id).await?;
            }
        }
        Ok(events)
    }
}
