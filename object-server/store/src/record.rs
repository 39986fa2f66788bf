//! What stands in the metadata of each kind of record: one byte that names the
//! version of its shape, [`Facts`], then one struct per kind, as `postcard`; of
//! META records [`Basis`] comes before it. Byte by byte in `docs/formats/object.md`.
//!
//! Written by the mutations, read by reads, recovery and compaction; public for
//! the tests and fuzz targets that hold the format in place. What a record frames
//! around it, with length and checksum, is the disk's.
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use virga_disk::segment::Locator;
use virga_node::clock::Version;
use virga_object_wire::object::{ObjectMeta, PostMeta};
use virga_object_wire::posted::Posted;

/// First byte of every metadata block but those of META records: the one version
/// that is written and read.
pub const VERSION: u8 = 1;
/// First byte of the metadata block of a META record: the version that is written
/// and the newest that is read. Records of version 1 say nothing of what they are
/// based on.
pub const META_VERSION: u8 = 2;
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

/// What a metadata update is based on: behind [`Facts`] in META records, so that
/// applying one need not read its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// As [`Posted::over`].
    pub over: Version,
    /// As [`Posted::typed`].
    pub typed: Version,
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
    #[error("the record's metadata is of version {0}, which this version of the software does not read")]
    Version(u8),
    /// It is not what its kind says.
    #[error("the record's metadata cannot be read")]
    Malformed,
}

/// The metadata of a record cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record's metadata cannot be written")]
pub struct Unwritable;

/// Writes a metadata block: `head` is [`ObjectMeta`] for OBJECT, [`CommitHead`] or
/// [`TombstoneHead`].
///
/// # Errors
/// Never for these structs; the serializer's signature has an error.
pub fn encode(facts: Facts, head: &impl Serialize) -> Result<Vec<u8>, Unwritable> {
    let mut out = Vec::with_capacity(256);
    out.push(VERSION);
    postcard::to_extend(&(facts, head), out).map_err(|_| Unwritable)
}

/// Writes the metadata block of a META record.
///
/// # Errors
/// As [`encode`].
pub fn encode_update(facts: Facts, basis: Basis, meta: &PostMeta) -> Result<Vec<u8>, Unwritable> {
    let mut out = Vec::with_capacity(256);
    out.push(META_VERSION);
    postcard::to_extend(&(facts, basis, meta), out).map_err(|_| Unwritable)
}

/// Reads the facts of a metadata block, but of META records.
///
/// # Errors
/// [`BadHead`] if the bytes are of another version or cut short.
pub fn facts(bytes: &[u8]) -> Result<Facts, BadHead> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => take(rest).map(|(facts, _)| facts),
        Some((&other, _)) => Err(BadHead::Version(other)),
        None => Err(BadHead::Malformed),
    }
}

/// Reads the facts of the metadata block of a META record and what the update is
/// based on; `version` is that of the record.
///
/// # Errors
/// As [`facts`].
pub fn update_facts(bytes: &[u8], version: Version) -> Result<(Facts, Basis), BadHead> {
    match bytes.split_first() {
        Some((&META_VERSION, rest)) => take(rest).map(|(both, _)| both),
        Some((&VERSION, rest)) => {
            let ((facts, content_type), _) = take::<(Facts, Option<&str>)>(rest)?;
            Ok((facts, Basis::assumed(version, content_type.is_some())))
        }
        Some((&other, _)) => Err(BadHead::Version(other)),
        None => Err(BadHead::Malformed),
    }
}

/// Reads the metadata block of a META record, whose descriptor says this version
/// and this BLAKE3.
///
/// # Errors
/// As [`decode`].
pub fn decode_update(bytes: &[u8], version: Version, blake3: [u8; 32]) -> Result<Posted, BadHead> {
    let (_, Basis { over, typed }) = update_facts(bytes, version)?;
    let meta = match bytes.split_first() {
        Some((&META_VERSION, rest)) => {
            let (_, rest) = take::<(Facts, Basis)>(rest)?;
            whole(rest)?
        }
        _ => decode(bytes)?,
    };
    Ok(Posted {
        over,
        version,
        typed,
        blake3,
        meta,
    })
}

