//! The exact finish: shortest augmenting paths on the residual graph.
//!
//! Nodes are devices. An edge a -> b is a partition where a's replica may go to
//! b without leaving the plan; it costs +1 if that makes a new move, 0 if it
//! rewires one, -1 if it takes one back. A path from a device above its quota
//! to one below moves one unit of load; taking cheapest paths first keeps the
//! whole at the least number of moves, and a loop of negative cost, wherever one
//! shows up, is a saving. (Per partition the tiers form a tree, so this is a
//! minimum-cost flow; see docs/ring.md.)
use std::collections::VecDeque;

use super::field::Field;
use super::tree::ROOT;
use crate::table::NONE;

/// Farther than any path.
const FAR: i32 = i32::MAX / 2;
/// Slots looked at before the search gives up and leaves the rest to a later
/// rebalance: seconds of work.
const MAX_LOOKS: u64 = 400_000_000;
/// Tables up to this many slots are searched for savings to the end.
const MAX_SLOTS_FOR_SAVINGS: usize = 1 << 18;

/// Settles a surplus that placing homeless slots made, as far as giving them
/// (or other moved slots) another target does it: no further slot moves.
pub(super) fn rewire(field: &mut Field<'_>) {
    if unsettled(field) {
        Search::new(field, true).settle(field, 0);
    }
}

/// Settles what direct moves could not, then looks for savings.
pub(super) fn settle(field: &mut Field<'_>) {
    let small = field.rows.slots() <= MAX_SLOTS_FOR_SAVINGS;
    if !unsettled(field) && !small {
        return;
    }
    let mut search = Search::new(field, false);
    search.settle(field, FAR);
    if small {
        search.save(field);
    }
}

fn unsettled(field: &Field<'_>) -> bool {
    (0..field.load.len() as u32).any(|leaf| field.surplus(leaf) > 0)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// From devices above their quota, to those below.
    Surplus,
    /// From every device, only for loops that save moves.
    Everywhere,
}

enum Found {
    /// The cheapest path ends at this device.
    Path(u32),
    /// A loop of negative cost goes through this device.
    Loop(u32),
    Nothing,
}

/// The step that reached a device: from which, by which partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    from: u32,
    part: u32,
}

#[derive(Debug)]
struct Search {
    /// Partitions per leaf. Entries may be stale; the table decides.
    holders: Vec<Vec<u32>>,
    /// Cost of the best path to a leaf, and the largest in a tier.
    cost: Vec<i32>,
    farthest: Vec<i32>,
    step: Vec<Option<Step>>,
    queue: VecDeque<u32>,
    queued: Vec<bool>,
    /// Partitions that two steps of one path would have used at once.
    banned: Vec<u32>,
    /// Paths dearer than this are not followed.
    most: i32,
    /// Paths never get cheaper; one this cheap ends a search at once.
    floor: i32,
    looks: u64,
}

impl Search {
    /// Knows every slot, or only those that have `moved` already.
    fn new(field: &Field<'_>, moved: bool) -> Self {
        let leaves = field.load.len();
        let mut holders: Vec<Vec<u32>> = vec![Vec::new(); leaves];
        for part in 0..field.rows.parts() {
            for &leaf in field.rows.of(part).iter().filter(|leaf| **leaf != NONE) {
                if !moved || !field.held_before(part, leaf) {
                    holders[leaf as usize].push(part as u32);
                }
            }
        }
        Self {
            holders,
            cost: vec![FAR; leaves],
            farthest: vec![FAR; field.tree.nodes.len()],
            step: vec![None; leaves],
            queue: VecDeque::new(),
            queued: vec![false; leaves],
            banned: Vec::new(),
            most: FAR,
            floor: i32::MIN,
            looks: 0,
        }
    }

    /// Takes cheapest paths until none is left or they cost more than `most`.
    fn settle(&mut self, field: &mut Field<'_>, most: i32) {
        self.most = most;
        while self.looks < MAX_LOOKS {
            match self.run(field, Start::Surplus) {
                Found::Path(to) | Found::Loop(to) => self.apply(field, to),
                Found::Nothing => return,
            }
        }
    }

