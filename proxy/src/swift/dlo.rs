//! Dynamic large objects: all objects whose names start alike, one after another.
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use md5::{Digest as _, Md5};
use virga_object_wire::listing::ContainerInfo;
use virga_object_wire::object::ObjectStat;

use super::conditional::unquote_etag;
use super::fault::Fault;
use super::object::{View, view_of};
use super::versions::{self, link::LinkRow};
use super::{Ctx, meta_value, target};
use crate::core::manifest::{DLO_MANIFEST, MayRead, Plan, Source};
use crate::core::{ContainerName, ObjectName};

/// Refuses an `X-Object-Manifest` that is no container and prefix.
///
/// # Errors
/// 400.
pub fn check_header(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(value) = headers.get(DLO_MANIFEST) else {
        return Ok(());
    };
    let good = std::str::from_utf8(value.as_bytes()).is_ok_and(|value| {
        value.split_once('/').is_some_and(|(container, prefix)| {
            !container.is_empty()
                && !prefix.is_empty()
                && !prefix.starts_with('/')
                && !value.contains(['?', '&'])
        })
    });
    match good {
        true => Ok(()),
        false => {
            let says = "X-Object-Manifest must be in the format container/prefix";
            Err(Fault::html(StatusCode::BAD_REQUEST, says))
        }
    }
}

/// The container and prefix that a stored object stands for, if it does.
pub fn manifest_of(stat: &ObjectStat) -> Option<String> {
    let mut all = stat.meta.headers.iter().chain(&stat.meta.sysmeta);
    all.find(|(name, value)| name == DLO_MANIFEST && !value.is_empty())
        .map(|(_, value)| value.clone())
}

/// The large object as a client sees it, its plan, and who may read that.
///
/// # Errors
/// 401, 403 or 404 as for the listing of the segments' container.
pub async fn view(
    ctx: &Ctx,
    name: &ObjectName,
    stat: &ObjectStat,
    manifest: &str,
) -> Result<(View, Plan, MayRead), Fault> {
    let decoded = target::percent_decode_utf8(manifest).unwrap_or_default();
    let (container, prefix) = decoded
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or_default();
    let container =
        ContainerName::new(name.account(), container).map_err(|_| Fault::page(StatusCode::CONFLICT))?;
    let info = ctx.core().container_info(&container).await?;
    let acl = info
        .as_ref()
        .and_then(|info| meta_value(&info.meta, "x-container-read"));
    ctx.authorize_container(&Method::GET, &container, false, acl)
        .await?;
    let info = info.ok_or_else(Fault::not_found)?;
    let mut plan = ctx.core().read_dlo(&container, prefix).await?;
    let others = ctx.may_read(name.account()).await;
    let may_read = match lead_to_versions(&mut plan, &container) {
        false => others,
        true => {
            // Who may read an object may read its current version.
            let hidden = versions::name::container_of(&container);
            let own = others(&info);
            Arc::new(
                move |info: &ContainerInfo| match info.container == hidden.container() {
                    true => own && info.account == hidden.account(),
                    false => others(info),
                },
            )
        }
    };
    let mut etag = Md5::new();
    for segment in &plan.segments {
        etag.update(unquote_etag(segment.etag.as_deref().unwrap_or_default()));
    }
    let mut view = view_of(stat);
    view.quoted = true;
    view.etag = hex::encode(etag.finalize());
    view.size = plan
        .segments
        .iter()
        .map(|segment| segment.range.end - segment.range.start)
        .sum();
    Ok((view, plan, may_read))
}

/// Puts versions in the place of links to them; whether there were any.
fn lead_to_versions(plan: &mut Plan, container: &ContainerName) -> bool {
    let mut any = false;
    for segment in &mut plan.segments {
        let Source::Object(name) = &segment.source else {
            continue;
        };
        let Some(row) = segment.etag.as_deref().and_then(LinkRow::parse) else {
            continue;
        };
        let Some(version) = row.object(container, name.object()) else {
            continue;
        };
        let (bytes, hash) = (row.bytes, row.hash.to_owned());
        segment.source = Source::Object(version);
        (segment.size, segment.range, segment.etag) = (bytes, 0..bytes, Some(hash));
        any = true;
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_a_container_and_a_prefix() {
        for (value, good) in [
            ("c/p", true),
            ("c/p/q", true),
            ("c", false),
            ("c/", false),
            ("/p", false),
            ("c//p", false),
            ("c/p?q", false),
            ("c/p&q", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(DLO_MANIFEST, value.parse().unwrap());
            assert_eq!(check_header(&headers).is_ok(), good, "{value}");
        }
    }
}
