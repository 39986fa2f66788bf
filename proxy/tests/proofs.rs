//! Proofs about ranges of objects: their bytes, what they prove, and that nothing else passes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]
use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use virga_proxy::proof::{BadProof, CHUNK, MAX_LEN, Proof, Says, Shape, tree};

#[path = "../../fuzz/bodies/proof.rs"]
mod body;

const GOLDEN: &str = include_str!("../golden/proof-v1.txt");

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 % 251 + n / 1000) as u8).collect()
}

fn prove(object: &[u8], range: Range<u64>) -> Proof {
    let at = |chunk: u64| ((chunk * CHUNK) as usize).min(object.len());
    let shape = Shape::new(object.len() as u64, range).unwrap();
    let chunk = |number| Some(object[at(number)..at(number + 1)].to_vec());
    let value = |chunks: Range<u64>| {
        let bytes = &object[at(chunks.start)..at(chunks.end)];
        Some(tree::value(chunks.start * CHUNK, bytes))
    };
    Proof::build(shape, chunk, value).unwrap()
}

/// Whether a proof shows, to one who trusts `root` and has asked about `range`, that `piece` are these bytes.
fn shows(proof: &[u8], root: &[u8; 32], range: &Range<u64>, piece: &[u8]) -> bool {
    let Ok(proof) = Proof::decode(proof) else {
        return false;
    };
    if proof.root() != *root || proof.shape().range() != *range {
        return false;
    }
    proof.parts().iter().all(|part| {
        let at = |offset: u64| (offset - range.start) as usize;
        let here = &piece[at(part.bytes.start)..at(part.bytes.end)];
        match part.says {
            Says::Bytes(bytes) => here == bytes,
            Says::Value(value) => tree::value(part.bytes.start, here) == value,
        }
    })
}

/// The proof with a bit flipped and its checksum put right again.
fn flipped(proof: &[u8], bit: usize) -> Vec<u8> {
    let mut proof = proof.to_vec();
    proof[bit / 8] ^= 1 << (bit % 8);
    let end = proof.len() - 4;
    let crc = crc32fast::hash(&proof[..end]);
    proof[end..].copy_from_slice(&crc.to_le_bytes());
    proof
}

fn ranges() -> impl Strategy<Value = (usize, Range<u64>)> {
    let chunk = CHUNK as usize;
    let edge = (0..40_usize, 0..3_usize).prop_map(move |(n, off)| (n * chunk + off).saturating_sub(1));
    let size = prop_oneof![1..70_000_usize, edge].prop_map(|size| size.max(1));
    size.prop_flat_map(move |size| {
        let near = move |n: usize, off: usize| (n * chunk + off).saturating_sub(1).min(size);
        let end = move || {
            let edge = (0..size / chunk + 2, 0..3_usize).prop_map(move |(n, off)| near(n, off));
            prop_oneof![0..=size, edge]
        };
        (Just(size), end(), end())
    })
    .prop_filter_map("an empty range", |(size, a, b)| {
        (a != b).then(|| (size, a.min(b) as u64..a.max(b) as u64))
    })
}

