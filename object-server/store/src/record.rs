//! What stands in the metadata of each kind of record: one byte that names the
//! version of its shape, [`Facts`], then one struct per kind, as `postcard`.
//! Byte by byte in `docs/formats/object.md`.
//!
//! Written by the mutations, read by reads, recovery and compaction; public for
//! the tests and fuzz targets that hold the format in place. What a record frames
//! around it, with length and checksum, is the disk's.
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use virga_disk::segment::Locator;
use virga_object_wire::object::{ObjectMeta, PostMeta};

/// First byte of every metadata block: the version that is written, and the
/// newest that is read.
pub const VERSION: u8 = 1;
/// Most extents of an object: its list still fits a COMMIT record when no two
/// of them lie side by side. 64 GiB.
pub const MAX_EXTENTS: usize = 64 * 1024;

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
    #[serde(deserialize_with = "possible_runs")]
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

/// Reads runs and refuses what no upload can have left behind, so that nobody
/// who unpacks them meets more extents, or other places, than there can be.
fn possible_runs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Run>, D::Error> {
    let runs = Vec::<Run>::deserialize(from)?;
    let extents: u64 = runs.iter().map(|run| u64::from(run.count)).sum();
    if extents > MAX_EXTENTS as u64 || !runs.iter().all(Run::is_possible) {
        return Err(D::Error::custom("extents where none can be"));
    }
    Ok(runs)
}

impl Run {
    /// Whether it has an extent and every extent ends within 4 GiB, the most a
    /// segment can have.
    fn is_possible(&self) -> bool {
        let steps = u64::from(self.stride) * u64::from(self.count.saturating_sub(1));
        let end = u64::from(self.offset)
            .saturating_add(steps)
            .saturating_add(u64::from(self.length));
        self.count > 0 && end <= 1 << 32
    }

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

/// Why the metadata of a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// A version of the software that is not this one wrote it.
    #[error("the record's metadata is of version {0}, and {VERSION} is the newest that can be read")]
    Version(u8),
    /// It is not what its kind says.
    #[error("the record's metadata cannot be read")]
    Malformed,
}

/// The metadata of a record cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record's metadata cannot be written")]
pub struct Unwritable;

/// Writes a metadata block: `head` is [`ObjectMeta`] for OBJECT, [`CommitHead`],
/// [`TombstoneHead`], or [`PostMeta`] for META.
///
/// # Errors
/// Never for these structs; the serializer's signature has an error.
pub fn encode(facts: Facts, head: &impl Serialize) -> Result<Vec<u8>, Unwritable> {
    let mut out = Vec::with_capacity(256);
    out.push(VERSION);
    postcard::to_extend(&(facts, head), out).map_err(|_| Unwritable)
}

/// Reads the facts of a metadata block.
///
/// # Errors
/// [`BadHead`] if the bytes are of another version or cut short.
pub fn facts(bytes: &[u8]) -> Result<Facts, BadHead> {
    split(bytes).map(|(facts, _)| facts)
}

/// Reads the struct of a metadata block; see [`encode`] for which.
///
/// # Errors
/// [`BadHead`] if the bytes are of another version or not exactly such a struct.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadHead> {
    let (_, rest) = split(bytes)?;
    match postcard::take_from_bytes(rest) {
        // What is left over says that the struct is another one.
        Ok((head, [])) => Ok(head),
        _ => Err(BadHead::Malformed),
    }
}

fn split(bytes: &[u8]) -> Result<(Facts, &[u8]), BadHead> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::take_from_bytes(rest).map_err(|_| BadHead::Malformed),
        Some((&other, _)) => Err(BadHead::Version(other)),
        None => Err(BadHead::Malformed),
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
    fn facts_and_head_read_back_and_another_version_is_named() {
        let said = Facts {
            delete_at: Some(1 << 40),
            handoff_for: Some(3),
        };
        let mut bytes = encode(said, &TombstoneHead { path: "a/c/o".into() }).unwrap();
        assert_eq!(facts(&bytes), Ok(said));
        assert_eq!(decode::<TombstoneHead>(&bytes).unwrap().path, "a/c/o");
        bytes.push(0);
        assert_eq!(decode::<TombstoneHead>(&bytes), Err(BadHead::Malformed));
        bytes[0] = 2;
        assert_eq!(facts(&bytes), Err(BadHead::Version(2)));
        assert_eq!(decode::<TombstoneHead>(&bytes), Err(BadHead::Version(2)));
        assert_eq!(facts(&[]), Err(BadHead::Malformed));
    }

    #[test]
    fn extents_beyond_a_segment_or_beyond_counting_are_refused() {
        let good = Run {
            segment: 1,
            offset: 4096,
            length: 1000,
            stride: 1024,
            count: 3,
        };
        let read = |runs: Vec<Run>| {
            let head = CommitHead {
                moves: 0,
                runs,
                meta: ObjectMeta::default(),
            };
            decode::<CommitHead>(&encode(Facts::default(), &head).unwrap()).map(|head| head.runs)
        };
        assert_eq!(read(vec![good]), Ok(vec![good]));
        let most = Run {
            stride: 0,
            count: MAX_EXTENTS as u32,
            ..good
        };
        assert_eq!(read(vec![most]), Ok(vec![most]));
        for bad in [
            vec![Run { count: 0, ..good }],
            vec![Run {
                count: u32::MAX,
                stride: 0,
                ..good
            }],
            vec![Run {
                stride: 1 << 31,
                ..good
            }],
            vec![
                Run {
                    offset: u32::MAX - 999,
                    ..good
                },
                good,
            ],
            vec![most, good],
        ] {
            assert_eq!(read(bad), Err(BadHead::Malformed));
        }
    }

    #[test]
    fn a_length_beyond_the_bytes_is_refused() {
        // Version, no facts, no moves, 2^56 runs, then nothing.
        let runs = [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(decode::<CommitHead>(&runs), Err(BadHead::Malformed));
        let path = [1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, b'a'];
        assert_eq!(decode::<TombstoneHead>(&path), Err(BadHead::Malformed));
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
    }
}
