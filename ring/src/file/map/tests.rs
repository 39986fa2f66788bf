//! Ring maps: there and back, damaged, stale, hostile.
use proptest::prelude::*;

use super::super::{Format, encode as encode_ring};
use super::*;
use crate::Table;
use crate::ring::RingInfo;

fn known(part_power: u8, rows: usize, devices: u32) -> KnownRing {
    let device = |id| {
        serde_json::from_value(serde_json::json!({
            "id": id, "region": 1, "zone": id % 3, "ip": format!("10.0.0.{id}"), "port": 6200,
            "device": "sda", "weight": 1.5, "meta": "é", "kept": [1],
        }))
        .unwrap()
    };
    let slots = (rows << part_power) - 1;
    let ids: Vec<u32> = (0..slots as u32).map(|at| at * 7 % devices).collect();
    let info = RingInfo {
        part_power,
        version: Some(9),
        next_part_power: Some(part_power + 1),
        extra: [("kept".to_owned(), 5.into())].into(),
    };
    let table = Table::from_row_major(1 << part_power, &ids).unwrap();
    KnownRing::new(Ring::new(info, (0..devices).map(device).map(Some).collect(), table).unwrap())
}

fn source(known: &KnownRing) -> Vec<u8> {
    encode_ring(&known.ring, Format::V2, "x.ring.gz", None).unwrap()
}

#[test]
fn a_ring_comes_back_from_its_map_as_it_was() {
    for (power, rows, devices) in [(0, 3, 3), (5, 3, 20), (4, 5, 9), (3, 2, 66_000)] {
        let known = known(power, rows, devices);
        let source = SourceDigest::of(b"file");
        let bytes = encode(&known, source).unwrap();
        assert_eq!(bytes, encode(&known, source).unwrap(), "same ring, same bytes");
        let back = decode(&bytes).unwrap();
        assert_eq!((back.source, back.known.id), (source, known.id));
        assert_eq!(back.known.ring.table(), known.ring.table());
        assert_eq!(back.known.ring.device_list(), known.ring.device_list());
        assert_eq!(back.known.ring.info(), known.ring.info());
        assert_eq!(RingId::of(&back.known.ring), known.id);
    }
}

#[test]
fn maps_of_version_1_are_read_and_written_as_ever() {
    let golden = include_bytes!("../../../golden/v1.ringmap");
    let known = known(4, 3, 5);
    assert_eq!(decode(golden).unwrap().known.id, known.id);
    assert!(encode(&known, SourceDigest::of(b"file")).unwrap() == golden);
}

#[test]
fn every_damaged_byte_and_every_cut_is_noticed() {
    let bytes = encode(&known(4, 3, 5), SourceDigest::of(b"file")).unwrap();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x40;
        assert!(decode(&bad).is_err(), "byte {at}");
        assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
    }
    assert!(decode(&[bytes, vec![0]].concat()).is_err(), "a byte too many");
}

#[test]
fn a_map_serves_only_the_file_it_was_made_from() {
    let folder = tempfile::tempdir().unwrap();
    let maps = Maps::of_any_size(folder.path().join("maps"));
    let (path, known) = (Path::new("/etc/swift/object-1.ring.gz"), known(5, 3, 20));
    let file = SourceDigest::of(&source(&known));
    assert!(maps.load(path, file).is_none(), "there is none yet");
    maps.keep(path, &known, file).unwrap();
    assert_eq!(maps.load(path, file).unwrap().id, known.id);
    assert!(maps.load(path, SourceDigest::of(b"another")).is_none());
    assert!(maps.path(path).ends_with("maps/object-1.ringmap"));
}

#[test]
fn small_rings_get_no_map() {
    let folder = tempfile::tempdir().unwrap();
    let maps = Maps::new(folder.path().into());
    let path = Path::new("object.ring.gz");
    maps.keep(path, &known(5, 3, 20), SourceDigest::of(b"file"))
        .unwrap();
    assert!(!maps.path(path).exists());
}

#[test]
fn lengths_are_checked_before_memory_is_taken() {
    let bytes = encode(&known(4, 3, 5), SourceDigest::of(b"file")).unwrap();
    // Every number of the head in turn as large as can be.
    for at in (8..56).step_by(8) {
        for value in [u64::MAX, u64::MAX / 8, 1 << 40, 1 << 27] {
            let mut bad = bytes.clone();
            bad[at..at + 8].copy_from_slice(&value.to_be_bytes());
            let refused = decode(&bad).unwrap_err();
            assert!(matches!(refused, DecodeMapError::Lengths), "{at}: {refused}");
        }
    }
}

proptest! {
    #[test]
    fn hostile_maps_with_right_checksums_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = encode(&known(4, 3, 5), SourceDigest::of(b"file")).unwrap();
        bytes.truncate(bytes.len() - DIGEST);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let digest: [u8; DIGEST] = blake3::hash(&bytes).into();
        bytes.extend_from_slice(&digest);
        if let Ok(mapped) = decode(&bytes) {
            let ring = mapped.known.ring;
            for part in 0..20 {
                prop_assert!(ring.primaries(crate::Partition(part)).count() <= 5);
                prop_assert!(ring.handoffs(crate::Partition(part)).count() <= 5);
            }
        }
    }
}
