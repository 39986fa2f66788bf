//! The segment log of one stream: appends with group commit, replayed at start.
//!
//! [`SegLog`] is what the object store holds: submit a record from any task, get back where it is once it is
//! durable *and* applied. Behind it [`committer`] (one thread) batches what is queued, [`writer`] puts batches
//! into segments and survives a failing one, [`recovery`] finds the end of the stream at start. What applying
//! means is the caller's: see [`Apply`].
//!
//! Order of events for a record: queued, copied into a batch, written, synced, applied, answered. There is no
//! timer on a stream that syncs every batch: the sync in progress is the window in which the next batch gathers.

mod committer;
mod pages;
pub mod recovery;
mod skim;
mod writer;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::batch::encode::BatchSize;
use crate::batch::record::{Head, NewRecord};
use crate::io::PAGE;
use crate::segment::table::{Segments, TakeError};
use crate::segment::{Locator, Position, Stream};
use crate::threads::Threads;

use committer::{Committer, Item, Queue};
pub use recovery::Recovered;
use recovery::{Payloads, RecoverError};
use writer::Writer;

/// Bytes a stream may have queued and unanswered; then submitting waits.
pub const QUEUE_BYTES: usize = 16 << 20;

/// When a stream syncs what it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// After every batch.
    EachBatch,
    /// When so many bytes are unsynced, the oldest unsynced batch is so old, or [`SegLog::flush`] asks.
    Grouped {
        /// Unsynced bytes that force a sync; at most half of [`QUEUE_BYTES`] has an effect.
        bytes: usize,
        /// Longest time a written record waits for its sync.
        age: Duration,
    },
}

/// Where replay starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing is known: apply every batch there is.
    Beginning,
    /// Everything up to here is applied.
    After(Position),
    /// Apply nothing, only find the end (stream `gc`: a move exists only through the index).
    End,
}

/// How a stream behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// When it syncs.
    pub sync: SyncPolicy,
    /// Where its replay starts.
    pub start: Start,
    /// Bytes of the file system this stream leaves alone when it needs a new segment file.
    pub reserve: u64,
}

/// A record that is durable and waits to be applied, fresh or replayed.
#[derive(Clone, Copy, Debug)]
pub struct LogRecord<'a> {
    /// Its fixed fields.
    pub head: Head,
    /// Its metadata bytes.
    pub meta: &'a [u8],
    /// Bytes of payload.
    pub payload_len: usize,
    /// Where it is.
    pub locator: Locator,
    /// Sequence of its batch.
    pub sequence: u64,
}

/// A piece of the log that was durable and can no longer be read.
#[derive(Clone, Copy, Debug)]
pub struct Damaged<'a> {
    /// Segment id.
    pub segment: u64,
    /// Offset in the segment, in bytes.
    pub offset: u64,
    /// The bytes as found, at most one batch.
    pub bytes: &'a [u8],
    /// The record's fixed fields, if its descriptor is still good.
    pub head: Option<Head>,
}

/// Applying failed; the stream becomes read-only, the records stay in the log and are replayed at the next start.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the index refused: {0}")]
pub struct ApplyError(pub String);

/// What happens to durable records: the object store writes its index.
pub trait Apply: Send + 'static {
    /// What the submitter of a record is told (for example that a newer version is there).
    type Outcome: Send + 'static;

    /// Applies one batch, in one atomic write together with `upto`, which the caller gives back as
    /// [`Start::After`] at the next start; batches after it are then replayed. Applying the same records again
    /// must change nothing. Pushes exactly one outcome per record, in order.
    ///
    /// Runs on the stream's committer thread (on the opening thread during replay) and may block on the device.
    ///
    /// # Errors
    /// If the index cannot be written.
    fn apply(
        &mut self,
        records: &[LogRecord<'_>],
        upto: Position,
        outcomes: &mut Vec<Self::Outcome>,
    ) -> Result<(), ApplyError>;

    /// Replay found durable bytes that are damaged: keep a copy, have the record repaired from a peer.
    fn damaged(&mut self, piece: Damaged<'_>);
}

/// A record that is durable and applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<O> {
    /// Where it is.
    pub locator: Locator,
    /// Sequence of its batch.
    pub sequence: u64,
    /// What applying it said.
    pub outcome: O,
}

/// Why a record was not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// The record cannot fit a segment of this device.
    #[error("a record of {0} bytes cannot fit a segment")]
    TooLarge(usize),
    /// No segment can be had; nothing of the record was kept. Trying again makes sense once space was freed.
    #[error("the device is full")]
    Full,
    /// The stream is read-only after a failure of the device or of the index. It is unknown whether the record
    /// will be there after a restart.
    #[error("the stream is read-only: {0}")]
    ReadOnly(Arc<str>),
    /// The log was closed while the record waited.
    #[error("the log is closed")]
    Closed,
}

/// Why a stream cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// The end of the stream cannot be found.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The index refused a replayed batch.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The device failed.
    #[error("the stream cannot be read: {0}")]
    Io(#[from] io::Error),
    /// No segment can be had.
    #[error(transparent)]
    Take(#[from] TakeError),
}

/// The answer to a queued record. Dropping it withdraws nothing.
#[must_use = "a record is acknowledged only by its ticket"]
pub struct Ticket<O>(oneshot::Receiver<Result<Committed<O>, CommitError>>);

impl<O> Future for Ticket<O> {
    type Output = Result<Committed<O>, CommitError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0)
            .poll(cx)
            .map(|answer| answer.unwrap_or(Err(CommitError::Closed)))
    }
}