proptest! {
    #[test]
    fn a_proof_gives_the_root_and_covers_its_range((size, range) in ranges()) {
        let object = bytes(size);
        let proof = prove(&object, range.clone());
        let root = *blake3::hash(&object).as_bytes();
        prop_assert_eq!(proof.root(), root);
        let encoded = proof.encode();
        prop_assert!(encoded.len() <= MAX_LEN);
        prop_assert_eq!(Proof::decode(&encoded), Ok(proof));
        let piece = &object[range.start as usize..range.end as usize];
        prop_assert!(shows(&encoded, &root, &range, piece));
    }

    #[test]
    fn a_flipped_bit_in_the_range_or_in_the_proof_is_seen((size, range) in ranges(), bit: usize) {
        let object = bytes(size);
        let root = *blake3::hash(&object).as_bytes();
        let proof = prove(&object, range.clone()).encode();
        let mut piece = object[range.start as usize..range.end as usize].to_vec();
        prop_assert!(!shows(&flipped(&proof, bit % ((proof.len() - 4) * 8)), &root, &range, &piece));
        let at = bit % (piece.len() * 8);
        piece[at / 8] ^= 1 << (at % 8);
        prop_assert!(!shows(&proof, &root, &range, &piece));
    }

    #[test]
    fn an_objects_length_is_proven((size, range) in ranges(), other in 1..70_000_u64) {
        let object = bytes(size);
        let root = *blake3::hash(&object).as_bytes();
        prop_assume!(other != size as u64 && other >= range.end);
        let mut lie = prove(&object, range.clone()).encode();
        lie[8..16].copy_from_slice(&other.to_le_bytes());
        // Parts that fit the other length, of what is there.
        for len in [lie.len() - 4, lie.len() - 4 + 32, lie.len() - 4 - 32] {
            let mut lie = lie.clone();
            lie.resize(len + 4, 0);
            let lie = flipped(&flipped(&lie, 0), 0);
            if let Ok(proof) = Proof::decode(&lie) {
                prop_assert_ne!(proof.root(), root);
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read_back_the_same(data in vec(any::<u8>(), 0..200)) {
        body::chew(&data);
    }

    #[test]
    fn any_numbers_make_a_proof_that_holds_together(
        size: u64, a: u64, b: u64, small in 0..64_u32, filling in vec(any::<u8>(), 0..40)
    ) {
        let size = size >> small;
        let cut = |n: u64| n.checked_rem(size).unwrap_or(0);
        let (start, end) = (cut(a).min(cut(b)), cut(a).max(cut(b)));
        let numbers = [size, start, end].map(u64::to_le_bytes).concat();
        body::chew(&[numbers, filling].concat());
    }
}

#[test]
fn every_single_bit_counts() {
    let object = bytes(5 * CHUNK as usize + 100);
    let root = *blake3::hash(&object).as_bytes();
    for range in [0..1, 1000..3000, 1024..2048, 5000..5220, 0..5220] {
        let proof = prove(&object, range.clone()).encode();
        let mut piece = object[range.start as usize..range.end as usize].to_vec();
        assert!(shows(&proof, &root, &range, &piece));
        for bit in 0..(proof.len() - 4) * 8 {
            assert!(
                !shows(&flipped(&proof, bit), &root, &range, &piece),
                "{range:?}: bit {bit} of the proof"
            );
        }
        for bit in 0..piece.len() * 8 {
            piece[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !shows(&proof, &root, &range, &piece),
                "{range:?}: bit {bit} of the data"
            );
            piece[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn what_is_no_proof_is_refused_by_name() {
    let object = bytes(5000);
    let good = prove(&object, 10..20).encode();
    let with = |at: usize, bytes: &[u8]| {
        let mut proof = good.clone();
        proof[at..at + bytes.len()].copy_from_slice(bytes);
        flipped(&flipped(&proof, 0), 0)
    };
    let says = |proof: &[u8]| Proof::decode(proof).unwrap_err();
    assert_eq!(says(&[]), BadProof::Length(0));
    assert_eq!(says(&vec![0; MAX_LEN + 1]), BadProof::Length(MAX_LEN + 1));
    assert_eq!(says(&with(0, b"VRPG")), BadProof::Magic);
    assert_eq!(says(&with(4, &[2])), BadProof::Version(2));
    let mut damaged = good.clone();
    damaged[100] ^= 1;
    assert_eq!(says(&damaged), BadProof::Checksum);
    assert!(matches!(
        says(&with(16, &20_u64.to_le_bytes())),
        BadProof::Range(_)
    ));
    assert!(matches!(says(&with(6, &[1])), BadProof::Parts { .. }));
    assert!(matches!(
        says(&with(8, &u64::MAX.to_le_bytes())),
        BadProof::Parts { .. }
    ));
    for cut in 36..good.len() {
        let short = flipped(&flipped(&good[..cut], 0), 0);
        assert!(matches!(says(&short), BadProof::Parts { .. }), "{cut}");
    }
}

#[test]
fn proofs_have_the_form_that_was_agreed_on() {
    let samples = [
        (0, 0..0),
        (5, 1..3),
        (1024, 0..1024),
        (1025, 0..1),
        (5000, 1500..4096),
        (9 << 10, 2048..4096),
    ];
    let mut written = String::new();
    for (size, range) in samples {
        let proof = prove(&bytes(size), range.clone());
        let root = hex::encode(proof.root());
        written += &format!(
            "{size} {}-{} {root} {}\n",
            range.start,
            range.end,
            hex::encode(proof.encode())
        );
    }
    assert!(
        written == GOLDEN,
        "the format has changed; today it is\n{written}"
    );
}
