//! The core of the object proxy: everything between a dialect and the nodes.
//!
//! A dialect (Swift, later S3) turns a request into names and values and calls
//! [`Core`]: where replicas lie, how many must answer, what is done when one
//! is dead, slow, stale or damaged, how listings of two replicas are merged,
//! how large objects are put together. Everything said here holds after any
//! one of three replicas fails: an acknowledged write is on a quorum and is
//! seen by every later read and listing.
//!
//! The core knows no HTTP, no users and no permissions, and opens no sockets:
//! it calls nodes through [`virga_object_wire::node::Nodes`].
mod error;
pub mod manifest;
mod names;
mod settings;

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use virga_node::clock::{Hlc, Version};
use virga_node::task::Tasks;
use virga_object_wire::listing::{
    AccountInfo, ContainerInfo, ContainerRow, Created, Entry, ListRequest, ObjectRow, Page,
};
use virga_object_wire::node::Nodes;
use virga_object_wire::object::{Header, Listed, ObjectStat, PostMeta};
use virga_ring::{HashPath, RingHandle};

pub use error::{
    BodyError, BodyReadError, DeleteContainerError, DeleteObjectError, ListError, PostMetaError,
    PostObjectError, PutContainerError, PutObjectError, ReadObjectError, SegmentError, Unavailable,
};
pub use names::{AccountName, BadName, ContainerName, ObjectName};
pub use settings::Settings;

/// The rings of a cluster and the secret its names are hashed with.
pub struct Rings {
    /// Hash of names.
    pub hash: HashPath,
    /// Where accounts lie.
    pub account: Arc<RingHandle>,
    /// Where containers lie.
    pub container: Arc<RingHandle>,
    /// Where objects lie, by storage policy index.
    pub object: Vec<(u32, Arc<RingHandle>)>,
}

/// What a [`Core`] is made of.
pub struct CoreParts {
    /// Placement.
    pub rings: Rings,
    /// The nodes.
    pub nodes: Arc<dyn Nodes>,
    /// Versions.
    pub hlc: Arc<Hlc>,
    /// Where background work runs.
    pub tasks: Tasks,
    /// Bounds and waits.
    pub settings: Settings,
}

/// An object to be stored.
#[derive(Clone, Debug)]
pub struct NewObject {
    /// MIME type.
    pub content_type: String,
    /// User metadata and what a POST replaces, names in lower case.
    pub headers: Vec<Header>,
    /// What the dialect stores for itself and a POST never touches.
    pub sysmeta: Vec<Header>,
    /// Unix time in seconds from which on the object is gone.
    pub delete_at: Option<u64>,
    /// Size and ETag that the listing shows instead of the body's own.
    pub listed: Option<Listed>,
    /// Length announced (`Content-Length`); a body of another length is refused.
    pub expected_size: Option<u64>,
    /// Hex MD5 announced (`ETag`), lower case; other bytes are refused.
    pub expected_etag: Option<String>,
    /// Largest body allowed, bytes.
    pub max_size: u64,
    /// Version asked for (`X-Timestamp`): never restamped.
    pub version: Option<Version>,
    /// Store only if there is no such object (`If-None-Match: *`). Looked up
    /// before the first byte of the body is read.
    pub if_none_match_any: bool,
}

impl NewObject {
    /// An object of this type with no metadata, no expectations and no limit.
    pub fn new(content_type: impl Into<String>) -> Self {
        Self {
            content_type: content_type.into(),
            headers: Vec::new(),
            sysmeta: Vec::new(),
            delete_at: None,
            listed: None,
            expected_size: None,
            expected_etag: None,
            max_size: u64::MAX,
            version: None,
            if_none_match_any: false,
        }
    }
}

/// An object that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Hex MD5 of the bytes.
    pub etag: String,
    /// Version it got.
    pub version: Version,
    /// Bytes.
    pub size: u64,
}

/// Which bytes of an object are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Wanted {
    /// All of them.
    #[default]
    All,
    /// From this offset to the end ("bytes=5-").
    From(u64),
    /// `start..end`, end exclusive; cut at the object's end ("bytes=5-9" is 5, 10).
    Span(u64, u64),
    /// The last so many ("bytes=-5").
    Last(u64),
}

