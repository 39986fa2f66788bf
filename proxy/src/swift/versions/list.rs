//! `?versions`: all versions of a container's objects in one listing.
//!
//! Merged from two pages: that of the container, which says what is current,
//! and that of the hidden one. Both are in the order of the objects' names.
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use virga_object_wire::listing::{Entry, ListRequest, ObjectRow};

use super::link::LinkRow;
use super::name::{self, VersionId};
use super::{DELETED_TYPE, NULL_ID};
use crate::core::{ContainerName, Core, ListError};
use crate::swift::accept::{Format, best};
use crate::swift::fault::Fault;
use crate::swift::listing::{Wanted, hash_of};
use crate::swift::query::Query;
use crate::swift::{Ctx, timestamp};

/// A version, as JSON has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Item {
    bytes: u64,
    content_type: String,
    hash: String,
    is_latest: bool,
    last_modified: String,
    name: String,
    version_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    slo_etag: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Line {
    Version(Item),
    Subdir { subdir: String },
}

impl Line {
    fn key(&self) -> &str {
        match self {
            Self::Version(item) => &item.name,
            Self::Subdir { subdir } => subdir,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Version(item) if item.version_id == NULL_ID)
    }
}

/// Refuses formats other than JSON, the only one that versions are listed in.
///
/// # Errors
/// 406.
pub fn check_format(ctx: &Ctx) -> Result<(), Fault> {
    let fits = match ctx.query.text("format")?.filter(|format| !format.is_empty()) {
        Some(format) => format.eq_ignore_ascii_case("json"),
        None => matches!(best(&ctx.headers, &[Format::Json]), Ok(Some(_))),
    };
    match fits {
        true => Ok(()),
        false => Err(Fault::page(StatusCode::NOT_ACCEPTABLE)),
    }
}

/// The part of the hidden container that belongs to what is asked for.
///
/// # Errors
/// 400 for a bad `version_marker`, and for delimiters that version ids hold.
fn hidden_part(query: &Query, list: &ListRequest) -> Result<ListRequest, Fault> {
    if list
        .delimiter
        .contains(|c: char| c.is_ascii_digit() || c == '.' || c == '\0')
    {
        return Err(Fault::bad("invalid delimiter param"));
    }
    let version = query.text("version_marker")?.filter(|marker| !marker.is_empty());
    let marker = match (list.marker.as_str(), version) {
        ("", None) => String::new(),
        ("", Some(_)) => return Err(Fault::bad("version_marker param requires marker")),
        // Reversed, the newest comes last: before all of them is past the digits.
        (object, None) if list.reverse => format!("\0{object}\0"),
        (object, None) => format!("\0{object}\0:"),
        (object, Some(NULL_ID)) => format!("\0{object}\0"),
        (object, Some(id)) => {
            let id = VersionId::parse(id).ok_or_else(|| Fault::bad("invalid version_marker param"))?;
            name::row_of(object, id)
        }
    };
    let end_marker = match list.end_marker.as_str() {
        "" => String::new(),
        object => format!("\0{object}\0"),
    };
    Ok(ListRequest {
        prefix: format!("\0{}", list.prefix),
        marker,
        end_marker,
        ..list.clone()
    })
}

/// What the container itself says of its objects.
#[derive(Default)]
struct Current {
    /// Objects without a version.
    lines: Vec<Line>,
    /// The current version of the others, with what the link's row says.
    links: HashMap<String, (VersionId, Item)>,
    /// Names of all objects.
    names: HashSet<String>,
    subdirs: HashSet<String>,
}

fn item(row: &ObjectRow, name: &str, id: String, is_latest: bool) -> Item {
    let (hash, slo_etag) = hash_of(&row.etag);
    Item {
        bytes: row.size,
        content_type: row.content_type.clone(),
        hash: hash.to_owned(),
        is_latest,
        last_modified: timestamp::iso(row.version.max(row.meta_version)),
        name: name.to_owned(),
        version_id: id,
        slo_etag,
    }
}

