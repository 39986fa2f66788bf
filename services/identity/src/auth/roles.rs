//! Which roles a user has on a scope, by name.
use std::sync::Arc;

use async_trait::async_trait;
use virga_identity_api::caller::Scope;
use virga_identity_api::local::RoleSource;
use virga_identity_api::verify::TokenError;
use virga_node::clock::Clock;
use virga_state::{State, StateError};

use crate::cached::Cached;
use crate::model::assignment;
use crate::model::role::{Role, RoleGraph};

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
}

#[async_trait]
impl RoleSource for RoleBook {
    async fn roles(&self, user_id: &str, scope: &Scope) -> Result<Vec<String>, TokenError> {
        let roles = self.effective(user_id, scope).await;
        let roles = roles.map_err(|e| TokenError::Unavailable(e.to_string()))?;
        Ok(roles.into_iter().map(|r| r.name).collect())
    }
}
