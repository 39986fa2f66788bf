//! Quotas: whole slots per tier, each less than one away from its target.
//!
//! Top down: a tier's quota is shared so that every child gets the floor or
//! the ceiling of its target. That always works out, because the floors sum to
//! at most the parent's floor and the ceilings to at least its ceiling. Which
//! children get the ceiling is only a first choice: [`super::flow`] passes
//! units on within these limits where that saves a move.
use super::plan::Plan;
use super::tree::{ROOT, Tree};

/// Slots per tier, indexed like the tree's nodes.
#[derive(Clone, Debug)]
pub(super) struct Quotas {
    pub(super) at: Vec<u64>,
    /// What a tier's quota may go down to, and up to.
    pub(super) low: Vec<u64>,
    pub(super) high: Vec<u64>,
}

/// Quotas that sum to `slots`. Where a choice is left, tiers that `held` more
/// than their floor keep the extra one.
pub(super) fn quotas(tree: &Tree, plan: &Plan, parts: usize, slots: u64, held: &[u64]) -> Quotas {
    let nodes = tree.nodes.len();
    let (mut quota, mut low, mut high) = (vec![0; nodes], vec![0; nodes], vec![0; nodes]);
    (quota[ROOT], low[ROOT], high[ROOT]) = (slots, slots, slots);
    // Targets carry an error near 1e-10 of a replica; so do these products.
    let slack = 1e-10 * parts as f64 + 1e-9;
    for (at, node) in tree.nodes.iter().enumerate() {
        if node.children.is_empty() {
            continue;
        }
        let mut open: Vec<(u64, f64, usize)> = Vec::new();
        let mut left = quota[at] as i64;
        for &child in &node.children {
            let exact = plan.target[child] * parts as f64;
            let floor = (exact + slack).floor().max(0.0);
            quota[child] = floor as u64;
            (low[child], high[child]) = (quota[child], quota[child]);
            left -= floor as i64;
            let fraction = exact - floor;
            if fraction > slack {
                high[child] += 1;
                open.push((held[child].saturating_sub(floor as u64), fraction, child));
            }
        }
        // Those that would have to give most away first; then the largest fraction.
        open.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
        for &(_, _, child) in open.iter().take(left.max(0) as usize) {
            quota[child] += 1;
        }
        let given = left.clamp(0, open.len() as i64);
        settle(tree, &mut quota, &node.children, left - given, parts);
        for &child in &node.children {
            low[child] = low[child].min(quota[child]);
            high[child] = high[child].max(quota[child]);
        }
    }
    Quotas { at: quota, low, high }
}

/// Rounding noise may leave slots over, or make the floors one too many: the
/// difference goes to (or comes from) the largest quota that allows it.
fn settle(tree: &Tree, quota: &mut [u64], children: &[usize], mut over: i64, parts: usize) {
    while over != 0 {
        let able = |child: usize| match over > 0 {
            true => quota[child] < (tree.nodes[child].size() * parts) as u64,
            false => quota[child] > 0,
        };
        let largest = children
            .iter()
            .copied()
            .filter(|&child| able(child))
            .max_by_key(|&child| quota[child]);
        let Some(child) = largest else { return };
        quota[child] = quota[child].saturating_add_signed(over.signum());
        over -= over.signum();
    }
}
