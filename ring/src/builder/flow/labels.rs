//! Cheapest ways from devices with too much to every other device.
//!
//! A label-correcting search over small whole costs. Tiers know their farthest
//! device, so that whole branches are left out where nothing gets nearer. Of
//! paths that cost the same, short ones are found first.
use std::collections::VecDeque;

use super::super::field::Field;
use super::super::survey::Survey;
use super::super::tree::ROOT;
use super::holders::Holders;
use super::residual::{Step, Visitor, through_partition, through_quotas, through_untouched};
use crate::table::NONE;

/// Farther than any path.
pub(super) const FAR: i32 = i32::MAX / 2;
/// No cost is below this, unless there is a loop of negative cost.
const LOWEST: i32 = -16;

/// Where a search begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// At devices above their quota, to find one below.
    Surplus,
    /// At every device, to find loops that save moves.
    Everywhere,
}

pub(super) enum Found {
    /// The cheapest path ends at this device.
    Goal(u32),
    /// A loop of negative cost goes through this device.
    Loop(u32),
    Nothing,
}

#[derive(Debug)]
pub(super) struct Labels {
    /// Cost of the best path to a leaf, and the largest in a tier.
    pub(super) cost: Vec<i32>,
    farthest: Vec<i32>,
    /// The last step of the best path, and how many steps it has.
    pub(super) step: Vec<Option<Step>>,
    pub(super) depth: Vec<u32>,
    /// Leaves to go on from, by cost from [`LOWEST`] up; first come, first served.
    buckets: Vec<VecDeque<u32>>,
    /// The nearest device below its quota, and what it costs to get there.
    goal: Option<u32>,
    pub(super) goal_cost: i32,
    goal_depth: u32,
    /// A device on a loop of negative cost.
    closed: Option<u32>,
    seeks_goal: bool,
}

/// What a search may use.
pub(super) struct Ground<'a> {
    pub(super) field: &'a Field<'a>,
    pub(super) survey: &'a Survey,
    pub(super) holders: &'a Holders,
    /// Partitions that are not to be used.
    pub(super) banned: &'a [u32],
    /// Paths dearer than this are not followed.
    pub(super) most: i32,
}

impl Labels {
    pub(super) fn new(field: &Field<'_>) -> Self {
        let leaves = field.tree.leaves();
        Self {
            cost: vec![FAR; leaves],
            farthest: vec![FAR; field.tree.nodes.len()],
            step: vec![None; leaves],
            depth: vec![0; leaves],
            buckets: Vec::new(),
            goal: None,
            goal_cost: FAR,
            goal_depth: u32::MAX,
            closed: None,
            seeks_goal: false,
        }
    }

    /// Searches until the nearest goal is known, a loop closes, or nothing
    /// gets cheaper. `looks` counts the partitions looked at.
    pub(super) fn run(&mut self, ground: &Ground<'_>, start: Start, looks: &mut u64) -> Found {
        let field = ground.field;
        self.cost.fill(FAR);
        self.farthest.fill(FAR);
        self.step.fill(None);
        self.depth.fill(0);
        self.buckets.iter_mut().for_each(VecDeque::clear);
        (self.goal, self.goal_cost, self.goal_depth) = (None, FAR, u32::MAX);
        self.closed = None;
        self.seeks_goal = start == Start::Surplus;
        match start {
            Start::Surplus => self.start_at_surplus(field),
            Start::Everywhere => self.start_everywhere(ground),
        }
        if let Some(at) = self.closed {
            return Found::Loop(at);
        }
        while let Some((leaf, cost)) = self.next() {
            if cost > self.goal_cost {
                break;
            }
            // Only what lies nearer than the goal leads on to others like it:
            // a round finds the last steps to those itself.
            if cost == self.goal_cost && self.depth[leaf as usize] + 1 >= self.goal_depth {
                continue;
            }
            self.expand(ground, leaf, cost, looks);
            if let Some(at) = self.closed {
                return Found::Loop(at);
            }
        }
        self.goal.map_or(Found::Nothing, Found::Goal)
    }

    fn start_at_surplus(&mut self, field: &Field<'_>) {
        for leaf in 0..field.tree.leaves() as u32 {
            if field.surplus(leaf) > 0 {
                self.cost[leaf as usize] = 0;
                self.enqueue(leaf, 0);
                self.raise(field, leaf);
            }
        }
    }

