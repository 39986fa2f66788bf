//! Which roles a token stands for, by name.
//!
//! A user's own tokens stand for the roles that the user has on the scope: by
//! assignments of the user and the user's groups (those that an identity
//! provider gave count too), inherited from above, and implied. Tokens of an
//! application credential or trust stand for the part of them that it carries.
use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use virga_identity_api::access_rule::AccessRule;
use virga_identity_api::caller::{Delegation, Scope};
use virga_identity_api::local::{Resolved, RoleSource};
use virga_identity_api::payload::Payload;
use virga_identity_api::verify::TokenError;
use virga_node::clock::Micros;
use virga_state::{Reader, State, StateError};

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
    pub(crate) fn new(state: State) -> Self {
        Self {
            graph: Cached::new(state.clone()),
            state,
        }
    }

    /// All roles and implications.
    pub(crate) async fn graph(&self) -> Result<Arc<RoleGraph>, StateError> {
        Ok(self.dated_graph().await?.0)
    }

    async fn dated_graph(&self) -> Result<(Arc<RoleGraph>, Micros), StateError> {
        let mut reader = self.state.reader();
        self.graph
            .get(|| async move { RoleGraph::load(&mut reader).await })
            .await
    }

    /// As [`RoleBook::graph`], for an answer that stands on what `q` read too,
    /// and from memory only if `q` may.
    async fn graph_with(&self, q: &mut Reader) -> Result<Arc<RoleGraph>, StateError> {
        if !q.recalls() {
            return Ok(Arc::new(RoleGraph::load(q).await?));
        }
        let (graph, at) = self.dated_graph().await?;
        q.stands_on(at);
        Ok(graph)
    }

    /// The cloud's own roles of `user`, who is in `groups` besides those of the
    /// records, on `scope`, implied ones included, ordered by name.
    pub(crate) async fn effective(
        &self,
        q: &mut Reader,
        user: &str,
        groups: &[String],
        scope: &Scope,
    ) -> Result<Vec<Role>, StateError> {
        let actors = Actors::of(q, user, groups, self.state.now()).await?;
        let ids = assignment::role_ids(q, &actors, scope).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let graph = self.graph_with(q).await?;
        Ok(graph.effective(&ids).into_iter().cloned().collect())
    }

    /// Ids of all roles of `user` on `scope`, those of domains and implied ones
    /// included.
    pub(crate) async fn held(
        &self,
        q: &mut Reader,
        user: &str,
        scope: &Scope,
    ) -> Result<BTreeSet<String>, StateError> {
        let actors = Actors::of(q, user, &[], self.state.now()).await?;
        let ids = assignment::role_ids(q, &actors, scope).await?;
        Ok(self.graph_with(q).await?.expand(&ids))
    }

    /// The roles of an application credential that its user still has, ordered
    /// by name.
    pub(crate) async fn of_credential(
        &self,
        q: &mut Reader,
        id: &str,
        user: &str,
        scope: &Scope,
    ) -> Result<Vec<Role>, StateError> {
        let carried = application_credential::role_ids(q, id).await?;
        self.still_held(q, carried, user, scope).await
    }

    /// The roles of an access token that its user still has, ordered by name.
    pub(crate) async fn of_access_token(
        &self,
        q: &mut Reader,
        token: &OauthToken,
    ) -> Result<Vec<Role>, StateError> {
        let user = token.user_id.as_deref().unwrap_or_default();
        let scope = Scope::Project(token.project_id.clone());
        self.still_held(q, token.role_ids.clone(), user, &scope).await
    }

    async fn still_held(
        &self,
        q: &mut Reader,
        mut carried: Vec<String>,
        user: &str,
        scope: &Scope,
    ) -> Result<Vec<Role>, StateError> {
        let held = self.held(q, user, scope).await?;
        carried.retain(|role| held.contains(role));
        let graph = self.graph_with(q).await?;
        let mut roles: Vec<Role> = carried.iter().filter_map(|id| graph.role(id)).cloned().collect();
        roles.retain(|r| r.domain_id.is_none());
        roles.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(roles)
    }

    /// The roles of a trust, ordered by name; none if whoever gave them first
    /// does not have all of them any more.
    pub(crate) async fn of_trust(&self, q: &mut Reader, given: &Trust) -> Result<Vec<Role>, StateError> {
        let carried = trust::role_ids(q, &given.id).await?;
        let chain = trust::pedigree(q, given).await?;
        let (Some(first), Some(project)) = (chain.last(), &given.project_id) else {
            return Ok(Vec::new());
        };
        let scope = Scope::Project(project.clone());
        let held = self.held(q, &first.trustor_user_id, &scope).await?;
        let graph = self.graph_with(q).await?;
        let wanted = graph.expand(&carried);
        if wanted.is_subset(&held) {
            Ok(graph.effective(&carried).into_iter().cloned().collect())
        } else {
            Ok(Vec::new())
        }
    }

    async fn of_token(&self, token: &Payload) -> Result<(String, Vec<Role>), StateError> {
        let user = token.user_id.clone();
        let q = &mut self.state.reader();
        let roles = match &token.delegation {
            None => {
                let groups = token.federation.as_ref().map_or(&[][..], |by| &by.groups);
                self.effective(q, &user, groups, &token.scope).await?
            }
            Some(Delegation::ApplicationCredential { id, .. }) => {
                self.of_credential(q, id, &user, &token.scope).await?
            }
            Some(Delegation::Trust { id }) => match trust::get(q, id).await? {
                // Keystone's tokens name the trustee, whom it was given to.
                Some(given) if given.impersonation => {
                    let roles = self.of_trust(q, &given).await?;
                    return Ok((given.trustor_user_id, roles));
                }
                Some(given) => self.of_trust(q, &given).await?,
                None => Vec::new(),
            },
            Some(Delegation::AccessToken { id }) => {
                let found = oauth_token::get(q, Kind::Access, id, self.state.now()).await?;
                match found {
                    Some(given) => self.of_access_token(q, &given).await?,
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
