//! The bytes of a batch: the unit of write, of sync, of torn-write detection and of replay.
//!
//! [`encode`] lays records out in an aligned buffer (one copy per payload), [`decode`] is a pure function over a
//! slice that allocates nothing and believes nothing before its CRC has passed; it is fuzzed. Called by
//! [`crate::log`] and [`crate::reader`]. What metadata bytes mean is the caller's business. Layout:
//! `docs/formats/segment.md`.

pub mod decode;
pub mod encode;
pub mod record;

/// First bytes of a batch.
pub const MAGIC: u32 = u32::from_le_bytes(*b"BTCH");
/// Bytes of a batch header; the first record follows.
pub const HEADER_LEN: usize = 64;
/// Longest batch in bytes: bounds the committer's buffer and the time one sync can take.
pub const MAX_BATCH: usize = 4 << 20;
/// Most records in a batch: bounds one index write.
pub const MAX_RECORDS: usize = 1024;
/// Longest payload of a record in bytes: an extent of a large object is exactly this.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Longest metadata of a record in bytes: a commit record lists 5120 scattered extents in a tenth of it.
pub const MAX_META: usize = 1 << 20;
/// Payload bytes under one CRC, except for block writes.
pub const CRC_BLOCK: usize = 64 << 10;
/// Payload bytes under one CRC of a block write.
pub const CRC_BLOCK_WRITE: usize = 4 << 10;

/// Header of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Segment it was written to; stale content of a recycled file names another.
    pub segment: u64,
    /// Position in its stream: one more than the batch before, across segments.
    pub sequence: u64,
    /// Highest sequence of the stream known durable when this batch was built; zero for none.
    pub durable_upto: u64,
    /// Length in bytes, a multiple of the page.
    pub length: u32,
    /// Number of records.
    pub records: u32,
    /// Hybrid logical clock when it was built.
    pub hlc: u64,
    /// Stream number (see [`crate::segment::Stream`]).
    pub stream: u8,
    /// True if the segment has no room for another batch.
    pub last: bool,
    /// The segment's salt: payload bytes, which strangers choose, cannot pass for a batch without knowing it.
    pub salt: u64,
}

#[cfg(test)]
mod tests;
