//! Keys of the index: every one starts with what it is iterated by, big-endian.
//!
//! Built and taken apart here only; called by whoever touches the index. Values
//! are described where they are made ([`crate::entry`], [`crate::digest`]), and
//! all of them in `docs/formats/object.md`.
use virga_disk::kv::Family;
use virga_node::clock::Version;
use virga_object_wire::object::At;
use virga_ring::Partition;
use virga_ring::hash::NameHash;

/// Winner of each name: [`NameKey`] -> [`crate::entry::Entry`].
pub const OBJ: Family = Family("obj");
/// Names by the second they expire in: [`due`] -> nothing.
pub const DUE: Family = Family("due");
/// What this device owes to others: [`work`] -> see [`Owed`].
pub const WORK: Family = Family("work");
/// Digest sums: [`digest`] -> [`crate::digest::Sum`].
pub const DIG: Family = Family("dig");
/// Live bytes of each segment: segment id -> [`crate::live::Live`].
pub const SEG: Family = Family("seg");
/// Format, positions and totals: see [`crate::sys`].
pub const SYS: Family = Family("sys");

/// Partition and name hash: the key of `obj`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey(pub [u8; 20]);

impl NameKey {
    /// The key of a name in a partition.
    pub fn new(partition: Partition, hash: NameHash) -> Self {
        let mut key = [0; 20];
        key[..4].copy_from_slice(&partition.0.to_be_bytes());
        key[4..].copy_from_slice(&hash.0);
        Self(key)
    }

    /// The key of a place.
    pub fn of(at: &At) -> Self {
        Self::new(at.partition, at.hash)
    }

    /// Reads a stored key; `None` if it has another length.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The partition.
    pub fn partition(&self) -> Partition {
        Partition(be32(&self.0))
    }

    /// The name's hash.
    pub fn hash(&self) -> NameHash {
        let mut hash = [0; 16];
        hash.copy_from_slice(&self.0[4..]);
        NameHash(hash)
    }
}

/// Kinds of debt in `work`, the first byte of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Owed {
    /// A row that the object's container has not confirmed; the target is the
    /// object's partition, the value is empty.
    Row = 1,
    /// A record kept for another device; the target is that device's ring id,
    /// the value is the object's partition.
    Push = 2,
}

/// Length of a `work` key.
pub const WORK_LEN: usize = 29;

/// Key of `work`: kind, target, version, hash.
pub fn work(kind: Owed, target: u32, version: Version, hash: NameHash) -> [u8; WORK_LEN] {
    let mut key = [0; WORK_LEN];
    key[0] = kind as u8;
    key[1..5].copy_from_slice(&target.to_be_bytes());
    key[5..13].copy_from_slice(&version.0.to_be_bytes());
    key[13..].copy_from_slice(&hash.0);
    key
}

/// Takes a `work` key apart into target, version and hash; `None` if it has
/// another length or kind.
pub fn parse_work(key: &[u8]) -> Option<(u32, Version, NameHash)> {
    let key: &[u8; WORK_LEN] = key.try_into().ok()?;
    if key[0] != Owed::Row as u8 && key[0] != Owed::Push as u8 {
        return None;
    }
    let mut hash = [0; 16];
    hash.copy_from_slice(&key[13..]);
    Some((be32(&key[1..]), Version(be64(&key[5..])), NameHash(hash)))
}

/// Value of a [`Owed::Push`]: the partition of the object.
pub fn kept(partition: Partition) -> [u8; 4] {
    partition.0.to_le_bytes()
}

/// Reads the value of a [`Owed::Push`]; `None` if it has another length.
pub fn parse_kept(value: &[u8]) -> Option<Partition> {
    Some(Partition(u32::from_le_bytes(value.try_into().ok()?)))
}

/// Key of `due`: the second of expiry, then the name.
pub fn due(at_secs: u64, name: &NameKey) -> [u8; 28] {
    let mut key = [0; 28];
    key[..8].copy_from_slice(&at_secs.to_be_bytes());
    key[8..].copy_from_slice(&name.0);
    key
}

/// Takes a `due` key apart.
pub fn parse_due(key: &[u8]) -> Option<(u64, NameKey)> {
    let secs = key.get(..8)?;
    Some((be64(secs), NameKey::parse(&key[8..])?))
}

/// Key of `dig`: partition, then the bucket of the name.
pub fn digest(partition: Partition, bucket: u8) -> [u8; 5] {
    let mut key = [0; 5];
    key[..4].copy_from_slice(&partition.0.to_be_bytes());
    key[4] = bucket;
    key
}

/// First four bytes as a big-endian number; zero where bytes are missing.
fn be32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .take(4)
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// First eight bytes as a big-endian number.
pub fn be64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_apart_as_they_were_put_together() {
        let hash = NameHash([7; 16]);
        let name = NameKey::new(Partition(0x0102_0304), hash);
        assert_eq!((name.partition(), name.hash()), (Partition(0x0102_0304), hash));
        let key = work(Owed::Push, 9, Version(77), hash);
        assert_eq!(parse_work(&key), Some((9, Version(77), hash)));
        assert_eq!(parse_due(&due(12, &name)), Some((12, name)));
        assert_eq!(parse_due(&[1, 2]), None);
        let unknown = [&[3], &key[1..]].concat();
        assert_eq!(parse_work(&unknown), None);
        assert_eq!(parse_kept(&kept(Partition(5))), Some(Partition(5)));
        assert_eq!(parse_kept(&[0; 5]), None);
    }

    #[test]
    fn keys_sort_by_time_and_partition() {
        let name = |p| NameKey::new(Partition(p), NameHash([0xff; 16]));
        assert!(name(1) < name(256));
        assert!(due(255, &name(9)) < due(256, &name(1)));
        let key = |v| work(Owed::Row, 3, Version(v), NameHash([0xff; 16]));
        assert!(key(255) < key(256));
    }
}
