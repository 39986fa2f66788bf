//! Large objects: manifests, and what they are put together from.
//!
//! A static manifest (SLO) is a JSON document stored as an object's body; a
//! dynamic one (DLO) is a container and a prefix. Both become a [`Plan`], which
//! [`super::Core::open_segments`] reads. Requests for them are parsed and
//! validated by the dialect.
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use virga_object_wire::listing::ContainerInfo;

use super::ObjectName;

/// Whether the caller may read the objects of a container.
pub type MayRead = Arc<dyn Fn(&ContainerInfo) -> bool + Send + Sync>;

/// Manifests within manifests within ...: at most so deep.
pub const MAX_DEPTH: usize = 10;
/// Most segments of a dynamic large object.
pub const MAX_DLO_SEGMENTS: usize = 100_000;
/// Largest stored manifest, bytes.
pub const MAX_MANIFEST: u64 = 8 * 1024 * 1024;

/// One entry of a static manifest as it is stored, in Swift's JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SloEntry {
    /// "/container/object"; absent for inline data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// ETag of the segment (of a nested manifest: its large-object ETag).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Bytes of the whole segment object (of a nested manifest: assembled).
    #[serde(default)]
    pub bytes: u64,
    /// MIME type of the segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// When the segment was written, as listings show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// Part of the segment that is used: "first-last", both inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// Whether the segment is itself a static manifest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sub_slo: bool,
    /// Inline data, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// A stored static manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct SloManifest {
    /// Entries in order.
    pub entries: Vec<SloEntry>,
}

/// Where a segment's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In an object.
    Object(ObjectName),
    /// Here.
    Inline(Bytes),
}

/// One piece of a large object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where its bytes are.
    pub source: Source,
    /// ETag the segment must have, if known.
    pub etag: Option<String>,
    /// Size the whole segment must have.
    pub size: u64,
    /// The part of it that is used.
    pub range: Range<u64>,
    /// Whether it is a static manifest to be put together in turn.
    pub nested: bool,
}

/// What a large object is put together from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// Segments in order.
    pub segments: Vec<Segment>,
}

/// Sysmeta item that marks a stored static manifest.
pub const SLO_FLAG: &str = "x-static-large-object";
/// Sysmeta item that names the container and prefix of a dynamic manifest.
pub const DLO_MANIFEST: &str = "x-object-manifest";

/// Whether an object is a static manifest.
pub fn is_slo(stat: &virga_object_wire::object::ObjectStat) -> bool {
    stat.meta
        .sysmeta
        .iter()
        .any(|(name, value)| name == SLO_FLAG && value.eq_ignore_ascii_case("true"))
}
