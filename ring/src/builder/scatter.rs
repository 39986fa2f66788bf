//! The scatter limit: on how many others a device's data may depend.
//!
//! The scatter of a device is the number of other devices it shares a
//! partition with. Narrow scatter means few copysets, so that devices failing
//! together seldom hold all replicas of a partition; wide scatter means quick
//! rebuilding. Where the limit is kept: [`super::fill`] (number of blocks) and
//! the choice of targets in a rebalance.
use std::collections::HashSet;

use super::field::{Field, Want};
use super::tree::ROOT;
use super::{Builder, ChangeError};
use crate::table::{NONE, Table};

/// Copysets and scatter of a table, beside the limit that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scatter {
    /// The limit.
    pub limit: u32,
    /// Most other devices that any device shares a partition with.
    pub widest: u32,
    /// Devices over the limit; 0 when the limit is met.
    pub over_limit: u32,
    /// Distinct sets of devices that hold a partition.
    pub copysets: u64,
}

impl Scatter {
    /// Is every device within the limit?
    pub fn is_met(&self) -> bool {
        self.over_limit == 0
    }
}

impl Builder {
    /// Limits the scatter of every device, or lifts the limit. The first
    /// rebalance lays the table out for it; later ones prefer sets of devices
    /// that exist already. Balance and dispersion come first: when the limit
    /// cannot be met, [`super::Rebalanced::scatter`] says by how much.
    pub fn set_scatter_limit(&mut self, limit: Option<u32>) -> Result<(), ChangeError> {
        if let Some(limit) = limit
            && f64::from(limit) < self.replicas().ceil() - 1.0
        {
            return Err(ChangeError::ScatterLimit {
                limit,
                replicas: self.replicas(),
            });
        }
        self.settings.scatter_limit = limit;
        Ok(())
    }

    /// The limit, if one is set.
    pub fn scatter_limit(&self) -> Option<u32> {
        self.settings.scatter_limit
    }

    /// Scatter of the table as it is; `None` without a limit or a table.
    pub fn scatter(&self) -> Option<Scatter> {
        let (limit, table) = (self.settings.scatter_limit?, self.table.as_ref()?);
        Some(measure(table, self.devices.len(), limit))
    }
}

/// Measures a table of numbers below `devices`.
pub(super) fn measure(table: &Table, devices: usize, limit: u32) -> Scatter {
    let mut partners = Partners::new(devices);
    let mut copysets = HashSet::new();
    for part in 0..table.parts() {
        let row = table.of(part);
        if copysets.insert(name_of(row)) {
            partners.add(row);
        }
    }
    let scatter = (0..devices as u32).map(|device| partners.of(device));
    Scatter {
        limit,
        widest: scatter.clone().max().unwrap_or(0),
        over_limit: scatter.filter(|&of| of > limit).count() as u32,
        copysets: copysets.len() as u64,
    }
}

/// A number that stands for a set of devices, in whatever order they come.
/// Two sets share one in about 2^64 cases.
pub(super) fn name_of(row: &[u32]) -> u64 {
    row.iter()
        .filter(|&&device| device != NONE)
        .map(|&device| super::random::mix(u64::from(device) + 0x9e37_79b9_7f4a_7c15))
        .fold(0, u64::wrapping_add)
}

/// Which devices share a partition: one bit a pair.
#[derive(Clone, Debug)]
pub(super) struct Partners {
    bits: Vec<u64>,
    /// Words a device.
    stride: usize,
}

impl Partners {
    pub(super) fn new(devices: usize) -> Self {
        let stride = devices.div_ceil(64);
        Self {
            bits: vec![0; stride * devices],
            stride,
        }
    }

    /// The devices of a partition know each other from now on.
    pub(super) fn add(&mut self, row: &[u32]) {
        for &a in row.iter().filter(|&&device| device != NONE) {
            for &b in row.iter().filter(|&&b| b != NONE && b != a) {
                self.bits[a as usize * self.stride + b as usize / 64] |= 1 << (b % 64);
            }
        }
    }

    /// Do the two share a partition?
    fn know(&self, a: u32, b: u32) -> bool {
        self.bits[a as usize * self.stride + b as usize / 64] & (1 << (b % 64)) != 0
    }

    /// How many others a device shares a partition with.
    pub(super) fn of(&self, device: u32) -> u32 {
        let start = device as usize * self.stride;
        self.bits[start..start + self.stride]
            .iter()
            .map(|word| word.count_ones())
            .sum()
    }
}

