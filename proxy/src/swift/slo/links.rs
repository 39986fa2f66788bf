//! Static large objects whose segments are symbolic links.
//!
//! The core reads segments by their names and knows no links. A manifest that
//! named a link when it was stored is marked; before it is read, its links are
//! replaced by what they lead to. A segment that became a link later is a
//! changed segment (409).
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use http::StatusCode;

use super::super::Ctx;
use super::super::fault::Fault;
use super::super::object::Bytestream;
use super::super::symlink::{self, Walk};
use super::Large;
use crate::core::ObjectName;
use crate::core::manifest::{MAX_DEPTH, Plan, Segment, Source, is_slo};

/// The segments of a marked manifest, without links, and who may read them.
///
/// # Errors
/// 409 if a link leads nowhere, or to where the caller may not read.
pub async fn resolve(ctx: &Ctx, name: &ObjectName, plan: Plan) -> Result<Bytestream, Fault> {
    let segments = flatten(ctx, name.account().to_owned(), plan, 1)
        .await
        .map_err(|fault| match fault.status().is_server_error() {
            true => fault,
            false => Fault::page(StatusCode::CONFLICT),
        })?;
    // All of these were asked about on the way to them.
    let granted: HashSet<(String, String)> = segments
        .iter()
        .filter_map(|segment| match &segment.source {
            Source::Object(name) => Some((name.account().to_owned(), name.container().to_owned())),
            Source::Inline(_) => None,
        })
        .collect();
    let others = ctx.may_read(name.account()).await;
    let may_read = move |info: &virga_object_wire::listing::ContainerInfo| {
        granted.contains(&(info.account.clone(), info.container.clone())) || others(info)
    };
    Ok(Bytestream::Plan(Plan { segments }, Arc::new(may_read)))
}

fn flatten(
    ctx: &Ctx,
    account: String,
    plan: Plan,
    depth: usize,
) -> BoxFuture<'_, Result<Vec<Segment>, Fault>> {
    async move {
        let account = account.as_str();
        let looks = plan
            .segments
            .into_iter()
            .map(|segment| one(ctx, account, segment, depth));
        let found: Vec<Vec<Segment>> = stream::iter(looks)
            .buffered(ctx.config().slo.concurrency.max(1))
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }
    .boxed()
}

/// What a segment stands for. A manifest stays one segment unless there are
/// links in it or it lies in another account than `account`, whose access
/// lists the reader of the whole was not checked against.
async fn one(ctx: &Ctx, account: &str, mut segment: Segment, depth: usize) -> Result<Vec<Segment>, Fault> {
    let Source::Object(name) = &segment.source else {
        return Ok(vec![segment]);
    };
    let mut walk = Walk::from(name);
    let stat = symlink::head(ctx, &mut walk).await?;
    let name = walk.name().clone();
    segment.source = Source::Object(name.clone());
    if !segment.nested || !is_slo(&stat) {
        return Ok(vec![segment]);
    }
    let Large { view, plan, linked } = super::view(ctx, &name, &stat, None, true).await?;
    if !linked && name.account() == account {
        return Ok(vec![segment]);
    }
    let same = segment.etag.as_ref().is_none_or(|etag| *etag == view.etag);
    if depth >= MAX_DEPTH || plan.size() != segment.size || !same {
        return Err(Fault::page(StatusCode::CONFLICT));
    }
    let inner = flatten(ctx, name.account().to_owned(), plan, depth + 1).await?;
    Ok(cut(inner, &segment.range))
}

/// The segments that bytes `range` of the whole lie in, each cut to them.
fn cut(segments: Vec<Segment>, range: &Range<u64>) -> Vec<Segment> {
    let mut start = 0;
    let mut wanted = Vec::new();
    for mut segment in segments {
        let end = start + (segment.range.end - segment.range.start);
        let (from, to) = (range.start.max(start), range.end.min(end));
        if from < to {
            let used = segment.range.start;
            segment.range = used + (from - start)..used + (to - start);
            wanted.push(segment);
        }
        start = end;
    }
    wanted
}
