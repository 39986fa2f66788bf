//! Ring files: Swift's formats v1 and v2, read and written.
//!
//! Readers take hostile bytes: every length is bounded before it is believed,
//! and damage is an error that says what is wrong. Writers give the same
//! bytes for the same ring, and replace files atomically.
mod atomic;
mod gzip;
mod json;
pub mod map;
mod v1;
mod v2;

use std::io;
use std::path::{Path, PathBuf};

pub use atomic::{replace, save_backup};
pub(crate) use json::to_ascii as ascii_json;

use crate::ring::{Ring, RingError};

/// First bytes of every ring file, once unzipped.
const MAGIC: &[u8; 4] = b"R1NG";
/// The most JSON a ring file may carry: 65,000 devices take about 15 MB.
const MAX_JSON: u64 = 256 << 20;
/// The most bytes a ring file may unzip to.
const MAX_CONTENT: u64 = (1 << 30) + MAX_JSON;

/// Which of Swift's formats to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// Version 1: two-byte device ids, read by every Swift. The default.
    #[default]
    V1,
    /// Version 2: sections with digests, four-byte ids when needed (Swift >= 2.36).
    V2,
}

/// Why a ring file could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeRingError {
    /// Not gzip, cut off, or its checksum is wrong.
    #[error("not an intact gzip stream: {0}")]
    Unzip(#[source] io::Error),
    /// It unzips to more than the limit.
    #[error("unzips to more than {0} bytes")]
    TooLarge(u64),
    /// The magic is missing.
    #[error("not a ring file (it does not start with R1NG)")]
    NotARing,
    /// A format from the future, or nonsense.
    #[error("ring format version {0} is not known (1 and 2 are)")]
    Version(u16),
    /// The content ends too early.
    #[error("cut off in {0}")]
    Truncated(&'static str),
    /// JSON that does not parse or lacks a key.
    #[error("bad JSON in {part}: {source}")]
    Json {
        /// Which section.
        part: &'static str,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A value out of its range.
    #[error("{0}")]
    Value(String),
    /// A section's digest does not match its bytes.
    #[error("section {0} is damaged: its digest does not match")]
    Digest(String),
    /// The parts contradict each other.
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// Why a ring file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadRingError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no good.
    #[error("{path}: {source}")]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: DecodeRingError,
    },
}

/// Why a ring cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeRingError {
    /// Version 1 has two bytes for a device id.
    #[error("device id {0} does not fit ring format 1; write format 2")]
    IdTooLarge(u32),
    /// Four or two bytes only, and large enough.
    #[error("device ids cannot be written with {0} bytes (2 or 4, and large enough for every id)")]
    IdBytes(u8),
    /// The compressor failed.
    #[error("cannot compress: {0}")]
    Zip(#[source] io::Error),
    /// A value that JSON cannot carry.
    #[error("cannot write JSON: {0}")]
    Json(#[source] serde_json::Error),
}

/// Decodes a ring file of either format.
pub fn decode(bytes: &[u8]) -> Result<Ring, DecodeRingError> {
    let mut content = gzip::Reader::new(bytes);
    let mut head = [0; 6];
    content.fill(&mut head, "the header")?;
    if head[..4] != *MAGIC {
        return Err(DecodeRingError::NotARing);
    }
    match u16::from_be_bytes([head[4], head[5]]) {
        1 => v1::decode(content),
        2 => v2::decode(content, head.to_vec()),
        other => Err(DecodeRingError::Version(other)),
    }
}

/// How a ring file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Format version, 1 or 2.
    pub format: u16,
    /// Bytes of a device id.
    pub id_bytes: u8,
    /// The builder's change counter; 0 if the file has none.
    pub version: u64,
}

/// Says how a ring file is written (and checks it on the way).
pub fn describe(path: &Path) -> Result<Stored, ReadRingError> {
    let bytes = std::fs::read(path).map_err(|source| ReadRingError::Read {
        path: path.into(),
        source,
    })?;
    let decoded = |source| ReadRingError::Decode {
        path: path.into(),
        source,
    };
    let ring = decode(&bytes).map_err(decoded)?;
    let mut content = gzip::Reader::new(&bytes);
    let mut head = [0; 6];
    content.fill(&mut head, "the header").map_err(decoded)?;
    let (format, id_bytes) = match head[5] {
        2 => (2, v2::stored_id_bytes(content, head.to_vec()).map_err(decoded)?),
        other => (other.into(), 2),
    };
    Ok(Stored {
        format,
        id_bytes,
        version: ring.version(),
    })
}

/// Reads and decodes a ring file.
pub fn load(path: &Path) -> Result<Ring, ReadRingError> {
    let bytes = std::fs::read(path).map_err(|source| ReadRingError::Read {
        path: path.into(),
        source,
    })?;
    decode(&bytes).map_err(|source| ReadRingError::Decode {
        path: path.into(),
        source,
    })
}

/// Encodes a ring. `name` (of the file, without folder) goes into the gzip
/// header as Swift's does. `id_bytes` (format 2 only) forces the width of device ids.
pub fn encode(
    ring: &Ring,
    format: Format,
    name: &str,
    id_bytes: Option<u8>,
) -> Result<Vec<u8>, EncodeRingError> {
    match format {
        Format::V1 => v1::encode(ring, name),
        Format::V2 => v2::encode(ring, name, id_bytes),
    }
}

#[cfg(test)]
mod tests;
