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

#[test]
fn a_file_says_how_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ring.gz");
    let ring = ring(4, 2.0, 5);
    for (format, id_bytes, want) in [
        (Format::V1, None, (1, 2)),
        (Format::V2, None, (2, 2)),
        (Format::V2, Some(4), (2, 4)),
    ] {
        replace(&path, &encode(&ring, format, "x.ring.gz", id_bytes).unwrap()).unwrap();
        let stored = describe(&path).unwrap();
        assert_eq!((stored.format, stored.id_bytes), want);
        assert_eq!(stored.version, ring.version());
        assert_eq!(load(&path).unwrap().table(), ring.table());
    }
    for id_bytes in [0, 1, 3, 8] {
        assert!(matches!(
            encode(&ring, Format::V2, "x", Some(id_bytes)),
            Err(EncodeRingError::IdBytes(bytes)) if bytes == id_bytes
        ));
    }
    replace(&path, b"not a ring").unwrap();
    assert!(matches!(describe(&path), Err(ReadRingError::Decode { .. })));
    assert!(matches!(load(&path), Err(ReadRingError::Decode { .. })));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(describe(&path), Err(ReadRingError::Read { .. })));
    assert!(matches!(load(&path), Err(ReadRingError::Read { .. })));
}

/// A file of format 2 whose content was changed before it was zipped again:
/// first the bytes before the index, then the index.
fn edited(
    bytes: impl FnOnce(&mut Vec<u8>),
    index: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>, &[u8]),
) -> Result<Ring, DecodeRingError> {
    let file = encode(&ring(3, 2.0, 4), Format::V2, "x", None).unwrap();
    let content = gzip::Reader::new(&file).rest(Vec::new()).unwrap();
    let end = content.len() - 16;
    let offset = u64::from_be_bytes(content[end..end + 8].try_into().unwrap()) as usize;
    let mut entries = serde_json::from_slice(&content[offset + 8..end]).unwrap();
    let mut whole = content[..offset].to_vec();
    bytes(&mut whole);
    index(&mut entries, &whole);
    let text = serde_json::to_vec(&entries).unwrap();
    whole.extend((text.len() as u64).to_be_bytes());
    whole.extend(text);
    whole.extend(&content[end..]);
    let mut zip = gzip::Writer::new("x");
    zip.section(&whole).unwrap();
    decode(&zip.finish())
}

#[test]
fn sections_are_found_by_the_index_and_checked_by_its_digests() {
    use md5::{Digest, Md5};
    const DEVICES: &str = "swift/ring/devices";
    let section = |entry: &serde_json::Value, bytes: &[u8]| {
        let at = |field: usize| entry[field].as_u64().unwrap() as usize;
        bytes[at(1)..at(3)].to_vec()
    };
    let hex = |digest: &[u8]| -> String { digest.iter().map(|byte| format!("{byte:02x}")).collect() };
    let with_digest = |method: &'static str, of: &dyn Fn(&[u8]) -> String| {
        edited(
            |_| {},
            |index, bytes| {
                let digest = of(&section(&index[DEVICES], bytes));
                index[DEVICES][4] = method.into();
                index[DEVICES][5] = digest.into();
            },
        )
    };
    with_digest("md5", &|bytes| hex(&Md5::digest(bytes))).unwrap();
    with_digest("sha1", &|bytes| hex(&sha1::Sha1::digest(bytes))).unwrap();
    with_digest("sha256", &|bytes| {
        hex(&sha2::Sha256::digest(bytes)).to_uppercase()
    })
    .unwrap();
    with_digest("sha512", &|bytes| hex(&sha2::Sha512::digest(bytes))).unwrap();
    for method in ["md5", "sha1", "sha256", "sha512"] {
        let wrong = with_digest(method, &|_| "00".repeat(16));
        assert!(matches!(wrong, Err(DecodeRingError::Digest(name)) if name == DEVICES));
    }
    let strange = with_digest("crc", &|_| String::new()).unwrap_err().to_string();
    assert_eq!(strange, "digest method \"crc\" is not known");
    edited(|_| {}, |index, _| index[DEVICES][4] = serde_json::Value::Null).unwrap();

    let gone = edited(|_| {}, |index, _| drop(index.remove(DEVICES))).unwrap_err();
    assert_eq!(gone.to_string(), "no section swift/ring/devices");
    for (name, good) in [("a/b-7", true), ("a b", false), ("", false), ("a_b", false)] {
        let named = edited(
            |_| {},
            |index, _| drop(index.insert(name.to_owned(), index[DEVICES].clone())),
        );
        assert_eq!(named.is_ok(), good, "{name:?}");
    }
    let moved = |field: usize, by: i64| {
        edited(
            |_| {},
            |index, _| {
                let was = index[DEVICES][field].as_i64().unwrap();
                index[DEVICES][field] = (was + by).into();
            },
        )
    };
    for by in [-1, 1] {
        let refused = moved(3, by).unwrap_err().to_string();
        assert_eq!(
            refused,
            "section swift/ring/devices does not end where the index says"
        );
    }
    let beyond = moved(1, 1 << 40);
    assert!(matches!(beyond, Err(DecodeRingError::Truncated(DEVICES))));
}

