//! For tests: the fewest moves there are, by a general min-cost flow.
//!
//! Slow and plain on purpose, and sharing nothing with the code it checks but
//! the plan. One unit of flow is one slot: from its partition down that
//! partition's own copy of the tier tree (between minimum and maximum in every
//! tier), to a device (cost 0 if it held the partition, else 1), and up one
//! tree of quotas (between floor and ceiling in every tier).
use std::collections::VecDeque;

use super::plan::Plan;
use super::tree::{ROOT, Tree};
use crate::table::Table;

/// Outweighs any number of moves: what an unmet lower bound costs.
const UNMET: i64 = 1_000_000;

/// What a new table has to be, and what the old one was.
pub(super) struct Problem<'a> {
    pub(super) tree: &'a Tree,
    pub(super) plan: &'a Plan,
    /// Old devices (leaves) of every partition; devices that are gone left out.
    pub(super) old: Vec<Vec<u32>>,
    /// New number of replicas of every partition.
    pub(super) width: Vec<usize>,
    /// Fewest and most slots per tier.
    pub(super) quota: Vec<(u64, u64)>,
}

/// A choice made for a partition: its only new device, or none.
type Choice = (usize, Option<u32>);

impl<'a> Problem<'a> {
    /// Quotas anywhere between floor and ceiling of every tier's target.
    pub(super) fn new(
        tree: &'a Tree,
        plan: &'a Plan,
        old: &Table,
        new: &Table,
        dead: impl Fn(u32) -> bool,
    ) -> Self {
        let leaf = |&id: &u32| {
            tree.leaf_of_device
                .get(id as usize)
                .copied()
                .filter(|_| !dead(id))
        };
        let live = |&leaf: &u32| (leaf as usize) < tree.live;
        let parts = new.parts();
        let mut quota: Vec<(u64, u64)> = plan
            .target
            .iter()
            .map(|target| target * parts as f64)
            .map(|exact| {
                (
                    (exact + 1e-6).floor() as u64,
                    (exact - 1e-6).ceil().max(0.0) as u64,
                )
            })
            .collect();
        quota[ROOT] = (new.slots() as u64, new.slots() as u64);
        Self {
            tree,
            plan,
            old: (0..parts)
                .map(|part| old.of(part).iter().filter_map(leaf).filter(live).collect())
                .collect(),
            width: (0..parts).map(|part| new.width(part)).collect(),
            quota,
        }
    }

    /// The same with exactly the quotas that `table` (of device numbers) has.
    pub(super) fn with_quotas_of(mut self, table: &Table) -> Self {
        let mut held = vec![0; self.tree.nodes.len()];
        for part in 0..table.parts() {
            for &id in table.of(part) {
                let leaf = self.tree.leaf_of_device[id as usize];
                self.tree.upwards(leaf).for_each(|node| held[node] += 1);
            }
        }
        self.quota = held.into_iter().map(|held| (held, held)).collect();
        let slots = self.width.iter().sum::<usize>() as u64;
        self.quota[ROOT] = (slots, slots);
        self
    }

    /// Fewest moves of any table, `None` if there is no such table.
    pub(super) fn optimum(&self) -> Option<u64> {
        self.solve(&[]).map(|(cost, _)| cost)
    }

    /// Is there a table of fewer than `moves` moves in which no partition has
    /// more than one new device? (Partitions that lost devices: as many as
    /// they lost.) `None` when `nodes` tries did not tell.
    pub(super) fn beats_one_by_one(&self, moves: u64, nodes: &mut u32) -> Option<bool> {
        self.search(moves, &mut Vec::new(), nodes)
    }

