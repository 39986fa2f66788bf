//! Verified reads: no payload byte leaves here before its CRC was checked (I3).
//!
//! A read first asks for what the page cache holds, in the calling task; only a miss costs a trip to the
//! device's [`pool::ReadPool`]. Called by the object store. Which record is wanted is the caller's knowledge: it
//! compares [`Record::head`] with what its index says, which catches a misdirected read. Quarantine and repair
//! of damaged records are the caller's.

mod buffers;
pub mod pool;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::decode::{self, Bad};
use crate::batch::record::{BadRecord, Head, NewRecord};
use crate::io::PAGE;
use crate::io::aligned::AlignedBuf;
use crate::segment::Locator;
use crate::segment::table::{Segment, Segments};

use buffers::Buffers;
use pool::{PoolClosed, ReadPool};

/// Records up to this many bytes are read in one piece even for a small range.
const WHOLE: usize = 128 << 10;
/// First guess at a descriptor's length in bytes; metadata of objects is nearly always shorter.
const DESCRIPTOR_GUESS: usize = 4 << 10;

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its segment was released: ask the index again.
    #[error("segment {} is gone", .0.segment)]
    Gone(Locator),
    /// The device failed.
    #[error("the device failed reading segment {}: {error}", .locator.segment)]
    Io {
        /// What was read.
        locator: Locator,
        /// What the device said.
        error: io::Error,
    },
    /// The bytes are damaged, also when read again from the device itself.
    #[error("the record at {} of segment {} is damaged: {why}", .locator.offset, .locator.segment)]
    Damaged {
        /// What was read.
        locator: Locator,
        /// What is wrong.
        why: Bad,
        /// The bytes as found, for quarantine.
        bytes: Bytes,
    },
    /// The range does not lie in the payload.
    #[error("bytes {}..{} of a payload of {payload_len}", .wanted.start, .wanted.end)]
    OutOfRange {
        /// What was asked for.
        wanted: Range<usize>,
        /// Bytes there are.
        payload_len: usize,
    },
    /// The device is being closed.
    #[error(transparent)]
    Closed(#[from] PoolClosed),
}

/// Verified blocks of a record's payload.
#[derive(Clone, Debug)]
pub struct Record {
    head: Head,
    meta: Bytes,
    payload_len: usize,
    first_block: usize,
    blocks: Bytes,
    crcs: Vec<u32>,
    wanted: Range<usize>,
}

impl Record {
    /// The fixed fields; compare key and version with the index.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The metadata bytes.
    #[must_use]
    pub fn meta(&self) -> &Bytes {
        &self.meta
    }

    /// Bytes of the whole payload on disk.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload_len
    }

    /// The payload bytes that were asked for (all of them for [`Reader::record`]).
    #[must_use]
    pub fn payload(&self) -> Bytes {
        let base = self.first_block * self.head.kind.crc_block();
        self.blocks
            .slice(self.wanted.start - base..self.wanted.end - base)
    }

    /// The whole verified blocks that cover [`Record::payload`], each with its CRC as computed at ingest: what a
    /// frame to another node carries.
    pub fn blocks(&self) -> impl Iterator<Item = (Bytes, u32)> {
        let size = self.head.kind.crc_block();
        self.crcs.iter().enumerate().map(move |(index, crc)| {
            let start = index * size;
            (
                self.blocks.slice(start..(start + size).min(self.blocks.len())),
                *crc,
            )
        })
    }

    /// Index of the first of [`Record::blocks`] in the payload.
    #[must_use]
    pub fn first_block(&self) -> usize {
        self.first_block
    }

    /// The same record to be written again, CRCs unchanged; only for a record read whole.
    ///
    /// # Errors
    /// [`BadRecord::CrcCount`] if only a part was read.
    pub fn rewrite(&self) -> Result<NewRecord, BadRecord> {
        let given = self.crcs.len();
        if self.blocks.len() != self.payload_len {
            let needed = self.payload_len.div_ceil(self.head.kind.crc_block());
            return Err(BadRecord::CrcCount { given, needed });
        }
        NewRecord::with_crcs(
            self.head,
            self.meta.clone(),
            self.blocks.clone(),
            self.crcs.iter().copied(),
        )
    }
}

/// The reading side of a device. Clones share the pool.
#[derive(Clone)]
pub struct Reader {
    segments: Arc<Segments>,
    pool: Arc<ReadPool>,
    buffers: Arc<Buffers>,
}

/// How bytes are fetched: one attempt of a read.
enum Way {
    /// Only what needs no waiting.
    Cached,
    /// Through the page cache.
    Buffered,
    /// From the medium.
    Direct,
}

