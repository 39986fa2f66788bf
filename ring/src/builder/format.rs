//! Our builder file: magic `RNGB`, a version, sections with SHA-256 each.
//!
//! Described in docs/formats/ring.md. Written whole beside the old one and
//! renamed; a reader believes no length before it has seen the bytes.
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Builder, MAX_PART_POWER, MoveTimes, Settings, check_min_part_hours, check_replicas};
use crate::device::{Device, DeviceId};
use crate::file::{ascii_json, replace, save_backup};
use crate::table::{MAX_SLOTS, NONE, Table};

const MAGIC: &[u8; 4] = b"RNGB";
/// The version written; older ones are read, newer ones refused.
const VERSION: u16 = 1;

const SETTINGS: &str = "settings";
const DEVICES: &str = "devices";
const REMOVED: &str = "removed";
const TABLE: &str = "table";
const TIMES: &str = "move-times";
/// More sections than this is not one of our files.
const MAX_SECTIONS: u32 = 64;
/// Longest section name.
const MAX_NAME: usize = 64;

/// Why a builder file cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadBuilderError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a Swift builder file.
    #[error(
        "this is a builder file of Swift (a pickle): take it over with: virga ring NEW.builder import FILE"
    )]
    Pickle,
    /// It describes a composite ring.
    #[error(
        "this describes a composite ring, which has no devices of its own: change its component builders, then: virga ring FILE compose --output NAME.ring.gz"
    )]
    Composite,
    /// It is something else.
    #[error("not a builder file (it does not start with RNGB)")]
    NotABuilder,
    /// Written by a newer version.
    #[error("builder format version {0} is newer than this program (which knows up to {VERSION})")]
    Newer(u16),
    /// The file ends too early.
    #[error("cut off in {0}")]
    Truncated(String),
    /// A digest does not match.
    #[error("section {0} is damaged: its digest does not match")]
    Digest(String),
    /// A section is missing or makes no sense.
    #[error("section {section}: {reason}")]
    Section {
        /// Which.
        section: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Why a builder file cannot be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveBuilderError {
    /// The disk refused; the old file is untouched.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A value that JSON cannot carry.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Builder {
    /// The builder as file content.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut sections = vec![
            (SETTINGS, ascii_json(&self.settings)?),
            (DEVICES, ascii_json(&self.devices)?),
            (REMOVED, ascii_json(&self.removed)?),
        ];
        if let Some(table) = &self.table {
            let mut bytes = Vec::with_capacity(24 + 4 * table.slots());
            for number in [table.parts(), table.rows(), table.last_row()] {
                bytes.extend_from_slice(&(number as u64).to_be_bytes());
            }
            table
                .row_major()
                .for_each(|id| bytes.extend_from_slice(&id.to_be_bytes()));
            sections.push((TABLE, bytes));
            let mut bytes = self.times.epoch.to_be_bytes().to_vec();
            bytes.extend_from_slice(&self.times.hours);
            sections.push((TIMES, bytes));
        }
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&(sections.len() as u32).to_be_bytes());
        for (name, body) in sections {
            out.extend_from_slice(&(name.len() as u16).to_be_bytes());
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&(body.len() as u64).to_be_bytes());
            out.extend_from_slice(&body);
            out.extend_from_slice(&digest(name, &body));
        }
        Ok(out)
    }

    /// Reads file content.
    pub fn decode(bytes: &[u8]) -> Result<Self, LoadBuilderError> {
        let sections = split(bytes)?;
        let find = |name: &str| {
            sections
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, body)| *body)
        };
        let need = |section| find(section).ok_or_else(|| wrong(section, "it is missing"));
        let settings: Settings = parse(SETTINGS, need(SETTINGS)?)?;
        let devices: Vec<Option<Device>> = parse(DEVICES, need(DEVICES)?)?;
        let removed: Vec<DeviceId> = parse(REMOVED, need(REMOVED)?)?;
        check(&settings, &devices, &removed)?;
        let mut builder = Self {
            settings,
            devices,
            removed,
            table: None,
            times: MoveTimes::default(),
        };
        if let Some(body) = find(TABLE) {
            let table = read_table(body, &builder)?;
            builder.times = read_times(need(TIMES)?, table.parts())?;
            builder.table = Some(table);
        }
        Ok(builder)
    }

    /// Loads a builder file.
    pub fn load(path: &Path) -> Result<Self, LoadBuilderError> {
        let bytes = std::fs::read(path).map_err(|source| LoadBuilderError::Read {
            path: path.into(),
            source,
        })?;
        Self::decode(&bytes)
    }

    /// Replaces the builder file and leaves a copy in `backups/` beside it.
    pub fn save(&self, path: &Path, now: u64) -> Result<(), SaveBuilderError> {
        let bytes = self.encode()?;
        let written = save_backup(path, &bytes, now).and_then(|_| replace(path, &bytes));
        written.map_err(|source| SaveBuilderError::Write {
            path: path.into(),
            source,
        })
    }
}

/// The digest covers the name too, so that sections cannot change places.
fn digest(name: &str, body: &[u8]) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(name.as_bytes());
    sha.update([0]);
    sha.update(body);
    sha.finalize().into()
}

fn wrong(section: &'static str, reason: impl Into<String>) -> LoadBuilderError {
    LoadBuilderError::Section {
        section,
        reason: reason.into(),
    }
}

