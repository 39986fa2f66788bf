//! Rings that were in use before: a change is over only when every device has
//! brought its data to where the new ring wants it, and until then readers and
//! writers must mind the rings before it too.
//!
//! [`RingsInUse`] is what [`crate::RingHandle`] hands out: the current ring and
//! those that still count. [`Copies`] keeps them through restarts, one file a
//! ring in a folder. When a change is over is decided elsewhere (the proxy's
//! core asks the nodes).
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::file;
use crate::ring::Ring;

/// Identity of a ring: equal for the same assignment on all hosts. The digest
/// tells apart what the version does not: a builder that was rolled back and
/// changed in another way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RingId {
    /// The builder's change counter.
    pub version: u64,
    /// Start of the SHA-256 of the devices and the table.
    pub digest: [u8; 16],
}

impl RingId {
    /// Computes a ring's identity: a pass over the whole table.
    pub fn of(ring: &Ring) -> Self {
        let mut hash = Sha256::new();
        hash.update([ring.part_power()]);
        for device in ring.devices() {
            hash.update(device.id.0.to_le_bytes());
            hash.update(device.region.to_le_bytes());
            hash.update(device.zone.to_le_bytes());
            for text in [&device.ip, &device.replication_ip, &device.device] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
            hash.update(device.port.to_le_bytes());
            hash.update(device.replication_port.to_le_bytes());
        }
        // Ends the devices: no device has this number.
        hash.update(u32::MAX.to_le_bytes());
        ring.lookup.each_piece(|piece| hash.update(piece));
        let whole: [u8; 32] = hash.finalize().into();
        let mut digest = [0; 16];
        digest.copy_from_slice(&whole[..16]);
        Self {
            version: ring.version(),
            digest,
        }
    }

    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (version, digest) = text.split_once('-')?;
        Some(Self {
            version: version.parse().ok()?,
            digest: crate::NameHash::from_hex(digest)?.0,
        })
    }
}

/// A [`RingId`] in few bytes: goes with every request for data, so that a node
/// sees which ring the asker places by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RingEpoch {
    /// The builder's change counter; rings count from 1.
    pub version: u64,
    /// Start of the digest.
    pub digest: [u8; 4],
}

impl RingEpoch {
    /// Of a request that was placed by no ring: a device's own call to itself.
    pub const NONE: Self = Self {
        version: 0,
        digest: [0; 4],
    };
}

impl RingId {
    /// The same in few bytes.
    pub fn epoch(&self) -> RingEpoch {
        let [a, b, c, d, ..] = self.digest;
        RingEpoch {
            version: self.version,
            digest: [a, b, c, d],
        }
    }
}

/// "7-0123456789abcdef0123456789abcdef": version and digest.
impl fmt::Display for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.version)?;
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A ring and its identity.
#[derive(Clone, Debug)]
pub struct KnownRing {
    /// Its identity.
    pub id: RingId,
    /// The ring.
    pub ring: Arc<Ring>,
}

impl KnownRing {
    /// Takes a ring and computes its identity.
    pub fn new(ring: Ring) -> Self {
        Self {
            id: RingId::of(&ring),
            ring: Arc::new(ring),
        }
    }
}

/// The rings that count at one moment. Never changes: a request keeps the one
/// it began with.
#[derive(Clone, Debug)]
pub struct RingsInUse {
    /// The newest: where data belongs.
    pub current: KnownRing,
    /// Those before it whose change is not over, newest first; mostly none.
    pub previous: Vec<KnownRing>,
}

impl RingsInUse {
    /// Whether a change of this ring is under way.
    pub fn is_moving(&self) -> bool {
        !self.previous.is_empty()
    }

    /// What requests placed by these rings go by: the ring of the highest
    /// version. Whoever asks a quorum of several rings minds all of them, also
    /// while a cluster goes back from the newest to an older one.
    pub fn epoch(&self) -> RingEpoch {
        let earlier = self.previous.iter().map(|known| known.id.epoch());
        earlier.fold(self.current.id.epoch(), |newest, epoch| {
            if epoch.version > newest.version {
                epoch
            } else {
                newest
            }
        })
    }

