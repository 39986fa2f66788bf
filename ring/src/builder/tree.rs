//! The tier tree: region, zone, server, device, as dense numbers.
//!
//! Devices are leaves in depth-first order, so that every tier is an interval
//! of leaves and counting a partition's replicas in a tier is comparing
//! numbers. Zero-weight devices hang below the root as extra leaves that no
//! plan gives anything.
use crate::device::{Device, DeviceId};
use crate::table::NONE;

/// The root's number.
pub(super) const ROOT: usize = 0;
/// Levels below the root: region, zone, server, device.
pub(super) const LEVELS: usize = 4;

/// One tier.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) parent: usize,
    /// 0 root, 1 region, 2 zone, 3 server, 4 device.
    pub(super) depth: usize,
    /// Child tiers, left to right. Empty for devices.
    pub(super) children: Vec<usize>,
    /// First leaf and the one after the last.
    pub(super) leaves: (u32, u32),
}

impl Node {
    /// Does the tier hold this leaf?
    #[inline]
    pub(super) fn holds(&self, leaf: u32) -> bool {
        self.leaves.0 <= leaf && leaf < self.leaves.1
    }

    /// Number of devices.
    pub(super) fn size(&self) -> usize {
        (self.leaves.1 - self.leaves.0) as usize
    }
}

/// All tiers; a parent comes before its children.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    /// Leaf -> node.
    pub(super) node_of_leaf: Vec<usize>,
    /// Leaf -> its device, server, zone and region tier; [`ROOT`] stands for
    /// none (drained devices have only the first).
    pub(super) ancestors: Vec<[u32; LEVELS]>,
    /// Leaf -> device.
    pub(super) device_of_leaf: Vec<DeviceId>,
    /// Leaf -> weight.
    pub(super) weights: Vec<f64>,
    /// Leaves before this one have weight; the rest are drained.
    pub(super) live: usize,
    /// Device id -> leaf, [`NONE`] for holes and devices left out.
    pub(super) leaf_of_device: Vec<u32>,
}

impl Tree {
    /// The tree of `devices`; those in `removed` are left out.
    pub(super) fn new(devices: &[Option<Device>], removed: &[DeviceId]) -> Self {
        let present = || {
            devices
                .iter()
                .flatten()
                .filter(|device| !removed.contains(&device.id))
        };
        let mut live: Vec<&Device> = present().filter(|device| device.weight > 0.0).collect();
        live.sort_by(|a, b| a.cmp_by_tier(b));
        let root = Node {
            parent: ROOT,
            depth: 0,
            children: Vec::new(),
            leaves: (0, live.len() as u32),
        };
        let mut tree = Self {
            nodes: vec![root],
            node_of_leaf: Vec::new(),
            ancestors: Vec::new(),
            device_of_leaf: Vec::new(),
            weights: Vec::new(),
            live: live.len(),
            leaf_of_device: vec![NONE; devices.len()],
        };
        // The open tier at each depth.
        let mut path = [ROOT; LEVELS + 1];
        for (leaf, device) in live.iter().enumerate() {
            let shared = if leaf == 0 {
                0
            } else {
                live[leaf - 1].shared_tiers(device)
            };
            for depth in shared + 1..=LEVELS {
                path[depth] = tree.add_node(path[depth - 1], depth, leaf as u32);
            }
            for &node in &path[1..] {
                tree.nodes[node].leaves.1 = leaf as u32 + 1;
            }
            tree.add_leaf(device, path[LEVELS]);
        }
        for device in present().filter(|device| device.weight <= 0.0) {
            let leaf = tree.node_of_leaf.len() as u32;
            let node = tree.nodes.len();
            let leaves = (leaf, leaf + 1);
            // Not among the root's children: nothing descends into it.
            tree.nodes.push(Node {
                parent: ROOT,
                depth: LEVELS,
                children: Vec::new(),
                leaves,
            });
            tree.add_leaf(device, node);
        }
        tree
    }

    fn add_node(&mut self, parent: usize, depth: usize, leaf: u32) -> usize {
        let node = self.nodes.len();
        self.nodes.push(Node {
            parent,
            depth,
            children: Vec::new(),
            leaves: (leaf, leaf + 1),
        });
        self.nodes[parent].children.push(node);
        node
    }

    fn add_leaf(&mut self, device: &Device, node: usize) {
        self.leaf_of_device[device.id.0 as usize] = self.node_of_leaf.len() as u32;
        self.node_of_leaf.push(node);
        let mut tiers = [ROOT as u32; LEVELS];
        let mut above = node;
        for tier in &mut tiers {
            *tier = above as u32;
            above = self.nodes[above].parent;
        }
        self.ancestors.push(tiers);
        self.device_of_leaf.push(device.id);
        self.weights.push(device.weight);
    }

    /// Leaves, drained ones too.
    pub(super) fn leaves(&self) -> usize {
        self.node_of_leaf.len()
    }

    /// From a leaf's own node up to a child of the root.
    pub(super) fn upwards(&self, leaf: u32) -> impl Iterator<Item = usize> + '_ {
        let tiers = self.ancestors[leaf as usize].iter();
        tiers.map(|&node| node as usize).take_while(|&node| node != ROOT)
    }

    /// Sums of a leaf value for every tier (drained leaves left out).
    pub(super) fn sums(&self, of_leaf: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.nodes.len()];
        for leaf in 0..self.live {
            let value = of_leaf(leaf);
            self.upwards(leaf as u32).for_each(|node| sums[node] += value);
            sums[ROOT] += value;
        }
        sums
    }
}
