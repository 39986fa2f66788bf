//! The lower bound: moves that no table inside the plan could have saved.
//!
//! Per tier, what must enter it (to reach its quota, to replace what a maximum
//! drives out, to fill a minimum) or the sum over its children, whichever is
//! more. Proof in docs/ring.md.
use super::field::Field;
use super::tree::ROOT;
use crate::table::NONE;

/// The fewest moves from `field.old` to any table with these `quota` (per
/// tier) inside the plan.
pub(super) fn bound(field: &Field<'_>, quota: &[u64]) -> u64 {
    let nodes = &field.tree.nodes;
    let (mut held, mut out, mut enter) = (
        vec![0u64; nodes.len()],
        vec![0u64; nodes.len()],
        vec![0u64; nodes.len()],
    );
    let live = |leaf: u32| leaf != NONE && (leaf as usize) < field.tree.live;
    for part in 0..field.old.parts() {
        let row = field.old.of(part);
        for (at, &leaf) in row.iter().enumerate().filter(|(_, leaf)| live(**leaf)) {
            for node in field.tree.upwards(leaf) {
                held[node] += 1;
                if !row[..at].iter().any(|&before| nodes[node].holds(before)) {
                    let count = field.count(row, usize::MAX, node);
                    out[node] += u64::from(count.saturating_sub(field.plan.max[node]));
                }
            }
        }
        for &node in field.required() {
            let count = field.count(row, usize::MAX, node);
            enter[node] += u64::from(field.plan.min[node].saturating_sub(count));
        }
    }
    // Children come after their parent: backwards, their sum is complete.
    let mut sums = vec![0u64; nodes.len()];
    for node in (1..nodes.len()).rev() {
        let own = (quota[node] + out[node])
            .saturating_sub(held[node])
            .max(enter[node]);
        sums[nodes[node].parent] += own.max(sums[node]);
    }
    sums[ROOT]
}
