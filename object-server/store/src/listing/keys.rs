//! Where things lie in the device's listing database: families and keys.
//!
//! A *shard* is the unit of placement: one container or account (later: one
//! part of a large container). Its id is 16 bytes, today the name's hash, so
//! that a shard of another kind only needs another id. All of a shard lies in
//! one range of one family, so that one cursor sees head, metadata and rows as
//! of the same moment. The partition of a name is the first bits of its hash,
//! so the shards of a partition are a range too, whatever the ring's partition
//! power. Values are described where they are made ([`super::row`],
//! [`super::head`], [`super::meta`]).
use virga_disk::kv::Family;
use virga_node::clock::Version;
use virga_ring::hash::NameHash;

use super::head::Kind;

/// Everything known of shards: [`head`], [`meta`] and [`row`].
pub const SHARD: Family = Family("shard");
/// Containers whose totals their account has not heard of: shard -> nothing.
pub const DIRTY: Family = Family("dirty");
/// What is to be forgotten, oldest first: [`grave`] -> version of the deletion.
pub const GRAVE: Family = Family("grave");
/// Reminders of format 1; empty once the database is of format 2.
pub const TOMB: Family = Family("tomb");
/// What is known of each shard in 16 bytes: [`index`] -> sum.
pub const INDEX: Family = Family("index");
/// Deleted containers with live rows: shard -> nothing.
pub const HIDDEN: Family = Family("hidden");
/// Sums over parts of large shards: [`part`] -> sum.
pub const PART: Family = Family("part");
/// What was set aside, under the keys of [`SHARD`].
pub const STALE: Family = Family("stale");
/// Format, rounds and horizons: [`super::sys`].
pub const SYS: Family = Family("sys");

/// Bytes of a shard id.
pub const ID: usize = 16;
/// Bytes before the name in a row's key.
pub const NAME: usize = ID + 1;
/// Bytes in front of a version in a key of [`GRAVE`], and of that version.
const WHEN: usize = 8;
/// What follows the id: head, then metadata, then rows.
const PARTS: [u8; 3] = [0, 1, 2];

/// Key of a shard's [`super::head::Head`].
pub fn head(shard: NameHash) -> Vec<u8> {
    under(shard, PARTS[0], "")
}

/// Key of a shard's [`super::meta::Meta`].
pub fn meta(shard: NameHash) -> Vec<u8> {
    under(shard, PARTS[1], "")
}

/// Key of a row, a [`super::row::Value`]; names are in their own byte order.
/// With an empty name the start of all rows.
pub fn row(shard: NameHash, name: &str) -> Vec<u8> {
    under(shard, PARTS[2], name)
}

fn under(shard: NameHash, part: u8, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(NAME + name.len());
    key.extend_from_slice(&shard.0);
    key.push(part);
    key.extend_from_slice(name.as_bytes());
    key
}

/// Shard that a key starts with; `None` if the key is too short.
pub fn shard(key: &[u8]) -> Option<NameHash> {
    Some(NameHash(key.get(..ID)?.try_into().ok()?))
}

/// Name in a row's key; `None` if it is not one.
pub fn name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(NAME..)?).ok()
}

/// Whether a key in [`SHARD`] is a row's.
#[cfg(test)]
pub fn is_row(key: &[u8]) -> bool {
    key.get(ID) == Some(&PARTS[2])
}

/// What a reminder is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead<'a> {
    /// The row with this key.
    Row(&'a [u8]),
    /// A metadata item of this shard.
    Item(NameHash),
    /// This shard.
    Shard(NameHash),
}

/// Key of a reminder: something of that kind was heard to be dead at `when`.
/// `what` is the key of a row or of metadata, or a shard's id.
pub fn grave(kind: Kind, when: Version, what: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + WHEN + what.len());
    key.push(kind_byte(kind));
    key.extend_from_slice(&when.0.to_be_bytes());
    key.extend_from_slice(what);
    key
}

