//! Digest sums: one number per bucket of names that says whether two replicas
//! know the same.
//!
//! Every entry of the index contributes a keyed hash of what it knows; a bucket
//! holds the wrapping sum, so a change is one subtraction and one addition and
//! nothing is ever walked. Written by [`crate::apply`], read by reconciliation.
use virga_ring::Partition;

use crate::entry::Entry;
use crate::keys::NameKey;

/// Key of the hash: a name for the purpose, so that these sums never collide
/// with other uses of BLAKE3.
const KEY: [u8; 32] = *b"virga object digest sum, v1\0\0\0\0\0";

/// Sum and number of the entries of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sum {
    /// Wrapping sum of the entries' hashes.
    pub sum: u128,
    /// Number of entries.
    pub count: u64,
}

impl Sum {
    /// Stored length in bytes.
    pub const LEN: usize = 24;

    /// What one entry contributes.
    pub fn of(name: &NameKey, entry: &Entry) -> Self {
        let mut text = [0u8; 33];
        text[..16].copy_from_slice(&name.0[4..]);
        let (kind, version) = entry
            .winner
            .as_ref()
            .map_or((0, 0), |w| (w.kind as u8, w.version.0));
        text[16] = kind;
        text[17..25].copy_from_slice(&version.to_le_bytes());
        text[25..].copy_from_slice(&entry.post.as_ref().map_or(0, |post| post.version.0).to_le_bytes());
        let hash = blake3::keyed_hash(&KEY, &text);
        let mut first = [0; 16];
        first.copy_from_slice(&hash.as_bytes()[..16]);
        Self {
            sum: u128::from_le_bytes(first),
            count: 1,
        }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            sum: self.sum.wrapping_add(other.sum),
            count: self.count.wrapping_add(other.count),
        }
    }

    /// This without the other.
    pub fn minus(self, other: Self) -> Self {
        Self {
            sum: self.sum.wrapping_sub(other.sum),
            count: self.count.wrapping_sub(other.count),
        }
    }

    /// Bytes as stored.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..16].copy_from_slice(&self.sum.to_le_bytes());
        out[16..].copy_from_slice(&self.count.to_le_bytes());
        out
    }

    /// Reads stored bytes; `None` if they have another length.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (sum, count) = bytes.split_at_checked(16)?;
        Some(Self {
            sum: u128::from_le_bytes(sum.try_into().ok()?),
            count: u64::from_le_bytes(count.try_into().ok()?),
        })
    }
}

/// Bucket of a name: the last byte of its hash, which no partition ever covers,
/// so that buckets stay what they are when the partition power grows.
pub fn bucket(name: &NameKey) -> u8 {
    name.0[19]
}

/// Digest of one bucket of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The partition.
    pub partition: Partition,
    /// Which of its 256 buckets.
    pub bucket: u8,
    /// Its sum.
    pub sum: Sum,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_forgets_what_is_taken_out_and_survives_storage() {
        let a = Sum {
            sum: u128::MAX - 5,
            count: 1,
        };
        let b = Sum { sum: 77, count: 1 };
        assert_eq!(a.plus(b).minus(a), b);
        assert_eq!(Sum::decode(&a.plus(b).encode()), Some(a.plus(b)));
        assert_eq!(Sum::decode(&[0; 23]), None);
    }
}
