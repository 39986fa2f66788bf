//! Ring format 1: one JSON header, then rows of two-byte ids.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::gzip::{Reader, Writer};
use super::{DecodeRingError, EncodeRingError, MAGIC, MAX_JSON, json};
use crate::device::Device;
use crate::ring::{Ring, RingInfo};
use crate::table::{MAX_SLOTS, Table};

/// Means "unassigned" in two bytes.
const UNASSIGNED: u16 = u16::MAX;

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

pub(super) fn decode(content: &mut Reader<'_>) -> Result<Ring, DecodeRingError> {
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
    let big = match header.byteorder.as_deref() {
        None => cfg!(target_endian = "big"),
        Some("little") => false,
        Some("big") => true,
        Some(other) => return Err(DecodeRingError::Value(format!("unknown byteorder {other:?}"))),
    };
    let part_power = part_power(header.part_shift)?;
    let ids = read_rows(content, big)?;
    let parts = usize::try_from(1u64 << part_power).unwrap_or(usize::MAX);
    let table = Table::from_row_major(parts, &ids)
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
    Ok(Ring::new(info, header.devs, table)?)
}

pub(super) fn part_power(part_shift: u8) -> Result<u8, DecodeRingError> {
    32u8.checked_sub(part_shift)
        .ok_or_else(|| DecodeRingError::Value(format!("part_shift {part_shift} is over 32")))
}

fn read_rows(content: &mut Reader<'_>, big: bool) -> Result<Vec<u32>, DecodeRingError> {
    let mut ids = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let mut held = 0;
    loop {
        let got = content.read(&mut buffer[held..])?;
        if got == 0 {
            break;
        }
        held += got;
        let whole = held & !1;
        ids.extend(buffer[..whole].chunks_exact(2).map(|pair| {
            let pair = [pair[0], pair[1]];
            u32::from(if big {
                u16::from_be_bytes(pair)
            } else {
                u16::from_le_bytes(pair)
            })
        }));
        if ids.len() > MAX_SLOTS {
            return Err(DecodeRingError::TooLarge(2 * MAX_SLOTS as u64));
        }
        buffer.copy_within(whole..held, 0);
        held -= whole;
    }
    if held == 0 {
        Ok(ids)
    } else {
        Err(DecodeRingError::Truncated("the last row"))
    }
}

pub(super) fn encode(ring: &Ring, name: &str) -> Result<Vec<u8>, EncodeRingError> {
    let table = ring.table();
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
    let mut body = Vec::with_capacity(4 + text.len() + 2 * table.slots());
    body.extend_from_slice(&(text.len() as u32).to_be_bytes());
    body.extend_from_slice(&text);
    for id in table.row_major() {
        let narrow = u16::try_from(id).ok().filter(|&id| id != UNASSIGNED);
        body.extend_from_slice(&narrow.ok_or(EncodeRingError::IdTooLarge(id))?.to_le_bytes());
    }
    let mut zip = Writer::new(name);
    // The magic stays readable without unzipping, for `file`.
    zip.stored(&head);
    zip.section(&body).map_err(EncodeRingError::Zip)?;
    Ok(zip.finish())
}
