//! Reads a batch from bytes that may be anything: pure, allocation-free, every length checked first.

use crate::io::PAGE;

use super::record::{DESCRIPTOR_LEN, Head, Kind, RecordView};
use super::{BatchHeader, HEADER_LEN, MAGIC, MAX_BATCH, MAX_META, MAX_PAYLOAD, MAX_RECORDS};

/// Why bytes are not a batch of the segment they were read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// The slice ends before the structure does.
    #[error("cut short")]
    Short,
    /// Not the first bytes of a batch.
    #[error("no batch starts here")]
    Magic,
    /// The header does not match its CRC.
    #[error("batch header fails its CRC")]
    HeaderCrc,
    /// A batch of another segment, or of this file's earlier life.
    #[error("a batch of another segment")]
    Stranger,
    /// Lengths or counts of the header contradict each other, or bytes that must be zero are not.
    #[error("batch layout contradicts itself")]
    Layout,
    /// A descriptor fails its CRC or contradicts itself.
    #[error("descriptor at {0} is damaged")]
    Descriptor(usize),
    /// A payload fails one of its CRCs.
    #[error("payload of the record at {0} is damaged")]
    Payload(usize),
    /// Sound by its CRC, but of a kind this version does not know: the device was written by a newer one.
    #[error("record kind {0} is newer than this version")]
    Newer(u8),
}

/// Which segment a batch must say it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Segment id.
    pub segment: u64,
    /// The segment's salt.
    pub salt: u64,
}

/// A verified batch.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Its header.
    pub header: BatchHeader,
    bytes: &'a [u8],
}

/// A record inside a batch.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Offset of its descriptor from the batch start, in bytes.
    pub offset: usize,
    /// Its descriptor.
    pub record: RecordView<'a>,
    /// Its payload.
    pub payload: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The records in order.
    pub fn records(&self) -> impl Iterator<Item = Found<'a>> + use<'a> {
        // Decoding walked them all already, so nothing is dropped here.
        Walk::new(&self.header, self.bytes).map_while(Result::ok)
    }

    /// Bytes of the batch.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn len_at(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u32_at(bytes, at)).unwrap_or(usize::MAX)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// Reads a batch header from the start of `bytes` and checks it against its CRC and against itself.
///
/// # Errors
/// [`Bad::Short`], [`Bad::Magic`], [`Bad::HeaderCrc`] or [`Bad::Layout`].
pub fn header(bytes: &[u8]) -> Result<BatchHeader, Bad> {
    let bytes = bytes.get(..HEADER_LEN).ok_or(Bad::Short)?;
    if u32_at(bytes, 0) != MAGIC {
        return Err(Bad::Magic);
    }
    if crc32fast::hash(&bytes[8..]) != u32_at(bytes, 4) {
        return Err(Bad::HeaderCrc);
    }
    let flags = u32_at(bytes, 48);
    let header = BatchHeader {
        segment: u64_at(bytes, 8),
        sequence: u64_at(bytes, 16),
        durable_upto: u64_at(bytes, 24),
        length: u32_at(bytes, 32),
        records: u32_at(bytes, 36),
        hlc: u64_at(bytes, 40),
        stream: array_at::<1>(bytes, 49)[0],
        last: flags & 1 == 1,
        salt: u64_at(bytes, 56),
    };
    let length = len_at(bytes, 32);
    let sane = (PAGE..=MAX_BATCH).contains(&length)
        && length.is_multiple_of(PAGE)
        && header.records >= 1
        && len_at(bytes, 36) <= MAX_RECORDS
        && header.sequence > header.durable_upto
        && u32_at(bytes, 52) == 0
        && flags & !0xff01 == 0;
    if sane { Ok(header) } else { Err(Bad::Layout) }
}

/// Reads and verifies the batch at the start of `bytes` (which may go on behind it): header, every descriptor,
/// every payload, and that all padding is zero.
///
/// # Errors
/// The first thing found wrong.
pub fn decode(bytes: &[u8], expect: Expect) -> Result<Batch<'_>, Bad> {
    let header = header(bytes)?;
    if header.segment != expect.segment || header.salt != expect.salt {
        return Err(Bad::Stranger);
    }
    let bytes = bytes.get(..len_at(bytes, 32)).ok_or(Bad::Short)?;
    let mut walk = Walk::new(&header, bytes);
    for found in walk.by_ref() {
        let found = found?;
        if !found.record.verifies(0, found.payload) {
            return Err(Bad::Payload(found.offset));
        }
    }
    walk.check_end()?;
    Ok(Batch { header, bytes })
}

/// What can still be used of a batch whose header is good and whose body is not.
///
/// Walking stops at the first bad descriptor: what follows cannot be found without guessing, and a guess could
/// take payload bytes, which strangers choose, for a record.
pub fn salvage<'a>(header: &BatchHeader, bytes: &'a [u8]) -> impl Iterator<Item = Result<Found<'a>, Bad>> {
    let length = usize::try_from(header.length)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    Walk::new(header, &bytes[..length]).map(|found| {
        let found = found?;
        if found.record.verifies(0, found.payload) {
            Ok(found)
        } else {
            Err(Bad::Payload(found.offset))
        }
    })
}

