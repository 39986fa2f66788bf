//! The two kinds of rows: objects in a container, containers in an account.
use async_trait::async_trait;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::{AccountInfo, ContainerInfo, ContainerRow, ListRequest, ObjectRow, Page};
use virga_object_wire::node::ObjectNode;
use virga_object_wire::object::At;

use super::super::infos::Info;

/// A row of a listing: how to ask for it, when it lives, how two merge.
#[async_trait]
pub(in super::super) trait Row: Clone + Send + Sync + 'static {
    /// What is known of the listing beside its rows.
    type Info: Info;

    /// A page from one node.
    async fn list(
        node: &dyn ObjectNode,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<Self::Info, Self>, NodeError>;

    /// What one node knows beside the rows.
    async fn head(node: &dyn ObjectNode, at: &At) -> Result<Self::Info, NodeError>;

    /// Name of the row.
    fn name(&self) -> &str;

    /// Whether clients see it.
    fn is_live(&self, info: &Self::Info) -> bool;

    /// What a replica would hold that had heard of both.
    fn merge(self, other: Self) -> Self;
}

#[async_trait]
impl Row for ObjectRow {
    type Info = ContainerInfo;

    async fn list(
        node: &dyn ObjectNode,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<Self::Info, Self>, NodeError> {
        node.list_container(at, list).await
    }

    async fn head(node: &dyn ObjectNode, at: &At) -> Result<Self::Info, NodeError> {
        node.head_container(at).await
    }

    fn name(&self) -> &str {
        &self.name
    }

    /// The deletion of a container ends no row: a live row in a deleted one is
    /// one that the deletion did not know of.
    fn is_live(&self, _: &Self::Info) -> bool {
        !self.deleted
    }

    fn merge(self, other: Self) -> Self {
        if self.rank() >= other.rank() { self } else { other }
    }
}

#[async_trait]
impl Row for ContainerRow {
    type Info = AccountInfo;

    async fn list(
        node: &dyn ObjectNode,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<Self::Info, Self>, NodeError> {
        node.list_account(at, list).await
    }

    async fn head(node: &dyn ObjectNode, at: &At) -> Result<Self::Info, NodeError> {
        node.head_account(at).await
    }

    fn name(&self) -> &str {
        &self.name
    }

    /// Containers older than the account's deletion died with it.
    fn is_live(&self, info: &Self::Info) -> bool {
        self.put > self.deleted && self.put > info.deleted()
    }

    fn merge(mut self, other: Self) -> Self {
        if (other.put, other.policy) > (self.put, self.policy) {
            (self.put, self.policy) = (other.put, other.policy);
        }
        self.deleted = self.deleted.max(other.deleted);
        if (other.counted, other.objects, other.bytes) > (self.counted, self.objects, self.bytes) {
            (self.counted, self.objects, self.bytes) = (other.counted, other.objects, other.bytes);
        }
        self
    }
}
