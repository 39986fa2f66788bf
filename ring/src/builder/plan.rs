//! The plan: how many replicas of a partition each tier should hold.
//!
//! The same numbers as Swift's: shares by weight, shares by dispersion, and
//! between them the target that the overload allows. Called by rebalance,
//! dispersion report and bound; knows no table.
use super::tree::{ROOT, Tree};
use crate::device::DeviceId;

/// Closer than this to a whole number is that number.
const EPSILON: f64 = 1e-10;
/// Rounds of redistribution before the weights are called hopeless.
const MAX_ROUNDS: usize = 10_000;

/// Shares per tier, indexed like the tree's nodes (0 for drained devices).
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// What to aim for: the share by weight (a device capped at one replica),
    /// moved towards the best dispersed share as far as the overload permits.
    pub(super) target: Vec<f64>,
    /// Every partition should have at least this many replicas in the tier.
    pub(super) min: Vec<u32>,
    /// And at most this many.
    pub(super) max: Vec<u32>,
    /// Overload that full dispersion would take.
    pub(super) required_overload: f64,
}

/// Why no plan exists.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PlanError {
    /// No device has weight.
    #[error(
        "there are no devices with weight in this ring: add devices, or give weight to those that have none"
    )]
    NoDevices,
    /// A device holds at most one replica of a partition.
    #[error(
        "replica count of {replicas} requires more than {devices} devices with weight: add devices, give weight to those that have none, or set fewer replicas"
    )]
    TooFewDevices {
        /// Replicas wanted.
        replicas: f64,
        /// Devices with weight.
        devices: usize,
    },
    /// The weights differ too much for the arithmetic.
    #[error(
        "device weights are too far apart to share out: d{lightest} has {smallest:e}, d{heaviest} has {largest:e}; bring them nearer with set_weight, or set one to 0"
    )]
    Weights {
        /// The device with the smallest positive weight.
        lightest: DeviceId,
        /// Its weight.
        smallest: f64,
        /// The device with the largest weight.
        heaviest: DeviceId,
        /// Its weight.
        largest: f64,
    },
}

impl PlanError {
    fn weights(tree: &Tree) -> Self {
        let by_weight = |a: &usize, b: &usize| tree.weights[*a].total_cmp(&tree.weights[*b]);
        let light = (0..tree.live).min_by(by_weight).unwrap_or(0);
        let heavy = (0..tree.live).max_by(by_weight).unwrap_or(0);
        Self::Weights {
            lightest: tree.device_of_leaf[light],
            smallest: tree.weights[light],
            heaviest: tree.device_of_leaf[heavy],
            largest: tree.weights[heavy],
        }
    }
}

impl Plan {
    /// Works out the plan for `replicas` and `overload` (0.1 is 10 %).
    pub(super) fn new(tree: &Tree, replicas: f64, overload: f64) -> Result<Self, PlanError> {
        if tree.live == 0 {
            return Err(PlanError::NoDevices);
        }
        if (tree.live as f64) < replicas {
            return Err(PlanError::TooFewDevices {
                replicas,
                devices: tree.live,
            });
        }
        let hopeless = || PlanError::weights(tree);
        let weighted = weighted(tree, replicas).ok_or_else(hopeless)?;
        let wanted = wanted(tree, replicas, &weighted).ok_or_else(hopeless)?;
        let required_overload = (0..tree.live)
            .map(|leaf| tree.node_of_leaf[leaf])
            .map(|node| (wanted[node] - weighted[node]) / weighted[node])
            .fold(0.0, f64::max);
        let target: Vec<f64> = if required_overload <= 0.0 {
            wanted.clone()
        } else {
            let share = overload.min(required_overload) / required_overload;
            weighted
                .iter()
                .zip(&wanted)
                .map(|(by_weight, want)| by_weight + (want - by_weight) * share)
                .collect()
        };
        if target.iter().any(|share| !share.is_finite()) {
            return Err(hopeless());
        }
        let min = target
            .iter()
            .map(|share| (share + EPSILON).floor().max(0.0) as u32)
            .collect();
        let max = target
            .iter()
            .map(|share| (share - EPSILON).ceil().max(0.0) as u32)
            .collect();
        let mut plan = Self {
            target,
            min,
            max,
            required_overload,
        };
        // A live device may always take one: its share may be next to nothing.
        for leaf in 0..tree.live {
            let node = tree.node_of_leaf[leaf];
            plan.max[node] = plan.max[node].max(1);
        }
        Ok(plan)
    }
}

