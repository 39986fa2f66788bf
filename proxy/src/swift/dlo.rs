//! Dynamic large objects: all objects whose names start alike, one after another.
use http::{HeaderMap, Method, StatusCode};
use md5::{Digest as _, Md5};
use virga_object_wire::object::ObjectStat;

use super::conditional::unquote_etag;
use super::fault::Fault;
use super::object::{View, view_of};
use super::{Ctx, meta_value, target};
use crate::core::manifest::{DLO_MANIFEST, Plan};
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

/// The large object as a client sees it, and its plan.
///
/// # Errors
/// 401, 403 or 404 as for the listing of the segments' container.
pub async fn view(
    ctx: &Ctx,
    name: &ObjectName,
    stat: &ObjectStat,
    manifest: &str,
) -> Result<(View, Plan), Fault> {
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
    if info.is_none() {
        return Err(Fault::not_found());
    }
    let plan = ctx.core().read_dlo(&container, prefix).await?;
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
    Ok((view, plan))
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
