//! Rings that come from another node instead of from an operator's hand: given
//! away as they are, taken only when they are newer.
//!
//! Called by whoever was told by a node that its ring has been given up, and by
//! the node that is asked. Who the node is has been proved before (the node
//! protocol's handshake); whether the ring is good is decided here.
use std::io;
use std::path::PathBuf;

use super::{ReloadError, RingHandle, read, same_power};
use crate::file;
use crate::history::KnownRing;

/// Longest ring file taken from another node, in bytes: that of the largest
/// ring (2^24 partitions, some replicas) fits.
const LONGEST: usize = 512 << 20;

/// Why a ring from another node is not in use, or not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// It is no ring.
    #[error("what came is no good ring: {0}")]
    Decode(#[from] file::DecodeRingError),
    /// It is too long to be one.
    #[error("what came is {0} bytes long, which no ring is")]
    TooLong(usize),
    /// It cannot follow the ring in use.
    #[error(transparent)]
    Unfit(#[from] ReloadError),
    /// Somebody put an older file in place here: that is not undone from afar.
    #[error(
        "version {version} came from another node, but here an operator went back from version {from} to {to}; \
         copy the older ring to all hosts, or make a newer one"
    )]
    WentBack {
        /// What came.
        version: u64,
        /// What was in use before.
        from: u64,
        /// What is in use.
        to: u64,
    },
    /// It is in use, but the file could not be replaced: the next start begins
    /// with the old one.
    #[error("version {version} from another node is in use, but {path} cannot be replaced: {source}")]
    Unwritten {
        /// The ring's version.
        version: u64,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl RingHandle {
    /// The current ring as a file, for another node: the very bytes it was
    /// read from if they are still there. Reads a file; call it off the
    /// runtime's workers.
    ///
    /// # Errors
    /// A ring that no file holds.
    pub fn to_file(&self) -> Result<Vec<u8>, file::EncodeRingError> {
        if let Some(path) = &self.source {
            let digest = self.watch().digest;
            if let Ok((bytes, found)) = read(path)
                && Some(found) == digest
            {
                return Ok(bytes);
            }
        }
        file::encode(&self.current(), file::Format::V2, "ring.gz", None)
    }

    /// Takes a ring file from another node into use if it is newer than the
    /// ring in use, on disk first. `false`: it is not newer. Blocks; call it
    /// off the runtime's workers.
    ///
    /// # Errors
    /// See [`InstallError`]. After [`InstallError::Unwritten`] the ring is in use.
    pub fn install(&self, bytes: &[u8]) -> Result<bool, InstallError> {
        if bytes.len() > LONGEST {
            return Err(InstallError::TooLong(bytes.len()));
        }
        let known = KnownRing::new(file::decode(bytes)?);
        let version = known.id.version;
        let written = {
            let mut watched = self.watch();
            let now = self.in_use.load_full();
            if version <= now.current.id.version {
                return Ok(false);
            }
            if let Some(back) = watched.went_back.filter(|back| version <= back.from) {
                let (from, to) = (back.from, back.to);
                return Err(InstallError::WentBack { version, from, to });
            }
            let path = self.source.clone().unwrap_or_default();
            same_power(&path, &now.current.ring, &known.ring)?;
            if self.keeps && now.previous.len() >= super::MOST_PREVIOUS {
                return Err(ReloadError::Behind { path }.into());
            }
            // The ring before must be found by a later start.
            self.keep_current(&mut watched, None)?;
            match &self.source {
                Some(path) => file::replace(path, bytes).map_err(|source| InstallError::Unwritten {
                    version,
                    path: path.clone(),
                    source,
                }),
                None => {
                    self.put(known, &mut watched);
                    return Ok(true);
                }
            }
            .inspect_err(|_| {
                // Without the file it still must not stay behind the cluster.
                self.put(known, &mut watched);
                watched.unkept = self.copies.is_some();
            })
        };
        written?;
        // As if an operator had copied it here.
        Ok(self.reload_if_changed()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{Format, encode, replace};
    use crate::history::RingEpoch;
    use crate::{Device, Ring, RingInfo, Table};

    fn ring(version: u64, part_power: u8) -> Ring {
        let device: Device = serde_json::from_value(serde_json::json!({
            "id": 0, "region": 1, "zone": 1, "ip": "10.0.0.1", "port": 6200, "device": "sda",
            "weight": 1, "meta": version.to_string(),
        }))
        .unwrap();
        let table = Table::from_row_major(1 << part_power, &vec![0; 1 << part_power]).unwrap();
        let info = RingInfo {
            part_power,
            version: Some(version),
            ..RingInfo::default()
        };
        Ring::new(info, vec![Some(device)], table).unwrap()
    }

    fn bytes(version: u64, part_power: u8) -> Vec<u8> {
        encode(&ring(version, part_power), Format::V2, "object.ring.gz", None).unwrap()
    }

    fn handle(version: u64) -> (tempfile::TempDir, RingHandle) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("object.ring.gz");
        replace(&path, &bytes(version, 4)).unwrap();
        let handle = RingHandle::open_with_history(path, dir.path().join("history"))
            .unwrap()
            .0;
        (dir, handle)
    }

    #[test]
    fn a_newer_ring_is_taken_on_disk_and_in_memory_and_given_on_as_it_came() {
        let (dir, handle) = handle(1);
        assert!(handle.install(&bytes(2, 4)).unwrap());
        assert_eq!(handle.current().version(), 2);
        assert_eq!(handle.in_use().previous.len(), 1, "the one before still counts");
        assert_eq!(handle.to_file().unwrap(), bytes(2, 4));
        assert!(!handle.reload_if_changed().unwrap());
        let again =
            RingHandle::open_with_history(dir.path().join("object.ring.gz"), dir.path().join("history"));
        let (again, faults) = again.unwrap();
        assert!(faults.is_empty());
        assert_eq!((again.current().version(), again.in_use().previous.len()), (2, 1));
    }

    #[test]
    fn what_is_no_ring_or_not_newer_or_of_another_power_changes_nothing() {
        let (dir, handle) = handle(5);
        let before = std::fs::read(dir.path().join("object.ring.gz")).unwrap();
        let mut garbled = bytes(6, 4);
        let middle = garbled.len() / 2;
        garbled[middle] ^= 0x55;
        assert!(matches!(handle.install(&garbled), Err(InstallError::Decode(_))));
        assert!(matches!(
            handle.install(b"a ring, honestly"),
            Err(InstallError::Decode(_))
        ));
        assert!(!handle.install(&bytes(5, 4)).unwrap());
        assert!(!handle.install(&bytes(4, 4)).unwrap());
        let other_power = handle.install(&bytes(6, 5));
        assert!(matches!(
            other_power,
            Err(InstallError::Unfit(ReloadError::PartPower { .. }))
        ));
        assert_eq!(handle.current().version(), 5);
        assert_eq!(std::fs::read(dir.path().join("object.ring.gz")).unwrap(), before);
    }

    #[test]
    fn a_ring_that_an_operator_went_back_from_does_not_return_by_itself() {
        let (dir, handle) = handle(7);
        let path = dir.path().join("object.ring.gz");
        replace(&path, &bytes(6, 4)).unwrap();
        assert!(handle.reload_if_changed().unwrap());
        assert!(matches!(
            handle.install(&bytes(7, 4)),
            Err(InstallError::WentBack {
                version: 7,
                from: 7,
                to: 6
            })
        ));
        assert_eq!(handle.epoch().version, 7, "whoever minds both goes by the newer");
        assert!(handle.install(&bytes(8, 4)).unwrap());
    }

    #[test]
    fn a_ring_whose_file_cannot_be_replaced_is_in_use_all_the_same() {
        let (dir, handle) = handle(1);
        let path = dir.path().join("object.ring.gz");
        std::fs::remove_file(&path).unwrap();
        // a folder that is not empty cannot be replaced by a file, not even by root
        std::fs::create_dir_all(path.join("in the way")).unwrap();
        let fault = handle.install(&bytes(2, 4));
        assert!(
            matches!(fault, Err(InstallError::Unwritten { version: 2, .. })),
            "{fault:?}"
        );
        assert_eq!(handle.current().version(), 2);
        assert_eq!(
            handle
                .to_file()
                .map(|bytes| file::decode(&bytes).unwrap().version())
                .unwrap(),
            2
        );
    }

    #[test]
    fn an_epoch_tells_rings_of_one_version_apart() {
        let (one, other) = (ring(3, 4), ring(3, 5));
        let [one, other] = [one, other].map(|ring| KnownRing::new(ring).id.epoch());
        assert_eq!(one.version, other.version);
        assert_ne!(one, other);
        assert_ne!(one, RingEpoch::NONE);
    }
}
