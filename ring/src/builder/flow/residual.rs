//! Ways for a device to pass one slot of load on to another, and their cost.
//!
//! Through a partition: its replica goes from one to the other, staying inside
//! the plan. That costs 1 if it makes a new move, 0 if it gives a moved replica
//! another target (or lets another replica of the partition be the moved one),
//! -1 if it takes a move back. Through the quotas, at no cost: one device keeps
//! a slot more, the other gets a slot less, every tier staying between floor
//! and ceiling of its target.
use super::super::field::Field;
use super::super::tree::ROOT;
use crate::table::NONE;

/// Stands for a step through the quotas, in place of a partition.
pub(super) const QUOTA: u32 = u32::MAX;

/// From which device, through which partition (or [`QUOTA`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) from: u32,
    pub(super) part: u32,
}

/// Looks at devices that can be reached; leaves out tiers that are not worth it.
pub(super) trait Visitor {
    /// Is some device in this tier worth reaching at this cost?
    fn worth(&self, node: usize, cost: i32) -> bool;

    /// A device that can be reached. True ends the walk.
    fn visit(&mut self, leaf: u32, cost: i32, step: Step) -> bool;
}

/// Everything that `from`, itself at `cost`, reaches through the quotas.
pub(super) fn through_quotas(field: &Field<'_>, from: u32, cost: i32, visitor: &mut impl Visitor) -> bool {
    if from as usize >= field.tree.live {
        return false;
    }
    let step = Step { from, part: QUOTA };
    let mut node = field.tree.node_of_leaf[from as usize];
    while node != ROOT && field.tiers.at[node] < field.tiers.high[node] {
        let parent = field.tree.nodes[node].parent;
        if visitor.worth(parent, cost) {
            let siblings = field.tree.nodes[parent].children.iter();
            for &child in siblings.filter(|&&child| child != node) {
                if lower_quota(field, child, cost, step, visitor) {
                    return true;
                }
            }
        }
        node = parent;
    }
    false
}

/// Devices below `node` whose quota can go down.
fn lower_quota(field: &Field<'_>, node: usize, cost: i32, step: Step, visitor: &mut impl Visitor) -> bool {
    if field.tiers.at[node] <= field.tiers.low[node] || !visitor.worth(node, cost) {
        return false;
    }
    let tier = &field.tree.nodes[node];
    if tier.children.is_empty() {
        return visitor.visit(tier.leaves.0, cost, step);
    }
    tier.children
        .iter()
        .any(|&child| lower_quota(field, child, cost, step, visitor))
}

/// Everything that `from`, itself at `cost`, reaches through a partition.
pub(super) fn through_partition(
    field: &Field<'_>,
    part: u32,
    from: u32,
    cost: i32,
    visitor: &mut impl Visitor,
) -> bool {
    let row = field.rows.of(part as usize);
    let Some(at) = row.iter().position(|&leaf| leaf == from) else {
        return false;
    };
    let back = i32::from(!field.held_before(part as usize, from));
    let moved = i32::from(field.moved(part as usize)) - back;
    let allowed = i32::from(field.allowed[part as usize]);
    if moved > allowed {
        return false;
    }
    let top = field.ceiling(row, at);
    let walk = Walk {
        field,
        row,
        at,
        cost: cost - back + 1,
        step: Step { from, part },
    };
    for &home in field.old.of(part as usize) {
        let gone = home != NONE && !row.contains(&home);
        if gone && walk.comes_home(top, home, visitor) {
            return true;
        }
    }
    moved < allowed && walk.spread(top, visitor)
}

/// The same for a partition that nothing was done to yet and that may move.
pub(super) fn through_untouched(
    field: &Field<'_>,
    part: u32,
    from: u32,
    cost: i32,
    visitor: &mut impl Visitor,
) -> bool {
    let row = field.rows.of(part as usize);
    let Some(at) = row.iter().position(|&leaf| leaf == from) else {
        return false;
    };
    let walk = Walk {
        field,
        row,
        at,
        cost: cost + 1,
        step: Step { from, part },
    };
    walk.spread(field.ceiling(row, at), visitor)
}

/// One entry of one row on its way to other devices.
struct Walk<'a> {
    field: &'a Field<'a>,
    row: &'a [u32],
    at: usize,
    /// Cost of a device that did not hold the partition before.
    cost: i32,
    step: Step,
}

impl Walk<'_> {
    /// Can the entry go to `home`, which held the partition before, below `top`?
    fn comes_home(&self, top: usize, home: u32, visitor: &mut impl Visitor) -> bool {
        let (tree, cost) = (self.field.tree, self.cost - 1);
        if !tree.nodes[top].holds(home) || !visitor.worth(tree.node_of_leaf[home as usize], cost) {
            return false;
        }
        let mut apart = tree
            .upwards(home)
            .take_while(|&node| !tree.nodes[node].holds(self.row[self.at]));
        apart.all(|node| self.has_room(node)) && visitor.visit(home, cost, self.step)
    }

    /// Every device below `node` that the maximums allow.
    fn spread(&self, node: usize, visitor: &mut impl Visitor) -> bool {
        if !visitor.worth(node, self.cost) {
            return false;
        }
        let tier = &self.field.tree.nodes[node];
        if !tier.children.is_empty() {
            let mut children = tier.children.iter();
            return children.any(|&child| self.has_room(child) && self.spread(child, visitor));
        }
        let leaf = tier.leaves.0;
        let new = leaf != self.step.from && !self.field.held_before(self.step.part as usize, leaf);
        node != ROOT && new && visitor.visit(leaf, self.cost, self.step)
    }

    fn has_room(&self, node: usize) -> bool {
        self.field.count(self.row, self.at, node) < self.field.plan.max[node]
    }
}
