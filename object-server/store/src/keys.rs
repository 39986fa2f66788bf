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
/// Rows that this device owes to containers: [`work`] -> nothing.
pub const WORK: Family = Family("work");
/// Digest sums: [`digest`] -> [`crate::digest::Sum`].
pub const DIG: Family = Family("dig");
/// Live bytes of each segment: segment id -> [`crate::live::Live`].
pub const SEG: Family = Family("seg");
/// Format, positions and totals: see [`crate::sys`].
pub const SYS: Family = Family("sys");

/// Storage policy, partition and name hash: the key of `obj`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey(pub [u8; NAME_LEN]);

/// Length of a [`NameKey`].
pub const NAME_LEN: usize = 24;

impl NameKey {
    /// The key of a name in a partition of a policy's ring.
    pub fn new(policy: u32, partition: Partition, hash: NameHash) -> Self {
        let mut key = [0; NAME_LEN];
        key[..4].copy_from_slice(&policy.to_be_bytes());
        key[4..8].copy_from_slice(&partition.0.to_be_bytes());
        key[8..].copy_from_slice(&hash.0);
        Self(key)
    }

    /// The key of a place.
    pub fn of(at: &At) -> Self {
        Self::new(at.policy, at.partition, at.hash)
    }

    /// Reads a stored key; `None` if it has another length.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The storage policy.
    pub fn policy(&self) -> u32 {
        be32(&self.0)
    }

    /// The partition.
    pub fn partition(&self) -> Partition {
        Partition(be32(&self.0[4..]))
    }

    /// The name's hash.
    pub fn hash(&self) -> NameHash {
        let mut hash = [0; 16];
        hash.copy_from_slice(&self.0[8..]);
        NameHash(hash)
    }
}

/// First byte of a `work` key: a row that the object's container has not
/// confirmed.
pub const ROW: u8 = 1;

/// Length of a `work` key.
pub const WORK_LEN: usize = 33;

/// Key of `work`: what is owed, version, policy and partition of the object,
/// hash. The version comes first, so that debts lie in the order in which they
/// are made: they are written, and mostly deleted soon, next to each other, and
/// the old ones are found without looking at the young ones.
pub fn work(name: &NameKey, version: Version) -> [u8; WORK_LEN] {
    let mut key = [0; WORK_LEN];
    key[0] = ROW;
    key[1..9].copy_from_slice(&version.0.to_be_bytes());
    key[9..17].copy_from_slice(&name.0[..8]);
    key[17..].copy_from_slice(&name.hash().0);
    key
}

/// Takes a `work` key apart; `None` if it has another length or first byte.
pub fn parse_work(key: &[u8]) -> Option<(NameKey, Version)> {
    let key: &[u8; WORK_LEN] = key.try_into().ok()?;
    if key[0] != ROW {
        return None;
    }
    let mut name = [0; NAME_LEN];
    name.copy_from_slice(&key[9..]);
    Some((NameKey(name), Version(be64(&key[1..]))))
}

/// Length of a `due` key.
pub const DUE_LEN: usize = 8 + NAME_LEN;

/// Key of `due`: the second of expiry, then the name.
pub fn due(at_secs: u64, name: &NameKey) -> [u8; DUE_LEN] {
    let mut key = [0; DUE_LEN];
    key[..8].copy_from_slice(&at_secs.to_be_bytes());
    key[8..].copy_from_slice(&name.0);
    key
}

/// Takes a `due` key apart.
pub fn parse_due(key: &[u8]) -> Option<(u64, NameKey)> {
    let secs = key.get(..8)?;
    Some((be64(secs), NameKey::parse(&key[8..])?))
}

/// What the digest keys of a partition start with: policy, partition.
pub fn partition(policy: u32, partition: Partition) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&policy.to_be_bytes());
    key[4..].copy_from_slice(&partition.0.to_be_bytes());
    key
}

/// Length of a `dig` key.
pub const DIGEST_LEN: usize = 9;

/// Key of `dig`: policy, partition, bucket of the name.
pub fn digest(name: &NameKey) -> [u8; DIGEST_LEN] {
    let mut key = [0; DIGEST_LEN];
    key[..8].copy_from_slice(&name.0[..8]);
    key[8] = name.0[NAME_LEN - 1];
    key
}

/// Takes a `dig` key apart: policy, partition, bucket.
pub fn parse_digest(key: &[u8]) -> Option<(u32, Partition, u8)> {
    let key: &[u8; DIGEST_LEN] = key.try_into().ok()?;
    Some((be32(key), Partition(be32(&key[4..])), key[8]))
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
        let name = NameKey::new(0x0a0b_0c0d, Partition(0x0102_0304), hash);
        assert_eq!(
            (name.policy(), name.partition(), name.hash()),
            (0x0a0b_0c0d, Partition(0x0102_0304), hash)
        );
        let key = work(&name, Version(77));
        assert_eq!(parse_work(&key), Some((name, Version(77))));
        let unknown = [&[3], &key[1..]].concat();
        assert_eq!(parse_work(&unknown), None);
        assert_eq!(parse_due(&due(12, &name)), Some((12, name)));
        assert_eq!(parse_due(&[1, 2]), None);
        let key = digest(&name);
        assert_eq!(parse_digest(&key), Some((name.policy(), name.partition(), 7)));
        assert_eq!(key[..8], partition(name.policy(), name.partition()));
    }

    #[test]
    fn keys_sort_by_time_policy_and_partition() {
        let name = |policy, p| NameKey::new(policy, Partition(p), NameHash([0xff; 16]));
        assert!(name(0, 1) < name(0, 256));
        assert!(name(0, 256) < name(1, 1));
        assert!(due(255, &name(0, 9)) < due(256, &name(0, 1)));
        let key = |policy, p, v| work(&name(policy, p), Version(v));
        assert!(key(0, 3, 255) < key(0, 3, 256));
        assert!(key(2, 9, 255) < key(1, 1, 256));
    }
}
