//! Digest sums: one number per bucket of names that says whether two replicas
//! know the same.
//!
//! Every entry of the index contributes a keyed hash of what it knows
//! ([`NameState::sum`]); a bucket holds the wrapping sum, so a change is one
//! subtraction and one addition and nothing is ever walked. Written by
//! [`crate::apply`], read by reconciliation. A partition's sum is not stored: it
//! is added up when first asked for and followed in memory from then on.
use std::collections::BTreeMap;

pub use virga_object_wire::movement::Sum;
use virga_object_wire::movement::{DataState, NameState, Rank, tie};
use virga_ring::Partition;

use crate::entry::{Entry, Kind};
use crate::keys::NameKey;

/// What another replica is told of an entry.
pub fn state(name: &NameKey, entry: &Entry) -> NameState {
    NameState {
        hash: name.hash(),
        data: entry.winner.as_ref().map(|winner| DataState {
            rank: Rank {
                version: winner.version,
                tie: tie(&winner.blake3),
            },
            deleted: winner.kind == Kind::Tombstone,
            size: winner.size,
        }),
        post: entry.post.as_ref().map(|post| post.rank),
    }
}

/// What one entry contributes to its bucket.
pub fn of(name: &NameKey, entry: &Entry) -> Sum {
    state(name, entry).sum()
}

/// Sums of whole partitions in memory, in order of policy and partition, as far
/// as they have been added up.
#[derive(Debug, Default)]
pub struct PartitionSums {
    /// All partitions up to this key are in `sums` unless they are empty.
    pub upto: Option<u64>,
    sums: BTreeMap<u64, Sum>,
}

/// Policy and partition as one number that sorts like they do.
pub fn place(policy: u32, partition: Partition) -> u64 {
    u64::from(policy) << 32 | u64::from(partition.0)
}

impl PartitionSums {
    /// Adds a change to a partition that has been added up.
    pub fn add(&mut self, place: u64, change: Sum) {
        if self.upto.is_some_and(|upto| place <= upto) {
            let sum = self.sums.entry(place).or_default();
            *sum = sum.plus(change);
            if *sum == Sum::default() {
                self.sums.remove(&place);
            }
        }
    }

    /// The sum of a partition, if it has been added up.
    pub fn of(&self, place: u64) -> Option<Sum> {
        let known = self.upto.is_some_and(|upto| place <= upto);
        known.then(|| self.sums.get(&place).copied().unwrap_or_default())
    }

    /// Partitions of a policy that hold anything.
    pub fn held(&self, policy: u32) -> impl Iterator<Item = (Partition, Sum)> + '_ {
        let (first, last) = (place(policy, Partition(0)), place(policy, Partition(u32::MAX)));
        let held = self.sums.range(first..=last);
        held.map(|(place, sum)| (Partition((place & u64::from(u32::MAX)) as u32), *sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_partitions_that_were_added_up_are_followed() {
        let one = Sum { sum: 7, count: 1 };
        let mut sums = PartitionSums::default();
        sums.add(3, one);
        assert_eq!(sums.of(3), None);
        sums.upto = Some(5);
        sums.add(3, one);
        sums.add(6, one);
        assert_eq!(
            (sums.of(3), sums.of(4), sums.of(6)),
            (Some(one), Some(Sum::default()), None)
        );
        assert_eq!(sums.held(0).collect::<Vec<_>>(), [(Partition(3), one)]);
        sums.add(3, Sum::default().minus(one));
        assert_eq!(sums.held(0).count(), 0);
    }

    #[test]
    fn sums_are_kept_apart_by_policy() {
        let (one, two) = (Sum { sum: 7, count: 1 }, Sum { sum: 9, count: 2 });
        let last = Partition(u32::MAX);
        let mut sums = PartitionSums {
            upto: Some(place(1, last)),
            ..PartitionSums::default()
        };
        for (policy, partition, sum) in [(0, last, one), (1, Partition(0), two), (1, last, one)] {
            sums.add(place(policy, partition), sum);
        }
        sums.add(place(2, Partition(0)), one);
        let held = |policy| sums.held(policy).collect::<Vec<_>>();
        assert_eq!(held(0), [(last, one)]);
        assert_eq!(held(1), [(Partition(0), two), (last, one)]);
        assert_eq!((held(2), sums.of(place(2, Partition(0)))), (Vec::new(), None));
    }
}