impl Reader {
    /// A reader over the segments of a device, with its own threads.
    #[must_use]
    pub fn new(segments: Arc<Segments>) -> Reader {
        Reader {
            pool: Arc::new(ReadPool::new(pool::THREADS, segments.threads().clone())),
            segments,
            buffers: Arc::default(),
        }
    }

    /// The device's read threads, for other blocking work on the device (index lookups that miss, compaction).
    #[must_use]
    pub fn pool(&self) -> &ReadPool {
        &self.pool
    }

    /// Reads and verifies a whole record.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn record(&self, locator: Locator) -> Result<Record, ReadError> {
        self.read(locator, None).await
    }

    /// Reads and verifies the blocks that cover `wanted` bytes of the payload.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn range(&self, locator: Locator, wanted: Range<usize>) -> Result<Record, ReadError> {
        self.read(locator, Some(wanted)).await
    }

    /// As [`Reader::record`], on the calling thread, which may block on the device.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn record_blocking(&self, locator: Locator) -> Result<Record, ReadError> {
        let segment = self.segment(locator)?;
        patiently(&segment, &self.buffers, locator, None)
    }

    /// As [`Reader::record_blocking`], past the page cache: what the medium itself says.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn record_from_medium(&self, locator: Locator) -> Result<Record, ReadError> {
        let segment = self.segment(locator)?;
        let read = attempt(&segment, &self.buffers, locator, None, &Way::Direct)?;
        read.ok_or_else(|| ReadError::Io {
            locator,
            error: io::ErrorKind::UnexpectedEof.into(),
        })
    }

    fn segment(&self, locator: Locator) -> Result<Arc<Segment>, ReadError> {
        self.segments.get(locator.segment).ok_or(ReadError::Gone(locator))
    }

    async fn read(&self, locator: Locator, wanted: Option<Range<usize>>) -> Result<Record, ReadError> {
        let segment = self.segment(locator)?;
        // Damage seen on the fast path is judged on the slow one, which reads again from the medium.
        if let Ok(Some(record)) = attempt(&segment, &self.buffers, locator, wanted.clone(), &Way::Cached) {
            return Ok(record);
        }
        let buffers = Arc::clone(&self.buffers);
        self.pool
            .run(move || patiently(&segment, &buffers, locator, wanted))
            .await?
    }
}

/// Reads with waiting, and once more from the medium if what came is damaged.
fn patiently(
    segment: &Segment,
    buffers: &Arc<Buffers>,
    locator: Locator,
    wanted: Option<Range<usize>>,
) -> Result<Record, ReadError> {
    for way in [Way::Buffered, Way::Direct] {
        match attempt(segment, buffers, locator, wanted.clone(), &way) {
            Ok(Some(record)) => return Ok(record),
            Ok(None) => {}
            Err(ReadError::Damaged { .. }) if matches!(way, Way::Buffered) => {
                tracing::warn!(
                    segment = segment.id(),
                    offset = locator.offset,
                    "damaged bytes, reading again"
                );
            }
            Err(e) => return Err(e),
        }
    }
    Err(ReadError::Io {
        locator,
        error: io::ErrorKind::UnexpectedEof.into(),
    })
}

