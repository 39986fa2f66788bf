//! The table while it changes: leaf numbers, loads, quotas and limits.
//!
//! Shared by repair, greedy and flow. All counting is per partition over its
//! few entries; a tier is an interval of leaves.
use super::partition_set::PartitionSet;
use super::plan::Plan;
use super::quota::Quotas;
use super::scatter::Guide;
use super::tree::{ROOT, Tree};
use crate::device::Partition;
use crate::table::{NONE, Table};

/// Where a slot may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Only to a device below its quota.
    Deficit,
    /// To any device that the tiers' maxima allow.
    Any,
}

/// The table in the making.
#[derive(Debug)]
pub(super) struct Field<'a> {
    pub(super) tree: &'a Tree,
    pub(super) plan: &'a Plan,
    /// Leaf numbers; [`NONE`] for a slot without a device yet.
    pub(super) rows: Table,
    /// The same before any move.
    pub(super) old: Table,
    /// Slots per leaf, and the slots it should have.
    pub(super) load: Vec<u64>,
    pub(super) quota: Vec<u64>,
    /// The quotas of all tiers.
    pub(super) tiers: Quotas,
    /// Per tier: slots its devices lack.
    pub(super) lack: Vec<u64>,
    /// Per tier: quota less load; negative where there is a surplus.
    room: Vec<i64>,
    /// Per partition: how many of its slots may be on a new device.
    pub(super) allowed: Vec<u8>,
    /// Tiers every partition must have a replica in.
    required: Vec<usize>,
    /// Sum of all minimums.
    pub(super) total_min: u32,
    /// Per leaf: the smallest tier around it with a minimum; the root if none.
    pub(super) home: Vec<usize>,
    /// Partitions that something was done to.
    pub(super) touched: PartitionSet,
    /// Which sets of devices there are, when a scatter limit is set.
    pub(super) guide: Option<Guide>,
}

impl<'a> Field<'a> {
    pub(super) fn new(
        tree: &'a Tree,
        plan: &'a Plan,
        tables: (Table, Table),
        tiers: Quotas,
        allowed: Vec<u8>,
    ) -> Self {
        let (rows, old) = tables;
        let load = rows.count_by_device(tree.leaves());
        let quota: Vec<u64> = tree.node_of_leaf.iter().map(|&node| tiers.at[node]).collect();
        let required: Vec<usize> = (1..tree.nodes.len()).filter(|&node| plan.min[node] > 0).collect();
        let home = |leaf| {
            tree.upwards(leaf)
                .find(|&node| plan.min[node] > 0)
                .unwrap_or(ROOT)
        };
        let mut field = Self {
            tree,
            plan,
            rows,
            old,
            load,
            quota,
            tiers,
            lack: Vec::new(),
            room: Vec::new(),
            allowed,
            total_min: required.iter().map(|&node| plan.min[node]).sum(),
            required,
            home: (0..tree.leaves() as u32).map(home).collect(),
            touched: PartitionSet::new(),
            guide: None,
        };
        field.recount();
        field
    }

    /// Counts loads and lacks anew from the rows.
    pub(super) fn recount(&mut self) {
        self.load = self.rows.count_by_device(self.tree.leaves());
        self.lack = vec![0; self.tree.nodes.len()];
        self.room = vec![0; self.tree.nodes.len()];
        for leaf in 0..self.tree.live as u32 {
            let missing = self.deficit(leaf);
            let room = self.quota[leaf as usize] as i64 - self.load[leaf as usize] as i64;
            for node in self.tree.upwards(leaf) {
                self.lack[node] += missing;
                self.room[node] += room;
            }
            self.lack[ROOT] += missing;
        }
    }

    /// Tiers that every partition must have a replica in.
    pub(super) fn required(&self) -> &[usize] {
        &self.required
    }

    /// Slots a leaf holds beyond its quota.
    pub(super) fn surplus(&self, leaf: u32) -> u64 {
        self.load[leaf as usize].saturating_sub(self.quota[leaf as usize])
    }

    /// Slots a leaf lacks.
    pub(super) fn deficit(&self, leaf: u32) -> u64 {
        self.quota[leaf as usize].saturating_sub(self.load[leaf as usize])
    }

    /// Replicas that a row has in a tier, the entry at `skip` left out.
    #[inline]
    pub(super) fn count(&self, row: &[u32], skip: usize, node: usize) -> u32 {
        let node = &self.tree.nodes[node];
        row.iter()
            .enumerate()
            .map(|(at, &leaf)| u32::from(at != skip && node.holds(leaf)))
            .sum()
    }

    /// The smallest tier that the entry at `at` cannot leave without taking
    /// it below its minimum; the root if it may go anywhere.
    pub(super) fn ceiling(&self, row: &[u32], at: usize) -> usize {
        let stuck =
            |&node: &usize| self.plan.min[node] > 0 && self.count(row, at, node) < self.plan.min[node];
        self.tree.upwards(row[at]).find(stuck).unwrap_or(ROOT)
    }

    /// Tiers that a row has too few replicas in, the entry at `skip` left out.
    pub(super) fn shorts(&self, row: &[u32], skip: usize, into: &mut Vec<usize>) {
        into.clear();
        let short = |&&node: &&usize| self.count(row, skip, node) < self.plan.min[node];
        into.extend(self.required.iter().filter(short));
    }

