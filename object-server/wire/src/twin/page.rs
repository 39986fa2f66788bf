//! One page of a listing out of a sorted map.
use std::collections::BTreeMap;

use crate::listing::{Entry, ListRequest};

/// Most deleted rows in one page: a container full of deletions must not make
/// a page without end.
const DELETIONS: usize = 1000;

/// The entries that `list` asks for, and what they are complete to.
pub(super) fn page<R: Clone>(
    rows: &BTreeMap<String, R>,
    live: impl Fn(&R) -> bool,
    list: &ListRequest,
) -> (Vec<Entry<R>>, Option<String>) {
    let sorted: Box<dyn Iterator<Item = (&String, &R)>> = if list.reverse {
        Box::new(rows.iter().rev())
    } else {
        Box::new(rows.iter())
    };
    let mut entries = Vec::new();
    let (mut living, mut deletions) = (0, 0);
    let mut last = list.marker.clone();
    for (name, row) in sorted.filter(|(name, _)| within(list, name)) {
        let entry = match directory(list, name) {
            // rolled up: named once, if something under it lives, and not
            // again when the page before ended with it
            Some(dir) if !live(row) || dir == last => continue,
            Some(dir) => Entry::Subdir(dir.to_owned()),
            None => Entry::Row(row.clone()),
        };
        let counts = live(row);
        if living == list.limit || (!counts && deletions == DELETIONS) {
            return (entries, Some(last));
        }
        if counts {
            living += 1;
        } else {
            deletions += 1;
        }
        last = match &entry {
            Entry::Subdir(dir) => dir.clone(),
            Entry::Row(_) => name.clone(),
        };
        entries.push(entry);
    }
    (entries, None)
}

/// Whether the bounds of `list` (all exclusive) let `name` in.
fn within(list: &ListRequest, name: &str) -> bool {
    let after = |bound: &str| bound.is_empty() || name > bound;
    let before = |bound: &str| bound.is_empty() || name < bound;
    let inside = if list.reverse {
        before(&list.marker) && after(&list.end_marker)
    } else {
        after(&list.marker) && before(&list.end_marker)
    };
    inside && name.starts_with(&list.prefix)
}

/// `name` up to and including the first delimiter past the prefix.
fn directory<'a>(list: &ListRequest, name: &'a str) -> Option<&'a str> {
    if list.delimiter.is_empty() {
        return None;
    }
    let past = list.prefix.len();
    let at = name.get(past..)?.find(&list.delimiter)?;
    name.get(..past + at + list.delimiter.len())
}
