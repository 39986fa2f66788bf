//! The codec: what goes in comes out, nothing damaged comes out, and version 1 stays version 1.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::decode::{self, Bad, Expect, decode, descriptor, salvage};
use super::encode::{BatchSize, encode};
use super::record::{BadRecord, DESCRIPTOR_LEN, Head, Kind, NewRecord, Payload};
use super::*;
use crate::io::PAGE;
use crate::io::aligned::AlignedBuf;

const EXPECT: Expect = Expect {
    segment: 7,
    salt: 0x5a17,
};

fn batch_header() -> BatchHeader {
    BatchHeader {
        segment: 7,
        sequence: 12,
        durable_upto: 11,
        length: 0,
        records: 0,
        hlc: 99,
        stream: 1,
        last: false,
        salt: 0x5a17,
    }
}

fn head(kind: Kind, seed: u8) -> Head {
    Head {
        kind,
        policy: 0,
        partition: u32::from(seed) * 1000,
        key: [seed; 16],
        version: u64::from(seed) << 40,
        size: u64::from(seed),
        blake3: [seed ^ 0xff; 32],
        settled: false,
    }
}

fn encoded(records: &[NewRecord]) -> AlignedBuf {
    let mut out = AlignedBuf::with_capacity(PAGE);
    let mut spots = Vec::new();
    let header = encode(batch_header(), records.iter(), &mut out, &mut spots);
    assert_eq!(header.length as usize, out.len());
    assert_eq!(spots.len(), records.len());
    out
}

fn kinds() -> impl Strategy<Value = Kind> {
    (1_u8..=10).prop_map(|n| Kind::from_number(n).unwrap())
}

fn new_records() -> impl Strategy<Value = Vec<NewRecord>> {
    let record = (
        kinds(),
        any::<u8>(),
        vec(any::<u8>(), 0..300),
        0_usize..200_000,
        1_usize..70_000,
    );
    let record = record.prop_map(|(kind, seed, meta, len, piece)| {
        let payload: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect();
        let payload = Bytes::from(payload);
        let pieces: Vec<Bytes> = (0..len)
            .step_by(piece)
            .map(|at| payload.slice(at..(at + piece).min(len)))
            .collect();
        let head = Head {
            policy: u32::from(seed % 3) << 30,
            settled: seed % 5 == 0,
            ..head(kind, seed)
        };
        NewRecord::new(head, Bytes::from(meta), pieces).unwrap()
    });
    vec(record, 1..12)
}

