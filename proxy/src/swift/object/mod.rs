//! Requests about objects.
mod copy;
mod proof;
mod read;
mod write;

use std::sync::Arc;

use http::{Method, StatusCode};
use virga_object_wire::listing::ContainerInfo;
use virga_object_wire::object::{ObjectStat, PostMeta};

pub(super) use proof::PARAMETERS as PROOF_PARAMETERS;
pub(super) use read::{Bytestream, View, answer as read, respond, shown, view_of};
pub(super) use write::{Announced, Extra, announced_length, store};

use super::body::Answer;
use super::fault::Fault;
use super::headers::{self, Level};
use super::symlink;
use super::target::Target;
use super::upload::Upload;
use super::{Ctx, content_type, dlo, meta_value, methods, not_allowed, slo, versions};
use crate::core::{ContainerForReading, ObjectName, ReadObjectError};

/// Answers a request about an object.
pub async fn handle(ctx: Ctx, name: ObjectName, upload: Upload) -> Result<Answer, Fault> {
    match ctx.method.as_str() {
        "GET" | "HEAD" => read::answer(&ctx, &name).await,
        "PUT" => put(&ctx, &name, upload).await,
        "POST" => post(&ctx, &name).await,
        "DELETE" if ctx.query.is("multipart-manifest", "delete") => slo::delete(ctx, name).await,
        "DELETE" => delete(&ctx, &name).await,
        "COPY" => copy::copy_to(&ctx, &name).await,
        _ => Err(not_allowed(&methods::of(ctx.config(), &Target::Object(name)))),
    }
}

/// The container of an object that is to be read or written, if the caller
/// may. A stranger learns nothing of what exists.
///
/// # Errors
/// 401 or 403, then 404 if there is no such container.
pub(super) async fn authorized_container(
    ctx: &Ctx,
    method: &Method,
    name: &ObjectName,
) -> Result<Arc<ContainerInfo>, Fault> {
    let container = name.container_name();
    let info = match *method {
        Method::GET | Method::HEAD => match ctx.core().container_for_reading(&container).await? {
            ContainerForReading::Known(info) => info,
            ContainerForReading::Unsure { info, why } => {
                // Its access list may be outdated: it is not looked at, and whoever
                // would need it is neither let in nor sent away.
                let verdict = ctx.authorize_container(method, &container, true, None).await;
                return verdict.map(|_| info).map_err(|_| why.into());
            }
        },
        _ => ctx.core().container_info(&container).await?,
    };
    let list = match *method {
        Method::GET | Method::HEAD => "x-container-read",
        _ => "x-container-write",
    };
    let acl = info.as_ref().and_then(|info| meta_value(&info.meta, list));
    ctx.authorize_container(method, &container, true, acl).await?;
    info.ok_or_else(Fault::not_found)
}

/// Whether an object's time is over, for this request.
pub(super) fn expired(ctx: &Ctx, stat: &ObjectStat) -> bool {
    ctx.opening_expired.is_none() && stat.meta.delete_at.is_some_and(|at| at <= ctx.now.as_secs())
}

/// The head of an object that exists and whose time is not over.
///
/// # Errors
/// 404.
pub(super) async fn live_head(ctx: &Ctx, name: &ObjectName) -> Result<ObjectStat, Fault> {
    match ctx.core().head_object(name, false).await {
        Ok(stat) if !expired(ctx, &stat) => Ok(stat),
        Ok(_) | Err(ReadObjectError::NotFound { .. }) => Err(Fault::not_found()),
        Err(error) => Err(error.into()),
    }
}

/// Refuses the header by which manifests are known: clients do not set it.
fn refuse_flag(ctx: &Ctx) -> Result<(), Fault> {
    const SAYS: &str = "X-Static-Large-Object is a reserved header. To create a static large object add query param \
                        multipart-manifest=put.";
    match ctx.headers.contains_key("x-static-large-object") {
        true => Err(Fault::html(StatusCode::BAD_REQUEST, SAYS)),
        false => Ok(()),
    }
}

async fn put(ctx: &Ctx, name: &ObjectName, upload: Upload) -> Result<Answer, Fault> {
    if ctx.query.is("multipart-manifest", "put") {
        return slo::put(ctx, name, upload).await;
    }
    dlo::check_header(&ctx.headers)?;
    refuse_flag(ctx)?;
    if ctx
        .headers
        .get("x-copy-from")
        .is_some_and(|value| !value.is_empty())
    {
        return copy::copy_from(ctx, name, announced_length(&ctx.headers)).await;
    }
    if versions::handle::asked(ctx)?.is_some() {
        let info = authorized_container(ctx, &Method::PUT, name).await?;
        let length = announced_length(&ctx.headers);
        return versions::handle::restore(ctx, name, &info, (length, upload)).await;
    }
    if ctx.headers.contains_key(symlink::TARGET) {
        return symlink::put(ctx, name, announced_length(&ctx.headers), Some(upload)).await;
    }
    let length = announced_length(&ctx.headers);
    store(ctx, name, upload, length, Extra::default()).await
}

async fn post(ctx: &Ctx, name: &ObjectName) -> Result<Answer, Fault> {
    authorized_container(ctx, &Method::POST, name).await?;
    if ctx.headers.contains_key(symlink::TARGET) {
        return Err(Fault::bad("A PUT request is required to set a symlink target"));
    }
    refuse_flag(ctx)?;
    headers::check_metadata(&ctx.headers, Level::Object, &ctx.config().limits)?;
    let delete_at = headers::delete_at(&ctx.headers, ctx.now.as_secs())?;
    if ctx
        .headers
        .get("x-object-manifest")
        .is_some_and(|value| !value.is_empty())
    {
        dlo::check_header(&ctx.headers)?;
    }
    let content_type = match ctx.headers.get("content-type").filter(|value| !value.is_empty()) {
        Some(value) => {
            let kind =
                std::str::from_utf8(value.as_bytes()).map_err(|_| Fault::bad("Invalid Content-Type"))?;
            Some(content_type::without_swift_bytes(kind))
        }
        None => None,
    };
    let meta = PostMeta {
        content_type,
        delete_at,
        headers: headers::object_headers(&ctx.headers),
    };
    versions::handle::post(ctx, name, meta).await
}

/// Deletes one object, whatever it is.
pub(super) async fn delete(ctx: &Ctx, name: &ObjectName) -> Result<Answer, Fault> {
    let info = authorized_container(ctx, &Method::DELETE, name).await?;
    if let Some(wanted) = ctx.headers.get("x-if-delete-at") {
        let wanted = wanted
            .to_str()
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok());
        let wanted = wanted.ok_or_else(|| Fault::bad("Bad X-If-Delete-At header value"))?;
        if live_head(ctx, name).await?.meta.delete_at != Some(wanted) {
            return Err(Fault::precondition("X-If-Delete-At and X-Delete-At do not match"));
        }
    }
    versions::handle::delete(ctx, name, &info).await
}