    fn search(&self, moves: u64, choices: &mut Vec<Choice>, nodes: &mut u32) -> Option<bool> {
        *nodes = nodes.checked_sub(1)?;
        let Some((cost, new)) = self.solve(choices) else {
            return Some(false);
        };
        if cost >= moves {
            return Some(false);
        }
        let too_many = |part: &usize| {
            let lost = self.width[*part].saturating_sub(self.old[*part].len());
            new[*part].len() > lost.max(1)
        };
        let Some(part) = (0..self.old.len()).find(too_many) else {
            return Some(true);
        };
        if self.width[part] > self.old[part].len() {
            return None;
        }
        let targets = (0..self.tree.live as u32).filter(|leaf| !self.old[part].contains(leaf));
        let options: Vec<Option<u32>> = targets.map(Some).chain([None]).collect();
        for option in options {
            choices.push((part, option));
            let found = self.search(moves, choices, nodes)?;
            choices.pop();
            if found {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Least cost, and the new devices of every partition.
    fn solve(&self, choices: &[Choice]) -> Option<(u64, Vec<Vec<u32>>)> {
        let nodes = self.tree.nodes.len();
        let parts = self.old.len();
        let (source, sink) = (0, 1);
        let of = |part: usize, node: usize| 2 + part * nodes + node;
        let quota = |node: usize| 2 + parts * nodes + node;
        let mut net = Network::new(2 + (parts + 1) * nodes);
        let mut floor = 0;
        let mut leaf_arcs = Vec::new();
        for part in 0..parts {
            net.arc(source, of(part, ROOT), self.width[part] as u64, 0);
            for node in 1..nodes {
                let at = &self.tree.nodes[node];
                if at.leaves.0 as usize >= self.tree.live {
                    continue;
                }
                let (min, max) = (u64::from(self.plan.min[node]), u64::from(self.plan.max[node]));
                floor += min;
                net.arc(of(part, at.parent), of(part, node), min, -UNMET);
                net.arc(of(part, at.parent), of(part, node), max - min, 0);
                if at.children.is_empty() {
                    let leaf = at.leaves.0;
                    let cost = i64::from(!self.old[part].contains(&leaf));
                    let fixed = choices.iter().find(|(at, _)| *at == part);
                    if cost == 1 && fixed.is_some_and(|(_, only)| *only != Some(leaf)) {
                        continue;
                    }
                    leaf_arcs.push((part, leaf, net.arc(of(part, node), quota(node), 1, cost), cost));
                }
            }
        }
        for node in 1..nodes {
            let at = &self.tree.nodes[node];
            if (at.leaves.0 as usize) < self.tree.live {
                let (low, high) = self.quota[node];
                floor += low;
                net.arc(quota(node), quota(at.parent), low, -UNMET);
                net.arc(quota(node), quota(at.parent), high - low, 0);
            }
        }
        let slots = self.width.iter().sum::<usize>() as u64;
        net.arc(quota(ROOT), sink, slots, 0);
        let (flow, cost) = net.min_cost_flow(source, sink);
        let moves = cost + floor as i64 * UNMET;
        if flow < slots || moves >= UNMET {
            return None;
        }
        let mut new = vec![Vec::new(); parts];
        for (part, leaf, arc, cost) in leaf_arcs {
            if cost == 1 && net.arcs[arc].room == 0 {
                new[part].push(leaf);
            }
        }
        Some((moves as u64, new))
    }
}

struct Arc {
    to: usize,
    room: u64,
    cost: i64,
}

/// Successive shortest paths, all of one cost in a round.
struct Network {
    arcs: Vec<Arc>,
    from: Vec<Vec<usize>>,
}

impl Network {
    fn new(nodes: usize) -> Self {
        Self {
            arcs: Vec::new(),
            from: vec![Vec::new(); nodes],
        }
    }

    /// Adds an arc and its reverse; gives its number.
    fn arc(&mut self, from: usize, to: usize, room: u64, cost: i64) -> usize {
        let number = self.arcs.len();
        if room > 0 {
            self.from[from].push(number);
            self.from[to].push(number + 1);
        }
        self.arcs.push(Arc { to, room, cost });
        self.arcs.push(Arc {
            to: from,
            room: 0,
            cost: -cost,
        });
        number
    }

    fn min_cost_flow(&mut self, source: usize, sink: usize) -> (u64, i64) {
        let (mut flow, mut total) = (0, 0);
        loop {
            let cost = self.distances(source);
            if cost[sink] == i64::MAX {
                return (flow, total);
            }
            // All paths of this cost, until they block one another.
            let mut tried = vec![0; self.from.len()];
            let mut way: Vec<usize> = Vec::new();
            let mut on_way = vec![false; self.from.len()];
            let mut node = source;
            on_way[source] = true;
            loop {
                if node == sink {
                    let units = way.iter().map(|&arc| self.arcs[arc].room).min().unwrap_or(0);
                    for &arc in &way {
                        self.arcs[arc].room -= units;
                        self.arcs[arc ^ 1].room += units;
                    }
                    flow += units;
                    total += units as i64 * cost[sink];
                    way.clear();
                    on_way.fill(false);
                    node = source;
                    on_way[source] = true;
                    continue;
                }
                let next = self.from[node].get(tried[node]).copied();
                let Some(arc) = next else {
                    // A dead end: its predecessor goes on with its next arc.
                    let Some(arc) = way.pop() else { break };
                    node = self.arcs[arc ^ 1].to;
                    tried[node] += 1;
                    continue;
                };
                let Arc { to, room, cost: step } = self.arcs[arc];
                if room > 0 && !on_way[to] && cost[node] + step == cost[to] {
                    way.push(arc);
                    on_way[to] = true;
                    node = to;
                } else {
                    tried[node] += 1;
                }
            }
        }
    }

    /// Cheapest ways from `source`: Bellman and Ford's, with a queue.
    fn distances(&self, source: usize) -> Vec<i64> {
        let mut cost = vec![i64::MAX; self.from.len()];
        let mut queued = vec![false; self.from.len()];
        cost[source] = 0;
        let mut queue = VecDeque::from([source]);
        while let Some(node) = queue.pop_front() {
            queued[node] = false;
            for &arc in &self.from[node] {
                let Arc { to, room, cost: step } = self.arcs[arc];
                if room > 0 && cost[node] + step < cost[to] {
                    cost[to] = cost[node] + step;
                    if !std::mem::replace(&mut queued[to], true) {
                        queue.push_back(to);
                    }
                }
            }
        }
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_way_through_a_small_network_undoes_a_greedy_first_path() {
        // 0 -> 1 -> 3 costs 1, but taking it blocks both of the others.
        let mut net = Network::new(4);
        net.arc(0, 1, 1, 0);
        net.arc(0, 2, 1, 0);
        net.arc(1, 2, 1, 1);
        net.arc(1, 3, 1, 5);
        net.arc(2, 3, 1, 0);
        assert_eq!(net.min_cost_flow(0, 3), (2, 5));
    }
}
