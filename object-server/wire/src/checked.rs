//! Bytes that carry the checksums they were received with.
//!
//! A body is cut into blocks of [`BLOCK`] bytes; each has a CRC-32 computed
//! once, where the bytes enter (the proxy), stored beside them and checked
//! again wherever they are read (invariant I3).
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes covered by one CRC-32.
pub const BLOCK: usize = 64 * 1024;
/// Largest piece of a body in one message, and one extent of a large object:
/// a multiple of [`BLOCK`].
pub const EXTENT: usize = 1024 * 1024;

/// A piece of a body that starts on a block boundary of its object, with one
/// CRC-32 for every [`BLOCK`] bytes (the last block may be short).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Checked {
    data: Bytes,
    crcs: Vec<u32>,
    /// Known only in the process that hashed these very bytes.
    #[serde(skip)]
    hashed: Option<Hashed>,
}

/// What BLAKE3 says of a piece. It stays with the bytes inside a process, where
/// they cannot change (a [`Bytes`] is immutable), and never crosses a wire: who
/// gets bytes from elsewhere hashes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashed {
    /// The hash of the piece, which is a whole object.
    Object([u8; 32]),
    /// The subtree value ([`crate::tree`]) of the piece, which is a whole extent.
    Extent {
        /// Number of the extent in its object.
        index: u64,
        /// Its value.
        value: [u8; 32],
    },
}

/// Bytes did not match their checksum, or the number of checksums is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("block {block} does not match its checksum")]
pub struct Mismatch {
    /// Index of the first bad block within the piece.
    pub block: usize,
}

impl Checked {
    /// Computes the checksums of `data`: for bytes that enter here.
    pub fn seal(data: Bytes) -> Self {
        let crcs = data.chunks(BLOCK).map(crc32fast::hash).collect();
        Self {
            data,
            crcs,
            hashed: None,
        }
    }

    /// As [`Checked::seal`], for bytes that were just hashed.
    pub fn seal_hashed(data: Bytes, hashed: Hashed) -> Self {
        Self {
            hashed: Some(hashed),
            ..Self::seal(data)
        }
    }

    /// Puts stored checksums beside bytes that were just read; call
    /// [`Checked::verify`] before anyone uses them.
    pub fn unverified(data: Bytes, crcs: Vec<u32>) -> Self {
        Self {
            data,
            crcs,
            hashed: None,
        }
    }

    /// What BLAKE3 says of the bytes, if they were hashed in this process.
    pub fn hashed(&self) -> Option<Hashed> {
        self.hashed
    }

    /// Checks every block.
    ///
    /// # Errors
    /// The first block that does not match.
    pub fn verify(&self) -> Result<(), Mismatch> {
        let blocks = self.data.len().div_ceil(BLOCK);
        if self.crcs.len() != blocks {
            return Err(Mismatch {
                block: blocks.min(self.crcs.len()),
            });
        }
        for (block, (bytes, crc)) in self.data.chunks(BLOCK).zip(&self.crcs).enumerate() {
            if crc32fast::hash(bytes) != *crc {
                return Err(Mismatch { block });
            }
        }
        Ok(())
    }

    /// The bytes, verified or not.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The bytes, taken out (a refcount, no copy).
    pub fn into_data(self) -> Bytes {
        self.data
    }

    /// One CRC-32 a block.
    pub fn crcs(&self) -> &[u32] {
        &self.crcs
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_in_any_block_is_named() {
        let good = Checked::seal(Bytes::from(vec![7u8; BLOCK * 2 + 5]));
        assert_eq!(good.verify(), Ok(()));
        for at in [0, BLOCK, BLOCK * 2 + 4] {
            let mut bytes = good.data().to_vec();
            bytes[at] ^= 1;
            let bad = Checked::unverified(bytes.into(), good.crcs().to_vec());
            assert_eq!(bad.verify(), Err(Mismatch { block: at / BLOCK }));
        }
    }

    #[test]
    fn a_missing_or_extra_checksum_is_a_mismatch() {
        let data = Bytes::from_static(b"abc");
        assert!(Checked::unverified(data.clone(), vec![]).verify().is_err());
        let crc = crc32fast::hash(&data);
        assert!(Checked::unverified(data, vec![crc, crc]).verify().is_err());
        assert_eq!(Checked::seal(Bytes::new()).verify(), Ok(()));
    }
}