impl Current {
    fn read(entries: Vec<Entry<ObjectRow>>) -> Self {
        let mut current = Self::default();
        for entry in entries {
            match entry {
                Entry::Subdir(subdir) => {
                    current.subdirs.insert(subdir);
                }
                Entry::Row(row) => {
                    match LinkRow::parse(&row.etag) {
                        None => {
                            let line = item(&row, &row.name, NULL_ID.to_owned(), true);
                            current.lines.push(Line::Version(line));
                        }
                        Some(link) => {
                            let mut broken = item(&row, &row.name, link.id.to_string(), true);
                            broken.bytes = link.bytes;
                            current.links.insert(row.name.clone(), (link.id, broken));
                        }
                    }
                    current.names.insert(row.name);
                }
            }
        }
        current
    }

    /// Adds the versions of a page; `from_within` is the object that the page
    /// before ended in the middle of.
    fn add(&mut self, entries: Vec<Entry<ObjectRow>>, reverse: bool, from_within: Option<&str>) {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for entry in entries {
            let row = match entry {
                Entry::Subdir(subdir) => {
                    self.subdirs.insert(subdir.trim_start_matches('\0').to_owned());
                    continue;
                }
                Entry::Row(row) => row,
            };
            let Some((object, id)) = name::split(&row.name) else {
                continue;
            };
            let is_current = match self.links.get(object) {
                Some((current, _)) if *current == id => {
                    self.links.remove(object);
                    true
                }
                _ => false,
            };
            let is_marker = row.content_type == DELETED_TYPE && !self.names.contains(object);
            let at = self.lines.len();
            let before = seen.insert(object.to_owned(), at);
            // The newest of a name: its first, or reversed its last.
            let is_newest = match reverse {
                false => before.is_none() && from_within != Some(object),
                true => true,
            };
            if let Some(Line::Version(older)) = before
                .filter(|_| reverse && !self.names.contains(object))
                .and_then(|before| self.lines.get_mut(before))
            {
                older.is_latest = false;
            }
            let latest = is_current || (is_marker && is_newest);
            let line = item(&row, object, id.to_string(), latest);
            self.lines.push(Line::Version(line));
        }
    }

    fn finish(mut self, wanted: &Wanted, complete: bool) -> Vec<Line> {
        if complete {
            // Links whose version is not there: shown, so that somebody sees it.
            let broken = self.links.into_values();
            self.lines.extend(broken.map(|(_, item)| Line::Version(item)));
        }
        let subdirs = self.subdirs.into_iter();
        self.lines.extend(subdirs.map(|subdir| Line::Subdir { subdir }));
        // What has no version is newer than all that have one.
        match wanted.list.reverse {
            false => self.lines.sort_by(|a, b| a.key().cmp(b.key())),
            true => self
                .lines
                .sort_by(|a, b| b.key().cmp(a.key()).then(a.is_null().cmp(&b.is_null()))),
        }
        self.lines.truncate(wanted.limit as usize);
        self.lines
    }
}

/// The listing, as JSON; `entries` are the container's own.
///
/// # Errors
/// 400 for bad parameters, 503 without a quorum.
pub async fn page(
    ctx: &Ctx,
    container: &ContainerName,
    wanted: &Wanted,
    entries: Vec<Entry<ObjectRow>>,
) -> Result<Bytes, Fault> {
    let list = hidden_part(&ctx.query, &wanted.list)?;
    let from_within = ctx
        .query
        .text("version_marker")?
        .map(|_| wanted.list.marker.as_str());
    let hidden = name::container_of(container);
    let mut current = Current::read(entries);
    let (rows, complete) = match ctx.core().list_container(&hidden, list).await {
        Ok(page) => (page.entries, !page.more),
        Err(ListError::NotFound) => (Vec::new(), true),
        Err(error @ ListError::Unavailable(_)) => return Err(error.into()),
    };
    let newer = match (complete, wanted.list.reverse) {
        (false, true) => newer_of_last(ctx.core(), &hidden, &rows).await?,
        _ => false,
    };
    current.add(rows, wanted.list.reverse, from_within);
    if newer && let Some(Line::Version(last)) = current.lines.last_mut() {
        last.is_latest &= last.content_type != DELETED_TYPE;
    }
    let lines = current.finish(wanted, complete);
    // Strings and numbers only: there is nothing that could fail.
    Ok(serde_json::to_vec(&lines).unwrap_or_default().into())
}

