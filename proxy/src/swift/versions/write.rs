//! Writing versions: a new one, a deletion, an older one made current again.
//!
//! The version is stored before the link that makes it the current one, so a
//! link always leads somewhere. What is left of a write that failed between the
//! two is a version more than was acknowledged, never one less.
//!
//! A link is stored under its version's id as its own version: of writes and
//! deletions at the same time the one with the newest id is current, whichever
//! ends last, and the first of an object's versions is the current one.
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use virga_object_wire::object::{Listed, ObjectStat};

use super::link::{self, Target};
use super::name::{self, VersionId};
use super::{DELETED_TYPE, container, stack};
use crate::core::{
    BodyError, Core, DeleteObjectError, GetOptions, ListError, NewObject, ObjectName, PutContainerError,
    PutObjectError, ReadObjectError, Stored,
};

/// The MD5 of nothing.
const EMPTY_ETAG: &str = "d41d8cd98f00b204e9800998ecf8427e";

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
    /// It must stay: a retention or a legal hold (403).
    #[error("the version is locked")]
    Locked,
    /// The other versions could not be listed (503).
    #[error("the versions cannot be listed: {0}")]
    List(#[from] ListError),
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
    copy_as(core, from, to, expiry, false).await
}

/// The same; `null` marks the copy as what was stored while no versions were kept.
async fn copy_as(
    core: &Core,
    from: &ObjectName,
    to: &ObjectName,
    expiry: bool,
    null: bool,
) -> Result<Option<Stored>, WriteError> {
    // Sealed objects too, of which nobody may know the key.
    let core = &core.as_stored();
    let options = GetOptions {
        newest: true,
        ..GetOptions::default()
    };
    let got = match core.get_object(from, options).await {
        Ok(got) => got,
        Err(ReadObjectError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let own = Listed {
        size: got.stat.size,
        etag: got.stat.meta.etag.clone(),
    };
    let mut meta = got.stat.meta;
    if null {
        meta.sysmeta.push(stack::null_header());
        meta.listed = Some(stack::null_listed(meta.listed.unwrap_or(own)));
    }
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
    // The next id is to be larger than all that stood here, also by another
    // proxy's clock.
    let found = match core.head_object(name, true).await {
        Ok(stat) => Some(stat),
        Err(ReadObjectError::NotFound { deleted }) => {
            if let Some(deleted) = deleted {
                core.hlc().observe(deleted);
            }
            None
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(stat) = &found {
        core.hlc().observe(stat.version.max(stat.meta_version));
        if let Some(id) = link::of(stat) {
            core.hlc().observe(id.0);
        }
    }
    // What has expired is gone, and is no version of anything.
    let Some(stat) = found.filter(|stat| stat.meta.delete_at.is_none_or(|at| at > now)) else {
        return Ok(None);
    };
    if link::of(&stat).is_none() {
        let kept = name::object_of(name, VersionId(stat.version));
        copy_as(core, name, &kept, false, true).await?;
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
    link.version = Some(id.0);
    link.if_none_match_any = only_if_absent;
    match core.put_object(name, link.clone(), stream::empty()).await {
        Ok(_) => {}
        Err(PutObjectError::Newer(_)) => settle(core, name, id, link).await?,
        Err(error) => {
            // Not acknowledged: better not there. What fails here fails harmlessly.
            if let Err(error) = core.delete_object(&at, None).await {
                tracing::info!(%error, "a version that did not become current stays");
            }
            return Err(error.into());
        }
    }
    Ok(Written { stored, id })
}

/// Something newer stands where the link to `id` was to stand. A newer version,
/// a deletion or an object without a version stays; an older version that was
/// made current before ours was there makes room.
async fn settle(
    core: &Core,
    name: &ObjectName,
    id: VersionId,
    mut link: NewObject,
) -> Result<(), WriteError> {
    let goes_before = match head(core, name).await? {
        Some(stat) => link::of(&stat).is_some_and(|current| current < id),
        None => {
            let newest = stack::find(core, name, |_| true).await?;
            newest.is_some_and(|newest| newest.id == id)
        }
    };
    if goes_before {
        link.version = None;
        core.put_object(name, link, stream::empty()).await?;
    }
    Ok(())
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
    let existed = match core.delete_object(name, Some(id.0)).await {
        Ok(deleted) => deleted.existed,
        // Somebody stored a newer version meanwhile.
        Err(DeleteObjectError::Newer(_)) => true,
        Err(error) => return Err(error.into()),
    };
    Ok(Marked { id, existed })
}

/// Deletes what stands under the name and its version from the time when none
/// were kept, and leaves a version of that kind which says so.
///
/// # Errors
/// [`WriteError`].
pub async fn delete_as_null(core: &Core, name: &ObjectName) -> Result<VersionId, WriteError> {
    container::make_sure_of(core, &name.container_name())
        .await
        .map_err(WriteError::Hidden)?;
    if let Some(stat) = head(core, name).await? {
        core.hlc().observe(stat.version);
    }
    let id = VersionId(core.hlc().next());
    let empty = Listed {
        size: 0,
        etag: EMPTY_ETAG.to_owned(),
    };
    let marker = NewObject {
        expected_size: Some(0),
        sysmeta: vec![stack::null_header()],
        listed: Some(stack::null_listed(empty)),
        ..NewObject::new(DELETED_TYPE)
    };
    core.put_object(&name::object_of(name, id), marker, stream::empty())
        .await?;
    match core.delete_object(name, Some(id.0)).await {
        Ok(_) | Err(DeleteObjectError::Newer(_)) => Ok(id),
        Err(error) => Err(error.into()),
    }
}

/// Deletes the version `id` for good. If it was the current one, or marked the
/// deletion of what came before, the newest that is left becomes current, as
/// S3 has it.
///
/// # Errors
/// [`WriteError`]; nobody finds less than before.
pub async fn pop(core: &Core, name: &ObjectName, id: VersionId) -> Result<(), WriteError> {
    let stat = head(core, name).await?;
    let current = stat.as_ref().and_then(link::of);
    if let Some(stat) = &stat {
        core.hlc().observe(stat.version);
    }
    if stat.is_none() || current == Some(id) {
        promote(core, name, Some(id), current.is_some()).await?;
    }
    match core.delete_object(&name::object_of(name, id), None).await {
        Ok(_) | Err(DeleteObjectError::NoContainer) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes the newest version that is left, but for `without`, the current one;
/// where none is left or it marks a deletion, nothing is current: `stands` says
/// whether something has to go for that.
///
/// # Errors
/// [`WriteError`].
pub async fn promote(
    core: &Core,
    name: &ObjectName,
    without: Option<VersionId>,
    stands: bool,
) -> Result<(), WriteError> {
    // Before the versions are looked at: what is stored meanwhile is newer.
    let stamp = core.hlc().next();
    let next = stack::find(core, name, |kept| Some(kept.id) != without).await?;
    let done = match next {
        Some(kept) if !kept.is_marker() => {
            let mut link = kept.target().link(None);
            link.version = Some(stamp);
            core.put_object(name, link, stream::empty()).await.map(|_| ())
        }
        _ if stands => match core.delete_object(name, Some(stamp)).await {
            Ok(_) | Err(DeleteObjectError::Newer(_)) => Ok(()),
            Err(error) => return Err(error.into()),
        },
        _ => Ok(()),
    };
    match done {
        Ok(()) | Err(PutObjectError::Newer(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
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