impl Wanted {
    /// The bytes of an object of `size` bytes that this means; empty when the
    /// range lies beyond the end (416).
    pub fn within(self, size: u64) -> Range<u64> {
        match self {
            Self::All => 0..size,
            Self::From(start) => start.min(size)..size,
            Self::Span(start, end) => {
                let end = end.min(size);
                start.min(end)..end
            }
            Self::Last(n) => size.saturating_sub(n)..size,
        }
    }
}

/// How an object is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GetOptions {
    /// Which bytes.
    pub wanted: Wanted,
    /// Ask every replica for its version, not just a quorum (`X-Newest`).
    pub newest: bool,
}

/// An object being read.
#[derive(Debug)]
pub struct GotObject {
    /// Its head: newest metadata known to the replicas that were asked.
    pub stat: ObjectStat,
    /// The bytes that the body delivers; empty when the wanted range lies
    /// beyond the end.
    pub range: Range<u64>,
    /// The bytes, verified, cut to `range`.
    pub body: ObjectBody,
}

/// Verified bytes of an object: exactly the promised ones, then the end; or an
/// error, after which nothing comes. Goes on from another replica by itself
/// when one fails.
pub struct ObjectBody {
    inner: Pin<Box<dyn Stream<Item = Result<Bytes, BodyReadError>> + Send>>,
}

impl std::fmt::Debug for ObjectBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectBody").finish_non_exhaustive()
    }
}

impl ObjectBody {
    /// All bytes, if they are here already (small objects): the dialect can
    /// then answer without a stream. The body is empty afterwards.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        None
    }
}

impl Stream for ObjectBody {
    type Item = Result<Bytes, BodyReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.as_mut().poll_next(cx)
    }
}

/// What a DELETE did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletedObject {
    /// Version of the deletion.
    pub version: Version,
    /// Whether there was an object (if not: 404).
    pub existed: bool,
}

/// Metadata to set on a container or account: name in lower case, and value;
/// an empty value removes the item.
pub type MetaChange = (String, String);

/// A page of a container as a client sees it: live rows and prefixes only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<I, R> {
    /// What is known of the container or account.
    pub info: I,
    /// Entries in the order asked for, at most as many as the limit.
    pub entries: Vec<Entry<R>>,
    /// Whether more may follow the last entry.
    pub more: bool,
}

/// The proxy's view of the cluster; see the module. Cheap to clone.
#[derive(Clone)]
pub struct Core {
    shared: Arc<CoreParts>,
}

#[allow(unused_variables, missing_docs, clippy::todo, reason = "the bodies land in the next commits")]
impl Core {
    /// Puts the parts together. Starts no task before the first request.
    pub fn new(parts: CoreParts) -> Self {
        Self { shared: Arc::new(parts) }
    }

    /// The clock of versions (`X-Timestamp` of answers).
    pub fn hlc(&self) -> &Arc<Hlc> {
        &self.shared.hlc
    }

    /// Indexes of the storage policies this proxy has rings for, ascending.
    pub fn policies(&self) -> Vec<u32> {
        todo!()
    }

    /// Stores an object and waits until a quorum of replicas has it on stable
    /// storage and (for a bounded time) until its container lists it.
    /// Dropping the future before it ends leaves nothing visible, unless all
    /// bytes were there already.
    pub async fn put_object<S>(
        &self,
        name: &ObjectName,
        new: NewObject,
        body: S,
    ) -> Result<Stored, PutObjectError>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send,
    {
        todo!()
    }

    /// Reads an object: the newest version that a read quorum knows of.
    pub async fn get_object(&self, name: &ObjectName, options: GetOptions) -> Result<GotObject, ReadObjectError> {
        todo!()
    }

    /// Bytes `range` of exactly the version that `stat` names, opened when the
    /// body is first polled: for the further ranges of a multi-range answer.
    pub fn read_range(&self, name: &ObjectName, stat: &ObjectStat, range: Range<u64>) -> ObjectBody {
        todo!()
    }

    /// The head of an object; `newest` asks every replica (`X-Newest`).
    pub async fn head_object(&self, name: &ObjectName, newest: bool) -> Result<ObjectStat, ReadObjectError> {
        todo!()
    }

    /// Replaces the metadata of an object. Returns its head afterwards.
    pub async fn post_object(
        &self,
        name: &ObjectName,
        meta: PostMeta,
        version: Option<Version>,
    ) -> Result<ObjectStat, PostObjectError> {
        todo!()
    }

