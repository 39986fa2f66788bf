//! Ring format 2: sections with digests and an index at the end.
use std::collections::BTreeMap;

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::gzip::{Reader, Writer};
use super::{DecodeRingError, EncodeRingError, MAGIC, MAX_JSON, json, v1};
use crate::device::Device;
use crate::lookup::{Encoding, LookupTable};
use crate::ring::{Ring, RingInfo};
use crate::table::MAX_SLOTS;

const METADATA: &str = "swift/ring/metadata";
const DEVICES: &str = "swift/ring/devices";
const ASSIGNMENTS: &str = "swift/ring/assignments";

#[derive(Deserialize, Serialize)]
struct Metadata {
    part_shift: u8,
    dev_id_bytes: u8,
    /// Average replicas, e.g. 2.5.
    replica_count: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_part_power: Option<u8>,
    #[serde(flatten)]
    extra: BTreeMap<String, serde_json::Value>,
}

/// Compressed start, content start, compressed end, content end, digest
/// method, digest. Starts point at the length word.
type Entry = (u64, u64, Option<u64>, Option<u64>, Option<String>, Option<String>);

pub(super) fn decode(content: Reader<'_>, head: Vec<u8>) -> Result<Ring, DecodeRingError> {
    let bytes = content.rest(head)?;
    let sections = Sections::find(&bytes)?;
    let metadata: Metadata =
        serde_json::from_slice(sections.get(METADATA)?).map_err(|source| DecodeRingError::Json {
            part: METADATA,
            source,
        })?;
    let devices: Vec<Option<Device>> =
        serde_json::from_slice(sections.get(DEVICES)?).map_err(|source| DecodeRingError::Json {
            part: DEVICES,
            source,
        })?;
    let part_power = v1::part_power(metadata.part_shift)?;
    let raw = sections.get(ASSIGNMENTS)?;
    let width = usize::from(metadata.dev_id_bytes);
    if !matches!(width, 2 | 4) || raw.len() % width != 0 || raw.len() / width > MAX_SLOTS {
        return Err(DecodeRingError::Value(format!(
            "{} bytes of assignments with {width} bytes a device id",
            raw.len()
        )));
    }
    let encoding = if width == 2 {
        Encoding::Big2
    } else {
        Encoding::Big4
    };
    let parts = usize::try_from(1u64 << part_power).unwrap_or(usize::MAX);
    let table = LookupTable::from_rows(parts, raw, encoding, devices.len())
        .filter(|table| (table.replica_count() - metadata.replica_count).abs() * (parts as f64) < 1.5)
        .ok_or_else(|| DecodeRingError::Value("the rows do not fit part power and replica count".into()))?;
    let info = RingInfo {
        part_power,
        version: metadata.version,
        next_part_power: metadata.next_part_power,
        extra: metadata.extra,
    };
    Ok(Ring::from_lookup(info, devices, table)?)
}

/// The width of device ids in a file.
pub(super) fn stored_id_bytes(content: Reader<'_>, head: Vec<u8>) -> Result<u8, DecodeRingError> {
    let bytes = content.rest(head)?;
    let metadata: Metadata =
        serde_json::from_slice(Sections::find(&bytes)?.get(METADATA)?).map_err(|source| {
            DecodeRingError::Json {
                part: METADATA,
                source,
            }
        })?;
    Ok(metadata.dev_id_bytes)
}

/// The content cut along its index.
struct Sections<'a> {
    bytes: &'a [u8],
    index: BTreeMap<String, Entry>,
}

