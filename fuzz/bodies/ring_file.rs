//! Ring files and ring maps: any bytes as a file, and any content behind an intact gzip shell, index and digests.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use virga_ring::file::{self, Format, map};
use virga_ring::{Partition, Ring};

/// Any bytes as a ring file.
pub fn zipped(data: &[u8]) {
    judge(data);
    // Behind gzip: the reader gets to see them.
    judge(&zip(data));
}

/// Format 1. Two bytes say how long the JSON header is; the rows follow it.
pub fn v1(data: &[u8]) {
    let Some((header, rows)) = cut(data) else { return };
    let mut content = b"R1NG\x00\x01".to_vec();
    content.extend_from_slice(&(header.len() as u32).to_be_bytes());
    content.extend_from_slice(header);
    content.extend_from_slice(rows);
    judge(&zip(&content));
}

/// Format 2: metadata, devices and rows out of the bytes, index and digests made right; odd first byte: without
/// digests.
pub fn v2(data: &[u8]) {
    let Some((&flags, data)) = data.split_first() else {
        return;
    };
    let Some((metadata, data)) = cut(data) else { return };
    let Some((devices, rows)) = cut(data) else { return };
    let mut content = b"R1NG\x00\x02".to_vec();
    let mut index = serde_json::Map::new();
    for (name, body) in [
        ("swift/ring/metadata", metadata),
        ("swift/ring/devices", devices),
        ("swift/ring/assignments", rows),
    ] {
        let start = content.len();
        content.extend_from_slice(&(body.len() as u64).to_be_bytes());
        content.extend_from_slice(body);
        let digest: String = Sha256::digest(&content[start..])
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let entry = if flags % 2 == 1 {
            serde_json::json!([0, start, null, content.len(), null, null])
        } else {
            serde_json::json!([0, start, null, content.len(), "sha256", digest])
        };
        index.insert(name.to_owned(), entry);
    }
    let at = content.len() as u64;
    let index = serde_json::Value::Object(index).to_string();
    content.extend_from_slice(&(index.len() as u64).to_be_bytes());
    content.extend_from_slice(index.as_bytes());
    content.extend_from_slice(&at.to_be_bytes());
    content.extend_from_slice(&at.to_be_bytes());
    judge(&zip(&content));
}

/// A ring map: shape, JSON and cells out of the bytes, lengths and digest made right. Bare as well.
pub fn ring_map(data: &[u8]) {
    judge_map(data);
    let Some((shape, rest)) = data.split_first_chunk::<11>() else {
        return;
    };
    let Some((text, cells)) = cut(rest) else { return };
    let word = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0u64, |word, &byte| word << 8 | u64::from(byte))
    };
    let mut file = b"RNGM\x00\x01\x00".to_vec();
    file.push(shape[0]);
    let length = 112 + text.len() + cells.len() + 32;
    for number in [
        length as u64,
        text.len() as u64,
        word(&shape[1..5]),
        word(&shape[5..7]),
        word(&shape[7..11]),
        cells.len() as u64,
    ] {
        file.extend_from_slice(&number.to_be_bytes());
    }
    file.extend_from_slice(&[7; 56]);
    file.extend_from_slice(text);
    file.extend_from_slice(cells);
    file.extend_from_slice(blake3::hash(&file).as_bytes());
    judge_map(&file);
}

fn judge_map(bytes: &[u8]) {
    let Ok(mapped) = map::decode(bytes) else { return };
    let ring = &mapped.known.ring;
    look_up(ring);
    let bytes = map::encode(&mapped.known, mapped.source).expect("what was read can be written");
    let again = map::decode(&bytes).expect("what was written is read");
    assert_eq!(again.source, mapped.source);
    assert_eq!(again.known.id, mapped.known.id);
    assert_eq!(again.known.ring.table(), ring.table());
    assert_eq!(again.known.ring.device_list(), ring.device_list());
    assert_eq!(again.known.ring.info(), ring.info());
}

/// Panics if the reader does, if lookups in what it accepts do, or if it does not read back what is written of it.
fn judge(bytes: &[u8]) {
    let Ok(ring) = file::decode(bytes) else { return };
    look_up(&ring);
    for format in [Format::V1, Format::V2] {
        let Ok(bytes) = file::encode(&ring, format, "f.ring.gz", None) else {
            continue;
        };
        let again = file::decode(&bytes).expect("what was written is read");
        assert_eq!(again.table(), ring.table());
        assert_eq!(again.device_list(), ring.device_list());
        assert_eq!(again.info(), ring.info());
    }
}

fn look_up(ring: &Ring) {
    let last = ring.partition_count().saturating_sub(1) as u32;
    for part in [0, last / 2, last].map(Partition) {
        let primaries = ring.primaries(part).count();
        let devices = ring.devices().count();
        assert!(primaries <= devices);
        assert!(primaries + ring.handoffs(part).take(64).count() <= devices);
    }
}

/// The bytes in a gzip member, stored, so that a fuzzer's changes stay where they are.
fn zip(content: &[u8]) -> Vec<u8> {
    let mut zip = GzEncoder::new(Vec::new(), Compression::none());
    zip.write_all(content).expect("memory takes everything");
    zip.finish().expect("memory takes everything")
}

/// A piece as long as the first two bytes say, at most to the end, and the rest.
fn cut(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[low, high], rest) = data.split_first_chunk()?;
    let len = usize::from(u16::from_le_bytes([low, high]));
    Some(rest.split_at(len.min(rest.len())))
}