    /// The best device below `from` for the entry at `skip`: first into tiers
    /// in `shorts`, then where most slots are lacking; backs up on dead ends.
    pub(super) fn descend(
        &self,
        row: &[u32],
        skip: usize,
        from: usize,
        want: Want,
        shorts: &[usize],
    ) -> Option<u32> {
        let node = &self.tree.nodes[from];
        if node.children.is_empty() {
            return (from != ROOT).then_some(node.leaves.0);
        }
        let mut below = (true, i64::MAX, usize::MAX);
        loop {
            // The best child after those already tried.
            let mut best: Option<(bool, i64, usize)> = None;
            for &child in &node.children {
                let good = match want {
                    Want::Deficit if self.lack[child] == 0 => continue,
                    Want::Deficit => self.lack[child] as i64,
                    Want::Any => self.room[child],
                };
                let inside = &self.tree.nodes[child].leaves;
                let needy = shorts.iter().any(|&short| {
                    let short = &self.tree.nodes[short].leaves;
                    inside.0 <= short.0 && short.1 <= inside.1
                });
                let key = (needy, good, child);
                if key < below && best.is_none_or(|best| key > best) {
                    best = Some(key);
                }
            }
            let (_, _, child) = best?;
            below = best?;
            if self.count(row, skip, child) < self.plan.max[child] {
                let found = self.descend(row, skip, child, want, shorts);
                if found.is_some() {
                    return found;
                }
            }
        }
    }

    /// Puts `leaf` at entry `at` of `part` and keeps the sums right.
    pub(super) fn put(&mut self, part: usize, at: usize, leaf: u32) {
        self.touched.insert(Partition(part as u32));
        let before = std::mem::replace(&mut self.rows.of_mut(part)[at], leaf);
        if before != NONE {
            if self.load[before as usize] <= self.quota[before as usize] {
                self.tree.upwards(before).for_each(|node| self.lack[node] += 1);
                self.lack[ROOT] += 1;
            }
            self.load[before as usize] -= 1;
            self.tree.upwards(before).for_each(|node| self.room[node] += 1);
        }
        if self.deficit(leaf) > 0 {
            self.tree.upwards(leaf).for_each(|node| self.lack[node] -= 1);
            self.lack[ROOT] -= 1;
        }
        self.load[leaf as usize] += 1;
        self.tree.upwards(leaf).for_each(|node| self.room[node] -= 1);
    }

    /// Raises one leaf's quota by a slot at another's expense.
    pub(super) fn shift_quota(&mut self, up: u32, down: u32) {
        let tree = self.tree;
        let apart = |node: usize, other: u32| !tree.nodes[node].holds(other);
        for node in tree.upwards(up).take_while(|&node| apart(node, down)) {
            self.tiers.at[node] += 1;
        }
        for node in tree.upwards(down).take_while(|&node| apart(node, up)) {
            self.tiers.at[node] -= 1;
        }
        for (leaf, by) in [(up, 1), (down, -1)] {
            let before = self.deficit(leaf);
            self.quota[leaf as usize] = self.quota[leaf as usize].saturating_add_signed(by);
            let more = self.deficit(leaf) as i64 - before as i64;
            for node in tree.upwards(leaf) {
                self.lack[node] = self.lack[node].saturating_add_signed(more);
                self.room[node] += by;
            }
            self.lack[ROOT] = self.lack[ROOT].saturating_add_signed(more);
        }
    }

    /// Slots on devices above their quota, that many too many.
    pub(super) fn total_surplus(&self) -> u64 {
        (0..self.load.len() as u32).map(|leaf| self.surplus(leaf)).sum()
    }

    /// Did `leaf` hold `part` before?
    #[inline]
    pub(super) fn held_before(&self, part: usize, leaf: u32) -> bool {
        self.old.of(part).contains(&leaf)
    }

    /// Entries of `part` that are on a device which did not hold it before.
    pub(super) fn moved(&self, part: usize) -> u8 {
        let new = self
            .rows
            .of(part)
            .iter()
            .filter(|&&leaf| leaf != NONE && !self.held_before(part, leaf));
        new.count().min(usize::from(u8::MAX)) as u8
    }

    /// May one more slot of `part` move?
    pub(super) fn may_move(&self, part: usize) -> bool {
        self.moved(part) < self.allowed[part]
    }

    /// Kept devices go back to the row they had, so that the index of a
    /// replica (a fragment's number) does not change without need.
    pub(super) fn restore_rows(&mut self) {
        let (mut homes, mut fresh): (Vec<Option<u32>>, Vec<u32>) = (Vec::new(), Vec::new());
        for part in 0..self.rows.parts() {
            let old = self.old.of(part);
            let row = self.rows.of_mut(part);
            if row.iter().eq(old) {
                continue;
            }
            homes.clear();
            let home = |at: usize| {
                old.get(at)
                    .copied()
                    .filter(|leaf| *leaf != NONE && row.contains(leaf))
            };
            homes.extend((0..row.len()).map(home));
            fresh.clear();
            fresh.extend(row.iter().copied().filter(|&leaf| !homes.contains(&Some(leaf))));
            let mut fresh = fresh.iter();
            for (cell, home) in row.iter_mut().zip(&homes) {
                if let Some(leaf) = home.or_else(|| fresh.next().copied()) {
                    *cell = leaf;
                }
            }
        }
    }
}
