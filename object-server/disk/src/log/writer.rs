//! Puts batches into segments: rolls to a new segment when one is full, and moves what is not yet durable to
//! another segment when a write or a sync fails.
//!
//! No threads here, so that crash tests drive it step by step. A segment that failed is never written or synced
//! again (I4): its pages may count as clean without being on the medium.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::batch::BatchHeader;
use crate::batch::encode::{self, BatchSize, Spot};
use crate::batch::record::NewRecord;
use crate::io::PAGE;
use crate::io::aligned::AlignedBuf;
use crate::segment::table::{Segment, Segments, TakeError};
use crate::segment::{Locator, Position, Stream};

/// The buffer between bursts, in bytes: a 4 MiB buffer per stream would be most of an idle process.
const IDLE_BUFFER: usize = 256 << 10;

/// Where a stream stands: the end that recovery found.
pub(super) struct Tail {
    /// Sequence of the last batch.
    pub sequence: u64,
    /// Segment to go on in, if its rest is provably free of this stream's batches, and the offset in it.
    pub open: Option<(Arc<Segment>, u64)>,
}

/// Why a batch could not be made durable.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// No segment to be had; nothing was written, the stream is as before.
    #[error("the device is full")]
    Full,
    /// Writing failed, and so did the second try in another segment.
    #[error("{0}")]
    Failed(String),
}

/// Something that carries a record: the committer's pending entry, or a bare record in tests.
pub(super) trait Carries {
    fn record(&self) -> &NewRecord;
}

/// A batch that was written.
pub(super) struct Written<T> {
    /// What it carries, in order.
    pub items: Vec<T>,
    pub sequence: u64,
    segment: u64,
    start: u64,
    length: usize,
    spots: Vec<Spot>,
}

impl<T: Carries> Written<T> {
    /// Bytes on disk.
    pub fn len(&self) -> usize {
        self.length
    }

    /// The place right behind it.
    pub fn end(&self) -> Position {
        Position {
            sequence: self.sequence,
            segment: self.segment,
            offset: offset(self.start + self.length as u64),
        }
    }

    /// Where each item is, in order.
    pub fn locators(&self) -> impl Iterator<Item = Locator> {
        self.spots.iter().map(|spot| Locator {
            segment: self.segment,
            offset: offset(self.start + u64::from(spot.offset)),
            length: spot.length,
        })
    }
}

/// Offsets in a segment fit 32 bits: segments are at most 4 GiB.
fn offset(at: u64) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

struct Open {
    segment: Arc<Segment>,
    at: u64,
    /// A spare was asked for while this segment was open.
    asked: bool,
}

/// The writing end of a stream.
pub(super) struct Writer<T> {
    segments: Arc<Segments>,
    stream: Stream,
    reserve: u64,
    open: Option<Open>,
    sequence: u64,
    durable: u64,
    buf: AlignedBuf,
    /// Written since the last sync, oldest first; all in the open segment.
    unsynced: Vec<Written<T>>,
    /// The group in `unsynced` was already moved once after a failure.
    moved: bool,
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        self.seal();
    }
}

impl<T> Writer<T> {
    fn seal(&mut self) {
        if let Some(open) = self.open.take() {
            open.segment.file().end_writes();
            open.segment.set_open(false);
        }
    }
}

impl<T: Carries> Writer<T> {
    pub fn new(segments: Arc<Segments>, stream: Stream, reserve: u64, tail: Tail) -> Writer<T> {
        if let Some((segment, _)) = &tail.open {
            segment.set_open(true);
        }
        Writer {
            segments,
            stream,
            reserve,
            open: tail.open.map(|(segment, at)| Open {
                segment,
                at,
                asked: false,
            }),
            sequence: tail.sequence,
            durable: tail.sequence,
            buf: AlignedBuf::with_capacity(IDLE_BUFFER),
            unsynced: Vec::new(),
            moved: false,
        }
    }

    /// Bytes that fit the open segment.
    pub fn room(&self) -> usize {
        self.open.as_ref().map_or(0, |open| {
            usize::try_from(open.segment.size() - open.at).unwrap_or(usize::MAX)
        })
    }

    /// Bytes that fit a new segment.
    pub fn segment_room(&self) -> usize {
        usize::try_from(self.segments.segment_size()).unwrap_or(usize::MAX) - PAGE
    }

    /// Bytes written and not synced.
    pub fn unsynced_bytes(&self) -> usize {
        self.unsynced.iter().map(Written::len).sum()
    }

