//! Lays a batch out in an aligned buffer: header, then each descriptor with its payload behind it, then the
//! page-aligned payloads of block writes.

use crate::io::PAGE;
use crate::io::aligned::AlignedBuf;

use super::record::{DESCRIPTOR_LEN, NewRecord};
use super::{BatchHeader, HEADER_LEN, MAGIC, MAX_BATCH, MAX_RECORDS};

/// How large a batch is, counted while records are chosen for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    inline: usize,
    aligned: usize,
    records: usize,
}

impl Default for BatchSize {
    fn default() -> BatchSize {
        BatchSize {
            inline: HEADER_LEN,
            aligned: 0,
            records: 0,
        }
    }
}

impl BatchSize {
    /// The size with one more record behind.
    #[must_use]
    pub fn with(self, record: &NewRecord) -> BatchSize {
        let aligned = if record.head().kind.aligned() {
            pages(record.payload_len())
        } else {
            0
        };
        BatchSize {
            inline: self.inline.next_multiple_of(8) + record.span(),
            aligned: self.aligned + aligned,
            records: self.records + 1,
        }
    }

    /// Bytes of the whole batch, in whole pages.
    #[must_use]
    pub fn bytes(self) -> usize {
        pages(self.inline) + self.aligned
    }

    /// Records counted.
    #[must_use]
    pub fn records(self) -> usize {
        self.records
    }

    /// True if a batch of this size is allowed.
    #[must_use]
    pub fn fits(self) -> bool {
        self.bytes() <= MAX_BATCH && self.records <= MAX_RECORDS
    }
}

fn pages(bytes: usize) -> usize {
    bytes.next_multiple_of(PAGE)
}

/// Where a record landed in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Offset of the descriptor from the batch start, in bytes.
    pub offset: u32,
    /// Bytes of the descriptor and, unless aligned, the payload behind it.
    pub length: u32,
}

/// Writes a batch of `records` into `out` and appends where each landed to `spots`. Length and number of
/// records of `header` are filled in here; its other fields are taken as they are.
///
/// The caller has checked [`BatchSize::fits`] and gives a buffer of at least [`BatchSize::bytes`]; a smaller
/// buffer is replaced.
pub fn encode<'r>(
    mut header: BatchHeader,
    records: impl Iterator<Item = &'r NewRecord> + Clone,
    out: &mut AlignedBuf,
    spots: &mut Vec<Spot>,
) -> BatchHeader {
    let size = records.clone().fold(BatchSize::default(), BatchSize::with);
    debug_assert!(size.fits(), "{size:?}");
    if out.capacity() < size.bytes() {
        *out = AlignedBuf::with_capacity(size.bytes());
    }
    out.set_len(size.bytes());
    header.length = to_u32(size.bytes());
    header.records = to_u32(size.records);

    let mut at = HEADER_LEN;
    let mut aligned_at = pages(size.inline);
    for record in records {
        let start = at.next_multiple_of(8);
        out[at..start].fill(0);
        let descriptor_end = start + record.descriptor_len();
        let payload_at = if record.head().kind.aligned() {
            aligned_at
        } else {
            descriptor_end
        };
        descriptor(&mut out[start..descriptor_end], record, payload_at);
        let mut end = payload_at;
        for piece in record.payload().pieces() {
            out[end..end + piece.len()].copy_from_slice(piece);
            end += piece.len();
        }
        at = descriptor_end;
        if record.head().kind.aligned() {
            aligned_at = pages(end);
            out[end..aligned_at].fill(0);
        } else {
            at = end;
        }
        spots.push(Spot {
            offset: to_u32(start),
            length: to_u32(record.span()),
        });
    }
    let inline_end = pages(at);
    out[at..inline_end].fill(0);
    write_header(&header, &mut out[..HEADER_LEN]);
    header
}

/// Writes the header's bytes, CRC included, into the first [`HEADER_LEN`] bytes of `out`.
pub fn write_header(header: &BatchHeader, out: &mut [u8]) {
    let flags = u32::from(header.last) | u32::from(header.stream) << 8;
    out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    out[8..16].copy_from_slice(&header.segment.to_le_bytes());
    out[16..24].copy_from_slice(&header.sequence.to_le_bytes());
    out[24..32].copy_from_slice(&header.durable_upto.to_le_bytes());
    out[32..36].copy_from_slice(&header.length.to_le_bytes());
    out[36..40].copy_from_slice(&header.records.to_le_bytes());
    out[40..48].copy_from_slice(&header.hlc.to_le_bytes());
    out[48..52].copy_from_slice(&flags.to_le_bytes());
    out[52..56].fill(0);
    out[56..64].copy_from_slice(&header.salt.to_le_bytes());
    let crc = crc32fast::hash(&out[8..HEADER_LEN]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn descriptor(out: &mut [u8], record: &NewRecord, payload_at: usize) {
    let head = record.head();
    let crcs = record.crc_count();
    let descriptor_len = to_u32(out.len());
    out[4..8].copy_from_slice(&descriptor_len.to_le_bytes());
    out[8] = head.kind as u8;
    out[9] = u8::from(head.kind.aligned()) | u8::from(head.settled) << 1;
    // At most 1 MiB of payload in blocks of 4 KiB: 256.
    out[10..12].copy_from_slice(&u16::try_from(crcs).unwrap_or(u16::MAX).to_le_bytes());
    out[12..16].copy_from_slice(&head.partition.to_le_bytes());
    out[16..32].copy_from_slice(&head.key);
    out[32..40].copy_from_slice(&head.version.to_le_bytes());
    out[40..48].copy_from_slice(&head.size.to_le_bytes());
    out[48..52].copy_from_slice(&to_u32(payload_at).to_le_bytes());
    out[52..56].copy_from_slice(&to_u32(record.payload_len()).to_le_bytes());
    out[56..60].copy_from_slice(&to_u32(record.meta().len()).to_le_bytes());
    out[60..64].copy_from_slice(&head.policy.to_le_bytes());
    out[64..96].copy_from_slice(&head.blake3);
    let meta_at = DESCRIPTOR_LEN + 4 * crcs;
    for (slot, crc) in out[DESCRIPTOR_LEN..meta_at]
        .chunks_exact_mut(4)
        .zip(record.crcs())
    {
        slot.copy_from_slice(&crc.to_le_bytes());
    }
    out[meta_at..].copy_from_slice(record.meta());
    let crc = crc32fast::hash(&out[4..]);
    out[0..4].copy_from_slice(&crc.to_le_bytes());
}

/// Every length here is at most [`MAX_BATCH`], which the caller has checked.
fn to_u32(n: usize) -> u32 {
    debug_assert!(n <= MAX_BATCH);
    u32::try_from(n).unwrap_or(u32::MAX)
}