/// Which sets of devices there are while a table changes.
#[derive(Clone, Debug)]
pub(super) struct Guide {
    limit: u32,
    partners: Partners,
    sets: HashSet<u64>,
}

impl Guide {
    /// Learns the sets of a table of leaf numbers.
    pub(super) fn new(table: &Table, leaves: usize, limit: u32) -> Self {
        let mut guide = Self {
            limit,
            partners: Partners::new(leaves),
            sets: HashSet::new(),
        };
        (0..table.parts()).for_each(|part| guide.learn(table.of(part)));
        guide
    }

    pub(super) fn learn(&mut self, row: &[u32]) {
        if self.sets.insert(name_of(row)) {
            self.partners.add(row);
        }
    }

    /// What it costs that the entry at `at` goes to `leaf`: devices that get
    /// over the limit, a new set or not, new pairs of partners.
    fn price(&self, row: &[u32], at: usize, leaf: u32) -> (u32, bool, u32) {
        let mut set = row.to_vec();
        set[at] = leaf;
        if self.sets.contains(&name_of(&set)) {
            return (0, false, 0);
        }
        set.swap_remove(at);
        let strange = |&&other: &&u32| other != NONE && !self.partners.know(leaf, other);
        let new = set.iter().filter(strange).count() as u32;
        let full = |other: u32| self.partners.of(other) >= self.limit;
        let mut over = set.iter().filter(strange).filter(|other| full(**other)).count() as u32;
        over += u32::from(new > 0 && self.partners.of(leaf) + new > self.limit);
        (over, true, new)
    }
}

/// Targets looked at for one slot.
const MAX_TARGETS: usize = 128;

impl Field<'_> {
    /// A device below `from` that lacks slots, for the entry at `at`: the one
    /// that lacks most, or with a scatter limit the one that adds least to it.
    pub(super) fn target(&self, row: &[u32], at: usize, from: usize, shorts: &[usize]) -> Option<u32> {
        let Some(guide) = self.guide.as_ref().filter(|_| shorts.is_empty()) else {
            return self.descend(row, at, from, Want::Deficit, shorts);
        };
        let mut targets = Vec::new();
        self.targets(row, at, from, &mut targets);
        let price = |&leaf: &u32| (guide.price(row, at, leaf), u64::MAX - self.deficit(leaf));
        targets.into_iter().min_by_key(price)
    }

    fn targets(&self, row: &[u32], at: usize, node: usize, into: &mut Vec<u32>) {
        let tier = &self.tree.nodes[node];
        if self.lack[node] == 0 || into.len() >= MAX_TARGETS {
            return;
        }
        if tier.children.is_empty() && node != ROOT {
            into.push(tier.leaves.0);
        }
        for &child in &tier.children {
            if self.count(row, at, child) < self.plan.max[child] {
                self.targets(row, at, child, into);
            }
        }
    }

    /// A set of devices exists from now on.
    pub(super) fn learn(&mut self, part: usize) {
        if let Some(guide) = &mut self.guide {
            guide.learn(self.rows.of(part));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scatter_counts_partners_once_and_copysets_without_order() {
        // Partitions {0,1}, {1,0}, {1,2}.
        let table = Table::from_row_major(4, &[0, 1, 1, 1, 1, 0, 2, 0]).unwrap();
        let found = measure(&table, 4, 1);
        assert_eq!((found.widest, found.over_limit, found.copysets), (2, 1, 2));
        assert!(!found.is_met() && measure(&table, 4, 2).is_met());
    }

    #[test]
    fn partners_are_counted_among_more_devices_than_a_word_has_bits() {
        // 130 beside 0, 64, 129 and 1.
        let table = Table::from_row_major(4, &[130, 130, 130, 130, 0, 64, 129, 1]).unwrap();
        let found = measure(&table, 131, 3);
        assert_eq!((found.widest, found.over_limit, found.copysets), (4, 1, 4));
    }

    #[test]
    fn a_limit_below_the_other_replicas_of_a_partition_is_refused() {
        let mut builder = Builder::create(4, 3.0, 1).unwrap();
        let refused = builder.set_scatter_limit(Some(1)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "a scatter limit of 1 is less than the other replicas of a partition: with 3 replicas it must be 2 or more"
        );
        builder.set_scatter_limit(Some(2)).unwrap();
        assert_eq!(builder.scatter_limit(), Some(2));
    }
}
