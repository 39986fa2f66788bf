//! Writing versions: a new one, a deletion, an older one made current again.
//!
//! The version is stored before the link that makes it the current one, so a
//! link always leads somewhere. What is left of a write that failed between the
//! two is a version more than was acknowledged, never one less.
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use virga_object_wire::object::{Listed, ObjectStat};

use super::link::{self, Target};
use super::name::{self, VersionId};
use super::{DELETED_TYPE, container};
use crate::core::{
    BodyError, Core, DeleteObjectError, GetOptions, NewObject, ObjectName, PutContainerError, PutObjectError,
    ReadObjectError, Stored,
};

/// A version that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its bytes.
    pub stored: Stored,
    /// Its id.
    pub id: VersionId,
}

/// Why a version was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The current object could not be read, to be kept (503).
    #[error("the current object cannot be kept: {0}")]
    Keep(#[from] ReadObjectError),
    /// The container of versions could not be made.
    #[error("the container of versions cannot be made: {0}")]
    Hidden(#[source] PutContainerError),
    /// There is no such version (404).
    #[error("no such version")]
    NoVersion,
    /// It could not be stored.
    #[error(transparent)]
    Put(#[from] PutObjectError),
    /// The link could not be deleted.
    #[error(transparent)]
    Delete(#[from] DeleteObjectError),
}

/// The head of an object; `None` if there is none.
///
/// # Errors
/// If it cannot be known.
pub async fn head(core: &Core, name: &ObjectName) -> Result<Option<ObjectStat>, ReadObjectError> {
    match core.head_object(name, true).await {
        Ok(stat) => Ok(Some(stat)),
        Err(ReadObjectError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Copies a stored object as it is, metadata and all, without when it is to go
/// unless `expiry` is wanted too.
///
/// # Errors
/// [`WriteError`]; `None` where there is nothing to copy.
pub async fn copy(
    core: &Core,
    from: &ObjectName,
    to: &ObjectName,
    expiry: bool,
) -> Result<Option<Stored>, WriteError> {
    let options = GetOptions {
        newest: true,
        ..GetOptions::default()
    };
    let got = match core.get_object(from, options).await {
        Ok(got) => got,
        Err(ReadObjectError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let meta = got.stat.meta;
    let new = NewObject {
        headers: meta.headers,
        sysmeta: meta.sysmeta,
        delete_at: meta.delete_at.filter(|_| expiry),
        listed: meta.listed,
        expected_size: Some(got.stat.size),
        expected_etag: Some(meta.etag),
        ..NewObject::new(meta.content_type)
    };
    let body = got.body.map_err(|error| BodyError::Source(error.to_string()));
    Ok(Some(core.put_object(to, new, body).await?))
}

/// Makes a version of the object that stands under `name`, if it is none yet:
/// it was stored while no versions were kept. Returns what stands there.
async fn keep_current(core: &Core, name: &ObjectName) -> Result<Option<ObjectStat>, WriteError> {
    container::make_sure_of(core, &name.container_name())
        .await
        .map_err(WriteError::Hidden)?;
    let now = core.hlc().clock().now().as_secs();
    let found = head(core, name).await?;
    // What has expired is gone, and is no version of anything.
    let Some(stat) = found.filter(|stat| stat.meta.delete_at.is_none_or(|at| at > now)) else {
        return Ok(None);
    };
    // The next id is to be larger than the one that is current.
    core.hlc().observe(stat.version);
    if let Some(id) = link::of(&stat) {
        core.hlc().observe(id.0);
    } else {
        let kept = name::object_of(name, VersionId(stat.version));
        copy(core, name, &kept, false).await?;
    }
    Ok(Some(stat))
}

/// Stores `body` as the new version of `name` and makes it the current one.
///
/// # Errors
/// [`WriteError`]; what was current still is.
pub async fn put<S>(
    core: &Core,
    name: &ObjectName,
    mut new: NewObject,
    body: S,
) -> Result<Written, WriteError>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Send,
{
    let current = keep_current(core, name).await?;
    let only_if_absent = std::mem::take(&mut new.if_none_match_any);
    if only_if_absent && current.is_some() {
        return Err(PutObjectError::Exists.into());
    }
    let id = VersionId(core.hlc().next());
    let delete_at = new.delete_at.take();
    let content_type = new.content_type.clone();
    let listed = new.listed.clone();
    let at = name::object_of(name, id);
    let stored = core.put_object(&at, new, body).await?;
    let own = || Listed {
        size: stored.size,
        etag: stored.etag.clone(),
    };
    let target = Target {
        id,
        content_type,
        listed: listed.unwrap_or_else(own),
    };
    let mut link = target.link(delete_at);
    link.if_none_match_any = only_if_absent;
    if let Err(error) = core.put_object(name, link, stream::empty()).await {
        // Not acknowledged: better not there. What fails here fails harmlessly.
        if let Err(error) = core.delete_object(&at, None).await {
            tracing::info!(%error, "a version that did not become current stays");
        }
        return Err(error.into());
    }
    Ok(Written { stored, id })
}

/// Makes the version `id` the current one again.
///
/// # Errors
/// [`WriteError::NoVersion`] where there is none, or it marks a deletion.
pub async fn restore(
    core: &Core,
    name: &ObjectName,
    id: VersionId,
    delete_at: Option<u64>,
) -> Result<Written, WriteError> {
    keep_current(core, name).await?;
    let found = head(core, &name::object_of(name, id)).await?;
    let stat = found
        .filter(|stat| stat.meta.content_type != DELETED_TYPE)
        .ok_or(WriteError::NoVersion)?;
    let link = Target::stored(id, &stat).link(delete_at);
    let linked = core.put_object(name, link, stream::empty()).await?;
    let stored = Stored {
        etag: stat.meta.etag.clone(),
        version: linked.version,
        size: stat.size,
        blake3: stat.blake3,
    };
    Ok(Written { stored, id })
}

/// A deletion that became a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The id of the deletion.
    pub id: VersionId,
    /// Whether there was an object.
    pub existed: bool,
}

/// Deletes the current object and leaves a version that says so.
///
/// # Errors
/// [`WriteError`].
pub async fn delete(core: &Core, name: &ObjectName) -> Result<Marked, WriteError> {
    keep_current(core, name).await?;
    let id = VersionId(core.hlc().next());
    let at = name::object_of(name, id);
    let marker = NewObject {
        expected_size: Some(0),
        ..NewObject::new(DELETED_TYPE)
    };
    core.put_object(&at, marker, stream::empty()).await?;
    let existed = core.delete_object(name, None).await?.existed;
    Ok(Marked { id, existed })
}

/// What the deletion of one version left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Whether there was such a version.
    pub existed: bool,
    /// The version that is current now; `None` if there is none, or an object
    /// without a version.
    pub current: Option<VersionId>,
}

/// Deletes the version `id` for good; the current object too if it is that.
///
/// # Errors
/// [`WriteError`].
pub async fn delete_version(core: &Core, name: &ObjectName, id: VersionId) -> Result<Removed, WriteError> {
    let stat = head(core, name).await?;
    let current = stat.as_ref().and_then(link::of);
    if current == Some(id) {
        // The link first: one that leads nowhere would be an object that cannot be read.
        core.delete_object(name, None).await?;
    }
    let removed = core.delete_object(&name::object_of(name, id), None).await;
    let existed = match removed {
        Ok(deleted) => deleted.existed,
        Err(DeleteObjectError::NoContainer) => false,
        Err(error) => return Err(error.into()),
    };
    Ok(Removed {
        existed,
        current: current.filter(|current| *current != id),
    })
}
