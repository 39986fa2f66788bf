//! From the old table to the settled one: the steps of a rebalance in order.
//!
//! Slots without a device, partitions outside the plan, free rewiring, direct
//! moves, chains. Small tables are tried again where the rule of one move a
//! partition cost something: the flow knows no such rule, and another order
//! may get round it.
use super::field::Field;
use super::plan::Plan;
use super::quota::Quotas;
use super::random::Random;
use super::scatter::Guide;
use super::survey::survey;
use super::tree::Tree;
use super::{bound, flow, greedy, repair};
use crate::table::Table;

/// Tables up to this many slots are tried again.
const MAX_SLOTS_TO_RETRY: usize = 1 << 16;
/// How often.
const MAX_TRIES: usize = 24;

/// What a rebalance starts from, in leaf numbers.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// The new table's shape, filled from the old one.
    pub(super) rows: Table,
    pub(super) old: Table,
    pub(super) quotas: Quotas,
    /// Per partition: how many of its slots may move.
    pub(super) allowed: Vec<u8>,
    pub(super) scatter_limit: Option<u32>,
    /// Minimums alone are no reason to move.
    pub(super) least_moves: bool,
}

/// A settled table.
#[derive(Debug)]
pub(super) struct Arranged<'a> {
    pub(super) field: Field<'a>,
    /// The fewest moves that the lower bound allows.
    pub(super) bound: u64,
    /// Slots that are still to move.
    pub(super) pending: u64,
    /// Replicas above a maximum or below a minimum that could not move.
    outside: u64,
    /// Partitions that the flow looked at, in all tries.
    pub(super) looks: u64,
}

impl Arranged<'_> {
    /// What to have least of, the first first. Moves count last: a table is no
    /// better for leaving undone what it had to do.
    fn price(&self) -> (u64, u64, u64) {
        (
            self.pending,
            self.field.total_surplus() + self.outside,
            self.moved(),
        )
    }

    fn moved(&self) -> u64 {
        let touched = self.field.touched.iter();
        touched
            .map(|part| u64::from(self.field.moved(part.0 as usize)))
            .sum()
    }
}

/// Settles the table with the fewest moves.
pub(super) fn arrange<'a>(tree: &'a Tree, plan: &'a Plan, draft: Draft, random: &mut Random) -> Arranged<'a> {
    if draft.rows.slots() > MAX_SLOTS_TO_RETRY {
        return attempt(tree, plan, draft, random);
    }
    let most_looks = flow::most_looks(draft.rows.slots());
    let mut best = attempt(tree, plan, draft.clone(), random);
    let mut cost = best.price();
    if best.pending == 0 && best.moved() <= best.bound {
        return best;
    }
    let free = attempt(tree, plan, draft.without_rule(), random);
    let (least, mut looks) = (free.price(), best.looks + free.looks);
    for _ in 1..MAX_TRIES {
        if cost <= least || looks >= most_looks {
            break;
        }
        let other = attempt(tree, plan, draft.clone(), random);
        let price = other.price();
        looks += other.looks;
        if price < cost {
            (best, cost) = (other, price);
        }
    }
    best.looks = looks;
    best
}

impl Draft {
    /// The same without the rule of one move a partition.
    fn without_rule(&self) -> Self {
        let mut free = self.clone();
        for allowed in free.allowed.iter_mut().filter(|allowed| **allowed > 0) {
            *allowed = u8::MAX;
        }
        free
    }
}

fn attempt<'a>(tree: &'a Tree, plan: &'a Plan, draft: Draft, random: &mut Random) -> Arranged<'a> {
    let parts = draft.rows.parts();
    let tables = (draft.rows, draft.old);
    let mut field = Field::new(tree, plan, tables, draft.quotas, draft.allowed);
    if let Some(limit) = draft.scatter_limit {
        field.guide = Some(Guide::new(&field.rows, tree.leaves(), limit));
    }
    repair::narrow(&mut field);
    let survey = survey(&field);
    let start = random.below(parts);
    let stride = (parts as f64 * 0.618) as usize | 1;
    let order = || (0..parts).map(move |step| (start + step.wrapping_mul(stride)) & (parts - 1));
    repair::place_holes(&mut field, order().filter(|&part| survey.has_holes(part)));
    let repairs = || order().filter(|&part| survey.needs_repair(part));
    let left = repair::repair(&mut field, repairs(), draft.least_moves);
    let looks = flow::settle(&mut field, &survey, |field| greedy::shed(field, order()));
    let outside = match left {
        0 => 0,
        _ => repair::left_outside(&field, repairs(), draft.least_moves),
    };
    Arranged {
        bound: bound::bound(&field, &survey),
        pending: field.total_surplus().max(left),
        outside,
        looks,
        field,
    }
}
