//! Large objects: manifests, and what they are put together from.
//!
//! A static manifest (SLO) is a JSON document stored as an object's body; a
//! dynamic one (DLO) is a container and a prefix. Both become a [`Plan`], which
//! [`super::Core::open_segments`] reads. Requests for them are parsed and
//! validated by the dialect.
mod assemble;
mod plan;
mod slo;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use virga_object_wire::listing::{ContainerInfo, Entry, ListRequest};
use virga_object_wire::object::ObjectStat;

use super::error::{ListError, SegmentError};
use super::names::{ContainerName, ObjectName};
use super::{Core, GotObject};

pub use plan::{Plan, Segment, Source};
pub use slo::{BadManifest, SloEntry, SloManifest};

/// Whether the caller may read the objects of a container.
pub type MayRead = Arc<dyn Fn(&ContainerInfo) -> bool + Send + Sync>;

/// Manifests within manifests within ...: at most so deep.
pub const MAX_DEPTH: usize = 10;
/// Most segments of a dynamic large object.
pub const MAX_DLO_SEGMENTS: usize = 100_000;
/// Largest stored manifest, bytes.
pub const MAX_MANIFEST: u64 = 8 * 1024 * 1024;
/// Rows of one page when a prefix is listed.
const PAGE: u32 = 10_000;

/// Sysmeta item that marks a stored static manifest ("True").
pub const SLO_FLAG: &str = "x-static-large-object";
/// Sysmeta item that names the container and prefix of a dynamic manifest.
pub const DLO_MANIFEST: &str = "x-object-manifest";

/// Whether an object is a static manifest.
pub fn is_slo(stat: &ObjectStat) -> bool {
    stat.meta
        .sysmeta
        .iter()
        .any(|(name, value)| name == SLO_FLAG && value.eq_ignore_ascii_case("true"))
}

impl Core {
    /// The plan of a static large object from its stored manifest: the whole
    /// body of `manifest`, JSON as [`SloManifest`] writes it.
    ///
    /// # Errors
    /// [`SegmentError::Broken`] for what is no manifest.
    pub async fn read_slo(&self, name: &ObjectName, manifest: GotObject) -> Result<Plan, SegmentError> {
        let broken = |why: &dyn std::fmt::Display| SegmentError::Broken {
            path: name.path().to_owned(),
            why: why.to_string(),
        };
        if manifest.range != (0..manifest.stat.size) || manifest.stat.size > MAX_MANIFEST {
            return Err(broken(&"not read as a whole, or too large"));
        }
        let limit = usize::try_from(MAX_MANIFEST).unwrap_or(usize::MAX);
        let json = manifest
            .body
            .collect(limit)
            .await
            .map_err(|error| broken(&error))?;
        let manifest = SloManifest::from_json(&json).map_err(|error| broken(&error))?;
        manifest.plan(name.account()).map_err(|error| broken(&error))
    }

    /// The plan of a dynamic large object: all objects of `container` whose
    /// names start with `prefix`, in order of name.
    ///
    /// # Errors
    /// [`SegmentError::TooMany`], [`SegmentError::Missing`] without the
    /// container, [`SegmentError::Unavailable`].
    pub async fn read_dlo(&self, container: &ContainerName, prefix: &str) -> Result<Plan, SegmentError> {
        let mut plan = Plan::default();
        let mut list = ListRequest {
            prefix: prefix.to_owned(),
            limit: PAGE,
            ..ListRequest::default()
        };
        loop {
            let page = self
                .list_container(container, list.clone())
                .await
                .map_err(|error| match error {
                    ListError::NotFound => SegmentError::Missing(container.path().to_owned()),
                    ListError::Unavailable(error) => error.into(),
                })?;
            for entry in page.entries {
                let Entry::Row(row) = entry else { continue };
                let Ok(name) = container.object(&row.name) else {
                    continue;
                };
                list.marker = row.name;
                plan.segments.push(Segment {
                    source: Source::Object(name),
                    etag: Some(row.etag),
                    size: row.size,
                    range: 0..row.size,
                    nested: false,
                });
            }
            if plan.segments.len() > MAX_DLO_SEGMENTS {
                return Err(SegmentError::TooMany(MAX_DLO_SEGMENTS));
            }
            if !page.more {
                return Ok(plan);
            }
        }
    }

    /// The plan of the manifest that a segment is, for putting it together in
    /// turn. Boxed, as reading a manifest may end in reading a manifest.
    fn read_nested(
        &self,
        name: ObjectName,
        manifest: GotObject,
    ) -> BoxFuture<'_, Result<Plan, SegmentError>> {
        async move { self.read_slo(&name, manifest).await }.boxed()
    }
}
