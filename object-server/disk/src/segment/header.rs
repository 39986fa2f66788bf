//! The first page of a segment: whose it is and which life of the file this is.

use crate::io::PAGE;
use crate::io::aligned::AlignedBuf;

use super::Stream;

/// First bytes of a segment.
pub const MAGIC: [u8; 8] = *b"SEGLOG01";
/// Version of the segment format.
pub const VERSION: u16 = 1;

/// Who the device is: mixed into every segment so that files of another device are never taken for ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Device uuid.
    pub device: [u8; 16],
    /// Secret random number of the device, from which each segment's salt is derived.
    pub secret: u64,
}

impl Identity {
    /// The salt of a segment: differs for every id and cannot be computed from the bytes a client sees.
    #[must_use]
    pub fn salt(&self, segment: u64) -> u64 {
        // Two rounds of a 64-bit finaliser over secret and id; guessing needs 2^64 tries, online.
        let mut z = self.secret ^ segment.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for _ in 0..2 {
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z = (z ^ (z >> 31)).wrapping_add(self.secret);
        }
        z
    }
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Its stream; none for a spare.
    pub stream: Option<Stream>,
    /// Uuid of the device it was written on.
    pub device: [u8; 16],
    /// Its id: increasing on a device, never given twice.
    pub id: u64,
    /// Size of the file in bytes, header included.
    pub size: u64,
    /// Hybrid logical clock when it got this id.
    pub created: u64,
}

/// Why the first page of a file is not a header of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// All zeros: a file that was never given an id.
    #[error("blank")]
    Blank,
    /// Wrong magic, CRC, or contents.
    #[error("damaged")]
    Damaged,
    /// A format or a stream that this version does not know.
    #[error("written by a newer version")]
    Newer,
    /// A sound header of another device.
    #[error("belongs to another device")]
    Stranger,
}

impl SegmentHeader {
    /// The page to write.
    #[must_use]
    pub fn encode(&self) -> AlignedBuf {
        let mut page = AlignedBuf::zeroed(PAGE);
        page[0..8].copy_from_slice(&MAGIC);
        page[8..10].copy_from_slice(&VERSION.to_le_bytes());
        page[10] = self.stream.map_or(0, |s| s as u8);
        page[16..32].copy_from_slice(&self.device);
        page[32..40].copy_from_slice(&self.id.to_le_bytes());
        page[40..48].copy_from_slice(&self.size.to_le_bytes());
        page[48..56].copy_from_slice(&self.created.to_le_bytes());
        // Stream and version are read before this CRC is trusted, so it covers them too: bytes 8..12, 16..4096.
        let crc = checksum(&page);
        page[12..16].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// Reads a header from the first page of a file.
    ///
    /// # Errors
    /// See [`BadHeader`].
    pub fn decode(page: &[u8], identity: &Identity) -> Result<SegmentHeader, BadHeader> {
        let page = page.get(..PAGE).ok_or(BadHeader::Damaged)?;
        if page.iter().all(|b| *b == 0) {
            return Err(BadHeader::Blank);
        }
        let u64_at = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&page[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let crc = u32::from_le_bytes([page[12], page[13], page[14], page[15]]);
        if page[0..8] != MAGIC || checksum(page) != crc {
            return Err(BadHeader::Damaged);
        }
        if u16::from_le_bytes([page[8], page[9]]) != VERSION {
            return Err(BadHeader::Newer);
        }
        let stream = match page[10] {
            0 => None,
            number => Some(Stream::from_number(number).ok_or(BadHeader::Newer)?),
        };
        let mut device = [0; 16];
        device.copy_from_slice(&page[16..32]);
        if device != identity.device {
            return Err(BadHeader::Stranger);
        }
        Ok(SegmentHeader {
            stream,
            device,
            id: u64_at(32),
            size: u64_at(40),
            created: u64_at(48),
        })
    }
}

fn checksum(page: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&page[8..12]);
    hasher.update(&page[16..PAGE]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Identity = Identity {
        device: [7; 16],
        secret: 99,
    };

    #[test]
    fn a_header_survives_the_disk_and_any_flipped_bit_is_noticed() {
        let header = SegmentHeader {
            stream: Some(Stream::Bulk),
            device: [7; 16],
            id: 3,
            size: 1 << 20,
            created: 5,
        };
        let page = header.encode();
        assert_eq!(SegmentHeader::decode(&page, &OURS), Ok(header));
        for byte in (0..64).chain([100, 4095]) {
            for bit in 0..8 {
                let mut bad = page.to_vec();
                bad[byte] ^= 1 << bit;
                assert_eq!(
                    SegmentHeader::decode(&bad, &OURS),
                    Err(BadHeader::Damaged),
                    "byte {byte} bit {bit}"
                );
            }
        }
        let other = Identity {
            device: [8; 16],
            secret: 99,
        };
        assert_eq!(SegmentHeader::decode(&page, &other), Err(BadHeader::Stranger));
        assert_eq!(SegmentHeader::decode(&[0; PAGE], &OURS), Err(BadHeader::Blank));
    }

    #[test]
    fn salts_differ_by_segment_and_by_device() {
        let salts: std::collections::BTreeSet<u64> = (0..1000).map(|id| OURS.salt(id)).collect();
        assert_eq!(salts.len(), 1000);
        assert_ne!(
            OURS.salt(1),
            Identity {
                device: [7; 16],
                secret: 98
            }
            .salt(1)
        );
    }

    #[test]
    fn salts_of_version_1_never_change() {
        // Without them no batch of an existing device would be taken for its own.
        let salts = [0, 1, 7].map(|segment| OURS.salt(segment));
        assert_eq!(
            salts,
            [
                0xa557_096f_3396_99c6,
                0x2fc3_87b9_7605_1960,
                0xc01b_cefb_cbd4_91e8
            ]
        );
    }
}