    /// Deletes an object, whether or not it exists.
    pub async fn delete_object(
        &self,
        name: &ObjectName,
        version: Option<Version>,
    ) -> Result<DeletedObject, DeleteObjectError> {
        todo!()
    }

    /// Stores what `source` delivers as a new object. The dialect decides on
    /// `new` (which metadata of the source goes along).
    pub async fn copy_object(
        &self,
        source: ObjectBody,
        name: &ObjectName,
        new: NewObject,
    ) -> Result<Stored, PutObjectError> {
        todo!()
    }

    /// Makes a container or changes its metadata; makes its account if need
    /// be. `policy`: `None` takes the default, or that of the existing one.
    pub async fn put_container(
        &self,
        name: &ContainerName,
        policy: Option<u32>,
        meta: Vec<MetaChange>,
    ) -> Result<Created, PutContainerError> {
        todo!()
    }

    /// Changes the metadata of a container that exists.
    pub async fn post_container(&self, name: &ContainerName, meta: Vec<MetaChange>) -> Result<(), PostMetaError> {
        todo!()
    }

    /// Deletes an empty container.
    pub async fn delete_container(&self, name: &ContainerName) -> Result<(), DeleteContainerError> {
        todo!()
    }

    /// Info of a container, fresh from a read quorum.
    pub async fn head_container(&self, name: &ContainerName) -> Result<ContainerInfo, ListError> {
        todo!()
    }

    /// Info of a container for checks on the way to an object (permissions,
    /// policy, existence): at most [`Settings::info_ttl`] old, own changes seen
    /// at once, its counts approximate. `None` if there is no such container.
    pub async fn container_info(&self, name: &ContainerName) -> Result<Option<Arc<ContainerInfo>>, Unavailable> {
        todo!()
    }

    /// A page of a container.
    pub async fn list_container(
        &self,
        name: &ContainerName,
        list: ListRequest,
    ) -> Result<Listing<ContainerInfo, ObjectRow>, ListError> {
        todo!()
    }

    /// Makes an account or changes its metadata.
    pub async fn put_account(&self, name: &AccountName, meta: Vec<MetaChange>) -> Result<Created, Unavailable> {
        todo!()
    }

    /// Changes the metadata of an account; makes it if accounts make themselves.
    pub async fn post_account(&self, name: &AccountName, meta: Vec<MetaChange>) -> Result<(), PostMetaError> {
        todo!()
    }

    /// Deletes an account; its containers are reaped later.
    pub async fn delete_account(&self, name: &AccountName) -> Result<(), PostMetaError> {
        todo!()
    }

    /// Info of an account, fresh from a read quorum.
    pub async fn head_account(&self, name: &AccountName) -> Result<AccountInfo, ListError> {
        todo!()
    }

    /// Info of an account for checks: see [`Core::container_info`].
    pub async fn account_info(&self, name: &AccountName) -> Result<Option<Arc<AccountInfo>>, Unavailable> {
        todo!()
    }

    /// A page of an account's containers.
    pub async fn list_account(
        &self,
        name: &AccountName,
        list: ListRequest,
    ) -> Result<Listing<AccountInfo, ContainerRow>, ListError> {
        todo!()
    }

    /// The plan of a static large object from its stored manifest (the body
    /// of `manifest`, JSON as [`manifest::SloManifest`] writes it).
    pub async fn read_slo(&self, name: &ObjectName, manifest: GotObject) -> Result<manifest::Plan, SegmentError> {
        todo!()
    }

    /// The plan of a dynamic large object: all objects of `container` whose
    /// names start with `prefix`, in order of name.
    pub async fn read_dlo(&self, container: &ContainerName, prefix: &str) -> Result<manifest::Plan, SegmentError> {
        todo!()
    }

    /// Bytes `range` of a large object. The first segment is opened before
    /// this returns, so that its failure can still be told by a status code;
    /// later ones come as [`BodyReadError::Segment`]. `may_read` is asked
    /// about the container of every segment.
    pub async fn open_segments(
        &self,
        plan: manifest::Plan,
        range: Range<u64>,
        may_read: manifest::MayRead,
    ) -> Result<ObjectBody, SegmentError> {
        todo!()
    }
}