/// Takes a key of [`GRAVE`] apart.
pub fn parse_grave(key: &[u8]) -> Option<Dead<'_>> {
    let what = key.get(1 + WHEN..)?;
    let shard = shard(what)?;
    match what.get(ID) {
        None => Some(Dead::Shard(shard)),
        Some(part) if *part == PARTS[1] => Some(Dead::Item(shard)),
        Some(part) if *part == PARTS[2] => Some(Dead::Row(what)),
        Some(_) => None,
    }
}

/// Takes a key of [`TOMB`] apart into the time and a row's key or shard's id.
pub fn parse_tomb(key: &[u8]) -> Option<(Version, &[u8])> {
    let (when, row) = key.split_at_checked(WHEN)?;
    (row.len() >= ID).then_some((Version(u64::from_be_bytes(when.try_into().ok()?)), row))
}

/// Key in [`INDEX`].
pub fn index(kind: Kind, shard: NameHash) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + ID);
    key.push(kind_byte(kind));
    key.extend_from_slice(&shard.0);
    key
}

/// Shard of a key in [`INDEX`].
pub fn indexed(key: &[u8]) -> Option<NameHash> {
    Some(NameHash(key.get(1..)?.try_into().ok()?))
}

/// First key in [`INDEX`] of a partition of a ring with 2^`power` of them;
/// `None` past the last.
pub fn partition(kind: Kind, power: u8, partition: u64) -> Option<Vec<u8>> {
    let shift = 32u32.checked_sub(u32::from(power))?;
    let first = u32::try_from(partition << shift).ok()?;
    let mut key = vec![kind_byte(kind)];
    key.extend_from_slice(&first.to_be_bytes());
    Some(key)
}

/// First key in [`INDEX`] behind all of a kind.
pub fn index_end(kind: Kind) -> Vec<u8> {
    vec![kind_byte(kind) + 1]
}

/// Key in [`PART`] of the part that begins with this name.
pub fn part(shard: NameHash, name: &str) -> Vec<u8> {
    [&shard.0, name.as_bytes()].concat()
}

/// Name in a key of [`PART`].
pub fn part_name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(ID..)?).ok()
}

/// A kind as a byte of a key.
pub fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Container => 0,
        Kind::Account => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_apart_as_they_were_put_together() {
        let id = NameHash([3; 16]);
        let key = row(id, "päth");
        assert_eq!((shard(&key), name(&key)), (Some(id), Some("päth")));
        assert!(is_row(&key) && !is_row(&head(id)));
        let when = |what: &[u8]| grave(Kind::Account, Version(7), what);
        assert_eq!(parse_grave(&when(&key)), Some(Dead::Row(&key)));
        assert_eq!(parse_grave(&when(&meta(id))), Some(Dead::Item(id)));
        assert_eq!(parse_grave(&when(&id.0)), Some(Dead::Shard(id)));
        assert_eq!(parse_grave(&[0; 24]), None);
        assert!(head(id) < meta(id) && meta(id) < row(id, "") && row(id, "") < row(id, "a"));
        assert!(grave(Kind::Account, Version(255), &key) < grave(Kind::Account, Version(256), &id.0));
        assert_eq!(indexed(&index(Kind::Account, id)), Some(id));
        assert_eq!(part_name(&part(id, "a")), Some("a"));
    }

    #[test]
    fn the_shards_of_a_partition_are_a_range_at_any_power() {
        let id = NameHash([0xab; 16]);
        for power in [1, 4, 8, 16, 20, 32] {
            let own = u64::from(u32::from_be_bytes([0xab; 4]) >> (32 - u32::from(power)));
            let low = partition(Kind::Container, power, own).unwrap();
            let high =
                partition(Kind::Container, power, own + 1).unwrap_or_else(|| index_end(Kind::Container));
            let key = index(Kind::Container, id);
            assert!(low <= key && key < high, "{power}");
        }
        assert_eq!(partition(Kind::Container, 4, 16), None);
        assert_eq!(partition(Kind::Container, 0, 0).map(|key| key.len()), Some(5));
    }
}
