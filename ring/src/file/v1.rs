//! Ring format 1: one JSON header, then rows of two-byte ids.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::gzip::{Reader, Writer};
use super::{DecodeRingError, EncodeRingError, MAGIC, MAX_JSON, json};
use crate::device::Device;
use crate::lookup::{Encoding, LookupTable};
use crate::ring::{Ring, RingInfo};
use crate::table::MAX_SLOTS;

#[derive(Deserialize, Serialize)]
struct Header<D> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    byteorder: Option<String>,
    devs: D,
    part_shift: u8,
    /// Number of rows.
    replica_count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_part_power: Option<u8>,
    #[serde(flatten)]
    extra: BTreeMap<String, serde_json::Value>,
}

pub(super) fn decode(mut content: Reader<'_>) -> Result<Ring, DecodeRingError> {
    let mut len = [0; 4];
    content.fill(&mut len, "the header")?;
    let len = u64::from(u32::from_be_bytes(len));
    if len > MAX_JSON {
        return Err(DecodeRingError::Value(format!("the header claims {len} bytes")));
    }
    let text = content.take(len, "the header")?;
    let header: Header<Vec<Option<Device>>> =
        serde_json::from_slice(&text).map_err(|source| DecodeRingError::Json {
            part: "the header",
            source,
        })?;
    let encoding = match header.byteorder.as_deref() {
        None if cfg!(target_endian = "big") => Encoding::Big2,
        None | Some("little") => Encoding::Little2,
        Some("big") => Encoding::Big2,
        Some(other) => return Err(DecodeRingError::Value(format!("unknown byteorder {other:?}"))),
    };
    let part_power = part_power(header.part_shift)?;
    let rows = content.rest(Vec::new())?;
    if rows.len() % encoding.bytes() != 0 {
        return Err(DecodeRingError::Truncated("the last row"));
    }
    if rows.len() / encoding.bytes() > MAX_SLOTS {
        return Err(DecodeRingError::TooLarge(2 * MAX_SLOTS as u64));
    }
    let parts = usize::try_from(1u64 << part_power).unwrap_or(usize::MAX);
    let table = LookupTable::from_rows(parts, &rows, encoding, header.devs.len())
        .ok_or_else(|| DecodeRingError::Value("the rows do not fit the part power".into()))?;
    if table.rows() as u64 != header.replica_count {
        let found = table.rows();
        let said = header.replica_count;
        return Err(DecodeRingError::Value(format!(
            "{found} rows found, the header says {said}"
        )));
    }
    let info = RingInfo {
        part_power,
        version: header.version,
        next_part_power: header.next_part_power,
        extra: header.extra,
    };
    Ok(Ring::from_lookup(info, header.devs, table)?)
}

pub(super) fn part_power(part_shift: u8) -> Result<u8, DecodeRingError> {
    32u8.checked_sub(part_shift)
        .ok_or_else(|| DecodeRingError::Value(format!("part_shift {part_shift} is over 32")))
}

pub(super) fn encode(ring: &Ring, name: &str) -> Result<Vec<u8>, EncodeRingError> {
    let table = &ring.lookup;
    let header = Header {
        byteorder: Some("little".to_owned()),
        devs: ring.device_list(),
        part_shift: 32 - ring.part_power(),
        replica_count: table.rows() as u64,
        version: ring.info().version,
        next_part_power: ring.info().next_part_power,
        extra: ring.info().extra.clone(),
    };
    let text = json::to_ascii(&header).map_err(EncodeRingError::Json)?;
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&1u16.to_be_bytes());
    let mut body = Vec::with_capacity(4 + text.len() + 2 * table.slot_count());
    body.extend_from_slice(&(text.len() as u32).to_be_bytes());
    body.extend_from_slice(&text);
    table
        .write_rows(&mut body, Encoding::Little2)
        .map_err(EncodeRingError::IdTooLarge)?;
    let mut zip = Writer::new(name);
    // The magic stays readable without unzipping, for `file`.
    zip.stored(&head);
    zip.section(&body).map_err(EncodeRingError::Zip)?;
    Ok(zip.finish())
}
