//! Which roles a token stands for, by name.
//!
//! A user's own tokens stand for the roles that the user has on the scope: by
//! assignments of the user and the user's groups (those that an identity
//! provider gave count too), inherited from above, and implied. Tokens of an application credential or trust stand for the part of
//! them that it carries.
use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use virga_identity_api::access_rule::AccessRule;
use virga_identity_api::caller::{Delegation, Scope};
use virga_identity_api::local::{Resolved, RoleSource};
use virga_identity_api::payload::Payload;
use virga_identity_api::verify::TokenError;
use virga_node::clock::Clock;
use virga_state::{State, StateError};

use crate::cached::Cached;
use crate::model::assignment::Actors;
use crate::model::oauth_token::{self, Kind, OauthToken};
use crate::model::role::{Role, RoleGraph};
use crate::model::trust::Trust;
use crate::model::{access_rule, application_credential, assignment, trust};

/// Answers questions about roles; keeps the graph of implications in memory.
#[derive(Debug)]
pub(crate) struct RoleBook {
    state: State,
    graph: Cached<RoleGraph>,
}

impl RoleBook {
    pub(crate) fn new(state: State, clock: Arc<dyn Clock>) -> Self {
        Self {
            state,
            graph: Cached::new(clock),
        }
    }

    /// All roles and implications.
    pub(crate) async fn graph(&self) -> Result<Arc<RoleGraph>, StateError> {
        let mut reader = self.state.reader();
        self.graph
            .get(|| async move { RoleGraph::load(&mut reader).await })
            .await
    }

    /// Says that roles or implications changed.
    pub(crate) fn forget(&self) {
        self.graph.forget();
    }

    /// Grows whenever roles or implications are said to have changed.
    pub(crate) fn epoch(&self) -> u64 {
        self.graph.epoch()
    }

    /// The cloud's own roles of `user` on `scope`, implied ones included,
    /// ordered by name.
    pub(crate) async fn effective(&self, user: &str, scope: &Scope) -> Result<Vec<Role>, StateError> {
        self.effective_with(user, &[], scope).await
    }

    /// As [`RoleBook::effective`], for a user who is in `groups` besides.
    pub(crate) async fn effective_with(
        &self,
        user: &str,
        groups: &[String],
        scope: &Scope,
    ) -> Result<Vec<Role>, StateError> {
        let actors = Actors {
            user,
            groups,
            now: self.state.now(),
        };
        let ids = assignment::role_ids(&mut self.state.reader(), &actors, scope).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.graph().await?.effective(&ids).into_iter().cloned().collect())
    }

    /// Ids of all roles of `user` on `scope`, those of domains and implied ones
    /// included.
    pub(crate) async fn held(&self, user: &str, scope: &Scope) -> Result<BTreeSet<String>, StateError> {
        let actors = Actors {
            user,
            groups: &[],
            now: self.state.now(),
        };
        let ids = assignment::role_ids(&mut self.state.reader(), &actors, scope).await?;
        Ok(self.graph().await?.expand(&ids))
    }

    /// The roles of an application credential that its user still has, ordered
    /// by name.
    pub(crate) async fn of_credential(
        &self,
        id: &str,
        user: &str,
        scope: &Scope,
    ) -> Result<Vec<Role>, StateError> {
        let carried = application_credential::role_ids(&mut self.state.reader(), id).await?;
        self.still_held(carried, user, scope).await
    }

    /// The roles of an access token that its user still has, ordered by name.
    pub(crate) async fn of_access_token(&self, token: &OauthToken) -> Result<Vec<Role>, StateError> {
        let user = token.user_id.as_deref().unwrap_or_default();
        let scope = Scope::Project(token.project_id.clone());
        self.still_held(token.role_ids.clone(), user, &scope).await
    }

    async fn still_held(
        &self,
        mut carried: Vec<String>,
        user: &str,
        scope: &Scope,
    ) -> Result<Vec<Role>, StateError> {
        let held = self.held(user, scope).await?;
        carried.retain(|role| held.contains(role));
        let graph = self.graph().await?;
        let mut roles: Vec<Role> = carried.iter().filter_map(|id| graph.role(id)).cloned().collect();
        roles.retain(|r| r.domain_id.is_none());
        roles.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(roles)
    }

    /// The roles of a trust, ordered by name; none if whoever gave them first
    /// does not have all of them any more.
    pub(crate) async fn of_trust(&self, given: &Trust) -> Result<Vec<Role>, StateError> {
        let mut q = self.state.reader();
        let carried = trust::role_ids(&mut q, &given.id).await?;
        let chain = trust::pedigree(&mut q, given).await?;
        let (Some(first), Some(project)) = (chain.last(), &given.project_id) else {
            return Ok(Vec::new());
        };
        let held = self
            .held(&first.trustor_user_id, &Scope::Project(project.clone()))
            .await?;
        let graph = self.graph().await?;
        let wanted = graph.expand(&carried);
        if wanted.is_subset(&held) {
            Ok(graph.effective(&carried).into_iter().cloned().collect())
        } else {
            Ok(Vec::new())
        }
    }

    async fn of_token(&self, token: &Payload) -> Result<(String, Vec<Role>), StateError> {
        let user = token.user_id.clone();
        let roles = match &token.delegation {
            None => {
                let groups = token.federation.as_ref().map_or(&[][..], |by| &by.groups);
                self.effective_with(&user, groups, &token.scope).await?
            }
            Some(Delegation::ApplicationCredential { id, .. }) => {
                self.of_credential(id, &user, &token.scope).await?
            }
            Some(Delegation::Trust { id }) => match trust::get(&mut self.state.reader(), id).await? {
                // Keystone's tokens name the trustee, whom it was given to.
                Some(given) if given.impersonation => {
                    let roles = self.of_trust(&given).await?;
                    return Ok((given.trustor_user_id, roles));
                }
                Some(given) => self.of_trust(&given).await?,
                None => Vec::new(),
            },
            Some(Delegation::AccessToken { id }) => {
                let mut q = self.state.reader();
                let found = oauth_token::get(&mut q, Kind::Access, id, self.state.now()).await?;
                match found {
                    Some(given) => self.of_access_token(&given).await?,
                    None => Vec::new(),
                }
            }
        };
        Ok((user, roles))
    }
}

fn unavailable(error: StateError) -> TokenError {
    TokenError::Unavailable(error.to_string())
}

#[async_trait]
impl RoleSource for RoleBook {
    async fn resolve(&self, token: &Payload) -> Result<Resolved, TokenError> {
        let (user_id, roles) = self.of_token(token).await.map_err(unavailable)?;
        Ok(Resolved {
            user_id,
            roles: roles.into_iter().map(|r| r.name).collect(),
        })
    }

    async fn access_rules(&self, credential_id: &str) -> Result<Option<Vec<AccessRule>>, TokenError> {
        let mut q = self.state.reader();
        let found = application_credential::get(&mut q, credential_id)
            .await
            .map_err(unavailable)?;
        if found.is_none() {
            return Err(TokenError::Revoked);
        }
        let rules = access_rule::of_credential(&mut q, credential_id)
            .await
            .map_err(unavailable)?;
        let rules: Vec<AccessRule> = rules.into_iter().map(|r| r.rule).collect();
        // What a credential has is never taken from it, so none means that it
        // was made without.
        Ok(Some(rules).filter(|r| !r.is_empty()))
    }
}
