//! Ring maps: a ring as lookups want it, so that a start need not inflate.
//!
//! A map is a copy in the form of memory of one `.ring.gz`, which stays the
//! truth: the map says by digest which file it was made from, and one that is
//! damaged or of another file is made anew without a word. `docs/formats/ring.md`
//! has the layout, decision 5 the reason. Called by [`crate::RingHandle`].
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DecodeRingError, MAX_CONTENT, MAX_JSON, json};
use crate::device::Device;
use crate::history::{KnownRing, RingId};
use crate::lookup::LookupTable;
use crate::ring::{Ring, RingInfo};

const MAGIC: &[u8; 4] = b"RNGM";
const VERSION: u16 = 1;
/// Bytes before the JSON.
const HEAD: usize = 112;
/// Bytes of a digest, also of the one at the end.
const DIGEST: usize = 32;
/// Smaller tables are inflated faster than a map is opened and synced.
const WORTH_A_MAP: u64 = 1 << 20;

/// BLAKE3 of a ring file: which one a map was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceDigest([u8; DIGEST]);

impl SourceDigest {
    /// Of the bytes of a `.ring.gz`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }
}

/// Why bytes are not a ring map.
#[derive(Debug, thiserror::Error)]
pub enum DecodeMapError {
    /// The file ends early or cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The magic is missing, or the version is another one.
    #[error("not a ring map of version {VERSION}")]
    NotAMap,
    /// Lengths that contradict each other or exceed the limits.
    #[error("its lengths do not fit each other")]
    Lengths,
    /// The checksum over everything is wrong.
    #[error("damaged: its checksum does not match")]
    Checksum,
    /// The ring in it is no good.
    #[error(transparent)]
    Ring(#[from] DecodeRingError),
}

/// A map's ring, and what it was made from.
#[derive(Debug)]
pub struct Mapped {
    /// The ring with its identity.
    pub known: KnownRing,
    /// The file it was made from.
    pub source: SourceDigest,
}

#[derive(Serialize, Deserialize)]
struct Described<D> {
    part_power: u8,
    version: Option<u64>,
    next_part_power: Option<u8>,
    extra: BTreeMap<String, serde_json::Value>,
    devices: D,
}

/// The numbers at a map's beginning.
struct Head {
    cell_bytes: u16,
    length: u64,
    json: u64,
    parts: u64,
    rows: u64,
    last_row: u64,
    cells: u64,
    source: SourceDigest,
    id: RingId,
}

impl Head {
    fn write(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.cell_bytes.to_be_bytes());
        for number in [
            self.length,
            self.json,
            self.parts,
            self.rows,
            self.last_row,
            self.cells,
        ] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.source.0);
        out.extend_from_slice(&self.id.version.to_be_bytes());
        out.extend_from_slice(&self.id.digest);
        out
    }

    fn read(bytes: &[u8; HEAD]) -> Option<Self> {
        let mut rest = bytes.as_slice();
        let mut take = |len| rest.split_off(..len);
        let head = take(6)?;
        if head[..4] != *MAGIC || head[4..] != VERSION.to_be_bytes() {
            return None;
        }
        let cell_bytes = u16::from_be_bytes(take(2)?.try_into().ok()?);
        let mut number = || Some(u64::from_be_bytes(take(8)?.try_into().ok()?));
        let [length, json, parts, rows, last_row, cells] =
            [number()?, number()?, number()?, number()?, number()?, number()?];
        Some(Self {
            cell_bytes,
            length,
            json,
            parts,
            rows,
            last_row,
            cells,
            source: SourceDigest(take(DIGEST)?.try_into().ok()?),
            id: RingId {
                version: u64::from_be_bytes(take(8)?.try_into().ok()?),
                digest: take(16)?.try_into().ok()?,
            },
        })
    }
}

/// Reads and hashes.
struct Hashing<R> {
    from: R,
    hash: blake3::Hasher,
}

impl<R: Read> Hashing<R> {
    fn fill(&mut self, into: &mut [u8]) -> Result<(), DecodeMapError> {
        self.from.read_exact(into)?;
        self.hash.update(into);
        Ok(())
    }
}

/// Decodes a map. Believes no length before it fits the number of bytes there are.
///
/// # Errors
/// See [`DecodeMapError`].
pub fn decode(bytes: &[u8]) -> Result<Mapped, DecodeMapError> {
    read(bytes, bytes.len() as u64, None)
}