/// The append log of one stream of one device. Shared by reference or in an `Arc`; dropping it writes what is
/// queued, then stops its thread (a task ends by itself).
pub struct SegLog<A: Apply> {
    queue: Arc<Queue<A::Outcome>>,
    largest: usize,
    /// The committer before its thread runs: an unused stream costs no thread.
    idle: Mutex<Option<Committer<A>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    threads: Threads,
    stream: Stream,
}

impl<A: Apply> SegLog<A> {
    /// Finds the end of the stream, replays what `options.start` asks for into `apply`, and is then ready for
    /// appends. Blocks on the device.
    ///
    /// # Errors
    /// See [`OpenLogError`].
    pub fn open(
        segments: &Arc<Segments>,
        stream: Stream,
        options: LogOptions,
        apply: A,
    ) -> Result<(SegLog<A>, Recovered), OpenLogError> {
        Self::replay(segments, stream, options, Payloads::Verify, apply)
    }

    /// The same for an index that is made anew: of batches that later ones prove durable only heads and metadata are
    /// read. Damage in what they carry is left to readers and to the scrub.
    ///
    /// # Errors
    /// See [`OpenLogError`].
    pub fn rebuild(
        segments: &Arc<Segments>,
        stream: Stream,
        options: LogOptions,
        apply: A,
    ) -> Result<(SegLog<A>, Recovered), OpenLogError> {
        Self::replay(segments, stream, options, Payloads::Skip, apply)
    }

    fn replay(
        segments: &Arc<Segments>,
        stream: Stream,
        options: LogOptions,
        payloads: Payloads,
        mut apply: A,
    ) -> Result<(SegLog<A>, Recovered), OpenLogError> {
        let (tail, recovered) = recovery::recover(segments, stream, options.start, payloads, &mut apply)?;
        let threads = segments.threads().clone();
        let queue = Arc::new(Queue::new(QUEUE_BYTES, &threads));
        let writer = Writer::new(Arc::clone(segments), stream, options.reserve, tail);
        let committer = Committer::new(Arc::clone(&queue), writer, options.sync, apply);
        let largest = usize::try_from(segments.segment_size())
            .unwrap_or(usize::MAX)
            .saturating_sub(PAGE);
        let log = SegLog {
            queue,
            largest,
            idle: Mutex::new(Some(committer)),
            thread: Mutex::new(None),
            threads,
            stream,
        };
        Ok((log, recovered))
    }

    /// Queues a record and waits until it is durable and applied.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn submit(&self, record: NewRecord) -> Result<Committed<A::Outcome>, CommitError> {
        self.enqueue(record).await?.await
    }

    /// Queues a record, waiting only while the queue is full; the ticket resolves when the record is durable and
    /// applied. Records are written in the order in which their `enqueue` returned.
    ///
    /// # Errors
    /// [`CommitError::TooLarge`], [`CommitError::ReadOnly`] or [`CommitError::Closed`].
    pub async fn enqueue(&self, record: NewRecord) -> Result<Ticket<A::Outcome>, CommitError> {
        let size = BatchSize::default().with(&record);
        if !size.fits() || size.bytes() > self.largest {
            return Err(CommitError::TooLarge(size.bytes()));
        }
        self.start()?;
        let (answer, ticket) = oneshot::channel();
        self.queue.push_record(record, answer).await?;
        Ok(Ticket(ticket))
    }

    /// Waits until everything enqueued before is durable and applied (its tickets are then resolved), without
    /// waiting for the group's age. Whether a record failed is its own ticket's answer.
    ///
    /// # Errors
    /// [`CommitError::ReadOnly`] or [`CommitError::Closed`].
    pub async fn flush(&self) -> Result<(), CommitError> {
        self.start()?;
        let (answer, done) = oneshot::channel();
        self.queue.push(Item::Flush(answer))?;
        done.await.unwrap_or(Err(CommitError::Closed))
    }

    /// Why the stream is read-only, if it is.
    #[must_use]
    pub fn read_only(&self) -> Option<Arc<str>> {
        self.queue.read_only()
    }

    /// Which stream this is.
    #[must_use]
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// Bytes queued and not answered yet.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queue.queued_bytes()
    }

    fn start(&self) -> Result<(), CommitError> {
        if self.queue.is_running() {
            return Ok(());
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(committer) = idle.take() else {
            return Ok(());
        };
        self.queue.set_running();
        if let Threads::Tasks(driver) = &self.threads {
            driver.spawn(Box::pin(committer.drive(Arc::clone(driver))));
            return Ok(());
        }
        let name = format!("log-{}", self.stream.name());
        match std::thread::Builder::new()
            .name(name)
            .spawn(move || committer.run())
        {
            Ok(handle) => {
                *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
                Ok(())
            }
            Err(e) => {
                let why: Arc<str> = format!("no thread for the committer: {e}").into();
                self.queue.fail(&why);
                Err(CommitError::ReadOnly(why))
            }
        }
    }
}

impl<A: Apply> Drop for SegLog<A> {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            // A panic there has closed the queue and answered everyone; there is nobody left to tell.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests;
