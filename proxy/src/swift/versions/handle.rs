//! Requests for one version of an object (`?version-id=`), and what the
//! ordinary ones do where versions are kept.
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, StatusCode};
use virga_object_wire::listing::ContainerInfo;
use virga_object_wire::object::{ObjectStat, PostMeta};

use super::name::{self, VersionId};
use super::write::{self, WriteError};
use super::{DELETED_TYPE, ID_HEADER, Keeping, NULL_ID, legacy, link, lock};
use crate::core::ObjectName;
use crate::swift::body::Answer;
use crate::swift::fault::Fault;
use crate::swift::object::{Announced, live_head};
use crate::swift::symlink::{self, Link, Walk};
use crate::swift::upload::Upload;
use crate::swift::{Ctx, conditional::format_date, done, headers, timestamp};

/// The version that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// What was stored while no versions were kept.
    Null,
    /// This one.
    Id(VersionId),
}

/// The version that the query names, if it names one.
///
/// # Errors
/// 400 for what is no id.
pub fn asked(ctx: &Ctx) -> Result<Option<Asked>, Fault> {
    match ctx.query.text("version-id")?.filter(|id| !id.is_empty()) {
        None => Ok(None),
        Some(NULL_ID) => Ok(Some(Asked::Null)),
        Some(text) => match VersionId::parse(text) {
            Some(id) => Ok(Some(Asked::Id(id))),
            None => Err(Fault::bad("Invalid version parameter")),
        },
    }
}

fn require(info: &ContainerInfo) -> Result<(), Fault> {
    match Keeping::has_versions(info) {
        true => Ok(()),
        false => Err(Fault::bad(
            "version-aware operations require that the container is versioned",
        )),
    }
}

/// The header with a version's id.
pub fn id_header(id: VersionId) -> (HeaderName, HeaderValue) {
    (
        HeaderName::from_static(ID_HEADER),
        headers::to_value(&id.to_string()),
    )
}

/// Lets a walk begin at the version that is asked for. Only who may read the
/// container by their token alone may read what its access list never covered.
///
/// # Errors
/// 401, 403, 404, or 400 where there never were versions.
pub async fn begin(ctx: &Ctx, walk: &mut Walk, asked: Asked) -> Result<(), Fault> {
    let id = match asked {
        Asked::Null => {
            walk.only_without_version();
            return Ok(());
        }
        Asked::Id(id) => id,
    };
    let container = walk.name().container_name();
    ctx.authorize_container(&ctx.method, &container, true, None)
        .await?;
    let info = ctx.core().container_info(&container).await?;
    require(&*info.ok_or_else(Fault::not_found)?)?;
    walk.begin_at(id);
    Ok(())
}

/// 404 for a version that marks a deletion, nothing for others.
///
/// # Errors
/// That 404, which says what it is.
pub fn refuse_marker(stat: &ObjectStat, id: VersionId) -> Result<(), Fault> {
    if stat.meta.content_type != DELETED_TYPE {
        return Ok(());
    }
    let (header, value) = id_header(id);
    Err(Fault::not_found()
        .with(header, value)
        .with(CONTENT_TYPE, HeaderValue::from_static(DELETED_TYPE)))
}

/// PUT with `?version-id=`: makes that version the current one.
///
/// # Errors
/// 400 for a body and for what is no id, 404 without such a version.
pub async fn restore(
    ctx: &Ctx,
    name: &ObjectName,
    info: &ContainerInfo,
    (announced, upload): (Announced, Upload),
) -> Result<Answer, Fault> {
    let id = match asked(ctx)? {
        Some(Asked::Id(id)) => id,
        Some(Asked::Null) | None => return Err(Fault::bad("Invalid version parameter")),
    };
    require(info)?;
    let has_body = || Fault::bad("PUT version-id requests require a zero byte body");
    match announced {
        Announced::Length(0) => {}
        Announced::Length(_) => return Err(has_body()),
        Announced::Chunked => {
            let mut upload = upload;
            let read = upload.read_all(0).await;
            read.map_err(|fault| match fault.status() {
                StatusCode::PAYLOAD_TOO_LARGE => has_body(),
                _ => fault,
            })?;
        }
        Announced::Nothing => return Err(Fault::page(StatusCode::LENGTH_REQUIRED)),
        Announced::Unknown => return Err(Fault::page(StatusCode::NOT_IMPLEMENTED)),
    }
    let delete_at = headers::delete_at(&ctx.headers, ctx.now.as_secs())?;
    let written = write::restore(ctx.core(), name, id, delete_at).await?;
    let mut answer = done(StatusCode::CREATED);
    let (header, value) = id_header(written.id);
    answer.headers_mut().insert(header, value);
    let etag = headers::to_value(&written.stored.etag);
    answer.headers_mut().insert(http::header::ETAG, etag);
    let modified = format_date(timestamp::last_modified(written.stored.version));
    answer
        .headers_mut()
        .insert(http::header::LAST_MODIFIED, headers::to_value(&modified));
    Ok(answer)
}

