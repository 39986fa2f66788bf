//! The bodies of the fuzz targets as property tests, so that they run without nightly and a fuzzer.

use proptest::collection::vec;
use proptest::prelude::*;

#[path = "../../../fuzz/bodies/batch.rs"]
mod batch;
#[path = "../../../fuzz/bodies/segment.rs"]
mod segment;

/// A sound batch with one edit and its CRCs made right again: reaches further than chance would.
fn edited() -> impl Strategy<Value = Vec<u8>> {
    let golden = include_bytes!("../golden/batch-v1.bin");
    vec((0..golden.len(), any::<u8>()), 1..6).prop_map(move |edits| {
        let mut bytes = golden.to_vec();
        for (at, byte) in edits {
            let at = if at % 2 == 0 { at % 700 } else { at };
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn no_bytes_upset_the_batch_decoder(data in vec(any::<u8>(), 0..6000)) {
        batch::chew(&data);
    }

    #[test]
    fn no_edit_of_a_batch_upsets_the_decoder(data in edited()) {
        batch::chew(&data);
    }

    #[test]
    fn no_segment_content_upsets_recovery(data in vec(any::<u8>(), 0..32 * 64)) {
        segment::chew(&data);
    }
}