    /// Goes round loops of negative cost until there is none.
    fn save(&mut self, field: &mut Field<'_>) {
        while self.looks < MAX_LOOKS {
            match self.run(field, Start::Everywhere) {
                Found::Loop(at) => self.apply(field, at),
                Found::Path(_) | Found::Nothing => return,
            }
        }
    }

    /// Label-correcting search until nothing gets cheaper.
    fn run(&mut self, field: &Field<'_>, start: Start) -> Found {
        self.cost.fill(FAR);
        self.farthest.fill(FAR);
        self.step.fill(None);
        self.queued.fill(false);
        self.queue.clear();
        for leaf in 0..field.load.len() as u32 {
            if start == Start::Everywhere || field.surplus(leaf) > 0 {
                self.cost[leaf as usize] = 0;
                self.raise(field, leaf);
                self.enqueue(leaf);
            }
        }
        let mut best: Option<(i32, u32)> = None;
        while let Some(leaf) = self.queue.pop_front() {
            self.queued[leaf as usize] = false;
            if let Some(at) = self.expand(field, leaf, start, &mut best) {
                return Found::Loop(at);
            }
            if let Some((cost, to)) = best
                && cost <= self.floor
            {
                return Found::Path(to);
            }
            if self.looks >= MAX_LOOKS {
                break;
            }
        }
        match best {
            Some((cost, to)) if start == Start::Surplus => {
                self.floor = cost;
                Found::Path(to)
            }
            _ => Found::Nothing,
        }
    }

    fn enqueue(&mut self, leaf: u32) {
        if !self.queued[leaf as usize] {
            self.queued[leaf as usize] = true;
            // Rewiring first: what costs nothing is followed at once.
            match self.queue.front() {
                Some(&front) if self.cost[leaf as usize] < self.cost[front as usize] => {
                    self.queue.push_front(leaf);
                }
                _ => self.queue.push_back(leaf),
            }
        }
    }

    /// Recomputes the farthest leaf of every tier above `leaf`.
    fn raise(&mut self, field: &Field<'_>, leaf: u32) {
        let nodes = &field.tree.nodes;
        if leaf as usize >= field.tree.live {
            return;
        }
        let own = field.tree.node_of_leaf[leaf as usize];
        self.farthest[own] = self.cost[leaf as usize];
        let mut node = own;
        while node != ROOT {
            node = nodes[node].parent;
            let farthest = nodes[node]
                .children
                .iter()
                .map(|&child| self.farthest[child])
                .max();
            let farthest = farthest.unwrap_or(FAR);
            if farthest == self.farthest[node] {
                return;
            }
            self.farthest[node] = farthest;
        }
    }

    /// Tries every way for `from` to give a slot away. Gives a device on a
    /// loop of negative cost, if one closed.
    fn expand(
        &mut self,
        field: &Field<'_>,
        from: u32,
        start: Start,
        best: &mut Option<(i32, u32)>,
    ) -> Option<u32> {
        let parts = std::mem::take(&mut self.holders[from as usize]);
        let mut found = None;
        for &part in &parts {
            self.looks += 1;
            let row = field.rows.of(part as usize);
            let Some(at) = row.iter().position(|&leaf| leaf == from) else {
                continue;
            };
            let back = i32::from(!field.held_before(part as usize, from));
            let base = self.cost[from as usize] - back;
            // Even coming home (cost 0) would help nobody.
            if self.farthest[ROOT] <= base || base > self.most || self.banned.contains(&part) {
                continue;
            }
            let dear = base >= self.most || self.farthest[ROOT] <= base + 1;
            let complete = |&leaf: &u32| leaf == NONE || row.contains(&leaf);
            if dear && field.old.of(part as usize).iter().all(complete) {
                continue;
            }
            let moved = i32::from(field.moved(part as usize)) - back;
            let allowed = i32::from(field.allowed[part as usize]);
            let top = field.ceiling(row, at);
            let step = Step { from, part };
            for &home in field.old.of(part as usize) {
                let reachable = home != NONE && !row.contains(&home) && moved <= allowed;
                if reachable && self.fits(field, row, at, top, home) {
                    found = found.or(self.reach(field, home, base, step, start, best));
                }
            }
            if moved < allowed && found.is_none() && !dear && self.farthest[top] > base + 1 {
                found = self.spread(field, row, at, top, base + 1, step, start, best);
            }
            if found.is_some() {
                break;
            }
        }
        self.holders[from as usize] = parts;
        found
    }