/// One attempt; none if the bytes are not at hand.
fn attempt(
    segment: &Segment,
    buffers: &Arc<Buffers>,
    locator: Locator,
    wanted: Option<Range<usize>>,
    way: &Way,
) -> Result<Option<Record>, ReadError> {
    let length = usize::try_from(locator.length).unwrap_or(usize::MAX);
    let io = |error: io::Error| match error.kind() {
        // The file was cut short: its other records are as good as ever.
        io::ErrorKind::UnexpectedEof => ReadError::Damaged {
            locator,
            why: Bad::Short,
            bytes: Bytes::new(),
        },
        _ => ReadError::Io { locator, error },
    };
    let damaged = |why, bytes: &Bytes| ReadError::Damaged {
        locator,
        why,
        bytes: bytes.clone(),
    };
    if wanted.is_none() || length <= WHOLE {
        let Some(bytes) = fetch(segment, buffers, u64::from(locator.offset), length, way).map_err(io)? else {
            return Ok(None);
        };
        let record = decode::descriptor(&bytes).map_err(|why| damaged(why, &bytes))?;
        if record.span() != length || record.head.kind.aligned() {
            return Err(damaged(Bad::Layout, &bytes));
        }
        let wanted = wanted.unwrap_or(0..record.payload_len);
        check_range(&wanted, record.payload_len)?;
        let all = bytes.slice(record.descriptor_len..);
        if !record.verifies(0, &all) {
            return Err(damaged(Bad::Payload(0), &bytes));
        }
        // More was read than asked for; what is handed on covers only that.
        let covering = Covering::of(&wanted, record.head.kind.crc_block(), record.payload_len);
        return Ok(Some(Record {
            head: record.head,
            meta: bytes.slice_ref(record.meta),
            payload_len: record.payload_len,
            first_block: covering.first_block,
            crcs: covering.crcs(record.crcs()),
            blocks: all.slice(covering.bytes),
            wanted,
        }));
    }
    let wanted = wanted.unwrap_or(0..0);
    let Some(bytes) = fetch_descriptor(segment, buffers, locator, way).map_err(io)? else {
        return Ok(None);
    };
    let record = decode::descriptor(&bytes).map_err(|why| damaged(why, &bytes))?;
    if record.span() != length {
        return Err(damaged(Bad::Layout, &bytes));
    }
    check_range(&wanted, record.payload_len)?;
    let covering = Covering::of(&wanted, record.head.kind.crc_block(), record.payload_len);
    let at = u64::from(locator.offset) + (record.descriptor_len + covering.bytes.start) as u64;
    let Some(blocks) = fetch(segment, buffers, at, covering.bytes.len(), way).map_err(io)? else {
        return Ok(None);
    };
    if !record.verifies(covering.first_block, &blocks) {
        return Err(damaged(Bad::Payload(0), &blocks));
    }
    Ok(Some(Record {
        head: record.head,
        meta: bytes.slice_ref(record.meta),
        payload_len: record.payload_len,
        first_block: covering.first_block,
        crcs: covering.crcs(record.crcs()),
        blocks,
        wanted,
    }))
}

/// The whole blocks of a payload that cover a part of it.
struct Covering {
    first_block: usize,
    blocks: usize,
    bytes: Range<usize>,
}

impl Covering {
    /// `wanted` lies in the payload; `size` is that of a block in bytes.
    fn of(wanted: &Range<usize>, size: usize, payload_len: usize) -> Self {
        let first_block = wanted.start / size;
        let start = (first_block * size).min(payload_len);
        let end = wanted.end.next_multiple_of(size).min(payload_len).max(start);
        Self {
            first_block,
            blocks: (end - start).div_ceil(size),
            bytes: start..end,
        }
    }

    fn crcs(&self, all: impl Iterator<Item = u32>) -> Vec<u32> {
        all.skip(self.first_block).take(self.blocks).collect()
    }
}

fn check_range(wanted: &Range<usize>, payload_len: usize) -> Result<(), ReadError> {
    if wanted.start <= wanted.end && wanted.end <= payload_len {
        return Ok(());
    }
    Err(ReadError::OutOfRange {
        wanted: wanted.clone(),
        payload_len,
    })
}

/// Reads a descriptor: a page first, and the rest if its length says that there is more.
fn fetch_descriptor(
    segment: &Segment,
    buffers: &Arc<Buffers>,
    locator: Locator,
    way: &Way,
) -> io::Result<Option<Bytes>> {
    let length = usize::try_from(locator.length).unwrap_or(usize::MAX);
    let at = u64::from(locator.offset);
    let Some(bytes) = fetch(segment, buffers, at, length.min(DESCRIPTOR_GUESS), way)? else {
        return Ok(None);
    };
    let claimed = bytes
        .get(4..8)
        .map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let claimed = usize::try_from(claimed).unwrap_or(usize::MAX);
    if claimed <= bytes.len() || claimed > length {
        return Ok(Some(bytes));
    }
    fetch(segment, buffers, at, claimed, way)
}

fn fetch(
    segment: &Segment,
    buffers: &Arc<Buffers>,
    at: u64,
    len: usize,
    way: &Way,
) -> io::Result<Option<Bytes>> {
    // A locator from a damaged index must not make us allocate gigabytes.
    if at + len as u64 > segment.size() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match way {
        Way::Cached => {
            let mut buf = buffers.take(len);
            let here = segment.file().pread_nowait(buf.as_mut(), at)?;
            Ok(here.then(|| buf.filled()))
        }
        Way::Buffered => {
            let mut buf = buffers.take(len);
            segment.file().pread(buf.as_mut(), at)?;
            Ok(Some(buf.filled()))
        }
        Way::Direct => {
            let lead = usize::try_from(at % PAGE as u64).unwrap_or(0);
            let mut pages = AlignedBuf::zeroed(lead + len);
            segment.file().pread_direct(&mut pages, at - lead as u64)?;
            Ok(Some(Bytes::copy_from_slice(&pages[lead..lead + len])))
        }
    }
}

#[cfg(test)]
mod tests;
