//! Ring files: golden ones of Swift, our own there and back, hostile ones.
use proptest::prelude::*;

use super::*;
use crate::builder::{Builder, NewDevice};
use crate::{HashPath, Partition};

const SWIFT_V1: &[u8] = include_bytes!("../../golden/swift-v1.ring.gz");
const SWIFT_V2: &[u8] = include_bytes!("../../golden/swift-v2.ring.gz");
/// What Swift answers for them: primaries and handoffs by partition, and
/// partitions of names.
const SWIFT_NODES: &str = include_str!("../../golden/swift-nodes.json");

fn ring(part_power: u8, replicas: f64, devices: u32) -> Ring {
    let mut builder = Builder::create(part_power, replicas, 1).unwrap();
    for at in 0..devices {
        let new = NewDevice {
            region: 1 + at % 2,
            zone: at % 3,
            ip: format!("10.0.0.{at}"),
            port: 6200,
            replication_ip: Some("fe80::1".into()),
            replication_port: Some(6300),
            device: format!("sd{at}"),
            weight: f64::from(at + 1),
            meta: "é \"quoted\"".into(),
        };
        builder.add(new).unwrap();
    }
    builder.rebalance(1, 1_800_000_000).unwrap();
    builder.to_ring().unwrap().unwrap()
}

#[test]
fn golden_files_of_swift_give_the_nodes_that_swift_gives() {
    let expected: serde_json::Value = serde_json::from_str(SWIFT_NODES).unwrap();
    let hash = HashPath::new("", "exam").unwrap();
    for file in [SWIFT_V1, SWIFT_V2] {
        let ring = decode(file).unwrap();
        assert_eq!((ring.part_power(), ring.replica_count()), (4, 2.5));
        for (part, nodes) in expected["partitions"].as_array().unwrap().iter().enumerate() {
            let part = Partition(part as u32);
            let primaries: Vec<u32> = ring.primaries(part).map(|(_, device)| device.id.0).collect();
            let handoffs: Vec<u32> = ring.handoffs(part).map(|(_, device)| device.id.0).collect();
            assert_eq!(serde_json::json!([primaries, handoffs]), *nodes);
        }
        for case in expected["names"].as_array().unwrap() {
            let name = |at: usize| case[0][at].as_str();
            let part = ring.partition(&hash.hash(name(0).unwrap(), name(1), name(2)));
            assert_eq!(u64::from(part.0), case[1].as_u64().unwrap());
        }
    }
}

#[test]
fn a_ring_reads_back_equal_in_both_formats() {
    for (power, replicas) in [(0, 3.0), (4, 2.37), (9, 3.0)] {
        let ring = ring(power, replicas, 7);
        for format in [Format::V1, Format::V2] {
            let bytes = encode(&ring, format, "object.ring.gz", None).unwrap();
            assert_eq!(
                bytes,
                encode(&ring, format, "object.ring.gz", None).unwrap(),
                "same ring, same bytes"
            );
            let back = decode(&bytes).unwrap();
            assert_eq!(back.table(), ring.table());
            assert_eq!(back.device_list(), ring.device_list());
            assert_eq!(back.info(), ring.info());
        }
    }
}

#[test]
fn format_2_lets_a_reader_seek_to_its_index() {
    let bytes = encode(&ring(5, 3.0, 5), Format::V2, "x.ring.gz", None).unwrap();
    let inflate = |from: usize, size: usize| {
        let mut out = vec![0; size];
        let mut zip = flate2::Decompress::new(false);
        zip.decompress(&bytes[from..], &mut out, flate2::FlushDecompress::Sync)
            .unwrap();
        out
    };
    let offset = u64::from_be_bytes(inflate(bytes.len() - 31, 8).try_into().unwrap());
    let len = u64::from_be_bytes(inflate(offset as usize, 8).try_into().unwrap()) as usize;
    let index = inflate(offset as usize, 8 + len);
    let index: serde_json::Value = serde_json::from_slice(&index[8..]).unwrap();
    let devices = index["swift/ring/devices"][0].as_u64().unwrap() as usize;
    let len = u64::from_be_bytes(inflate(devices, 8).try_into().unwrap()) as usize;
    let devices: Vec<Option<crate::Device>> =
        serde_json::from_slice(&inflate(devices, 8 + len)[8..]).unwrap();
    assert_eq!(devices.len(), 5);
}