/// Whether there is a newer version of what a reversed page ends with.
async fn newer_of_last(
    core: &Core,
    hidden: &ContainerName,
    rows: &[Entry<ObjectRow>],
) -> Result<bool, Fault> {
    let Some(Entry::Row(last)) = rows.last() else {
        return Ok(false);
    };
    let Some((object, _)) = name::split(&last.name) else {
        return Ok(false);
    };
    let list = ListRequest {
        prefix: format!("\0{object}\0"),
        end_marker: last.name.clone(),
        limit: 1,
        ..ListRequest::default()
    };
    Ok(!core.list_container(hidden, list).await?.entries.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use virga_node::clock::Version;

    fn row(name: &str, content_type: &str, etag: &str) -> Entry<ObjectRow> {
        Entry::Row(ObjectRow {
            name: name.into(),
            version: Version(1),
            meta_version: Version(1),
            size: 1,
            etag: etag.into(),
            content_type: content_type.into(),
            deleted: false,
        })
    }

    fn id(n: u64) -> VersionId {
        VersionId(Version(n << 12))
    }

    fn version(object: &str, n: u64, content_type: &str) -> Entry<ObjectRow> {
        row(&name::row_of(object, id(n)), content_type, "e")
    }

    fn link(object: &str, n: u64) -> Entry<ObjectRow> {
        row(object, "t", &format!("e; version_id={}; version_bytes=9", id(n)))
    }

    fn shown(
        own: Vec<Entry<ObjectRow>>,
        mut hidden: Vec<Entry<ObjectRow>>,
        reverse: bool,
    ) -> Vec<(String, u64, bool)> {
        if reverse {
            hidden.reverse();
        }
        let mut current = Current::read(own);
        current.add(hidden, reverse, None);
        let list = ListRequest {
            reverse,
            ..ListRequest::default()
        };
        let wanted = Wanted {
            list,
            limit: 100,
            path: None,
        };
        let lines = current.finish(&wanted, true).into_iter();
        lines
            .filter_map(|line| match line {
                Line::Version(item) => {
                    let n = VersionId::parse(&item.version_id).map_or(0, |id| id.0.0 >> 12);
                    Some((item.name, n, item.is_latest))
                }
                Line::Subdir { .. } => None,
            })
            .collect()
    }

    #[test]
    fn the_latest_is_what_a_get_finds_or_the_newest_deletion() {
        let own = || vec![row("a", "t", "e"), link("b", 4)];
        let hidden = || {
            vec![
                version("a", 3, "t"),
                version("b", 5, "t"),
                version("b", 4, "t"),
                version("c", 7, DELETED_TYPE),
                version("c", 6, DELETED_TYPE),
                version("d", 8, "t"),
            ]
        };
        let expected = [
            ("a", 0, true),
            ("a", 3, false),
            ("b", 5, false),
            ("b", 4, true),
            ("c", 7, true),
            ("c", 6, false),
            ("d", 8, false),
        ]
        .map(|(name, n, latest)| (name.to_owned(), n, latest));
        assert_eq!(shown(own(), hidden(), false), expected);
        let mut back = shown(own(), hidden(), true);
        back.reverse();
        assert_eq!(back, expected);
        // A link whose version is gone is shown all the same.
        assert_eq!(
            shown(vec![link("b", 4)], vec![], false),
            [("b".to_owned(), 4, true)]
        );
    }

    #[test]
    fn markers_lead_to_the_hidden_rows() {
        let part = |query: &str, marker: &str| {
            let list = ListRequest {
                marker: marker.into(),
                prefix: "p".into(),
                ..ListRequest::default()
            };
            hidden_part(&Query::parse(Some(query)), &list).map(|list| list.marker)
        };
        assert_eq!(part("", "o").unwrap(), "\0o\0:");
        assert_eq!(part("version_marker=null", "o").unwrap(), "\0o\0");
        assert_eq!(part("", "").unwrap(), "");
        let shown = id(3).to_string();
        assert_eq!(
            part(&format!("version_marker={shown}"), "o").unwrap(),
            name::row_of("o", id(3))
        );
        assert_eq!(part("version_marker=x", "o").unwrap_err().status(), 400);
        assert_eq!(part("version_marker=1", "").unwrap_err().status(), 400);
    }
}