    /// May the entry at `at` go to `to`, both below `top`?
    fn fits(&self, field: &Field<'_>, row: &[u32], at: usize, top: usize, to: u32) -> bool {
        if !field.tree.nodes[top].holds(to) {
            return false;
        }
        let shared = |node: usize| field.tree.nodes[node].holds(row[at]);
        let below = field.tree.upwards(to).take_while(|&node| !shared(node));
        below
            .into_iter()
            .all(|node| field.count(row, at, node) < field.plan.max[node])
    }

    /// Reaches every device below `node` that gets cheaper by it.
    #[allow(
        clippy::too_many_arguments,
        reason = "one recursion; a struct for it would hide more"
    )]
    fn spread(
        &mut self,
        field: &Field<'_>,
        row: &[u32],
        at: usize,
        node: usize,
        cost: i32,
        step: Step,
        start: Start,
        best: &mut Option<(i32, u32)>,
    ) -> Option<u32> {
        let tree = field.tree;
        if tree.nodes[node].children.is_empty() {
            let leaf = tree.nodes[node].leaves.0;
            let new = node != ROOT && leaf != step.from && !field.held_before(step.part as usize, leaf);
            return if new {
                self.reach(field, leaf, cost, step, start, best)
            } else {
                None
            };
        }
        for &child in &tree.nodes[node].children {
            if self.farthest[child] <= cost || field.count(row, at, child) >= field.plan.max[child] {
                continue;
            }
            let found = self.spread(field, row, at, child, cost, step, start, best);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn reach(
        &mut self,
        field: &Field<'_>,
        to: u32,
        cost: i32,
        step: Step,
        start: Start,
        best: &mut Option<(i32, u32)>,
    ) -> Option<u32> {
        if cost >= self.cost[to as usize] {
            return None;
        }
        // Does the path to `step.from` come through `to`? Then it is a loop.
        let mut at = step.from;
        while let Some(before) = self.step[at as usize] {
            if at == to {
                break;
            }
            at = before.from;
        }
        let closes = at == to;
        self.cost[to as usize] = cost;
        self.step[to as usize] = Some(step);
        if closes {
            return Some(to);
        }
        self.raise(field, to);
        self.enqueue(to);
        if start == Start::Surplus && field.deficit(to) > 0 && best.is_none_or(|(known, _)| cost < known) {
            *best = Some((cost, to));
        }
        None
    }

    /// Carries out the path (or loop) that ends at `to`.
    fn apply(&mut self, field: &mut Field<'_>, to: u32) {
        let mut steps: Vec<(Step, u32)> = Vec::new();
        let mut at = to;
        while let Some(step) = self.step[at as usize] {
            steps.push((step, at));
            at = step.from;
            if at == to {
                break;
            }
        }
        let mut done: Vec<(usize, usize, u32)> = Vec::new();
        for &(step, into) in steps.iter().rev() {
            let part = step.part as usize;
            let before = field.violation(field.rows.of(part));
            let entry = field.rows.of(part).iter().position(|&leaf| leaf == step.from);
            let Some(entry) = entry.filter(|_| !field.rows.of(part).contains(&into)) else {
                self.take_back(field, &done, step.part);
                return;
            };
            field.put(part, entry, into);
            done.push((part, entry, step.from));
            if field.violation(field.rows.of(part)) > before || field.moved(part) > field.allowed[part] {
                self.take_back(field, &done, step.part);
                return;
            }
        }
        for (step, into) in steps {
            self.holders[into as usize].push(step.part);
        }
        self.banned.clear();
    }

    /// Undoes steps that did not go together, and keeps the search from
    /// finding the same again.
    fn take_back(&mut self, field: &mut Field<'_>, done: &[(usize, usize, u32)], part: u32) {
        for &(part, entry, leaf) in done.iter().rev() {
            field.put(part, entry, leaf);
        }
        self.banned.push(part);
    }
}
