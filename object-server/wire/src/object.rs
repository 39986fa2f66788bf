//! Messages about objects.
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use virga_node::clock::Version;
use virga_ring::hash::NameHash;
use virga_ring::{Partition, RingEpoch};

use crate::error::NodeError;

/// Where an object, container or account lies on a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct At {
    /// Name of the device, as the ring says it ("d1").
    pub device: Arc<str>,
    /// Storage policy index of an object, which says its ring; 0 for containers
    /// and accounts.
    pub policy: u32,
    /// Partition of the name in its ring.
    pub partition: Partition,
    /// Hash of the name.
    pub hash: NameHash,
    /// The ring that the asker places by: [`RingEpoch::NONE`] for a device's
    /// own call to itself. A node refuses those that have been given up.
    pub ring: RingEpoch,
}

/// A header stored with an object: name in lower case, and value.
pub type Header = (String, String);

/// Everything stored about an object beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ObjectMeta {
    /// "account/container/object", so that a record explains itself.
    pub path: String,
    /// MIME type.
    pub content_type: String,
    /// What the API calls the ETag, without quotes (hex MD5 of the bytes).
    pub etag: String,
    /// Unix time in seconds from which on the object is gone.
    pub delete_at: Option<u64>,
    /// User metadata and the headers a POST replaces as a whole
    /// (`x-object-meta-*`, `content-encoding`, `content-disposition`, ...).
    pub headers: Vec<Header>,
    /// What the proxy stores for itself and a POST never touches
    /// (`x-static-large-object`, `x-object-sysmeta-*`, `x-object-manifest`, ...).
    pub sysmeta: Vec<Header>,
    /// What the container's row says in place of the record's own size and
    /// ETag (manifests).
    pub listed: Option<Listed>,
}

/// Size and ETag that a listing shows in place of the record's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Bytes.
    pub size: u64,
    /// ETag as the listing shows it.
    pub etag: String,
}

/// A metadata update (POST): replaces `headers` and `delete_at` as a whole,
/// and the content type if one is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct PostMeta {
    /// New content type; `None` keeps the old.
    pub content_type: Option<String>,
    /// New expiry; `None` removes it.
    pub delete_at: Option<u64>,
    /// New headers, all of them.
    pub headers: Vec<Header>,
}

/// The head of a stored object: its newest data with its newest metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectStat {
    /// Version of the data.
    pub version: Version,
    /// Version of the newest metadata: that of the data, or of a later POST.
    pub meta_version: Version,
    /// Version of the content type: that of the data, or of the newest POST that
    /// named one.
    pub type_version: Version,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of the bytes.
    pub blake3: [u8; 32],
    /// Metadata with the newest POST applied.
    pub meta: ObjectMeta,
}

/// What a node knows of a name. A read asks two nodes and believes the newer.
#[allow(
    clippy::large_enum_variant,
    reason = "one a probe, moved at once; a box would cost every hit"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// An object.
    Object(ObjectStat),
    /// It was deleted at this version.
    Deleted(Version),
    /// The node never heard of it (or has forgotten its deletion).
    Absent,
}

impl Found {
    /// The version that decides between answers: newest metadata of an
    /// object, version of a deletion, zero when absent.
    pub fn version(&self) -> Version {
        match self {
            Self::Object(stat) => stat.meta_version,
            Self::Deleted(version) => *version,
            Self::Absent => Version(0),
        }
    }
}

/// What is to be stored beside the bytes of a PUT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutObject {
    /// Version of the new object.
    pub version: Version,
    /// Bytes in all.
    pub size: u64,
    /// BLAKE3 of all bytes.
    pub blake3: [u8; 32],
    /// Metadata.
    pub meta: ObjectMeta,
    /// Set when this node stands in for a primary: the ring id of that device.
    pub handoff_for: Option<u32>,
    /// Who sends it.
    pub source: Source,
}

/// Who sends an object to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Source {
    /// Somebody who stores it: refused with `Newer` if newer data, or a newer
    /// deletion, is known of the name, and the node owes the container the row.
    #[default]
    Client,
    /// Another replica, which has it: the newest data and the newest metadata
    /// are merged each for itself, in whatever order they come.
    Replica {
        /// Whether the sender still owes the container the row; then so does the
        /// receiver. Otherwise the container's quorum has it.
        row_owed: bool,
    },
}

/// What a DELETE found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Whether there was an object before.
    pub existed: bool,
    /// Version of the data or deletion that was there before: of several
    /// replicas the one with the largest knows what was. Zero if there was
    /// nothing, or this deletion came before already.
    pub before: Version,
}

/// Most subtree values in one answer: a GiB of an object, half a head.
pub const MAX_SUBTREES: u32 = 1024;

/// Which extents' subtree values are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtreesRequest {
    /// Version of the object's data.
    pub version: Version,
    /// BLAKE3 of the object.
    pub blake3: [u8; 32],
    /// Number of the first extent, counted from the object's start.
    pub first: u32,
    /// How many, from 1 to [`MAX_SUBTREES`]; extents past the end are left out.
    pub count: u32,
}

impl SubtreesRequest {
    /// Whether the request is within its bounds.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(&self) -> Result<(), NodeError> {
        match self.count {
            1..=MAX_SUBTREES => Ok(()),
            count => Err(NodeError::Invalid(format!(
                "{count} subtree values, from 1 to {MAX_SUBTREES} can be had at once"
            ))),
        }
    }

    /// The answer for an object of one extent or less, which has no stored values.
    pub fn too_small() -> NodeError {
        NodeError::Invalid("the object is no larger than one extent".into())
    }
}

/// A container row that a node owes and no longer needs to: the quorum of the
/// container has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Storage policy of the object.
    pub policy: u32,
    /// Partition of the object.
    pub partition: Partition,
    /// Hash of the object's name.
    pub hash: NameHash,
    /// Version whose row is settled.
    pub version: Version,
}
