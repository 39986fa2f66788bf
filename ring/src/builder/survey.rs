//! One look at every partition before anything moves: which have slots without
//! a device, which are outside the plan, which could leave a tier.
//!
//! Later steps visit only what is noted here. Also sums up what the lower
//! bound needs to know about the old table.
use super::field::Field;
use super::partition_set::PartitionSet;
use super::tree::{LEVELS, ROOT};
use crate::device::Partition;
use crate::table::NONE;

/// How one partition stands to the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Replicas over a maximum, summed over all tiers.
    pub(super) over: u32,
    /// Replicas under a minimum, summed over all tiers.
    pub(super) short: u32,
    /// Has more than the minimum in some tier with one: a replica could leave it.
    pub(super) loose: bool,
}

impl Field<'_> {
    /// Where a row stands.
    pub(super) fn standing(&self, row: &[u32]) -> Standing {
        let (mut over, mut met, mut loose) = (0, 0, false);
        for level in 0..LEVELS {
            for (at, &leaf) in row.iter().enumerate().filter(|(_, leaf)| **leaf != NONE) {
                let node = self.tree.ancestors[leaf as usize][level];
                let same =
                    |&&other: &&u32| other != NONE && self.tree.ancestors[other as usize][level] == node;
                // Each tier once, at its first entry.
                if node as usize == ROOT || row[..at].iter().any(|other| same(&other)) {
                    continue;
                }
                let count = 1 + row[at + 1..].iter().filter(same).count() as u32;
                let (min, max) = (self.plan.min[node as usize], self.plan.max[node as usize]);
                over += count.saturating_sub(max);
                met += count.min(min);
                loose |= min > 0 && count > min;
            }
        }
        Standing {
            over,
            short: self.total_min - met.min(self.total_min),
            loose,
        }
    }

    /// How far a row is outside the plan.
    pub(super) fn violation(&self, row: &[u32]) -> u32 {
        let standing = self.standing(row);
        standing.over + standing.short
    }
}

/// What the survey found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Partitions with a slot that has no device.
    pub(super) holes: PartitionSet,
    /// Partitions outside the plan.
    pub(super) outside: PartitionSet,
    /// Partitions that have more than the minimum in some tier.
    pub(super) loose: PartitionSet,
    /// Per tier: replicas that have to leave it, and to enter it.
    pub(super) leave: Vec<u64>,
    pub(super) enter: Vec<u64>,
}

/// Looks at every partition.
pub(super) fn survey(field: &Field<'_>) -> Survey {
    let nodes = field.tree.nodes.len();
    let mut found = Survey {
        leave: vec![0; nodes],
        enter: vec![0; nodes],
        ..Survey::default()
    };
    let narrowed = field.old.slots() > field.rows.slots();
    for number in 0..field.rows.parts() {
        let (part, row) = (Partition(number as u32), field.rows.of(number));
        let standing = field.standing(row);
        if row.contains(&NONE) {
            found.holes.insert(part);
        }
        if standing.over + standing.short > 0 {
            found.outside.insert(part);
        }
        if standing.loose {
            found.loose.insert(part);
        }
        let before = match narrowed {
            true => field.standing(field.old.of(number)),
            false => standing,
        };
        if before.over + before.short > 0 {
            found.note_forced(field, field.old.of(number));
        }
    }
    found
}

impl Survey {
    /// Has the partition a slot without a device?
    pub(super) fn has_holes(&self, part: usize) -> bool {
        self.holes.contains(Partition(part as u32))
    }

    /// May the partition be outside the plan, also after its holes are filled?
    pub(super) fn needs_repair(&self, part: usize) -> bool {
        self.has_holes(part) || self.outside.contains(Partition(part as u32))
    }

    /// Adds up what has to leave and enter tiers for one partition.
    fn note_forced(&mut self, field: &Field<'_>, row: &[u32]) {
        let live = |leaf: u32| leaf != NONE && (leaf as usize) < field.tree.live;
        for (at, &leaf) in row.iter().enumerate().filter(|(_, leaf)| live(**leaf)) {
            for node in field.tree.upwards(leaf) {
                let tier = &field.tree.nodes[node];
                if !row[..at].iter().any(|&before| tier.holds(before)) {
                    let count = field.count(row, usize::MAX, node);
                    self.leave[node] += u64::from(count.saturating_sub(field.plan.max[node]));
                }
            }
        }
        for &node in field.required() {
            let count = field.count(row, usize::MAX, node);
            self.enter[node] += u64::from(field.plan.min[node].saturating_sub(count));
        }
    }
}
