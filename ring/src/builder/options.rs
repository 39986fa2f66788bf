//! What a rebalance is told and what it says it did.
//!
//! Made by the verbs and by composite rings, read by [`super::rebalance`].
use super::partition_set::PartitionSet;
use super::scatter::Scatter;
use crate::device::DeviceId;

/// What a rebalance is told.
///
/// Builders that share partitions (the components of a composite ring) take
/// turns with `locked`: before each one, put together [`super::Builder::resting`]
/// of all the others and [`Rebalanced::moved_parts`] of those that went before.
#[derive(Clone, Copy, Debug, Default)]
pub struct RebalanceOptions<'a> {
    /// Decides between equal choices: equal calls give equal rings.
    pub seed: u64,
    /// Unix seconds, for min_part_hours.
    pub now: u64,
    /// Leave partitions alone that are only below a tier's minimum: fewer
    /// moves, more dispersion. No partition gets below a minimum by it.
    pub least_moves: bool,
    /// Partitions that must not move although min_part_hours has passed for
    /// them here. Replicas on removed devices and new replicas go all the same.
    pub locked: Option<&'a PartitionSet>,
}

impl RebalanceOptions<'_> {
    /// The usual rebalance.
    pub fn new(seed: u64, now: u64) -> Self {
        Self {
            seed,
            now,
            ..Self::default()
        }
    }
}

/// What a rebalance did.
#[derive(Clone, Debug, PartialEq)]
pub struct Rebalanced {
    /// Slots now on a device that did not hold their partition before.
    pub moved: u64,
    /// Partitions with such a slot.
    pub parts_moved: u64,
    /// Which partitions those are. All of them after the first rebalance.
    pub moved_parts: PartitionSet,
    /// Fewest moves any table inside the plan would have taken.
    pub bound: u64,
    /// Slots that are still to move, held back by min_part_hours or by
    /// [`RebalanceOptions::locked`]: a partition moves one replica at a time.
    pub pending: u64,
    /// Partitions that the search for chains looked at, counted each time: how
    /// much work it was, whatever the machine.
    pub looks: u64,
    /// Devices dropped from the ring.
    pub removed: Vec<DeviceId>,
    /// Largest deviation from the share by weight, in percent.
    pub balance: f64,
    /// Swift's dispersion figure, in percent.
    pub dispersion: f64,
    /// Which slots moved where, summed up.
    pub movements: Vec<Movement>,
    /// Copysets and scatter of the new table; measured when a limit is set
    /// ([`super::Builder::set_scatter_limit`]).
    pub scatter: Option<Scatter>,
}

/// Slots that went from one device to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Movement {
    /// The device that gave them up; `None` for new replicas.
    pub from: Option<DeviceId>,
    /// The device that has them now.
    pub to: DeviceId,
    /// How many.
    pub slots: u64,
}
