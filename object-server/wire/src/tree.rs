//! BLAKE3 of a large object from the subtree values of its extents.
//!
//! Extents are 1 MiB, a power of two, so each is a whole subtree of the
//! object's hash: every byte is hashed once, extents in any order, and the
//! value stored with an extent proves it against the root. The proxy computes
//! it as the bytes come in, a node for bytes that came over a network.
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use bytes::Bytes;

use crate::checked::EXTENT;

/// Subtree value of extent number `index`, whose bytes come in `pieces`.
pub fn extent(index: u64, pieces: &[Bytes]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(index * EXTENT as u64);
    for piece in pieces {
        hasher.update(piece);
    }
    hasher.finalize_non_root()
}

/// Root of an object of at least two extents; `None` for fewer (the value of
/// a lone extent is not a root).
pub fn root(extents: &[ChainingValue]) -> Option<[u8; 32]> {
    if extents.len() < 2 {
        return None;
    }
    let (left, right) = extents.split_at(left_len(extents.len()));
    Some(*merge_subtrees_root(&value(left), &value(right), Mode::Hash).as_bytes())
}

fn value(extents: &[ChainingValue]) -> ChainingValue {
    match extents {
        [one] => *one,
        _ => {
            let (left, right) = extents.split_at(left_len(extents.len()));
            merge_subtrees_non_root(&value(left), &value(right), Mode::Hash)
        }
    }
}

/// Extents in the left subtree: the largest power of two below `count`.
fn left_len(count: usize) -> usize {
    count.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_over_extents_is_the_hash_of_the_whole() {
        for len in [EXTENT + 1, EXTENT * 2, EXTENT * 3, EXTENT * 5 + 77] {
            let body: Vec<u8> = (0..len).map(|n| (n / 1000) as u8).collect();
            let extents: Vec<_> = body
                .chunks(EXTENT)
                .enumerate()
                .map(|(n, bytes)| {
                    let (a, b) = bytes.split_at(bytes.len() / 2);
                    extent(n as u64, &[Bytes::copy_from_slice(a), Bytes::copy_from_slice(b)])
                })
                .collect();
            assert_eq!(root(&extents), Some(*blake3::hash(&body).as_bytes()), "{len}");
        }
        assert_eq!(root(&[extent(0, &[Bytes::from_static(b"x")])]), None);
    }
}