fn joined(payload: &Payload) -> Vec<u8> {
    payload.pieces().flat_map(|p| p.to_vec()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded(records in new_records()) {
        let mut bytes = encoded(&records).to_vec();
        bytes.extend_from_slice(&[0xaa; 100]);
        let batch = decode(&bytes, EXPECT).unwrap();
        prop_assert_eq!(batch.header.records as usize, records.len());
        prop_assert_eq!(BatchHeader { length: 0, records: 0, ..batch.header }, batch_header());
        let found: Vec<_> = batch.records().collect();
        prop_assert_eq!(found.len(), records.len());
        for (found, record) in found.iter().zip(&records) {
            prop_assert_eq!(&found.record.head, record.head());
            prop_assert_eq!(found.record.meta, &record.meta()[..]);
            prop_assert_eq!(found.payload, &joined(record.payload())[..]);
            prop_assert!(found.record.crcs().eq(record.crcs()));
            prop_assert_eq!(found.record.span(), record.span());
            let at = found.offset + found.record.descriptor_len;
            prop_assert!(record.head().kind.aligned() || found.record.payload_offset as usize == at);
            prop_assert!(!record.head().kind.aligned() || (found.record.payload_offset as usize).is_multiple_of(PAGE));
        }
        let again = salvage(&batch.header, batch.bytes()).map(|f| f.unwrap().offset).collect::<Vec<_>>();
        prop_assert_eq!(again, found.iter().map(|f| f.offset).collect::<Vec<_>>());
    }

    #[test]
    fn any_flipped_bit_is_noticed(records in new_records(), places in vec((any::<prop::sample::Index>(), 0_u8..8), 64)) {
        let mut bytes = encoded(&records).to_vec();
        for (place, bit) in places {
            let at = place.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(decode(&bytes, EXPECT).is_err(), "byte {} bit {}", at, bit);
            bytes[at] ^= 1_u8 << bit;
        }
        prop_assert!(decode(&bytes, EXPECT).is_ok());
    }

    #[test]
    fn a_batch_cut_anywhere_is_refused(records in new_records(), cut in any::<prop::sample::Index>()) {
        let bytes = encoded(&records);
        let cut = cut.index(bytes.len());
        prop_assert!(decode(&bytes[..cut], EXPECT).is_err());
    }
}

#[test]
fn a_batch_of_another_segment_or_of_an_earlier_life_is_a_stranger() {
    let bytes = encoded(&[NewRecord::new(head(Kind::Tombstone, 1), Bytes::new(), Bytes::new()).unwrap()]);
    assert!(decode(&bytes, EXPECT).is_ok());
    assert_eq!(
        decode(&bytes, Expect { segment: 8, ..EXPECT }).unwrap_err(),
        Bad::Stranger
    );
    assert_eq!(
        decode(&bytes, Expect { salt: 1, ..EXPECT }).unwrap_err(),
        Bad::Stranger
    );
}

#[test]
fn an_unknown_kind_under_a_good_crc_is_told_apart_from_damage() {
    let mut bytes =
        encoded(&[NewRecord::new(head(Kind::Object, 1), Bytes::new(), Bytes::from_static(b"x")).unwrap()]);
    let descriptor = HEADER_LEN..HEADER_LEN + 100;
    bytes[descriptor.start + 8] = 11;
    assert_eq!(decode(&bytes, EXPECT).unwrap_err(), Bad::Descriptor(HEADER_LEN));
    let crc = crc32fast::hash(&bytes[descriptor.start + 4..descriptor.end]);
    bytes[descriptor.start..descriptor.start + 4].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(decode(&bytes, EXPECT).unwrap_err(), Bad::Newer(11));
}

#[test]
fn a_record_that_passes_its_bounds_is_refused_before_it_is_queued() {
    let head = head(Kind::Extent, 1);
    let long = Bytes::from(vec![0; MAX_PAYLOAD + 1]);
    assert_eq!(
        NewRecord::new(head, Bytes::new(), long.clone()).unwrap_err(),
        BadRecord::PayloadTooLong(MAX_PAYLOAD + 1)
    );
    assert_eq!(
        NewRecord::new(head, long, Bytes::new()).unwrap_err(),
        BadRecord::MetaTooLong(MAX_META + 1)
    );
    let two = Bytes::from(vec![0; CRC_BLOCK + 1]);
    let refused = NewRecord::with_crcs(head, Bytes::new(), two, [1]).unwrap_err();
    assert_eq!(refused, BadRecord::CrcCount { given: 1, needed: 2 });
}

#[test]
fn the_size_counted_while_choosing_is_the_size_written() {
    let mut size = BatchSize::default();
    let mut records = Vec::new();
    for (index, len) in [0, 1, 4096, 65_536, 65_537, 3 * 4096].into_iter().enumerate() {
        for kind in [Kind::Object, Kind::Write] {
            let payload = Bytes::from(vec![3; len]);
            let record =
                NewRecord::new(head(kind, index as u8), Bytes::from(vec![9; index]), payload).unwrap();
            size = size.with(&record);
            records.push(record);
            assert_eq!(encoded(&records).len(), size.bytes());
            assert_eq!(records.len(), size.records());
        }
    }
    assert!(decode(&encoded(&records), EXPECT).is_ok());
}

/// The golden file of format version 1: every kind, an aligned payload, several CRC blocks, padding.
fn golden(policies: bool) -> AlignedBuf {
    let records: Vec<NewRecord> = (1..=10)
        .map(|n| {
            let kind = Kind::from_number(n).unwrap();
            let len = match kind {
                Kind::Object => 4096,
                Kind::Extent => 70_000,
                Kind::Write => 8192,
                Kind::Commit | Kind::Meta | Kind::Tombstone | Kind::Confirm | Kind::Trim => 0,
                Kind::Fragment | Kind::Volume => 3,
            };
            let payload: Vec<u8> = (0..len).map(|i: usize| (i / 7) as u8 ^ n).collect();
            let meta = Bytes::from(vec![n; usize::from(n)]);
            let head = Head {
                policy: if policies { u32::from(n) << 8 | 1 } else { 0 },
                settled: policies && n % 2 == 1,
                ..head(kind, n)
            };
            NewRecord::new(head, meta, Bytes::from(payload)).unwrap()
        })
        .collect();
    encoded(&records)
}

#[test]
fn version_1_bytes_never_change() {
    // The second one: with storage policies and settled records, which came later. Batches without look as ever.
    for (name, policies) in [("batch-v1.bin", false), ("batch-v1-policies.bin", true)] {
        let path = format!("{}/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        let bytes = golden(policies);
        if std::env::var_os("VIRGA_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, &bytes[..]).unwrap();
        }
        let kept = std::fs::read(path).unwrap();
        assert!(
            kept == bytes[..],
            "the encoder no longer writes version 1; a new layout needs a new version"
        );
        let batch = decode(&kept, EXPECT).unwrap();
        let heads: Vec<_> = batch.records().map(|found| found.record.head).collect();
        let kinds = heads.iter().map(|head| head.kind as u8);
        assert!(kinds.eq(1..=10));
        assert!(heads.iter().all(|head| (head.policy != 0) == policies));
    }
}

/// A descriptor with a good CRC, whatever it says.
fn made(kind: Kind, flags: u8, lens: (usize, usize), crcs: usize, meta: usize) -> Vec<u8> {
    let (payload_len, meta_len) = lens;
    let len = DESCRIPTOR_LEN + 4 * crcs + meta;
    let mut out = vec![0; len];
    out[4..8].copy_from_slice(&(len as u32).to_le_bytes());
    (out[8], out[9]) = (kind as u8, flags);
    out[10..12].copy_from_slice(&(crcs as u16).to_le_bytes());
    out[52..56].copy_from_slice(&(payload_len as u32).to_le_bytes());
    out[56..60].copy_from_slice(&(meta_len as u32).to_le_bytes());
    let crc = crc32fast::hash(&out[4..]);
    out[..4].copy_from_slice(&crc.to_le_bytes());
    out
}

#[test]
fn a_descriptor_that_contradicts_itself_is_damaged_although_its_crc_is_good() {
    // Kind, flags, lengths of payload and metadata as said, CRCs and metadata there are.
    for (kind, flags, lens, crcs, meta, good) in [
        (Kind::Object, 0, (10, 3), 1, 3, true),
        (Kind::Object, 2, (10, 3), 1, 3, true),
        (Kind::Object, 1, (10, 3), 1, 3, false),
        (Kind::Object, 4, (10, 3), 1, 3, false),
        (Kind::Write, 1, (10, 3), 1, 3, true),
        (Kind::Write, 0, (10, 3), 1, 3, false),
        (Kind::Object, 0, (0, 0), 0, 0, true),
        (Kind::Object, 0, (10, 3), 1, 4, false),
        (Kind::Object, 0, (10, 3), 1, 2, false),
        (Kind::Object, 0, (10, 3), 2, 3, false),
        (Kind::Object, 0, (10, 3), 0, 3, false),
        (Kind::Object, 0, (CRC_BLOCK + 1, 3), 1, 3, false),
        (Kind::Object, 0, (CRC_BLOCK + 1, 3), 2, 3, true),
        (Kind::Object, 0, (MAX_PAYLOAD, 0), 16, 0, true),
        (Kind::Object, 0, (MAX_PAYLOAD + 1, 0), 17, 0, false),
        (Kind::Object, 0, (0, MAX_META), 0, MAX_META, true),
        (Kind::Object, 0, (0, MAX_META + 1), 0, MAX_META + 1, false),
    ] {
        let read = descriptor(&made(kind, flags, lens, crcs, meta)).map(|view| view.payload_len);
        let want = if good { Ok(lens.0) } else { Err(Bad::Descriptor(0)) };
        assert_eq!(read, want, "{kind:?} {flags} {lens:?} {crcs} {meta}");
    }
    let short = made(Kind::Object, 0, (10, 3), 1, 3);
    assert_eq!(descriptor(&short[..short.len() - 1]).err(), Some(Bad::Short));
    assert_eq!(descriptor(&short[..DESCRIPTOR_LEN - 1]).err(), Some(Bad::Short));
}

#[test]
fn a_header_comes_back_as_it_was_written() {
    for (stream, last) in [(1, false), (1, true), (4, false), (4, true)] {
        let said = BatchHeader {
            stream,
            last,
            ..batch_header()
        };
        let record = NewRecord::new(head(Kind::Object, 1), Bytes::new(), Bytes::new()).unwrap();
        let mut out = AlignedBuf::with_capacity(PAGE);
        let written = encode(said, [record].iter(), &mut out, &mut Vec::new());
        assert_eq!((written.stream, written.last), (stream, last));
        assert_eq!(decode::header(&out), Ok(written));
    }
}

#[test]
fn a_header_that_contradicts_itself_is_damaged_although_its_crc_is_good() {
    let record = NewRecord::new(head(Kind::Object, 1), Bytes::new(), Bytes::new()).unwrap();
    let good = encoded(&[record]);
    // Where four bytes are, what they are to say, and whether such a header is one.
    for (at, said, sane) in [
        (32, 2 * PAGE, true),
        (32, 0, false),
        (32, PAGE + 1, false),
        (32, MAX_BATCH, true),
        (32, MAX_BATCH + PAGE, false),
        (36, 0, false),
        (36, MAX_RECORDS, true),
        (36, MAX_RECORDS + 1, false),
        (24, 11, true),
        (24, 12, false),
        (24, 13, false),
        (48, 0x0101, true),
        (48, 0x0102, false),
        (48, 0x0001_0100, false),
        (52, 1, false),
    ] {
        let mut bytes = good.to_vec();
        bytes[at..at + 4].copy_from_slice(&(said as u32).to_le_bytes());
        let crc = crc32fast::hash(&bytes[8..HEADER_LEN]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        let read = decode::header(&bytes).map(|_| ());
        let want = if sane { Ok(()) } else { Err(Bad::Layout) };
        assert_eq!(read, want, "{said:#x} at {at}");
    }
}