/// The most replicas of one partition a tier should need, whatever the
/// weights: what dispersion is measured against.
pub(super) fn max_allowed(tree: &Tree, replicas: f64) -> Vec<f64> {
    spread_evenly(tree, replicas, f64::ceil)
}

/// `replicas` divided down the tree by number of children; devices hold at most one.
fn spread_evenly(tree: &Tree, replicas: f64, bound: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut shares = vec![0.0; tree.nodes.len()];
    shares[ROOT] = replicas;
    for (at, node) in tree.nodes.iter().enumerate() {
        if node.depth == super::tree::LEVELS {
            shares[at] = shares[at].min(1.0);
        }
        let each = bound(shares[at] / node.children.len().max(1) as f64);
        node.children.iter().for_each(|&child| shares[child] = each);
    }
    shares
}

fn weighted(tree: &Tree, replicas: f64) -> Option<Vec<f64>> {
    let total: f64 = tree.weights[..tree.live].iter().sum();
    let mut shares: Vec<f64> = tree.weights[..tree.live]
        .iter()
        .map(|weight| (weight * (replicas / total)).min(1.0))
        .collect();
    for _ in 0..MAX_ROUNDS {
        let left = replicas - shares.iter().sum::<f64>();
        if left.is_nan() {
            return None;
        }
        if left < EPSILON {
            return Some(tree.sums(|leaf| shares[leaf]));
        }
        let open: f64 = shares.iter().filter(|&&share| share < 1.0).sum();
        if open <= 0.0 {
            return None;
        }
        let factor = left / open + 1.0;
        for share in shares.iter_mut().filter(|share| **share < 1.0) {
            *share = (*share * factor).min(1.0);
        }
    }
    None
}

fn wanted(tree: &Tree, replicas: f64, weighted: &[f64]) -> Option<Vec<f64>> {
    let dispersed = spread_evenly(tree, replicas, |share| share);
    let mut wanted = vec![0.0; tree.nodes.len()];
    wanted[ROOT] = replicas;
    for (at, node) in tree.nodes.iter().enumerate() {
        if !node.children.is_empty() {
            share_out(
                tree,
                &node.children,
                wanted[at],
                weighted,
                &dispersed,
                &mut wanted,
            )?;
        }
    }
    Some(wanted)
}

/// Splits `value` over sibling tiers by weight, each kept within its
/// dispersed bounds and its number of devices.
fn share_out(
    tree: &Tree,
    siblings: &[usize],
    value: f64,
    weighted: &[f64],
    dispersed: &[f64],
    placed: &mut [f64],
) -> Option<()> {
    let devices = |node: usize| tree.nodes[node].size() as f64;
    let mut open: Vec<usize> = siblings.to_vec();
    let mut left = value;
    let mut device_limited = false;
    for _ in 0..MAX_ROUNDS {
        let weight: f64 = open.iter().map(|&node| weighted[node]).sum();
        if weight <= 0.0 || weight.is_nan() {
            return None;
        }
        for &node in &open {
            let mut share = placed[node] + weighted[node] * (left / weight);
            let (low, high) = (dispersed[node].floor(), dispersed[node].ceil());
            if share < low {
                share = low;
            } else if share > high && !device_limited {
                share = high;
            }
            placed[node] = share.min(devices(node));
        }
        left = value - siblings.iter().map(|&node| placed[node]).sum::<f64>();
        if left.abs() <= EPSILON {
            return Some(());
        }
        let has_room = |node: usize| placed[node] < devices(node);
        if left < 0.0 {
            open = siblings
                .iter()
                .copied()
                .filter(|&node| placed[node] > dispersed[node].floor())
                .collect();
        } else {
            open = siblings
                .iter()
                .copied()
                .filter(|&node| has_room(node) && placed[node] < dispersed[node].ceil())
                .collect();
            if open.is_empty() {
                device_limited = true;
                open = siblings.iter().copied().filter(|&node| has_room(node)).collect();
            }
        }
    }
    None
}
