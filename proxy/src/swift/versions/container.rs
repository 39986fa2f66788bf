//! Containers whose objects have versions: switching it on and off, what they
//! say of themselves, and their end.
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use virga_object_wire::listing::{ContainerInfo, ListRequest};

use super::{ENABLED, LOCATION, MODE, lock, name};
use crate::core::{
    ContainerName, Core, DeleteContainerError, ListError, MetaChange, PutContainerError, Unavailable,
};
use crate::swift::fault::Fault;
use crate::swift::{container_sync, headers, meta_value, target};

/// What clients ask for versions with.
const ASKED: &str = "x-versions-enabled";
/// What clients name the container of the older modes with.
const LOCATIONS: [(&str, &str); 2] = [
    ("x-versions-location", "stack"),
    ("x-history-location", "history"),
];

/// Makes the hidden container of `name`, with the same storage policy as
/// `policy` if given.
///
/// # Errors
/// [`PutContainerError`]; that it exists with another policy is none.
pub async fn make(core: &Core, name: &ContainerName, policy: Option<u32>) -> Result<(), PutContainerError> {
    match core
        .put_container(&name::container_of(name), policy, Vec::new())
        .await
    {
        Ok(_) | Err(PutContainerError::PolicyConflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the hidden container of `name` unless it is there.
///
/// # Errors
/// [`PutContainerError`].
pub async fn make_sure_of(core: &Core, name: &ContainerName) -> Result<(), PutContainerError> {
    let hidden = name::container_of(name);
    if core.container_info(&hidden).await?.is_some() {
        return Ok(());
    }
    let policy = core.container_info(name).await?.map(|info| info.policy);
    make(core, name, policy).await
}

/// Bytes in the hidden container of `name`: they count towards the container's.
///
/// # Errors
/// [`Unavailable`].
pub async fn hidden_bytes(core: &Core, name: &ContainerName) -> Result<u64, Unavailable> {
    match core.head_container(&name::container_of(name)).await {
        Ok(info) => Ok(info.bytes),
        Err(ListError::NotFound) => Ok(0),
        Err(ListError::Unavailable(error)) => Err(error),
    }
}

/// Deletes a container and the hidden one beside it, if both are empty.
///
/// # Errors
/// [`DeleteContainerError::NotEmpty`] if there are objects or versions.
pub async fn delete(core: &Core, name: &ContainerName) -> Result<(), DeleteContainerError> {
    let info = match core.head_container(name).await {
        Ok(info) => info,
        Err(ListError::NotFound) => return Err(DeleteContainerError::NotFound),
        Err(ListError::Unavailable(error)) => return Err(error.into()),
    };
    if !super::Keeping::has_versions(&info) {
        return core.delete_container(name).await;
    }
    let one = ListRequest {
        limit: 1,
        ..ListRequest::default()
    };
    match core.list_container(name, one).await {
        Ok(page) if page.entries.is_empty() => {}
        Ok(_) => return Err(DeleteContainerError::NotEmpty),
        Err(ListError::NotFound) => return Err(DeleteContainerError::NotFound),
        Err(ListError::Unavailable(error)) => return Err(error.into()),
    }
    let had = match core.delete_container(&name::container_of(name)).await {
        Ok(()) => true,
        Err(DeleteContainerError::NotFound) => false,
        Err(error) => return Err(error),
    };
    let deleted = core.delete_container(name).await;
    if deleted.is_err()
        && had
        && let Err(error) = make(core, name, Some(info.policy)).await
    {
        // The next write makes it: nothing was in it.
        tracing::info!(%error, "the container of versions was not made again");
    }
    deleted
}

/// What a request asks of versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Changes to the container's metadata.
    pub changes: Vec<MetaChange>,
    /// Whether the hidden container must be there.
    pub needs_hidden: bool,
}

/// Reads a PUT or POST of a container whose info is `there`, if it exists.
///
/// # Errors
/// 400 for two modes at once, 409 for versions that must be kept, 412 for a
/// location that is no container.
pub fn asked(asked: &HeaderMap, there: Option<&ContainerInfo>) -> Result<Asked, Fault> {
    let mut found = Asked::default();
    let kept = |name| there.and_then(|info| meta_value(&info.meta, name));
    if let Some(value) = headers::text(asked, ASKED) {
        let on = crate::swift::query::is_true(value.trim());
        let copies = kept(LOCATION).is_some() || location(asked)?.is_some_and(|(to, _)| !to.is_empty());
        if on && copies {
            return Err(Fault::bad(
                "Cannot enable object versioning on a container that is already using the legacy versioned writes feature.",
            ));
        }
        if on && kept(container_sync::TO).is_some() {
            return Err(Fault::bad(
                "Cannot enable object versioning on a container configured as source of container syncing.",
            ));
        }
        if !on && there.is_some_and(|info| lock::of_container(info).is_some()) {
            return Err(Fault::plain(
                StatusCode::CONFLICT,
                "Versions in this container can be locked (S3's object lock): they are always kept.",
            ));
        }
        found.changes.push((ENABLED.to_owned(), on.to_string()));
        found.needs_hidden = on;
    }
    match location(asked)? {
        Some((to, _)) if to.is_empty() => {
            for name in [LOCATION, MODE] {
                found.changes.push((name.to_owned(), String::new()));
            }
        }
        Some((to, mode)) => {
            if kept(ENABLED) == Some("true") && !found.changes.iter().any(|(name, _)| name == ENABLED) {
                return Err(Fault::bad(
                    "Cannot use the legacy versioned writes feature on a container with object versioning.",
                ));
            }
            found.changes.push((LOCATION.to_owned(), to));
            found.changes.push((MODE.to_owned(), mode.to_owned()));
        }
        None => {}
    }
    Ok(found)
}

/// The location that a request sets, percent-encoded, and its mode; empty to
/// remove it. Setting wins over removing.
fn location(asked: &HeaderMap) -> Result<Option<(String, &'static str)>, Fault> {
    let mut set = None;
    let mut removes = false;
    for (header, mode) in LOCATIONS {
        match headers::text(asked, header) {
            Some("") => removes = true,
            Some(value) if set.is_none() => set = Some((clean(value)?, mode)),
            Some(_) => {
                let says = "Only one of X-Versions-Location or X-History-Location may be specified";
                return Err(Fault::bad(says));
            }
            None => {}
        }
        let remove = header.replacen("x-", "x-remove-", 1);
        removes |= headers::text(asked, &remove).is_some_and(|value| !value.is_empty());
    }
    Ok(set.or(removes.then_some((String::new(), ""))))
}

/// A container's name from a header, percent-encoded anew.
fn clean(value: &str) -> Result<String, Fault> {
    let name = target::percent_decode_utf8(value)
        .ok_or_else(|| Fault::precondition("Invalid UTF8 or contains NULL"))?;
    match name.as_str() {
        "" => Err(Fault::precondition("Container name cannot be empty")),
        name if name.contains('/') => Err(Fault::precondition("Container name cannot contain slashes")),
        name => Ok(target::quote(name)),
    }
}

/// Shows in a container's headers what it does with versions.
pub fn show(info: &ContainerInfo, into: &mut HeaderMap) {
    if let Some(enabled) = meta_value(&info.meta, ENABLED) {
        let shown = if enabled == "true" { "True" } else { "False" };
        into.insert(HeaderName::from_static(ASKED), HeaderValue::from_static(shown));
    }
    let mode = meta_value(&info.meta, MODE).unwrap_or("stack");
    if let Some(location) = meta_value(&info.meta, LOCATION)
        && let Some((header, _)) = LOCATIONS.iter().find(|(_, its)| *its == mode)
    {
        into.insert(HeaderName::from_static(header), headers::to_value(location));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virga_node::clock::Version;
    use virga_object_wire::listing::MetaItem;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn info(items: &[(&str, &str)]) -> ContainerInfo {
        let item = |(name, value): &(&str, &str)| MetaItem {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
            version: Version(1),
        };
        ContainerInfo {
            meta: items.iter().map(item).collect(),
            ..ContainerInfo::default()
        }
    }

    fn changes(pairs: &[(&'static str, &str)], there: &[(&str, &str)]) -> Result<Vec<(String, String)>, u16> {
        asked(&map(pairs), Some(&info(there)))
            .map(|asked| asked.changes)
            .map_err(|fault| fault.status().as_u16())
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn versions_are_switched_on_and_off() {
        for (value, kept) in [("True", "true"), ("on", "true"), ("no", "false"), ("", "false")] {
            let changed = changes(&[(ASKED, value)], &[]).unwrap();
            assert_eq!(changed, pairs(&[(ENABLED, kept)]), "{value}");
        }
        assert!(asked(&map(&[(ASKED, "yes")]), None).unwrap().needs_hidden);
        assert_eq!(changes(&[(ASKED, "yes")], &[(LOCATION, "c")]), Err(400));
        assert_eq!(changes(&[(ASKED, "yes")], &[(container_sync::TO, "u")]), Err(400));
        assert_eq!(
            changes(&[("x-versions-location", "c")], &[(ENABLED, "true")]),
            Err(400)
        );
    }

    #[test]
    fn the_older_modes_name_one_container() {
        let stack = pairs(&[(LOCATION, "a%20b"), (MODE, "stack")]);
        let gone = pairs(&[(LOCATION, ""), (MODE, "")]);
        for (asked, expected) in [
            (&[("x-versions-location", "a%20b")][..], Ok(stack.clone())),
            (
                &[
                    ("x-versions-location", "a%20b"),
                    ("x-remove-versions-location", "x"),
                ],
                Ok(stack.clone()),
            ),
            (
                &[("x-versions-location", "a%20b"), ("x-history-location", "")],
                Ok(stack),
            ),
            (&[("x-versions-location", "")], Ok(gone.clone())),
            (&[("x-remove-history-location", "x")], Ok(gone)),
            (
                &[("x-versions-location", "a"), ("x-history-location", "b")],
                Err(400),
            ),
            (&[("x-versions-location", "a/b")], Err(412)),
            (&[("x-versions-location", "%ff")], Err(412)),
        ] {
            assert_eq!(changes(asked, &[]), expected, "{asked:?}");
        }
    }

    #[test]
    fn a_container_says_what_it_does() {
        for (meta, name, value) in [
            (&[(ENABLED, "true")][..], ASKED, "True"),
            (&[(ENABLED, "false")], ASKED, "False"),
            (&[(LOCATION, "c"), (MODE, "history")], "x-history-location", "c"),
            (&[(LOCATION, "c"), (MODE, "stack")], "x-versions-location", "c"),
        ] {
            let mut into = HeaderMap::new();
            show(&info(meta), &mut into);
            assert_eq!(into.len(), 1);
            assert_eq!(into[name], value);
        }
    }
}
