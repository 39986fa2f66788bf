//! Which roles a token stands for, by name.
//!
//! A user's own tokens stand for the roles that the user has on the scope: by
//! assignments of the user and the user's groups, inherited from above, and
//! implied. Tokens of an application credential or trust stand for the part of
//! them that it carries.
use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use virga_identity_api::access_rule::AccessRule;
use virga_identity_api::caller::{Delegation, Scope};
use virga_identity_api::local::RoleSource;
use virga_identity_api::payload::Payload;
use virga_identity_api::verify::TokenError;
use virga_node::clock::Clock;
use virga_state::{State, StateError};

use crate::cached::Cached;
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

    /// The cloud's own roles of `user` on `scope`, implied ones included,
    /// ordered by name.
    pub(crate) async fn effective(&self, user: &str, scope: &Scope) -> Result<Vec<Role>, StateError> {
        let ids = assignment::role_ids(&mut self.state.reader(), user, scope).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.graph().await?.effective(&ids).into_iter().cloned().collect())
    }

    /// Ids of all roles of `user` on `scope`, those of domains and implied ones
    /// included.
    pub(crate) async fn held(&self, user: &str, scope: &Scope) -> Result<BTreeSet<String>, StateError> {
        let ids = assignment::role_ids(&mut self.state.reader(), user, scope).await?;
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
        let mut carried = application_credential::role_ids(&mut self.state.reader(), id).await?;
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

    async fn of_token(&self, token: &Payload) -> Result<Vec<Role>, StateError> {
        match &token.delegation {
            None => self.effective(&token.user_id, &token.scope).await,
            Some(Delegation::ApplicationCredential { id, .. }) => {
                self.of_credential(id, &token.user_id, &token.scope).await
            }
            Some(Delegation::Trust { id }) => match trust::get(&mut self.state.reader(), id).await? {
                Some(given) => self.of_trust(&given).await,
                None => Ok(Vec::new()),
            },
        }
    }
}

fn unavailable(error: StateError) -> TokenError {
    TokenError::Unavailable(error.to_string())
}

#[async_trait]
impl RoleSource for RoleBook {
    async fn roles(&self, token: &Payload) -> Result<Vec<String>, TokenError> {
        let roles = self.of_token(token).await.map_err(unavailable)?;
        Ok(roles.into_iter().map(|r| r.name).collect())
    }

    async fn access_rules(&self, credential_id: &str) -> Result<Vec<AccessRule>, TokenError> {
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
        Ok(rules.into_iter().map(|r| r.rule).collect())
    }
}