/// Deletes what a request names in a container with this info.
///
/// # Errors
/// 404 where there was nothing, 400 for what is no id.
pub async fn delete(ctx: &Ctx, name: &ObjectName, info: &ContainerInfo) -> Result<Answer, Fault> {
    let core = ctx.core();
    let keeping = Keeping::of(info);
    refuse_parts(info)?;
    let existed = match (asked(ctx)?, keeping) {
        (Some(Asked::Id(id)), _) => return delete_version(ctx, name, info, id).await,
        (None, Keeping::Versions) => {
            let marked = write::delete(core, name).await?;
            let (header, value) = id_header(marked.id);
            return match marked.existed {
                true => {
                    let mut answer = done(StatusCode::NO_CONTENT);
                    answer.headers_mut().insert(header, value);
                    Ok(answer)
                }
                false => Err(Fault::not_found().with(header, value)),
            };
        }
        (_, Keeping::Stack(location)) => legacy::delete_popping(core, name, &location).await?,
        (_, Keeping::History(location)) => legacy::delete_noted(core, name, &location).await?,
        (Some(Asked::Null), Keeping::Versions) | (_, Keeping::Nothing | Keeping::Suspended) => {
            lock::guard(core, info, name, false).await?;
            core.delete_object(name, None).await?.existed
        }
    };
    match existed {
        true => Ok(done(StatusCode::NO_CONTENT)),
        false => Err(Fault::not_found()),
    }
}

/// Refuses to change the parts of locked objects.
///
/// # Errors
/// 403.
pub fn refuse_parts(info: &ContainerInfo) -> Result<(), Fault> {
    match lock::holds_parts(info) {
        true => Err(Fault::plain(
            StatusCode::FORBIDDEN,
            "Locked objects are made of what is in this container. Delete them by S3.",
        )),
        false => Ok(()),
    }
}

async fn delete_version(
    ctx: &Ctx,
    name: &ObjectName,
    info: &ContainerInfo,
    id: VersionId,
) -> Result<Answer, Fault> {
    ctx.authorize_container(&Method::DELETE, &name.container_name(), true, None)
        .await?;
    require(info)?;
    lock::guard(ctx.core(), info, &name::object_of(name, id), false).await?;
    let removed = write::delete_version(ctx.core(), name, id).await?;
    let current = removed
        .current
        .map_or_else(|| NULL_ID.to_owned(), |id| id.to_string());
    let current = (
        HeaderName::from_static("x-object-current-version-id"),
        headers::to_value(&current),
    );
    let shown = id_header(id);
    match removed.existed {
        true => {
            let mut answer = done(StatusCode::NO_CONTENT);
            answer.headers_mut().extend([shown, current]);
            Ok(answer)
        }
        false => Err(Fault::not_found()
            .with(shown.0, shown.1)
            .with(current.0, current.1)),
    }
}

/// POST: the current version gets the metadata, the link that leads to it the
/// rest. When an object is to go is the link's matter: its versions stay.
///
/// # Errors
/// 404, or 307 if it is a symbolic link.
pub async fn post(ctx: &Ctx, name: &ObjectName, meta: PostMeta) -> Result<Answer, Fault> {
    if asked(ctx)?.is_some() {
        return Err(Fault::bad("POST to a specific version is not allowed"));
    }
    let found = live_head(ctx, name).await?;
    let core = ctx.core();
    let stat = match link::of(&found) {
        None => {
            refuse_locked(ctx, &found)?;
            core.post_object(name, keeping_transient(meta, found), None)
                .await?
        }
        Some(id) => {
            let at = name::object_of(name, id);
            let version = live_head(ctx, &at).await?;
            refuse_locked(ctx, &version)?;
            let of_link = PostMeta {
                headers: Vec::new(),
                ..meta.clone()
            };
            core.post_object(name, of_link, None).await?;
            let of_version = PostMeta {
                delete_at: None,
                ..meta
            };
            core.post_object(&at, keeping_transient(of_version, version), None)
                .await?
        }
    };
    match Link::of(&stat) {
        Some(link) => Err(symlink::redirected(&link, name)),
        None => Ok(done(StatusCode::ACCEPTED)),
    }
}

/// The metadata of a locked version stays as it is, as its bytes do.
fn refuse_locked(ctx: &Ctx, stat: &ObjectStat) -> Result<(), Fault> {
    match lock::Lock::of(stat).keeps(ctx.now.as_secs(), false) {
        true => Err(WriteError::Locked.into()),
        false => Ok(()),
    }
}

/// What the other dialect stores beside the client's headers stays.
fn keeping_transient(mut meta: PostMeta, found: ObjectStat) -> PostMeta {
    let kept = found.meta.headers.into_iter();
    meta.headers
        .extend(kept.filter(|(name, _)| name.starts_with(headers::TRANSIENT)));
    meta
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        use crate::core::PutObjectError;
        match error {
            WriteError::Keep(error) => {
                tracing::warn!(%error, "an object cannot be kept as a version");
                Self::page(StatusCode::SERVICE_UNAVAILABLE)
            }
            WriteError::NoVersion => {
                Self::plain(StatusCode::NOT_FOUND, "The specified version does not exist")
            }
            WriteError::Locked => Self::plain(
                StatusCode::FORBIDDEN,
                "The version is locked: a retention or a legal hold of S3 keeps it.",
            ),
            WriteError::List(error) => error.into(),
            WriteError::Hidden(error) => error.into(),
            // Where copies are to go is not there.
            WriteError::Put(PutObjectError::NoContainer) => Self::page(StatusCode::PRECONDITION_FAILED),
            WriteError::Put(error) => error.into(),
            WriteError::Delete(error) => error.into(),
        }
    }
}
