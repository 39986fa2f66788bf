//! Rebalance: brings the table to the plan with the fewest moves.
//!
//! The first time it fills an empty table ([`super::fill`]); later it changes
//! the one there is ([`super::arrange`]). Then counts what moved.
use super::arrange::{Arranged, Draft, arrange};
use super::options::{Movement, RebalanceOptions, Rebalanced};
use super::partition_set::PartitionSet;
use super::plan::{Plan, PlanError};
use super::quota::quotas;
use super::random::Random;
use super::tree::Tree;
use super::{Builder, fill};
use crate::device::{DeviceId, Partition};
use crate::table::{MAX_SLOTS, NONE, Table};

/// Why a rebalance is refused. The builder is unchanged then.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RebalanceError {
    /// No plan for these devices and weights.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// More than [`MAX_SLOTS`].
    #[error("2^{0} partitions with these replicas is more than {MAX_SLOTS} slots, the most a table may have")]
    TooLarge(u8),
    /// Devices may not move now.
    #[error("a partition power increase is in progress: finish or cancel it first")]
    PowerIncrease,
}

impl Builder {
    /// Places every slot. `seed` decides between equal choices; `now` is Unix
    /// seconds (for min_part_hours). On an error nothing has changed.
    pub fn rebalance(&mut self, seed: u64, now: u64) -> Result<Rebalanced, RebalanceError> {
        self.rebalance_with(&RebalanceOptions::new(seed, now))
    }

    /// [`Builder::rebalance`] with everything that can be told.
    pub fn rebalance_with(&mut self, options: &RebalanceOptions<'_>) -> Result<Rebalanced, RebalanceError> {
        if self.settings.next_part_power.is_some() {
            return Err(RebalanceError::PowerIncrease);
        }
        let tree = Tree::new(&self.devices, &self.removed);
        let parts = usize::try_from(self.partition_count()).unwrap_or(usize::MAX);
        let empty = Table::for_replicas(parts, self.settings.replicas)
            .ok_or(RebalanceError::TooLarge(self.settings.part_power))?;
        Plan::new(&tree, self.settings.replicas, self.settings.overload)?;
        // A fraction is cut to whole slots: plan for those.
        let plan = Plan::new(&tree, empty.replica_count(), self.settings.overload)?;
        let mut random = Random::new(options.seed);
        let outcome = match self.table.take() {
            None => self.first(&tree, &plan, empty, &mut random),
            Some(before) => self.change(&tree, &plan, (before, empty), &mut random, options),
        };
        if outcome.moved > 0 {
            // Whole hours are counted from here: no partition rests too short.
            self.times.epoch = options.now;
        }
        Ok(self.conclude(outcome))
    }

    fn first(&mut self, tree: &Tree, plan: &Plan, empty: Table, random: &mut Random) -> Outcome {
        let slots = empty.slots() as u64;
        let quota = quotas(tree, plan, empty.parts(), slots, &vec![0; tree.nodes.len()]);
        let per_leaf: Vec<u64> = tree.node_of_leaf.iter().map(|&node| quota.at[node]).collect();
        let blocks = blocks_for(tree.live, empty.parts());
        let table = match self.settings.scatter_limit {
            Some(limit) => fill::fill_within(tree, &empty, &per_leaf, (blocks, limit), random),
            None => {
                let mut table = empty;
                fill::fill(tree, &mut table, &per_leaf, blocks, random);
                table
            }
        };
        self.times.hours = vec![0; table.parts()];
        let counts = per_leaf
            .iter()
            .zip(&tree.device_of_leaf)
            .filter(|(slots, _)| **slots > 0);
        let movements = counts
            .map(|(&slots, &to)| Movement {
                from: None,
                to,
                slots,
            })
            .collect();
        let parts = (0..table.parts() as u32).map(Partition).collect();
        self.table = Some(to_devices(tree, table));
        Outcome {
            moved: slots,
            parts,
            bound: slots,
            pending: 0,
            looks: 0,
            movements,
        }
    }

    fn change(
        &mut self,
        tree: &Tree,
        plan: &Plan,
        (before, mut rows): (Table, Table),
        random: &mut Random,
        options: &RebalanceOptions<'_>,
    ) -> Outcome {
        self.times.advance(options.now);
        let old = to_leaves(tree, before);
        let (parts, slots) = (rows.parts(), rows.slots() as u64);
        let mut allowed = vec![0u8; parts];
        for (part, allowed) in allowed.iter_mut().enumerate() {
            let row = rows.of_mut(part);
            row.iter_mut()
                .zip(old.of(part))
                .for_each(|(cell, &leaf)| *cell = leaf);
            // What has no device must move; else one, if it has rested.
            let holes = row.iter().filter(|leaf| **leaf == NONE).count() as u8;
            let rested = u32::from(self.times.hours[part]) >= self.settings.min_part_hours;
            let locked = options
                .locked
                .is_some_and(|set| set.contains(Partition(part as u32)));
            *allowed = holes.max(u8::from(rested && !locked));
        }
        let held = held_by_tier(tree, &old);
        let quota = quotas(tree, plan, parts, slots, &held);
        let draft = Draft {
            rows,
            old,
            quotas: quota,
            allowed,
            scatter_limit: self.settings.scatter_limit,
            least_moves: options.least_moves,
        };
        self.take_over(arrange(tree, plan, draft, random))
    }