    /// The same with `next` as the current ring.
    pub(crate) fn followed_by(&self, next: KnownRing) -> Self {
        let mut previous = vec![self.current.clone()];
        previous.extend(self.previous.iter().cloned());
        // Going back to a ring that still counts makes it the current one.
        previous.retain(|known| known.id != next.id);
        Self {
            current: next,
            previous,
        }
    }
}

/// Something wrong with the kept copies, for the operator.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The folder or a file in it cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A copy is damaged: what it placed may be found late.
    #[error("the copy of an earlier ring is ignored: {0}")]
    Damaged(#[source] file::ReadRingError),
    /// A copy is intact but not the ring that its name says.
    #[error("{0}: ignored, the ring in it is another one than its name says")]
    Misnamed(PathBuf),
    /// A ring cannot be encoded.
    #[error(transparent)]
    Encode(#[from] file::EncodeRingError),
}

/// A folder with a copy of every ring in use.
#[derive(Debug)]
pub(crate) struct Copies {
    folder: PathBuf,
}

/// How a copy's file name ends.
const SUFFIX: &str = ".ring.gz";

impl Copies {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn failed(path: &Path) -> impl Fn(io::Error) -> HistoryError {
        let path = path.to_owned();
        move |source| HistoryError::Io {
            path: path.clone(),
            source,
        }
    }

    fn file(&self, id: RingId) -> PathBuf {
        self.folder.join(format!("{id}{SUFFIX}"))
    }

    /// The copies there are, oldest first by name's version; other files are left alone.
    fn listed(&self) -> Result<Vec<(RingId, PathBuf)>, HistoryError> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Self::failed(&self.folder))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(Self::failed(&self.folder))?.path();
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            if let Some(id) = name.strip_suffix(SUFFIX).and_then(RingId::parse) {
                found.push((id, path));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Reads every copy but that of `current`, newest version first. Those
    /// that are no good are left out and named.
    pub(crate) fn load(&self, current: RingId) -> (Vec<KnownRing>, Vec<HistoryError>) {
        let (mut rings, mut faults) = (Vec::new(), Vec::new());
        let listed = self.listed().unwrap_or_else(|error| {
            faults.push(error);
            Vec::new()
        });
        for (id, path) in listed.into_iter().rev().filter(|(id, _)| *id != current) {
            match file::load(&path).map(KnownRing::new) {
                Ok(known) if known.id == id => rings.push(known),
                Ok(_) => faults.push(HistoryError::Misnamed(path)),
                Err(error) => faults.push(HistoryError::Damaged(error)),
            }
        }
        (rings, faults)
    }

    /// Writes a ring's copy unless it is there. `bytes`: the file it came from.
    pub(crate) fn keep(&self, known: &KnownRing, bytes: Option<&[u8]>) -> Result<(), HistoryError> {
        let path = self.file(known.id);
        if path.exists() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder).map_err(Self::failed(&self.folder))?;
        let encoded;
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => {
                encoded = file::encode(&known.ring, file::Format::V2, "earlier.ring.gz", None)?;
                &encoded
            }
        };
        file::replace(&path, bytes).map_err(Self::failed(&path))
    }

    /// When a ring's copy was written: when it came into use.
    pub(crate) fn kept_since(&self, id: RingId) -> Option<SystemTime> {
        std::fs::metadata(self.file(id)).ok()?.modified().ok()
    }

    /// Removes all copies but that of `current`.
    pub(crate) fn forget_all_but(&self, current: RingId) -> Result<(), HistoryError> {
        for (_, path) in self.listed()?.into_iter().filter(|(id, _)| *id != current) {
            std::fs::remove_file(&path).map_err(Self::failed(&path))?;
        }
        // Copies are the safe side: one that comes back after a crash costs a
        // round of asking, so the folder needs no sync.
        Ok(())
    }
}
