//! Surplus straight to deficit: the bulk of a rebalance, one move each.
use super::field::Field;

/// Moves slots from devices above their quota to devices below, where one
/// move does it without leaving the plan.
pub(super) fn shed(field: &mut Field<'_>, order: impl Iterator<Item = usize>) {
    let mut left = field.total_surplus();
    for part in order {
        if left == 0 || field.lack[super::tree::ROOT] == 0 {
            return;
        }
        let row = field.rows.of(part);
        if row.iter().all(|&leaf| field.surplus(leaf) == 0) || !field.may_move(part) {
            continue;
        }
        if let Some((at, leaf)) = best_move(field, row) {
            field.put(part, at, leaf);
            field.learn(part);
            left -= 1;
        }
    }
}

/// From the fullest device of the partition that can give the slot away.
fn best_move(field: &Field<'_>, row: &[u32]) -> Option<(usize, u32)> {
    let mut below = (u64::MAX, usize::MAX);
    loop {
        let entries = row
            .iter()
            .enumerate()
            .map(|(at, &leaf)| (field.surplus(leaf), at));
        let (surplus, at) = entries.filter(|&key| key.0 > 0 && key < below).max()?;
        below = (surplus, at);
        let from = field.ceiling(row, at);
        if let Some(leaf) = field.target(row, at, from, &[]) {
            return Some((at, leaf));
        }
    }
}
