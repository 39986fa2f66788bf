//! A record: what is about to be written ([`NewRecord`]) and what was found ([`RecordView`]).
//!
//! Both start with the same fixed fields, [`Head`].

use bytes::Bytes;

use super::{CRC_BLOCK, CRC_BLOCK_WRITE, MAX_META, MAX_PAYLOAD};

/// Fixed bytes of a descriptor, before CRCs and metadata.
pub const DESCRIPTOR_LEN: usize = 96;

/// What a record is. Numbers are on disk; a number not listed comes from a newer version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A whole object of at most 1 MiB.
    Object = 1,
    /// A piece of a larger object.
    Extent = 2,
    /// Makes the extents of a larger object an object.
    Commit = 3,
    /// The object is deleted.
    Tombstone = 4,
    /// New metadata of an object (POST).
    Meta = 5,
    /// Commit of an erasure-coded fragment.
    Fragment = 6,
    /// Confirms that enough fragments are durable.
    Confirm = 7,
    /// Write of whole blocks of a volume; the payload is page-aligned.
    Write = 8,
    /// Blocks of a volume become holes.
    Trim = 9,
    /// Fence, fork point or snapshot of a volume.
    Volume = 10,
}

impl Kind {
    /// The kind with this number, if this version knows it.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Kind> {
        Some(match number {
            1 => Kind::Object,
            2 => Kind::Extent,
            3 => Kind::Commit,
            4 => Kind::Tombstone,
            5 => Kind::Meta,
            6 => Kind::Fragment,
            7 => Kind::Confirm,
            8 => Kind::Write,
            9 => Kind::Trim,
            10 => Kind::Volume,
            _ => return None,
        })
    }

    /// Payload bytes under one CRC.
    #[must_use]
    pub fn crc_block(self) -> usize {
        if self == Kind::Write {
            CRC_BLOCK_WRITE
        } else {
            CRC_BLOCK
        }
    }

    /// True if payloads of this kind stand page-aligned at the end of the batch.
    #[must_use]
    pub fn aligned(self) -> bool {
        self == Kind::Write
    }
}

/// The fixed fields of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// Storage policy of an object, which says its ring; zero for block kinds.
    pub policy: u32,
    /// Ring partition.
    pub partition: u32,
    /// Object name hash, or volume id.
    pub key: [u8; 16],
    /// HLC of an object; generation and counter of a block write.
    pub version: u64,
    /// Object size in bytes; of an extent its offset in the object; of a block record the offset in the volume.
    pub size: u64,
    /// BLAKE3 root of an object or commit, subtree value of an extent, zero for block kinds.
    pub blake3: [u8; 32],
    /// Copied from another replica which owed nobody a container row for it: so nor does this device.
    pub settled: bool,
}

/// Payload of a new record: one or more refcounted pieces, copied once into the batch.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    first: Bytes,
    rest: Vec<Bytes>,
}

impl Payload {
    /// Bytes in all pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.first.len() + self.rest.iter().map(Bytes::len).sum::<usize>()
    }

    /// True if there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(&self.rest)
    }
}

impl From<Bytes> for Payload {
    fn from(first: Bytes) -> Payload {
        Payload {
            first,
            rest: Vec::new(),
        }
    }
}

impl From<Vec<Bytes>> for Payload {
    fn from(mut pieces: Vec<Bytes>) -> Payload {
        match pieces.len() {
            0 => Payload::default(),
            1 => Payload::from(pieces.swap_remove(0)),
            _ => Payload {
                first: Bytes::new(),
                rest: pieces,
            },
        }
    }
}

/// Why a record cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// More payload than a record can carry.
    #[error("payload of {0} bytes, at most {MAX_PAYLOAD} fit a record")]
    PayloadTooLong(usize),
    /// More metadata than a record can carry.
    #[error("metadata of {0} bytes, at most {MAX_META} fit a record")]
    MetaTooLong(usize),
    /// The caller's CRCs are not one per block.
    #[error("{given} payload CRCs given, {needed} needed")]
    CrcCount {
        /// How many came.
        given: usize,
        /// How many the payload has blocks.
        needed: usize,
    },
}

/// A record to be written. Cheap to move and to clone: payload and metadata are refcounted.
#[derive(Clone, Debug)]
pub struct NewRecord {
    head: Head,
    meta: Bytes,
    payload: Payload,
    payload_len: usize,
    /// CRC of the first block apart from the others, so that a small record needs no list.
    first_crc: u32,
    more_crcs: Vec<u32>,
}

