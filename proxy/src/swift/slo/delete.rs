//! DELETE with `?multipart-manifest=delete`: a manifest goes, and what it names.
//!
//! Usually segment by segment while the client waits, with a report. With
//! `async` the segments are given an end that has come already: nobody reads
//! them from then on, the workers of the storage hosts (`expire`) delete them
//! within seconds, as they delete whatever has expired, and the manifest goes
//! at once. Who asks again after an error finds the marked segments gone.
use std::collections::{BTreeSet, VecDeque};

use futures_util::{StreamExt, TryStreamExt, stream};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use virga_object_wire::listing::ContainerInfo;
use virga_object_wire::object::PostMeta;

use super::super::accept::{Format, report_format};
use super::super::body::Answer;
use super::super::fault::Fault;
use super::super::object;
use super::super::query::Query;
use super::super::report::heartbeat;
use super::super::symlink::{self, Walk};
use super::super::versions::{self, Keeping, handle::Asked};
use super::super::{Ctx, bulk, meta_value, target};
use super::view;
use crate::core::manifest::{Source, is_slo};
use crate::core::{ContainerName, ObjectName, PostObjectError};

/// Deletes a manifest and what it names.
///
/// # Errors
/// Only with `async`, else they are in the report: 400 for what is no manifest,
/// for segments that are manifests and for segments in several containers; 401,
/// 403 and 404.
pub async fn delete(ctx: Ctx, name: ObjectName) -> Result<Answer, Fault> {
    if ctx.query.truthy("async") {
        return delete_later(&ctx, &name).await;
    }
    let format = report_format(&ctx.headers, None);
    let shown = format.unwrap_or(Format::Text);
    let work = async move {
        let items = match (format, versions::handle::asked(&ctx)) {
            (None, _) => Err(bulk::not_acceptable()),
            (_, Ok(asked)) => segments_to_delete(&ctx, &name, asked).await,
            (_, Err(fault)) => Err(fault),
        };
        let report = match items {
            Ok(items) => bulk::run(&ctx, name.account(), items, usize::MAX).await,
            Err(fault) => bulk::failed(&fault),
        };
        report.write(shown, "delete")
    };
    let mut answer = Answer::new(heartbeat(work, shown, false).await);
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(shown.mime()));
    Ok(answer)
}

/// `async`: the segments end now, and are deleted by those who look for that.
async fn delete_later(ctx: &Ctx, name: &ObjectName) -> Result<Answer, Fault> {
    let entries = stored_entries(ctx, name, versions::handle::asked(ctx)?).await?;
    let containers: BTreeSet<&str> = entries.iter().map(|(segment, _)| segment.container()).collect();
    if containers.len() > 1 {
        let quoted: Vec<String> = containers
            .iter()
            .map(|container| format!("\"{}\"", target::quote(container)))
            .collect();
        let says = format!(
            "All segments must be in one container. Found segments in {}",
            quoted.join(", ")
        );
        return Err(Fault::html(StatusCode::BAD_REQUEST, says));
    }
    if entries.iter().any(|(_, nested)| *nested) {
        let says = "No segments may be large objects.";
        return Err(Fault::html(StatusCode::BAD_REQUEST, says));
    }
    object::authorized_container(ctx, &Method::DELETE, name).await?;
    if let Some((first, _)) = entries.first() {
        let container = first.container_name();
        if let Some(info) = writable(ctx, &container).await? {
            let info = &info;
            let segments: BTreeSet<ObjectName> = entries.into_iter().map(|(segment, _)| segment).collect();
            let work = segments.into_iter().map(|segment| end(ctx, info, segment));
            stream::iter(work)
                .buffer_unordered(ctx.config().bulk.delete_concurrency.max(1))
                .try_collect::<()>()
                .await?;
        }
    }
    object::delete(ctx, name).await
}

/// The container of the segments, if there is one and the caller may delete in it.
async fn writable(ctx: &Ctx, name: &ContainerName) -> Result<Option<std::sync::Arc<ContainerInfo>>, Fault> {
    let info = ctx.core().container_info(name).await?;
    let acl = info
        .as_ref()
        .and_then(|info| meta_value(&info.meta, "x-container-write"));
    ctx.authorize_container(&Method::DELETE, name, true, acl).await?;
    Ok(info)
}

