//! Merging parts of listings by name. Pure: what they are merged from is the
//! caller's business.
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use virga_object_wire::listing::Entry;

use super::rows::Row;

/// Merges parts that begin at the same name. The result, in order, says
/// everything up to the name beside it, which is as far as every part goes;
/// `None` is the end.
pub(super) fn merge<R: Row>(
    mut parts: Vec<(Vec<Entry<R>>, Option<String>)>,
    reverse: bool,
) -> (Vec<Entry<R>>, Option<String>) {
    if parts.len() <= 1 {
        return parts.pop().unwrap_or_default();
    }
    let ends = parts.iter().filter_map(|(_, complete_to)| complete_to.clone());
    let end = if reverse { ends.max() } else { ends.min() };
    let within = |name: &str| match &end {
        None => true,
        Some(end) if reverse => name >= end.as_str(),
        Some(end) => name <= end.as_str(),
    };
    let mut merged: BTreeMap<String, Entry<R>> = BTreeMap::new();
    for entry in parts.into_iter().flat_map(|(entries, _)| entries) {
        let name = match &entry {
            Entry::Row(row) => row.name(),
            Entry::Subdir(dir) => dir,
        };
        if !within(name) {
            continue;
        }
        match merged.entry(name.to_owned()) {
            Slot::Vacant(slot) => {
                slot.insert(entry);
            }
            Slot::Occupied(mut slot) => {
                if let (Entry::Row(here), Entry::Row(row)) = (slot.get().clone(), entry) {
                    slot.insert(Entry::Row(here.merge(row)));
                }
            }
        }
    }
    let entries = merged.into_values();
    (
        if reverse {
            entries.rev().collect()
        } else {
            entries.collect()
        },
        end,
    )
}

#[cfg(test)]
mod tests {
    use virga_node::clock::Version;
    use virga_object_wire::listing::ObjectRow;

    use super::*;

    fn row(name: &str, version: u64, deleted: bool) -> Entry<ObjectRow> {
        let mut row = ObjectRow::deletion(name, Version(version));
        row.deleted = deleted;
        Entry::Row(row)
    }

    #[test]
    fn the_newer_row_wins_and_nothing_is_said_beyond_the_shortest_part() {
        let a = vec![row("a", 1, false), row("b", 5, true), row("c", 1, false)];
        let b = vec![row("b", 2, false), row("bb", 3, false), row("d", 9, false)];
        let (merged, end) = merge(vec![(a.clone(), Some("c".into())), (b.clone(), None)], false);
        assert_eq!(
            merged,
            [
                row("a", 1, false),
                row("b", 5, true),
                row("bb", 3, false),
                row("c", 1, false)
            ]
        );
        assert_eq!(end.as_deref(), Some("c"));

        let back = |entries: Vec<_>| entries.into_iter().rev().collect::<Vec<_>>();
        let (merged, end) = merge(vec![(back(a), Some("b".into())), (back(b), None)], true);
        assert_eq!(
            merged,
            [
                row("d", 9, false),
                row("c", 1, false),
                row("bb", 3, false),
                row("b", 5, true)
            ]
        );
        assert_eq!(end.as_deref(), Some("b"));
    }
}
