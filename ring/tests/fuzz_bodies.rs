//! The bodies of the fuzz targets as property tests, so that they run without a fuzzer: on what the fuzzer found worth
//! keeping, on edits of it, and on any bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

#[path = "../../fuzz/bodies/kept.rs"]
mod kept;
#[path = "../../fuzz/bodies/ring_builder.rs"]
mod ring_builder;
#[path = "../../fuzz/bodies/ring_composite.rs"]
mod ring_composite;
#[path = "../../fuzz/bodies/ring_file.rs"]
mod ring_file;

type Body = fn(&[u8]);

const TARGETS: [(&str, Body); 9] = [
    ("ring_zipped", ring_file::zipped),
    ("ring_v1", ring_file::v1),
    ("ring_v2", ring_file::v2),
    ("ring_map", ring_file::ring_map),
    ("ring_builder", ring_builder::native),
    ("ring_builder_sections", ring_builder::sections),
    ("swift_builder", ring_builder::swift),
    ("swift_builder_fields", ring_builder::swift_fields),
    ("ring_composite", ring_composite::chew),
];

/// Each target's inputs, read once.
static CORPORA: LazyLock<Vec<Vec<Vec<u8>>>> =
    LazyLock::new(|| TARGETS.iter().map(|(target, _)| kept::corpus(target)).collect());

#[test]
fn every_kept_input_of_the_fuzzer_still_passes() {
    for ((_, body), inputs) in TARGETS.iter().zip(CORPORA.iter()) {
        inputs.iter().for_each(|input| body(input));
    }
}

/// A target, one of its kept inputs, and a few bytes to change, cut out or put in.
fn edited() -> impl Strategy<Value = (usize, Index, Vec<kept::Edit>)> {
    (0..TARGETS.len(), any::<Index>(), vec(any::<kept::Edit>(), 1..8))
}

proptest! {
    #[test]
    fn no_bytes_upset_any_reader(target in 0..TARGETS.len(), data in vec(any::<u8>(), 0..2000)) {
        TARGETS[target].1(&data);
    }

    #[test]
    fn no_edit_of_a_file_upsets_its_reader((target, input, edits) in edited()) {
        let (_, body) = TARGETS[target];
        let mut data = input.get(&CORPORA[target]).clone();
        kept::edit(&mut data, edits);
        body(&data);
    }
}