/// Ends one segment. Where something is kept of what is deleted it is deleted as
/// by any DELETE: there is nothing that could be freed later.
async fn end(ctx: &Ctx, info: &ContainerInfo, segment: ObjectName) -> Result<(), Fault> {
    versions::handle::refuse_parts(info)?;
    if Keeping::of(info) != Keeping::Nothing {
        let own = ctx.derived(Method::DELETE, http::HeaderMap::new(), Query::default());
        return match versions::handle::delete(&own, &segment, info).await {
            Err(fault) if fault.status() != StatusCode::NOT_FOUND => Err(fault),
            Ok(_) | Err(_) => Ok(()),
        };
    }
    let ended = PostMeta {
        content_type: None,
        delete_at: Some(ctx.now.as_secs()),
        headers: Vec::new(),
    };
    // Asked again, replicas that have it already find what has expired.
    let core = ctx.core().opening_expired();
    match core.post_object(&segment, ended, None).await {
        Ok(_) | Err(PostObjectError::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Everything a manifest names, nested manifests included: segments first,
/// manifests after what they name.
async fn segments_to_delete(
    ctx: &Ctx,
    own: &ObjectName,
    version: Option<Asked>,
) -> Result<Vec<bulk::Item>, Fault> {
    let most = ctx.config().slo.max_manifest_segments.saturating_mul(10);
    let mut waiting = VecDeque::from([(own.clone(), version)]);
    let (mut items, mut manifests) = (Vec::new(), Vec::new());
    while let Some((name, version)) = waiting.pop_front() {
        if items.len() + waiting.len() > most {
            let says = "Too many buffered slo segments to delete.";
            return Err(Fault::html(StatusCode::BAD_REQUEST, says));
        }
        let path = format!("/{}/{}", name.container(), name.object());
        match stored_entries(ctx, &name, version).await {
            Ok(entries) => {
                for (segment, nested) in entries {
                    match nested {
                        true => waiting.push_back((segment, None)),
                        false => {
                            let path = format!("/{}/{}", segment.container(), segment.object());
                            items.push(bulk::Item::Name(path));
                        }
                    }
                }
                manifests.push(match version {
                    Some(Asked::Id(id)) => bulk::Item::Version(path, id),
                    Some(Asked::Null) | None => bulk::Item::Name(path),
                });
            }
            Err(fault) => manifests.push(bulk::Item::Failed(path, fault)),
        }
    }
    items.extend(manifests);
    Ok(items)
}

/// The segments of a stored manifest, and which of them are manifests.
async fn stored_entries(
    ctx: &Ctx,
    name: &ObjectName,
    version: Option<Asked>,
) -> Result<Vec<(ObjectName, bool)>, Fault> {
    let mut walk = Walk::from(name);
    if let Some(asked) = version {
        versions::handle::begin(ctx, &mut walk, asked).await?;
    }
    let stat = match symlink::head(ctx, &mut walk).await {
        Ok(stat) if is_slo(&stat) => stat,
        Ok(_) => return Err(Fault::html(StatusCode::BAD_REQUEST, "Not an SLO manifest")),
        Err(fault) if fault.status() == StatusCode::NOT_FOUND => {
            return Err(Fault::html(StatusCode::NOT_FOUND, "SLO manifest not found"));
        }
        Err(fault) if fault.status() == StatusCode::UNAUTHORIZED => {
            return Err(Fault::html(StatusCode::UNAUTHORIZED, "401 Unauthorized").challenged(name.account()));
        }
        Err(fault) => {
            return Err(Fault::html(
                fault.status(),
                "Unable to load SLO manifest or segment.",
            ));
        }
    };
    let large = view(ctx, walk.name(), &stat, None, true).await?;
    let named = large
        .plan
        .segments
        .into_iter()
        .filter_map(|segment| match segment.source {
            Source::Object(name) => Some((name, segment.nested)),
            Source::Inline(_) => None,
        });
    Ok(named.collect())
}
