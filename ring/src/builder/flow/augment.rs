//! All cheapest paths at once: a depth-first search along the labels.
//!
//! From every device with a surplus, only steps that the labels call cheapest.
//! A device that leads nowhere is not tried again until the labels are new, so
//! that one round looks at every slot at most once.
use super::super::field::Field;
use super::super::tree::ROOT;
use super::labels::{Ground, Labels};
use super::residual::{Step, Visitor, through_partition, through_quotas, through_untouched};
use super::{Paths, QUOTA};

/// Labels from -32 to 31 have a bit.
const MIDDLE: i32 = 32;

fn bit(cost: i32) -> u64 {
    match (0..64).contains(&(cost + MIDDLE)) {
        true => 1 << (cost + MIDDLE),
        false => 0,
    }
}

/// Which labels the devices of a tier have that may still be stepped on.
struct Open {
    labels: Vec<u64>,
}

impl Open {
    fn new(field: &Field<'_>, labels: &Labels) -> Self {
        let mut open = vec![0; field.tree.nodes.len()];
        for leaf in 0..field.tree.live {
            let label = bit(labels.cost[leaf]);
            field
                .tree
                .upwards(leaf as u32)
                .for_each(|node| open[node] |= label);
            open[ROOT] |= label;
        }
        Self { labels: open }
    }

    fn set(&mut self, field: &Field<'_>, leaf: u32, label: u64) {
        if leaf as usize >= field.tree.live {
            return;
        }
        let nodes = &field.tree.nodes;
        let mut node = field.tree.node_of_leaf[leaf as usize];
        self.labels[node] = label;
        while node != ROOT {
            node = nodes[node].parent;
            let children = nodes[node].children.iter();
            let all = children.fold(0, |all, &child| all | self.labels[child]);
            if all == self.labels[node] {
                return;
            }
            self.labels[node] = all;
        }
    }
}

/// Finds one device that is open at exactly the cost of getting there and
/// farther from the start by steps too, or a device below its quota at the
/// cost of the cheapest path.
struct Seeker<'a> {
    open: &'a Open,
    field: &'a Field<'a>,
    labels: &'a Labels,
    found: Option<(u32, Step)>,
}

impl Visitor for Seeker<'_> {
    fn worth(&self, node: usize, cost: i32) -> bool {
        let goal = self.labels.goal_cost;
        (cost == goal && self.field.lack[node] > 0)
            || (cost <= goal && self.open.labels[node] & bit(cost) != 0)
    }

    fn visit(&mut self, leaf: u32, _: i32, step: Step) -> bool {
        let depth = |leaf: u32| self.labels.depth[leaf as usize];
        // Deeper and deeper: steps that cost nothing lead round in no circle.
        if self.field.deficit(leaf) == 0 && depth(leaf) <= depth(step.from) {
            return false;
        }
        self.found = Some((leaf, step));
        true
    }
}

/// One round of augmenting.
pub(super) struct Round {
    open: Open,
    /// Per leaf: how far its lists have been tried.
    touched_at: Vec<u32>,
    untouched_at: Vec<u32>,
}

impl Round {
    pub(super) fn new(field: &Field<'_>, labels: &Labels) -> Self {
        Self {
            open: Open::new(field, labels),
            touched_at: vec![0; field.tree.leaves()],
            untouched_at: vec![0; field.tree.leaves()],
        }
    }

    /// Carries out one cheapest path from `source` to a device below its
    /// quota. False if there is none left.
    pub(super) fn augment(
        &mut self,
        paths: &mut Paths<'_>,
        field: &mut Field<'_>,
        labels: &Labels,
        source: u32,
    ) -> bool {
        let mut way: Vec<(u32, Option<Step>)> = vec![(source, None)];
        self.open.set(field, source, 0);
        while let Some(&(leaf, came_by)) = way.last() {
            let Some((to, step)) = self.next_step(paths, field, labels, leaf) else {
                // Nowhere to go: back, and never here again.
                way.pop();
                if let Some(step) = came_by {
                    paths.undo(field, step, leaf);
                }
                continue;
            };
            let arrived = field.deficit(to) > 0;
            if !paths.take(field, step, to) {
                self.skip(paths, field, step);
                continue;
            }
            if arrived {
                for (leaf, _) in way {
                    self.open.set(field, leaf, bit(labels.cost[leaf as usize]));
                }
                return true;
            }
            way.push((to, Some(step)));
            self.open.set(field, to, 0);
        }
        false
    }

    /// The next cheapest step from `leaf` that has not been tried in vain.
    fn next_step(
        &mut self,
        paths: &mut Paths<'_>,
        field: &Field<'_>,
        labels: &Labels,
        leaf: u32,
    ) -> Option<(u32, Step)> {
        let cost = labels.cost[leaf as usize];
        // At the full cost already there are still steps that cost nothing.
        if cost > labels.goal_cost {
            return None;
        }
        let mut looks = 0;
        let ground = paths.ground(field);
        let mut seeker = Seeker {
            open: &self.open,
            field,
            labels,
            found: None,
        };
        if through_quotas(field, leaf, cost, &mut seeker) {
            return seeker.found;
        }
        let at = &mut self.touched_at[leaf as usize];
        while let Some(part) = ground.holders.touched(leaf, *at as usize) {
            looks += 1;
            if !ground.banned.contains(&part) && through_partition(field, part, leaf, cost, &mut seeker) {
                break;
            }
            *at += 1;
        }
        if seeker.found.is_none() {
            let at = &mut self.untouched_at[leaf as usize];
            looks += walk_untouched(&ground, leaf, cost, &mut seeker, at);
        }
        let found = seeker.found;
        paths.looks += looks;
        found
    }

    /// Leaves a partition out of which a step did not go after all.
    fn skip(&mut self, paths: &Paths<'_>, field: &Field<'_>, step: Step) {
        let (leaf, holders) = (step.from, &paths.ground(field).holders);
        let at = &mut self.touched_at[leaf as usize];
        match holders.touched(leaf, *at as usize) == Some(step.part) {
            true => *at += 1,
            false => self.untouched_at[leaf as usize] += 1,
        }
    }
}

/// Goes on through the untouched partitions of `leaf` from place `at`.
fn walk_untouched(ground: &Ground<'_>, leaf: u32, cost: i32, seeker: &mut Seeker<'_>, at: &mut u32) -> u64 {
    let mut looks = 0;
    if cost + 1 > ground.most || !seeker.worth(ROOT, cost + 1) {
        return looks;
    }
    let leaving = !seeker.worth(ground.field.home[leaf as usize], cost + 1);
    while let Some(&part) = ground.holders.untouched(leaf).get(*at as usize) {
        let useful = ground.holders.useful(ground.survey, part, leaving) && !ground.banned.contains(&part);
        if useful {
            looks += 1;
            if through_untouched(ground.field, part, leaf, cost, seeker) {
                break;
            }
        }
        *at += 1;
    }
    looks
}

/// A step through the quotas is no step through a partition.
pub(super) fn is_quota(step: Step) -> bool {
    step.part == QUOTA
}
