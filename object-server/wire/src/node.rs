//! The trait through which every node is called, in this process or across
//! the network.
//!
//! All calls are idempotent under their version: the same request twice
//! leaves the same state. An `Ok` of a call that changes something means: on
//! stable storage of that device (invariant I1).
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use virga_node::clock::Version;
use virga_ring::{Device, Partition};

use crate::admin::{AdminAnswer, AdminRequest};
use crate::checked::Checked;
use crate::error::NodeError;
use crate::hold::Hold;
use crate::listing::{
    AccountInfo, ContainerInfo, ContainerRow, Created, ListRequest, ListingKind, ListingState, ListingSum,
    ListingSums, MetaItem, ObjectRow, Page, PartSums, PutAccount, PutContainer, RowRange, RowSums,
    ShardsRequest,
};
use crate::movement::{Movement, NamesPage, NamesRequest, NewerRing, Push, Records, RingName, Sum, Sums};
use crate::object::{At, Deleted, Found, ObjectStat, PostMeta, PutObject, Settled, SubtreesRequest};
pub use crate::status::{Cause, DeviceState, DeviceStatus, Reason};

/// Pieces of a body, each on a block boundary, each already verified by the
/// node that read it. At most [`crate::checked::EXTENT`] bytes a piece.
pub type Body = Pin<Box<dyn Stream<Item = Result<Checked, NodeError>> + Send>>;

/// Which bytes of an object are wanted: `start..end`, end exclusive. The
/// pieces returned cover whole blocks; the reader cuts what lies outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

/// An object being read.
pub struct ObjectRead {
    /// Its head. `version` names the data that the body comes from.
    pub stat: ObjectStat,
    /// First byte of the first piece: the wanted start rounded down to a block.
    pub body_start: u64,
    /// The bytes.
    pub body: Body,
}

/// What a read found.
#[allow(
    clippy::large_enum_variant,
    reason = "one a read, moved at once; a box would cost every hit"
)]
pub enum Read {
    /// The object and its bytes.
    Object(ObjectRead),
    /// No object: the version says how recently it was deleted, if ever.
    Gone(Option<Version>),
}

/// A large object on its way in: extents are stored as they come, nothing is
/// visible before the commit. Dropping it gives the object up.
#[async_trait]
pub trait PutStream: Send {
    /// Stores the next piece: a multiple of [`crate::checked::BLOCK`] bytes,
    /// the last one any length, at most [`crate::checked::EXTENT`].
    /// Returning means "taken", not "durable": there is a bound on what is
    /// taken and not yet written.
    async fn send(&mut self, piece: Checked) -> Result<(), NodeError>;

    /// Makes everything durable, then visible. May be called again with a
    /// newer version after [`NodeError::Newer`].
    async fn commit(&mut self, put: PutObject) -> Result<(), NodeError>;
}