#[test]
fn unknown_keys_of_a_file_are_kept() {
    let mut device = serde_json::to_value(ring(2, 1.0, 1).device_list()).unwrap();
    device[0]["parts_wanted"] = 3.into();
    let devices = serde_json::from_value(device).unwrap();
    let table = crate::Table::from_row_major(4, &[0; 4]).unwrap();
    let info = crate::RingInfo {
        part_power: 2,
        ..Default::default()
    };
    let bytes = encode(&Ring::new(info, devices, table).unwrap(), Format::V1, "x", None).unwrap();
    let back = decode(&bytes).unwrap();
    assert_eq!(back.devices().next().unwrap().extra["parts_wanted"], 3);
}

#[test]
fn every_cut_of_a_ring_file_is_an_error() {
    for file in [SWIFT_V1, SWIFT_V2] {
        for len in 0..file.len() - 8 {
            assert!(decode(&file[..len]).is_err(), "cut at {len}");
        }
    }
}

#[test]
fn a_zip_bomb_is_refused_before_it_fills_memory() {
    let mut zip = gzip::Writer::new("bomb");
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&[0, 1, 0xff, 0xff, 0xff, 0xff]);
    zip.stored(&head);
    (0..64).for_each(|_| zip.section(&vec![0; 1 << 20]).unwrap());
    assert!(matches!(decode(&zip.finish()), Err(DecodeRingError::Value(_))));
}

#[test]
fn ids_beyond_two_bytes_need_format_2() {
    let mut devices = vec![None; 70_000];
    let mut device = ring(0, 1.0, 1).devices().next().unwrap().clone();
    device.id = crate::DeviceId(69_999);
    devices[69_999] = Some(device);
    let table = crate::Table::from_row_major(1, &[69_999]).unwrap();
    let ring = Ring::new(crate::RingInfo::default(), devices, table).unwrap();
    assert!(matches!(
        encode(&ring, Format::V1, "x", None),
        Err(EncodeRingError::IdTooLarge(69_999))
    ));
    assert!(matches!(
        encode(&ring, Format::V2, "x", Some(2)),
        Err(EncodeRingError::IdBytes(2))
    ));
    let bytes = encode(&ring, Format::V2, "x", None).unwrap();
    assert_eq!(decode(&bytes).unwrap().table(), ring.table());
}

#[test]
fn a_handle_takes_a_new_file_and_keeps_the_old_ring_when_it_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("object.ring.gz");
    let write = |bytes: &[u8]| replace(&path, bytes).unwrap();
    write(&encode(&ring(4, 3.0, 5), Format::V1, "object.ring.gz", None).unwrap());
    let handle = crate::RingHandle::open(&path).unwrap();
    assert!(!handle.reload_if_changed().unwrap());
    let before = handle.current();
    write(b"not a ring");
    handle.reload_if_changed().unwrap_err();
    assert_eq!(handle.current().part_power(), 4);
    write(&encode(&ring(4, 2.0, 5), Format::V2, "object.ring.gz", None).unwrap());
    assert!(handle.reload_if_changed().unwrap());
    assert_eq!(
        (handle.current().replica_count(), before.replica_count()),
        (2.0, 3.0)
    );
}

#[test]
fn a_replaced_file_leaves_no_other_file_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.builder");
    replace(&path, b"one").unwrap();
    replace(&path, b"two").unwrap();
    assert_eq!(
        save_backup(&path, b"two", 7).unwrap(),
        folder.path().join("backups/7.x.builder")
    );
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["backups", "x.builder"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"two");
}

proptest! {
    #[test]
    fn damaged_ring_files_never_panic(
        second: bool,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = if second { SWIFT_V2 } else { SWIFT_V1 }.to_vec();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = decode(&bytes);
    }

    #[test]
    fn hostile_content_never_panics(version in 1u8..4, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut zip = gzip::Writer::new("x");
        zip.stored(&[MAGIC.as_slice(), &[0, version]].concat());
        zip.section(&body).unwrap();
        prop_assert!(decode(&zip.finish()).is_err());
    }
}
