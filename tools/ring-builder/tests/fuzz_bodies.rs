//! The bodies of the fuzz targets as property tests, so that they run without a fuzzer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]

use std::path::Path;
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

// The parser is private to the tool: its source is compiled in here.
#[path = "../../../fuzz/bodies/device_text.rs"]
mod body;
#[path = "../src/device_text.rs"]
#[allow(dead_code, reason = "the tool uses more of it")]
mod device_text;
#[path = "../../../fuzz/bodies/kept.rs"]
mod kept;
#[path = "../../../fuzz/bodies/ring_tool.rs"]
mod ring_tool;

type Body = fn(&Path, &[u8]);

const TARGETS: [(&str, Body); 3] = [
    ("device_text", |_, data| body::chew(data)),
    ("ring_scenario", ring_tool::scenario),
    ("swift_conf", ring_tool::swift_conf),
];

/// Each target's inputs, read once.
static CORPORA: LazyLock<Vec<Vec<Vec<u8>>>> =
    LazyLock::new(|| TARGETS.iter().map(|(target, _)| kept::corpus(target)).collect());

#[test]
fn every_kept_input_of_the_fuzzer_still_passes() {
    let folder = tempfile::tempdir().unwrap();
    for ((_, body), inputs) in TARGETS.iter().zip(CORPORA.iter()) {
        inputs.iter().for_each(|input| body(folder.path(), input));
    }
}

proptest! {
    #[test]
    fn no_text_upsets_the_device_parsers(text in "\\PC*") {
        body::chew(text.as_bytes());
    }

    #[test]
    fn no_edit_of_a_file_upsets_the_verb_that_reads_it(
        (target, input) in (0..TARGETS.len(), any::<Index>()),
        edits in vec(any::<kept::Edit>(), 1..8),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (_, body) = TARGETS[target];
        let mut data = input.get(&CORPORA[target]).clone();
        kept::edit(&mut data, edits);
        body(folder.path(), &data);
    }
}