/// Reads a map of `length` bytes. With `wanted`, one of another source is an
/// error as soon as that shows.
fn read(from: impl Read, length: u64, wanted: Option<SourceDigest>) -> Result<Mapped, DecodeMapError> {
    let mut from = Hashing {
        from,
        hash: blake3::Hasher::new(),
    };
    let mut head = [0; HEAD];
    from.fill(&mut head)?;
    let head = Head::read(&head).ok_or(DecodeMapError::NotAMap)?;
    if wanted.is_some_and(|wanted| wanted != head.source) {
        return Err(DecodeMapError::NotAMap);
    }
    let sum = (HEAD + DIGEST) as u64;
    let whole = head
        .json
        .checked_add(head.cells)
        .and_then(|sum_of| sum_of.checked_add(sum));
    if head.length != length || whole != Some(length) || head.json > MAX_JSON || head.cells > MAX_CONTENT {
        return Err(DecodeMapError::Lengths);
    }
    let mut text = vec![0; head.json as usize];
    from.fill(&mut text)?;
    let described: Described<Vec<Option<Device>>> =
        serde_json::from_slice(&text).map_err(|source| DecodeRingError::Json {
            part: "the map",
            source,
        })?;
    let number = |number: u64| usize::try_from(number).map_err(|_| DecodeMapError::Lengths);
    // The size of the table hangs on these three; it must be what the file holds.
    let shape = (number(head.parts)?, number(head.rows)?, number(head.last_row)?);
    let stored = LookupTable::bytes_for(shape.0, shape.1, described.devices.len());
    if stored != Some((u64::from(head.cell_bytes), head.cells)) {
        return Err(DecodeMapError::Lengths);
    }
    let mut table = LookupTable::new(shape.0, shape.1, shape.2, described.devices.len())
        .ok_or(DecodeMapError::Lengths)?;
    table.fill(|piece| from.fill(piece))?;
    let found = from.hash.finalize();
    let mut said = [0; DIGEST];
    from.from.read_exact(&mut said)?;
    if found != said {
        return Err(DecodeMapError::Checksum);
    }
    let info = RingInfo {
        part_power: described.part_power,
        version: described.version,
        next_part_power: described.next_part_power,
        extra: described.extra,
    };
    let ring = Ring::from_lookup(info, described.devices, table).map_err(DecodeRingError::Ring)?;
    Ok(Mapped {
        known: KnownRing {
            id: head.id,
            ring: Arc::new(ring),
        },
        source: head.source,
    })
}

/// Encodes the map of a ring that came from the file with this digest.
///
/// # Errors
/// A value in the ring that JSON cannot carry.
pub fn encode(known: &KnownRing, source: SourceDigest) -> Result<Vec<u8>, serde_json::Error> {
    let (ring, info) = (&known.ring, known.ring.info());
    let text = json::to_ascii(&Described {
        part_power: info.part_power,
        version: info.version,
        next_part_power: info.next_part_power,
        extra: info.extra.clone(),
        devices: ring.device_list(),
    })?;
    let table = &ring.lookup;
    let cells = table.cell_bytes();
    let length = (HEAD + text.len() + DIGEST) as u64 + cells;
    let head = Head {
        cell_bytes: table.bytes_of_a_cell(),
        length,
        json: text.len() as u64,
        parts: table.parts() as u64,
        rows: table.rows() as u64,
        last_row: table.last_row() as u64,
        cells,
        source,
        id: known.id,
    };
    let mut out = head.write();
    out.reserve_exact(length as usize - HEAD);
    out.extend_from_slice(&text);
    table.each_piece(|piece| out.extend_from_slice(piece));
    let digest: [u8; DIGEST] = blake3::hash(&out).into();
    out.extend_from_slice(&digest);
    Ok(out)
}

/// A folder with maps, one for each name of a ring file.
#[derive(Clone, Debug)]
pub(crate) struct Maps {
    folder: PathBuf,
    /// Rings whose table has fewer bytes get no map.
    least: u64,
}

/// Why a map could not be written. The ring is in use all the same; the next
/// start takes longer.
#[derive(Debug, thiserror::Error)]
pub enum WriteMapError {
    /// The folder or file cannot be written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The ring cannot be described.
    #[error("{path}: {source}")]
    Json {
        /// The map.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Maps {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            least: WORTH_A_MAP,
        }
    }

    /// Maps of small rings too.
    #[cfg(test)]
    pub(crate) fn of_any_size(folder: PathBuf) -> Self {
        Self { folder, least: 0 }
    }

    /// The map of a ring file.
    pub(crate) fn path(&self, ring: &Path) -> PathBuf {
        let name = ring.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_suffix(".ring.gz").unwrap_or(&name);
        self.folder.join(format!("{name}.ringmap"))
    }

    /// The ring of the map, if there is an intact one of just this source.
    pub(crate) fn load(&self, ring: &Path, source: SourceDigest) -> Option<KnownRing> {
        let file = File::open(self.path(ring)).ok()?;
        let length = file.metadata().ok()?.len();
        Some(read(file, length, Some(source)).ok()?.known)
    }

    /// Writes the map of `ring` unless the ring is too small for one.
    pub(crate) fn keep(
        &self,
        ring: &Path,
        known: &KnownRing,
        source: SourceDigest,
    ) -> Result<(), WriteMapError> {
        if known.ring.lookup.cell_bytes() < self.least {
            return Ok(());
        }
        let path = self.path(ring);
        let failed = |source| WriteMapError::Io {
            path: path.clone(),
            source,
        };
        let bytes = encode(known, source).map_err(|source| WriteMapError::Json {
            path: path.clone(),
            source,
        })?;
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        super::replace(&path, &bytes).map_err(failed)
    }
}

#[cfg(test)]
mod tests;