fn parse<T: serde::de::DeserializeOwned>(section: &'static str, body: &[u8]) -> Result<T, LoadBuilderError> {
    serde_json::from_slice(body).map_err(|error| wrong(section, error.to_string()))
}

/// Cuts the file into named sections and checks their digests.
fn split(bytes: &[u8]) -> Result<Vec<(&str, &[u8])>, LoadBuilderError> {
    if !bytes.starts_with(MAGIC) {
        let pickle = bytes.first() == Some(&0x80) && bytes.last() == Some(&b'.');
        return Err(if pickle {
            LoadBuilderError::Pickle
        } else if bytes.first() == Some(&b'{') {
            LoadBuilderError::Composite
        } else {
            LoadBuilderError::NotABuilder
        });
    }
    let mut rest = &bytes[MAGIC.len()..];
    let version = u16::from_be_bytes(fixed(&mut rest, "the version")?);
    if version > VERSION || version == 0 {
        return Err(LoadBuilderError::Newer(version));
    }
    let count = u32::from_be_bytes(fixed(&mut rest, "the section count")?);
    if count > MAX_SECTIONS {
        return Err(LoadBuilderError::Truncated(format!(
            "the header: it claims {count} sections"
        )));
    }
    let mut sections = Vec::new();
    for _ in 0..count {
        let len = usize::from(u16::from_be_bytes(fixed(&mut rest, "a section name")?));
        let name = cut(&mut rest, len.min(MAX_NAME), "a section name")?;
        let name = std::str::from_utf8(name).map_err(|_| LoadBuilderError::NotABuilder)?;
        let len = u64::from_be_bytes(fixed(&mut rest, name)?);
        let body = cut(&mut rest, usize::try_from(len).unwrap_or(usize::MAX), name)?;
        let found: [u8; 32] = fixed(&mut rest, name)?;
        if found != digest(name, body) {
            return Err(LoadBuilderError::Digest(name.to_owned()));
        }
        sections.push((name, body));
    }
    Ok(sections)
}

fn cut<'a>(rest: &mut &'a [u8], len: usize, part: &str) -> Result<&'a [u8], LoadBuilderError> {
    let (head, tail) = rest
        .split_at_checked(len)
        .ok_or_else(|| LoadBuilderError::Truncated(part.to_owned()))?;
    *rest = tail;
    Ok(head)
}

fn fixed<const N: usize>(rest: &mut &[u8], part: &str) -> Result<[u8; N], LoadBuilderError> {
    cut(rest, N, part)?
        .try_into()
        .map_err(|_| LoadBuilderError::Truncated(part.to_owned()))
}

fn check(
    settings: &Settings,
    devices: &[Option<Device>],
    removed: &[DeviceId],
) -> Result<(), LoadBuilderError> {
    if settings.part_power > MAX_PART_POWER {
        return Err(wrong(SETTINGS, "the part power is over 32"));
    }
    let limits =
        check_replicas(settings.replicas).and_then(|()| check_min_part_hours(settings.min_part_hours));
    limits.map_err(|error| wrong(SETTINGS, error.to_string()))?;
    if !settings.overload.is_finite() || settings.overload < 0.0 {
        return Err(wrong(SETTINGS, "the overload is negative"));
    }
    let misplaced = |(place, device): (usize, &Option<Device>)| {
        device.as_ref().is_some_and(|device| {
            device.id.0 as usize != place || !device.weight.is_finite() || device.weight < 0.0
        })
    };
    if devices.iter().enumerate().any(misplaced) {
        return Err(wrong(
            DEVICES,
            "a device has a number other than its place, or a bad weight",
        ));
    }
    if removed
        .iter()
        .any(|id| !matches!(devices.get(id.0 as usize), Some(Some(_))))
    {
        return Err(wrong(REMOVED, "it names a device that does not exist"));
    }
    Ok(())
}

fn read_table(body: &[u8], builder: &Builder) -> Result<Table, LoadBuilderError> {
    let mut rest = body;
    let mut numbers = [0usize; 3];
    for number in &mut numbers {
        let word = u64::from_be_bytes(fixed(&mut rest, TABLE)?);
        *number = usize::try_from(word).map_err(|_| wrong(TABLE, "absurd size"))?;
    }
    let [parts, rows, last_row] = numbers;
    if parts as u64 != builder.partition_count()
        || !rest.len().is_multiple_of(4)
        || rest.len() / 4 > MAX_SLOTS
    {
        return Err(wrong(TABLE, "its size does not fit the part power"));
    }
    let ids: Vec<u32> = rest
        .chunks_exact(4)
        .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    let known = |id: u32| id == NONE || matches!(builder.devices.get(id as usize), Some(Some(_)));
    if !ids.iter().all(|&id| known(id)) {
        return Err(wrong(TABLE, "it names a device that does not exist"));
    }
    Table::from_row_major(parts, &ids)
        .filter(|table| table.rows() == rows && table.last_row() == last_row)
        .ok_or_else(|| wrong(TABLE, "its size is not what it says"))
}

fn read_times(body: &[u8], parts: usize) -> Result<MoveTimes, LoadBuilderError> {
    let mut rest = body;
    let epoch = u64::from_be_bytes(fixed(&mut rest, TIMES)?);
    if rest.len() != parts {
        return Err(wrong(TIMES, "it has not one byte a partition"));
    }
    Ok(MoveTimes {
        hours: rest.to_vec(),
        epoch,
    })
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