#[test]
fn metadata_that_contradicts_the_rows_is_refused() {
    let with = |piece: &str, other: &str| {
        edited(
            |bytes| {
                let at = bytes.windows(piece.len()).position(|it| it == piece.as_bytes());
                let at = at.unwrap_or_else(|| panic!("{piece} is not in the file"));
                bytes.splice(at..at + piece.len(), other.bytes());
            },
            |index, _| index["swift/ring/metadata"][5] = serde_json::Value::Null,
        )
    };
    with("\"part_shift\": 29", "\"part_shift\": 29").unwrap();
    for (piece, other) in [
        ("\"dev_id_bytes\": 2", "\"dev_id_bytes\": 3"),
        ("\"dev_id_bytes\": 2", "\"dev_id_bytes\": 4"),
        ("\"replica_count\": 2.0", "\"replica_count\": 3.0"),
        ("\"replica_count\": 2.0", "\"replica_count\": 1.0"),
        ("\"part_shift\": 29", "\"part_shift\": 30"),
        ("\"part_shift\": 29", "\"part_shift\": 99"),
    ] {
        let refused = with(piece, other);
        assert!(
            matches!(refused, Err(DecodeRingError::Value(_))),
            "{other}: {refused:?}"
        );
    }
}

#[test]
fn the_name_in_the_header_is_one_that_gzip_may_carry() {
    let name = |name: &str| {
        let file = gzip::Writer::new(name).finish();
        let zip = flate2::bufread::GzDecoder::new(&file[..]);
        zip.header().unwrap().filename().unwrap().to_vec()
    };
    assert_eq!(name("object.ring.gz"), b"object.ring");
    assert_eq!(name("object"), b"object");
    assert_eq!(name("\u{e9}\0\u{20ac}x"), b"\xe9__x");
}

#[test]
fn large_contents_are_zipped_piece_by_piece_and_come_back() {
    let mut state = 1_u32;
    let noise: Vec<u8> = (0..300_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let mut zip = gzip::Writer::new("x");
    zip.stored(&noise[..65_535]);
    zip.section(&noise).unwrap();
    zip.section(&[]).unwrap();
    assert_eq!(zip.content_at(), 365_535);
    let file = zip.finish();
    let mut reader = gzip::Reader::new(&file);
    assert!(matches!(
        gzip::Reader::new(&file).take(365_536, "it"),
        Err(DecodeRingError::Truncated("it"))
    ));
    assert!(reader.take(65_535, "it").unwrap() == noise[..65_535]);
    assert!(reader.rest(vec![7]).unwrap() == [&[7], &noise[..]].concat());
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