    /// Counts what moved and makes the field the new table.
    fn take_over(&mut self, arranged: Arranged<'_>) -> Outcome {
        let mut field = arranged.field;
        field.restore_rows();
        let mut outcome = Outcome {
            moved: 0,
            parts: PartitionSet::new(),
            bound: arranged.bound,
            pending: arranged.pending,
            looks: arranged.looks,
            movements: Vec::new(),
        };
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        let device = |leaf: u32| field.tree.device_of_leaf[leaf as usize];
        for part in 0..field.rows.parts() {
            let (new, old) = (field.rows.of(part), field.old.of(part));
            let mut gone = old.iter().filter(|leaf| **leaf == NONE || !new.contains(leaf));
            let mut moved = 0;
            for &leaf in new.iter().filter(|leaf| **leaf != NONE && !old.contains(leaf)) {
                let from = gone.next().copied().filter(|&leaf| leaf != NONE).map(device);
                pairs.push((from.map_or(NONE, |id| id.0), device(leaf).0));
                moved += 1;
            }
            if moved > 0 {
                outcome.moved += moved;
                outcome.parts.insert(Partition(part as u32));
                self.times.hours[part] = 0;
            }
        }
        outcome.movements = sum_up(pairs);
        self.table = Some(to_devices(field.tree, field.rows));
        outcome
    }

    /// Drops removed devices, measures, counts the version up.
    fn conclude(&mut self, outcome: Outcome) -> Rebalanced {
        let removed = std::mem::take(&mut self.removed);
        removed.iter().for_each(|id| self.devices[id.0 as usize] = None);
        while matches!(self.devices.last(), Some(None)) {
            self.devices.pop();
        }
        self.settings.changed = false;
        self.settings.version += 1;
        self.settings.dispersion = self.measure_dispersion();
        Rebalanced {
            moved: outcome.moved,
            parts_moved: outcome.parts.len(),
            moved_parts: outcome.parts,
            bound: outcome.bound,
            pending: outcome.pending,
            looks: outcome.looks,
            removed,
            balance: self.balance(),
            dispersion: self.settings.dispersion,
            movements: outcome.movements,
            scatter: self.scatter(),
        }
    }
}

struct Outcome {
    moved: u64,
    parts: PartitionSet,
    bound: u64,
    pending: u64,
    looks: u64,
    movements: Vec<Movement>,
}

/// Blocks of the first table: enough that partitions above the floor of a
/// tier are spread over all its devices, so that later changes find direct
/// moves; no more, as copysets grow with them.
fn blocks_for(devices: usize, parts: usize) -> usize {
    (devices.next_power_of_two() / 2).clamp(1, (parts / 4).max(1))
}

/// How many slots went from which device ([`NONE`] for new replicas) to which.
fn sum_up(mut pairs: Vec<(u32, u32)>) -> Vec<Movement> {
    // New replicas first.
    pairs.sort_unstable_by_key(|&(from, to)| (from.wrapping_add(1), to));
    let same = pairs.chunk_by(|a, b| a == b);
    same.map(|pairs| Movement {
        from: (pairs[0].0 != NONE).then_some(DeviceId(pairs[0].0)),
        to: DeviceId(pairs[0].1),
        slots: pairs.len() as u64,
    })
    .collect()
}

fn to_leaves(tree: &Tree, mut table: Table) -> Table {
    for part in 0..table.parts() {
        for cell in table.of_mut(part) {
            *cell = tree.leaf_of_device.get(*cell as usize).copied().unwrap_or(NONE);
        }
    }
    table
}

fn to_devices(tree: &Tree, mut table: Table) -> Table {
    for part in 0..table.parts() {
        for cell in table.of_mut(part) {
            *cell = tree.device_of_leaf.get(*cell as usize).map_or(NONE, |id| id.0);
        }
    }
    table
}

fn held_by_tier(tree: &Tree, old: &Table) -> Vec<u64> {
    let mut held = vec![0; tree.nodes.len()];
    for (leaf, count) in old.count_by_device(tree.leaves()).into_iter().enumerate() {
        tree.upwards(leaf as u32).for_each(|node| held[node] += count);
    }
    held
}
