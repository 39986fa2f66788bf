//! What must move before anything else: slots without a device, then
//! partitions outside the plan's limits.
use super::field::{Field, Want};
use super::tree::ROOT;
use crate::device::Partition;
use crate::table::NONE;

/// Up to this many pairs of a replica and a device are all tried for a
/// partition that a descent does not bring into the plan.
const MAX_PAIRS: usize = 4096;

/// Where the replica count shrank: drops the replicas that the plan misses least.
pub(super) fn narrow(field: &mut Field<'_>) {
    if field.old.slots() <= field.rows.slots() {
        return;
    }
    field.load = field.old.count_by_device(field.tree.leaves());
    let mut row = Vec::new();
    for part in 0..field.rows.parts() {
        let width = field.rows.width(part);
        if field.old.width(part) <= width {
            continue;
        }
        row.clear();
        row.extend(field.old.of(part).iter().copied().filter(|leaf| *leaf != NONE));
        while row.len() > width {
            let worst = (0..row.len()).min_by_key(|&at| {
                let mut without = row.clone();
                let leaf = without.remove(at);
                (field.violation(&without), u64::MAX - field.surplus(leaf))
            });
            let Some(at) = worst else { break };
            let leaf = row.remove(at) as usize;
            field.load[leaf] = field.load[leaf].saturating_sub(1);
        }
        // Which replica goes may still be decided otherwise, at no cost.
        field.touched.insert(Partition(part as u32));
        let cells = field.rows.of_mut(part);
        cells.fill(NONE);
        cells.iter_mut().zip(&row).for_each(|(cell, &leaf)| *cell = leaf);
        let holes = width.saturating_sub(row.len()).min(usize::from(u8::MAX)) as u8;
        field.allowed[part] = field.allowed[part].max(holes);
    }
    field.recount();
}

/// Gives every slot without a device the best one there is.
pub(super) fn place_holes(field: &mut Field<'_>, order: impl Iterator<Item = usize>) {
    let mut shorts = Vec::new();
    for part in order {
        for at in 0..field.rows.width(part) {
            if field.rows.of(part)[at] != NONE {
                continue;
            }
            let row = field.rows.of(part);
            field.shorts(row, at, &mut shorts);
            let best = field.target(row, at, ROOT, &shorts);
            let mut trial = row.to_vec();
            if let Some(leaf) = best {
                trial[at] = leaf;
                if field.violation(&trial) == 0 {
                    field.put(part, at, leaf);
                    field.learn(part);
                    continue;
                }
            }
            let choices = [best, field.descend(row, at, ROOT, Want::Any, &shorts)];
            let rated = choices.into_iter().flatten().map(|leaf| {
                trial[at] = leaf;
                (field.violation(&trial), u64::MAX - field.deficit(leaf), leaf)
            });
            let best = rated.min().map(|(_, _, leaf)| leaf);
            // Every tier full: any device that has not got the partition yet.
            let best = best.or_else(|| {
                let free = (0..field.tree.live as u32).filter(|leaf| !row.contains(leaf));
                free.max_by_key(|&leaf| (field.deficit(leaf), u64::MAX - field.load[leaf as usize]))
            });
            if let Some(leaf) = best {
                field.put(part, at, leaf);
            }
        }
    }
}

/// Moves slots of partitions that are above a tier's maximum, below a
/// minimum, or on a drained device, as far as they may move. Gives the number
/// of partitions left outside the plan. With `least_moves`, minimums alone are
/// no reason to move.
pub(super) fn repair(field: &mut Field<'_>, order: impl Iterator<Item = usize>, least_moves: bool) -> u64 {
    let mut shorts = Vec::new();
    let mut left = 0;
    for part in order {
        loop {
            let violation = field.violation(field.rows.of(part));
            if violation == 0 || (least_moves && field.standing(field.rows.of(part)).over == 0) {
                break;
            }
            let better = match field.may_move(part) {
                true => best_repair(field, part, violation, &mut shorts),
                false => None,
            };
            let Some((at, leaf)) = better else {
                left += 1;
                break;
            };
            field.put(part, at, leaf);
        }
    }
    left
}

/// Replicas above a maximum or below a minimum, summed over these partitions
/// and all tiers. With `least_moves`, minimums alone count nothing.
pub(super) fn left_outside(field: &Field<'_>, parts: impl Iterator<Item = usize>, least_moves: bool) -> u64 {
    let standings = parts.map(|part| field.standing(field.rows.of(part)));
    let counted = standings.filter(|standing| !least_moves || standing.over > 0);
    counted
        .map(|standing| u64::from(standing.over + standing.short))
        .sum()
}

/// The single move that brings the partition nearest to the plan; among equal
/// ones from the most overfull device to the one that lacks most.
fn best_repair(
    field: &Field<'_>,
    part: usize,
    violation: u32,
    shorts: &mut Vec<usize>,
) -> Option<(usize, u32)> {
    let row = field.rows.of(part);
    let mut best = None;
    let mut trial = row.to_vec();
    for at in 0..row.len() {
        // An entry that has moved already is rewired, not moved again.
        field.shorts(row, at, shorts);
        for want in [Want::Deficit, Want::Any] {
            let Some(leaf) = field.descend(row, at, ROOT, want, shorts) else {
                continue;
            };
            trial[at] = leaf;
            let after = field.violation(&trial);
            trial[at] = row[at];
            let gain = u8::from(field.surplus(row[at]) > 0) + u8::from(field.deficit(leaf) > 0);
            let key = (
                after,
                u8::MAX - gain,
                u64::MAX - field.surplus(row[at]),
                u64::MAX - field.deficit(leaf),
            );
            if after < violation && best.as_ref().is_none_or(|(known, _)| key < *known) {
                best = Some((key, (at, leaf)));
            }
        }
    }
    // What leaves the partition outside the plan may be a descent that went
    // into the wrong one of two tiers that lack a replica.
    let (left, choice) = match best {
        Some(((after, ..), choice)) => (after, Some(choice)),
        None => (violation, None),
    };
    if left == 0 || row.len() * field.tree.live > MAX_PAIRS {
        return choice;
    }
    let pairs = (0..row.len()).flat_map(|at| (0..field.tree.live as u32).map(move |leaf| (at, leaf)));
    let rated = pairs.filter(|(_, leaf)| !row.contains(leaf)).map(|(at, leaf)| {
        trial.copy_from_slice(row);
        trial[at] = leaf;
        (
            field.violation(&trial),
            u64::MAX - field.deficit(leaf),
            (at, leaf),
        )
    });
    let every = rated.min().filter(|(after, ..)| *after < left);
    every.map(|(.., pair)| pair).or(choice)
}
