//! The first table: systematic rounding, block by block.
//!
//! Devices lie on a line in depth-first order, each as long as its quota; slot
//! j of the line goes to partition j mod P. A tier is one interval, and an
//! interval of length L meets each residue floor(L/P) or ceil(L/P) times: so
//! every partition gets the floor or the ceiling of every tier's share, at all
//! levels at once, with exact quotas. Blocks of partitions with their own
//! random order do the same at a smaller scale and spread the copysets.
use super::random::{Random, mix};
use super::scatter;
use super::tree::{ROOT, Tree};
use crate::table::{NONE, Table};

/// Fills an empty table (with leaf numbers). `quota` is per leaf and sums to
/// the slots; `blocks` is the scatter knob (about `blocks * devices` copysets).
pub(super) fn fill(tree: &Tree, table: &mut Table, quota: &[u64], blocks: usize, random: &mut Random) {
    let (parts, short) = (table.parts(), table.last_row());
    let order: Vec<u32> = (0..tree.live as u32).collect();
    if short == parts {
        fill_range(tree, table, 0..parts, quota, blocks, random);
    } else {
        // The partitions that have the extra replica, and those that have not.
        let (first, rest) = split(&order, quota, parts, short);
        fill_range(tree, table, 0..short, &first, blocks, random);
        fill_range(tree, table, short..parts, &rest, blocks, random);
    }
    for part in 0..parts {
        let row = table.of_mut(part);
        let turn = mix(part as u64) as usize % row.len().max(1);
        row.rotate_left(turn);
    }
}

/// Fills an empty table with as many blocks, up to `blocks`, as keep every
/// device's scatter within `limit`; with one block if that is still too much.
pub(super) fn fill_within(
    tree: &Tree,
    empty: &Table,
    quota: &[u64],
    (mut blocks, limit): (usize, u32),
    random: &Random,
) -> Table {
    // With equal weights a block gives a device about 2 (R - 1) partners.
    let a_block = 2 * empty.rows().saturating_sub(1).max(1);
    blocks = blocks.min(limit as usize / a_block + 1).max(1);
    loop {
        let mut table = empty.clone();
        fill(tree, &mut table, quota, blocks, &mut random.clone());
        let found = scatter::measure(&table, tree.live, limit);
        if found.is_met() || blocks == 1 {
            return table;
        }
        let fewer = blocks * limit as usize / found.widest.max(1) as usize;
        blocks = fewer.clamp(1, blocks - 1);
    }
}

/// Cuts the line of `quota` laid over `parts` partitions: what falls on the
/// first `cut` of them, and the rest.
fn split(order: &[u32], quota: &[u64], parts: usize, cut: usize) -> (Vec<u64>, Vec<u64>) {
    let (parts, cut) = (parts as u64, cut as u64);
    let before = |slot: u64| slot / parts * cut + (slot % parts).min(cut);
    let mut first = vec![0; quota.len()];
    let mut at = 0;
    for &leaf in order {
        let end = at + quota[leaf as usize];
        first[leaf as usize] = before(end) - before(at);
        at = end;
    }
    let rest = quota.iter().zip(&first).map(|(all, first)| all - first).collect();
    (first, rest)
}

fn fill_range(
    tree: &Tree,
    table: &mut Table,
    range: std::ops::Range<usize>,
    quota: &[u64],
    blocks: usize,
    random: &mut Random,
) {
    let blocks = blocks.clamp(1, range.len().max(1));
    let size = range.len() / blocks;
    let mut start = range.start;
    let mut quota = quota.to_vec();
    let left_over = range.len() - size * blocks;
    if left_over > 0 {
        let (first, rest) = split(&line(tree, random), &quota, range.len(), left_over);
        fill_block(
            &line(tree, random),
            table,
            start..start + left_over,
            &first,
            random,
        );
        quota = rest;
        start += left_over;
    }
    // Each block gets the whole part of its share; the remainders are units on
    // one line, dealt out block by block.
    let remainders = line(tree, random);
    let mut dealt = random.below(blocks);
    let mut extra: Vec<Vec<u32>> = vec![Vec::new(); blocks];
    for &leaf in &remainders {
        for _ in 0..quota[leaf as usize] % blocks as u64 {
            extra[dealt % blocks].push(leaf);
            dealt += 1;
        }
    }
    let mut share: Vec<u64> = vec![0; quota.len()];
    for (block, extra) in extra.iter().enumerate() {
        for (share, all) in share.iter_mut().zip(&quota) {
            *share = all / blocks as u64;
        }
        extra.iter().for_each(|&leaf| share[leaf as usize] += 1);
        let from = start + block * size;
        fill_block(&line(tree, random), table, from..from + size, &share, random);
    }
}

/// Leaves in a depth-first order with the children of every tier shuffled.
fn line(tree: &Tree, random: &mut Random) -> Vec<u32> {
    let mut order = Vec::with_capacity(tree.live);
    let mut stack = vec![ROOT];
    while let Some(node) = stack.pop() {
        let children = &tree.nodes[node].children;
        if children.is_empty() && node != ROOT {
            order.push(tree.nodes[node].leaves.0);
        }
        let from = stack.len();
        stack.extend(children);
        random.shuffle(&mut stack[from..]);
    }
    order
}

fn fill_block(
    order: &[u32],
    table: &mut Table,
    range: std::ops::Range<usize>,
    quota: &[u64],
    random: &mut Random,
) {
    let offset = random.below(range.len());
    let mut slot = 0;
    for &leaf in order {
        for _ in 0..quota[leaf as usize] {
            let part = range.start + (slot + offset) % range.len();
            if let Some(cell) = table.of_mut(part).iter_mut().find(|cell| **cell == NONE) {
                *cell = leaf;
            }
            slot += 1;
        }
    }
}