impl<'a> Sections<'a> {
    /// Reads the index by the offset near the end of the content: that works
    /// for recompressed files too.
    fn find(bytes: &'a [u8]) -> Result<Self, DecodeRingError> {
        let end = bytes
            .len()
            .checked_sub(16)
            .ok_or(DecodeRingError::Truncated("the index offset"))?;
        let offset = word(bytes, end as u64).ok_or(DecodeRingError::Truncated("the index offset"))?;
        let text = sized(&bytes[..end], offset).ok_or(DecodeRingError::Truncated("the index"))?;
        let index: BTreeMap<String, Entry> =
            serde_json::from_slice(text).map_err(|source| DecodeRingError::Json {
                part: "the index",
                source,
            })?;
        for name in index.keys() {
            let legal = name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'/' || b == b'-');
            if !legal || name.is_empty() {
                return Err(DecodeRingError::Value(format!("bad section name {name:?}")));
            }
        }
        Ok(Self { bytes, index })
    }

    fn get(&self, name: &'static str) -> Result<&'a [u8], DecodeRingError> {
        let entry = self
            .index
            .get(name)
            .ok_or_else(|| DecodeRingError::Value(format!("no section {name}")))?;
        let (_, start, _, end, method, digest) = entry;
        let body = sized(self.bytes, *start).ok_or(DecodeRingError::Truncated(name))?;
        let len = 8 + body.len() as u64;
        if body.len() as u64 > MAX_JSON && name != ASSIGNMENTS {
            return Err(DecodeRingError::Value(format!("section {name} is too long")));
        }
        if end.is_some_and(|end| end != start.saturating_add(len)) {
            return Err(DecodeRingError::Value(format!(
                "section {name} does not end where the index says"
            )));
        }
        let whole = &self.bytes[*start as usize..*start as usize + len as usize];
        if let (Some(method), Some(digest)) = (method, digest) {
            let found = match method.as_str() {
                "md5" => to_hex(&Md5::digest(whole)),
                "sha1" => to_hex(&Sha1::digest(whole)),
                "sha256" => to_hex(&Sha256::digest(whole)),
                "sha512" => to_hex(&Sha512::digest(whole)),
                other => {
                    return Err(DecodeRingError::Value(format!(
                        "digest method {other:?} is not known"
                    )));
                }
            };
            if !found.eq_ignore_ascii_case(digest) {
                return Err(DecodeRingError::Digest(name.to_owned()));
            }
        }
        Ok(body)
    }
}

fn word(bytes: &[u8], at: u64) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let word = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_be_bytes(word.try_into().ok()?))
}

/// The bytes after the length word at `at`.
fn sized(bytes: &[u8], at: u64) -> Option<&[u8]> {
    let len = usize::try_from(word(bytes, at)?).ok()?;
    let start = usize::try_from(at).ok()?.checked_add(8)?;
    bytes.get(start..start.checked_add(len)?)
}

fn to_hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Two bytes an id while they suffice, as Swift starts out.
pub(super) fn id_bytes_for(ring: &Ring) -> u8 {
    if ring.device_list().len() > usize::from(u16::MAX) {
        4
    } else {
        2
    }
}

pub(super) fn encode(ring: &Ring, name: &str, id_bytes: Option<u8>) -> Result<Vec<u8>, EncodeRingError> {
    let needed = id_bytes_for(ring);
    let dev_id_bytes = id_bytes.unwrap_or(needed);
    if !matches!(dev_id_bytes, 2 | 4) || dev_id_bytes < needed {
        return Err(EncodeRingError::IdBytes(dev_id_bytes));
    }
    let info = ring.info();
    let metadata = json::to_ascii(&Metadata {
        part_shift: 32 - info.part_power,
        dev_id_bytes,
        replica_count: ring.replica_count(),
        version: info.version,
        next_part_power: info.next_part_power,
        extra: info.extra.clone(),
    })
    .map_err(EncodeRingError::Json)?;
    let devices = json::to_ascii(&ring.device_list()).map_err(EncodeRingError::Json)?;
    let mut assignments = Vec::new();
    let encoding = if dev_id_bytes == 2 {
        Encoding::Big2
    } else {
        Encoding::Big4
    };
    ring.lookup
        .write_rows(&mut assignments, encoding)
        .map_err(|_| EncodeRingError::IdBytes(dev_id_bytes))?;
    let mut zip = Writer::new(name);
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&2u16.to_be_bytes());
    zip.stored(&head);
    let mut index = BTreeMap::new();
    for (name, body) in [
        (METADATA, metadata),
        (DEVICES, devices),
        (ASSIGNMENTS, assignments),
    ] {
        let (compressed, content) = (zip.compressed_at(), zip.content_at());
        let whole = with_length(&body);
        zip.section(&whole).map_err(EncodeRingError::Zip)?;
        let digest = to_hex(&Sha256::digest(&whole));
        let ends = (Some(zip.compressed_at()), Some(zip.content_at()));
        let entry: Entry = (
            compressed,
            content,
            ends.0,
            ends.1,
            Some("sha256".to_owned()),
            Some(digest),
        );
        index.insert(name.to_owned(), entry);
    }
    let (compressed, content) = (zip.compressed_at(), zip.content_at());
    let text = json::to_ascii(&index).map_err(EncodeRingError::Json)?;
    zip.section(&with_length(&text)).map_err(EncodeRingError::Zip)?;
    // 18 bytes each on disk: readers seek to 31 bytes before the end.
    zip.stored(&content.to_be_bytes());
    zip.stored(&compressed.to_be_bytes());
    Ok(zip.finish())
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let mut whole = (body.len() as u64).to_be_bytes().to_vec();
    whole.extend_from_slice(body);
    whole
}