    /// All at cost 0: at first only taking a move back leads lower.
    fn start_everywhere(&mut self, ground: &Ground<'_>) {
        let field = ground.field;
        self.cost.fill(0);
        self.farthest.fill(0);
        for part in field
            .touched
            .iter()
            .filter(|part| !ground.banned.contains(&part.0))
        {
            let (row, old) = (field.rows.of(part.0 as usize), field.old.of(part.0 as usize));
            if old.iter().all(|leaf| *leaf == NONE || row.contains(leaf)) {
                continue;
            }
            for &from in row.iter().filter(|&leaf| !old.contains(leaf)) {
                let mut labeler = Labeler { ground, labels: self };
                if through_partition(field, part.0, from, 0, &mut labeler) {
                    return;
                }
            }
        }
    }

    fn enqueue(&mut self, leaf: u32, cost: i32) {
        let bucket = (cost.max(LOWEST) - LOWEST) as usize;
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, VecDeque::new());
        }
        self.buckets[bucket].push_back(leaf);
    }

    /// The cheapest leaf that waits.
    fn next(&mut self) -> Option<(u32, i32)> {
        loop {
            let bucket = self.buckets.iter().position(|bucket| !bucket.is_empty())?;
            let leaf = self.buckets[bucket].pop_front()?;
            let cost = self.cost[leaf as usize];
            // Dearer entries of a leaf that got cheaper are stale.
            if (cost.max(LOWEST) - LOWEST) as usize == bucket {
                return Some((leaf, cost));
            }
        }
    }

    fn expand(&mut self, ground: &Ground<'_>, from: u32, cost: i32, looks: &mut u64) {
        let field = ground.field;
        let mut labeler = Labeler { ground, labels: self };
        if through_quotas(field, from, cost, &mut labeler) {
            return;
        }
        for part in (0..).map_while(|at| ground.holders.touched(from, at)) {
            *looks += 1;
            if !ground.banned.contains(&part) && through_partition(field, part, from, cost, &mut labeler) {
                return;
            }
        }
        if !labeler.worth(ROOT, cost + 1) {
            return;
        }
        let home = field.home[from as usize];
        for &part in ground.holders.untouched(from) {
            let leaving = !labeler.worth(home, cost + 1);
            if !ground.holders.useful(ground.survey, part, leaving) || ground.banned.contains(&part) {
                continue;
            }
            *looks += 1;
            if through_untouched(field, part, from, cost, &mut labeler) || !labeler.worth(ROOT, cost + 1) {
                return;
            }
        }
    }

    /// Recomputes the farthest leaf of every tier above `leaf`.
    fn raise(&mut self, field: &Field<'_>, leaf: u32) {
        if leaf as usize >= field.tree.live {
            return;
        }
        let nodes = &field.tree.nodes;
        let mut node = field.tree.node_of_leaf[leaf as usize];
        self.farthest[node] = self.cost[leaf as usize];
        while node != ROOT {
            node = nodes[node].parent;
            let children = nodes[node].children.iter();
            let farthest = children.map(|&child| self.farthest[child]).max().unwrap_or(FAR);
            if farthest == self.farthest[node] {
                return;
            }
            self.farthest[node] = farthest;
        }
    }

    /// Does the path to `from` come through `to`?
    fn comes_through(&self, from: u32, to: u32) -> bool {
        let mut at = from;
        while at != to {
            match self.step[at as usize] {
                Some(step) => at = step.from,
                None => return false,
            }
        }
        true
    }
}

struct Labeler<'a, 'b> {
    ground: &'a Ground<'b>,
    labels: &'a mut Labels,
}

impl Visitor for Labeler<'_, '_> {
    fn worth(&self, node: usize, cost: i32) -> bool {
        self.labels.farthest[node] > cost && cost <= self.ground.most && cost <= self.labels.goal_cost
    }

    fn visit(&mut self, to: u32, cost: i32, step: Step) -> bool {
        let (field, labels) = (self.ground.field, &mut *self.labels);
        if cost >= labels.cost[to as usize] {
            return false;
        }
        let closes = cost < 0 && labels.comes_through(step.from, to);
        let depth = labels.depth[step.from as usize] + 1;
        labels.cost[to as usize] = cost;
        labels.step[to as usize] = Some(step);
        labels.depth[to as usize] = depth;
        if closes {
            labels.closed = Some(to);
            return true;
        }
        labels.raise(field, to);
        labels.enqueue(to, cost);
        if labels.seeks_goal && field.deficit(to) > 0 && cost < labels.goal_cost {
            (labels.goal, labels.goal_cost, labels.goal_depth) = (Some(to), cost, depth);
        }
        false
    }
}
