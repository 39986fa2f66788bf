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
}

impl Arranged<'_> {
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
    let mut best = attempt(tree, plan, draft.clone(), random);
    let mut cost = (best.pending, best.moved());
    if cost.0 == 0 && cost.1 <= best.bound {
        return best;
    }
    let least = attempt(tree, plan, draft.without_rule(), random);
    let least = (least.pending, least.moved());
    for _ in 1..MAX_TRIES {
        if cost <= least {
            break;
        }
        let other = attempt(tree, plan, draft.clone(), random);
        let price = (other.pending, other.moved());
        if price < cost {
            (best, cost) = (other, price);
        }
    }
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
    let outside = order().filter(|&part| survey.needs_repair(part));
    let outside = repair::repair(&mut field, outside, draft.least_moves);
    flow::settle(&mut field, &survey, |field| greedy::shed(field, order()));
    Arranged {
        bound: bound::bound(&field, &survey),
        pending: field.total_surplus().max(outside),
        field,
    }
}