/// One object server: objects, containers and accounts on its devices.
#[async_trait]
pub trait ObjectNode: Send + Sync + 'static {
    /// Stores an object of at most [`crate::checked::EXTENT`] bytes.
    async fn put(&self, at: &At, put: PutObject, body: Checked) -> Result<(), NodeError>;

    /// Starts a larger object.
    async fn begin_put(&self, at: &At) -> Result<Box<dyn PutStream>, NodeError>;

    /// Reads an object; `None` means all of it. A span past the end is cut.
    async fn get(&self, at: &At, span: Option<Span>) -> Result<Read, NodeError>;

    /// As [`Self::get`], also of an object whose time is over and that has not
    /// been deleted for it yet. An empty span asks for the head alone.
    async fn get_expired_too(&self, at: &At, span: Option<Span>) -> Result<Read, NodeError>;

    /// What the node knows of the name, from the index and the record's head.
    async fn head(&self, at: &At) -> Result<Found, NodeError>;

    /// BLAKE3 subtree values (non-root chaining values) of extents of an object
    /// that is larger than one, as they were stored with the bytes: the bytes
    /// are not read. `NotFound` if the node holds other data under the name.
    async fn subtrees(&self, at: &At, wanted: SubtreesRequest) -> Result<Vec<[u8; 32]>, NodeError>;

    /// The records of the name as they were written, without bytes: empty where
    /// the node knows nothing.
    async fn records(&self, at: &At) -> Result<Records, NodeError>;

    /// Replaces the metadata of an object that exists.
    async fn post(&self, at: &At, version: Version, meta: PostMeta) -> Result<ObjectStat, NodeError>;

    /// As [`Self::post`], to an object whose time is over too: the new metadata
    /// say whether it still is.
    async fn post_expired_too(
        &self,
        at: &At,
        version: Version,
        meta: PostMeta,
    ) -> Result<ObjectStat, NodeError>;

    /// Marks an object deleted, whether or not this node has heard of it.
    /// `path` ("account/container/object") lets the node pay the row it owes.
    async fn delete(&self, at: &At, version: Version, path: &str) -> Result<Deleted, NodeError>;

    /// Holds a name for a while, prolongs that, or gives it up: whether the holder
    /// has it now, or another has. Kept in memory alone.
    async fn hold(&self, at: &At, hold: Hold) -> Result<bool, NodeError>;

    /// The container's quorum has these rows; the node owes them no longer.
    async fn settle(&self, device: &Arc<str>, rows: Vec<Settled>) -> Result<(), NodeError>;

    /// Makes a container, or updates its metadata.
    async fn put_container(&self, at: &At, put: PutContainer) -> Result<Created, NodeError>;

    /// Updates the metadata of a container that exists.
    async fn post_container(&self, at: &At, version: Version, meta: Vec<MetaItem>) -> Result<(), NodeError>;

    /// Deletes a container that has no live rows here. The deletion ends the
    /// container and its metadata, never a row: a live row that this node has
    /// not heard of yet stays live when it comes, whatever its version.
    async fn delete_container(&self, at: &At, version: Version) -> Result<(), NodeError>;

    /// What the node knows of a container, also when it is deleted or was
    /// never heard of: [`ContainerInfo::exists`] says so.
    async fn head_container(&self, at: &At) -> Result<ContainerInfo, NodeError>;

    /// A page of a container's objects, whether or not the container exists:
    /// its PUT may have passed this node by.
    async fn list_container(
        &self,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<ContainerInfo, ObjectRow>, NodeError>;

    /// Writes object rows, also if the container is deleted or unknown here
    /// (its PUT may still be on the way).
    async fn put_object_rows(&self, at: &At, rows: Vec<ObjectRow>) -> Result<(), NodeError>;

    /// Makes an account, or updates its metadata.
    async fn put_account(&self, at: &At, put: PutAccount) -> Result<Created, NodeError>;

    /// Deletes an account (its containers are reaped later).
    async fn delete_account(&self, at: &At, version: Version) -> Result<(), NodeError>;

    /// What the node knows of an account, as with [`Self::head_container`].
    async fn head_account(&self, at: &At) -> Result<AccountInfo, NodeError>;

    /// A page of an account's containers, whether or not the account exists.
    /// Rows whose PUT is not newer than the account's deletion died with it.
    async fn list_account(
        &self,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<AccountInfo, ContainerRow>, NodeError>;

    /// Writes container rows; fields are merged one by one, larger version wins.
    async fn put_container_rows(&self, at: &At, rows: Vec<ContainerRow>) -> Result<(), NodeError>;

    /// How the node's devices are doing.
    async fn status(&self) -> Result<Vec<DeviceStatus>, NodeError>;

    /// What an operator asks of a device.
    async fn admin(&self, device: &Arc<str>, request: AdminRequest) -> Result<AdminAnswer, NodeError>;

    /// How far each device has come with each ring.
    async fn movement(&self) -> Result<Vec<Movement>, NodeError>;

    /// The file of the ring that the node uses, if its version is above `above`.
    async fn ring_file(&self, ring: RingName, above: u64) -> Result<Option<Vec<u8>>, NodeError>;

    /// Tells the node that there is a newer ring, and where; it fetches it by
    /// itself, later.
    async fn hear_of_ring(&self, newer: NewerRing) -> Result<(), NodeError>;

    /// Sums over what a device knows of the objects in these partitions.
    async fn sums(
        &self,
        device: &Arc<str>,
        policy: u32,
        partitions: Vec<Partition>,
    ) -> Result<Sums, NodeError>;

    /// Sums of the buckets of a partition that hold anything, by bucket.
    async fn bucket_sums(
        &self,
        device: &Arc<str>,
        policy: u32,
        partition: Partition,
    ) -> Result<Vec<(u8, Sum)>, NodeError>;

    /// What a device knows of the names in a partition.
    async fn names(&self, device: &Arc<str>, wanted: NamesRequest) -> Result<NamesPage, NodeError>;

    /// Takes a deletion or a metadata update that another replica has. `Ok` also
    /// if something newer is here.
    async fn push(&self, at: &At, push: Push) -> Result<(), NodeError>;

    /// Sums over what a device knows of the accounts or containers in these
    /// partitions of a ring that has 2^`power` of them.
    async fn listing_sums(
        &self,
        device: &Arc<str>,
        kind: ListingKind,
        power: u8,
        partitions: Vec<Partition>,
    ) -> Result<ListingSums, NodeError>;

    /// At most `limit` accounts or containers of such a partition behind
    /// `after`, with their sums, in the order of their hash.
    async fn listing_shards(
        &self,
        device: &Arc<str>,
        kind: ListingKind,
        wanted: ShardsRequest,
    ) -> Result<Vec<ListingSum>, NodeError>;

    /// What the node knows of an account or container beside its rows; `None`
    /// if nothing.
    async fn listing_state(&self, kind: ListingKind, at: &At) -> Result<Option<ListingState>, NodeError>;

    /// Sums over parts of the rows of an account or container.
    async fn listing_parts(
        &self,
        kind: ListingKind,
        at: &At,
        range: RowRange,
        level: u8,
    ) -> Result<PartSums, NodeError>;

    /// At most `limit` rows of an account or container, each in few bytes.
    async fn listing_rows(
        &self,
        kind: ListingKind,
        at: &At,
        range: RowRange,
        limit: u32,
    ) -> Result<RowSums, NodeError>;

    /// Takes what another replica knows of an account or container beside its
    /// rows. `Ok` also if something newer is here.
    async fn merge_listing(&self, kind: ListingKind, at: &At, told: ListingState) -> Result<(), NodeError>;
}

/// From a device of the ring to the node that holds it.
pub trait Nodes: Send + Sync + 'static {
    /// The node at the device's address: one in this process, or a client.
    fn node(&self, device: &Device) -> Arc<dyn ObjectNode>;
}
