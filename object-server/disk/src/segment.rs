//! Segments: fixed-size files written once from front to back, then recycled under a new id.
//!
//! [`header`] is the first page of each, [`table`] owns all segments of a device: which exist, whose they are,
//! which are free, and the preparation of spares; `appends` says which kind of spare pays. Called by
//! [`crate::log`], [`crate::reader`] and the object store's compaction. When a segment is dead is the store's
//! decision ([`table::Segments::release`]).

mod appends;
pub mod header;
pub mod table;

/// A sequence of batches with one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stream {
    /// Small objects, tombstones, metadata, commits: every batch synced.
    Hot = 1,
    /// Extents of large objects: synced in larger groups.
    Bulk = 2,
    /// Block writes.
    Block = 3,
    /// Records moved by compaction.
    Gc = 4,
}

impl Stream {
    /// All streams.
    pub const ALL: [Stream; 4] = [Stream::Hot, Stream::Bulk, Stream::Block, Stream::Gc];

    /// The stream with this number on disk.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Stream> {
        Stream::ALL.into_iter().find(|s| *s as u8 == number)
    }

    /// Its name in metrics, logs and index keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stream::Hot => "hot",
            Stream::Bulk => "bulk",
            Stream::Block => "blk",
            Stream::Gc => "gc",
        }
    }
}

/// Where a record is: the descriptor and, unless page-aligned, the payload directly behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locator {
    /// Segment id.
    pub segment: u64,
    /// Offset of the descriptor in the segment, in bytes.
    pub offset: u32,
    /// Bytes of descriptor and payload.
    pub length: u32,
}

/// A place in a stream: how far the index has applied it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Sequence of the last batch before this place; zero at the beginning.
    pub sequence: u64,
    /// Segment of that batch.
    pub segment: u64,
    /// Offset in bytes right behind that batch.
    pub offset: u32,
}

#[cfg(test)]
mod tests;