impl Basis {
    /// What a record of version 1 is taken for: it counts over all data that is
    /// older, as it did when it was written. Whether the type is its own or was
    /// carried on it does not say.
    fn assumed(version: Version, typed: bool) -> Self {
        Self {
            over: Version(version.0.saturating_sub(1)),
            typed: if typed { version } else { Version(0) },
        }
    }
}

/// Reads the struct of a metadata block; see [`encode`] for which.
///
/// # Errors
/// [`BadHead`] if the bytes are of another version or not exactly such a struct.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadHead> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => whole(take::<Facts>(rest)?.1),
        Some((&other, _)) => Err(BadHead::Version(other)),
        None => Err(BadHead::Malformed),
    }
}

/// The last struct of a block: what is left over says that it is another one.
fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, BadHead> {
    match take(bytes)? {
        (head, []) => Ok(head),
        _ => Err(BadHead::Malformed),
    }
}

fn take<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), BadHead> {
    postcard::take_from_bytes(bytes).map_err(|_| BadHead::Malformed)
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
        assert_eq!(decode::<TombstoneHead>(&bytes), Err(BadHead::Version(2)));
        assert_eq!(facts(&bytes), Err(BadHead::Version(2)));
        bytes[0] = 3;
        assert_eq!(update_facts(&bytes, Version(9)), Err(BadHead::Version(3)));
        assert_eq!(facts(&[]), Err(BadHead::Malformed));
    }

    #[test]
    fn an_update_reads_back_with_its_basis_and_one_of_version_1_counts_over_all_older_data() {
        let version = Version(9);
        let facts = Facts {
            delete_at: Some(1 << 40),
            handoff_for: None,
        };
        let basis_of = |over, typed| Basis {
            over: Version(over),
            typed: Version(typed),
        };
        for content_type in [None, Some("image/png".to_owned())] {
            let meta = PostMeta {
                content_type,
                delete_at: facts.delete_at,
                headers: vec![("x-object-meta-a".into(), "1".into())],
            };
            let said = basis_of(3, 5);
            let bytes = encode_update(facts, said, &meta).unwrap();
            assert_eq!(super::facts(&bytes), Err(BadHead::Version(META_VERSION)));
            assert_eq!(update_facts(&bytes, version), Ok((facts, said)));
            let read = decode_update(&bytes, version, [7; 32]).unwrap();
            assert_eq!(
                (read.over, read.version, read.typed),
                (said.over, version, said.typed)
            );
            assert_eq!((&read.meta, read.blake3), (&meta, [7; 32]));
            assert_eq!(decode::<PostMeta>(&bytes), Err(BadHead::Version(META_VERSION)));

            let old = encode(facts, &meta).unwrap();
            let typed = if meta.content_type.is_some() { 9 } else { 0 };
            assert_eq!(update_facts(&old, version), Ok((facts, basis_of(8, typed))));
            let read = decode_update(&old, version, [7; 32]).unwrap();
            assert_eq!((read.over, read.meta), (Version(8), meta));

            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(decode_update(&longer, version, [7; 32]), Err(BadHead::Malformed));
        }
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
    fn a_run_may_end_where_a_segment_may_and_no_byte_later() {
        let run = |offset, stride, count| Run {
            segment: 1,
            offset,
            length: 1000,
            stride,
            count,
        };
        for (run, good) in [
            (run(u32::MAX - 999, 0, 1), true),
            (run(u32::MAX - 998, 0, 1), false),
            (run(u32::MAX - 2999, 1000, 3), true),
            (run(u32::MAX - 2998, 1000, 3), false),
        ] {
            assert_eq!(run.is_possible(), good, "{run:?}");
        }
        let places: Vec<u32> = run(7, 1000, 3).places().map(|place| place.offset).collect();
        assert_eq!(places, [7, 1007, 2007]);
    }

    #[test]
    fn a_post_brings_its_own_type_when_it_names_one() {
        let mut meta = ObjectMeta {
            content_type: "text/plain".into(),
            ..ObjectMeta::default()
        };
        let post = PostMeta {
            content_type: Some("image/png".into()),
            delete_at: Some(7),
            headers: vec![("x-object-meta-b".into(), "2".into())],
        };
        merge_post(&mut meta, post.clone());
        assert_eq!(
            (meta.content_type.as_str(), meta.delete_at),
            ("image/png", Some(7))
        );
        assert_eq!(meta.headers, post.headers);
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