    /// Takes a new segment unless one is open with room for `bytes`. Everything written must be synced.
    ///
    /// # Errors
    /// [`WriteError::Full`], or [`WriteError::Failed`] when two files in a row refuse their header.
    pub fn make_room(&mut self, bytes: usize) -> Result<(), WriteError> {
        debug_assert!(self.unsynced.is_empty() || bytes <= self.room());
        // A segment that is to be left is left between groups: what is unsynced lies in one segment.
        let left = |open: &Open| open.segment.is_left() && self.unsynced.is_empty();
        if self.open.as_ref().is_some_and(|open| !left(open)) && bytes <= self.room() {
            return Ok(());
        }
        let taken = match self.segments.take(self.stream, self.reserve) {
            Err(TakeError::Io(first)) => {
                tracing::warn!(error = %first, "a segment refused its header, taking another");
                self.segments.take(self.stream, self.reserve)
            }
            taken => taken,
        };
        match taken {
            Ok(segment) => {
                self.seal();
                segment.set_open(true);
                self.open = Some(Open {
                    segment,
                    at: PAGE as u64,
                    asked: false,
                });
                Ok(())
            }
            // The open segment stays: a tombstone may still fit where an object does not (I8).
            Err(TakeError::Full) => Err(WriteError::Full),
            Err(TakeError::Io(e)) => Err(WriteError::Failed(e.to_string())),
        }
    }

    /// Writes a batch into the open segment, which has room for it. Not durable yet.
    ///
    /// # Errors
    /// [`WriteError::Failed`] after a second failure; the items stay with [`Writer::abandon`].
    pub fn write(&mut self, items: Vec<T>) -> Result<(), WriteError> {
        self.sequence += 1;
        let sequence = self.sequence;
        let batch = Written {
            items,
            sequence,
            segment: 0,
            start: 0,
            length: 0,
            spots: Vec::new(),
        };
        self.unsynced.push(batch);
        let last = self.unsynced.len() - 1;
        match self.put(last..last + 1) {
            Ok(()) => Ok(()),
            Err(e) => self.rescue("write", &e),
        }
    }

    /// Syncs what was written and hands it back, durable.
    ///
    /// # Errors
    /// [`WriteError::Failed`] after a second failure; the items stay with [`Writer::abandon`].
    pub fn sync(&mut self) -> Result<Vec<Written<T>>, WriteError> {
        while let Some(open) = self.open.as_ref().filter(|_| !self.unsynced.is_empty()) {
            match open.segment.file().sync() {
                Ok(()) => break,
                Err(e) => self.rescue("sync", &e)?,
            }
        }
        self.durable = self.sequence;
        self.moved = false;
        let half_full = |open: &mut Open| {
            let first = open.at > open.segment.size() / 2 && !open.asked;
            open.asked |= first;
            first
        };
        if self.open.as_mut().is_some_and(half_full) {
            self.segments.want_spare();
        }
        Ok(std::mem::take(&mut self.unsynced))
    }

    /// Gives up what could not be made durable.
    pub fn abandon(&mut self) -> Vec<T> {
        self.seal();
        self.unsynced.drain(..).flat_map(|batch| batch.items).collect()
    }

    /// Lets go of a large buffer, before the stream goes idle.
    pub fn rest(&mut self) {
        if self.buf.capacity() > 4 * IDLE_BUFFER {
            self.buf = AlignedBuf::with_capacity(IDLE_BUFFER);
        }
    }

    /// Moves everything that is not durable to a new segment, once per group.
    fn rescue(&mut self, what: &str, error: &io::Error) -> Result<(), WriteError> {
        let failed = self.open.as_ref().map_or(0, |open| open.segment.id());
        tracing::warn!(segment = failed, stream = self.stream.name(), %error, what, "segment failed and is sealed");
        if self.moved {
            return Err(WriteError::Failed(format!(
                "{what} failed in two segments: {error}"
            )));
        }
        self.moved = true;
        self.seal();
        let batches = std::mem::take(&mut self.unsynced);
        let room = self.make_room(batches.iter().map(Written::len).max().unwrap_or(0));
        self.unsynced = batches;
        if let Err(e) = room {
            return Err(WriteError::Failed(format!(
                "{what} failed ({error}) and no other segment: {e}"
            )));
        }
        self.put(0..self.unsynced.len())
            .map_err(|second| WriteError::Failed(format!("{what} failed ({error}), elsewhere too: {second}")))
    }

    /// Encodes and writes some of the unsynced batches at the end of the open segment.
    fn put(&mut self, which: Range<usize>) -> io::Result<()> {
        let Some(open) = self.open.as_mut() else {
            return Err(io::Error::other("no segment is open"));
        };
        for batch in &mut self.unsynced[which] {
            let size = batch
                .items
                .iter()
                .map(Carries::record)
                .fold(BatchSize::default(), BatchSize::with);
            let end = open.at + size.bytes() as u64;
            let header = BatchHeader {
                segment: open.segment.id(),
                sequence: batch.sequence,
                durable_upto: self.durable,
                length: 0,
                records: 0,
                hlc: self.segments.now(),
                stream: self.stream as u8,
                last: end + PAGE as u64 > open.segment.size(),
                salt: open.segment.expect().salt,
            };
            batch.spots.clear();
            encode::encode(
                header,
                batch.items.iter().map(Carries::record),
                &mut self.buf,
                &mut batch.spots,
            );
            batch.segment = header.segment;
            batch.start = open.at;
            batch.length = size.bytes();
            open.segment.file().pwrite(&self.buf, open.at)?;
            self.segments.note_append(end - open.at);
            open.at = end;
        }
        Ok(())
    }
}
