//! Where things lie in the device's listing database: families and keys.
//!
//! A *shard* is the unit of placement: one container or account (later: one
//! part of a large container). Its id is 16 bytes, today the name's hash, so
//! that a shard of another kind only needs another id. All of a shard lies in
//! one range of one family, so that one cursor sees head, metadata and rows as
//! of the same moment. Values are described where they are made
//! ([`super::row`], [`super::head`], [`super::meta`]).
use virga_disk::kv::Family;
use virga_node::clock::Version;
use virga_ring::hash::NameHash;

/// Everything known of shards: [`head`], [`meta`] and [`row`].
pub const SHARD: Family = Family("shard");
/// Containers whose totals their account has not heard of: shard -> nothing.
pub const DIRTY: Family = Family("dirty");
/// What is to be forgotten, oldest first: [`tomb`] -> nothing.
pub const TOMB: Family = Family("tomb");

/// Bytes of a shard id.
pub const ID: usize = 16;
/// Bytes before the name in a row's key.
pub const NAME: usize = ID + 1;
/// Bytes in front of the row's key in a key of [`TOMB`].
const WHEN: usize = 8;
/// What follows the id: head, then metadata, then rows.
const PARTS: [u8; 3] = [0, 1, 2];

/// Key of a shard's [`super::head::Head`].
pub fn head(shard: NameHash) -> Vec<u8> {
    part(shard, PARTS[0], "")
}

/// Key of a shard's [`super::meta::Meta`].
pub fn meta(shard: NameHash) -> Vec<u8> {
    part(shard, PARTS[1], "")
}

/// Key of a row, a [`super::row::Value`]; names are in their own byte order.
/// With an empty name the start of all rows.
pub fn row(shard: NameHash, name: &str) -> Vec<u8> {
    part(shard, PARTS[2], name)
}

fn part(shard: NameHash, part: u8, name: &str) -> Vec<u8> {
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

/// Key of something that died at `when`: a row, or with an empty name
/// everything in the shard that is not newer.
pub fn tomb(when: Version, row: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(WHEN + row.len());
    key.extend_from_slice(&when.0.to_be_bytes());
    key.extend_from_slice(row);
    key
}

/// Takes a key of [`TOMB`] apart into the time and the row's key.
pub fn parse_tomb(key: &[u8]) -> Option<(Version, &[u8])> {
    let (when, row) = key.split_at_checked(WHEN)?;
    (row.len() >= ID).then_some((Version(u64::from_be_bytes(when.try_into().ok()?)), row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_apart_as_they_were_put_together() {
        let id = NameHash([3; 16]);
        let key = row(id, "päth");
        assert_eq!((shard(&key), name(&key)), (Some(id), Some("päth")));
        assert_eq!(parse_tomb(&tomb(Version(7), &key)), Some((Version(7), &key[..])));
        assert!(head(id) < meta(id) && meta(id) < row(id, "") && row(id, "") < row(id, "a"));
        assert_eq!(parse_tomb(&[0; 23]), None);
        assert!(tomb(Version(255), &key) < tomb(Version(256), &id.0));
    }
}
