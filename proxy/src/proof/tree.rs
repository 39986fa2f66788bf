//! The tree of BLAKE3 over chunks of 1 KiB: values of subtrees, and how two of
//! them become one.
use std::iter::Peekable;
use std::ops::Range;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// Value of the subtree over `bytes`, which lie at `offset` in the object:
/// a multiple of their length rounded up to a power of two chunks.
pub fn value(offset: u64, bytes: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    hasher.update(bytes).finalize_non_root()
}

/// The root over bytes that are all here.
pub fn whole(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// Leaves of the left subtree of a node over `leaves` of them, at least two:
/// the largest power of two below.
pub fn left(leaves: u64) -> u64 {
    leaves.div_ceil(2).next_power_of_two()
}

/// The value over subtrees of equal size (the last may be smaller), from left
/// to right; `None` over none.
pub fn joined(subtrees: &[ChainingValue]) -> Option<ChainingValue> {
    match subtrees {
        [] => None,
        [one] => Some(*one),
        _ => {
            let (left, right) = halves(subtrees)?;
            Some(merge_subtrees_non_root(
                &joined(left)?,
                &joined(right)?,
                Mode::Hash,
            ))
        }
    }
}

/// The root over at least two subtrees, as with [`joined`].
pub fn root_of(subtrees: &[ChainingValue]) -> Option<[u8; 32]> {
    if subtrees.len() < 2 {
        return None;
    }
    let (left, right) = halves(subtrees)?;
    Some(*merge_subtrees_root(&joined(left)?, &joined(right)?, Mode::Hash).as_bytes())
}

fn halves(subtrees: &[ChainingValue]) -> Option<(&[ChainingValue], &[ChainingValue])> {
    let middle = usize::try_from(left(subtrees.len() as u64)).ok()?;
    subtrees.split_at_checked(middle)
}

/// The root over `chunks` chunks, at least two, of leaves that cover all of
/// them; leaves that do not give some other root.
pub(super) fn root<I>(chunks: u64, leaves: &mut Peekable<I>) -> [u8; 32]
where
    I: Iterator<Item = (Range<u64>, ChainingValue)>,
{
    let middle = left(chunks);
    let left = node(0..middle, leaves);
    let right = node(middle..chunks, leaves);
    *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
}

fn node<I>(over: Range<u64>, leaves: &mut Peekable<I>) -> ChainingValue
where
    I: Iterator<Item = (Range<u64>, ChainingValue)>,
{
    if let Some((_, value)) = leaves.next_if(|(range, _)| *range == over) {
        return value;
    }
    if over.end - over.start < 2 {
        return ChainingValue::default();
    }
    let middle = over.start + left(over.end - over.start);
    let left = node(over.start..middle, leaves);
    let right = node(middle..over.end, leaves);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_left_subtree_is_the_largest_power_of_two_below() {
        for (leaves, expected) in [(2, 1), (3, 2), (4, 2), (5, 4), (8, 4), (9, 8), (1 << 54, 1 << 53)] {
            assert_eq!(left(leaves), expected, "{leaves}");
        }
    }

    #[test]
    fn values_of_groups_give_the_root_of_the_whole() {
        let body: Vec<u8> = (0..100_000).map(|n| (n / 300) as u8).collect();
        for len in [4097, 8192, 12_289, 100_000] {
            let body = &body[..len];
            let groups: Vec<_> = (0..)
                .zip(body.chunks(4096))
                .map(|(n, bytes)| value(n * 4096, bytes))
                .collect();
            assert_eq!(root_of(&groups), Some(*blake3::hash(body).as_bytes()), "{len}");
        }
        assert_eq!(root_of(&[[0; 32]]), None);
    }
}
