//! What stands in the metadata of each kind of record: one byte that names the
//! version of its shape, [`Facts`], then one struct per kind, as `postcard`.
//!
//! Written by [`crate::put`] and the other mutations, read by [`crate::read`],
//! recovery and compaction. What a record frames around it is the disk's.
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use virga_disk::segment::Locator;
use virga_object_wire::object::{ObjectMeta, PostMeta};

/// First byte of every metadata block.
const SHAPE: u8 = 1;

/// What the index needs of a record: first in its metadata, so that applying a
/// record reads a few bytes and allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// Second of expiry the record sets.
    pub delete_at: Option<u64>,
    /// Ring id of the device this one stands in for.
    pub handoff_for: Option<u32>,
}

/// Metadata of a COMMIT record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitHead {
    /// How often compaction rewrote the list of extents.
    pub moves: u32,
    /// Where the extents lie, in order of their offset in the object.
    pub runs: Vec<Run>,
    /// What the API stored.
    pub meta: ObjectMeta,
}

/// Extents of equal length at equal distances in one segment: what a sequential
/// upload leaves behind, in a few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Segment of all of them.
    pub segment: u64,
    /// Byte offset of the first record.
    pub offset: u32,
    /// Bytes of a record, descriptor and payload.
    pub length: u32,
    /// Distance from one record to the next; zero for a run of one.
    pub stride: u32,
    /// Number of extents.
    pub count: u32,
}

impl Run {
    /// The places of a run, in order.
    pub fn places(self) -> impl Iterator<Item = Locator> {
        (0..self.count).map(move |n| Locator {
            segment: self.segment,
            offset: self.offset.wrapping_add(self.stride.wrapping_mul(n)),
            length: self.length,
        })
    }
}

/// Packs the places of an object's extents into runs.
pub fn pack(places: &[Locator]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for place in places {
        if let Some(run) = runs.last_mut()
            && run.segment == place.segment
            && run.length == place.length
            && place.offset > run.offset
        {
            if run.count == 1 {
                run.stride = place.offset - run.offset;
                run.count = 2;
                continue;
            }
            if run
                .stride
                .checked_mul(run.count)
                .and_then(|s| s.checked_add(run.offset))
                == Some(place.offset)
            {
                run.count += 1;
                continue;
            }
        }
        let Locator {
            segment,
            offset,
            length,
        } = *place;
        runs.push(Run {
            segment,
            offset,
            length,
            stride: 0,
            count: 1,
        });
    }
    runs
}

/// Bytes of records in each segment that `runs` name.
pub fn by_segment(runs: &[Run]) -> Vec<(u64, u64)> {
    let mut sums: Vec<(u64, u64)> = Vec::new();
    for run in runs {
        let bytes = u64::from(run.length) * u64::from(run.count);
        match sums.iter_mut().find(|(segment, _)| *segment == run.segment) {
            Some((_, sum)) => *sum += bytes,
            None => sums.push((run.segment, bytes)),
        }
    }
    sums
}

/// Metadata of a TOMBSTONE record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneHead {
    /// "account/container/object".
    pub path: String,
}

/// The record's metadata is not what its kind says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record's metadata cannot be read")]
pub struct BadHead;

/// Writes a metadata block: `head` is [`ObjectMeta`] for OBJECT, [`CommitHead`],
/// [`TombstoneHead`], or [`PostMeta`] for META.
///
/// # Errors
/// Never for these structs; the serializer's signature has an error.
pub fn encode(facts: Facts, head: &impl Serialize) -> Result<Vec<u8>, BadHead> {
    let mut out = Vec::with_capacity(256);
    out.push(SHAPE);
    postcard::to_extend(&(facts, head), out).map_err(|_| BadHead)
}

/// Reads the facts of a metadata block.
///
/// # Errors
/// [`BadHead`] if the bytes are of another shape or cut short.
pub fn facts(bytes: &[u8]) -> Result<Facts, BadHead> {
    split(bytes).map(|(facts, _)| facts)
}

/// Reads the struct of a metadata block; see [`encode`] for which.
///
/// # Errors
/// [`BadHead`] if the bytes are of another shape or cut short.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadHead> {
    let (_, rest) = split(bytes)?;
    postcard::from_bytes(rest).map_err(|_| BadHead)
}

fn split(bytes: &[u8]) -> Result<(Facts, &[u8]), BadHead> {
    match bytes.split_first() {
        Some((&SHAPE, rest)) => postcard::take_from_bytes(rest).map_err(|_| BadHead),
        _ => Err(BadHead),
    }
}

/// Replaces by a POST what a POST replaces.
pub fn merge_post(meta: &mut ObjectMeta, post: PostMeta) {
    if let Some(content_type) = post.content_type {
        meta.content_type = content_type;
    }
    meta.delete_at = post.delete_at;
    meta.headers = post.headers;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_post_replaces_headers_and_expiry_and_keeps_the_type_it_does_not_name() {
        let mut meta = ObjectMeta {
            content_type: "text/plain".into(),
            delete_at: Some(5),
            headers: vec![("x-object-meta-a".into(), "1".into())],
            sysmeta: vec![("x-static-large-object".into(), "true".into())],
            ..ObjectMeta::default()
        };
        let kept = meta.sysmeta.clone();
        merge_post(&mut meta, PostMeta::default());
        assert_eq!(
            (meta.content_type.as_str(), meta.delete_at, meta.headers.len()),
            ("text/plain", None, 0)
        );
        assert_eq!(meta.sysmeta, kept);
    }

    #[test]
    fn facts_and_head_read_back_and_another_shape_does_not() {
        let said = Facts {
            delete_at: Some(1 << 40),
            handoff_for: Some(3),
        };
        let mut bytes = encode(said, &TombstoneHead { path: "a/c/o".into() }).unwrap();
        assert_eq!(facts(&bytes), Ok(said));
        assert_eq!(decode::<TombstoneHead>(&bytes).unwrap().path, "a/c/o");
        bytes[0] = 2;
        assert_eq!(facts(&bytes), Err(BadHead));
        assert_eq!(facts(&[]), Err(BadHead));
    }

    #[test]
    fn a_sequential_upload_packs_into_one_run_per_segment() {
        let place = |segment, n: u32| Locator {
            segment,
            offset: 4096 + n * 1_052_672,
            length: 1_048_744,
        };
        let places: Vec<_> = (0..200)
            .map(|n| place(1, n))
            .chain((0..56).map(|n| place(2, n)))
            .collect();
        let runs = pack(&places);
        assert_eq!(runs.len(), 2);
        assert_eq!(by_segment(&runs), vec![(1, 200 * 1_048_744), (2, 56 * 1_048_744)]);
    }

    proptest! {
        #[test]
        fn runs_unpack_to_the_places_they_were_packed_from(
            raw in proptest::collection::vec((1..3u64, 0..20u32, 0..2u32), 0..40)
        ) {
            let places: Vec<_> = raw
                .iter()
                .map(|(segment, at, odd)| Locator { segment: *segment, offset: at * 64, length: 100 + odd })
                .collect();
            let unpacked: Vec<_> = pack(&places).into_iter().flat_map(Run::places).collect();
            prop_assert_eq!(unpacked, places);
        }

        #[test]
        fn any_bytes_decode_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = facts(&bytes);
            let _ = decode::<CommitHead>(&bytes);
            let _ = decode::<ObjectMeta>(&bytes);
            let _ = decode::<PostMeta>(&bytes);
        }
    }
}
