//! One page of a listing, by seeks: its cost follows the entries returned.
//!
//! Swift's rules. Bounds are exclusive; with `reverse` the marker is the upper
//! and the end marker the lower one. With a delimiter, a name that contains it
//! past the prefix stands for everything up to and including its first
//! occurrence, and the scan seeks past all of that. A marker "a/" skips what is
//! under "a/"; a marker "a/x" does not: "a/" is listed if something live comes
//! after "a/x".
//!
//! Containers from before the deletion of their account are not returned at
//! all. Deleted rows are, except under a common prefix: whether a prefix that
//! only one replica lists is still there, a listing of that prefix tells.
use virga_disk::kv::cursor::{Cursor, prefix_end};
use virga_node::clock::Version;
use virga_object_wire::listing::{Entry, ListRequest};
use virga_ring::hash::NameHash;

use super::fault::ReadError;
use super::keys;
use super::row::{Listed, Value};

/// Most live entries on a page, whatever is asked for (Swift's limit).
pub const MAX_LIVE: usize = 10_000;
/// Most deleted rows on a page, which bounds its size.
pub const MAX_DELETED: usize = 10_000;
/// Most rows looked at for one page: what lies under a common prefix and is
/// dead costs time but no room. About a second's work.
pub const MAX_VISITS: usize = 1_000_000;

/// Entries in order, and how far they reach ([`virga_object_wire::listing::Page`]).
pub type Found<R> = (Vec<Entry<R>>, Option<String>);

/// Key bounds of a page: from the first, included, to the second, left out
/// (`None`: to the end).
pub fn bounds(shard: NameHash, list: &ListRequest) -> (Vec<u8>, Option<Vec<u8>>) {
    let (after, before) = match list.reverse {
        false => (&list.marker, &list.end_marker),
        true => (&list.end_marker, &list.marker),
    };
    let mut low = keys::row(shard, &list.prefix);
    let mut high = prefix_end(&low);
    if !after.is_empty() {
        let key = keys::row(shard, after);
        let next = match rolled(after, list) {
            Some(dir) if dir == after.len() => prefix_end(&key),
            // The first name after another is that name and a zero byte.
            _ => Some([&key[..], &[0]].concat()),
        };
        low = next.unwrap_or(key).max(low);
    }
    if !before.is_empty() {
        let key = keys::row(shard, before);
        high = Some(high.map_or(key.clone(), |high| high.min(key)));
    }
    (low, high)
}

/// Length of the common prefix that a name stands for, if it is rolled up.
fn rolled(name: &str, list: &ListRequest) -> Option<usize> {
    if list.delimiter.is_empty() || !name.starts_with(&list.prefix) {
        return None;
    }
    let start = list.prefix.len();
    Some(start + name[start..].find(&list.delimiter)? + list.delimiter.len())
}

/// Reads one page from a cursor that ends at the upper of the [`bounds`] and
/// begins at or before `low`. `None` if more than `visits` rows had to be
/// looked at and that was not [`MAX_VISITS`].
pub fn read<R: Listed>(
    cursor: &mut Cursor<'_>,
    (shard, low): (NameHash, &[u8]),
    list: &ListRequest,
    deleted: Version,
    visits: usize,
) -> Result<Option<Found<R>>, ReadError> {
    let limit = usize::try_from(list.limit).unwrap_or(MAX_LIVE).min(MAX_LIVE);
    let mut entries = Vec::new();
    let (mut live, mut dead, mut visited) = (0, 0, 0);
    let mut reached = list.marker.clone();
    let mut more = false;
    if list.reverse {
        cursor.last()
    } else {
        cursor.seek(low)
    }
    while let Some((key, value)) = cursor.current()?.filter(|(key, _)| *key >= low) {
        if live == limit || dead == MAX_DELETED || visited == visits {
            more = true;
            break;
        }
        visited += 1;
        let name = keys::name(key).ok_or(ReadError::Damaged("the key of a row"))?;
        let value = Value::decode(value).ok_or(ReadError::Damaged("a row"))?;
        let here = value.weight(deleted).is_some();
        let dir = rolled(name, list).map(|len| &name[..len]);
        reached.clear();
        reached.push_str(dir.filter(|_| here).unwrap_or(name));
        match dir {
            Some(dir) if here => {
                live += 1;
                entries.push(Entry::Subdir(dir.to_owned()));
                let dir = keys::row(shard, dir);
                pass(cursor, &dir, list.reverse)?;
                continue;
            }
            None if here || value.tombstone().is_some() => {
                if here {
                    live += 1
                } else {
                    dead += 1
                }
                entries.push(Entry::Row(
                    R::listed(name, value).ok_or(ReadError::Damaged("a row's kind"))?,
                ));
            }
            _ => {}
        }
        if list.reverse {
            cursor.step_back()
        } else {
            cursor.step()
        }
    }
    let unfinished = more && visited == visits && visits < MAX_VISITS && live < limit && dead < MAX_DELETED;
    Ok((!unfinished).then_some((entries, more.then_some(reached))))
}

/// Moves past everything that starts with `dir`.
fn pass(cursor: &mut Cursor<'_>, dir: &[u8], reverse: bool) -> Result<(), ReadError> {
    if reverse {
        cursor.seek_back(dir);
        if cursor.current()?.is_some_and(|(key, _)| key == dir) {
            cursor.step_back();
        }
    } else {
        // A row's key has a 2 in it, so something always comes after.
        cursor.seek(&prefix_end(dir).unwrap_or_default());
    }
    Ok(())
}