/// Length that a descriptor beginning with `bytes` says it has, if that can be.
#[must_use]
pub fn descriptor_len(bytes: &[u8]) -> Option<usize> {
    let bytes = bytes.get(..DESCRIPTOR_LEN)?;
    let length = len_at(bytes, 4);
    (DESCRIPTOR_LEN..=MAX_BATCH).contains(&length).then_some(length)
}

/// Reads the descriptor at the start of `bytes` (the payload may follow).
///
/// # Errors
/// [`Bad::Short`] if `bytes` end before the descriptor, [`Bad::Newer`] for an unknown kind, otherwise
/// [`Bad::Descriptor`] with offset zero.
pub fn descriptor(bytes: &[u8]) -> Result<RecordView<'_>, Bad> {
    let damaged = Bad::Descriptor(0);
    if bytes.len() < DESCRIPTOR_LEN {
        return Err(Bad::Short);
    }
    let descriptor_len = descriptor_len(bytes).ok_or(damaged)?;
    let bytes = bytes.get(..descriptor_len).ok_or(Bad::Short)?;
    if crc32fast::hash(&bytes[4..]) != u32_at(bytes, 0) {
        return Err(damaged);
    }
    let kind = Kind::from_number(bytes[8]).ok_or(Bad::Newer(bytes[8]))?;
    let (payload_len, meta_len) = (len_at(bytes, 52), len_at(bytes, 56));
    let crcs = usize::from(u16_at(bytes, 10));
    let meta_at = DESCRIPTOR_LEN + 4 * crcs;
    let settled = bytes[9] & 2 != 0;
    let sane = bytes[9] & !2 == u8::from(kind.aligned())
        && payload_len <= MAX_PAYLOAD
        && meta_len <= MAX_META
        && crcs == payload_len.div_ceil(kind.crc_block())
        && meta_at + meta_len == descriptor_len;
    if !sane {
        return Err(damaged);
    }
    Ok(RecordView {
        head: Head {
            kind,
            policy: u32_at(bytes, 60),
            partition: u32_at(bytes, 12),
            key: array_at(bytes, 16),
            version: u64_at(bytes, 32),
            size: u64_at(bytes, 40),
            blake3: array_at(bytes, 64),
            settled,
        },
        meta: &bytes[meta_at..],
        crc_bytes: &bytes[DESCRIPTOR_LEN..meta_at],
        descriptor_len,
        payload_offset: u32_at(bytes, 48),
        payload_len,
    })
}

/// Steps through the records of a batch, checking layout and descriptors but not payloads.
struct Walk<'a> {
    bytes: &'a [u8],
    left: u32,
    /// End of the last descriptor or inline payload.
    inline_end: usize,
    /// Start of the first and end of the last page-aligned payload.
    aligned: Option<(usize, usize)>,
    stopped: bool,
}

impl<'a> Walk<'a> {
    fn new(header: &BatchHeader, bytes: &'a [u8]) -> Walk<'a> {
        Walk {
            bytes,
            left: header.records,
            inline_end: HEADER_LEN,
            aligned: None,
            stopped: false,
        }
    }

    fn step(&mut self) -> Result<Found<'a>, Bad> {
        let offset = self.inline_end.next_multiple_of(8);
        let gap = self.bytes.get(self.inline_end..offset).ok_or(Bad::Short)?;
        let record = descriptor(&self.bytes[offset..]).map_err(|bad| match bad {
            Bad::Newer(kind) => Bad::Newer(kind),
            _ => Bad::Descriptor(offset),
        })?;
        let descriptor_end = offset + record.descriptor_len;
        let start = usize::try_from(record.payload_offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(record.payload_len);
        let payload = self.bytes.get(start..end).ok_or(Bad::Descriptor(offset))?;
        if record.head.kind.aligned() {
            let (first, last) = self.aligned.unwrap_or((start, start));
            let pad = self
                .bytes
                .get(end..end.next_multiple_of(PAGE))
                .ok_or(Bad::Descriptor(offset))?;
            if !start.is_multiple_of(PAGE) || start != last || pad.iter().any(|b| *b != 0) {
                return Err(Bad::Layout);
            }
            self.aligned = Some((first, end.next_multiple_of(PAGE)));
            self.inline_end = descriptor_end;
        } else {
            if start != descriptor_end {
                return Err(Bad::Layout);
            }
            self.inline_end = end;
        }
        if gap.iter().any(|b| *b != 0) {
            return Err(Bad::Layout);
        }
        Ok(Found {
            offset,
            record,
            payload,
        })
    }

    /// After the last record: the parts meet and nothing but zeros is left.
    fn check_end(&self) -> Result<(), Bad> {
        let inline_pages = self.inline_end.next_multiple_of(PAGE);
        let (first, end) = self.aligned.unwrap_or((inline_pages, inline_pages));
        let padding = self.bytes.get(self.inline_end..inline_pages).ok_or(Bad::Layout)?;
        if first != inline_pages || end != self.bytes.len() || padding.iter().any(|b| *b != 0) {
            return Err(Bad::Layout);
        }
        Ok(())
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<Found<'a>, Bad>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 || self.stopped {
            return None;
        }
        self.left -= 1;
        let found = self.step();
        self.stopped = found.is_err();
        Some(found)
    }
}