impl NewRecord {
    /// A record whose payload CRCs are computed here: call it in the submitting task, not in the committer.
    ///
    /// # Errors
    /// If payload or metadata pass their bounds.
    pub fn new(head: Head, meta: Bytes, payload: impl Into<Payload>) -> Result<NewRecord, BadRecord> {
        let payload = payload.into();
        let payload_len = check_lengths(&meta, &payload)?;
        let block = head.kind.crc_block();
        let mut record = NewRecord {
            head,
            meta,
            payload,
            payload_len,
            first_crc: 0,
            more_crcs: Vec::new(),
        };
        let mut crcs = Vec::new();
        if payload_len <= block {
            let mut hasher = crc32fast::Hasher::new();
            record.payload.pieces().for_each(|piece| hasher.update(piece));
            record.first_crc = hasher.finalize();
        } else {
            let (mut hasher, mut filled) = (crc32fast::Hasher::new(), 0);
            for mut piece in record.payload.pieces().map(|p| &p[..]) {
                while !piece.is_empty() {
                    let (now, later) = piece.split_at(piece.len().min(block - filled));
                    hasher.update(now);
                    filled += now.len();
                    piece = later;
                    if filled == block {
                        crcs.push(std::mem::take(&mut hasher).finalize());
                        filled = 0;
                    }
                }
            }
            if filled > 0 {
                crcs.push(hasher.finalize());
            }
            record.first_crc = crcs.remove(0);
            record.more_crcs = crcs;
        }
        Ok(record)
    }

    /// A record whose payload CRCs were computed elsewhere (frames off the network, a record copied by
    /// compaction) and travel on unchanged, so that damage on the way is found by whoever reads. The caller
    /// vouches that they matched when the bytes arrived.
    ///
    /// # Errors
    /// If payload or metadata pass their bounds, or there is not one CRC per block.
    pub fn with_crcs(
        head: Head,
        meta: Bytes,
        payload: impl Into<Payload>,
        crcs: impl IntoIterator<Item = u32>,
    ) -> Result<NewRecord, BadRecord> {
        let payload = payload.into();
        let payload_len = check_lengths(&meta, &payload)?;
        let mut crcs = crcs.into_iter();
        let first = crcs.next();
        let more_crcs: Vec<u32> = crcs.collect();
        let given = usize::from(first.is_some()) + more_crcs.len();
        let needed = payload_len.div_ceil(head.kind.crc_block());
        if given != needed {
            return Err(BadRecord::CrcCount { given, needed });
        }
        Ok(NewRecord {
            head,
            meta,
            payload,
            payload_len,
            first_crc: first.unwrap_or(0),
            more_crcs,
        })
    }

    /// The fixed fields.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The metadata bytes.
    #[must_use]
    pub fn meta(&self) -> &Bytes {
        &self.meta
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Bytes of payload.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload_len
    }

    /// CRCs of the payload blocks in order.
    pub fn crcs(&self) -> impl Iterator<Item = u32> {
        let first = (self.payload_len > 0).then_some(self.first_crc);
        first.into_iter().chain(self.more_crcs.iter().copied())
    }

    /// Number of payload CRCs.
    #[must_use]
    pub fn crc_count(&self) -> usize {
        usize::from(self.payload_len > 0) + self.more_crcs.len()
    }

    /// Bytes of the descriptor: fixed fields, CRCs and metadata.
    #[must_use]
    pub fn descriptor_len(&self) -> usize {
        DESCRIPTOR_LEN + 4 * self.crc_count() + self.meta.len()
    }

    /// Bytes a locator of this record spans: the descriptor and, unless aligned, the payload behind it.
    #[must_use]
    pub fn span(&self) -> usize {
        self.descriptor_len()
            + if self.head.kind.aligned() {
                0
            } else {
                self.payload_len
            }
    }
}

fn check_lengths(meta: &Bytes, payload: &Payload) -> Result<usize, BadRecord> {
    let len = payload.len();
    if len > MAX_PAYLOAD {
        return Err(BadRecord::PayloadTooLong(len));
    }
    if meta.len() > MAX_META {
        return Err(BadRecord::MetaTooLong(meta.len()));
    }
    Ok(len)
}

/// A record found in bytes, its descriptor verified.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// The fixed fields.
    pub head: Head,
    /// The metadata bytes.
    pub meta: &'a [u8],
    /// Little-endian CRCs of the payload blocks; see [`RecordView::crcs`].
    pub(super) crc_bytes: &'a [u8],
    /// Bytes from the start of the descriptor to its end.
    pub descriptor_len: usize,
    /// Payload offset from the batch start, in bytes.
    pub payload_offset: u32,
    /// Payload length in bytes.
    pub payload_len: usize,
}

impl<'a> RecordView<'a> {
    /// CRCs of the payload blocks in order.
    pub fn crcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.crc_bytes
            .chunks_exact(4)
            .map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]))
    }

    /// Checks `bytes`, which hold the payload from block `first_block` on (whole blocks, or up to the end).
    #[must_use]
    pub fn verifies(&self, first_block: usize, bytes: &[u8]) -> bool {
        let block = self.head.kind.crc_block();
        let blocks = bytes.len().div_ceil(block);
        first_block + blocks <= self.crc_bytes.len() / 4
            && self
                .crcs()
                .skip(first_block)
                .zip(bytes.chunks(block))
                .all(|(crc, b)| crc32fast::hash(b) == crc)
    }

    /// Bytes a locator of this record spans: the descriptor and, unless aligned, the payload behind it.
    #[must_use]
    pub fn span(&self) -> usize {
        self.descriptor_len
            + if self.head.kind.aligned() {
                0
            } else {
                self.payload_len
            }
    }
}
