//! The lower bound: moves that no table inside the plan could have saved.
//!
//! Per tier, what must enter it (to reach its quota, to replace what a maximum
//! drives out, to fill a minimum) or the sum over its children, whichever is
//! more. Proof in docs/ring.md.
use super::field::Field;
use super::survey::Survey;
use super::tree::ROOT;

/// The fewest moves from `field.old` to any table with the field's quotas
/// inside the plan.
pub(super) fn bound(field: &Field<'_>, survey: &Survey) -> u64 {
    let nodes = &field.tree.nodes;
    let mut held = vec![0u64; nodes.len()];
    let loads = field.old.count_by_device(field.tree.live);
    for (leaf, load) in loads.into_iter().enumerate() {
        field
            .tree
            .upwards(leaf as u32)
            .for_each(|node| held[node] += load);
    }
    // Children come after their parent: backwards, their sum is complete.
    let mut sums = vec![0u64; nodes.len()];
    for node in (1..nodes.len()).rev() {
        let own = (field.tiers.at[node] + survey.leave[node])
            .saturating_sub(held[node])
            .max(survey.enter[node]);
        sums[nodes[node].parent] += own.max(sums[node]);
    }
    sums[ROOT]
}
