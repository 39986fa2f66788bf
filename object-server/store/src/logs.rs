//! The three logs of a device, brought together with its index at the start.
//!
//! Opened by [`crate::device`]: what the index lacks of the logs is replayed into
//! it, all of it into one that is made anew. How far a stream is applied stands in
//! the index ([`crate::apply`]).
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use virga_disk::log::{LogOptions, Recovered, SegLog, Start, SyncPolicy};
use virga_disk::segment::Stream;
use virga_disk::segment::table::Segments;

use crate::apply::Applier;
use crate::bad::BadRecords;
use crate::device::OpenError;
use crate::index::Index;

/// Bytes that `bulk` gathers before it syncs by itself, and for how long: an
/// upload's end asks for the sync anyway.
const BULK_SYNC: SyncPolicy = SyncPolicy::Grouped {
    bytes: 4 << 20,
    age: Duration::from_millis(20),
};

/// See the module.
pub struct Logs {
    /// Objects, deletions, updates.
    pub hot: SegLog<Applier>,
    /// Extents of large objects.
    pub bulk: SegLog<Applier>,
    /// What compaction moved.
    pub gc: SegLog<Applier>,
    /// What all of them are applied to.
    pub index: Arc<Index>,
}

/// Why logs and index cannot be brought together.
pub struct LogsError {
    /// Why.
    pub error: OpenError,
    /// Whether it is for damage in the index, which the logs can make anew.
    pub damaged: bool,
}

impl From<LogsError> for OpenError {
    fn from(failed: LogsError) -> Self {
        failed.error
    }
}

impl Logs {
    /// Opens the logs in `segments` and replays what `index` lacks. Blocks on the
    /// device.
    ///
    /// # Errors
    /// See [`LogsError`].
    pub fn open(
        name: &str,
        index: Index,
        bad: &Arc<BadRecords>,
        segments: &Arc<Segments>,
    ) -> Result<Self, LogsError> {
        let index = Arc::new(index);
        Self::replay(name, &index, bad, segments).map_err(|error| LogsError {
            error,
            damaged: index.is_damaged(),
        })
    }

    fn replay(
        name: &str,
        index: &Arc<Index>,
        bad: &Arc<BadRecords>,
        segments: &Arc<Segments>,
    ) -> Result<Self, OpenError> {
        let replaying = Arc::new(AtomicBool::new(true));
        let whole = index.is_whole()?;
        let total = segments.room()?.total;
        let open = |stream: Stream, sync: SyncPolicy, reserve: u64| {
            let start = match index.applied(stream) {
                Some(position) => Start::After(position),
                None => Start::Beginning,
            };
            // Moves stand in the index alone; a new index learns from them
            // where records are whose old place is gone.
            let start = if stream == Stream::Gc && whole {
                Start::End
            } else {
                start
            };
            let applier = Applier::new(index, bad, segments, stream, &replaying);
            let options = LogOptions { sync, start, reserve };
            match whole {
                true => SegLog::open(segments, stream, options, applier),
                false => SegLog::rebuild(segments, stream, options, applier),
            }
        };
        let (hot, replayed) = open(Stream::Hot, SyncPolicy::EachBatch, total / 50)?;
        let (bulk, _) = open(Stream::Bulk, BULK_SYNC, total / 20)?;
        let (gc, _) = open(Stream::Gc, SyncPolicy::EachBatch, 0)?;
        if !whole {
            index.set_whole()?;
        }
        replaying.store(false, Ordering::Relaxed);
        let Recovered {
            records,
            damaged,
            torn,
            ..
        } = replayed;
        tracing::info!(
            device = name,
            records,
            damaged,
            torn,
            rebuilt = !whole,
            "device open"
        );
        Ok(Self {
            hot,
            bulk,
            gc,
            index: index.clone(),
        })
    }
}
